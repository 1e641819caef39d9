package system_test

import (
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestEmptyListIsNone: wherever a list says who or what, an empty one is nobody and nothing, never all; left out it is as the
// documentation says.
func TestEmptyListIsNone(t *testing.T) {
	t.Parallel()
	one := testenv.HTTPServer(t, shop("one"))
	i := testenv.NewIssuer(t, "ES256", "")
	alice, none := ofGroup("alice", "all"), []string{}
	role := func(r map[string]any) map[string]any {
		return map[string]any{"auth": authOf(alice), "policies": grants(map[string]any{"all": r})}
	}
	token := map[string]any{"issuers": []any{i.Entry(map[string]any{"clients": none})}}
	tenants := map[string]any{"issuers": []any{i.Entry(map[string]any{"tenants": none})}}
	all := map[string]any{"roles": map[string]any{}, "bindings": []any{map[string]any{"everyone": true, "role": "user"}}}
	set := func(t map[string]any) map[string]any {
		return map[string]any{"auth": authOf(alice), "policies": all, "toolsets": map[string]any{"set": t}}
	}
	for name, row := range map[string]struct {
		more  map[string]any
		entry map[string]any
		path  string
		token bool
		sees  bool
	}{
		"all left out":       {more: map[string]any{"auth": authOf(alice), "policies": all}, sees: true},
		"roles":              {more: map[string]any{"auth": authOf(alice), "policies": map[string]any{"roles": map[string]any{}}}},
		"bindings":           {more: map[string]any{"policies": map[string]any{"bindings": none}}},
		"cedar":              {more: map[string]any{"policies": map[string]any{"cedar": none}}},
		"allow":              {more: role(map[string]any{"allow": none})},
		"servers of a role":  {more: role(map[string]any{"servers": none})},
		"toolsets of a role": {more: role(map[string]any{"toolsets": none})},
		"API keys":           {more: map[string]any{"auth": map[string]any{"apiKeys": none}, "policies": all}},
		"issuers":            {more: map[string]any{"auth": map[string]any{"issuers": none}, "policies": all}},
		"tenants":            {more: map[string]any{"auth": authOf(alice), "policies": all}, entry: map[string]any{"tenants": none}},
		"tokens of anybody":  {more: map[string]any{"auth": map[string]any{"issuers": []any{i.Entry(nil)}}, "policies": all}, token: true, sees: true},
		"clients":            {more: map[string]any{"auth": token, "policies": all}, token: true},
		"tenants of tokens":  {more: map[string]any{"auth": tenants, "policies": all}, token: true},
		"tools":              {more: set(map[string]any{"servers": []string{"one"}, "tools": map[string]any{}}), path: "/toolsets/set/mcp"},
		"tenants of a set":   {more: set(map[string]any{"servers": []string{"one"}, "tenants": none}), path: "/toolsets/set/mcp"},
		"a whole set":        {more: set(map[string]any{"servers": []string{"one"}}), path: "/toolsets/set/mcp", sees: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": one.Entry(row.entry)}, More: row.more})
			path := "/mcp"
			if row.path != "" {
				path = row.path
			}
			c := speaks(g, testenv.Modern, path, alice)
			if row.token {
				c.Key = i.Token("alice", g.URL, testenv.Claims{"client_id": "c"})
			}
			if n := len(c.Call("tools/list", "").Names("tools")); (n > 0) != row.sees {
				t.Errorf("%d tools are listed", n)
			}
			for _, tool := range []string{"look", "one__look"} {
				if r := c.Tool(tool, "{}"); r.Result() != nil && !row.sees {
					t.Errorf("%s is called: %v", tool, r)
				}
			}
		})
	}
}
