package policy

import (
	"bytes"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Cedar returns all policies of the set in the Cedar language: those that roles and bindings stand for, and those of
// the Cedar files as they are.
func (s *Set) Cedar() []byte {
	var b bytes.Buffer
	for i := range s.roles {
		for _, p := range s.rolePolicies(i) {
			b.Write(p.MarshalCedar())
			b.WriteString("\n\n")
		}
	}
	for _, r := range s.cedar {
		b.WriteString("// " + strings.ReplaceAll(r.name, "\n", " ") + "\n")
		b.Write(fromAST(r.about).MarshalCedar())
		b.WriteString("\n\n")
	}
	return b.Bytes()
}

// rolePolicies are the policies that a role stands for, with the bindings that give it. None are for a role that
// nobody can have by a binding and that says nothing.
func (s *Set) rolePolicies(i int) (all []*cedar.Policy) {
	r, member := s.roles[i], s.member(i)
	named := func(clause string, p *ast.Policy) *ast.Policy {
		p.Annotations = []ast.AnnotationType{{Key: "id", Value: types.String("role " + r.name + ": " + clause)}}
		return p.When(member)
	}
	permit := func(clause string, action types.EntityUID, attribute types.String, patterns []string) {
		if len(patterns) == 0 {
			return
		}
		p := named(clause, ast.Permit()).ActionEq(action).When(likeAny(attribute, patterns, action == actionRead))
		if r.ReadOnly && action == actionCall {
			p.When(ast.Resource().Access("readOnly"))
		}
		all = append(all, fromAST(p))
	}
	permit("tools", actionCall, "shown", r.Allow)
	permit("prompts", actionGet, "shown", r.Prompts)
	permit("resources", actionRead, "name", r.Resources)
	for _, group := range [...]struct {
		clause string
		kind   types.EntityType
		names  []string
	}{{"servers", "Server", r.Servers}, {"toolsets", "Toolset", r.Toolsets}} {
		for _, name := range group.names {
			p := named(group.clause, ast.Permit()).ActionIn(actionUse).ResourceIn(types.NewEntityUID(group.kind, types.String(name)))
			if r.ReadOnly {
				p.When(ast.Resource().Access("readOnly"))
			}
			all = append(all, fromAST(p))
		}
	}
	if len(r.Deny) > 0 {
		all = append(all, fromAST(named("deny", ast.Forbid()).ActionInSet(actionCall, actionGet).When(likeAny("shown", r.Deny, false))))
	}
	if len(r.Manage) > 0 {
		all = append(all, fromAST(named("manage", ast.Permit()).ActionEq(actionManage).When(manageable(r.Manage))))
	}
	return all
}

// member is the condition that a principal has a role.
func (s *Set) member(role int) ast.Node {
	is := ast.Principal().In(ast.EntityUID("Role", types.String(s.roles[role].name)))
	for i := range s.bindings.all {
		if b := &s.bindings.all[i]; b.role == role {
			is = is.Or(b.node())
		}
	}
	return is
}

// node is the condition that a binding is about a principal.
func (b *binding) node() ast.Node {
	var all []ast.Node
	if b.Group != "" {
		all = append(all, ast.Principal().In(ast.EntityUID("Group", types.String(b.Group))))
	}
	for _, f := range [...][2]string{{"subject", b.Subject}, {"tenant", b.Tenant}, {"issuer", b.Issuer}} {
		if f[1] != "" {
			all = append(all, ast.Principal().Access(types.String(f[0])).Equal(ast.String(f[1])))
		}
	}
	if len(b.Scopes) > 0 {
		scopes := make([]ast.Node, len(b.Scopes))
		for i, s := range b.Scopes {
			scopes[i] = ast.String(s)
		}
		all = append(all, ast.Principal().Access("scopes").ContainsAll(ast.Set(scopes...)))
	}
	if len(all) == 0 {
		return ast.True()
	}
	node := all[0]
	for _, n := range all[1:] {
		node = node.And(n)
	}
	return node
}

// likeAny is the condition that an attribute of the object fits one of some patterns.
func likeAny(attribute types.String, patterns []string, uri bool) ast.Node {
	return anyOf(patterns, func(p string) ast.Node {
		node := ast.Resource().Access(attribute)
		if !v1.IsPattern(p) {
			return node.Equal(ast.String(p))
		}
		var parts []any
		for i, literal := range strings.Split(p, "*") {
			if i > 0 {
				parts = append(parts, types.Wildcard{})
			}
			if literal != "" {
				parts = append(parts, literal)
			}
		}
		node = node.Like(types.NewPattern(parts...))
		if uri && strings.Trim(p, "*") != "" {
			node = ast.Not(ast.Resource().Access("winding")).And(node)
		}
		return node
	})
}

// manageable is the condition that what is managed fits one of some patterns.
func manageable(patterns []string) ast.Node {
	if slices.ContainsFunc(patterns, func(p string) bool { return strings.Trim(p, "*") == "" }) {
		return ast.True()
	}
	var fit []string
	for _, a := range v1.ManageActions() {
		if slices.ContainsFunc(patterns, func(p string) bool { return v1.Like(p, a) }) {
			fit = append(fit, a)
		}
	}
	return anyOf(fit, func(a string) ast.Node { return ast.Resource().Equal(ast.EntityUID("Management", types.String(a))) })
}

func anyOf(texts []string, condition func(string) ast.Node) ast.Node {
	if len(texts) == 0 {
		return ast.False()
	}
	node := condition(texts[0])
	for _, text := range texts[1:] {
		node = node.Or(condition(text))
	}
	return node
}
