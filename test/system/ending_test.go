package system_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestStopWhileStarting: neither a stop nor a reload hangs on a child at any point of its start, and the child ends.
func TestStopWhileStarting(t *testing.T) {
	t.Parallel()
	points := map[string]func(*testenv.Server){
		"at once":  func(*testenv.Server) {},
		"started":  func(s *testenv.Server) { s.AwaitChild(1) },
		"asked":    func(s *testenv.Server) { s.Await("server/discover", 1) },
		"answered": func(s *testenv.Server) { s.Await("server/discover", 1) },
	}
	for name, wait := range points {
		for _, how := range []string{"stop", "reload"} {
			t.Run(how+" "+name, func(t *testing.T) {
				t.Parallel()
				needsProc(t)
				going := make(chan struct{})
				s := testenv.StdioServer(t, testenv.Script{Lenient: true, On: map[string]func(*testenv.Call){
					"server/discover": func(c *testenv.Call) {
						if name != "answered" {
							c.Hang()
							return
						}
						select {
						case <-going:
							c.Default()
						case <-c.Done:
						}
					},
					"initialize": (*testenv.Call).Hang,
				}})
				// A removed server stays for the lists that were asked of it before.
				g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{"timeouts": map[string]any{"list": "1s"}})}})
				wait(s)
				close(going)
				watch := testenv.StartWatch(t)
				if how == "stop" {
					g.Stop()
				} else {
					g.Configure(testenv.Config{})
					testenv.Eventually(t, "the new configuration", func() bool { return strings.Contains(g.Log(), "configuration applied") })
				}
				testenv.Eventually(t, "end of the child", func() bool { return len(testenv.Processes(s.Marker())) == 0 })
				g.Stop()
				if took := watch.Took(); took > 10*time.Second {
					t.Errorf("took %s", took)
				}
			})
		}
	}
}

