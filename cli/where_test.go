package cli

import (
	"errors"
	"strings"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

func TestWhereNamesPackages(t *testing.T) {
	for _, test := range []struct {
		want    string
		command []string
	}{
		{"npx @scope/server@1.2.3", []string{"npx", "-y", "@scope/server@1.2.3", "/data"}},
		{"/usr/bin/npx server", []string{"/usr/bin/npx", "server"}},
		{"python3 mcp_server.main", []string{"python3", "-u", "-m", "mcp_server.main"}},
		{"node dist/index.js", []string{"node", "dist/index.js"}},
		{"docker run", []string{"docker", "run", "-e", "TOKEN=s3cret", "image"}},
		{"npx", []string{"npx"}},
		// A value of a flag, of a server's own, and what only looks like a name.
		{"npx", []string{"npx", "--token", "s3cret", "server"}},
		{"server", []string{"server", "s3cret"}},
		{"uvx", []string{"uvx", "git+https://s3cret@example.com/server"}},
		{"npx", []string{"npx", "TOKEN=s3cret"}},
		{"npx", []string{"npx", "sk-0123456789abcdef"}},
		{"npx", []string{"npx", "two words"}},
	} {
		if got := where(&v1.Server{Command: test.command[0], Args: test.command[1:]}); got != test.want {
			t.Errorf("%q: %q, want %q", test.command, got, test.want)
		}
	}
}

func TestWhereNamesAddresses(t *testing.T) {
	for url, want := range map[string]string{
		"https://ann:s3cret@a.example:8443/v1/mcp?key=s3cret#s3cret": "https://a.example:8443/v1/mcp",
		"http://[::1]:8080/servers/my%20files/mcp":                   "http://[::1]:8080/servers/my files/mcp",
		"https://a.example/s/abcdef0123456789abcdef/mcp":             "https://a.example/s/…/mcp",
		"https://a.example/550e8400-e29b-41d4-a716-446655440000":     "https://a.example/…",
		"https://a.example": "https://a.example",
		":":                 "",
	} {
		if got := where(&v1.Server{URL: url}); got != want {
			t.Errorf("%s: %q, want %q", url, got, want)
		}
	}
}

func TestReachable(t *testing.T) {
	for _, test := range []struct {
		base, want string
		config     v1.Config
	}{
		{"http://127.0.0.1:1", "http://127.0.0.1:1", v1.Config{PublicURL: "https://a.example"}},
		{"http://192.0.2.1:1", "http://192.0.2.1:1", v1.Config{}},
		{"http://[::]:1", "https://a.example/tools", v1.Config{PublicURL: "https://a.example/tools/", AllowedHosts: []string{"b.example"}}},
		{"http://[::]:1", "http://b.example:1", v1.Config{AllowedHosts: []string{"b.example:443"}}},
		{"http://0.0.0.0:1", "http://[2001:db8::1]:1", v1.Config{AllowedHosts: []string{"[2001:db8::1]"}}},
	} {
		if got := reachable(test.base, &test.config); got != test.want {
			t.Errorf("%s: %s, want %s", test.base, got, test.want)
		}
	}
	if got := reachable("http://[::]:1", v1.New()); got == "http://[::]:1" {
		t.Errorf("%s is no address for clients", got)
	}
}

func TestExposed(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:1": false, "localhost:1": false, "[::1]:1": false, "127.9.9.9:1": false,
		":1": true, "0.0.0.0:1": true, "[::]:1": true, "192.0.2.1:1": true, "tools.internal:1": true,
	} {
		c := v1.New()
		c.Listen = listen
		if exposed(c) != want {
			t.Errorf("%s: %v, want %v", listen, !want, want)
		}
		c.Auth.APIKeys = []v1.APIKey{{Name: "ci"}}
		if exposed(c) {
			t.Errorf("%s: with keys it may be", listen)
		}
	}
}

func TestCommandName(t *testing.T) {
	for want, command := range map[string][]string{
		"server-everything": {"npx", "-y", "@modelcontextprotocol/server-everything@2026.8.31"},
		"mcp-server-git":    {"/usr/bin/uvx", "mcp-server-git@1.2.3"},
		"index":             {"node", "dist/index.js"},
		"my-server":         {"./bin/my-server.sh", "x"},
		"docker":            {"docker", "run", "image"},
		"npx":               {"npx", "--token", "s3cret", "server"},
	} {
		if got := commandName(&v1.Server{Command: command[0], Args: command[1:]}); got != want {
			t.Errorf("%v: %q, want %q", command, got, want)
		}
	}
}

// Whether the gateway runs is no question when a tool of it failed.
func TestToolErrorIsNoAbsence(t *testing.T) {
	at := &target{}
	if err := at.explain(t.Context(), verdict(true, "", "no")); err == nil || strings.Contains(err.Error(), "running") {
		t.Errorf("got %v", err)
	}
	if err := at.explain(t.Context(), errors.New("refused")); err == nil || !strings.Contains(err.Error(), "running") {
		t.Errorf("got %v", err)
	}
}
