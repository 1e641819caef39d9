package policy_test

import (
	"strings"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

// TestExceeds: who has fewer facts may still do more, where something is forbidden because of them.
func TestExceeds(t *testing.T) {
	roles := func(c *v1.Config) {
		c.Policies.Roles = map[string]v1.Role{"caller": {Allow: []string{"*"}}, "careful": {Allow: []string{"*"}, Deny: []string{"*__delete_*"}}}
		c.Policies.Bindings = []v1.Binding{{Group: "careful", Role: "careful"}, {Subject: "ana", Role: "careful"}, {Everyone: true, Role: "caller"}}
	}
	ana := identity.Principal{
		Subject: "ana", Tenant: "acme", Groups: []string{"b", "a"}, Method: identity.MethodAPIKey, Attributes: map[string]any{"rank": "low"},
		Scopes: []string{"limited"},
	}
	as := func(change func(*identity.Principal)) *identity.Principal {
		p := ana
		change(&p)
		return identity.Suppose(p)
	}
	none := func(*identity.Principal) {}
	child := func(p *identity.Principal) { p.Subject, p.Groups = "ana/ci", []string{"a", "b"} }
	alone := func(p *identity.Principal) { p.Groups = nil }
	for name, test := range map[string]struct {
		cedar  string
		p      func(*identity.Principal)
		change func(*v1.Config)
		want   string
	}{
		"nothing is forbidden":               {`permit(principal in Group::"a", action, resource);`, alone, nil, ""},
		"the same":                           {`forbid(principal in Group::"a", action, resource);`, none, nil, ""},
		"the same in another order":          {`forbid(principal, action, resource) when { resource.labels has owner && principal.groups.contains(resource.labels.owner) };`, child, nil, ""},
		"a forbid for all":                   {`forbid(principal, action, resource) when { resource.destructive };`, child, nil, ""},
		"without the group of a forbid":      {`forbid(principal in Group::"a", action, resource);`, alone, nil, "p.cedar:1"},
		"without the attribute of a forbid":  {`forbid(principal, action, resource) when { principal.attributes has rank };`, func(p *identity.Principal) { p.Attributes = nil }, nil, "p.cedar:1"},
		"another name than that of a forbid": {`forbid(principal == User::"acme/ana", action, resource);`, child, nil, "p.cedar:1"},
		"a forbid for another method":        {`forbid(principal, action, resource) when { principal.method == "api_key" };`, func(p *identity.Principal) { p.Method, p.Issuer = identity.MethodToken, "x" }, nil, "p.cedar:1"},
		"a forbid by name and object":        {`forbid(principal, action, resource) when { resource.labels has owner && resource.labels.owner == principal.subject };`, child, nil, "p.cedar:1"},
		"a permit by the name":               {`permit(principal == User::"acme/ana%2Fci", action, resource);`, child, nil, "p.cedar:1"},
		"a permit that asks less of another method": {
			`permit(principal, action, resource) when { principal.method == "token" || context.args.amount < 100 };`,
			func(p *identity.Principal) { p.Method, p.Issuer = identity.MethodToken, "x" }, nil, "p.cedar:1",
		},
		"a permit that asks more of who has a scope": {
			`permit(principal, action, resource) unless { principal.scopes.contains("limited") && resource.destructive };`,
			func(p *identity.Principal) { p.Scopes = nil }, nil, "p.cedar:1",
		},
		"a permit that cannot be evaluated for the other": {
			`permit(principal, action, resource) when { principal.method == "token" || principal.attributes.level == "high" };`,
			func(p *identity.Principal) { p.Method, p.Issuer = identity.MethodToken, "x" }, nil, "p.cedar:1",
		},
		"a permit that asks for the same of both": {`permit(principal, action, resource) unless { principal.scopes.contains("limited") && resource.destructive };`, child, nil, ""},
		"a permit for the other alone":            {`permit(principal, action, resource) when { principal.groups.contains("a") && resource.destructive };`, alone, nil, ""},
		"without the role that denies":            {``, func(p *identity.Principal) { p.Subject = "ana/ci" }, roles, "role careful"},
		"with the role that denies":               {``, func(p *identity.Principal) { p.Subject, p.Groups = "ana/ci", []string{"careful"} }, roles, ""},
		"with a role that the other has none":     {``, func(p *identity.Principal) { p.Roles = []string{"admin"} }, roles, "role admin"},
	} {
		if test.change == nil {
			test.change = func(*v1.Config) {}
		}
		got := cedarSet(t, test.cedar, test.change).Exceeds(as(test.p), as(none))
		if got != test.want || strings.Contains(got, "\n") {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
