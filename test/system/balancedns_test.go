package system_test

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

func portOf(t *testing.T, url string) uint16 {
	t.Helper()
	_, port, _ := net.SplitHostPort(strings.TrimSuffix(strings.TrimPrefix(url, "http://"), "/mcp"))
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}

// TestServices: SRV records name the instances; those that come are used, those that go are left without a call that fails, and
// when the name cannot be resolved the last ones stay.
func TestServices(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			_, urls := copies(t, 3, named(era))
			dns := testenv.NameServer(t)
			dns.Host("box.test", "127.0.0.1")
			record := func(i int) testenv.Service {
				return testenv.Service{Target: "box.test", Port: portOf(t, urls[i]), Weight: 1, Priority: 10}
			}
			dns.Service("_mcp._tcp.search.test", record(0), record(1))
			g := serveEntry(t, entry{
				"url": "http://search.test/mcp",
				"dns": entry{"records": "srv", "name": "_mcp._tcp.search.test", "refresh": "100ms", "resolver": dns.Addr},
			})
			awaitStates(t, g, "ready", "ready")
			var clients []*testenv.Client
			for range 10 {
				clients = append(clients, apart(g, era))
			}
			answers := func() string {
				names := map[string]bool{}
				calls := 6
				if era == testenv.Legacy {
					calls = 1 // a session stays where it is
				}
				for _, c := range clients {
					for name := range spread(t, c, calls) {
						names[name] = true
					}
				}
				all := ""
				for _, name := range []string{"i0", "i1", "i2"} {
					if names[name] {
						all += name
					}
				}
				return all
			}
			testenv.Eventually(t, "both take calls", func() bool {
				clients = append(clients[1:], apart(g, era)) // ten sessions may all be at one
				got := answers()
				if strings.Contains(got, "i2") {
					t.Errorf("at first %s", got)
				}
				return got == "i0i1"
			})
			dns.Service("_mcp._tcp.search.test", record(1), record(2))
			testenv.Eventually(t, "the new one has joined and the old one is left", func() bool {
				clients = append(clients[1:], apart(g, era))
				return answers() == "i1i2"
			})
			before := readyOf(t, g).Servers["one"].Instances
			heavy := record(2)
			heavy.Weight, heavy.Priority = 7, 5
			dns.Service("_mcp._tcp.search.test", record(1), heavy)
			testenv.Eventually(t, "the one that comes first by now takes all", func() bool {
				clients = append(clients[1:], apart(g, era))
				return answers() == "i2"
			})
			for i, now := range readyOf(t, g).Servers["one"].Instances {
				if was := before[i]; now.Instance != was.Instance || !now.Since.Equal(was.Since) || now.Calls < was.Calls {
					t.Errorf("with another weight %+v is %+v", was, now)
				}
			}
			dns.Service("_mcp._tcp.search.test", record(1), record(2))
			testenv.Eventually(t, "both take calls again", func() bool {
				clients = append(clients[1:], apart(g, era))
				return answers() == "i1i2"
			})
			for _, gone := range []func(){func() { dns.Break(true) }, func() { dns.Break(false); dns.Service("_mcp._tcp.search.test") }} {
				gone()
				was := dns.Asked()
				testenv.Eventually(t, "it is asked again", func() bool { return dns.Asked() > was+2 })
				if got := answers(); got != "i1i2" {
					t.Errorf("without DNS %s", got)
				}
			}
			if n := strings.Count(g.Log(), "instances cannot be found"); n > 2 {
				t.Errorf("%d warnings", n)
			}
		})
	}
}

// TestServiceUnresolved: a target whose addresses cannot be found for a while stays, while others come and go, and one
// that has none any more goes.
func TestServiceUnresolved(t *testing.T) {
	t.Parallel()
	_, urls := copies(t, 3, named(testenv.Modern))
	dns := testenv.NameServer(t)
	var records []testenv.Service
	for i, name := range []string{"a.test", "b.test", "c.test"} {
		dns.Host(name, "127.0.0.1")
		records = append(records, testenv.Service{Target: name, Port: portOf(t, urls[i]), Weight: 1, Priority: 10})
	}
	dns.Service("_mcp._tcp.search.test", records[:2]...)
	g := serveEntry(t, entry{
		"url": "http://search.test/mcp",
		"dns": entry{"records": "srv", "name": "_mcp._tcp.search.test", "refresh": "100ms", "resolver": dns.Addr},
	})
	awaitStates(t, g, "ready", "ready")
	dns.Fail("b.test")
	testenv.Eventually(t, "the failure is told", func() bool { return strings.Contains(g.Log(), "instances cannot be found") })
	awaitStates(t, g, "ready", "ready")
	dns.Service("_mcp._tcp.search.test", records[1:]...)
	testenv.Eventually(t, "the one that is gone is left, and the new one used", func() bool {
		var ports []string
		for _, in := range readyOf(t, g).Servers["one"].Instances {
			_, port, _ := net.SplitHostPort(in.Instance)
			ports = append(ports, port)
		}
		return slices.Contains(ports, strconv.Itoa(int(records[1].Port))) && slices.Contains(ports, strconv.Itoa(int(records[2].Port))) && len(ports) == 2
	})
	dns.Fail("")
	testenv.Eventually(t, "it is resolved again", func() bool { return strings.Contains(g.Log(), "instances are found again") })
	dns.Host("b.test")
	awaitStates(t, g, "ready")
}

// TestAddresses: A records name the instances, and a name that is not there at the start is resolved when it is.
func TestAddresses(t *testing.T) {
	t.Parallel()
	_, urls := copies(t, 1, named(testenv.Modern))
	dns := testenv.NameServer(t)
	g := serveEntry(t, entry{
		"url": "http://search.test:" + strconv.Itoa(int(portOf(t, urls[0]))) + "/mcp",
		"dns": entry{"refresh": "100ms", "resolver": dns.Addr},
	})
	c := g.Modern("/servers/one/mcp")
	if _, text := c.Tool("tool0000", "{}").Error(); !strings.Contains(text, "cannot be resolved") {
		t.Errorf("%q", text)
	}
	dns.Host("search.test", "127.0.0.1", "127.0.0.2")
	awaitStates(t, g, "ready", "joining")
	testenv.Eventually(t, "calls are served", func() bool { return c.Tool("tool0000", "{}").Texts() == "i0" })
	if got := spread(t, c, 20); got["i0"] != 20 {
		t.Errorf("%v", got)
	}
	in := readyOf(t, g).Servers["one"].Instances
	if len(in) != 2 || !strings.HasPrefix(in[1].Instance, "127.0.0.2:") || in[1].Reason == "" || in[1].Since.IsZero() {
		t.Errorf("%+v", in)
	}
}
