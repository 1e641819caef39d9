package system_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// toolsets is a configuration of one server, "one", beside another, with toolsets.
func toolsets(s *testenv.Server, sets map[string]any) testenv.Config {
	c := testenv.One(s)
	c.More = map[string]any{"toolsets": sets}
	return c
}

func set(more ...any) map[string]any {
	m := map[string]any{"servers": []string{"one"}}
	for i := 0; i < len(more); i += 2 {
		m[more[i].(string)] = more[i+1]
	}
	return m
}

func tool(more ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(more); i += 2 {
		m[more[i].(string)] = more[i+1]
	}
	return m
}

// TestToolsetBytes: all that a toolset does not change arrives byte for byte as it left.
func TestToolsetBytes(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("echo")}, On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) { c.Complete(`"content":[],"vendor":` + corpus) },
		}})
		g := testenv.Serve(t, toolsets(s, map[string]any{
			"plain":  set(),
			"named":  set("tools", map[string]any{"one__echo": tool("as", "say")}),
			"fixed":  set("tools", map[string]any{"one__echo": tool("as", "say", "fix", map[string]any{"first": 1, "second": []any{"é"}}, "hide", []string{"never"})}),
			"hidden": set("tools", map[string]any{"one__*": tool("hide", []string{"never"})}),
		}))
		for name, want := range map[string]struct{ tool, front string }{
			"plain": {"one__echo", "{"}, "named": {"say", "{"}, "hidden": {"one__echo", "{"}, "fixed": {"say", `{"first":1,"second":["é"],`},
		} {
			client := g.Client(era, "/toolsets/"+name+"/mcp")
			for _, args := range []string{corpus, pretty} {
				n := len(s.Received("tools/call"))
				r := client.Do(testenv.Request{ID: `"\u0069"`, Method: "tools/call", Members: `"extra":` + args + `,"arguments":` + args + `,"name":"` + want.tool + `"`})
				if r.ID() != `"\u0069"` || !strings.Contains(string(r.Result()), `"vendor":`+corpus) {
					t.Errorf("%s: %v", name, r)
				}
				if k.stdio {
					args = strings.ReplaceAll(args, "\n", " ")
				}
				rec := s.Await("tools/call", n+1)
				if rec.Param("extra") != args || rec.Param("arguments") != want.front+args[1:] || rec.Param("name") != `"echo"` {
					t.Errorf("%s: the server got %s", name, rec.Body)
				}
			}
		}
	})
}

// TestToolsetAsking: a server asks through a toolset in several rounds, and the fixed arguments are in each.
func TestToolsetAsking(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := k.server(t, testenv.Asker(k.era))
		g := testenv.Serve(t, toolsets(s, map[string]any{"asked": set("tools", map[string]any{"*": tool("fix", map[string]any{"who": "me"})})}))
		client := g.Modern("/toolsets/asked/mcp")
		client.Era, client.Capabilities = era, testenv.AllCapabilities
		if era == testenv.Legacy {
			client.Initialize(testenv.LegacyVersion)
		}
		asks(t, client, "one__", nil)
		for _, rec := range s.Received("tools/call") {
			if rec.Param("arguments") != `{"who":"me"}` {
				t.Errorf("the server got %s", rec.Body)
			}
		}
	})
}

// TestToolsetTasks: tasks live through a toolset, and are unknown at every other endpoint.
func TestToolsetTasks(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := newTasker(t, k)
		g := testenv.Serve(t, toolsets(s.Server, map[string]any{"slow": set(), "other": set()}))
		client := g.Client(era, "/toolsets/slow/mcp")
		id := s.start(t, client)
		for _, path := range []string{"/mcp", "/servers/one/mcp", "/toolsets/other/mcp"} {
			if code, text := taskCall(g.Client(era, path), "tasks/get", `"taskId":`+id).Error(); code != -32602 || !strings.HasSuffix(text, "unknown task") {
				t.Errorf("%s: %d %s", path, code, text)
			}
		}
		s.set("completed", map[testenv.Era]string{testenv.Modern: `,"result":{"content":[{"type":"text","text":"the end"}]}`}[k.era])
		if r := s.finish(t, client, id); r.Texts() != "the end" {
			t.Errorf("%v", r)
		}
	})
}

