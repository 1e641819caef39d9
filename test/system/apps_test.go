package system_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestAppTools: a tool for its server's own app (MCP Apps) is hidden where all servers look like one, and cannot be called
// there either; the server's own endpoint has it.
func TestAppTools(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		tool := func(name, visibility string) string {
			return `{"name":"` + name + `","inputSchema":{"type":"object"},"_meta":{"ui":{"resourceUri":"ui://x/y","visibility":` + visibility + `}}}`
		}
		s := k.server(t, testenv.Script{Tools: []string{
			tool("app", `["app"]`), tool("both", `["model","app"]`), tool("model", `["model"]`), tool("none", `[]`), tool("odd", `"app"`),
		}})
		config := testenv.One(s)
		config.Servers["two"] = testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("t")}})
		g := testenv.Serve(t, config)
		all := g.Client(era, "/mcp")
		if r := all.Tool("one__app", "{}"); !strings.Contains(r.String(), "unknown tool") {
			t.Errorf("called before any list: %v", r)
		}
		if names := all.Call("tools/list", "").Names("tools"); !slices.Equal(names, []string{"one__both", "one__model", "one__none", "one__odd", "two__t"}) {
			t.Errorf("/mcp offers %v", names)
		}
		if r := all.Tool("one__app", "{}"); !strings.Contains(r.String(), "unknown tool") {
			t.Errorf("called at /mcp: %v", r)
		}
		if code, text := all.Tool("one__both", "{}").Error(); code != 0 {
			t.Errorf("both: %d %s", code, text)
		}
		own := g.Client(era, "/servers/one/mcp")
		if names := own.Call("tools/list", "").Names("tools"); !slices.Contains(names, "app") {
			t.Errorf("its own endpoint offers %v", names)
		}
		if code, text := own.Tool("app", "{}").Error(); code != 0 {
			t.Errorf("own: %d %s", code, text)
		}
	})
}
