package real_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestInspector runs the Inspector's command line in each of its eras against
// the gateway, and compares with what it prints of the server itself.
func TestInspector(t *testing.T) {
	t.Parallel()
	p := needParts(t)
	everything := target{Command: p.node, Args: []string{p.server("everything"), "stdio"}}
	base := gateway(t, map[string]server{"everything": everything})
	for _, c := range []struct {
		name   string
		args   []string // at the server
		joined []string // at the joined endpoint
	}{
		{"tools", []string{"--method", "tools/list"}, nil},
		{
			"call",
			[]string{"--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=hi"},
			[]string{"--method", "tools/call", "--tool-name", "everything__echo", "--tool-arg", "message=hi"},
		},
		{"prompts", []string{"--method", "prompts/list"}, nil},
		{
			"prompt",
			[]string{"--method", "prompts/get", "--prompt-name", "args-prompt", "--prompt-args", "city=Ulm"},
			[]string{"--method", "prompts/get", "--prompt-name", "everything__args-prompt", "--prompt-args", "city=Ulm"},
		},
		{"resources", []string{"--method", "resources/list"}, []string{"--method", "resources/list"}},
		{
			"read",
			[]string{"--method", "resources/read", "--uri", "demo://resource/static/document/features.md"},
			[]string{"--method", "resources/read", "--uri", "demo://resource/static/document/features.md"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := inspect(t, p, append([]string{everything.Command}, everything.Args...), c.args)
			for _, era := range []string{"legacy", "auto", "modern"} {
				t.Run(era, func(t *testing.T) {
					flags := []string{"--transport", "http", "--protocol-era", era}
					got := inspect(t, p, []string{base + "/servers/everything/mcp"}, append(flags, c.args...))
					dropTools(got, "get-roots-list", "trigger-")  // are there for those who can be asked, which the Inspector is not
					dropTools(want, "get-roots-list", "trigger-") // but for some of them
					if diff := cmp.Diff(withoutEra(want), withoutEra(got)); diff != "" {
						t.Errorf("differs (- direct, + gateway):\n%s", clip(diff))
					}
					if c.joined == nil {
						return
					}
					got = inspect(t, p, []string{base + "/mcp"}, append(flags, c.joined...))
					if diff := cmp.Diff(withoutEra(want), withoutEra(got)); diff != "" {
						t.Errorf("joined endpoint differs (- direct, + gateway):\n%s", clip(diff))
					}
				})
			}
		})
	}
}

// inspect gives the JSON that the Inspector prints.
func inspect(t *testing.T, p *parts, to, args []string) any {
	t.Helper()
	script := filepath.Join(p.modules, "node_modules", "@modelcontextprotocol", "inspector", "clients", "launcher", "build", "index.js")
	stdout, stderr, err := runNode(t, p, append(append([]string{script, "--cli"}, to...), args...)...)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(stdout, &out); err != nil {
		t.Fatalf("the Inspector printed no JSON: %v\n%s%s", err, stdout, stderr)
	}
	return out
}

// dropTools leaves out tools whose names begin with one of these.
func dropTools(list any, prefixes ...string) {
	m := list.(map[string]any)
	if tools, ok := m["tools"].([]any); ok {
		m["tools"] = slices.DeleteFunc(tools, func(tool any) bool {
			name, _ := tool.(map[string]any)["name"].(string)
			return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		})
	}
}