// TestToolsetDescribed: a toolset says of itself what its configuration says, and offers what its servers have of what it holds.
func TestToolsetDescribed(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("a")}, Capabilities: `{"tools":{},"resources":{"subscribe":true},"completions":{},"vendor":{}}`})
		g := testenv.Serve(t, toolsets(s, map[string]any{
			"all":  set("title", `A "b"`, "instructions", "Do é."),
			"none": set("tools", map[string]any{}, "resources", []string{}),
		}))
		g.Modern("/servers/one/mcp").Call("server/discover", "") // which waits for the server
		for path, want := range map[string][3]string{
			"all":  {`{"tools":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},"completions":{}}`, `"Do é."`, `{"name":"all","title":"A \"b\"",`},
			"none": {`{"completions":{}}`, "", `{"name":"none",`},
		} {
			r := g.Modern("/toolsets/"+path+"/mcp").Call("server/discover", "")
			legacy := testenv.NewClient(t, g.URL+"/toolsets/"+path+"/mcp", testenv.Legacy).Initialize(testenv.LegacyVersion)
			for i, got := range [][3]string{
				{r.Member("capabilities"), r.Member("instructions"), taskMember(r.Member("_meta"), "io.modelcontextprotocol/serverInfo")},
				{legacy.Member("capabilities"), legacy.Member("instructions"), legacy.Member("serverInfo")},
			} {
				if got[0] != want[0] || got[1] != want[1] || !strings.HasPrefix(got[2], want[2]) {
					t.Errorf("%s, client %d (-want +got):\n%s", path, i, cmp.Diff(want, got))
				}
			}
		}
	})
}

// TestToolsetDown: a server that is down keeps a toolset neither from saying what it is nor from showing the others.
func TestToolsetDown(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("a")}})
	c := toolsets(s, map[string]any{"both": map[string]any{"servers": []string{"one", "down"}}})
	c.Entries = map[string]any{"down": map[string]any{"url": "http://127.0.0.1:1/mcp"}}
	g := testenv.Serve(t, c)
	client := g.Modern("/toolsets/both/mcp")
	if caps := client.Call("server/discover", "").Member("capabilities"); !strings.Contains(caps, `"prompts":{`) || !strings.Contains(caps, `"subscribe":true`) {
		t.Errorf("what is not known may be there: %s", caps)
	}
	if names := client.Call("tools/list", "").Names("tools"); len(names) != 1 {
		t.Errorf("lists %q", names)
	}
	if r := client.Tool("one__a", "{}"); r.Texts() != "done" {
		t.Errorf("%v", r)
	}
	if code, _ := client.Tool("down__a", "{}").Error(); code == 0 || code == -32602 {
		t.Errorf("a tool of a server that is down: %d", code)
	}
}

// TestToolsetListen: who watches a toolset is told of changes of what it holds, and of nothing else.
func TestToolsetListen(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		tell := &testenv.Teller{}
		s := teller(t, k, tell)
		silent := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
		c := toolsets(s, map[string]any{
			"a": set("prompts", []string{}, "resources", []string{"mem://a*"}), "none": set("tools", map[string]any{}, "prompts", []string{}, "resources", []string{"mem://a"}),
			"two": map[string]any{"servers": []string{"two"}},
		})
		c.Servers["two"] = silent
		g := testenv.Serve(t, c)
		ears := map[string]*testenv.Ear{}
		for _, name := range []string{"a", "none", "two"} {
			client := g.Client(era, "/toolsets/"+name+"/mcp")
			if era == testenv.Modern {
				ears[name] = client.Listen("7", `{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["mem://a","mem://b"]}`)
				got := ears[name].Await(acknowledged, 1).Params.Notifications
				want := map[string]testenv.Filter{
					"a": {Tools: true, URIs: []string{"mem://a"}}, "none": {URIs: []string{"mem://a"}}, "two": {Tools: true, Prompts: true},
				}[name]
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s grants (-want +got):\n%s", name, diff)
				}
				continue
			}
			ears[name] = client.Hear()
			for uri, want := range map[string]bool{"mem://a": name != "two", "mem://b": false} {
				if r := client.Call("resources/subscribe", `"uri":"`+uri+`"`); (r.Result() != nil) != want {
					t.Errorf("%s: subscription to %s: %v", name, uri, r)
				}
			}
		}
		testenv.Eventually(t, "the notices", func() bool {
			tell.Changed("prompts")
			tell.Changed("tools")
			tell.Updated("mem://b", "")
			tell.Updated("mem://a", "")
			tell.Updated("mem://a/part", "")
			return len(ears["a"].Heard(toolsChanged)) > 0 && len(ears["a"].Heard(updated)) > 0 && len(ears["none"].Heard(updated)) > 0
		})
		for name, ear := range ears {
			for _, n := range ear.Heard("") {
				raw := string(n.Raw)
				if strings.Contains(raw, "mem://b") || strings.Contains(raw, promptsChanged) || name == "two" && n.Method != acknowledged ||
					name == "none" && (n.Method == toolsChanged || strings.Contains(raw, "mem://a/part")) {
					t.Errorf("%s was told %s", name, raw)
				}
			}
		}
	})
}

