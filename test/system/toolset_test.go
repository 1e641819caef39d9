package system_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// findTool is a definition with everything that a toolset changes, and much that it does not.
const findTool = `{ "vendor": {"big":9007199254740993,"z":1.0}, "name":"find","title":"Find anything","description":"Finds \u0061nything.",` +
	`"inputSchema":{"type":"object","x-order":[1.50,"é"],"required":["index","query"],"properties":{"index":{"type":"string","default":1e400},` +
	`"query":{"type":"string"} , "limit":{"type":"integer"},"debug":{"type":"boolean"}},"additionalProperties":false},` +
	`"annotations":{"readOnlyHint":true,"title":"old"},"_meta":{"b":1,"a":2} }`

// shownTool is the same as the toolset desk shows it.
const shownTool = `{ "vendor": {"big":9007199254740993,"z":1.0}, "name":"find","title":"Find a ticket","description":"Finds \"tickets\".",` +
	`"inputSchema":{"type":"object","x-order":[1.50,"é"],"required":["query"],"properties":{` +
	`"query":{"type":"string"} , "limit":{"type":"integer"}},"additionalProperties":false},` +
	`"annotations":{"readOnlyHint":true,"title":"old"},"_meta":{"b":1,"a":2} }`

func deskOf(t *testing.T, k kind) (search, files *testenv.Server, g *testenv.Gateway) {
	t.Helper()
	echo := func(c *testenv.Call) { c.Text(c.Args()) }
	result := func(c *testenv.Call) {
		c.Result(`{"resultType":"complete","ttlMs":0,"cacheScope":"private","messages":[],"contents":[],"completion":{"values":[]}}`)
	}
	search = k.server(t, testenv.Script{
		Tools: []string{findTool, testenv.Tool("wipe"), testenv.Tool("list_a"), testenv.Tool("list_b")}, Prompts: []string{`{"name":"ask"}`, `{"name":"beg"}`},
		Resources: []string{`{"uri":"desk://open/1","name":"1"}`, `{"uri":"desk://closed/1","name":"2"}`},
		Templates: []string{`{"uriTemplate":"ticket://{id}","name":"t"}`, `{"uriTemplate":"person://{id}","name":"p"}`},
		On: map[string]func(*testenv.Call){
			"tools/call": echo, "prompts/get": result, "resources/read": result, "completion/complete": result,
		},
	})
	files = testenv.HTTPServer(t, testenv.Script{
		Tools: []string{testenv.Tool("read"), testenv.Tool("find")}, Prompts: []string{`{"name":"ask"}`},
		Resources: []string{`{"uri":"desk://open/1","name":"theirs"}`, `{"uri":"file:///a","name":"a"}`},
	})
	g = testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"search": search, "files": files},
		More: map[string]any{"toolsets": map[string]any{
			"desk": map[string]any{
				"servers": []string{"search"}, "title": "Support desk", "instructions": "Ask first.",
				"tools": map[string]any{
					"search__find": map[string]any{
						"as": "find", "title": "Find a ticket", "description": `Finds "tickets".`,
						"fix": map[string]any{"index": "tickets"}, "hide": []string{"debug"},
					},
					"search__list_*": map[string]any{},
				},
				"prompts": []string{"search__ask"}, "resources": []string{"desk://open/*", "ticket://{id}"},
			},
			"both sides": map[string]any{"servers": []string{"search", "files"}},
			"few":        map[string]any{"servers": []string{"search", "files"}, "tools": map[string]any{"files__*": map[string]any{}}, "prompts": []string{}, "resources": []string{}},
		}},
	})
	return search, files, g
}

// TestToolsetLists: a toolset shows what it holds, with what is different of it, and all else as the servers have it.
func TestToolsetLists(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		_, _, g := deskOf(t, k)
		lists := func(path string) map[string][]string {
			client := g.Client(era, path)
			all := map[string][]string{}
			for method, key := range map[string]string{
				"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources", "resources/templates/list": "resourceTemplates",
			} {
				all[key] = client.Call(method, "").Names(key)
			}
			return all
		}
		for path, want := range map[string]map[string][]string{
			"/toolsets/desk/mcp": {
				"tools": {"find", "search__list_a", "search__list_b"}, "prompts": {"search__ask"},
				"resources": {"desk://open/1"}, "resourceTemplates": {"ticket://{id}"},
			},
			"/toolsets/both%20sides/mcp": {
				"tools":   {"files__read", "files__find", "search__find", "search__wipe", "search__list_a", "search__list_b"},
				"prompts": {"files__ask", "search__ask", "search__beg"}, "resources": {"desk://open/1", "file:///a", "desk://closed/1"},
				"resourceTemplates": {"ticket://{id}", "person://{id}"},
			},
			"/toolsets/few/mcp": {"tools": {"files__read", "files__find"}, "prompts": {}, "resources": {}, "resourceTemplates": {}},
		} {
			if diff := cmp.Diff(want, lists(path)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", path, diff)
			}
		}
		raw := g.Client(era, "/toolsets/desk/mcp").Call("tools/list", "").Member("tools")
		if !strings.HasPrefix(raw, "["+shownTool+",") {
			t.Errorf("the tool is shown as\n%s\nnot\n%s", raw, shownTool)
		}
	})
}

