package system_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// holder is a caller of these tests.
type holder struct {
	name, key string
	groups    []string
}

// authOf configures keys for callers.
func authOf(holders ...holder) map[string]any {
	keys := make([]map[string]any, len(holders))
	for i, h := range holders {
		keys[i] = map[string]any{"name": h.name, "key": h.key, "groups": h.groups}
	}
	return map[string]any{"apiKeys": keys}
}

// keyOf is a key for a caller of that name.
func keyOf(name string) string { return "key-of-" + name + "-0123456789" }

// ofGroup is a caller that is in groups.
func ofGroup(name string, groups ...string) holder { return holder{name, keyOf(name), groups} }

// grants makes policies: roles, and for each a binding to the group of its name.
func grants(roles map[string]any) map[string]any {
	bindings := []map[string]any{}
	for name := range roles {
		bindings = append(bindings, map[string]any{"group": name, "role": name})
	}
	return map[string]any{"roles": roles, "bindings": bindings}
}

// speaks is a client of an era with a key. Whoever may see nothing at the endpoint cannot even open a session there.
func speaks(g *testenv.Gateway, era testenv.Era, path string, h holder) *testenv.Client {
	c := g.Modern(path)
	c.Era, c.Key = era, h.key
	return c
}

// opens begins a session where the era has them; the answer of a refusal is returned.
func opens(c *testenv.Client) *testenv.Reply {
	if c.Era == testenv.Modern {
		return nil
	}
	r := c.Do(testenv.Request{Method: "initialize", Members: `"protocolVersion":"` + testenv.LegacyVersion + `","clientInfo":{"name":"raw","version":"1"},"capabilities":{}`})
	if r.Status != 200 {
		return r
	}
	c.Session, c.Version = r.Header.Get("Mcp-Session-Id"), testenv.LegacyVersion
	return nil
}

// shop is a server with one of everything, whose things are named after it.
func shop(name string) testenv.Script {
	return testenv.Script{
		Tools: []string{
			`{"name":"look","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`,
			`{"name":"break","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":false}}`,
			`{"name":"odd","inputSchema":{"type":"object"}}`,
		},
		Prompts:   []string{`{"name":"ask"}`, `{"name":"tell"}`},
		Resources: []string{`{"uri":"` + name + `://open/a","name":"a"}`, `{"uri":"` + name + `://shut/b","name":"b"}`},
		Templates: []string{`{"uriTemplate":"` + name + `://open/{x}","name":"t"}`, `{"uriTemplate":"` + name + `://shut/{x}","name":"u"}`},
		On: map[string]func(*testenv.Call){
			"prompts/get":         func(c *testenv.Call) { c.Complete(`"messages":[]`) },
			"resources/read":      func(c *testenv.Call) { c.Complete(`"contents":[]`) },
			"completion/complete": func(c *testenv.Call) { c.Complete(`"completion":{"values":["done"]}`) },
		},
		Capabilities: `{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"subscribe":true,"listChanged":true},"completions":{}}`,
	}
}

// operation is something that a client asks for, by the direct name of it.
type operation struct {
	method, members string
	what            string // the kind and name of what it is about, as in the rights of a role
}

// operations are all on a server, with names as the endpoint has them.
func operations(server, prefix string) []operation {
	var all []operation
	for _, tool := range []string{"look", "break", "odd"} {
		all = append(all, operation{"tools/call", `"name":"` + prefix + tool + `","arguments":{}`, "tool " + server + "__" + tool})
	}
	for _, prompt := range []string{"ask", "tell"} {
		all = append(all,
			operation{"prompts/get", `"name":"` + prefix + prompt + `"`, "prompt " + server + "__" + prompt},
			operation{
				"completion/complete", `"ref":{"type":"ref/prompt","name":"` + prefix + prompt + `"},"argument":{"name":"x","value":""}`,
				"prompt " + server + "__" + prompt,
			})
	}
	for _, uri := range []string{"open/a", "shut/b", "open/other", "shut/other"} {
		all = append(all, operation{"resources/read", `"uri":"` + server + "://" + uri + `"`, "resource " + server + "://" + uri})
	}
	for _, uri := range []string{"open/{x}", "shut/{x}"} {
		ref := `"ref":{"type":"ref/resource","uri":"` + server + "://" + uri + `"},"argument":{"name":"x","value":""}`
		all = append(all, operation{"completion/complete", ref, "resource " + server + "://" + uri})
	}
	return all
}

