package system_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// deafener stands before a server until it is deaf: what connects then gets no answer at all.
type deafener struct {
	ln   *net.TCPListener
	done chan struct{}
	wg   sync.WaitGroup
	mu   sync.Mutex
	open []net.Conn
}

func before(t *testing.T, address string) *deafener {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &deafener{ln: ln.(*net.TCPListener), done: make(chan struct{})}
	go d.serve(address)
	t.Cleanup(func() {
		d.cut()
		ln.Close()
		<-d.done
		d.wg.Wait()
	})
	return d
}

func (d *deafener) serve(address string) {
	defer close(d.done)
	for {
		in, err := d.ln.Accept()
		if err != nil {
			return
		}
		out, err := new(net.Dialer).DialContext(context.Background(), "tcp", address)
		if err != nil {
			in.Close()
			return
		}
		d.keep(in, out)
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			d.wg.Go(func() {
				_, _ = io.Copy(pair[0], pair[1]) // until one end is closed
				pair[0].Close()
			})
		}
	}
}

func (d *deafener) keep(all ...net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = append(d.open, all...)
}

func (d *deafener) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.open {
		c.Close()
	}
	d.open = nil
}

// deafen fills the queue of connections that nobody accepts.
func (d *deafener) deafen(t *testing.T) {
	t.Helper()
	if err := d.ln.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	<-d.done
	d.cut()
	raw, err := d.ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	for range 16 {
		c, err := (&net.Dialer{Timeout: 300 * time.Millisecond}).DialContext(t.Context(), "tcp", d.ln.Addr().String())
		if err != nil {
			return
		}
		d.keep(c)
	}
	t.Fatal("it goes on taking connections")
}

// hear has it take connections again.
func (d *deafener) hear(t *testing.T, address string) {
	t.Helper()
	raw, err := d.ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 128) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	if err := d.ln.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	d.done = make(chan struct{})
	go d.serve(address)
}

// TestDeafInstances: instances that swallow packets do not make a call wait for one time-out after another, and one that takes its
// connection late still gets the call.
func TestDeafInstances(t *testing.T) {
	t.Parallel()
	const connect = 6 * time.Second
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			_, urls := copies(t, 3, named(era))
			var deaf []*deafener
			var addresses []string
			for i := range urls {
				addresses = append(addresses, strings.TrimSuffix(strings.TrimPrefix(urls[i], "http://"), "/mcp"))
				deaf = append(deaf, before(t, addresses[i]))
				urls[i] = "http://" + deaf[i].ln.Addr().String() + "/mcp"
			}
			g := serveEntry(t, entry{"urls": urls, "timeouts": entry{"connect": connect.String()}, "health": entry{"failures": 0}})
			awaitStates(t, g, "ready", "ready", "ready")
			var clients []*testenv.Client
			for range 6 {
				clients = append(clients, apart(g, era))
				spread(t, clients[len(clients)-1], 1)
			}
			for _, d := range deaf[:2] {
				d.deafen(t)
			}
			var wg sync.WaitGroup
			watch := testenv.StartWatch(t)
			for _, c := range clients {
				wg.Go(func() {
					r := c.Tool("tool0000", "{}")
					if took := watch.Took(); r.Texts() != "i2" || took >= connect {
						t.Errorf("after %v %v", took, r)
					}
				})
			}
			wg.Wait()
			deaf[2].deafen(t)
			late := make(chan *testenv.Reply, 1)
			go func() { late <- clients[0].Tool("tool0000", "{}") }()
			select {
			case r := <-late:
				t.Errorf("all are deaf, and there is %v", r)
			case <-time.After(time.Second): // all have had their head start
			}
			deaf[2].hear(t, addresses[2])
			if r := <-late; r.Texts() != "i2" {
				t.Errorf("the one that hears again: %v", r)
			}
		})
	}
}
