package system_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// report is what a child tells of itself and of the call that it got.
type report struct {
	PID     int    `json:"pid"`
	Secret  string `json:"secret"`
	Who     string `json:"who"`
	Dir     string `json:"dir"`
	Asks    string `json:"asks"` // the client's capabilities, of a modern call
	Counter int    `json:"counter"`
}

// reporter is a server whose tool "who" tells a report, and counts the calls of its process.
func reporter(era testenv.Era) testenv.Script {
	var mu sync.Mutex
	counts := map[int]int{}
	return testenv.Script{Era: era, Tools: []string{testenv.Tool("who")}, On: map[string]func(*testenv.Call){
		"tools/call who": func(c *testenv.Call) {
			mu.Lock()
			counts[c.Child.PID]++
			r := report{PID: c.Child.PID, Dir: c.Child.Dir, Asks: c.Meta("io.modelcontextprotocol/clientCapabilities"), Counter: counts[c.Child.PID]}
			mu.Unlock()
			r.Secret, r.Who = c.Child.Var("SECRET"), c.Child.Var("WHO")
			text, _ := json.Marshal(r)
			c.Text(string(text))
		},
	}}
}

func who(t *testing.T, c *testenv.Client) (r report) {
	t.Helper()
	reply := c.Tool("one__who", "{}")
	if err := json.Unmarshal([]byte(reply.Texts()), &r); err != nil {
		t.Fatalf("who: %v", reply)
	}
	return r
}

// isolated is the configuration of one isolated server, with keys whose principals have a secret each.
func isolated(s *testenv.Server, more map[string]any) testenv.Config {
	keys := []map[string]any{
		{"name": "alice", "key": aliceKey, "tenant": "acme", "credentials": map[string]any{"own": "secret-of-alice"}},
		{"name": "bob", "key": bobKey, "tenant": "acme", "credentials": map[string]any{"own": "secret-of-bob"}},
		{"name": "carol", "key": carolKey, "tenant": "other", "credentials": map[string]any{"own": "secret-of-carol"}},
	}
	return testenv.Config{Entries: map[string]any{"one": s.Entry(more)}, More: map[string]any{"auth": map[string]any{"apiKeys": keys}}}
}

const carolKey = "carols-key-0123456789abcdef"

func as(t *testing.T, g *testenv.Gateway, era testenv.Era, key, capabilities string) *testenv.Client {
	c := testenv.NewClient(t, g.URL+"/mcp", era)
	c.Key, c.Capabilities = key, capabilities
	if era == testenv.Legacy {
		c.Initialize(testenv.LegacyVersion)
	}
	return c
}