// TestGrants holds each role to what it may do, by the direct name of everything, at all endpoints, in both eras; and lists to
// what can be asked for.
func TestGrants(t *testing.T) {
	t.Parallel()
	config := testenv.Config{Servers: map[string]*testenv.Server{}}
	for _, name := range []string{"one", "two"} {
		config.Servers[name] = testenv.HTTPServer(t, shop(name))
	}
	roles := map[string]any{
		"looker":   map[string]any{"allow": []string{"*"}, "readOnly": true},
		"breaker":  map[string]any{"allow": []string{"one__break", "*__odd"}, "deny": []string{"two__*"}},
		"asker":    map[string]any{"prompts": []string{"*__ask"}},
		"reader1":  map[string]any{"resources": []string{"one://open/*"}},
		"owner2":   map[string]any{"servers": []string{"two"}},
		"nothing":  map[string]any{"allow": []string{}, "servers": []string{}, "resources": []string{}, "prompts": []string{}},
		"stranger": map[string]any{"allow": []string{"three__*"}},
	}
	may := map[string]func(what string) bool{
		"looker":   func(what string) bool { return strings.HasSuffix(what, "__look") },
		"breaker":  func(what string) bool { return what == "tool one__break" || what == "tool one__odd" },
		"asker":    func(what string) bool { return strings.HasSuffix(what, "__ask") },
		"reader1":  func(what string) bool { return strings.HasPrefix(what, "resource one://open/") },
		"owner2":   func(what string) bool { return strings.Contains(what, " two") },
		"nothing":  func(string) bool { return false },
		"stranger": func(string) bool { return false },
		"nobody":   func(string) bool { return false },
	}
	var holders []holder
	for name := range may {
		holders = append(holders, ofGroup(name, name))
	}
	config.More = map[string]any{"auth": authOf(holders...), "policies": grants(roles)}
	g := testenv.Serve(t, config)
	for _, era := range testenv.Eras {
		for _, h := range holders {
			t.Run(era.String()+" "+h.name, func(t *testing.T) {
				t.Parallel()
				for _, server := range []string{"one", "two"} {
					holdTo(t, g, era, "/mcp", server, server+"__", h, may[h.name])
					holdTo(t, g, era, "/servers/"+server+"/mcp", server, "", h, may[h.name])
				}
			})
		}
	}
}

// holdTo does every operation of a server at an endpoint.
func holdTo(t *testing.T, g *testenv.Gateway, era testenv.Era, path, server, prefix string, h holder, may func(string) bool) {
	t.Helper()
	c := speaks(g, era, path, h)
	all := operations(server, prefix)
	some := slices.ContainsFunc(all, func(o operation) bool { return may(o.what) })
	if refused := opens(c); refused != nil {
		if some || refused.Status != 404 {
			t.Errorf("%s cannot open a session at %s: %v", h.name, path, refused)
		}
		return
	}
	for _, o := range all {
		r := c.Call(o.method, o.members)
		code, text := r.Error()
		switch {
		case may(o.what) && code != 0:
			t.Errorf("%s at %s, %s %s: %v", h.name, path, o.method, o.what, r)
		case !may(o.what) && r.Status == 404 && prefix == "" && !some:
		case !may(o.what) && (code != -32602 || !strings.Contains(text, "unknown")):
			t.Errorf("%s at %s, %s %s is not denied: %v", h.name, path, o.method, o.what, r)
		}
	}
	listsAre(t, c, server, prefix, h, may, some)
}

// listsAre compares the lists with what may be done.
func listsAre(t *testing.T, c *testenv.Client, server, prefix string, h holder, may func(string) bool, some bool) {
	t.Helper()
	for _, list := range []struct {
		method, member, kind string
		all                  []string
	}{
		{"tools/list", "tools", "tool ", []string{"look", "break", "odd"}},
		{"prompts/list", "prompts", "prompt ", []string{"ask", "tell"}},
		{"resources/list", "resources", "resource ", []string{"open/a", "shut/b"}},
		{"resources/templates/list", "resourceTemplates", "resource ", []string{"open/{x}", "shut/{x}"}},
	} {
		r := c.Call(list.method, "")
		if prefix == "" && !some {
			if r.Status != 404 {
				t.Errorf("%s sees an endpoint of which it may see nothing: %v", h.name, r)
			}
			continue
		}
		var want, got []string
		for _, name := range list.all {
			full := server + "__" + name
			if list.kind == "resource " {
				full = server + "://" + name
			}
			if may(list.kind + full) {
				want = append(want, full)
			}
		}
		for _, name := range r.Names(list.member) {
			if list.kind != "resource " && prefix == "" {
				name = server + "__" + name
			}
			if strings.HasPrefix(name, server) {
				got = append(got, name)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s at %s: %s has %v, want %v: %v", h.name, c.URL, list.method, got, want, r)
		}
		if scope := r.Member("cacheScope"); c.Era == testenv.Modern && scope != `"private"` {
			t.Errorf("%s: cacheScope %s of %s", h.name, scope, list.method)
		}
	}
}
