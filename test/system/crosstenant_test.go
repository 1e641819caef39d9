package system_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// The tenants have names that stand in nothing else, so that any byte of one shows.
const (
	acme   = "acme-7f3a"
	globex = "globex-b91c"
	daveKy = "daves-key-0123456789abcdef"
)

// citizen is a caller of one of the tenants.
type citizen struct{ name, tenant, key string }

var citizens = []citizen{
	{"alice", acme, aliceKey}, {"bob", acme, bobKey}, {"carol", globex, carolKey}, {"dave", globex, daveKy},
}

func strangerTo(tenant string) string {
	if tenant == acme {
		return globex
	}
	return acme
}

// keeper is a naive server: it keeps what it is told by the tenant that it sees, and hands out whatever has an id to whoever
// names it.
type keeper struct {
	t  *testing.T
	tm testenv.Teller

	mu    sync.Mutex
	notes map[string][]string
	tasks map[string]string
	asked map[string]int
}

var tenantSeen = regexp.MustCompile(acme + "|" + globex)

// whose is the tenant that a message is of. Whatever tells of one tells of the same.
func (k *keeper) whose(c *testenv.Call) string {
	all := tenantSeen.FindAllString(c.Seen().Tag(), -1)
	slices.Sort(all)
	if all = slices.Compact(all); len(all) != 1 {
		k.t.Errorf("%s is of the tenants %q: %s", c.Method, all, c.Seen().Tag())
		return ""
	}
	return all[0]
}

func (k *keeper) script(era testenv.Era) testenv.Script {
	k.notes, k.tasks, k.asked = map[string][]string{}, map[string]string{}, map[string]int{}
	s := testenv.Tagged(era, "keep", "kept", "ask", "touch", "slow")
	s.Capabilities = `{"tools":{"listChanged":true},"prompts":{},"resources":{"listChanged":true,"subscribe":true},"completions":{},"extensions":{"` +
		tasksExtension + `":{}}}`
	maps.Copy(s.On, map[string]func(*testenv.Call){
		"tools/call keep": func(c *testenv.Call) {
			k.mu.Lock()
			defer k.mu.Unlock()
			tenant := k.whose(c)
			k.notes[tenant] = append(k.notes[tenant], c.Args())
			c.Text("kept")
		},
		"tools/call kept": func(c *testenv.Call) {
			k.mu.Lock()
			defer k.mu.Unlock()
			c.Text(strings.Join(k.notes[k.whose(c)], "\n"))
		},
		"tools/call ask": func(c *testenv.Call) {
			tag := c.Seen().Tag()
			c.Converse(func(_ *testenv.Call, known testenv.Answers) ([]testenv.Question, string) {
				if known["who"] == nil {
					return []testenv.Question{testenv.Elicit("who", "who? "+tag)}, ""
				}
				return nil, tag + string(known["who"])
			})
		},
		"tools/call touch": func(c *testenv.Call) {
			k.whose(c)
			k.tm.Updated("tag://mine", "")
			k.tm.Changed("tools")
			c.Text("touched")
		},
		"tools/call slow": k.slow,
		"tasks/get":       k.task,
		"tasks/cancel":    k.task,
		"tasks/update":    k.task,
	})
	return k.tm.Telling(s)
}

func (k *keeper) slow(c *testenv.Call) {
	if c.Server.Era() != testenv.Modern || !strings.Contains(c.Meta("io.modelcontextprotocol/clientCapabilities"), tasksExtension) {
		c.Text(c.Seen().Tag())
		return
	}
	k.mu.Lock()
	id := fmt.Sprintf("task-%d", len(k.tasks))
	k.tasks[id] = k.whose(c)
	k.mu.Unlock()
	c.Result(`{"resultType":"task","taskId":"` + id + `","status":"working",` + someTime + `,"ttlMs":60000,"pollIntervalMs":50}`)
}