// TestToolsetCalls: what is listed can be called, with the arguments that the toolset has; nothing else can.
func TestToolsetCalls(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		search, files, g := deskOf(t, k)
		client := g.Client(era, "/toolsets/desk/mcp")
		for sent, want := range map[string]string{
			`,"arguments":{"query":"a","big":9007199254740993}`:             `{"index":"tickets","query":"a","big":9007199254740993}`,
			`,"arguments":{"index":"secrets","query":1.0}`:                  `{"index":"tickets","query":1.0}`,
			`,"arguments":{"q":{"index":1},"\u0069ndex":1, "index" : [2] }`: `{"index":"tickets","q":{"index":1}  }`,
			`,"arguments":{"index":"a"}`:                                    `{"index":"tickets"}`,
			`,"arguments":{}`:                                               `{"index":"tickets"}`,
			`,"arguments":null`:                                             `{"index":"tickets"}`,
			``:                                                              `{"index":"tickets"}`,
		} {
			if r := client.Call("tools/call", `"name":"find"`+sent); r.Texts() != want {
				t.Errorf("%s arrived as %s not %s: %v", sent, r.Texts(), want, r)
			}
		}
		if r := client.Call("tools/call", `"name":"f\u0069nd","arguments":{"query":"b"}`); r.Texts() != `{"index":"tickets","query":"b"}` {
			t.Errorf("a name with an escape: %v", r)
		}
		if r := client.Tool("search__list_a", `{"index":1}`); r.Texts() != `{"index":1}` {
			t.Errorf("a tool of which nothing is said: %v", r)
		}
		was := len(search.Received("tools/call"))
		for args, text := range map[string]string{
			`{"debug":true}`: `argument "debug"`, `{"d\u0065bug":null}`: `argument "debug"`, `{"Debug":1}`: `argument "Debug"`,
			`{"INDEX":"secrets"}`: `argument "INDEX"`, `[1]`: "params.arguments", `"x"`: "params.arguments",
		} {
			code, message := client.Call("tools/call", `"name":"find","arguments":`+args).Error()
			if code != -32602 || !strings.Contains(message, text) {
				t.Errorf("%s: %d %s", args, code, message)
			}
		}
		for _, name := range []string{"search__find", "search__wipe", "wipe", "files__read", "search__list_none", "search__", "find ", "Find"} {
			if code, message := client.Tool(name, "{}").Error(); code != -32602 || !strings.Contains(message, "unknown tool") {
				t.Errorf("%q: %d %s", name, code, message)
			}
		}
		if n := len(search.Received("tools/call")) - was; n != 0 || len(files.Received("tools/call")) > 0 {
			t.Errorf("%d calls reached the server that the toolset does not allow", n)
		}
	})
}

// TestToolsetRest: prompts, resources, their templates and completion follow the same selection.
func TestToolsetRest(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		search, files, g := deskOf(t, k)
		client := g.Client(era, "/toolsets/desk/mcp")
		for _, ok := range [][2]string{
			{"prompts/get", `"name":"search__ask"`},
			{"resources/read", `"uri":"desk://open/1"`},
			{"resources/read", `"uri":"desk://open/7"`},
			{"resources/read", `"uri":"ticket://7"`},
			{"completion/complete", `"ref":{"type":"ref/prompt","name":"search__ask"},"argument":{"name":"a","value":""}`},
			{"completion/complete", `"ref":{"type":"ref/resource","uri":"ticket://{id}"},"argument":{"name":"id","value":""}`},
		} {
			if r := client.Call(ok[0], ok[1]); r.Result() == nil {
				t.Errorf("%s %s: %v", ok[0], ok[1], r)
			}
		}
		reached := func() (n int) {
			for _, method := range []string{"prompts/get", "resources/read", "completion/complete"} {
				n += len(search.Received(method)) + len(files.Received(method))
			}
			return n
		}
		was := reached()
		for _, no := range [][2]string{
			{"prompts/get", `"name":"search__beg"`},
			{"prompts/get", `"name":"files__ask"`},
			{"prompts/get", `"name":"ask"`},
			{"resources/read", `"uri":"desk://closed/1"`},
			{"resources/read", `"uri":"file:///a"`},
			{"resources/read", `"uri":"person://1"`},
			{"resources/read", `"uri":"desk://open/../closed/1"`},
			{"resources/read", `"uri":"desk://open/%2E./closed/1"`},
			{"completion/complete", `"ref":{"type":"ref/prompt","name":"search__beg"},"argument":{"name":"a","value":""}`},
			{"completion/complete", `"ref":{"type":"ref/resource","uri":"person://{id}"},"argument":{"name":"id","value":""}`},
		} {
			if code, _ := client.Call(no[0], no[1]).Error(); code != -32602 && code != -32002 {
				t.Errorf("%s %s: %d", no[0], no[1], code)
			}
		}
		if n := reached() - was; n != 0 {
			t.Errorf("%d requests reached a server that the toolset does not allow", n)
		}
	})
}

// TestToolsetPaths: a toolset is where its name says, at all doors, and nowhere else.
func TestToolsetPaths(t *testing.T) {
	t.Parallel()
	_, _, g := deskOf(t, kinds[0])
	for _, path := range []string{"/toolsets/none/mcp", "/toolsets//mcp", "/toolsets/mcp", "/toolsets/desk", "/servers/desk/mcp", "/servers/toolsets%2Fdesk/mcp", "/toolsets/search/mcp"} {
		client := testenv.NewClient(t, g.URL+path, testenv.Modern)
		if r := client.Call("tools/list", ""); r.Status != http.StatusNotFound {
			t.Errorf("%s: %v", path, r)
		}
	}
}
