package testenv

import (
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Service is one SRV record.
type Service struct {
	Target                 string
	Port, Priority, Weight uint16
}

// DNS is a name server for the test.
type DNS struct {
	// Addr is where it answers, over UDP.
	Addr string

	mu       sync.Mutex
	hosts    map[string][]netip.Addr
	services map[string][]Service
	broken   bool
	failing  string
	asked    int
}

// NameServer starts one that knows no names.
func NameServer(t testing.TB) *DNS {
	t.Helper()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &DNS{Addr: conn.LocalAddr().String(), hosts: map[string][]netip.Addr{}, services: map[string][]Service{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.serve(conn)
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return d
}

// Host gives a name addresses, or none.
func (d *DNS) Host(name string, addrs ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]netip.Addr, 0, len(addrs))
	for _, a := range addrs {
		all = append(all, netip.MustParseAddr(a))
	}
	d.hosts[name+"."] = all
}

// Service gives a name SRV records.
func (d *DNS) Service(name string, all ...Service) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.services[name+"."] = all
}

// Break has it answer that it failed, or answer again.
func (d *DNS) Break(broken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broken = broken
}

// Fail has it answer that it failed when it is asked for the addresses of one name; "" for none.
func (d *DNS) Fail(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failing = name + "."
}

// Asked is how often it was asked.
func (d *DNS) Asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

func (d *DNS) serve(conn net.PacketConn) {
	var packet [1500]byte
	for {
		n, from, err := conn.ReadFrom(packet[:])
		if err != nil {
			return // the test is over
		}
		var m dnsmessage.Message
		if m.Unpack(packet[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		d.answer(&m)
		if out, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(out, from) // who asked asks again
		}
	}
}

func (d *DNS) answer(m *dnsmessage.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	q := m.Questions[0]
	m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
	name := strings.ToLower(q.Name.String())
	header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
	hosts, known := d.hosts[name]
	services, also := d.services[name]
	switch {
	case d.broken, name == d.failing:
		m.RCode = dnsmessage.RCodeServerFailure
	case !known && !also:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		for _, a := range hosts {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: a.As4()}})
		}
	case q.Type == dnsmessage.TypeSRV:
		for _, s := range services {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.SRVResource{
				Priority: s.Priority, Weight: s.Weight, Port: s.Port, Target: dnsmessage.MustNewName(s.Target + "."),
			}})
		}
	}
}
