package system_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// says is a script whose tools say who they are of, besides one that only the first server has.
func says(who string, more ...string) testenv.Script {
	script := testenv.Script{On: map[string]func(*testenv.Call){"tools/call": func(c *testenv.Call) { c.Text(who) }}}
	script.On["prompts/get"] = func(c *testenv.Call) { c.Complete(`"messages":[],"description":"` + who + `"`) }
	for _, name := range append(more, "plain") {
		script.Tools = append(script.Tools, testenv.Tool(name))
	}
	script.Tools = append(script.Tools, `{"name":"reads","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`)
	script.Prompts = []string{`{"name":"p"}`}
	return script
}

// TestFallbackServer: another server answers in place of one that is down, and client, operator and audit log are told.
func TestFallbackServer(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		lesser := says("b")
		lesser.On["tools/call only"] = func(c *testenv.Call) { c.Error(-32602, "unknown tool") }
		a, b := testenv.HTTPServer(t, says("a", "only")), k.server(t, lesser)
		log := filepath.Join(t.TempDir(), "audit", "audit.jsonl")
		g := testenv.Serve(t, testenv.Config{
			Servers: map[string]*testenv.Server{"b": b},
			Entries: map[string]any{"a": a.Entry(map[string]any{"fallback": map[string]any{"server": "b"}, "retries": map[string]any{"attempts": 0}})},
			More: map[string]any{
				"log":   map[string]any{"level": "error"},
				"audit": map[string]any{"sinks": []any{map[string]any{"file": log}}},
			},
		})
		client, own := g.Client(era, "/mcp"), g.Client(era, "/servers/a/mcp")
		client.Call("tools/list", "")
		if r := client.Tool("a__plain", "{}"); r.Texts() != "a" || r.Member("_meta") != "" {
			t.Errorf("%v", r)
		}
		a.Stop()
		for name, c := range map[string]*testenv.Client{"a__plain": client, "plain": own} {
			r := c.Tool(name, "{}")
			if r.Texts() != "b" || !strings.Contains(r.Member("_meta"), `"io.toolcrib/fallback":{"from":"a","server":"b"}`) {
				t.Errorf("%s: %v", name, r)
			}
		}
		if r := client.Call("prompts/get", `"name":"a__p"`); !strings.Contains(string(r.Result()), `"description":"b"`) {
			t.Errorf("%v", r)
		}
		if _, text := client.Tool("a__only", "{}").Error(); !strings.Contains(text, `server "a"`) {
			t.Errorf("a tool that the other one does not have: %q", text)
		}
		if _, body := g.Get("/metrics", nil); !strings.Contains(body, `mcp_server_fallbacks_total{kind="server",server="a"} 3`) {
			t.Error("not counted")
		}
		g.Stop()
		if records, err := os.ReadFile(log); err != nil || strings.Count(string(records), `"service":{"name":"b"`) != 3 ||
			strings.Count(string(records), `"in_place_of":"a"`) != 3 {
			t.Errorf("%v: %s", err, records)
		}
	})
}

// TestFallbackRepeats: what may have been carried out at a server that broke goes to another one only if it may be twice.
func TestFallbackRepeats(t *testing.T) {
	t.Parallel()
	broken := says("a")
	broken.On["tools/call"] = raw("")
	a, b := testenv.HTTPServer(t, broken), testenv.HTTPServer(t, says("b"))
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"b": b},
		Entries: map[string]any{"a": a.Entry(map[string]any{"fallback": map[string]any{"server": "b", "message": "sorry"}})},
	})
	client := g.Modern("/mcp")
	client.Call("tools/list", "")
	if r := client.Tool("a__reads", "{}"); r.Texts() != "b" {
		t.Errorf("%v", r)
	}
	if r := client.Tool("a__plain", "{}"); r.Texts() != "sorry" {
		t.Errorf("%v", r)
	}
	if n := len(b.Received("tools/call")); n != 1 {
		t.Errorf("%d calls came, want 1", n)
	}
}

// TestFallbackRights: a fallback gives nobody what policies or tenants keep from it.
func TestFallbackRights(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			a, b := testenv.HTTPServer(t, says("a")), testenv.HTTPServer(t, says("b"))
			few, all := ofGroup("few", "few"), ofGroup("all", "all")
			fallback := map[string]any{"fallback": map[string]any{"server": "b"}}
			g := testenv.Serve(t, testenv.Config{
				Servers: map[string]*testenv.Server{"b": b},
				Entries: map[string]any{
					"a":     a.Entry(fallback),
					"other": a.Entry(map[string]any{"fallback": map[string]any{"server": "theirs"}}),
					"theirs": b.Entry(map[string]any{
						"tenants": []string{"acme"},
					}),
				},
				More: map[string]any{"auth": authOf(few, all), "policies": grants(map[string]any{
					"few": map[string]any{"allow": []string{"a__*"}}, "all": map[string]any{"allow": []string{"*"}},
				})},
			})
			clients := map[string]*testenv.Client{}
			for _, who := range []holder{few, all} {
				c := speaks(g, era, "/mcp", who)
				opens(c)
				c.Call("tools/list", "")
				clients[who.name] = c
			}
			a.Stop()
			if r := clients["all"].Tool("a__plain", "{}"); r.Texts() != "b" {
				t.Errorf("%v", r)
			}
			if _, text := clients["few"].Tool("a__plain", "{}").Error(); !strings.Contains(text, `server "a"`) {
				t.Errorf("%q", text)
			}
			if _, text := clients["all"].Tool("other__plain", "{}").Error(); !strings.Contains(text, `server "other"`) {
				t.Errorf("%q", text)
			}
			if n := len(b.Received("tools/call")); n != 1 {
				t.Errorf("%d calls came, want 1", n)
			}
		})
	}
}

