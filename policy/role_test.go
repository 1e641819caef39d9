package policy_test

import (
	"testing"

	"pgregory.net/rapid"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/policy"
)

// The names are few, so that patterns, principals and objects meet often.
var (
	names     = rapid.SampledFrom([]string{"a", "b", "a__x", "a__xy", "b__x", "b__delete_x", "", "ü__x"})
	globs     = rapid.SampledFrom([]string{"*", "a__*", "a__x", "b__x", "*__x", "*_delete_*", "a*x*", "a*x", "*x", "a*a", "ü*", "**", "a__x*"})
	uris      = rapid.SampledFrom([]string{"file:///data/a", "file:///data/../etc/x", "file:///data/%2e%2E/x", "file:///etc/x", "x:/a/./b", "x"})
	uriGlobs  = rapid.SampledFrom([]string{"*", "file:///data/*", "file:///data/../etc/x", "x:*", "*etc*", "x"})
	groups    = rapid.SampledFrom([]string{"g1", "g2", "g3"})
	subjects  = rapid.SampledFrom([]string{"alice", "bob"})
	tenants   = rapid.SampledFrom([]string{"acme", "globex"})
	issuers   = rapid.SampledFrom([]string{"", "corp"})
	scopes    = rapid.SampledFrom([]string{"s1", "s2"})
	roleNames = rapid.SampledFrom([]string{"r1", "r2", "r3", "user", "reader", "auditor", "admin"})
	managing  = rapid.SampledFrom(append(v1.ManageActions(), "*", "audit:*", "*:read"))
	actions   = rapid.SampledFrom(v1.ManageActions())
)

func few[T any](t *rapid.T, of *rapid.Generator[T], label string) []T {
	return rapid.SliceOfN(of, 0, 3).Draw(t, label)
}

func someRole(t *rapid.T) v1.Role {
	return v1.Role{
		Allow: few(t, globs, "allow"), Prompts: few(t, globs, "prompts"), Resources: few(t, uriGlobs, "resources"),
		Deny: rapid.SliceOfN(globs, 0, 1).Draw(t, "deny"), Servers: few(t, names, "servers"), Toolsets: few(t, names, "toolsets"),
		ReadOnly: rapid.Bool().Draw(t, "readOnly"), Manage: few(t, managing, "manage"),
	}
}

func someBinding(t *rapid.T) v1.Binding {
	maybe := func(of *rapid.Generator[string], label string) string {
		return rapid.OneOf(rapid.Just(""), of).Draw(t, label)
	}
	b := v1.Binding{
		Role: roleNames.Draw(t, "role"), Group: maybe(groups, "group"), Subject: maybe(subjects, "subject"), Tenant: maybe(tenants, "tenant"),
		Issuer: maybe(issuers, "issuer"), Scopes: few(t, scopes, "scopes"),
	}
	b.Everyone = b.Group+b.Subject+b.Tenant+b.Issuer == ""
	return b
}

func somePolicies(t *rapid.T) v1.Policies {
	p := v1.Policies{Roles: map[string]v1.Role{}}
	for _, name := range []string{"r1", "r2", "r3"} {
		p.Roles[name] = someRole(t)
	}
	for range rapid.IntRange(0, 5).Draw(t, "bindings") {
		p.Bindings = append(p.Bindings, someBinding(t))
	}
	return p
}

func somePrincipal(t *rapid.T) *identity.Principal {
	return &identity.Principal{
		Subject: subjects.Draw(t, "subject"), Tenant: tenants.Draw(t, "tenant"), Groups: few(t, groups, "groups"), Roles: rapid.SliceOfN(roleNames, 0, 1).Draw(t, "roles"),
		Scopes: few(t, scopes, "scopes"), Issuer: issuers.Draw(t, "issuer"),
		Method: rapid.SampledFrom([]identity.Method{identity.MethodToken, identity.MethodAPIKey, identity.MethodAnonymous}).Draw(t, "method"),
	}
}

func someObject(t *rapid.T) *policy.Object {
	o := &policy.Object{
		Kind:   rapid.SampledFrom([]policy.Kind{policy.KindTool, policy.KindPrompt, policy.KindResource}).Draw(t, "kind"),
		Server: names.Draw(t, "server"), Toolset: names.Draw(t, "toolset"), Name: names.Draw(t, "name"), Shown: names.Draw(t, "shown"),
		Once: rapid.Bool().Draw(t, "once"),
	}
	if o.Kind == policy.KindResource {
		o.Name = uris.Draw(t, "uri")
		o.Shown = o.Name
	}
	if o.Kind == policy.KindTool {
		o.Hints = policy.Hints{ReadOnly: rapid.Bool().Draw(t, "readOnly"), Destructive: rapid.Bool().Draw(t, "destructive")}
	}
	return o
}

// Roles and bindings are decided by an index, without Cedar. It says what cedar-go says of the policies that they
// stand for.
func TestRolesDecideAsTheirCedarPoliciesDo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := policy.Compile(&v1.Config{Policies: somePolicies(t)}, policy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			p := somePrincipal(t)
			for range 8 {
				o := someObject(t)
				want := s.Reference(p, o, nil)
				for range 2 { // the second time from memory
					if got := s.View(p).May(o, &policy.Facts{}); got.Allowed != want {
						t.Fatalf("%+v and %+v: got %+v, Cedar says %v\n%s", p, o, got, want, s.Cedar())
					}
				}
				if prefix := o.Shown[:rapid.IntRange(0, len(o.Shown)).Draw(t, "prefix")]; want &&
					!s.View(p).Sees(&policy.Object{Kind: o.Kind, Server: o.Server, Toolset: o.Toolset, Shown: prefix}) {
					t.Fatalf("%+v may use %+v but is said to see nothing", p, o)
				}
			}
			what := actions.Draw(t, "action")
			if got, want := s.View(p).Manages(what), s.ReferenceManages(p, what); got.Allowed != want {
				t.Fatalf("%+v and %s: got %+v, Cedar says %v\n%s", p, what, got, want, s.Cedar())
			}
		}
	})
}