// TestToolsetReload: a changed toolset counts at once, for who watches it too; one that is gone ends its streams.
func TestToolsetReload(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			tell := &testenv.Teller{}
			s := teller(t, kinds[0], tell)
			config := func(sets map[string]any) testenv.Config { return toolsets(s, sets) }
			g := testenv.Serve(t, config(map[string]any{"desk": set(), "same": set(), "gone": set()}))
			ears := map[string]*testenv.Ear{}
			for _, name := range []string{"desk", "same", "gone"} {
				client := g.Client(era, "/toolsets/"+name+"/mcp")
				if era == testenv.Modern {
					ears[name] = client.Listen("1", `{"toolsListChanged":true}`)
					ears[name].Await(acknowledged, 1)
				} else {
					ears[name] = client.Hear()
				}
			}
			client := g.Client(era, "/toolsets/desk/mcp")
			if names := client.Call("tools/list", "").Names("tools"); fmt.Sprint(names) != "[one__a]" {
				t.Fatalf("%q", names)
			}
			g.Configure(config(map[string]any{"desk": set("tools", map[string]any{"one__a": tool("as", "b")}), "same": set()}))
			ears["desk"].Await(toolsChanged, 1)
			ears["gone"].Ended()
			if names := client.Call("tools/list", "").Names("tools"); fmt.Sprint(names) != "[b]" {
				t.Errorf("%q", names)
			}
			if r := client.Tool("b", "{}"); r.Texts() != "done" {
				t.Errorf("%v", r)
			}
			if code, _ := client.Tool("one__a", "{}").Error(); code != -32602 {
				t.Errorf("the former name: %d", code)
			}
			if n := len(ears["same"].Heard(toolsChanged)); n != 0 {
				t.Errorf("a toolset that did not change tells of %d changes", n)
			}
			tell.Changed("tools")
			ears["same"].Await(toolsChanged, 1)
			ears["desk"].Await(toolsChanged, 2)
			if r := testenv.NewClient(t, g.URL+"/toolsets/gone/mcp", testenv.Modern).Call("tools/list", ""); r.Status != http.StatusNotFound {
				t.Errorf("%v", r)
			}
		})
	}
}

// TestToolsetSessions: a session is of its toolset alone.
func TestToolsetSessions(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, toolsets(s, map[string]any{"a": set(), "b": set()}))
	a := g.Legacy("/toolsets/a/mcp")
	for _, path := range []string{"/toolsets/b/mcp", "/mcp", "/servers/one/mcp"} {
		other := testenv.NewClient(t, g.URL+path, testenv.Legacy)
		other.Session, other.Version = a.Session, a.Version
		if r := other.Call("tools/list", ""); r.Status != http.StatusNotFound {
			t.Errorf("%s takes the session: %v", path, r)
		}
	}
	if r := a.Call("tools/list", ""); len(r.Names("tools")) != 1 {
		t.Errorf("%v", r)
	}
}

