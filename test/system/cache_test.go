package system_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// counted is a server whose answers have numbers, and what goes with them.
type counted struct {
	asked atomic.Int64
	// more are further members of what resources/read gives.
	more atomic.Pointer[string]
	// broken: it answers nothing.
	broken atomic.Bool
	// hold keeps answers back until it is closed; nil for none.
	hold chan struct{}
}

func (s *counted) set(more string) { s.more.Store(&more) }

func (s *counted) script() testenv.Script {
	answer := func(kind string) func(*testenv.Call) {
		return func(c *testenv.Call) {
			n := s.asked.Add(1)
			if s.hold != nil {
				select {
				case <-s.hold:
				case <-c.Done:
					return
				}
			}
			if s.broken.Load() {
				if c.HTTP != nil {
					c.HTTP.Status(http.StatusBadGateway, "text/plain", "no")
				} else {
					c.Child.Kill()
				}
				return
			}
			more := ""
			if m := s.more.Load(); m != nil {
				more = *m
			}
			switch kind {
			case "resource":
				c.Complete(fmt.Sprintf(`"contents":[{"uri":%s,"text":"%d","big":9007199254740993}]%s`, c.Param("uri"), n, more))
			case "prompt":
				c.Complete(fmt.Sprintf(`"messages":[{"role":"user","content":{"type":"text","text":"%d"}}]%s`, n, more))
			default:
				c.Complete(fmt.Sprintf(`"content":[{"type":"text","text":"%d"}]%s`, n, more))
			}
		}
	}
	tool := func(name, hints string) string {
		return `{"name":"` + name + `","inputSchema":{"type":"object"}` + hints + `}`
	}
	return testenv.Script{
		Resources: []string{`{"uri":"mem://a","name":"a"}`, `{"uri":"mem://b","name":"b"}`},
		Prompts:   []string{`{"name":"say"}`},
		Tools: []string{
			tool("look", `,"annotations":{"readOnlyHint":true}`), tool("plain", ""), tool("write", `,"annotations":{"readOnlyHint":false}`),
			tool("wipe", `,"annotations":{"destructiveHint":true}`),
		},
		On: map[string]func(*testenv.Call){
			"resources/read": answer("resource"), "prompts/get": answer("prompt"), "tools/call": answer("tool"),
		},
	}
}

// entry is the server's entry with what is kept of it.
func cached(s *testenv.Server, cache, tools map[string]any, more ...map[string]any) map[string]any {
	e := s.Entry(more...)
	if cache != nil {
		e["cache"] = cache
	}
	if tools != nil {
		e["tools"] = tools
	}
	return e
}

// aged is what an answer tells of itself under io.toolcrib/cache.
type aged struct {
	There bool
	Age   int64 `json:"ageMs"`
	Stale bool  `json:"stale"`
}

func agedOf(t *testing.T, r *testenv.Reply) aged {
	t.Helper()
	var meta map[string]json.RawMessage
	var a aged
	if m := r.Member("_meta"); m != "" {
		if err := json.Unmarshal([]byte(m), &meta); err != nil {
			t.Fatalf("_meta: %v: %v", err, r)
		}
	}
	if raw := meta["io.toolcrib/cache"]; raw != nil {
		if err := json.Unmarshal(raw, &a); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		a.There = true
	}
	return a
}

// kinds of requests whose answers can be kept.
var keptRequests = map[string]testenv.Request{
	"resource": {Method: "resources/read", Members: `"uri":"mem://a"`},
	"prompt":   {Method: "prompts/get", Members: `"name":"say","arguments":{"a":"b"}`},
	"tool":     {Method: "tools/call", Members: `"name":"look","arguments":{"a":1.0}`},
}