// TestTwoPrincipals: a server that is given the callers' credentials has a process for each principal, which sees one
// principal's credentials and one client's capabilities, however many calls there are at once.
func TestTwoPrincipals(t *testing.T) {
	t.Parallel()
	for _, serverEra := range testenv.Eras {
		for _, era := range testenv.Eras {
			t.Run(era.String()+" client, "+serverEra.String()+" server", func(t *testing.T) {
				t.Parallel()
				s := testenv.StdioServer(t, reporter(serverEra))
				g := testenv.Serve(t, isolated(s, map[string]any{"env": map[string]any{
					"SECRET": "${credential:own}", "WHO": "${principal.tenant}/${principal.subject}",
				}}))
				type one struct{ key, secret, who, asks string }
				all := []one{
					{aliceKey, "secret-of-alice", "acme/alice", `{"roots":{}}`},
					{bobKey, "secret-of-bob", "acme/bob", `{"sampling":{}}`},
					{carolKey, "secret-of-carol", "other/carol", `{}`},
				}
				var mu sync.Mutex
				pids := map[string]map[int]bool{}
				var wg sync.WaitGroup
				for i := range 30 {
					o := all[i%len(all)]
					wg.Go(func() {
						c := as(t, g, era, o.key, o.asks)
						for range 10 {
							r := who(t, c)
							if r.Secret != o.secret || r.Who != o.who {
								t.Errorf("%s got %+v", o.who, r)
							}
							if serverEra == testenv.Modern && era == testenv.Modern && !strings.Contains(r.Asks, strings.Trim(o.asks, "{}")) {
								t.Errorf("%s: the server saw the capabilities %s", o.who, r.Asks)
							}
							mu.Lock()
							if pids[o.who] == nil {
								pids[o.who] = map[int]bool{}
							}
							pids[o.who][r.PID] = true
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				seen := map[int]string{}
				for name, own := range pids {
					if len(own) != 1 {
						t.Errorf("%s has %d processes", name, len(own))
					}
					for pid := range own {
						if other, twice := seen[pid]; twice {
							t.Errorf("%s and %s share a process", name, other)
						}
						seen[pid] = name
					}
				}
				if n := len(s.Children()); n != 3 {
					t.Errorf("%d processes were started for three principals", n)
				}
				for _, secret := range []string{"secret-of-alice", "secret-of-bob", "secret-of-carol"} {
					if strings.Contains(g.Log(), secret) {
						t.Error("a credential is in the log")
					}
				}
			})
		}
	}
}

// TestDerivedIsolation: where callers have keys, a server is theirs alone unless it is said to be shared, and works in a folder of its own.
func TestDerivedIsolation(t *testing.T) {
	t.Parallel()
	for isolation, same := range map[string]bool{"": false, "principal": false, "shared": true} {
		t.Run("isolation "+isolation, func(t *testing.T) {
			t.Parallel()
			s := testenv.StdioServer(t, reporter(testenv.Legacy))
			more := map[string]any{}
			if isolation != "" {
				more["isolation"] = isolation
			}
			g := testenv.Serve(t, isolated(s, more))
			a, b, again := who(t, as(t, g, testenv.Modern, aliceKey, "{}")), who(t, as(t, g, testenv.Modern, bobKey, "{}")), who(t, as(t, g, testenv.Legacy, aliceKey, "{}"))
			if (a.PID == b.PID) != same || a.PID != again.PID {
				t.Errorf("alice %d, bob %d, alice again %d", a.PID, b.PID, again.PID)
			}
			here, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			if (a.Dir == here) != same || (a.Dir == b.Dir) != same || a.Dir == "" {
				t.Errorf("alice works in %s, bob in %s", a.Dir, b.Dir)
			}
		})
	}
}

// TestTenantIsolation: those of one tenant share a process, and a folder of theirs.
func TestTenantIsolation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"acme", "other"} {
		if err := os.Mkdir(dir+"/"+name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := testenv.StdioServer(t, reporter(testenv.Modern))
	g := testenv.Serve(t, isolated(s, map[string]any{"cwd": dir + "/${principal.tenant}"}))
	a, b, c := who(t, as(t, g, testenv.Modern, aliceKey, "{}")), who(t, as(t, g, testenv.Legacy, bobKey, "{}")), who(t, as(t, g, testenv.Modern, carolKey, "{}"))
	if a.PID != b.PID || a.PID == c.PID || !strings.HasSuffix(a.Dir, "/acme") || !strings.HasSuffix(c.Dir, "/other") {
		t.Errorf("alice %+v, bob %+v, carol %+v", a, b, c)
	}
}

// TestSessionIsolation: each legacy session has a process, which ends with it; a modern client has that of its principal.
func TestSessionIsolation(t *testing.T) {
	t.Parallel()
	needsProc(t)
	s := testenv.StdioServer(t, reporter(testenv.Legacy))
	g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{"isolation": "session"})}})
	base := func() int { return len(testenv.Processes(s.Marker())) }
	testenv.Eventually(t, "the lists of the server", func() bool { return len(s.Received("tools/list")) > 0 })
	before := base()
	first, second := as(t, g, testenv.Legacy, "", "{}"), as(t, g, testenv.Legacy, "", "{}")
	a, b := who(t, first), who(t, second)
	m, n := who(t, as(t, g, testenv.Modern, "", "{}")), who(t, as(t, g, testenv.Modern, "", "{}"))
	if a.PID == b.PID || a.PID == m.PID || m.PID != n.PID {
		t.Errorf("sessions %d and %d, modern %d and %d", a.PID, b.PID, m.PID, n.PID)
	}
	if again := who(t, first); again.PID != a.PID || again.Counter != 2 {
		t.Errorf("the second call of the first session: %+v", again)
	}
	if first.Delete() != 204 {
		t.Error("not deleted")
	}
	testenv.Eventually(t, "the end of the session's process", func() bool { return !testenv.Alive(a.PID) })
	if !testenv.Alive(b.PID) {
		t.Error("the other session's process ended too")
	}
	second.Delete()
	testenv.Eventually(t, "the end of all but the one of the modern clients", func() bool { return base() == before+1 })
}

