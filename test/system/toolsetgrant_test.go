package system_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestToolsetGrants: what is granted of a server's tool, by its own name at /mcp, holds for it in a toolset under any other; a
// grant of a toolset holds there alone; and a toolset of another tenant, or of which a caller may see nothing, is not there.
func TestToolsetGrants(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			s := testenv.HTTPServer(t, shop("one"))
			c := toolsets(s, map[string]any{
				"desk": set("tools", map[string]any{"one__look": tool("as", "see", "fix", map[string]any{"a": 1}), "one__break": tool("as", "look")}),
				"acme": set("tenants", []string{"acme"}),
			})
			looker, desker, nobody := ofGroup("ann", "looker"), ofGroup("bob", "desker"), ofGroup("cid")
			denied := ofGroup("dan", "desker", "careful")
			c.More["auth"] = authOf(looker, desker, nobody, denied)
			c.More["policies"] = grants(map[string]any{
				"looker": map[string]any{"allow": []string{"one__look"}}, "desker": map[string]any{"toolsets": []string{"desk", "acme"}},
				"careful": map[string]any{"deny": []string{"one__break"}},
			})
			g := testenv.Serve(t, c)
			for _, row := range []struct {
				who          holder
				path         string
				lists, calls []string
				gone         bool
			}{
				{who: looker, path: "/mcp", lists: []string{"one__look"}, calls: []string{"one__look"}},
				{who: looker, path: "/toolsets/desk/mcp", lists: []string{"see"}, calls: []string{"see"}},
				{who: desker, path: "/toolsets/desk/mcp", lists: []string{"see", "look"}, calls: []string{"see", "look"}},
				{who: desker, path: "/mcp", lists: []string{}},
				{who: denied, path: "/toolsets/desk/mcp", lists: []string{"see"}, calls: []string{"see"}},
				{who: nobody, path: "/toolsets/desk/mcp", gone: true},
				{who: desker, path: "/servers/one/mcp", gone: true},
				{who: desker, path: "/toolsets/acme/mcp", gone: true},
				{who: desker, path: "/toolsets/none/mcp", gone: true},
			} {
				client := speaks(g, era, row.path, row.who)
				if refused := opens(client); refused != nil || row.gone {
					if r := refused; !row.gone || era == testenv.Legacy && r.Status != 404 {
						t.Errorf("%s at %s: %v", row.who.name, row.path, r)
					}
					if r := client.Call("tools/list", ""); era == testenv.Modern && r.Status != 404 {
						t.Errorf("%s at %s: %v", row.who.name, row.path, r)
					}
					continue
				}
				if diff := cmp.Diff(row.lists, client.Call("tools/list", "").Names("tools")); diff != "" {
					t.Errorf("%s at %s (-want +got):\n%s", row.who.name, row.path, diff)
				}
				var called []string
				for _, name := range []string{"one__look", "one__break", "see", "look"} {
					r := client.Tool(name, "{}")
					if code, text := r.Error(); r.Result() != nil {
						called = append(called, name)
					} else if want := fmt.Sprintf("gateway: unknown tool %q: names are listed by tools/list", name); code != -32602 || text != want {
						t.Errorf("%s at %s: %d %s", row.who.name, row.path, code, text)
					}
				}
				if diff := cmp.Diff(row.calls, called); diff != "" {
					t.Errorf("%s at %s calls (-want +got):\n%s", row.who.name, row.path, diff)
				}
			}
		})
	}
}
