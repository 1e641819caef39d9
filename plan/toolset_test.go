package plan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sets = `
mcpServers:
  files: {command: files}
  search: {url: "http://127.0.0.1:1/mcp"}
  plain: {command: plain, prefix: ""}
  off: {command: off, disabled: true}
toolsets:
  desk:
    servers: [search, plain, "off"]
    tools:
      search__find: {as: find, fix: {index: tickets}}
      "search__*": {hide: [debug]}
      "search__list_*": {title: A list}
      search__get: {}
      off__x: {as: x}
      "*": {}
    prompts: ["search__*", hello]
    resources: ["file:///data/*", "mem://one"]
  all: {servers: [files, plain]}
  none: {servers: [files], tools: {}, prompts: [], resources: []}
`

// TestToolsetNames: what is shown leads back to the tool that it stands for, and nothing else leads to one.
func TestToolsetNames(t *testing.T) {
	p := compile(t, sets)
	for _, tt := range []struct{ set, shown, server, own, key string }{
		{"desk", "find", "search", "find", "fixed"},
		{"desk", "search__find", "", "", ""}, // it has another name here
		{"desk", "search__get", "search", "get", ""},
		{"desk", "search__other", "search", "other", "hidden"},
		{"desk", "search__list_all", "search", "list_all", "titled"},
		{"desk", "mine", "plain", "mine", ""},
		{"desk", "files__read", "", "", ""},
		{"desk", "x", "plain", "x", ""}, // that of a server that is disabled is nobody's
		{"desk", "off__x", "plain", "off__x", ""},
		{"all", "files__read", "files", "read", ""},
		{"all", "search__find", "", "", ""},
		{"none", "files__read", "", "", ""},
	} {
		s, own, tool := p.Toolset(tt.set).FindTool([]byte(tt.shown))
		server := ""
		if s != nil {
			server = s.Name
		}
		key := ""
		switch {
		case tool == nil:
		case len(tool.Fixed) > 0:
			key = "fixed"
		case len(tool.Hidden) > 0:
			key = "hidden"
		case tool.Spec.Title != "":
			key = "titled"
		}
		if server != tt.server || string(own) != tt.own || key != tt.key {
			t.Errorf("%s: %q is %q of %q (%s)", tt.set, tt.shown, own, server, key)
		}
		if s == nil {
			continue
		}
		if shown, same, why := p.Toolset(tt.set).Tool(s, string(own)); shown != tt.shown || same != tool {
			t.Errorf("%s: %q of %q is shown as %q, not %q: %s", tt.set, own, server, shown, tt.shown, why)
		}
	}
}

// TestToolsetCollision: of two tools with one name the one that was given it has it.
func TestToolsetCollision(t *testing.T) {
	set := compile(t, sets).Toolset("desk")
	plain := set.Servers[0]
	if shown, _, why := set.Tool(plain, "find"); shown != "" || why != "tool search__find has the same name here" {
		t.Errorf("shown as %q: %s", shown, why)
	}
	if shown, _, why := set.Tool(plain, "files__read"); shown != "" || why == "" {
		t.Errorf("shown as %q: %s", shown, why)
	}
}

func TestToolsetSelections(t *testing.T) {
	p := compile(t, sets)
	desk, all, none := p.Toolset("desk"), p.Toolset("all"), p.Toolset("none")
	for name, want := range map[string]string{"search__ask": "search", "hello": "plain", "other": "", "files__ask": ""} {
		got := ""
		if s, _ := desk.FindPrompt([]byte(name)); s != nil {
			got = s.Name
		}
		if got != want {
			t.Errorf("prompt %q is of %q, not %q", name, got, want)
		}
	}
	for uri, want := range map[string]bool{
		"file:///data/a": true, "file:///data/a/b": true, "mem://one": true, "mem://two": false, "file:///other": false,
		"file:///data/../etc/passwd": false, "file:///data/a/%2e%2E/b": false, "file:///data/%252e%252e/x": false, `file:///data/..\x`: false,
		"file:///data/..": false, "file:///data/..hidden": true, "file:///data/%zz": true, "file:///data/a..b": true,
	} {
		if got := desk.HoldsResource(uri); got != want {
			t.Errorf("holds %q: %v", uri, got)
		}
		if !all.HoldsResource(uri) && want || none.HoldsResource(uri) {
			t.Errorf("all holds %q: %v, none %v", uri, all.HoldsResource(uri), none.HoldsResource(uri))
		}
	}
}

// TestToolsetConcern: changes of a server that can show nothing of a kind concern nobody.
func TestToolsetConcern(t *testing.T) {
	p := compile(t, sets+`
  few: {servers: [search, files], tools: {search__find: {}, "files__r*": {}}, prompts: ["f*__x"], resources: []}
`)
	type lists [3]bool
	got := map[string]lists{}
	for _, s := range p.Toolset("few").Servers {
		a, b, c := p.Toolset("few").Changed(s)
		got[s.Name] = lists{a, b, c}
	}
	want := map[string]lists{"search": {true, false, false}, "files": {true, true, false}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
