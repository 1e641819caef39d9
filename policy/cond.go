package policy

import (
	"iter"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
)

// needs are what a condition asks for.
type needs uint16

const (
	needPrincipal needs = 1 << iota
	needObject          // the resource and the action
	needArgs
	needNumbers
	needTime
	needClient
	needAddress

	needArguments = needArgs | needNumbers
	needAmbient   = needTime | needClient | needAddress
	needCall      = needArguments | needAmbient
)

// contextNeeds are the attributes of context.
var contextNeeds = map[string]needs{
	"args": needArgs, "numbers": needNumbers, "time": needTime, "client": needClient, "address": needAddress,
}

// needsOf tells what a node asks for.
func needsOf(n ast.IsNode) (all needs) {
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		if name, ok := ofContext(n); ok {
			all |= contextNeeds[name]
			return false
		}
		if v, ok := n.(ast.NodeTypeVariable); ok {
			all |= map[string]needs{"principal": needPrincipal, "resource": needObject, "action": needObject, "context": needCall}[string(v.Name)]
		}
		return true
	})
	return all
}

// ofContext returns the attribute of context that a node asks for by name.
func ofContext(n ast.IsNode) (string, bool) {
	switch n := n.(type) {
	case ast.NodeTypeAccess:
		return string(n.Value), isVariable(n.Arg, "context")
	case ast.NodeTypeHas:
		return string(n.Value), isVariable(n.Arg, "context")
	default:
		return "", false
	}
}

func isVariable(n ast.IsNode, name string) bool {
	v, ok := n.(ast.NodeTypeVariable)
	return ok && string(v.Name) == name
}

// outcomes are what the evaluation of a condition may come to.
type outcomes uint8

const (
	holds outcomes = 1 << iota
	fails          // it does not hold
	errs           // it cannot be evaluated

	anything = holds | fails | errs
)

// cond is one of the conditions of a policy, all of which must hold.
type cond struct {
	node   ast.IsNode
	policy *cedar.Policy // permits where the condition holds
	needs  needs
}

func newCond(n ast.IsNode) cond { return cond{node: n, policy: when(n), needs: needsOf(n)} }

// when is a policy that permits where all of some conditions hold.
func when(nodes ...ast.IsNode) *cedar.Policy {
	p := ast.Permit()
	for _, n := range nodes {
		p.When(ast.NewNode(n))
	}
	return fromAST(p)
}

// one is a set of one policy.
type one struct{ *cedar.Policy }

// All yields the policy.
func (o one) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) { yield("", o.Policy) }
}

// evaluate tells what a policy made by when comes to.
func evaluate(p *cedar.Policy, s *scene) (outcomes, string) {
	decision, diagnostic := cedar.Authorize(one{p}, s, s.request())
	switch {
	case len(diagnostic.Errors) > 0:
		return errs, diagnostic.Errors[0].Message
	case decision == cedar.Allow:
		return holds, ""
	}
	return fails, ""
}

// conjuncts takes the conditions of a policy apart into those that must all hold, in their order.
func conjuncts(p *ast.Policy) (all []ast.IsNode) {
	for _, c := range p.Conditions {
		if c.Condition == ast.ConditionWhen {
			all = split(all, c.Body, false)
		} else {
			all = split(all, c.Body, true)
		}
	}
	return all
}

// split takes a && b apart, and what denies a || b.
func split(all []ast.IsNode, n ast.IsNode, denied bool) []ast.IsNode {
	switch t := n.(type) {
	case ast.NodeTypeAnd:
		if !denied {
			return split(split(all, t.Left, false), t.Right, false)
		}
	case ast.NodeTypeOr:
		if denied {
			return split(split(all, t.Left, true), t.Right, true)
		}
	case ast.NodeTypeNot:
		return split(all, t.Arg, !denied)
	default:
	}
	if denied {
		n = ast.Not(ast.NewNode(n)).AsIsNode()
	}
	return append(all, n)
}

// estimate tells what conditions may come to while some of what they ask for is not known.
type estimate struct {
	scene *scene
	// known tells whether a node can be evaluated now.
	known func(ast.IsNode) bool
}

// node returns all that a condition may come to, perhaps more.
func (e *estimate) node(n ast.IsNode) outcomes {
	if e.known(n) {
		return e.evaluate(n)
	}
	switch t := n.(type) {
	case ast.NodeTypeNot:
		return negate(e.node(t.Arg))
	case ast.NodeTypeAnd:
		return e.sequence(t.Left, t.Right, holds)
	case ast.NodeTypeOr:
		return e.sequence(t.Left, t.Right, fails)
	case ast.NodeTypeIfThenElse:
		test := e.node(t.If)
		out := test & errs
		if test&holds != 0 {
			out |= e.node(t.Then)
		}
		if test&fails != 0 {
			out |= e.node(t.Else)
		}
		return out
	default:
		return anything
	}
}

// sequence is a && b, or a || b: b is evaluated where a comes to goesOn.
func (e *estimate) sequence(a, b ast.IsNode, goesOn outcomes) outcomes {
	first := e.node(a)
	if first&goesOn == 0 {
		return first
	}
	return first&^goesOn | e.node(b)
}

func negate(o outcomes) outcomes { return o&errs | o&holds<<1 | o&fails>>1 }

func (e *estimate) evaluate(n ast.IsNode) outcomes {
	env := eval.Env{Entities: e.scene, Principal: e.scene.principal.UID, Action: e.scene.action, Resource: e.scene.resource.UID, Context: e.scene.context}
	v, err := eval.Eval(n, env)
	b, ok := v.(cedar.Boolean)
	switch {
	case err != nil || !ok:
		return errs
	case bool(b):
		return holds
	}
	return fails
}
