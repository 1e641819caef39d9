package v1_test

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

func remote(address string) *v1.Server { return &v1.Server{URL: address} }

// TestForURL: what a reference yields stands where it was put, and nowhere else.
func TestForURL(t *testing.T) {
	who := &v1.Caller{Subject: "ann b&c=d#é", Tenant: "acme+x", Vars: map[string]v1.Secret{
		"zone": "eu.db", "port": "eu:8443", "base": "https://acme.example:9/x",
	}}
	for address, want := range map[string]string{
		"https://a.example/mcp":                                      "https://a.example/mcp",
		"https://a.example/${principal.tenant}/mcp":                  "https://a.example/acme+x/mcp",
		"https://a.example/t-${principal.subject}":                   "https://a.example/t-ann%20b&c=d%23%C3%A9",
		"https://a.example/mcp?t=${principal.subject}&x=1":           "https://a.example/mcp?t=ann+b%26c%3Dd%23%C3%A9&x=1",
		"https://a.example?t=${principal.tenant}":                    "https://a.example?t=acme%2Bx",
		"https://${tenant:zone}.internal/mcp":                        "https://eu.db.internal/mcp",
		"https://a-${tenant:port}/${principal.tenant}":               "https://a-eu:8443/acme+x",
		"${tenant:base}":                                             "https://acme.example:9/x",
		"${tenant:base}/mcp/${tenant:zone}?as=${principal.tenant}":   "https://acme.example:9/x/mcp/eu.db?as=acme%2Bx",
		"https://a.example/$${principal.tenant}/${principal.tenant}": "https://a.example/${principal.tenant}/acme+x",
	} {
		got, err := remote(address).For(who)
		if err != nil || got.URL != want {
			t.Errorf("%s: %v, %v; want %s", address, got, err, want)
		}
	}
}

// TestForURLRefuses: no name and no value leads to another host or path.
func TestForURLRefuses(t *testing.T) {
	as := func(name string) *v1.Caller {
		return &v1.Caller{Subject: name, Tenant: name, Vars: map[string]v1.Secret{"v": v1.Secret(name)}}
	}
	const path, host, base = "https://a.example/${principal.tenant}/mcp", "https://${tenant:v}/mcp", "${tenant:v}/mcp"
	for _, tt := range []struct{ address, value, want string }{
		{path, "", "cannot be part"},
		{path, "..", "cannot be part"},
		{path, "a/b", "cannot be part"},
		{path, `a\b`, "cannot be part"},
		{path, "%2e%2e", "cannot be part"},
		{path, "a\r\nX: y", "cannot be part"},
		{"https://a.example/.${principal.tenant}/mcp", ".", "cannot be part"},
		{"https://a.example/${principal.tenant}./mcp", ".", "cannot be part"},
		{"https://a.example/?t=${principal.tenant}", "", "cannot be part"},
		{"https://a.example/?t=${principal.tenant}", "a\nb", "cannot be part"},
		{host, "evil@b.example", "is no host"},
		{host, "b.example/x?", "is no host"},
		{host, "b.example:0", "no valid host and port"},
		{host, "", "is no host"},
		{base, "b.example", "cannot begin a url"},
		{base, "file:///etc", "cannot begin a url"},
		{base, "https://u:sekrit@b.example", "cannot begin a url"},
		{base, "https://b.example/?x=", "has a query"},
		{base, "https://b.example/#", "cannot begin a url"},
		{base, "https://b.example/../x", "leads out of its path"},
		{"https://a.example/${tenant:w}", "x", `has no value "w"`},
	} {
		got, err := remote(tt.address).For(as(tt.value))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s with %q: %v, %v; want %q", tt.address, tt.value, got, err, tt.want)
		} else if strings.Contains(err.Error(), "sekrit") {
			t.Errorf("the error shows the value: %v", err)
		}
	}
}

// TestForHeaderRefuses: no name makes a second header, or a second value.
func TestForHeaderRefuses(t *testing.T) {
	s := &v1.Server{URL: "https://a.example", Headers: map[string]string{"X-Tenant": "${principal.tenant}"}}
	for _, name := range []string{"", "a\r\nX-Tenant: b", "a\nb", "a\x00", "a,b", " a", "é"} {
		if got, err := s.For(&v1.Caller{Tenant: name}); err == nil {
			t.Errorf("%q: %q", name, got.Headers)
		}
	}
	if got, err := s.For(&v1.Caller{Tenant: "acme; x=1"}); err != nil || got.Headers["X-Tenant"] != "acme; x=1" {
		t.Errorf("%v, %v", got, err)
	}
}

// TestURLKeepsItsPlace: whatever tenant and subject are, scheme, host and the number of segments stay, each tenant has its own
// address, and the server reads the name back.
func TestURLKeepsItsPlace(t *testing.T) {
	s := remote("https://a.example:1/t/${principal.tenant}/mcp?s=${principal.subject}")
	name := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune(`./\%?#&=;:@+ ab{}$`))))
	rapid.Check(t, func(t *rapid.T) {
		who := &v1.Caller{Tenant: name.Draw(t, "tenant"), Subject: name.Draw(t, "subject")}
		got, err := s.For(who)
		if err != nil {
			return
		}
		u, err := url.Parse(got.URL)
		if err != nil || u.Scheme != "https" || u.Host != "a.example:1" || u.User != nil || u.Fragment != "" || len(u.Query()) != 1 {
			t.Fatalf("%q: %v", got.URL, err)
		}
		segments := strings.Split(u.EscapedPath(), "/")
		if len(segments) != 4 || segments[3] != "mcp" {
			t.Fatalf("%q: %q", got.URL, segments)
		}
		tenant, err := url.PathUnescape(segments[2])
		if err != nil || tenant != who.Tenant || u.Query().Get("s") != who.Subject {
			t.Fatalf("%q: %q, %v", got.URL, tenant, err)
		}
	})
}

// TestNamesakes: who would share what is somebody else's is told.
func TestNamesakes(t *testing.T) {
	const servers = `
mcpServers:
  one: {url: "https://a.example/${principal.subject}"}
  both: {url: "https://a.example/${principal.tenant}/${principal.subject}"}
`
	for auth, warned := range map[string]bool{
		"auth: {apiKeys: [{name: a, key: key-0123456789abcdef, tenant: x}, {name: b, key: key-1123456789abcdef}]}":                false,
		"auth: {issuers: [{issuer: 'https://i.example'}]}":                                                                        false,
		"auth: {issuers: [{issuer: 'https://i.example', claims: {tenant: org}}]}":                                                 true,
		"auth: {issuers: [{issuer: 'https://i.example', tenant: x}, {issuer: 'https://j.example', tenant: y}]}":                   true,
		"auth: {issuers: [{issuer: 'https://i.example'}], apiKeys: [{name: a, key: key-0123456789abcdef, tenant: x}]}":            true,
		"auth: {issuers: [{issuer: 'https://i.example', tenant: x}], apiKeys: [{name: a, key: key-0123456789abcdef, tenant: x}]}": false,
	} {
		c, problems := v1.Parse([]byte(servers+auth), v1.Options{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		got := strings.Join(c.Warnings, "\n")
		if strings.Contains(got, "mcpServers.one.url: has ${principal.subject} without ${principal.tenant}") != warned || strings.Contains(got, "both") {
			t.Errorf("%s: %s", auth, got)
		}
	}
}
