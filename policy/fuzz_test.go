package policy_test

import (
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/policy"
)

func FuzzCedar(f *testing.F) {
	f.Add(`permit(principal in Group::"a", action, resource == Tool::"pay/x") when { context.args.amount <= 5 } unless { resource.labels.tier like "c*" };`)
	f.Add(`@id("x") forbid(principal, action in [Action::"call"], resource is Tool in Server::"pay") when { if context.args has x then ip("10.0.0.0/8") == context.address else true };`)
	f.Add("// nothing\npermit(principal, action, resource);\"")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := policy.Compile(cedarConfig("p.cedar", text), policy.Options{})
		if err != nil {
			if _, ok := err.(policy.Problems); !ok { //nolint:errorlint // that it is one is the point
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		s.Cedar()
		for _, a := range []string{`{"amount":5,"x":"y"}`, ``} {
			facts := args(a)
			if a == "" {
				facts.Args = nil
			}
			d := s.View(alice).May(tool("pay", "x", policy.Hints{}), facts)
			if e := s.Explain(alice, tool("pay", "x", policy.Hints{}), facts); e.Allowed != d.Allowed {
				t.Fatalf("decided %+v, explained %+v", d, e)
			}
		}
	})
}

func FuzzArguments(f *testing.F) {
	for _, text := range []string{
		`{"amount":1e400,"x":[1,{"a":null}],"deep":{"a":{"b":-0.00005}}}`, `{"amount":9223372036854775808}`, `[]`, `{"amount":1,"amount":2}`, `{"a":"\ud800"}`, `{"amount":-0}`,
	} {
		f.Add(text)
	}
	s := cedarSet(f, `permit(principal, action, resource) when { context.args.amount > 3 };
forbid(principal, action, resource) when { context.args has x && context.args.x.contains(1) || context.numbers has amount && context.numbers.amount.greaterThan(decimal("100.5")) };`)
	o := tool("pay", "x", policy.Hints{})
	f.Fuzz(func(t *testing.T, text string) {
		facts := args(text)
		v := s.View(alice)
		if d := v.May(o, facts); d.Allowed != s.Reference(alice, o, facts) {
			t.Fatalf("%s: %+v", text, d)
		}
	})
}

func FuzzCases(f *testing.F) {
	f.Add("config: a.yaml\nprincipals: {ann: {subject: ann, attributes: {a: [1]}}}\ntools: {a__b: {readOnly: true}}\n" +
		"cases:\n- {principal: ann, tool: a__b, arguments: {a: 1}, at: 2026-11-20T10:00:00Z, expect: allow}")
	f.Add("cases: &a\n- {principal: &b {groups: [*b]}, tool: *a, expect: deny}")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := policy.ParseCases([]byte(text)); err != nil {
			if _, ok := err.(v1.Problems); !ok { //nolint:errorlint // that it is one is the point
				t.Fatalf("%T: %v", err, err)
			}
		}
	})
}