func (k *keeper) task(c *testenv.Call) {
	var id string
	_ = json.Unmarshal([]byte(c.Param("taskId")), &id) // another one is unknown
	k.mu.Lock()
	tenant, ok := k.tasks[id]
	k.asked[id]++
	asked := k.asked[id]
	k.mu.Unlock()
	if !ok {
		c.Error(-32602, "no such task")
		return
	}
	if seen := k.whose(c); seen != tenant {
		k.t.Errorf("%s of %s came for %s", c.Method, tenant, seen)
	}
	state := `"working"`
	if asked > 1 { // a client that knows no tasks waits for the end
		state = `"completed","result":{"content":[{"type":"text","text":"of ` + tenant + `"}]}`
	}
	c.Complete(`"taskId":"` + id + `","statusMessage":"of ` + tenant + `",` + someTime + `,"ttlMs":60000,"pollIntervalMs":50,"status":` + state)
}

// houses are the servers of the three levels of isolation.
func houses(t *testing.T) map[string]any {
	entries := map[string]any{}
	kept := map[string]any{ // all that can be
		"cache": map[string]any{"resources": "10m", "prompts": "10m", "stale": map[string]any{"revalidate": "10m", "error": "10m"}},
		"tools": map[string]any{"mine": map[string]any{"cache": "10m"}},
	}
	add := func(name string, start func(testing.TB, testenv.Script) *testenv.Server, era testenv.Era, more map[string]any) {
		s := start(t, (&keeper{t: t}).script(era))
		if query, ok := more["query"]; ok {
			more = map[string]any{"url": s.URL + query.(string)}
		}
		entries[name] = s.Entry(more, kept)
	}
	identity := map[string]any{"identity": map[string]any{"meta": true}}
	who := map[string]any{"WHO": "${principal.tenant}/${principal.subject}"}
	of := map[string]any{"WHO": "${tenant:of}"}
	for _, era := range testenv.Eras {
		e := era.String()
		add("told-"+e, testenv.HTTPServer, era, identity)
		add("url-"+e, testenv.HTTPServer, era, map[string]any{"query": "?t=${principal.tenant}&of=${tenant:of}"})
		add("env-"+e, testenv.StdioServer, era, map[string]any{"env": of})
		add("own-"+e, testenv.StdioServer, era, map[string]any{"env": who})
		add("toldstdio-"+e, testenv.StdioServer, era, map[string]any{"identity": map[string]any{"meta": true}, "isolation": "shared"})
	}
	add("toldstream", testenv.StreamServer, testenv.Legacy, identity)
	for _, tenant := range []string{acme, globex} {
		add("vault-"+tenant, testenv.HTTPServer, testenv.Modern, map[string]any{"tenants": []string{tenant}, "headers": map[string]any{"X-Tenant": tenant}})
	}
	return entries
}

// town is a configuration of all of them.
func town(t *testing.T) testenv.Config {
	keys := make([]map[string]any, len(citizens))
	for i, r := range citizens {
		keys[i] = map[string]any{"name": r.name, "key": r.key, "tenant": r.tenant}
	}
	return testenv.Config{Entries: houses(t), More: map[string]any{
		"auth": map[string]any{"apiKeys": keys},
		"tenants": map[string]any{
			acme:   map[string]any{"vars": map[string]any{"of": "of-" + acme}},
			globex: map[string]any{"vars": map[string]any{"of": "of-" + globex}},
		},
	}}
}

// seat is a client of a citizen.
type seat struct {
	citizen
	*testenv.Client
	ear *testenv.Ear
}

// loot are ids that were given to somebody.
type loot struct {
	mu                        sync.Mutex
	sessions, states, taskIDs []string
}

func (l *loot) note(r *testenv.Reply) {
	l.mu.Lock()
	defer l.mu.Unlock()
	keep := func(all *[]string, one string) {
		if one != "" && len(*all) < 200 {
			*all = append(*all, one)
		}
	}
	keep(&l.states, r.Member("requestState"))
	keep(&l.taskIDs, r.Member("taskId"))
}

// TestCrossTenant: whatever the callers of two tenants do, in whatever order, with ids of their own or of others, no byte of one
// tenant reaches the other, at any level of isolation.
func TestCrossTenant(t *testing.T) {
	t.Parallel()
	c := town(t)
	crossTenant(t, testenv.Serve(t, c).URL, c, 40)
}