// growing reports as reporter does. Each process lists one more tool after it was told to grow, and one by its secret.
func growing() testenv.Script {
	var mu sync.Mutex
	grown := map[int]bool{}
	script := reporter(testenv.Legacy)
	script.Tools = append(script.Tools, testenv.Tool("grow"))
	script.Capabilities = `{"tools":{"listChanged":true}}`
	script.On["tools/list"] = func(c *testenv.Call) {
		mu.Lock()
		defer mu.Unlock()
		tools := slices.Clone(script.Tools)
		if secret := c.Child.Var("SECRET"); secret != "" {
			tools = append(tools, testenv.Tool("of_"+secret))
		}
		if grown[c.Child.PID] {
			tools = append(tools, testenv.Tool("grown"))
		}
		c.Complete(`"tools":[` + strings.Join(tools, ",") + "]")
	}
	script.On["tools/call grow"] = func(c *testenv.Call) {
		mu.Lock()
		grown[c.Child.PID] = true
		mu.Unlock()
		c.Before(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
		c.Text("grown")
	}
	return script
}

// TestOwnLists: what the instance of a principal lists is shown to that principal only, also after it changed.
func TestOwnLists(t *testing.T) {
	t.Parallel()
	for _, personal := range []bool{true, false} {
		t.Run(fmt.Sprintf("personal %t", personal), func(t *testing.T) {
			t.Parallel()
			s := testenv.StdioServer(t, growing())
			more := map[string]any{}
			if personal {
				more["env"] = map[string]any{"SECRET": "${credential:own}"}
			}
			g := testenv.Serve(t, isolated(s, more))
			alice, bob := as(t, g, testenv.Modern, aliceKey, "{}"), as(t, g, testenv.Modern, bobKey, "{}")
			names := func(c *testenv.Client) []string {
				r := c.Call("tools/list", "")
				if c.Era == testenv.Modern && r.Member("cacheScope") != `"private"` {
					t.Errorf("cacheScope %s", r.Member("cacheScope"))
				}
				return r.Names("tools")
			}
			for range 3 {
				for c, own := range map[*testenv.Client]string{alice: "one__of_secret-of-alice", bob: "one__of_secret-of-bob"} {
					want := []string{"one__who", "one__grow"}
					if personal {
						want = append(want, own)
					}
					if got := names(c); !slices.Equal(got, want) {
						t.Errorf("%v, want %v", got, want)
					}
				}
			}
			alice.Tool("one__grow", "{}")
			testenv.Eventually(t, "alice's new tool", func() bool { return slices.Contains(names(alice), "one__grown") })
			if got := names(bob); slices.Contains(got, "one__grown") {
				t.Errorf("bob sees %v", got)
			}
			if got := names(as(t, g, testenv.Legacy, aliceKey, "{}")); !slices.Contains(got, "one__grown") {
				t.Errorf("alice's other client sees %v", got)
			}
		})
	}
}

// TestRoom: with as many instances as there may be, the one unused longest makes room; those in use do not, and further calls
// are refused with the remedy.
func TestRoom(t *testing.T) {
	t.Parallel()
	script := reporter(testenv.Legacy)
	script.Tools = append(script.Tools, testenv.Tool("hang"))
	script.On["tools/call hang"] = (*testenv.Call).Hang
	s := testenv.StdioServer(t, script)
	g := testenv.Serve(t, isolated(s, map[string]any{"pool": map[string]any{"max": 2, "queue": 1, "wait": "4s", "idle": "1m"}}))
	alice, bob, carol := as(t, g, testenv.Modern, aliceKey, "{}"), as(t, g, testenv.Modern, bobKey, "{}"), as(t, g, testenv.Modern, carolKey, "{}")
	a, b := who(t, alice), who(t, bob)
	c := who(t, carol)
	testenv.Eventually(t, "the end of alice's process", func() bool { return !testenv.Alive(a.PID) })
	if !testenv.Alive(b.PID) || !testenv.Alive(c.PID) {
		t.Error("the wrong one was ended")
	}
	ctx, cancel := context.WithCancel(t.Context())
	var hanging sync.WaitGroup
	defer hanging.Wait()
	defer cancel()
	for _, client := range []*testenv.Client{bob, carol} {
		hanging.Go(func() {
			_, _ = client.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"one__hang","arguments":{}`}) // until it is given up
		})
	}
	s.Await("tools/call", 5)
	r := alice.Tool("one__who", "{}")
	if _, text := r.Error(); !strings.Contains(text, "raise pool.max") || r.Status != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("waited too long: HTTP %d %v", r.Status, r)
	}
	replies := make(chan *testenv.Reply, 5)
	for range 5 {
		go func() { replies <- alice.Tool("one__who", "{}") }()
	}
	full := 0
	for range 5 {
		if _, text := (<-replies).Error(); strings.Contains(text, "raise pool.queue") {
			full++
		}
	}
	if full == 0 {
		t.Error("the queue was never full")
	}
}

// TestNoCredential: a caller without what the server needs is told so at once, and harms nobody.
func TestNoCredential(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, reporter(testenv.Modern))
	config := isolated(s, map[string]any{"env": map[string]any{"SECRET": "${credential:rare}"}})
	keys := config.More["auth"].(map[string]any)["apiKeys"].([]map[string]any)
	keys[0]["credentials"] = map[string]any{"rare": "rare-secret"}
	config.Entries["two"] = testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)}).Entry()
	g := testenv.Serve(t, config)
	bob := as(t, g, testenv.Modern, bobKey, "{}")
	for range 5 {
		if _, text := bob.Tool("one__who", "{}").Error(); !strings.Contains(text, `no credential "rare"`) {
			t.Errorf("%q", text)
		}
		if names := bob.Call("tools/list", "").Names("tools"); !slices.Equal(names, []string{"two__tool0000"}) {
			t.Errorf("listed: %v", names)
		}
	}
	if log := g.Log(); !strings.Contains(log, "server left out of the lists of a caller") || !strings.Contains(log, "acme/bob") {
		t.Error("the log does not say why a server is left out of the lists")
	}
	if st := readiness(t, g); st != "200 ready" {
		t.Error(st)
	}
	if names := as(t, g, testenv.Legacy, aliceKey, "{}").Call("tools/list", "").Names("tools"); len(names) != 2 {
		t.Errorf("listed to who has the credential: %v", names)
	}
	if r := who(t, as(t, g, testenv.Modern, aliceKey, "{}")); r.Secret != "rare-secret" {
		t.Errorf("%+v", r)
	}
	if n := len(s.Children()); n != 1 {
		t.Errorf("%d processes", n)
	}
}

// readiness is what /health/ready says to a caller with a key.
func readiness(t *testing.T, g *testenv.Gateway) string {
	t.Helper()
	code, body := g.Get("/health/ready", http.Header{"Authorization": {"Bearer " + carolKey}})
	var r struct{ Status string }
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if strings.Contains(body, "words of bob") {
		t.Errorf("readiness tells what the process of another caller printed: %s", body)
	}
	return fmt.Sprint(code, " ", r.Status)
}

// TestOneCallersFault: a personal server that does not start with what one caller gives it has not failed for all.
func TestOneCallersFault(t *testing.T) {
	t.Parallel()
	script := reporter(testenv.Modern)
	script.On["server/discover"] = func(c *testenv.Call) {
		if c.Child.Var("SECRET") == "secret-of-alice" {
			c.Default()
			return
		}
		c.Child.Complain("words of bob\n")
		c.Child.Exit(3)
	}
	script.On["initialize"] = script.On["server/discover"]
	s := testenv.StdioServer(t, script)
	g := testenv.Serve(t, isolated(s, map[string]any{"env": map[string]any{"SECRET": "${credential:own}"}}))
	for range 2 {
		if _, text := as(t, g, testenv.Modern, bobKey, "{}").Tool("one__who", "{}").Error(); !strings.Contains(text, "words of bob") {
			t.Errorf("what is wrong is not told to whom it concerns: %q", text)
		}
		if st := readiness(t, g); st != "200 ready" {
			t.Error(st)
		}
	}
	if _, text := as(t, g, testenv.Modern, carolKey, "{}").Tool("one__who", "{}").Error(); text == "" {
		t.Error("it starts")
	}
	if st := readiness(t, g); st != "503 unready" {
		t.Errorf("it starts for nobody: %s", st)
	}
	who(t, as(t, g, testenv.Modern, aliceKey, "{}"))
	if st := readiness(t, g); st != "200 ready" {
		t.Error(st)
	}
}

// TestOthersSecrets: what the process of a caller prints shows no other caller's credentials either, wherever it is from.
func TestOthersSecrets(t *testing.T) {
	t.Parallel()
	script := reporter(testenv.Modern)
	script.On["tools/call who"] = func(c *testenv.Call) {
		c.Child.Complain("found secret-of-alice, secret-of-bob and secret-of-dave\n")
		c.Child.Exit(3)
	}
	s := testenv.StdioServer(t, script)
	config := isolated(s, map[string]any{"env": map[string]any{"SECRET": "Bearer ${credential:own}"}})
	g := testenv.Serve(t, config)
	shows := func(printed string) {
		t.Helper()
		testenv.Eventually(t, printed, func() bool {
			as(t, g, testenv.Modern, aliceKey, "{}").Tool("one__who", "{}")
			return strings.Contains(g.Log(), printed)
		})
	}
	const blot = "[credential:own]"
	shows("found " + blot + ", " + blot + " and secret-of-dave")
	keys := config.More["auth"].(map[string]any)["apiKeys"].([]map[string]any)
	keys[2]["credentials"] = map[string]any{"own": "secret-of-dave"}
	g.Configure(config)
	shows("found " + blot + ", " + blot + " and " + blot)
	if strings.Contains(g.Log(), "secret-of-bob") {
		t.Error("the log shows another caller's secret")
	}
}

// TestStateOfAFamily: a server is ready while any of its instances is up, and everything that tells its state agrees.
func TestStateOfAFamily(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, reporter(testenv.Modern))
	g := testenv.Serve(t, isolated(s, map[string]any{
		"env": map[string]any{"SECRET": "${credential:own}"}, "pool": map[string]any{"idle": "300ms"},
	}))
	shows := func(state string, callers ...string) {
		t.Helper()
		testenv.Eventually(t, state, func() bool {
			for _, key := range callers { // their instances end soon
				who(t, as(t, g, testenv.Modern, key, "{}"))
			}
			mine := http.Header{"Authorization": {"Bearer " + aliceKey}}
			_, body := g.Get("/health/ready", mine)
			_, metrics := g.Get("/metrics", mine)
			return strings.Contains(strings.ReplaceAll(body, ": ", ":"), `"state":"`+state+`"`) &&
				strings.Contains(metrics, `mcp_server_state{server="one",state="`+state+`"} 1`)
		})
	}
	shows("idle")
	shows("ready", aliceKey, bobKey)
	shows("idle")
}

// TestUnfitNames: a caller whose name would lead out of a folder or pass for an option is refused the server that is given it
// there, with the reason and not the secrets, and nothing else.
func TestUnfitNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, tenant, where, want string }{
		{"..", "acme", "cwd", "above"},
		{"a/b", "acme", "cwd", "slash"},
		{".", "acme", "args", "own name for itself"},
		{"-rf", "acme", "args", "begins with -"},
		{"ok", "../x", "args", "slash"},
		{"ok", "--all", "args", "begins with -"},
	} {
		t.Run(tt.where+" "+tt.name+" "+tt.tenant, func(t *testing.T) {
			t.Parallel()
			s, plain := testenv.StdioServer(t, reporter(testenv.Modern)), testenv.StdioServer(t, reporter(testenv.Modern))
			source, ref := "auth.apiKeys[].name", "${principal.subject}"
			if tt.name == "ok" {
				source, ref = "auth.apiKeys[].tenant", "${principal.tenant}"
			}
			more := map[string]any{"cwd": "/" + ref}
			if tt.where == "args" {
				more = map[string]any{"args": []string{ref}}
			}
			more["env"] = map[string]any{"SECRET": "${credential:own}"}
			config := isolated(s, more)
			config.Entries["two"] = plain.Entry(nil)
			keys := config.More["auth"].(map[string]any)["apiKeys"].([]map[string]any)
			keys[0]["name"], keys[0]["tenant"] = tt.name, tt.tenant
			g := testenv.Serve(t, config)
			alice := as(t, g, testenv.Modern, aliceKey, "{}")
			_, text := alice.Tool("one__who", "{}").Error()
			if !strings.Contains(text, ref) || !strings.Contains(text, tt.want) || !strings.Contains(text, source) {
				t.Errorf("%q", text)
			}
			if strings.Contains(text+g.Log(), "secret-of-alice") {
				t.Errorf("a credential is shown")
			}
			if r := alice.Tool("two__who", "{}"); r.Texts() == "" {
				t.Errorf("another server: %v", r)
			}
			if n := len(s.Children()); n != 0 {
				t.Errorf("%d processes", n)
			}
		})
	}
}

// TestSpare: a new key gets a process that was started before it came, and another one is started in its place.
func TestSpare(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, reporter(testenv.Legacy))
	g := testenv.Serve(t, isolated(s, map[string]any{"pool": map[string]any{"spares": 1}}))
	handed := 0
	for i, key := range []string{aliceKey, bobKey, carolKey} {
		s.Await("notifications/initialized", i+2) // of the one that gives the lists, and of spares
		var there []int
		for _, c := range s.Children() {
			there = append(there, c.PID)
		}
		if r := who(t, as(t, g, testenv.Modern, key, "{}")); slices.Contains(there, r.PID) {
			handed++ // the gateway may not have noticed yet that the spare is up
		}
	}
	if handed == 0 {
		t.Error("no spare was handed over")
	}
	s.Await("notifications/initialized", 5)
}

// TestReload: what concerns a server is applied to its instances too.
func TestReloadIsolated(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, reporter(testenv.Modern))
	config := isolated(s, map[string]any{"env": map[string]any{"SECRET": "${credential:own}"}})
	g := testenv.Serve(t, config)
	alice := as(t, g, testenv.Modern, aliceKey, "{}")
	first := who(t, alice)
	config.More["log"] = map[string]any{"level": "info"}
	g.Configure(config)
	testenv.Eventually(t, "the new configuration", func() bool { return strings.Contains(g.Log(), "configuration applied") })
	if again := who(t, alice); again.PID != first.PID {
		t.Error("another process after a change that does not concern the server")
	}
	auth := config.More["auth"].(map[string]any)
	keys := auth["apiKeys"].([]map[string]any)
	keys[1]["groups"] = []string{"others"}
	auth["revocation"] = "7s"
	auth["apiKeys"] = append(keys, map[string]any{"name": "erin", "key": "key-of-erin-0123456789", "credentials": map[string]any{"own": "secret-of-erin"}})
	g.Configure(config)
	testenv.Eventually(t, "the new configuration", func() bool { return strings.Count(g.Log(), "configuration applied") == 2 })
	if erin := who(t, as(t, g, testenv.Modern, "key-of-erin-0123456789", "{}")); erin.Secret != "secret-of-erin" {
		t.Errorf("whoever is new is given %q", erin.Secret)
	}
	if again := who(t, alice); again.PID != first.PID {
		t.Error("another process after others changed who call")
	}
	keys[0]["credentials"] = map[string]any{"own": "new-secret"}
	g.Configure(config)
	testenv.Eventually(t, "the new credential", func() bool { return who(t, alice).Secret == "new-secret" })
	testenv.Eventually(t, "the end of the old process", func() bool { return !testenv.Alive(first.PID) })
}

// TestReloadToIsolated: what callers watched at the process that they shared is watched at their own instances when they get those,
// and not at the one that is nobody's.
func TestReloadToIsolated(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	watching := map[int]bool{}
	script := reporter(testenv.Legacy)
	script.Resources = []string{`{"uri":"mem://a","name":"a"}`}
	script.Capabilities = `{"tools":{},"resources":{"subscribe":true}}`
	script.On["resources/subscribe"] = func(c *testenv.Call) {
		mu.Lock()
		watching[c.Child.PID] = true
		mu.Unlock()
		c.Result("{}")
	}
	s := testenv.StdioServer(t, script)
	config := isolated(s, map[string]any{"isolation": "shared"})
	g := testenv.Serve(t, config)
	alice, bob := as(t, g, testenv.Modern, aliceKey, "{}"), as(t, g, testenv.Legacy, bobKey, "{}")
	first := alice.Listen("1", `{"resourceSubscriptions":["mem://a"]}`)
	first.Await(acknowledged, 1)
	second := bob.Hear()
	if r := bob.Call("resources/subscribe", `"uri":"mem://a"`); string(r.Result()) != "{}" {
		t.Fatal(r)
	}
	shared := who(t, alice).PID
	config.Entries["one"] = s.Entry(map[string]any{"isolation": "principal"})
	g.Configure(config)
	testenv.Eventually(t, "the end of the process that all shared", func() bool { return !testenv.Alive(shared) })
	first.Ended()
	a, b := who(t, alice).PID, who(t, bob).PID
	testenv.Eventually(t, "bob's resource at bob's instance", func() bool { mu.Lock(); defer mu.Unlock(); return watching[b] })
	mu.Lock()
	for pid := range watching {
		if pid != shared && pid != b {
			t.Errorf("watched at %d too; alice's is %d", pid, a)
		}
	}
	mu.Unlock()
	second.Close()
}

// TestOwnSubscription: who watches a resource hears of it from the caller's own instance, which is kept for that.
func TestOwnSubscription(t *testing.T) {
	t.Parallel()
	script := reporter(testenv.Legacy)
	script.Tools = append(script.Tools, testenv.Tool("touch"))
	script.Resources = []string{`{"uri":"mem://a","name":"a"}`}
	script.Capabilities = `{"tools":{},"resources":{"subscribe":true}}`
	script.On["resources/subscribe"] = func(c *testenv.Call) { c.Result("{}") }
	script.On["tools/call touch"] = func(c *testenv.Call) {
		c.Before(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"mem://a"}}`)
		c.Text("touched")
	}
	s := testenv.StdioServer(t, script)
	g := testenv.Serve(t, isolated(s, map[string]any{"pool": map[string]any{"idle": "200ms"}}))
	alice, bob, carol := as(t, g, testenv.Modern, aliceKey, "{}"), as(t, g, testenv.Legacy, bobKey, "{}"), as(t, g, testenv.Modern, carolKey, "{}")
	first := alice.Listen("1", `{"resourceSubscriptions":["mem://a"]}`)
	first.Await(acknowledged, 1)
	second := bob.Hear()
	if r := bob.Call("resources/subscribe", `"uri":"mem://a"`); string(r.Result()) != "{}" {
		t.Fatal(r)
	}
	a, b, c := who(t, alice), who(t, bob), who(t, carol)
	testenv.Eventually(t, "the end of carol's process, which nobody uses", func() bool { return !testenv.Alive(c.PID) })
	if !testenv.Alive(a.PID) || !testenv.Alive(b.PID) {
		t.Error("a process was stopped whose resource is watched")
	}
	bob.Tool("one__touch", "{}")
	second.Await(updated, 1)
	if n := len(first.Heard(updated)); n != 0 {
		t.Errorf("alice hears of bob's instance %d times", n)
	}
	alice.Tool("one__touch", "{}")
	first.Await(updated, 1)
	if n := len(second.Heard(updated)); n != 1 {
		t.Errorf("bob heard %d times", n)
	}
	first.Close()
	testenv.Eventually(t, "the end of alice's process after its watch", func() bool { return !testenv.Alive(a.PID) })
}

// TestCeilings: isolated servers share the room that a tenant has; what is idle at one is stopped for another.
func TestCeilings(t *testing.T) {
	t.Parallel()
	script := reporter(testenv.Modern)
	script.Tools = append(script.Tools, testenv.Tool("hang"))
	script.On["tools/call hang"] = (*testenv.Call).Hang
	one, two := testenv.StdioServer(t, script), testenv.StdioServer(t, reporter(testenv.Modern))
	config := isolated(one, map[string]any{"pool": map[string]any{"wait": "6s", "idle": "1m"}})
	config.Entries["two"] = two.Entry(map[string]any{"pool": map[string]any{"wait": "6s", "idle": "1m"}})
	config.More["runner"] = map[string]any{"maxPerTenant": 1}
	g := testenv.Serve(t, config)
	alice, bob, carol := as(t, g, testenv.Modern, aliceKey, "{}"), as(t, g, testenv.Modern, bobKey, "{}"), as(t, g, testenv.Modern, carolKey, "{}")
	first := who(t, alice)
	if r := bob.Tool("two__who", "{}"); r.Texts() == "" {
		t.Errorf("no room was made at the other server: %v", r)
	}
	testenv.Eventually(t, "the end of alice's process", func() bool { return !testenv.Alive(first.PID) })
	ctx, cancel := context.WithCancel(t.Context())
	var hanging sync.WaitGroup
	defer hanging.Wait()
	defer cancel()
	hanging.Go(func() { _, _ = alice.Try(ctx, askTool("one__hang")) }) // until it is given up
	one.Await("tools/call", 2)
	r := bob.Tool("two__who", "{}")
	if _, text := r.Error(); r.Status != 503 || !strings.Contains(text, "runner.maxPerTenant") {
		t.Errorf("HTTP %d %v", r.Status, r)
	}
	if r := carol.Tool("two__who", "{}"); r.Texts() == "" {
		t.Errorf("another tenant: %v", r)
	}
}

// TestEveryProcessCounts: processes of shared servers, and those that give lists, count for the ceiling of all; what is idle
// makes room for them.
func TestEveryProcessCounts(t *testing.T) {
	t.Parallel()
	script := reporter(testenv.Modern)
	script.Tools = append(script.Tools, testenv.Tool("hang"))
	script.On["tools/call hang"] = (*testenv.Call).Hang
	one, two := testenv.StdioServer(t, script), testenv.StdioServer(t, script)
	wait := map[string]any{"wait": "1s", "idle": "10s"}
	config := isolated(one, map[string]any{"pool": wait})
	config.Entries["two"] = two.Entry(map[string]any{"isolation": "shared", "pool": map[string]any{"wait": "5s", "max": 2, "concurrency": 1}})
	config.More["runner"] = map[string]any{"maxInstances": 3}
	g := testenv.Serve(t, config)
	alice, bob := as(t, g, testenv.Modern, aliceKey, "{}"), as(t, g, testenv.Modern, bobKey, "{}")
	testenv.Eventually(t, "both servers", func() bool { return len(one.Children()) == 1 && len(two.Children()) == 1 })
	first := who(t, alice)
	ctx, cancel := context.WithCancel(t.Context())
	var hanging sync.WaitGroup
	defer hanging.Wait()
	defer cancel()
	hang := func(c *testenv.Client, tool string) {
		hanging.Go(func() { _, _ = c.Try(ctx, askTool(tool)) }) // until it is given up
	}
	hang(bob, "two__hang")
	two.Await("tools/call", 1)
	if r := bob.Tool("two__who", "{}"); r.Texts() == "" {
		t.Errorf("the shared server has no second process: %v", r)
	}
	testenv.Eventually(t, "the end of alice's process", func() bool { return !testenv.Alive(first.PID) })
	r := alice.Tool("one__who", "{}")
	if _, text := r.Error(); r.Status != 503 || !strings.Contains(text, "raise runner.maxInstances") || r.Header.Get("Retry-After") == "" {
		t.Errorf("HTTP %d %v", r.Status, r)
	}
}

// TestSlowInstance: a client that wants to hear of progress is told that its instance is being started.
func TestSlowInstance(t *testing.T) {
	t.Parallel()
	script := reporter(testenv.Legacy)
	var slow atomic.Bool
	told := make(chan struct{})
	script.On["initialize"] = func(c *testenv.Call) {
		if slow.Load() {
			select {
			case <-told:
			case <-c.Done:
			}
		}
		c.Default()
	}
	s := testenv.StdioServer(t, script)
	g := testenv.Serve(t, isolated(s, nil))
	testenv.Eventually(t, "the tools are known", func() bool {
		return len(as(t, g, testenv.Modern, bobKey, "{}").Call("tools/list", "").Names("tools")) == 1
	})
	slow.Store(true)
	stream, err := as(t, g, testenv.Modern, aliceKey, "{}").Open(testenv.Within(t, testenv.Patience), testenv.Request{
		Method: "tools/call", Members: `"name":"one__who","arguments":{}`, Meta: `"progressToken":"p"`,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	m, err := stream.Next()
	if err != nil || !strings.Contains(string(m), "notifications/progress") || !strings.Contains(string(m), "waiting for an instance") {
		t.Fatalf("told %s, %v", m, err)
	}
	close(told)
	reply := new(testenv.Reply)
	for err == nil {
		reply.Messages = append(reply.Messages, m)
		m, err = stream.Next()
	}
	if reply.Texts() == "" {
		t.Errorf("%v, %v", reply, err)
	}
}
