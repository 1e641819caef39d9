package system_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// fickle is a server of an era that answers, fails or hangs as it is told.
type fickle struct {
	mood  atomic.Int32 // 0 answers, 1 fails with HTTP 500, 2 hangs until release
	calls atomic.Int32
	gate  atomic.Pointer[chan struct{}]
}

func (m *fickle) script(era testenv.Era) testenv.Script {
	return testenv.Script{Era: era, Tools: testenv.Tools(2), Forgets: true, On: map[string]func(*testenv.Call){"tools/call": func(c *testenv.Call) {
		m.calls.Add(1)
		switch m.mood.Load() {
		case 0:
			c.Text("done")
		case 1:
			c.HTTP.Status(http.StatusInternalServerError, "text/plain", "oops")
		case 2:
			select {
			case <-*m.gate.Load():
				c.Text("done")
			case <-c.Done:
			}
		}
	}}}
}

func (m *fickle) hang() (release func()) {
	gate := make(chan struct{})
	m.gate.Store(&gate)
	m.mood.Store(2)
	return func() { close(gate) }
}

// TestBreaker: an open breaker refuses at once and says when to come again; then one call alone is let through, and closes it.
func TestBreaker(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			var m fickle
			s := testenv.HTTPServer(t, m.script(era))
			g := testenv.Serve(t, testenv.Config{
				Servers: map[string]*testenv.Server{"other": testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})},
				Entries: map[string]any{"one": s.Entry(map[string]any{"breaker": entry{"failures": 3, "open": "5s"}})},
			})
			c := g.Modern("/servers/one/mcp")
			m.mood.Store(1)
			testenv.Eventually(t, "the breaker opens", func() bool {
				c.Tool("tool0000", "{}") // lists, which succeed, may come between
				return states(t, g) == "open"
			})
			before := m.calls.Load()
			r := c.Tool("tool0000", "{}")
			if _, text := r.Error(); !strings.Contains(text, "circuit breaker is open") || !strings.Contains(text, "HTTP 500") {
				t.Errorf("%v", r)
			}
			if n := m.calls.Load(); n != before {
				t.Errorf("the server got %d calls through an open breaker", n-before)
			}
			if r := g.Modern("/servers/other/mcp").Tool("tool0000", "{}"); r.Texts() != "done" {
				t.Errorf("another server: %v", r)
			}
			release := m.hang()
			var trials sync.WaitGroup
			defer trials.Wait()
			testenv.Eventually(t, "a trial", func() bool {
				trials.Go(func() { c.Tool("tool0000", "{}") })
				return m.calls.Load() > before
			})
			if _, text := g.Get("/metrics", nil); !strings.Contains(text, `mcp_server_breaker_open{server="one"} 1`) {
				t.Error("the breaker counts as closed while one call is let through")
			}
			var refused sync.WaitGroup
			for range 10 {
				refused.Go(func() {
					if _, text := c.Tool("tool0000", "{}").Error(); !strings.Contains(text, "circuit breaker is open") {
						t.Errorf("beside the trial: %q", text)
					}
				})
			}
			refused.Wait()
			if n := m.calls.Load(); n != before+1 {
				t.Errorf("half open the server got %d calls", n-before)
			}
			m.mood.Store(0)
			release()
			awaitStates(t, g, "ready")
			if r := c.Tool("tool0000", "{}"); r.Texts() != "done" {
				t.Errorf("closed: %v", r)
			}
		})
	}
}

// TestBreakerDead: the breaker of a server where nobody listens refuses at once, whether the server died or was never there, and is
// closed as soon as the server is found, though its time is not over.
func TestBreakerDead(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		for name, early := range map[string]bool{"from the start": true, "later": false} {
			t.Run(era.String()+" "+name, func(t *testing.T) {
				t.Parallel()
				s := testenv.HTTPServer(t, testenv.Script{Era: era, Tools: testenv.Tools(2)})
				if early {
					s.Stop()
				}
				g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{
					"breaker": entry{"failures": 3, "open": "1h"}, "retries": entry{"attempts": 0},
				})}})
				c := g.Modern("/servers/one/mcp")
				if !early {
					if r := c.Tool("tool0000", "{}"); r.Texts() != "done" {
						t.Fatal(r)
					}
					s.Stop()
				}
				for i := range 8 {
					r := c.Tool("tool0000", "{}")
					_, text := r.Error()
					if open := strings.Contains(text, "circuit breaker is open"); open != (i >= 3) || open && r.Header.Get("Retry-After") == "" {
						t.Errorf("call %d: %v, Retry-After %q", i, r, r.Header.Get("Retry-After"))
					}
				}
				s.Start()
				testenv.Eventually(t, "the server is called again", func() bool { return c.Tool("tool0000", "{}").Texts() == "done" })
				awaitStates(t, g, "ready")
			})
		}
	}
}

