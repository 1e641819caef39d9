package system_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestManyPages: a list of 25 pages comes whole, in the server's order, the same each time.
func TestManyPages(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		tools := testenv.Tools(2500)
		s := k.server(t, testenv.Script{Tools: tools, Page: 100})
		few := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(3), Page: 1})
		g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"many": s, "zfew": few}})
		var want []string
		for i := range 2500 {
			want = append(want, fmt.Sprintf("many__tool%04d", i))
		}
		want = append(want, "zfew__tool0000", "zfew__tool0001", "zfew__tool0002")
		client := g.Client(era, "/mcp")
		for range 2 {
			r := client.Call("tools/list", "")
			if diff := cmp.Diff(want, r.Names("tools")); diff != "" {
				t.Fatalf("HTTP %d (-want +got):\n%.2000s", r.Status, diff)
			}
			if r.Member("nextCursor") != "" {
				t.Errorf("a list that is whole has nextCursor %s", r.Member("nextCursor"))
			}
		}
		var raw []json.RawMessage
		if err := json.Unmarshal([]byte(g.Client(era, "/servers/many/mcp").Call("tools/list", "").Member("tools")), &raw); err != nil {
			t.Fatal(err)
		}
		if len(raw) != 2500 || string(raw[2499]) != tools[2499] || string(raw[100]) != tools[100] {
			t.Errorf("the server's own endpoint lists %d tools, or changes them", len(raw))
		}
		if n := len(s.Received("tools/list")); n != 25 {
			t.Errorf("%d pages were asked for, not 25: a fresh list is asked for once", n)
		}
	})
}

// TestListLosesAServer: a server that breaks in mid-list leaves the others listed, for a short time.
func TestListLosesAServer(t *testing.T) {
	t.Parallel()
	breaks := map[string]struct {
		kind kind
		do   func(*testenv.Server)
	}{
		"stopped":      {kinds[0], func(s *testenv.Server) { s.Stop() }},
		"legacy gone":  {kinds[4], func(s *testenv.Server) { s.Stop() }},
		"killed":       {kinds[5], func(s *testenv.Server) { s.AwaitChild(1).Kill() }},
		"never speaks": {kinds[1], func(*testenv.Server) {}},
		"silent child": {kinds[2], func(*testenv.Server) {}},
	}
	for name, b := range breaks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			half := make(chan struct{}, 100)
			broken := b.kind.server(t, testenv.Script{Tools: testenv.Tools(30), Page: 10, On: map[string]func(*testenv.Call){
				"tools/list": func(c *testenv.Call) {
					if c.From() < 10 {
						c.Default()
						return
					}
					half <- struct{}{}
					c.Hang()
				},
			}})
			one := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(30), Page: 7})
			two := testenv.StdioServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(30), Page: 7})
			g := testenv.Serve(t, testenv.Config{
				Servers: map[string]*testenv.Server{"a": one, "c": two},
				Entries: map[string]any{"b": broken.Entry(map[string]any{"timeouts": map[string]any{"list": "5s", "start": "15s"}})},
			})
			replies := make(chan *testenv.Reply, 1)
			watch := testenv.StartWatch(t)
			client := g.Modern("/mcp")
			go func() {
				r, err := client.Try(testenv.Within(t, testenv.Patience), testenv.Request{Method: "tools/list"})
				if err != nil {
					t.Error(err)
				}
				replies <- r
			}()
			testenv.Eventually(t, "half of its list is given", func() bool { return len(half) > 0 })
			b.do(broken)
			r := <-replies
			names := r.Names("tools")
			if len(names) != 60 || names[0] != "a__tool0000" || names[59] != "c__tool0029" || !slices.IsSorted(names) {
				t.Errorf("%d tools after a server broke: %.500v", len(names), r)
			}
			if took := watch.Took(); took > 8*time.Second {
				t.Errorf("the list took %s", took)
			}
			if ttl, err := strconv.Atoi(r.Member("ttlMs")); err != nil || ttl > 2000 {
				t.Errorf("ttlMs of a shorter list is %s", r.Member("ttlMs"))
			}
			if !strings.Contains(g.Log(), "server left out of a list") {
				t.Error("no line of the log says that a server was left out")
			}
		})
	}
}

// TestListShapes: what legacy clients do not take is taken off, and what leads nowhere is not shown.
func TestListShapes(t *testing.T) {
	t.Parallel()
	object := `{"name":"object","inputSchema":{"type":"object"},"outputSchema":{"type":"object","x":1.0}}`
	array := `{"name":"array","outputSchema":{"type":"array"},"inputSchema":{"type":"object"},"vendor":1e400}`
	binding := `{"name":"broken","inputSchema":{"type":"object","properties":{"a":{"type":"number","x-mcp-header":"A"}}}}`
	s := testenv.HTTPServer(t, testenv.Script{Tools: []string{object, array, binding, object}, Capabilities: `{"tools":{}}`})
	g := testenv.Serve(t, testenv.One(s))
	modern := g.Modern("/servers/one/mcp").Call("tools/list", "")
	if want := "[" + object + "," + array + "]"; modern.Member("tools") != want {
		t.Errorf("modern clients get\n%s\nnot\n%s", modern.Member("tools"), want)
	}
	legacy := g.Legacy("/servers/one/mcp").Call("tools/list", "")
	if want := "[" + object + "," + strings.Replace(array, `"outputSchema":{"type":"array"},`, "", 1) + "]"; legacy.Member("tools") != want {
		t.Errorf("legacy clients get\n%s\nnot\n%s", legacy.Member("tools"), want)
	}
	if r := g.Modern("/servers/one/mcp").Call("prompts/list", ""); r.Member("prompts") != "[]" || len(s.Received("prompts/list")) > 0 {
		t.Errorf("prompts of a server that has none: %v", r)
	}
	for _, era := range testenv.Eras {
		r := g.Client(era, "/mcp").Call("tools/list", `"cursor":"100"`)
		if code, text := r.Error(); code != -32602 || !strings.Contains(text, "cursor") {
			t.Errorf("%s, unknown cursor: %v", era, r)
		}
	}
	for _, name := range []string{"broken", "object"} {
		if !strings.Contains(g.Log(), `"\"`+name+`\""`) && !strings.Contains(g.Log(), name) {
			t.Errorf("the log does not say that %q was left out", name)
		}
	}
}
