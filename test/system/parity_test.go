package system_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// wares are what a server of the property test has, by kind.
type wares struct{ tools, prompts, resources, templates []string }

// world of names, small so that patterns and names meet.
var someNames = []string{"read", "write", "read_all", "drop", "x"}

func drawWares(t *rapid.T, server string) (c wares, script testenv.Script) {
	some := func(label string) []string {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(someNames), 0, 4, rapid.ID[string]).Draw(t, server+" "+label)
	}
	c.tools, c.prompts = some("tools"), some("prompts")
	for _, name := range some("resources") {
		c.resources = append(c.resources, server+"://data/"+name)
	}
	for _, name := range some("templates") {
		c.templates = append(c.templates, server+"://data/"+name+"/{id}")
	}
	script = testenv.Script{
		Era: rapid.SampledFrom(testenv.Eras).Draw(t, server+" era"),
		On: map[string]func(*testenv.Call){
			"prompts/get":         func(c *testenv.Call) { c.Complete(`"messages":[]`) },
			"resources/read":      func(c *testenv.Call) { c.Complete(`"contents":[]`) },
			"completion/complete": func(c *testenv.Call) { c.Complete(`"completion":{"values":[]}`) },
		},
		Capabilities: `{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{}}`,
	}
	hints := rapid.SampledFrom([]string{``, `,"annotations":{"readOnlyHint":true}`, `,"annotations":{"readOnlyHint":false,"destructiveHint":true}`})
	for _, name := range c.tools {
		script.Tools = append(script.Tools, `{"name":"`+name+`","inputSchema":{"type":"object"}`+hints.Draw(t, server+" "+name)+`}`)
	}
	for _, name := range c.prompts {
		script.Prompts = append(script.Prompts, `{"name":"`+name+`"}`)
	}
	for _, uri := range c.resources {
		script.Resources = append(script.Resources, `{"uri":"`+uri+`","name":"r"}`)
	}
	for _, uri := range c.templates {
		script.Templates = append(script.Templates, `{"uriTemplate":"`+uri+`","name":"t"}`)
	}
	return c, script
}

func drawRole(t *rapid.T, label string) map[string]any {
	names := rapid.SampledFrom([]string{"*", "one__*", "two__*", "*__read*", "one__write", "*__drop", "three__*"})
	uris := rapid.SampledFrom([]string{"*", "one://data/*", "two://data/read*", "one://data/x", "one://data/read/{id}", "file:///*"})
	some := func(g *rapid.Generator[string], what string) []string {
		return rapid.SliceOfNDistinct(g, 0, 2, rapid.ID[string]).Draw(t, label+" "+what)
	}
	return map[string]any{
		"allow": some(names, "allow"), "deny": some(names, "deny"), "prompts": some(names, "prompts"), "resources": some(uris, "resources"),
		"servers":  some(rapid.SampledFrom([]string{"one", "two"}), "servers"),
		"toolsets": some(rapid.SampledFrom([]string{"set"}), "toolsets"), "readOnly": rapid.Bool().Draw(t, label+" readOnly"),
	}
}

// cedarOf are Cedar policies, none of which depends on arguments.
var cedarOf = []string{
	`permit (principal, action == Action::"call", resource) when { resource.readOnly };`,
	`permit (principal in Group::"g1", action in Action::"use", resource in Server::"one");`,
	`permit (principal in Group::"g1", action == Action::"get", resource);`,
	`forbid (principal, action in Action::"use", resource in Server::"two");`,
	`forbid (principal, action == Action::"call", resource) when { resource.destructive };`,
}

