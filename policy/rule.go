package policy

import (
	"slices"
	"strconv"

	"github.com/cedar-policy/cedar-go"
	cedarast "github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

func fromAST(p *ast.Policy) *cedar.Policy { return cedar.NewPolicyFromAST((*cedarast.Policy)(p)) }

func toAST(p *cedar.Policy) *ast.Policy { return (*ast.Policy)(p.AST()) }

// rule is a policy of a Cedar file, taken apart by what its conditions ask for.
type rule struct {
	// name is where it stands, and its id if it has one: policies/a.cedar:12 limit.
	name   string
	permit bool
	// source is the policy, and about how it is evaluated: for use, unless it names manage.
	source *cedar.Policy
	about  *ast.Policy
	// who are the conditions about the principal, what those about the object, both those about both, call those that
	// ask for facts of a call too.
	who, what, both, call []cond
	// dynamic is the conditions of call as one policy; nil where there are none.
	dynamic *cedar.Policy
	plain   []plain // the same for flat arguments; nil where it is not for those alone
	needs   needs   // of call
	asks    needs   // of both and call
	// uses are the attributes of the principal that both and call ask for; "" is what it is in.
	uses map[string]bool
	want wanted
	// named tells that a condition asks for the name of the object.
	named bool
}

func newRule(p *cedar.Policy) *rule {
	source := toAST(p)
	about := *source
	about.Action = actionScope(source)
	r := &rule{name: nameOf(source), permit: p.Effect() == cedar.Permit, source: p, about: &about, uses: map[string]bool{}}
	var nodes []ast.IsNode
	for _, n := range conjuncts(source) {
		c := newCond(n)
		r.named = r.named || asksName(n)
		switch {
		case c.needs&needCall != 0:
			r.call = append(r.call, c)
			nodes = append(nodes, n)
			r.needs |= c.needs
		case c.needs&needPrincipal != 0 && c.needs&needObject != 0:
			r.both = append(r.both, c)
		case c.needs&needObject != 0:
			r.what = append(r.what, c)
			continue
		default:
			r.who = append(r.who, c)
			continue
		}
		r.asks |= c.needs
		usesOf(n, r.uses)
		r.want.look(n)
	}
	if len(nodes) > 0 {
		r.dynamic, r.plain = when(nodes...), plainly(nodes)
	}
	return r
}

// actionScope is what a policy says of the action. One that leaves it open is about use: management must be named.
func actionScope(p *ast.Policy) ast.IsActionScopeNode {
	if _, open := p.Action.(ast.ScopeTypeAll); open {
		return ast.Scope{}.In(actionUse)
	}
	return p.Action
}

func nameOf(p *ast.Policy) string {
	name := p.Position.Filename + ":" + strconv.Itoa(p.Position.Line)
	for _, a := range p.Annotations {
		if a.Key == "id" {
			return name + " " + string(a.Value)
		}
	}
	return name
}

// usesOf gathers the attributes of the principal that a condition asks for.
func usesOf(n ast.IsNode, uses map[string]bool) {
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		switch t := n.(type) {
		case ast.NodeTypeAccess:
			if isVariable(t.Arg, "principal") {
				uses[string(t.Value)] = true
				return false
			}
		case ast.NodeTypeVariable:
			if t.Name == "principal" {
				uses[""] = true
			}
		default:
		}
		return true
	})
}

// asksName tells whether a condition asks for the name of the object.
func asksName(n ast.IsNode) (asks bool) {
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		if t, ok := n.(ast.NodeTypeAccess); ok && isVariable(t.Arg, "resource") {
			asks = asks || t.Value == "name" || t.Value == "shown"
		}
		return !asks
	})
	return asks
}

// look gathers the arguments that a condition asks for.
func (w *wanted) look(n ast.IsNode) {
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		arg, name := ast.IsNode(nil), ""
		switch t := n.(type) {
		case ast.NodeTypeAccess:
			arg, name = t.Arg, string(t.Value)
		case ast.NodeTypeHas:
			arg, name = t.Arg, string(t.Value)
		default:
		}
		if from, ok := ofContext(arg); ok && contextNeeds[from]&needArguments != 0 {
			w.add(name)
			return false
		}
		if inArguments(arg) {
			w.see(name)
		}
		if from, ok := ofContext(n); ok {
			w.all = w.all || contextNeeds[from]&needArguments != 0
			return false
		}
		w.all = w.all || isVariable(n, "context")
		return true
	})
}

func (w *wanted) add(name string) {
	if w.names == nil {
		w.names = map[string]bool{}
	}
	w.names[name] = true
	w.see(name)
}

// see notes the name of an argument, or of a member of one.
func (w *wanted) see(name string) {
	if w.exact == nil {
		w.exact, w.folded = map[string]bool{}, map[string]bool{}
	}
	w.exact[name], w.folded[withoutCase(name)] = true, true
}

// inArguments tells whether a node is an argument, or a part of one.
func inArguments(n ast.IsNode) bool {
	for {
		if from, ok := ofContext(n); ok {
			return contextNeeds[from]&needArguments != 0
		}
		access, ok := n.(ast.NodeTypeAccess)
		if !ok {
			return false
		}
		n = access.Arg
	}
}

// concerns tells whether the scope of a policy takes in an entity.
func concerns(scope ast.IsScopeNode, e *cedar.Entity) bool {
	in := func(uid types.EntityUID) bool { return uid == e.UID || e.Parents.Contains(uid) }
	switch t := scope.(type) {
	case ast.ScopeTypeAll:
		return true
	case ast.ScopeTypeEq:
		return t.Entity == e.UID
	case ast.ScopeTypeIn:
		return in(t.Entity)
	case ast.ScopeTypeInSet:
		return slices.ContainsFunc(t.Entities, in)
	case ast.ScopeTypeIs:
		return t.Type == e.UID.Type
	case ast.ScopeTypeIsIn:
		return t.Type == e.UID.Type && in(t.Entity)
	}
	return false
}

// static evaluates conditions that ask for nothing of a call. One that does not hold outweighs one that cannot be
// evaluated.
func static(conds []cond, s *scene) outcomes {
	out := holds
	for _, c := range conds {
		switch o, _ := evaluate(c.policy, s); o {
		case fails:
			return fails
		case errs:
			out = errs
		}
	}
	return out
}

// scopes finds the policies whose scope may take in an entity.
type scopes struct {
	of   map[types.EntityUID][]int
	open []int
}

func (x *scopes) add(scope ast.IsScopeNode, rule int) {
	if x.of == nil {
		x.of = map[types.EntityUID][]int{}
	}
	switch t := scope.(type) {
	case ast.ScopeTypeEq:
		x.of[t.Entity] = append(x.of[t.Entity], rule)
	case ast.ScopeTypeIn:
		x.of[t.Entity] = append(x.of[t.Entity], rule)
	case ast.ScopeTypeIsIn:
		x.of[t.Entity] = append(x.of[t.Entity], rule)
	default:
		x.open = append(x.open, rule)
	}
}

// each calls found for every policy whose scope may take in an entity, once for each.
func (x *scopes) each(e *cedar.Entity, found func(rule int)) {
	for _, i := range x.open {
		found(i)
	}
	for _, i := range x.of[e.UID] {
		found(i)
	}
	for uid := range e.Parents.All() {
		for _, i := range x.of[uid] {
			found(i)
		}
	}
}
