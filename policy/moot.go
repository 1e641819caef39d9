package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// denied warns of what a role allows that its own deny takes away.
func (r *role) denied() (warnings []string) {
	var not patterns
	for i, p := range r.Deny {
		not.add(p, i)
	}
	path := v1.ChildPath("policies.roles", r.name)
	for _, list := range [...]struct {
		key  string
		have []string
	}{{"allow", r.Allow}, {"prompts", r.Prompts}} {
		for i, p := range list.have {
			by := -1
			not.match(p, false, func(j int) { by = j }) // a * of a pattern fits no other than a *
			if by >= 0 {
				warnings = append(warnings, fmt.Sprintf("%s.%s[%d]: never permits anything, because deny[%d] covers all of it", path, list.key, i, by))
			}
		}
	}
	if n := len(warnings); n > 0 && n == len(r.Allow)+len(r.Prompts) {
		return []string{path + ": allows tools or prompts, of which its deny leaves none"}
	}
	return warnings
}

// clause is a part of what a role permits, as a policy.
type clause struct {
	path string // within the role
	*rule
}

// clauses are the parts of a role: of each pattern one, about the server that it fits if that is a single one.
func (r *role) clauses(c *v1.Config) (all []clause) {
	add := func(path string, p *ast.Policy, hinted bool) {
		if p.PrincipalIn(types.NewEntityUID("Role", types.String(r.name))); r.ReadOnly && hinted {
			p.When(ast.Resource().Access("readOnly"))
		}
		all = append(all, clause{path, &rule{about: p, source: fromAST(p)}})
	}
	shown := func(key string, action types.EntityUID, kind types.EntityType, patterns []string) {
		for i, pattern := range patterns {
			p := ast.Permit().ActionEq(action)
			switch server, own := ownerOf(c, pattern); {
			case server == "":
				p.ResourceIs(kind)
			case own == "":
				p.ResourceIsIn(kind, types.NewEntityUID("Server", types.String(server)))
			default:
				p.ResourceEq(types.NewEntityUID(kind, types.String(server+"/"+own)))
			}
			add(fmt.Sprintf("%s[%d]", key, i), p, action == actionCall)
		}
	}
	shown("allow", actionCall, "Tool", r.Allow)
	shown("prompts", actionGet, "Prompt", r.Prompts)
	if len(r.Resources) > 0 {
		add("resources", ast.Permit().ActionEq(actionRead).ResourceIs("Resource"), false)
	}
	for i, name := range r.Servers {
		add(fmt.Sprintf("servers[%d]", i), ast.Permit().ActionIn(actionUse).ResourceIn(types.NewEntityUID("Server", types.String(name))), true)
	}
	for i, name := range r.Toolsets {
		add(fmt.Sprintf("toolsets[%d]", i), ast.Permit().ActionIn(actionUse).ResourceIn(types.NewEntityUID("Toolset", types.String(name))), true)
	}
	if len(r.Manage) > 0 {
		add("manage", ast.Permit().ActionEq(actionManage), false)
	}
	return all
}

// ownerOf is the one server that a name or a pattern fits, and the name there; empty for several.
func ownerOf(c *v1.Config, pattern string) (server, own string) {
	if !v1.IsPattern(pattern) {
		return c.OwnerOf(pattern)
	}
	for name := range c.MCPServers {
		if v1.LikeBehind(pattern, c.PrefixOf(name)) {
			if server != "" {
				return "", ""
			}
			server = name
		}
	}
	return server, ""
}

// mootRoles warns of what roles permit that Cedar policies forbid, of those roles that are defined or given to anybody.
func (s *Set) mootRoles(c *v1.Config, p *v1.Policies) (warnings []string) {
	forbids := slices.DeleteFunc(slices.Clone(s.cedar), func(r *rule) bool { return r.permit })
	if len(forbids) == 0 || len(forbids) > comparedMost {
		return nil
	}
	n := 0
	for i, r := range s.roles {
		_, defined := p.Roles[r.name]
		given := slices.ContainsFunc(s.bindings.all, func(b binding) bool { return b.role == i }) ||
			slices.ContainsFunc(c.Auth.APIKeys, func(k v1.APIKey) bool { return slices.Contains(k.Roles, r.name) })
		if !defined && !given {
			continue
		}
		if n += len(r.Allow) + len(r.Prompts) + len(r.Servers) + len(r.Toolsets); n > comparedMost {
			break
		}
		path, dot := "role "+r.name, " "
		if defined {
			path, dot = v1.ChildPath("policies.roles", r.name), "."
		}
		warnings = append(warnings, mootClauses(path, dot, r.clauses(c), forbids)...)
	}
	return warnings
}

// mootClauses warns of the clauses of a role that some policy forbids, as a whole where they are all.
func mootClauses(path, dot string, clauses []clause, forbids []*rule) (warnings []string) {
	by := map[*rule]bool{}
	for _, c := range clauses {
		i := slices.IndexFunc(forbids, func(f *rule) bool { return covers(f, c.rule) })
		if i < 0 {
			continue
		}
		by[forbids[i]] = true
		warnings = append(warnings, fmt.Sprintf("%s%s: never permits anything, because %s forbids all of it", path+dot, c.path, forbids[i].name))
	}
	if n := len(warnings); n > 1 && n == len(clauses) && len(by) == 1 {
		_, why, _ := strings.Cut(warnings[0], ": ")
		return []string{path + ": " + why}
	}
	return warnings
}
