package policy

import (
	"strconv"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/toolcrib/toolcrib/identity"
)

// Reference decides by cedar-go alone, from all policies that the set stands for: no view, index or memory. What it
// adds to cedar-go is that a forbid applies that cannot be evaluated, and that a condition on the name of a resource with
// dot segments cannot be.
func (s *Set) Reference(p *identity.Principal, o *Object, f *Facts) bool {
	v, _ := s.newView(p)
	roles := v.Roles()
	// By facts of the principal alone; the policies of roles have the bindings in them.
	view := &scene{principal: principalEntity(p, p.Roles), resource: objectEntity(o), action: actionOf(o.Kind), context: cedar.Record{}}
	allowed, diagnostic := cedar.Authorize(s.allRoles(), view, view.request())
	if len(diagnostic.Errors) > 0 {
		panic(diagnostic.Errors[0].String())
	}
	permitted, forbidden := bool(allowed), !bool(allowed) && len(diagnostic.Reasons) > 0
	view.principal = principalEntity(p, roles)
	for _, r := range s.cedar {
		t := newTrial(view, o.Kind, f, &wanted{all: true}, needCall)
		full := *r.about
		whole, _ := evaluate(fromAST(permitting(full)), t.scene)
		odd := r.named && o.Kind == KindResource && winding(o.Name)
		if r.permit {
			permitted = permitted || whole == holds && !odd
			continue
		}
		scope := permitting(full)
		scope.Conditions = nil
		in, _ := evaluate(fromAST(scope), t.scene)
		static, ordered := holds, whole
		if odd {
			static = errs
		}
		for _, n := range conjuncts(toAST(r.source)) {
			if needsOf(n)&needCall == 0 {
				switch o, _ := evaluate(when(n), t.scene); {
				case o == fails:
					static = fails
				case o == errs && static != fails:
					static = errs
				}
			}
		}
		if in == holds && static != fails && (static == errs || ordered != fails) {
			forbidden = true
		}
	}
	return permitted && !forbidden
}

func permitting(p ast.Policy) *ast.Policy {
	p.Effect = ast.EffectPermit
	return &p
}

func (s *Set) allRoles() cedar.PolicyMap {
	policies := cedar.PolicyMap{}
	for i := range s.roles {
		for _, p := range s.rolePolicies(i) {
			policies[cedar.PolicyID(strconv.Itoa(len(policies)))] = p
		}
	}
	return policies
}

// ReferenceManages is Reference for management by roles.
func (s *Set) ReferenceManages(p *identity.Principal, what string) bool {
	view := &scene{principal: principalEntity(p, p.Roles), resource: managementEntity(what), action: actionManage, context: cedar.Record{}}
	allowed, _ := cedar.Authorize(s.allRoles(), view, view.request())
	return bool(allowed) && p.Method != identity.MethodAnonymous
}

// ForgetPlain has cedar-go evaluate all conditions.
func (s *Set) ForgetPlain() {
	for _, r := range s.cedar {
		r.plain = nil
	}
}
