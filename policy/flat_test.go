package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/toolcrib/toolcrib/policy"
)

var (
	plainSides = rapid.SampledFrom([]string{
		`context.args.n`, `context.args.n`, `context.args.s`, `context.args.s`, `context.args.b`, `context.args["a b"]`, `5`, `-3`, `"x"`, `"forbidden"`, `true`, `User::"x"`,
		`["x", "y"]`, `[1, 5, true]`,
	})
	plainOperators = rapid.SampledFrom([]string{"==", "==", "!=", "<", "<=", ">", ">="})
	plainPatterns  = rapid.SampledFrom([]string{"*forbidden*", "x", "", "*", `a\*b`, "é*", "*\\u{1F600}*"})
	plainKeys      = rapid.SampledFrom([]string{`n`, `n`, `s`, `s`, `b`, `a b`, `N`, `ſ`, `\u006e`, `other`, `deep`, ``, `B`})
	plainValues    = rapid.SampledFrom([]string{
		`5`, `5`, `-3`, `-0`, `5.0`, `0.5`, `1e3`, `1e400`, `9223372036854775808`, `"x"`, `"x"`, `"forbidden"`, `"not forbidden here"`, `"a*b"`, `"é\u0301"`, `"\ud83d\ude00"`,
		`"\ud800"`, `"\n"`, `""`, `true`, `false`, `null`, `[1]`, `{"n":1,"n":2}`, `{}`,
	})
)

func plainCondition(t *rapid.T, depth int) string {
	switch n := rapid.IntRange(0, 9).Draw(t, "shape"); {
	case depth > 0 && n == 0:
		return "!(" + plainCondition(t, depth-1) + ")"
	case depth > 0 && n < 4:
		return "(" + plainCondition(t, depth-1) + operators.Draw(t, "operator") + plainCondition(t, depth-1) + ")"
	case n < 6:
		return "context.args has " + rapid.SampledFrom([]string{"n", "s", "b", `"a b"`, "missing"}).Draw(t, "name")
	case n == 6:
		return "context has args"
	case n == 7:
		return fmt.Sprintf(`%s like "%s"`, plainSides.Draw(t, "liked"), plainPatterns.Draw(t, "pattern"))
	case n == 8:
		return fmt.Sprintf(`%s.contains(%s)`, plainSides.Draw(t, "set"), plainSides.Draw(t, "element"))
	}
	return fmt.Sprintf("%s %s %s", plainSides.Draw(t, "left"), plainOperators.Draw(t, "compared"), plainSides.Draw(t, "right"))
}

func plainArguments(t *rapid.T) string {
	members := make([]string, rapid.IntRange(0, 5).Draw(t, "members"))
	for i := range members {
		members[i] = fmt.Sprintf(`"%s":%s`, plainKeys.Draw(t, "key"), plainValues.Draw(t, "value"))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// Conditions that compare arguments with constants are not evaluated by cedar-go: they come to the same.
func TestPlainConditionsAreThoseOfCedar(t *testing.T) {
	o := tool("pay", "x", policy.Hints{})
	rapid.Check(t, func(rt *rapid.T) {
		text := "permit(principal, action, resource) when { " + plainCondition(rt, 2) + " };\n" +
			"forbid(principal, action, resource) when { " + plainCondition(rt, 1) + " } unless { " + plainCondition(rt, 1) + " };"
		s, err := policy.Compile(cedarConfig("p.cedar", text), policy.Options{})
		if err != nil {
			rt.Skip("does not type-check")
		}
		slow, err := policy.Compile(cedarConfig("p.cedar", text), policy.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		slow.ForgetPlain()
		for range 8 {
			f := args(plainArguments(rt))
			if got, want := s.View(alice).May(o, f), slow.View(alice).May(o, f); got.Allowed != want.Allowed || got.Rule != want.Rule {
				rt.Fatalf("%s\n%s: got %+v, by cedar-go it is %+v", text, f.Args, got, want)
			}
		}
	})
}

// A decision by plain arguments costs next to nothing.
func TestPlainDecisionIsCheap(t *testing.T) {
	s := cedarSet(t, `permit(principal, action, resource);
forbid(principal, action, resource) when { context.args has text && context.args.text like "*forbidden*" };`)
	v, o, f := s.View(alice), tool("pay", "x", policy.Hints{}), args(`{"text":"`+strings.Repeat("a", 64)+`","n":3,"b":true}`)
	if d := v.May(o, f); !d.Allowed {
		t.Fatal(d)
	}
	if n := testing.AllocsPerRun(1000, func() { v.May(o, f) }); n > 6 {
		t.Errorf("%v allocations, at most 6", n)
	}
}
