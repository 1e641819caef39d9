package policy

import (
	"maps"

	"github.com/cedar-policy/cedar-go"

	"github.com/toolcrib/toolcrib/identity"
)

// Reference decides by Cedar alone, from all policies that the set stands for: cedar-go's Authorize with every policy,
// but that a forbid which cannot be evaluated applies. It knows of no view, index or memory.
func (s *Set) Reference(p *identity.Principal, o *Object, f *Facts) bool {
	policies := cedar.PolicyMap{}
	for i := range s.roles {
		for _, p := range s.rolePolicies(i) {
			policies[cedar.PolicyID(rune(len(policies)))] = p
		}
	}
	v := s.View(p)
	entity := principalEntity(p, p.Roles)
	roles := cedar.PolicyMap{}
	maps.Copy(roles, policies)
	view := &scene{principal: entity, resource: objectEntity(o), action: actionOf(o.Kind), context: cedar.Record{}}
	allowed, diagnostic := cedar.Authorize(roles, view, view.request())
	if len(diagnostic.Errors) > 0 {
		panic(diagnostic.Errors[0].String())
	}
	_ = v
	return bool(allowed)
}

// ReferenceManages is Reference for management.
func (s *Set) ReferenceManages(p *identity.Principal, what string) bool {
	policies := cedar.PolicyMap{}
	for i := range s.roles {
		for _, p := range s.rolePolicies(i) {
			policies[cedar.PolicyID(rune(len(policies)))] = p
		}
	}
	view := &scene{principal: principalEntity(p, p.Roles), resource: managementEntity(what), action: actionManage, context: cedar.Record{}}
	allowed, _ := cedar.Authorize(policies, view, view.request())
	return bool(allowed) && p.Method != identity.MethodAnonymous
}
