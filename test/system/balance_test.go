package system_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// copies starts several instances of a server.
func copies(t *testing.T, n int, script func(i int) testenv.Script) (all []*testenv.Server, urls []string) {
	t.Helper()
	for i := range n {
		s := testenv.HTTPServer(t, script(i))
		all, urls = append(all, s), append(urls, s.URL)
	}
	return all, urls
}

// named answers every call with the name of the instance.
func named(era testenv.Era) func(int) testenv.Script {
	return func(i int) testenv.Script {
		return testenv.Script{Era: era, Tools: testenv.Tools(2), On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) { c.Text(fmt.Sprint("i", i)) },
		}}
	}
}

type entry = map[string]any

// serveEntry serves one server, named "one".
func serveEntry(t *testing.T, e entry) *testenv.Gateway {
	t.Helper()
	return testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": e}})
}

// instanceState is an instance as the gateway shows it.
type instanceState struct {
	Instance, State, Reason, Zone, Era string
	Since                              time.Time
	Again                              *time.Time
	Calls, Ejections                   int
}

// healthOf is what /health/ready says.
type healthOf struct {
	Code    int
	Status  string
	Reasons []string
	Servers map[string]struct {
		State       string
		Instances   []instanceState
		Concurrency struct{ Limit, InFlight int }
	}
}

func readyOf(t *testing.T, g *testenv.Gateway) (r healthOf) {
	t.Helper()
	code, body := g.Get("/health/ready", nil)
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	r.Code = code
	return r
}

// states are those of the instances of "one", in the order of the configuration.
func states(t *testing.T, g *testenv.Gateway) string {
	t.Helper()
	var all []string
	for _, i := range readyOf(t, g).Servers["one"].Instances {
		all = append(all, i.State)
	}
	return strings.Join(all, " ")
}

func awaitStates(t *testing.T, g *testenv.Gateway, each ...string) {
	t.Helper()
	last, want := "", strings.Join(each, " ")
	if !testenv.Happens(func() bool { last = states(t, g); return last == want }) {
		t.Fatalf("instances are %q, want %q", last, want)
	}
}

// spread calls n times and counts who answered.
func spread(t *testing.T, c *testenv.Client, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		r := c.Tool("tool0000", "{}")
		if r.Texts() == "" {
			t.Fatalf("%v", r)
		}
		got[r.Texts()]++
	}
	return got
}

// apart opens a client whose session at a legacy server is its own, since it can be asked something.
func apart(g *testenv.Gateway, era testenv.Era) *testenv.Client {
	c := g.Client(era, "/servers/one/mcp")
	if c.Capabilities = `{"elicitation":{}}`; era == testenv.Legacy {
		c.Initialize(testenv.LegacyVersion)
	}
	return c
}

// TestSpread: calls of modern clients and sessions of legacy ones are spread over instances, by their weights.
func TestSpread(t *testing.T) {
	t.Parallel()
	_, urls := copies(t, 3, named(testenv.Modern))
	g := serveEntry(t, entry{"urls": []any{urls[0], urls[1], entry{"url": urls[2], "weight": 2}}})
	awaitStates(t, g, "ready", "ready", "ready")
	got := spread(t, g.Modern("/servers/one/mcp"), 400)
	if got["i0"] < 60 || got["i1"] < 60 || got["i2"] < 140 {
		t.Errorf("of 400 calls: %v", got)
	}
}

// TestSessionStays: a session of a legacy server stays at its instance, and sessions are spread.
func TestSessionStays(t *testing.T) {
	t.Parallel()
	_, urls := copies(t, 3, named(testenv.Legacy))
	g := serveEntry(t, entry{"urls": urls})
	awaitStates(t, g, "ready", "ready", "ready")
	all := map[string]int{}
	for range 30 {
		got := spread(t, apart(g, testenv.Legacy), 4)
		if len(got) != 1 {
			t.Fatalf("calls of one session: %v", got)
		}
		for name := range got {
			all[name]++
		}
	}
	if len(all) != 3 {
		t.Errorf("30 sessions: %v", all)
	}
}

// TestInstanceLost: the death of an instance is not noticed by callers, of either era, where it keeps no state; it comes back when
// it is there again.
func TestInstanceLost(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			all, urls := copies(t, 2, named(era))
			g := serveEntry(t, entry{"urls": urls, "health": entry{"failures": 2, "ejectFor": "50ms"}})
			awaitStates(t, g, "ready", "ready")
			var clients []*testenv.Client
			for range 8 {
				clients = append(clients, apart(g, era))
			}
			call := func() (names string) {
				for _, c := range clients {
					for name := range spread(t, c, 5) {
						names += name
					}
				}
				return names
			}
			call()
			all[0].Stop()
			if names := call(); strings.Contains(names, "i0") {
				t.Errorf("a dead instance answered: %s", names)
			}
			if r := readyOf(t, g); r.Code != 200 {
				t.Errorf("%+v", r)
			}
			all[0].Start()
			testenv.Eventually(t, "the instance serves again", func() bool {
				return strings.Contains(fmt.Sprint(spread(t, apart(g, era), 3)), "i0")
			})
			awaitStates(t, g, "ready", "ready")
		})
	}
}

