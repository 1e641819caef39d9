package policy_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/policy"
)

var (
	principalScopes = rapid.SampledFrom([]string{
		"principal", "principal", `principal in Group::"g1"`, `principal in Role::"r1"`, `principal in Tenant::"acme"`, `principal == User::"acme/alice"`,
		"principal is User", `principal is User in Group::"g2"`,
	})
	actionScopes = rapid.SampledFrom([]string{
		"action", "action", `action == Action::"call"`, `action in [Action::"get", Action::"read"]`, `action in Action::"use"`, `action == Action::"manage"`,
	})
	resourceScopes = rapid.SampledFrom([]string{
		"resource", "resource", `resource in Server::"a"`, `resource in Toolset::"b"`, `resource is Prompt`, `resource == Tool::"a/a__x"`, `resource is Tool in Server::"b"`,
	})
	terms = rapid.SampledFrom([]string{
		`principal.tenant == "acme"`, `principal in Group::"g3"`, `principal.attributes.limit > 3`, `principal.attributes has limit`, `principal.scopes.contains("s1")`,
		`resource.readOnly`, `resource.destructive`, `resource.name like "*x"`, `resource.labels has tier`, `resource.labels.tier == "core"`, `resource is Tool`,
		`resource.server == "a"`, `resource in Server::"b"`, `resource.labels.tier == principal.tenant`, `resource.server == principal.subject`,
		`context.args has n`, `context.args.n > 3`, `context.args.n == principal.attributes.limit`, `context.args.s == resource.name`, `context.args.b`,
		`context.numbers.n.greaterThan(decimal("2.5"))`, `context.args.deep.list.contains("a")`,
		`context.time.hour >= 12`, `context.client.name == "ide"`, `context.address.isInRange(ip("10.0.0.0/8"))`, `context has address`,
		`action == Action::"call"`, `true`, `false`,
	})
	operators = rapid.SampledFrom([]string{" && ", " && ", " || "})
	words     = rapid.SampledFrom([]string{"when", "when", "unless"})
	calls     = rapid.SampledFrom([]string{
		`{}`, `{"n":5}`, `{"n":3,"s":"a__x","b":true}`, `{"n":"x","b":false}`, `{"n":4.5,"deep":{"list":["a"]}}`, `{"n":1e400,"b":1}`, `{"n":null}`, `{"n":1,"n":2}`, `[]`, `{"s":"\ud800"}`,
	})
)

func someCondition(t *rapid.T, depth int) string {
	switch n := rapid.IntRange(0, 6).Draw(t, "shape"); {
	case depth == 0 || n < 2:
		return terms.Draw(t, "term")
	case n == 2:
		return "!(" + someCondition(t, depth-1) + ")"
	case n == 3:
		return "(if " + someCondition(t, depth-1) + " then " + someCondition(t, depth-1) + " else " + someCondition(t, depth-1) + ")"
	}
	return "(" + someCondition(t, depth-1) + operators.Draw(t, "operator") + someCondition(t, depth-1) + ")"
}

func someCedar(t *rapid.T) string {
	var b strings.Builder
	for range rapid.IntRange(0, 4).Draw(t, "policies") {
		b.WriteString(rapid.SampledFrom([]string{"permit", "permit", "forbid"}).Draw(t, "effect"))
		b.WriteString("(" + principalScopes.Draw(t, "principal") + ", " + actionScopes.Draw(t, "action") + ", " + resourceScopes.Draw(t, "resource") + ")")
		for range rapid.IntRange(0, 2).Draw(t, "conditions") {
			b.WriteString(" " + words.Draw(t, "word") + " { " + someCondition(t, 2) + " }")
		}
		b.WriteString(";\n")
	}
	return b.String()
}

// cedarWorld has what random policies name.
func cedarWorld(t *rapid.T) *v1.Config {
	core := map[string]string{"tier": "core"}
	c := &v1.Config{
		MCPServers: map[string]*v1.Server{"a": {Labels: core}, "b": {}, "": {}}, Toolsets: map[string]*v1.Toolset{"b": {}},
		Policies: somePolicies(t),
	}
	c.Policies.Cedar, c.Policies.Files = []string{"p.cedar"}, []v1.PolicyFile{{Name: "p.cedar", Text: someCedar(t)}}
	return c
}

func someFacts(t *rapid.T) *policy.Facts {
	f := &policy.Facts{
		Args: []byte(calls.Draw(t, "args")), Now: time.Date(2026, 11, 20, rapid.IntRange(0, 23).Draw(t, "hour"), 0, 0, 0, time.UTC),
		Client: rapid.SampledFrom([]string{"ide", "bot"}).Draw(t, "client"),
	}
	if rapid.Bool().Draw(t, "located") {
		f.Address = netip.MustParseAddr("10.0.0.1")
	}
	return f
}

// With random roles, bindings and Cedar policies: the decision is that of cedar-go; whatever is permitted for some
// arguments is listed and seen; and a fresh set decides the same as one that remembers.
func TestDecisionsAreThoseOfCedar(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := cedarWorld(t)
		s, err := policy.Compile(c, policy.Options{})
		if err != nil {
			t.Skip("does not type-check")
		}
		for range 3 {
			p := somePrincipal(t)
			if rapid.Bool().Draw(t, "limited") {
				p.Attributes = map[string]any{"limit": 5}
			}
			v := s.View(p)
			for range 6 {
				o := someObject(t)
				if o.Server == "a" && rapid.Bool().Draw(t, "labelled") {
					o.Labels = map[string]string{"tier": "core"}
				}
				f := someFacts(t)
				want := s.Reference(p, o, f)
				got := v.May(o, f)
				if got.Allowed != want || v.May(o, f).Allowed != want {
					t.Fatalf("%+v and %+v with %s: got %+v, Cedar says %v\n%s", p, o, f.Args, got, want, s.Cedar())
				}
				if e := s.Explain(p, o, f); e.Allowed != got.Allowed || e.Rule != got.Rule {
					t.Fatalf("explained is %+v, decided %+v", e, got)
				}
				list := *f
				list.Args = nil
				if got.Allowed && !v.May(o, &list).Allowed {
					t.Fatalf("%+v and %+v with %s: permitted, but not listed\n%s", p, o, f.Args, s.Cedar())
				}
				if got.Allowed && !v.Sees(&policy.Object{Kind: o.Kind, Server: o.Server, Toolset: o.Toolset, Labels: o.Labels}) {
					t.Fatalf("%+v and %+v with %s: permitted, but not seen\n%s", p, o, f.Args, s.Cedar())
				}
			}
		}
	})
}