// TestCrossTenantFleet: nor with two replicas, of which each request reaches another one.
func TestCrossTenantFleet(t *testing.T) {
	t.Parallel()
	c := town(t)
	f := testenv.ServeFleet(t, testenv.FleetConfig{Config: c, Redis: testenv.StartRedis(t).URL(), Replicas: 2})
	crossTenant(t, f.URL, c, 15)
	if served := f.Served(); served[0] == 0 || served[1] == 0 {
		t.Errorf("the replicas served %v", served)
	}
}

const declared = `{"elicitation":{"form":{}},"extensions":{"` + tasksExtension + `":{}}}`

// seats are the clients of all citizens in both eras, each with an open stream.
func seats(t *testing.T, url string, l *loot) (all []*seat) {
	for _, r := range citizens {
		for _, era := range testenv.Eras {
			s := &seat{citizen: r, Client: testenv.NewClient(t, url+"/mcp", era)}
			s.Key, s.Capabilities = r.key, declared
			if era == testenv.Legacy {
				s.Capabilities = "{}" // it would have to answer
				s.Initialize(testenv.LegacyVersion)
				l.sessions = append(l.sessions, s.Session)
				s.ear = s.Hear()
			} else {
				s.ear = s.Listen("9", `{"toolsListChanged":true,"resourceSubscriptions":["tag://mine"]}`)
			}
			all = append(all, s)
		}
	}
	return all
}

// crossTenant has the citizens do so many things at random, again and again.
func crossTenant(t *testing.T, url string, c testenv.Config, most int) {
	l := &loot{}
	all := seats(t, url, l)
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(c.Entries)), func(name string) bool { return strings.HasPrefix(name, "vault-") })
	seen := map[string]int{} // answers that tell of the own tenant: there is something to leak
	run := func(rt *rapid.T, s *seat, server string, q testenv.Request) {
		r, err := s.Try(testenv.Within(t, testenv.Patience), q)
		if err != nil {
			rt.Fatalf("%s of %s: %v", q.Method, s.name, err)
		}
		for _, m := range r.Messages {
			if strings.Contains(string(m), strangerTo(s.tenant)) {
				rt.Fatalf("%s of %s, who is of %s: %s %s\n%s", q.Method, s.name, s.tenant, q.Members, q.Body, m)
			}
		}
		l.note(r)
		if bytes.Contains(r.Last(), []byte(s.tenant)) {
			seen[server+" "+q.Method]++
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(1, most).Draw(rt, "operations") {
			s, server := rapid.SampledFrom(all).Draw(rt, "who"), rapid.SampledFrom(names).Draw(rt, "server")
			run(rt, s, server, deed(rt, s, server, l))
		}
	})
	for _, s := range all {
		for _, n := range s.ear.Heard("") {
			if strings.Contains(string(n.Raw), strangerTo(s.tenant)) {
				t.Errorf("%s heard %s", s.name, n.Raw)
			}
		}
	}
	vaults(t, all)
	if len(l.states) == 0 || len(l.taskIDs) == 0 {
		t.Errorf("%d questions and %d tasks were to be had", len(l.states), len(l.taskIDs))
	}
	for _, name := range names {
		if seen[name+" tools/call"] == 0 {
			t.Errorf("no call of %s came to anything", name)
		}
	}
}

// deeds are what citizens do.
var deeds = []string{
	"mine", "keep", "kept", "ask", "touch", "slow", "list", "read", "prompt", "complete", "subscribe", "discover",
	"another session", "another state", "another task", "bare task", "another cursor",
}