// TestKept: each sort of answer is kept for as long as the configuration says, for servers and clients of each era, and an answer
// that is kept differs from a new one by its age alone.
func TestKept(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		behind := &counted{}
		s := k.server(t, behind.script())
		entry := cached(s, map[string]any{"resources": "10m", "prompts": "10m"}, map[string]any{"look": map[string]any{"cache": "10m"}})
		g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": entry}})
		c := g.Client(era, "/servers/one/mcp")
		for name, q := range keptRequests {
			first := c.Do(q)
			if first.Result() == nil || agedOf(t, first).There {
				t.Fatalf("%s: %v", name, first)
			}
			n := behind.asked.Load()
			for i := range 3 {
				q.ID = fmt.Sprintf(`"again-%d"`, i)
				r := c.Do(q)
				if a := agedOf(t, r); !a.There || a.Stale || a.Age < 0 {
					t.Errorf("%s: %v", name, r)
				}
				for _, member := range []string{"contents", "messages", "content", "resultType"} {
					if r.Member(member) != first.Member(member) {
						t.Errorf("%s: %s was %s, and is %s", name, member, first.Member(member), r.Member(member))
					}
				}
				if r.ID() != q.ID {
					t.Errorf("%s: id %s of %v", name, q.ID, r)
				}
			}
			if behind.asked.Load() != n {
				t.Errorf("%s: the server was asked %d times more", name, behind.asked.Load()-n)
			}
			q.Members = strings.NewReplacer("mem://a", "mem://b", "1.0", "1", `"a":"b"`, `"a":"c"`).Replace(q.Members)
			if r := c.Do(q); r.Result() == nil || agedOf(t, r).There {
				t.Errorf("%s: something else is asked for: %v", name, r)
			}
		}
	})
}

// TestNotKept: what was not configured, what its server says not to keep, and what is no plain result is fetched each time.
func TestNotKept(t *testing.T) {
	t.Parallel()
	all := map[string]any{"resources": "10m", "prompts": "10m"}
	tools := map[string]any{"*": map[string]any{"cache": "10m"}, "plain": map[string]any{"cache": "0s"}}
	read, call := keptRequests["resource"], keptRequests["tool"]
	of := func(name string) testenv.Request {
		return testenv.Request{Method: "tools/call", Members: `"name":"` + name + `"`}
	}
	tests := map[string]struct {
		cache, tools map[string]any
		more         string // of the server's answer
		q            testenv.Request
		top          map[string]any // further keys of the configuration
		kept         bool
	}{
		"nothing is configured":           {q: read},
		"ttlMs":                           {q: read, more: `,"ttlMs":600000,"cacheScope":"private"`, kept: true},
		"ttlMs of years":                  {q: read, more: `,"ttlMs":315360000000,"cacheScope":"private"`, kept: true},
		"ttlMs 0":                         {q: read, more: `,"ttlMs":0,"cacheScope":"private"`},
		"ttlMs negative":                  {q: read, more: `,"ttlMs":-5,"cacheScope":"private"`},
		"ttlMs no number":                 {q: read, more: `,"ttlMs":"long","cacheScope":"private"`},
		"ttlMs 0, configured":             {q: read, cache: all, more: `,"ttlMs":0,"cacheScope":"private"`, kept: true},
		"disabled":                        {q: read, cache: map[string]any{"disabled": true, "resources": "10m"}, more: `,"ttlMs":600000`},
		"no size":                         {q: read, cache: all, top: map[string]any{"cache": map[string]any{"size": 0}}},
		"larger than an entry":            {q: read, cache: all, more: `,"x":"` + strings.Repeat("x", 1024) + `"`, top: map[string]any{"cache": map[string]any{"entry": "1Ki"}}},
		"a prompt, only resources":        {q: keptRequests["prompt"], cache: map[string]any{"resources": "10m"}},
		"a tool, not configured":          {q: call, cache: all},
		"a tool by a pattern":             {q: call, tools: tools, kept: true},
		"a tool that is left out":         {q: of("plain"), tools: tools},
		"a tool without hints":            {q: of("plain"), tools: map[string]any{"plain": map[string]any{"cache": "10m"}}, kept: true},
		"a tool that says that it writes": {q: of("write"), tools: tools},
		"a destructive tool":              {q: of("wipe"), tools: tools},
		"a tool that is not listed":       {q: of("unlisted"), tools: tools},
		"isError":                         {q: call, tools: tools, more: `,"isError":true`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, era := range testenv.Eras {
				behind := &counted{}
				behind.set(test.more)
				s := testenv.HTTPServer(t, behind.script())
				g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": cached(s, test.cache, test.tools)}, More: test.top})
				c := g.Client(era, "/mcp")
				q := test.q
				if q.Method != "resources/read" {
					q.Members = strings.Replace(q.Members, `"name":"`, `"name":"one__`, 1)
					c.Call("tools/list", "")
				}
				for i := range 3 {
					if r := c.Do(q); r.Result() == nil || agedOf(t, r).There != (test.kept && i > 0) {
						t.Errorf("%s client, request %d: %v", era, i, r)
					}
				}
			}
		})
	}
}