// TestListedIsCallable: for random policies, principals and catalogues, at all endpoints and in both eras, what is listed can be
// called, got and read, and what is not listed cannot.
func TestListedIsCallable(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many gateways")
	}
	t.Parallel()
	file := filepath.Join(t.TempDir(), "random.cedar")
	rapid.Check(t, func(r *rapid.T) {
		cedar := rapid.SliceOfNDistinct(rapid.SampledFrom(cedarOf), 0, 2, rapid.ID[string]).Draw(r, "cedar")
		if err := os.WriteFile(file, []byte(strings.Join(cedar, "\n")), 0o600); err != nil {
			r.Fatal(err)
		}
		config := testenv.Config{Servers: map[string]*testenv.Server{}}
		all := map[string]wares{}
		for _, name := range []string{"one", "two"} {
			c, script := drawWares(r, name)
			all[name] = c
			config.Servers[name] = testenv.HTTPServer(t, script)
		}
		roles := map[string]any{"r1": drawRole(r, "r1"), "r2": drawRole(r, "r2")}
		h := ofGroup("alice", rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"r1", "r2", "g1"}), 0, 3, rapid.ID[string]).Draw(r, "groups")...)
		set := map[string]any{"servers": []string{"one", "two"}, "tools": map[string]any{"one__*": map[string]any{}, "two__read": map[string]any{"as": "peruse"}}}
		policies := grants(roles)
		if len(cedar) > 0 {
			policies["cedar"] = []string{file}
		}
		config.More = map[string]any{"auth": authOf(h), "policies": policies, "toolsets": map[string]any{"set": set}}
		g := testenv.Serve(t, config)
		defer g.Stop()
		for _, era := range testenv.Eras {
			for _, path := range []string{"/mcp", "/servers/one/mcp", "/servers/two/mcp", "/toolsets/set/mcp"} {
				parity(r, g, era, path, h, all)
			}
		}
	})
}

// parity asks for everything by name, and compares that with the lists.
func parity(t *rapid.T, g *testenv.Gateway, era testenv.Era, path string, h holder, all map[string]wares) {
	c := speaks(g, era, path, h)
	if refused := opens(c); refused != nil {
		if refused.Status != 404 {
			t.Fatalf("%s: %v", path, refused)
		}
		return // as TestGrants has it
	}
	there := func(list, member string) []string {
		r := c.Call(list, "")
		if r.Status == 404 {
			return nil
		}
		return r.Names(member)
	}
	tools, prompts := there("tools/list", "tools"), there("prompts/list", "prompts")
	resources, templates := there("resources/list", "resources"), there("resources/templates/list", "resourceTemplates")
	compare := func(what string, listed []string, name, method, members string) {
		r := c.Call(method, members)
		if can := r.Result() != nil; can != slices.Contains(listed, name) {
			t.Fatalf("%s client at %s, %s %q: listed %v, answered %v", era, path, what, name, listed, r)
		}
	}
	for server, has := range all {
		prefix := server + "__"
		switch {
		case strings.HasPrefix(path, "/servers/"+server+"/"):
			prefix = ""
		case strings.HasPrefix(path, "/servers/"):
			continue
		}
		for _, own := range someNames {
			name := prefix + own
			compare("tool", tools, name, "tools/call", `"name":"`+name+`","arguments":{}`)
			compare("prompt", prompts, name, "prompts/get", `"name":"`+name+`"`)
			compare("prompt", prompts, name, "completion/complete", `"ref":{"type":"ref/prompt","name":"`+name+`"},"argument":{"name":"a","value":""}`)
		}
		for _, uri := range has.resources {
			compare("resource", resources, uri, "resources/read", `"uri":"`+uri+`"`)
		}
		for _, uri := range has.templates {
			compare("template", templates, uri, "completion/complete", `"ref":{"type":"ref/resource","uri":"`+uri+`"},"argument":{"name":"id","value":""}`)
		}
	}
	compare("tool", tools, "peruse", "tools/call", `"name":"peruse","arguments":{}`)
	for list, names := range map[string][]string{"tools": tools, "prompts": prompts, "resources": resources} {
		if twice := slices.Compact(slices.Sorted(slices.Values(names))); len(twice) != len(names) {
			t.Fatalf("%s has %s", list, fmt.Sprint(names))
		}
	}
}