// TestToolsetStream: clients of 2024-11-05 have toolsets too.
func TestToolsetStream(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("echo")}, On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) { c.Text(c.Args()) },
		}})
		g := testenv.Serve(t, toolsets(s, map[string]any{"my set": set("tools", map[string]any{"one__echo": tool("as", "say", "fix", map[string]any{"a": 1})})}))
		c := g.Stream("/toolsets/my%20set/sse", "")
		if want := g.URL + "/toolsets/my%20set/message?s="; !strings.HasPrefix(c.Endpoint, want) {
			t.Errorf("endpoint %s, want %s…", c.Endpoint, want)
		}
		if names := c.Call("tools/list", "").Names("tools"); fmt.Sprint(names) != "[say]" {
			t.Errorf("%q", names)
		}
		if r := c.Tool("say", `{"a":2,"b":9007199254740993}`); r.Texts() != `{"a":1,"b":9007199254740993}` {
			t.Errorf("%v", r)
		}
	})
}

// TestToolsetParams: headers that mirror arguments which the client does not know of are the gateway's own affair.
func TestToolsetParams(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{regional}})
		g := testenv.Serve(t, toolsets(s, map[string]any{
			"fixed":  set("tools", map[string]any{"*": tool("fix", map[string]any{"region": "Zürich"})}),
			"hidden": set("tools", map[string]any{"*": tool("hide", []string{"region"})}),
		}))
		call := func(set, arguments string, h http.Header) *testenv.Reply {
			return g.Modern("/toolsets/" + set + "/mcp").Do(testenv.Request{Method: "tools/call", Members: `"name":"one__find","arguments":` + arguments, Header: h})
		}
		n := 0
		for _, c := range []struct {
			set, args string
			h         http.Header
			want      string
		}{
			{"fixed", `{}`, nil, sentinel("Zürich")},
			{"fixed", `{"region":"us"}`, http.Header{"Mcp-Param-Region": {"us"}}, sentinel("Zürich")},
			{"fixed", `{"at":{"n":7}}`, http.Header{"Mcp-Param-At-N": {"7"}, "Mcp-Param-Other": {"x"}}, sentinel("Zürich")},
			{"hidden", `{"at":{"n":7}}`, http.Header{"Mcp-Param-At-N": {"7"}}, ""},
		} {
			if r := call(c.set, c.args, c.h); r.Texts() != "done" {
				t.Errorf("%s: %v", c.args, r)
			}
			n++
			rec := s.Await("tools/call", n)
			if k.era != testenv.Modern || k.stdio {
				continue
			}
			if got := rec.Header.Get("Mcp-Param-Region"); got != c.want || rec.Header.Get("Mcp-Param-At-N") != c.h.Get("Mcp-Param-At-N") ||
				rec.Header.Get("Mcp-Param-Other") != c.h.Get("Mcp-Param-Other") {
				t.Errorf("%s %s: the server got %v", c.set, c.args, rec.Header)
			}
		}
		for name, r := range map[string]*testenv.Reply{
			"shown, and missing": call("fixed", `{"at":{"n":7}}`, nil),
			"hidden":             call("hidden", `{}`, http.Header{"Mcp-Param-Region": {"us"}}),
		} {
			if code, text := r.Error(); code == 0 || !strings.Contains(text, "Mcp-Param-") {
				t.Errorf("%s: %v", name, r)
			}
		}
		legacy := g.Legacy("/toolsets/fixed/mcp")
		if r := legacy.Tool("one__find", `{}`); r.Texts() != "done" {
			t.Errorf("%v", r)
		}
		if rec := s.Await("tools/call", n+1); k.era == testenv.Modern && !k.stdio && rec.Header.Get("Mcp-Param-Region") != sentinel("Zürich") {
			t.Errorf("headers for a legacy client: %v", rec.Header)
		}
	})
}

// TestToolsetApps: a toolset of one server has its app's tools, and one of several does not.
func TestToolsetApps(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{`{"name":"app","inputSchema":{"type":"object"},"_meta":{"ui":{"visibility":["app"]}}}`}})
		c := toolsets(s, map[string]any{"one": set(), "two": map[string]any{"servers": []string{"one", "two"}}})
		c.Servers["two"] = testenv.HTTPServer(t, testenv.Script{})
		g := testenv.Serve(t, c)
		for name, want := range map[string]int{"one": 1, "two": 0} {
			client := g.Client(era, "/toolsets/"+name+"/mcp")
			code, text := client.Tool("one__app", "{}").Error()
			if n := len(client.Call("tools/list", "").Names("tools")); n != want || (code == 0) != (want == 1) || strings.Contains(text, "/servers/") {
				t.Errorf("%s: lists %d, call: %d %s", name, n, code, text)
			}
		}
	})
}