// TestFallbackMessage: a text is told in place of an error: as the result of a tool, or as the error's own.
func TestFallbackMessage(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		broken := says("a")
		for _, method := range []string{"tools/call", "prompts/get"} {
			broken.On[method] = breakDown
		}
		g := testenv.Serve(t, testenv.Config{
			Entries: map[string]any{"a": k.server(t, broken).Entry(map[string]any{
				"fallback": map[string]any{"message": `being "maintained"`}, "retries": map[string]any{"attempts": 0},
			})},
			More: map[string]any{"log": map[string]any{"level": "error"}},
		})
		client := g.Client(era, "/mcp")
		client.Call("tools/list", "")
		r := client.Tool("a__plain", "{}")
		if r.Texts() != `being "maintained"` || r.Member("isError") != "true" || !strings.Contains(r.Member("_meta"), `"io.toolcrib/fallback":{"from":"a"}`) {
			t.Errorf("%v", r)
		}
		r = client.Call("prompts/get", `"name":"a__p"`)
		if _, text := r.Error(); !strings.Contains(text, `being "maintained"`) || !strings.Contains(r.Data(), `"from":"a"`) {
			t.Errorf("%v", r)
		}
	})
}

// TestFallbackStale: what a server answered last stands in for it, for fallback.stale.
func TestFallbackStale(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			a := testenv.HTTPServer(t, says("a"))
			g := testenv.Serve(t, testenv.Config{
				Entries: map[string]any{"a": a.Entry(map[string]any{
					"fallback": map[string]any{"stale": "1h", "message": "sorry"}, "retries": map[string]any{"attempts": 0},
					"tools": map[string]any{"reads": map[string]any{"cache": "10ms"}},
				})},
			})
			client := g.Client(era, "/mcp")
			client.Call("tools/list", "")
			if r := client.Tool("a__reads", "{}"); r.Texts() != "a" {
				t.Fatalf("%v", r)
			}
			a.Stop()
			began := time.Now()
			testenv.Eventually(t, "the answer is not fresh", func() bool { return time.Since(began) > 20*time.Millisecond })
			if r := client.Tool("a__reads", "{}"); r.Texts() != "a" || !strings.Contains(r.Member("_meta"), `"stale":true`) {
				t.Errorf("%v", r)
			}
			if r := client.Tool("a__reads", `{"other":1}`); r.Texts() != "sorry" {
				t.Errorf("%v", r)
			}
		})
	}
}

// TestFallbackAnswers: what a user answered to one server no other is told.
func TestFallbackAnswers(t *testing.T) {
	t.Parallel()
	a, b := testenv.HTTPServer(t, says("a")), testenv.HTTPServer(t, says("b"))
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"b": b},
		Entries: map[string]any{"a": a.Entry(map[string]any{"fallback": map[string]any{"server": "b"}, "retries": map[string]any{"attempts": 0}})},
	})
	c := g.Modern("/mcp")
	c.Capabilities = `{"elicitation":{"form":{}}}`
	c.Call("tools/list", "")
	a.Stop()
	if r := c.Tool("a__plain", "{}"); r.Texts() != "b" {
		t.Errorf("%v", r)
	}
	r := c.Call("tools/call", `"name":"a__plain","arguments":{},"inputResponses":{"pin":{"action":"accept","content":{"pin":"4711"}}}`)
	if _, text := r.Error(); !strings.Contains(text, `server "a"`) {
		t.Errorf("%v", r)
	}
	if n := len(b.Received("tools/call")); n != 1 {
		t.Errorf("%d calls came, want 1", n)
	}
}

// TestFallbackProgress: progress goes on from what the first server told.
func TestFallbackProgress(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			first, then := says("a"), says("b")
			first.On["tools/call"] = func(c *testenv.Call) {
				c.Progress(5)
				c.Hang()
			}
			then.On["tools/call"] = func(c *testenv.Call) {
				c.Progress(1)
				c.Progress(7)
				c.Text("b")
			}
			first.Streams, then.Streams = true, true
			g := testenv.Serve(t, testenv.Config{
				Servers: map[string]*testenv.Server{"b": testenv.HTTPServer(t, then)},
				Entries: map[string]any{"a": testenv.HTTPServer(t, first).Entry(map[string]any{
					"fallback": map[string]any{"server": "b"}, "retries": map[string]any{"attempts": 0}, "timeouts": map[string]any{"idle": "2500ms"},
				})},
			})
			c := g.Client(era, "/mcp")
			c.Call("tools/list", "")
			r := c.Do(testenv.Request{Method: "tools/call", Members: `"name":"a__reads"`, Meta: `"progressToken":"p"`})
			var told []string
			for _, m := range r.Messages {
				if _, after, ok := strings.Cut(string(m), `"progress":`); ok {
					told = append(told, after[:1])
				}
			}
			if r.Texts() != "b" || strings.Join(told, " ") != "5 7" {
				t.Errorf("%q: %v", told, r)
			}
		})
	}
}
