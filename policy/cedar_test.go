package policy_test

import (
	"net/netip"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/policy"
)

// cedarConfig has one file of Cedar policies, and the servers pay, files and search.
func cedarConfig(name, text string) *v1.Config {
	return &v1.Config{
		MCPServers: map[string]*v1.Server{
			"pay": {Labels: map[string]string{"tier": "core", "owner": "acme"}}, "files": {Labels: map[string]string{"tier": "edge"}}, "search": {},
		},
		Policies: v1.Policies{Cedar: []string{name}, Files: []v1.PolicyFile{{Name: name, Text: text}}},
	}
}

func cedarSet(t testing.TB, text string, change ...func(*v1.Config)) *policy.Set {
	t.Helper()
	c := cedarConfig("p.cedar", text)
	if text == "" {
		c.Policies.Files = nil
	}
	for _, f := range change {
		f(c)
	}
	return compile(t, c)
}

func tool(server, name string, h policy.Hints) *policy.Object {
	labels := map[string]map[string]string{"pay": {"tier": "core", "owner": "acme"}, "files": {"tier": "edge"}}
	return &policy.Object{Kind: policy.KindTool, Server: server, Name: name, Shown: server + "__" + name, Labels: labels[server], Hints: h}
}

var (
	alice = &identity.Principal{
		Subject: "alice", Tenant: "acme", Groups: []string{"traders", "staff"}, Method: identity.MethodToken, Issuer: "corp",
		Attributes: map[string]any{"limit": float64(500), "dept": "fx"},
	}
	bob = &identity.Principal{Subject: "bob", Tenant: "globex", Groups: []string{"staff"}, Method: identity.MethodAPIKey}
)

func args(text string) *policy.Facts {
	return &policy.Facts{Args: []byte(text), Now: time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC), Client: "ide", Address: netip.MustParseAddr("10.1.2.3")}
}