// deed draws a request.
func deed(rt *rapid.T, s *seat, server string, l *loot) testenv.Request {
	call := func(tool string) testenv.Request {
		return testenv.Request{Method: "tools/call", Members: `"name":"` + server + `__` + tool + `","arguments":{"note":"of ` + s.tenant + `"}`}
	}
	l.mu.Lock()
	sessions, states, tasks := append([]string{""}, l.sessions...), append([]string{`""`}, l.states...), append([]string{`""`}, l.taskIDs...)
	l.mu.Unlock()
	switch what := rapid.SampledFrom(deeds).Draw(rt, "operation"); what {
	case "list":
		return testenv.Request{Method: rapid.SampledFrom([]string{"tools/list", "prompts/list", "resources/list"}).Draw(rt, "list")}
	case "read":
		return testenv.Request{Method: "resources/read", Members: `"uri":"tag://mine"`}
	case "prompt":
		return testenv.Request{Method: "prompts/get", Members: `"name":"` + server + `__mine"`}
	case "complete":
		return testenv.Request{
			Method:  "completion/complete",
			Members: `"ref":{"type":"ref/prompt","name":"` + server + `__mine"},"argument":{"name":"x","value":""}`,
		}
	case "subscribe":
		return testenv.Request{Method: "resources/subscribe", Members: `"uri":"tag://mine"`}
	case "discover":
		return testenv.Request{Method: "server/discover"}
	case "another session":
		q := call("mine")
		q.Header = http.Header{"Mcp-Session-Id": {rapid.SampledFrom(sessions).Draw(rt, "session")}}
		return q
	case "another state":
		q := call("ask")
		q.Members += `,"requestState":` + rapid.SampledFrom(states).Draw(rt, "state") +
			`,"inputResponses":{"who":{"action":"accept","content":{"answer":"of ` + s.tenant + `"}}}`
		return q
	case "another task":
		return testenv.Request{
			Method:  rapid.SampledFrom([]string{"tasks/get", "tasks/cancel", "tasks/update"}).Draw(rt, "what"),
			Members: `"taskId":` + rapid.SampledFrom(tasks).Draw(rt, "task"),
		}
	case "bare task":
		return testenv.Request{Method: "tasks/get", Members: fmt.Sprintf(`"taskId":"task-%d"`, rapid.IntRange(0, 5).Draw(rt, "task"))}
	case "another cursor":
		return testenv.Request{Method: "tools/list", Members: `"cursor":` + rapid.SampledFrom(slices.Concat(states, tasks)).Draw(rt, "cursor")}
	default:
		return call(what)
	}
}

// vaults holds that servers of another tenant are as ones that are not there.
func vaults(t *testing.T, all []*seat) {
	t.Helper()
	for _, s := range all {
		other := "vault-" + strangerTo(s.tenant)
		same := func(what string, hidden, missing *testenv.Reply) {
			t.Helper()
			show := func(r *testenv.Reply) string {
				return fmt.Sprint(r.Status, strings.NewReplacer(other, "X", "nothing", "X").Replace(string(r.Last())))
			}
			drop := regexp.MustCompile(`"id":\d+`)
			if a, b := drop.ReplaceAllString(show(hidden), ""), drop.ReplaceAllString(show(missing), ""); a != b {
				t.Errorf("%s for %s: %s, and for a server that is not there %s", what, s.name, a, b)
			}
		}
		same("a call", s.Tool(other+"__mine", "{}"), s.Tool("nothing__mine", "{}"))
		same("a prompt", s.Call("prompts/get", `"name":"`+other+`__mine"`), s.Call("prompts/get", `"name":"nothing__mine"`))
		at := func(server string) *testenv.Reply {
			c := testenv.NewClient(t, strings.TrimSuffix(s.URL, "/mcp")+"/servers/"+server+"/mcp", s.Era)
			c.Key = s.key
			if c.Era == testenv.Legacy {
				return c.Do(testenv.Request{Method: "initialize", Members: `"protocolVersion":"` + testenv.LegacyVersion +
					`","clientInfo":{"name":"raw","version":"1"},"capabilities":{}`})
			}
			return c.Call("tools/list", "")
		}
		same("an endpoint", at(other), at("nothing"))
		if r := at("vault-" + s.tenant); r.Status != http.StatusOK {
			t.Errorf("the own one for %s: %s", s.name, r)
		}
	}
}