// TestTimeTold: a client of 2026-07-28 is told how long it may keep what it was given: less by what it has been here.
func TestTimeTold(t *testing.T) {
	t.Parallel()
	behind := &counted{}
	behind.set(`,"ttlMs":600000,"cacheScope":"public","_meta":{"own":1}`)
	s := testenv.HTTPServer(t, behind.script())
	g := testenv.Serve(t, testenv.One(s))
	c := g.Modern("/mcp")
	q := keptRequests["resource"]
	if r := c.Do(q); r.Member("ttlMs") != "600000" {
		t.Fatalf("%v", r)
	}
	testenv.Eventually(t, "an answer of some age", func() bool {
		r := c.Do(q)
		var ttl int64
		if err := json.Unmarshal([]byte(r.Member("ttlMs")), &ttl); err != nil {
			t.Fatalf("%v: %v", err, r)
		}
		a := agedOf(t, r)
		if ttl+a.Age != 600000 && ttl+a.Age != 599999 || !strings.Contains(r.Member("_meta"), `"own":1`) {
			t.Fatalf("%v", r)
		}
		return a.Age > 20
	})
}

// TestSingleFlight: of many at once who ask for the same, one asks the server; when that one goes, another takes its place.
func TestSingleFlight(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String()+" client", func(t *testing.T) {
			t.Parallel()
			behind := &counted{hold: make(chan struct{})}
			s := testenv.HTTPServer(t, behind.script())
			g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": cached(s, map[string]any{"resources": "10m"}, nil)}})
			c := g.Client(era, "/servers/one/mcp")
			first, leave := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			q := keptRequests["resource"]
			q.ID = `"first"`
			wg.Go(func() { _, _ = c.Try(first, q) })
			testenv.Eventually(t, "the server is asked", func() bool { return behind.asked.Load() == 1 })
			var texts sync.Map
			for range 20 {
				wg.Go(func() { texts.Store(c.Do(keptRequests["resource"]).Member("contents"), true) })
			}
			if era == testenv.Legacy { // there it takes more than to go away
				c.Post([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"first"}}`))
			}
			leave()
			testenv.Eventually(t, "another one asks in its place", func() bool { return behind.asked.Load() == 2 })
			close(behind.hold)
			wg.Wait()
			n := 0
			texts.Range(func(any, any) bool { n++; return true })
			if asked := behind.asked.Load(); n != 1 || asked != 2 {
				t.Errorf("the server was asked %d times, and %d answers given", asked, n)
			}
			if _, metrics := g.Get("/metrics", nil); !strings.Contains(metrics, `mcp_cache_requests_total{outcome="miss",server="one"} 2`) {
				t.Errorf("metrics: %s", cacheLines(metrics))
			}
		})
	}
}

// TestKeptApart: what is kept for one caller no other is given, whatever the server says; where the configuration says that answers
// are for everybody, they are, unless the server says otherwise.
func TestKeptApart(t *testing.T) {
	t.Parallel()
	users := []string{"ann", "ben"}
	keys := make([]any, len(users))
	for i, u := range users {
		keys[i] = map[string]any{"name": u, "key": "the-key-of-the-user-" + u, "tenant": "t-" + u}
	}
	for name, test := range map[string]struct {
		scope, says string
		shared      bool
	}{
		"private":                    {"private", "private", false},
		"public, says the server":    {"private", "public", false},
		"public":                     {"public", "public", true},
		"private, says the server":   {"public", "private", false},
		"public, the server is mute": {"public", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, era := range testenv.Eras {
				behind := &counted{}
				if test.says != "" {
					behind.set(`,"ttlMs":600000,"cacheScope":"` + test.says + `"`)
				}
				s := testenv.HTTPServer(t, behind.script())
				g := testenv.Serve(t, testenv.Config{
					Entries: map[string]any{"one": cached(s, map[string]any{"scope": test.scope, "resources": "10m"}, nil)},
					More:    map[string]any{"auth": map[string]any{"apiKeys": keys}},
				})
				var texts []string
				for range 2 {
					for _, u := range users {
						c := g.Modern("/mcp")
						if c.Key = "the-key-of-the-user-" + u; era == testenv.Legacy {
							c = g.LegacyOf("/mcp", testenv.LegacyVersion, c.Key)
						}
						r := c.Do(keptRequests["resource"])
						texts = append(texts, r.Member("contents"))
						if scope := r.Member("cacheScope"); scope == `"public"` || r.Result() == nil {
							t.Errorf("a caller with a key is told: %v", r)
						}
					}
				}
				if (texts[0] == texts[1]) != test.shared || texts[2] != texts[0] || texts[3] != texts[1] {
					t.Errorf("%s clients: %v", era, texts)
				}
				if warned := strings.Contains(g.Log(), "calls public are kept for each caller alone"); warned != (test.says == "public" && !test.shared) {
					t.Errorf("warned: %v", warned)
				}
			}
		})
	}
}

// TestKeptStale: an answer whose time is over is given while the next one is fetched, and where that fails, for as long as the
// configuration says, with its age.
func TestKeptStale(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		if k.old {
			return // as the others over HTTP
		}
		q := keptRequests["resource"]
		t.Run("revalidate", func(t *testing.T) {
			t.Parallel()
			behind := &counted{}
			s := k.server(t, behind.script())
			g := testenv.Serve(t, testenv.Config{Entries: map[string]any{
				"one": cached(s, map[string]any{"resources": "1ms", "stale": map[string]any{"revalidate": "10m"}}, nil),
			}})
			c := g.Client(era, "/servers/one/mcp")
			first := c.Do(q).Member("contents")
			testenv.Eventually(t, "it is given although its time is over", func() bool {
				r := c.Do(q)
				return agedOf(t, r).Stale && r.Member("contents") == first || r.Member("contents") != first
			})
			testenv.Eventually(t, "the next one is there", func() bool { return c.Do(q).Member("contents") != first })
		})
		t.Run("error", func(t *testing.T) {
			t.Parallel()
			behind := &counted{}
			s := k.server(t, behind.script())
			g := testenv.Serve(t, testenv.Config{Entries: map[string]any{
				"one": cached(s, map[string]any{"stale": map[string]any{"error": "10m"}}, nil),
			}})
			c := g.Client(era, "/servers/one/mcp")
			first := c.Do(q).Member("contents")
			behind.broken.Store(true)
			if r := c.Do(q); !agedOf(t, r).Stale || r.Member("contents") != first {
				t.Errorf("%v", r)
			}
			if r := c.Do(testenv.Request{Method: "resources/read", Members: `"uri":"mem://b"`}); r.Result() != nil {
				t.Errorf("of what was never read: %v", r)
			}
			behind.broken.Store(false)
			testenv.Eventually(t, "a new one as soon as the server is back", func() bool {
				r := c.Do(q)
				return !agedOf(t, r).There && r.Member("contents") != first && r.Result() != nil
			})
		})
	})
}

// TestKeptUntilTold: notices of the server end what they are about.
func TestKeptUntilTold(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		behind, tell := &counted{}, &testenv.Teller{}
		s := k.server(t, tell.Telling(behind.script()))
		g := testenv.Serve(t, testenv.Config{Entries: map[string]any{
			"one": cached(s, map[string]any{"resources": "10m", "prompts": "10m"}, map[string]any{"look": map[string]any{"cache": "10m"}}),
		}})
		c := g.Client(era, "/servers/one/mcp")
		listenTo(t, c, "mem://a")
		for name, test := range map[string]func(){
			"resource": func() { tell.Updated("mem://a", "") },
			"prompt":   func() { tell.Changed("prompts") },
			"tool":     func() { tell.Changed("tools") },
		} {
			c.Do(keptRequests[name])
			testenv.Eventually(t, name+" is kept", func() bool { return agedOf(t, c.Do(keptRequests[name])).There })
			test()
			testenv.Eventually(t, name+" is not kept any more", func() bool { return !agedOf(t, c.Do(keptRequests[name])).There })
		}
	})
}

// cacheLines are the lines of metrics that are about the cache.
func cacheLines(metrics string) string {
	var b strings.Builder
	for line := range strings.Lines(metrics) {
		if strings.Contains(line, "cache") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestCachePurge: what is kept is shown to who may cache:read, and purged by who may cache:write: all of a server, or one thing.
func TestCachePurge(t *testing.T) {
	t.Parallel()
	behind := &counted{}
	s := testenv.HTTPServer(t, behind.script())
	const key, reader = "the-key-of-the-admin", "the-key-of-the-reader"
	conf := testenv.Config{
		Entries: map[string]any{"one": cached(s, map[string]any{"resources": "10m", "prompts": "10m"}, map[string]any{"look": map[string]any{"cache": "10m"}})},
		More: map[string]any{
			"auth": map[string]any{"apiKeys": []any{
				map[string]any{"name": "root", "key": key, "groups": []string{"root"}}, map[string]any{"name": "reader", "key": reader},
			}},
			"policies": map[string]any{
				"roles":    map[string]any{"looker": map[string]any{"manage": []string{"cache:read"}}},
				"bindings": []any{map[string]any{"everyone": true, "role": "user"}, map[string]any{"everyone": true, "role": "looker"}, map[string]any{"group": "root", "role": "admin"}},
			},
		},
	}
	g := testenv.Serve(t, conf)
	c := g.Modern("/servers/one/mcp")
	c.Key = key
	fill := func() {
		for name, q := range keptRequests {
			testenv.Eventually(t, name+" is kept", func() bool { return agedOf(t, c.Do(q)).There })
		}
	}
	fill()
	run := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		cmd := exec.CommandContext(t.Context(), os.Args[0], append(append([]string{"cache"}, args...), "--url", g.URL)...)
		cmd.Env = append(os.Environ(), "TOOLCRIB_API_KEY="+key)
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Errorf("toolcrib cache %s: %v", args, err)
		}
		return out.String()
	}
	var report struct {
		Servers []struct {
			Name                      string
			Resources, Prompts, Tools int
			Hits, Misses, Bytes       int64
		}
	}
	if err := json.Unmarshal([]byte(run("show", "-o", "json")), &report); err != nil || len(report.Servers) != 1 {
		t.Fatalf("%v: %+v", err, report)
	}
	if r := report.Servers[0]; r.Name != "one" || r.Resources != 1 || r.Prompts != 1 || r.Tools != 1 || r.Hits < 3 || r.Misses < 3 || r.Bytes == 0 {
		t.Errorf("%+v", r)
	}
	if text := run("show"); !strings.Contains(text, "one") || !strings.Contains(text, "3 answers") {
		t.Error(text)
	}
	for name, flags := range map[string][]string{"resource": {"--uri", "mem://a"}, "prompt": {"--prompt", "say"}, "tool": {"--tool", "look"}} {
		if text := run(append([]string{"purge", "one"}, flags...)...); text != "1 dropped\n" {
			t.Error(text)
		}
		for other, q := range keptRequests {
			if there := agedOf(t, c.Do(q)).There; there == (other == name) {
				t.Errorf("purge of a %s: %s is kept: %v", name, other, there)
			}
		}
		fill()
	}
	if text := run("purge", "--all"); text != "3 dropped\n" {
		t.Error(text)
	}
	for _, ask := range []struct{ method, path, body, want string }{
		{"GET", "cache", "", "200"}, {"POST", "cache/purge", `{"server":"one"}`, "403"},
	} {
		if code, answer := fetch(t, g, ask.method, "/api/v1/"+ask.path, ask.body, bearer(reader)); fmt.Sprint(code) != ask.want {
			t.Errorf("%s: HTTP %d: %s", ask.path, code, answer)
		}
	}
	for body, want := range map[string]string{`{"server":"two"}`: "no server", `{"uri":"mem://a"}`: "is missing", `{"server":"one","uri":"u","tool":"t"}`: "besides"} {
		if code, answer := fetch(t, g, "POST", "/api/v1/cache/purge", body, bearer(key)); code < 400 || !strings.Contains(answer, want) {
			t.Errorf("%s: HTTP %d: %s", body, code, answer)
		}
	}
}

// TestCachePurgeFleet: whichever replica is asked, all purge.
func TestCachePurgeFleet(t *testing.T) {
	t.Parallel()
	behind := &counted{}
	s := testenv.HTTPServer(t, behind.script())
	const key = "the-key-of-the-admin"
	redis := testenv.StartRedis(t)
	f := testenv.ServeFleet(t, testenv.FleetConfig{Redis: redis.URL(), Replicas: 2, Config: testenv.Config{
		Entries: map[string]any{"one": cached(s, map[string]any{"resources": "10m"}, nil)},
		More: map[string]any{
			"auth":     map[string]any{"apiKeys": []any{map[string]any{"name": "root", "key": key}}},
			"policies": map[string]any{"bindings": []any{map[string]any{"everyone": true, "role": "admin"}, map[string]any{"everyone": true, "role": "user"}}},
		},
	}})
	c := f.Modern("/servers/one/mcp")
	c.Key = key
	for i := range f.Replicas {
		testenv.Eventually(t, "it is kept", func() bool { return agedOf(t, f.At(i, c).Do(keptRequests["resource"])).There })
	}
	r := &control.Remote{Base: f.Replicas[0].URL, Token: key}
	if done, err := r.Purge(t.Context(), control.Purge{Server: "one"}); err != nil || done.Dropped != 1 || done.Notice != "" {
		t.Fatalf("%+v, %v", done, err)
	}
	for i := range f.Replicas {
		if agedOf(t, f.At(i, c).Do(keptRequests["resource"])).There {
			t.Errorf("replica %d keeps it", i)
		}
	}
	for _, fault := range []struct {
		begin func()
		says  string
	}{
		{func() { signalled(t, f.Replicas[1].PID, syscall.SIGSTOP) }, "within 3s that they heard it: 1; purge again"},
		{func() { signalled(t, f.Replicas[1].PID, syscall.SIGCONT); redis.Kill() }, "may not have heard it: "},
	} {
		f.At(0, c).Do(keptRequests["resource"])
		fault.begin()
		cmd := exec.CommandContext(t.Context(), os.Args[0], "cache", "purge", "one", "--url", f.Replicas[0].URL)
		cmd.Env = append(os.Environ(), "TOOLCRIB_API_KEY="+key)
		out, err := cmd.CombinedOutput()
		for _, want := range []string{"not purged everywhere: ", "1 dropped", fault.says} {
			if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), want) {
				t.Errorf("%v, %q lacks %q", err, out, want)
			}
		}
	}
}

// signalled sends a signal to a process.
func signalled(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// TestKeptOverReloads: what is kept goes on being so as long as what it goes by stays as it is.
func TestKeptOverReloads(t *testing.T) {
	t.Parallel()
	behind := &counted{}
	s := testenv.HTTPServer(t, behind.script())
	conf := func(cache, more map[string]any) testenv.Config {
		return testenv.Config{Entries: map[string]any{"one": cached(s, cache, nil)}, More: more}
	}
	ten := map[string]any{"resources": "10m"}
	g := testenv.Serve(t, conf(ten, nil))
	c := g.Modern("/mcp")
	q := keptRequests["resource"]
	c.Do(q)
	loads := func() int { return strings.Count(g.Log(), "configuration applied") }
	for _, step := range []struct {
		config testenv.Config
		kept   bool
	}{
		{conf(ten, map[string]any{"questions": map[string]any{"rounds": 5}}), true},
		{conf(map[string]any{"resources": "11m"}, nil), false},
		{conf(map[string]any{"resources": "11m"}, map[string]any{"cache": map[string]any{"size": "1Mi"}}), true},
		{conf(map[string]any{"resources": "11m"}, map[string]any{"cache": map[string]any{"size": 0}}), false},
	} {
		n := loads()
		g.Configure(step.config)
		testenv.Eventually(t, "the configuration is taken", func() bool { return loads() > n })
		if there := agedOf(t, c.Do(q)).There; there != step.kept {
			t.Errorf("%v: kept: %v", step.config, there)
		}
	}
}

// TestKeptWhileWatched: what a client is told changes of is kept until its server tells of one, without any time being set; for
// nobody longer than somebody watches.
func TestKeptWhileWatched(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		behind, tell := &counted{}, &testenv.Teller{}
		s := k.server(t, tell.Telling(behind.script()))
		g := testenv.Serve(t, testenv.One(s))
		c := g.Client(era, "/servers/one/mcp")
		q := keptRequests["resource"]
		for range 3 {
			if agedOf(t, c.Do(q)).There {
				t.Fatal("it is kept although nobody tells of changes")
			}
		}
		listenTo(t, c, "mem://a")
		testenv.Eventually(t, "it is kept", func() bool {
			return agedOf(t, c.Do(q)).There
		})
		n := behind.asked.Load()
		for range 5 {
			if !agedOf(t, c.Do(q)).There {
				t.Error("it is not kept")
			}
		}
		if behind.asked.Load() != n {
			t.Error("the server was asked")
		}
		tell.Updated("mem://a", "")
		testenv.Eventually(t, "the next one", func() bool { return !agedOf(t, c.Do(q)).There })
		testenv.Eventually(t, "it is kept again", func() bool { return agedOf(t, c.Do(q)).There })
	})
}

// TestKeptOnRecord: answers from the cache are on record as every other, with what they are, in the log and among the metrics.
func TestKeptOnRecord(t *testing.T) {
	t.Parallel()
	behind := &counted{}
	s := testenv.HTTPServer(t, behind.script())
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	g := testenv.Serve(t, testenv.Config{
		Entries: map[string]any{"one": cached(s, map[string]any{"resources": "10m"}, nil)},
		More: map[string]any{
			"audit": map[string]any{"sinks": []any{map[string]any{"file": file}}}, "log": map[string]any{"calls": true},
		},
	})
	c := g.Modern("/mcp")
	for range 3 {
		c.Do(keptRequests["resource"])
	}
	lines := func() string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	testenv.Eventually(t, "all is on record", func() bool { return strings.Count(lines(), `"cache":"`) == 3 })
	if text := lines(); strings.Count(text, `"cache":"hit"`) != 2 || strings.Count(text, `"cache":"miss"`) != 1 {
		t.Error(text)
	}
	testenv.Eventually(t, "all is in the log", func() bool { return strings.Count(g.Log(), "cache=hit") == 2 })
	_, metrics := g.Get("/metrics", nil)
	for _, want := range []string{`mcp_cache_requests_total{outcome="hit",server="one"} 2`, "toolcrib_cache_entries 1", "toolcrib_cache_evicted_total 0", "toolcrib_cache_bytes "} {
		if !strings.Contains(metrics, want) {
			t.Errorf("%s is not in\n%s", want, cacheLines(metrics))
		}
	}
}
