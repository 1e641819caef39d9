package policy

import (
	"maps"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// builtin are the roles that every configuration has.
var builtin = map[string]v1.Role{
	"user":    {Allow: []string{"*"}, Prompts: []string{"*"}, Resources: []string{"*"}},
	"reader":  {Allow: []string{"*"}, Prompts: []string{"*"}, Resources: []string{"*"}, ReadOnly: true},
	"auditor": {Manage: []string{"audit:read", "servers:read"}},
	"admin":   {Allow: []string{"*"}, Prompts: []string{"*"}, Resources: []string{"*"}, Manage: []string{"*"}},
}

// role is a role, ready to be matched.
type role struct {
	name string
	v1.Role
}

// rolesOf returns the roles that a configuration has, sorted by name.
func rolesOf(p *v1.Policies) []*role {
	all := maps.Clone(builtin)
	maps.Copy(all, p.Roles)
	var roles []*role
	for _, name := range slices.Sorted(maps.Keys(all)) {
		roles = append(roles, &role{name: name, Role: all[name]})
	}
	return roles
}

// permits tells whether the role permits an object.
func (r *role) permits(o *Object) bool {
	if o.Kind == KindTool && r.ReadOnly && !o.Hints.ReadOnly {
		return false
	}
	if slices.Contains(r.Servers, o.Server) || o.Toolset != "" && slices.Contains(r.Toolsets, o.Toolset) {
		return true
	}
	switch o.Kind {
	case KindTool:
		return anyLike(r.Allow, o.Shown)
	case KindPrompt:
		return anyLike(r.Prompts, o.Shown)
	}
	return anyLike(r.Resources, o.Name)
}

// forbids tells whether the role forbids an object.
func (r *role) forbids(o *Object) bool { return o.Kind != KindResource && anyLike(r.Deny, o.Shown) }

func anyLike(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return like(p, text) })
}

// like tells whether text fits a pattern, in which * stands for any characters.
func like(pattern, text string) bool {
	head, rest, more := strings.Cut(pattern, "*")
	if !more {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, head)
	if !ok {
		return false
	}
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(part):], next
	}
}

// reaches tells whether the role permits something of a kind, server and toolset, whatever its name.
func (r *role) reaches(o *Object) bool {
	if slices.Contains(r.Servers, o.Server) || o.Toolset != "" && slices.Contains(r.Toolsets, o.Toolset) {
		return true
	}
	has := func(k Kind, patterns []string) bool { return (o.Kind == k || o.Kind == KindAny) && len(patterns) > 0 }
	return has(KindTool, r.Allow) || has(KindPrompt, r.Prompts) || has(KindResource, r.Resources)
}