// TestBreakerElsewhere: with several instances an open breaker is not felt.
func TestBreakerElsewhere(t *testing.T) {
	t.Parallel()
	var bad, good fickle
	bad.mood.Store(1)
	urls := []string{testenv.HTTPServer(t, bad.script(testenv.Modern)).URL, testenv.HTTPServer(t, good.script(testenv.Modern)).URL}
	g := serveEntry(t, entry{"urls": urls, "breaker": entry{"failures": 2, "open": "1h"}, "health": entry{"failures": 0}})
	awaitStates(t, g, "ready", "ready")
	c := g.Modern("/servers/one/mcp")
	testenv.Eventually(t, "the breaker opens", func() bool {
		c.Tool("tool0000", "{}")
		return states(t, g) == "open ready"
	})
	for range 20 {
		if r := c.Tool("tool0000", "{}"); r.Texts() != "done" {
			t.Fatalf("%v", r)
		}
	}
	r := readyOf(t, g)
	if r.Code != 200 || r.Status != "degraded" || !strings.Contains(strings.Join(r.Reasons, "\n"), "HTTP 500") {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{`mcp_server_breaker_open{server="one"} 1`, `mcp_server_instance_up{instance="`, `mcp_server_instance_calls_total{`, `mcp_server_instance_ejections_total{`} {
		if _, metrics := g.Get("/metrics", nil); !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

// TestProbes: each kind of probe takes an instance out and brings it back.
func TestProbes(t *testing.T) {
	t.Parallel()
	for name, active := range map[string]entry{"mcp": {}, "tcp": {"kind": "tcp"}, "http": {"kind": "http", "path": "/mcp"}} {
		for _, era := range testenv.Eras {
			t.Run(name+" "+era.String(), func(t *testing.T) {
				t.Parallel()
				active := entry{"interval": "20ms", "timeout": "10s", "kind": active["kind"], "path": active["path"]}
				for k, v := range active {
					if v == nil {
						delete(active, k)
					}
				}
				script := named(era)
				all, urls := copies(t, 2, func(i int) testenv.Script {
					s := script(i)
					s.On["GET"] = func(c *testenv.Call) { c.HTTP.Status(200, "text/plain", "well") }
					return s
				})
				g := serveEntry(t, entry{"urls": urls, "health": entry{"active": active, "ejectFor": "10ms"}})
				awaitStates(t, g, "ready", "ready")
				all[1].Stop()
				awaitStates(t, g, "ready", "down")
				if got := spread(t, apart(g, era), 20); got["i1"] != 0 {
					t.Errorf("%v", got)
				}
				in := readyOf(t, g).Servers["one"].Instances
				if !strings.Contains(in[1].Reason, "probe ("+name+"): ") {
					t.Errorf("%+v", in)
				}
				testenv.Eventually(t, "telling when it is probed again", func() bool { return readyOf(t, g).Servers["one"].Instances[1].Again != nil })
				all[1].Start()
				awaitStates(t, g, "ready", "ready")
				if in := readyOf(t, g).Servers["one"].Instances; in[1].Again != nil {
					t.Errorf("it is up: %+v", in)
				}
			})
		}
	}
}

// TestProbeTimeout: an instance that does not answer probes in time is out, though it takes connections.
func TestProbeTimeout(t *testing.T) {
	t.Parallel()
	var slow atomic.Bool
	_, urls := copies(t, 2, func(i int) testenv.Script {
		return testenv.Script{Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){"server/discover": func(c *testenv.Call) {
			if i == 1 && slow.Load() {
				c.Hang()
				return
			}
			c.Default()
		}}}
	})
	g := serveEntry(t, entry{"urls": urls, "health": entry{"active": entry{"interval": "20ms", "timeout": "50ms"}}})
	awaitStates(t, g, "ready", "ready")
	slow.Store(true)
	awaitStates(t, g, "ready", "down")
	if in := readyOf(t, g).Servers["one"].Instances; !strings.Contains(in[1].Reason, "50ms") {
		t.Errorf("%+v", in)
	}
}

// TestFlapping: an instance that comes and goes all the time is told of seldom, and callers notice nothing.
func TestFlapping(t *testing.T) {
	t.Parallel()
	all, urls := copies(t, 2, named(testenv.Modern))
	g := serveEntry(t, entry{"urls": urls, "health": entry{"ejectFor": "200ms", "active": entry{"kind": "tcp", "interval": "10ms"}}})
	awaitStates(t, g, "ready", "ready")
	c := g.Modern("/servers/one/mcp")
	failed := 0
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		all[1].Stop()
		for range 10 {
			if c.Tool("tool0000", "{}").Texts() == "" {
				failed++
			}
		}
		all[1].Start()
		for range 10 {
			if c.Tool("tool0000", "{}").Texts() == "" {
				failed++
			}
		}
	}
	if failed > 0 {
		t.Errorf("%d calls failed", failed)
	}
	lines := strings.Count(g.Log(), "msg=\"instance ") + strings.Count(g.Log(), "server failed")
	if lines > 30 {
		t.Errorf("%d lines in the log", lines)
	}
}

// TestAdaptive: a server that slows down is given fewer calls, further ones are refused at once with the time to come again, and
// other servers notice nothing.
func TestAdaptive(t *testing.T) {
	t.Parallel()
	var m fickle
	s := testenv.HTTPServer(t, m.script(testenv.Modern))
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"other": testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})},
		Entries: map[string]any{"one": s.Entry(map[string]any{"concurrency": entry{"min": 2, "max": 64}})},
	})
	c := g.Modern("/servers/one/mcp")
	for range 20 {
		if r := c.Tool("tool0000", "{}"); r.Texts() != "done" {
			t.Fatalf("%v", r)
		}
	}
	release := m.hang()
	var calls sync.WaitGroup
	var shed atomic.Pointer[testenv.Reply]
	testenv.Eventually(t, "calls are refused", func() bool {
		calls.Go(func() {
			if r := c.Tool("tool0000", "{}"); r.Status == http.StatusServiceUnavailable {
				shed.Store(r)
			}
		})
		return shed.Load() != nil
	})
	if r := shed.Load(); r.Header.Get("Retry-After") == "" {
		t.Errorf("%v %v", r, r.Header)
	}
	testenv.Eventually(t, "the bound falls to its minimum", func() bool {
		c.Tool("tool0000", "{}")
		return readyOf(t, g).Servers["one"].Concurrency.Limit == 2
	})
	watch := testenv.StartWatch(t)
	if r := g.Modern("/servers/other/mcp").Tool("tool0000", "{}"); r.Texts() != "done" || watch.Took() > 2*time.Second {
		t.Errorf("another server: %v after %s", r, watch.Took())
	}
	if _, metrics := g.Get("/metrics", nil); !strings.Contains(metrics, `mcp_server_refused_calls_total{reason="concurrency",server="one"}`) ||
		!strings.Contains(metrics, `mcp_server_concurrency_limit{server="one"} 2`) {
		t.Error("the metrics do not tell")
	}
	m.mood.Store(0)
	release()
	calls.Wait()
	testenv.Eventually(t, "the bound rises again", func() bool {
		var some sync.WaitGroup
		for range 16 {
			some.Go(func() { c.Tool("tool0000", "{}") })
		}
		some.Wait()
		return readyOf(t, g).Servers["one"].Concurrency.Limit > 8
	})
}