func TestCedarDecides(t *testing.T) {
	transfer, list := tool("pay", "transfer", policy.Hints{Destructive: true}), tool("files", "list", policy.Hints{ReadOnly: true})
	none := &policy.Facts{Now: args("").Now, Client: "ide", Address: args("").Address}
	for _, test := range []struct {
		name, text string
		p          *identity.Principal
		o          *policy.Object
		f          *policy.Facts
		want       bool
		rule       string
	}{
		{"no policy", ``, alice, list, none, false, "no policy permits it"},
		{"open permit", `permit(principal, action, resource);`, alice, list, none, true, "p.cedar:1"},
		{"id", "\n@id(\"all\")\npermit(principal, action, resource);", alice, list, none, true, "p.cedar:2 all"},
		{"group", `permit(principal in Group::"traders", action, resource);`, alice, list, none, true, "p.cedar:1"},
		{"other group", `permit(principal in Group::"traders", action, resource);`, bob, list, none, false, "no policy permits it"},
		{"tool", `permit(principal, action == Action::"call", resource == Tool::"pay/transfer");`, alice, transfer, none, true, "p.cedar:1"},
		{"other tool", `permit(principal, action == Action::"call", resource == Tool::"pay/transfer");`, alice, list, none, false, "no policy permits it"},
		{"server", `permit(principal, action, resource in Server::"files");`, alice, list, none, true, "p.cedar:1"},
		{"labels", `permit(principal, action, resource) when { resource.labels has tier && resource.labels.tier == "edge" };`, alice, list, none, true, "p.cedar:1"},
		{"labels that differ", `permit(principal, action, resource) when { resource.labels has tier && resource.labels.tier == "edge" };`, alice, transfer, none, false, ""},
		{"hints", `permit(principal, action, resource) when { resource.readOnly };`, alice, transfer, none, false, ""},
		{"both sides", `permit(principal, action, resource) when { resource.labels has owner && resource.labels.owner == principal.tenant };`, alice, transfer, none, true, ""},
		{"both sides differ", `permit(principal, action, resource) when { resource.labels has owner && resource.labels.owner == principal.tenant };`, bob, transfer, none, false, ""},
		{"forbid wins", `permit(principal, action, resource); forbid(principal, action, resource) when { resource.destructive };`, alice, transfer, none, false, "p.cedar:1"},
		{"argument", `permit(principal, action, resource) when { context.args.amount <= 1000 };`, alice, transfer, args(`{"amount":1000}`), true, "p.cedar:1"},
		{"argument too large", `permit(principal, action, resource) when { context.args.amount <= 1000 };`, alice, transfer, args(`{"amount":1001}`), false, "no policy permits it"},
		{"argument missing", `permit(principal, action, resource) when { context.args.amount <= 1000 };`, alice, transfer, args(`{}`), false, ""},
		{"argument in a list", `permit(principal, action, resource) when { context.args.amount <= 1000 };`, alice, transfer, none, true, ""},
		{"argument beyond int64", `permit(principal, action, resource) when { context.args.amount > 1000 };`, alice, transfer, args(`{"amount":9223372036854775808}`), false, ""},
		{"argument twice", `permit(principal, action, resource) when { context.args.amount <= 1000 };`, alice, transfer, args(`{"amount":1,"amount":1}`), false, ""},
		{"argument twice deep inside", `permit(principal, action, resource) when { context.args.amount <= 1000 };`, alice, transfer, args(`{"amount":1,"x":{"a":[{"b":1,"b":2}]}}`), false, ""},
		{"argument in another case", `permit(principal, action, resource) when { context.args.amount <= 1000 };`, alice, transfer, args(`{"amount":1,"AMOUNT":5000}`), false, ""},
		{"argument by a letter that folds", `permit(principal, action, resource) when { context.args.desk == "a" };`, alice, transfer, args(`{"desk":"a","de\u017fk":"b"}`), false, ""},
		{"member in another case", `permit(principal, action, resource) when { context.args.to.ids.contains("a") };`, alice, transfer, args(`{"to":{"ids":["a"],"IDs":["b"]}}`), false, ""},
		{"two that both count", `permit(principal, action, resource) when { context.args.id == 1 && context.args.ID == 2 };`, alice, transfer, args(`{"id":1,"ID":2,"Other":{"Id":3}}`), true, ""},
		{
			"forbid by argument in another case",
			`permit(principal, action, resource); forbid(principal, action, resource) when { context.args has force && context.args.force };`,
			alice, transfer, args(`{"FORCE":true}`), false, "p.cedar:1 (its condition cannot be evaluated)",
		},
		{
			"forbid by argument", `permit(principal, action, resource); forbid(principal, action, resource) when { context.args has force && context.args.force };`,
			alice, transfer, args(`{"force":true}`), false, "p.cedar:1",
		},
		{
			"forbid that errs", `permit(principal, action, resource); forbid(principal, action, resource) when { context.args.amount > 10 };`,
			alice, transfer, args(`{"amount":"x"}`), false, "p.cedar:1 (its condition cannot be evaluated)",
		},
		{
			"forbid, not JSON", `permit(principal, action, resource); forbid(principal, action, resource) when { context.args.amount > 10 };`,
			alice, transfer, args(`{"amount":}`), false, "p.cedar:1 (its condition cannot be evaluated)",
		},
		{
			"forbid that errs, of another tool", `permit(principal, action, resource); forbid(principal, action, resource) when { context.args.amount > 10 && resource.server == "pay" };`,
			alice, list, args(`{}`), true, "p.cedar:1",
		},
		{"null", `permit(principal, action, resource) when { context.args.x == Null::"null" };`, alice, list, args(`{"x":null}`), true, ""},
		{"decimals", `permit(principal, action, resource) when { context.numbers.x.lessThan(decimal("10.51")) };`, alice, list, args(`{"x":10.50}`), true, ""},
		{"decimals of whole numbers", `permit(principal, action, resource) when { context.numbers.x.lessThan(decimal("10.51")) };`, alice, list, args(`{"x":10}`), true, ""},
		{"whole numbers written with a point", `permit(principal, action, resource) when { context.args.x == 10 };`, alice, list, args(`{"x":1.0e1}`), true, ""},
		{"nested", `permit(principal, action, resource) when { context.args.to.ids.contains("a") };`, alice, list, args(`{"to":{"ids":["b","a"]}}`), true, ""},
		{"hour", `permit(principal, action, resource) when { context.time.hour >= 9 && context.time.hour < 17 && context.time.weekday <= 5 };`, alice, list, none, true, ""},
		{"hour that is over", `permit(principal, action, resource) when { context.time.hour >= 11 };`, alice, list, none, false, ""},
		{"address", `permit(principal, action, resource) when { context.address.isInRange(ip("10.0.0.0/8")) };`, alice, list, none, true, ""},
		{
			"no address", `permit(principal, action, resource); forbid(principal, action, resource) unless { context.address.isInRange(ip("10.0.0.0/8")) };`,
			alice, list, &policy.Facts{}, false, "",
		},
		{"client", `permit(principal, action, resource) when { context.client.name == "ide" };`, alice, list, none, true, ""},
		{"attribute", `permit(principal, action, resource) when { context.args.amount <= principal.attributes.limit };`, alice, transfer, args(`{"amount":500}`), true, ""},
		{"attribute that is missing", `permit(principal, action, resource) when { context.args.amount <= principal.attributes.limit };`, bob, transfer, args(`{"amount":500}`), false, ""},
		{
			"always forbidden, some arguments", `permit(principal, action, resource); forbid(principal, action, resource) when { context.args.x == 1 || resource.destructive };`,
			alice, transfer, none, false, "",
		},
		{
			"never permitted, some arguments", `permit(principal, action, resource) when { context.args.x == 1 && !(resource.destructive || context.args.y == 1) };`,
			alice, transfer, none, false, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := cedarSet(t, test.text)
			for range 2 {
				got := s.View(test.p).May(test.o, test.f)
				if got.Allowed != test.want || test.rule != "" && got.Rule != test.rule {
					t.Fatalf("got %+v, want %v by %q", got, test.want, test.rule)
				}
			}
			if !s.View(test.p).Sees(&policy.Object{Kind: test.o.Kind, Server: test.o.Server, Labels: test.o.Labels, Shown: test.o.Server + "__"}) && test.want {
				t.Error("sees nothing of it")
			}
		})
	}
}