// TestSessionKept: where instances keep state, the loss of one is told to its sessions, once, and to no other.
func TestSessionKept(t *testing.T) {
	t.Parallel()
	all, urls := copies(t, 2, named(testenv.Legacy))
	g := serveEntry(t, entry{"urls": urls, "balance": entry{"state": "kept"}})
	awaitStates(t, g, "ready", "ready")
	at := map[string][]*testenv.Client{}
	modern := map[string]*testenv.Client{}
	testenv.Eventually(t, "sessions at both", func() bool {
		c := g.Legacy("/servers/one/mcp")
		for name := range spread(t, c, 1) {
			at[name] = append(at[name], c)
		}
		return len(at) == 2
	})
	m := g.Modern("/servers/one/mcp")
	for name := range spread(t, m, 1) {
		modern[name] = m
	}
	all[0].Stop()
	for _, c := range at["i1"] {
		if got := spread(t, c, 2); got["i1"] != 2 {
			t.Errorf("a session at the other instance: %v", got)
		}
	}
	for _, c := range at["i0"] {
		for range 2 {
			if r := c.Tool("tool0000", "{}"); r.Status != http.StatusNotFound {
				t.Errorf("the session at the dead instance: HTTP %d %v", r.Status, r)
			}
		}
		c.Initialize(testenv.LegacyVersion)
		if got := spread(t, c, 2); got["i1"] != 2 {
			t.Errorf("begun again: %v", got)
		}
	}
	if c := modern["i0"]; c != nil {
		if _, text := c.Tool("tool0000", "{}").Error(); !strings.Contains(text, "begin again") {
			t.Errorf("a modern client is told %q", text)
		}
		spread(t, c, 2)
	}
	// A session that only the server has lost is told of too.
	c := at["i1"][0]
	all[1].ForgetSessions()
	for range 2 {
		if r := c.Tool("tool0000", "{}"); r.Status != http.StatusNotFound {
			t.Errorf("after the server forgot its sessions: HTTP %d %v", r.Status, r)
		}
	}
}

// TestByHeader: what one header says goes to one instance.
func TestByHeader(t *testing.T) {
	t.Parallel()
	_, urls := copies(t, 3, named(testenv.Modern))
	for _, header := range []string{"x-shard", "Mcp-Name"} {
		g := serveEntry(t, entry{"urls": urls, "balance": entry{"by": "header", "header": header}})
		awaitStates(t, g, "ready", "ready", "ready")
		c := g.Modern("/servers/one/mcp")
		all := map[string]bool{}
		for shard := range 40 {
			was := ""
			for range 4 {
				q := testenv.Request{Method: "tools/call", Members: `"name":"tool0000","arguments":{}`, Header: http.Header{"X-Shard": {fmt.Sprint(shard)}}}
				now := c.Do(q).Texts()
				if was != "" && now != was {
					t.Fatalf("%s: shard %d went to %s and %s", header, shard, was, now)
				}
				was = now
			}
			all[was] = true
		}
		if header == "x-shard" && len(all) != 3 || header == "Mcp-Name" && len(all) != 1 {
			t.Errorf("%s: 40 shards went to %v", header, all)
		}
	}
}

// TestZone: instances elsewhere are used only where none of the own zone is up.
func TestZone(t *testing.T) {
	t.Parallel()
	all, urls := copies(t, 2, named(testenv.Modern))
	g := testenv.Serve(t, testenv.Config{
		Entries: map[string]any{"one": entry{
			"urls":    []any{entry{"url": urls[0], "zone": "here"}, entry{"url": urls[1], "zone": "there"}},
			"balance": entry{"away": 0},
		}},
		More: map[string]any{"zone": "here"},
	})
	awaitStates(t, g, "ready", "ready")
	c := g.Modern("/servers/one/mcp")
	if got := spread(t, c, 50); got["i0"] != 50 {
		t.Errorf("%v", got)
	}
	all[0].Stop()
	if got := spread(t, c, 50); got["i1"] != 50 {
		t.Errorf("without the own zone: %v", got)
	}
}

// TestSlowStart: an instance that came is given little at first.
func TestSlowStart(t *testing.T) {
	t.Parallel()
	const grows = 3 * time.Second
	all, urls := copies(t, 2, named(testenv.Modern))
	all[1].Stop()
	g := serveEntry(t, entry{"urls": urls, "balance": entry{"slowStart": grows.String()}})
	awaitStates(t, g, "ready", "joining")
	testenv.Eventually(t, "the first one has its whole share", func() bool {
		return time.Since(readyOf(t, g).Servers["one"].Instances[0].Since) > grows
	})
	all[1].Start()
	awaitStates(t, g, "ready", "ready")
	c := g.Modern("/servers/one/mcp")
	got := spread(t, c, 100)
	since := readyOf(t, g).Servers["one"].Instances[1].Since
	if took := time.Since(since); took < grows/3 && got["i1"] > 40 {
		t.Errorf("within %s it got %v", took, got)
	}
}

// TestAbsentAtStart: what is not there at the start joins when it comes.
func TestAbsentAtStart(t *testing.T) {
	t.Parallel()
	all, urls := copies(t, 2, named(testenv.Modern))
	all[1].Stop()
	g := serveEntry(t, entry{"urls": urls})
	awaitStates(t, g, "ready", "joining")
	c := g.Modern("/servers/one/mcp")
	if got := spread(t, c, 20); got["i0"] != 20 {
		t.Errorf("%v", got)
	}
	all[1].Start()
	awaitStates(t, g, "ready", "ready")
	if got := spread(t, c, 100); got["i1"] == 0 {
		t.Errorf("%v", got)
	}
}

// TestOvertime: an instance that begins no answer within the time that calls have as a whole is passed over, too.
func TestOvertime(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			_, urls := copies(t, 2, func(i int) testenv.Script {
				script := named(era)(i)
				if i == 1 {
					script.On["tools/call"] = (*testenv.Call).Hang
				}
				return script
			})
			g := serveEntry(t, entry{"urls": urls, "timeouts": entry{"total": "300ms"}, "health": entry{"failures": 2, "ejectFor": "1s"}})
			awaitStates(t, g, "ready", "ready")
			testenv.Eventually(t, "it is passed over", func() bool {
				apart(g, era).Tool("tool0000", "{}")
				return states(t, g) == "ready ejected"
			})
		})
	}
}
