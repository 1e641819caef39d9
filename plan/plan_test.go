package plan_test

import (
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/plan"
)

func compile(t *testing.T, file string) *plan.Plan {
	t.Helper()
	c, problems := v1.Parse([]byte(file), v1.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	p, err := plan.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const three = `
mcpServers:
  files: {command: files}
  web search: {url: "http://127.0.0.1:1/mcp"}
  plain: {command: plain, prefix: ""}
  off: {command: off, disabled: true}
`

func TestSplit(t *testing.T) {
	p := compile(t, three)
	tests := []struct{ name, server, own string }{
		{"files__read", "files", "read"},
		{"files__read__deep", "files", "read__deep"},
		{"files__", "files", ""},
		{"web_search__find", "web search", "find"},
		{"files_read", "plain", "files_read"},
		{"other__read", "plain", "other__read"},
		{"x__files__read", "plain", "x__files__read"},
		{"off__read", "plain", "off__read"},
		{"", "plain", ""},
	}
	for _, tt := range tests {
		s, own := p.Split([]byte(tt.name))
		if s == nil || s.Name != tt.server || string(own) != tt.own {
			t.Errorf("Split(%q) = %v, %q; want %s, %q", tt.name, s, own, tt.server, tt.own)
		}
	}
}

func TestSplitUnknown(t *testing.T) {
	p := compile(t, `{"mcpServers":{"files":{"command":"files"}}}`)
	for _, name := range []string{"read", "file__read", "_files__read", "FILES__read", "__", ""} {
		if s, _ := p.Split([]byte(name)); s != nil {
			t.Errorf("Split(%q) found server %s", name, s.Name)
		}
	}
}

func TestSeparator(t *testing.T) {
	p := compile(t, `{"names":{"separator":"."},"mcpServers":{"a":{"command":"x","prefix":"p"},"b":{"command":"y"}}}`)
	for name, want := range map[string]string{"p.x": "a", "b.x.y": "b"} {
		if s, _ := p.Split([]byte(name)); s == nil || s.Name != want {
			t.Errorf("Split(%q) = %v, want %s", name, s, want)
		}
	}
}

// What is listed must lead back to the server that has it.
func TestOwns(t *testing.T) {
	p := compile(t, three)
	plain, files := p.Server("plain"), p.Server("files")
	for own, want := range map[string]bool{"read": true, "a__b": true, "files__read": false} {
		if got := p.Owns(plain, own); got != want {
			t.Errorf("plain owns %q: %v", own, got)
		}
	}
	if !p.Owns(files, "files__read") {
		t.Error("a prefixed server owns every name of its own")
	}
}

func TestServers(t *testing.T) {
	p := compile(t, three)
	var names []string
	for _, s := range p.Servers {
		names = append(names, s.Name)
	}
	if len(names) != 3 || names[0] != "files" || names[1] != "plain" || names[2] != "web search" {
		t.Errorf("servers %q", names)
	}
	if p.Server("off") != nil {
		t.Error("a disabled server is in the plan")
	}
}