// TestFixedBound: concurrency.max alone bounds where adaptive is false.
func TestFixedBound(t *testing.T) {
	t.Parallel()
	var m fickle
	s := testenv.HTTPServer(t, m.script(testenv.Legacy))
	g := serveEntry(t, s.Entry(map[string]any{"concurrency": entry{"adaptive": false, "max": 3}}))
	c := g.Modern("/servers/one/mcp")
	release := m.hang()
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() {
			if r := c.Tool("tool0000", "{}"); r.Texts() != "done" {
				t.Errorf("%v", r)
			}
		})
	}
	testenv.Eventually(t, "three are under way", func() bool { return m.calls.Load() == 3 })
	if r := c.Tool("tool0000", "{}"); r.Status != http.StatusServiceUnavailable {
		t.Errorf("the fourth: HTTP %d %v", r.Status, r)
	}
	release()
	calls.Wait()
}

// TestBreakerTrialFails: where nobody listens, each trial has the breaker be open for its time again.
func TestBreakerTrialFails(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	s.Stop()
	g := serveEntry(t, s.Entry(entry{"breaker": entry{"failures": 1, "open": "500ms"}, "retries": entry{"attempts": 0}}))
	c := g.Modern("/servers/one/mcp")
	began, tried, refused := time.Now(), 0, 0
	testenv.Eventually(t, "trials", func() bool {
		if _, text := c.Tool("tool0000", "{}").Error(); strings.Contains(text, "circuit breaker is open") {
			refused++
		} else {
			tried++
		}
		return refused > 0 && time.Since(began) > 1600*time.Millisecond
	})
	if most := int(time.Since(began)/(500*time.Millisecond)) + 2; tried > most {
		t.Errorf("%d calls were tried, and %d refused; at most %d may be", tried, refused, most)
	}
}
