package system_test

import (
	"slices"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestNamesakes: servers whose tools have the same name, or one that reads like another's, never answer for each other.
func TestNamesakes(t *testing.T) {
	t.Parallel()
	server := func(t *testing.T, name string, tools ...string) *testenv.Server {
		script := testenv.Script{Era: testenv.Modern, On: map[string]func(*testenv.Call){"tools/call": func(c *testenv.Call) { c.Text(name) }}}
		for _, tool := range tools {
			script.Tools = append(script.Tools, testenv.Tool(tool))
		}
		return testenv.HTTPServer(t, script)
	}
	a, b := server(t, "a", "find", "get"), server(t, "b", "find")
	bare := server(t, "bare", "find", "a__find", "b__none", "seek")
	entry := bare.Entry()
	entry["prefix"] = ""
	g := testenv.Serve(t, testenv.Config{
		Entries: map[string]any{"a": a.Entry(), "b": b.Entry(), "bare": entry},
		More: map[string]any{"toolsets": map[string]any{
			"all":   map[string]any{"servers": []string{"a", "b", "bare"}},
			"taken": map[string]any{"servers": []string{"b", "bare"}, "tools": map[string]any{"b__find": map[string]any{"as": "find"}, "*": map[string]any{}}},
		}},
	})
	whole := map[string]string{"a__find": "a", "a__get": "a", "b__find": "b", "find": "bare", "seek": "bare"}
	for path, want := range map[string]map[string]string{
		"/mcp": whole, "/toolsets/all/mcp": whole, "/toolsets/taken/mcp": {"find": "b", "seek": "bare"},
		"/servers/a/mcp": {"find": "a", "get": "a"}, "/servers/b/mcp": {"find": "b"}, "/servers/bare/mcp": {"find": "bare", "a__find": "bare", "b__none": "bare", "seek": "bare"},
	} {
		for _, era := range testenv.Eras {
			c := g.Client(era, path)
			var names []string
			testenv.Eventually(t, "all servers are listed", func() bool {
				names = c.Call("tools/list", "").Names("tools")
				return len(names) >= len(want)
			})
			slices.Sort(names)
			if len(names) != len(want) || len(slices.Compact(slices.Clone(names))) != len(want) {
				t.Errorf("%s: lists %v", path, names)
			}
			for _, name := range names {
				if got := c.Tool(name, "{}").Texts(); got != want[name] {
					t.Errorf("%s: %s is answered by %q, not %q", path, name, got, want[name])
				}
			}
			if r := c.Tool("b__none", "{}"); want["b__none"] == "" && r.Texts() == "bare" {
				t.Errorf("%s: a name of b leads to another server", path)
			}
		}
	}
}
