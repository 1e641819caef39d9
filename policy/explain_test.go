package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/policy"
)

func TestExplain(t *testing.T) {
	s := cedarSet(t, `permit(principal in Group::"traders", action, resource == Tool::"pay/transfer") when { context.args.amount <= principal.attributes.limit };
forbid(principal, action, resource) when { context.time.hour < 9 || context.time.hour >= 17 };
forbid(principal, action, resource) when { resource.labels.tier == "edge" && context.args.amount > 0 };
forbid(principal, action, resource) when { context.args.memo like "*x*" };
permit(principal in Group::"nobody", action, resource);
`, func(c *v1.Config) {
		c.Policies.Roles = map[string]v1.Role{"analyst": {Allow: []string{"search__*"}, Deny: []string{"*__drop"}}}
		c.Policies.Bindings = []v1.Binding{{Role: "analyst", Group: "staff"}, {Role: "user", Group: "traders", Scopes: []string{"mcp:write"}}}
	})
	for _, test := range []struct {
		args string
		want []string
	}{
		{`{"amount":700,"memo":""}`, []string{
			"allowed: false by role user via group traders with further scopes [mcp:write]", "role analyst via group staff: permit does not apply ",
			"role analyst via group staff: forbid does not apply ", "role user via group traders: permit would apply with the scopes mcp:write ",
			"p.cedar:1: permit does not apply this does not hold: context.args.amount <= principal.attributes.limit",
			"p.cedar:2: forbid does not apply this does not hold: context.time.hour < 9 || context.time.hour >= 17",
			`p.cedar:3: forbid does not apply this does not hold: resource.labels.tier == "edge"`,
			`p.cedar:4: forbid does not apply this does not hold: context.args.memo like "*x*"`, "others: 4",
		}},
		{`{"amount":400}`, []string{
			"allowed: false by p.cedar:4 (its condition cannot be evaluated) []", "p.cedar:1: permit applies ",
			"p.cedar:4: forbid cannot be evaluated record does not have the attribute `memo` in: context.args.memo like",
		}},
		{`{"amount":400,"memo":"a"}`, []string{"allowed: true by p.cedar:1 []", "p.cedar:1: permit applies "}},
		{``, []string{"allowed: true by p.cedar:1 []", "p.cedar:1: permit depends on the arguments this decides: context.args.amount <= principal.attributes.limit"}},
	} {
		f := args(test.args)
		if test.args == "" {
			f.Args = nil
		}
		e := s.Explain(alice, tool("pay", "transfer", policy.Hints{}), f)
		got := fmt.Sprintf("allowed: %v by %s %v\n", e.Allowed, e.Rule, e.Scopes)
		for _, c := range e.Considered {
			got += fmt.Sprintf("%s: %s %s %s\n", c.Rule, c.Effect, c.Result, c.Why)
			if !strings.Contains(c.Cedar, c.Effect+" (") {
				t.Errorf("%s is shown as %s", c.Rule, c.Cedar)
			}
		}
		got += fmt.Sprintf("others: %d\n", e.Others)
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: want %q in\n%s", test.args, want, got)
			}
		}
		if d := s.View(alice).May(tool("pay", "transfer", policy.Hints{}), f); d.Allowed != e.Allowed || d.Rule != e.Rule {
			t.Errorf("it explains %+v, but decides %+v", e, d)
		}
	}
	e := s.Explain(alice, tool("pay", "transfer", policy.Hints{}), args(`{}`))
	text, err := json.Marshal(e.Principal)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"key":"acme/alice","subject":"alice","tenant":"acme","roles":["analyst via group staff"],"groups":["traders","staff"],"scopes":[],` +
		`"issuer":"corp","method":"token","attributes":{"dept":"fx","limit":500}}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
}

// TestUnknownNamed: an error that says what there is instead names some, however many there are.
func TestUnknownNamed(t *testing.T) {
	c := v1.New()
	c.MCPServers, c.Toolsets = map[string]*v1.Server{}, map[string]*v1.Toolset{}
	for n := range 1000 {
		name := fmt.Sprintf("n%03d", n)
		c.MCPServers[name], c.Toolsets[name] = &v1.Server{URL: "http://127.0.0.1:9/mcp"}, &v1.Toolset{}
	}
	for _, w := range []policy.What{{Tool: "x", Toolset: "none"}, {Tool: "none"}, {Resource: "file:///x"}} {
		_, err := w.Object(c)
		if err == nil || !strings.Contains(err.Error(), "n009") || strings.Contains(err.Error(), "n010") || !strings.Contains(err.Error(), "and 990 more") {
			t.Errorf("%+v: %v", w, err)
		}
	}
}