// background sends a call and hands over its reply; the call must be answered.
func background(t *testing.T, client *testenv.Client, name string) <-chan *testenv.Reply {
	t.Helper()
	ctx := testenv.Within(t, testenv.Patience)
	replies := make(chan *testenv.Reply, 1)
	go func() {
		r, err := client.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"` + name + `"`, ID: `"held"`})
		if err != nil {
			t.Error(err)
			r = &testenv.Reply{}
		}
		replies <- r
	}()
	return replies
}

// TestTwoReloads: a server ends only when no call from before any reload uses it.
func TestTwoReloads(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		if k.streams || k.era == testenv.Modern {
			t.Skip("ends as others do")
		}
		h := hold(t, k)
		b := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
		c := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
		g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"a": h.Server, "b": b}})
		client := g.Client(era, "/mcp")
		replies := background(t, client, "a__hold")
		<-h.calls
		reload := func(servers map[string]*testenv.Server, want string) {
			t.Helper()
			g.Configure(testenv.Config{Servers: servers})
			testenv.Eventually(t, want, func() bool { return strings.Join(client.Call("tools/list", "").Names("tools"), " ") == want })
		}
		reload(map[string]*testenv.Server{"a": h.Server, "b": b, "c": c}, "a__hold a__echo b__tool0000 c__tool0000")
		reload(map[string]*testenv.Server{"b": b, "c": c}, "b__tool0000 c__tool0000")
		for range 100 { // time for what must not happen
			client.Tool("b__tool0000", "{}")
		}
		close(h.let)
		if r := <-replies; r.Texts() != "let go" {
			t.Errorf("the running call: %v", r)
		}
		if k.stdio {
			<-h.AwaitChild(1).Done
		}
	})
}

// TestCutOff: a call that outlasts drainTimeout is told so, even when its server was removed, and does not hold up the end.
func TestCutOff(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		if k.streams || k.era == testenv.Modern {
			t.Skip("ends as others do")
		}
		for _, removed := range []bool{true, false} {
			t.Run(fmt.Sprintf("removed %v", removed), func(t *testing.T) {
				t.Parallel()
				h := hold(t, k)
				drain := map[string]any{"drainTimeout": "500ms"}
				c := testenv.One(h.Server)
				c.More = drain
				g := testenv.Serve(t, c)
				client := g.Client(era, "/mcp")
				replies := background(t, client, "one__hold")
				<-h.calls
				if removed {
					g.Configure(testenv.Config{More: drain})
					testenv.Eventually(t, "an empty list", func() bool { return len(client.Call("tools/list", "").Names("tools")) == 0 })
				}
				watch := testenv.StartWatch(t)
				g.Stop()
				if took := watch.Took(); took > 8*time.Second {
					t.Errorf("the end took %s", took)
				}
				r := <-replies
				if code, text := r.Error(); code != -32603 || r.ID() != `"held"` || !strings.Contains(text, "drain") ||
					strings.Contains(text, "drainTimeout") && !strings.Contains(text, "may have carried it out") {
					t.Errorf("the call: %v", r)
				}
			})
		}
	})
}

// TestNoHandshake: a server that never says what it is costs an error that names it and the time limit.
func TestNoHandshake(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		if k.streams || k.era == testenv.Legacy {
			t.Skip("nobody can tell")
		}
		s := k.server(t, testenv.Script{Lenient: true, On: map[string]func(*testenv.Call){
			"server/discover": (*testenv.Call).Hang, "initialize": (*testenv.Call).Hang,
		}})
		g := testenv.Serve(t, testenv.Config{Entries: map[string]any{
			"mute": s.Entry(map[string]any{"timeouts": map[string]any{"start": "1s"}}),
		}})
		says := func(what string, r *testenv.Reply) {
			t.Helper()
			_, text := r.Error()
			if !strings.Contains(text, `server "mute"`) || !strings.Contains(text, "timeouts.start") || strings.Contains(text, "context deadline") {
				t.Errorf("%s: %v", what, r)
			}
		}
		says("a call", g.Client(era, "/mcp").Tool("mute__x", "{}"))
		if era == testenv.Modern {
			says("server/discover", g.Modern("/servers/mute/mcp").Call("server/discover", ""))
		} else {
			c := testenv.NewClient(t, g.URL+"/servers/mute/mcp", testenv.Legacy)
			says("initialize", c.Call("initialize", `"protocolVersion":"`+testenv.LegacyVersion+`","capabilities":{},"clientInfo":{"name":"raw","version":"1"}`))
		}
		if _, body := g.Get("/health/ready", nil); strings.Contains(body, "context deadline") {
			t.Error(body)
		}
	})
}

// TestBrokenCallIsNoFailure of its server, which is not probed anew for it.
func TestBrokenCallIsNoFailure(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		if k.stdio || k.old {
			t.Skip("no connection of its own")
		}
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("break"), testenv.Tool("echo")}, On: map[string]func(*testenv.Call){
			"tools/call break": raw(""),
		}})
		g := testenv.Serve(t, testenv.One(s))
		client := g.Modern("/mcp")
		if r := client.Tool("one__echo", "{}"); r.Texts() != "done" {
			t.Fatal(r)
		}
		probes := len(s.Received("server/discover"))
		r := client.Tool("one__break", "{}")
		if code, text := r.Error(); r.Status != 200 || code != -32603 || !strings.Contains(text, "may have been carried out") {
			t.Errorf("the call: %v", r)
		}
		if strings.Contains(g.Log(), "server failed") || !strings.Contains(readyBody(g), `"ready"`) {
			t.Errorf("the server counts as failed:\n%s", readyBody(g))
		}
		if r := client.Tool("one__echo", "{}"); r.Texts() != "done" || len(s.Received("server/discover")) != probes {
			t.Errorf("the next call: %v, probed %d times", r, len(s.Received("server/discover")))
		}
	})
}

func readyBody(g *testenv.Gateway) string {
	_, body := g.Get("/health/ready", nil)
	return body
}

// TestReplacedServerState: what ended under a name does not count for its successor.
func TestReplacedServerState(t *testing.T) {
	t.Parallel()
	h := hold(t, kinds[3])
	g := testenv.Serve(t, testenv.One(h.Server))
	client := g.Modern("/mcp")
	replies := background(t, client, "one__hold") // keeps the old one
	<-h.calls
	g.Configure(testenv.Config{Entries: map[string]any{"one": h.Entry(map[string]any{"headers": map[string]any{"X-Team": "core"}})}})
	testenv.Eventually(t, "the new configuration", func() bool { return strings.Contains(g.Log(), "configuration applied") })
	if r := client.Tool("one__echo", "{}"); r.Texts() != "done" {
		t.Fatal(r)
	}
	testenv.Eventually(t, "readiness of the new one", func() bool { return strings.Count(g.Log(), `msg="server ready"`) == 2 })
	close(h.let)
	if r := <-replies; r.Texts() != "let go" {
		t.Errorf("the running call: %v", r)
	}
	h.Await("DELETE", 1) // of the old one's session, as it ends
	for range 50 {       // the old one has yet to return from what it ended
		_, body := g.Get("/metrics", nil)
		if !strings.Contains(body, `mcp_server_state{server="one",state="ready"} 1`) || strings.Contains(body, `mcp_server_state{server="one",state="stopped"} 1`) {
			t.Fatal("the state of the new server is that of the old one")
		}
	}
}

// TestStopAsChildrenStart: whatever a stop meets in the start of a child, the gateway ends, and the child too.
func TestStopAsChildrenStart(t *testing.T) {
	t.Parallel()
	needsProc(t)
	const children = 12
	going := make(chan struct{})
	c := testenv.Config{Servers: map[string]*testenv.Server{}}
	for i := range children {
		c.Servers[fmt.Sprint("s", i)] = testenv.StdioServer(t, testenv.Script{On: map[string]func(*testenv.Call){
			"server/discover": func(c *testenv.Call) {
				select {
				case <-going:
					c.In(time.Duration(i) * time.Millisecond) // each answers at another point of the stop
					c.Default()
				case <-c.Done:
				}
			},
		}})
	}
	g := testenv.Serve(t, c)
	for _, s := range c.Servers {
		s.Await("server/discover", 1)
	}
	close(going)
	watch := testenv.StartWatch(t)
	g.Stop()
	if took := watch.Took(); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	for name, s := range c.Servers {
		testenv.Eventually(t, "end of "+name, func() bool { return len(testenv.Processes(s.Marker())) == 0 })
	}
}
