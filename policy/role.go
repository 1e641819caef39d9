package policy

import (
	"maps"
	"slices"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// role is a role, ready to be matched.
type role struct {
	name string
	v1.Role
}

// rolesOf returns the roles that a configuration has, sorted by name.
func rolesOf(p *v1.Policies) []*role {
	all := v1.BuiltinRoles()
	maps.Copy(all, p.Roles)
	roles := make([]*role, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		roles = append(roles, &role{name: name, Role: all[name]})
	}
	return roles
}

// reaches tells whether the role permits something of a kind, server and toolset, whatever its name behind a prefix.
func (r *role) reaches(o *Object) bool {
	if slices.Contains(r.Servers, o.Server) || o.Toolset != "" && slices.Contains(r.Toolsets, o.Toolset) {
		return true
	}
	starts := func(p string) bool { return mayStart(p, o.Shown) }
	is := func(k Kind) bool { return o.Kind == k || o.Kind == KindAny }
	return is(KindTool) && slices.ContainsFunc(r.Allow, starts) ||
		is(KindPrompt) && slices.ContainsFunc(r.Prompts, starts) ||
		is(KindResource) && len(r.Resources) > 0
}

// manages tells whether the role permits something at the management interface.
func (r *role) manages(what string) bool {
	return slices.ContainsFunc(r.Manage, func(p string) bool { return v1.Like(p, what) })
}

// roleIndex finds the roles that permit and forbid an object.
type roleIndex struct {
	roles                          []*role
	tools, prompts, resources, not patterns
	servers, toolsets              map[string][]int
}

func newRoleIndex(roles []*role) *roleIndex {
	x := &roleIndex{roles: roles, servers: map[string][]int{}, toolsets: map[string][]int{}}
	for i, r := range roles {
		for _, list := range [...]struct {
			from []string
			to   *patterns
		}{{r.Allow, &x.tools}, {r.Prompts, &x.prompts}, {r.Resources, &x.resources}, {r.Deny, &x.not}} {
			for _, p := range list.from {
				list.to.add(p, i)
			}
		}
		for _, name := range r.Servers {
			x.servers[name] = append(x.servers[name], i)
		}
		for _, name := range r.Toolsets {
			x.toolsets[name] = append(x.toolsets[name], i)
		}
	}
	return x
}

// find adds the roles that permit an object, and those that forbid it as the rules behind all roles.
func (x *roleIndex) find(o *Object, to rules) {
	permits := func(i int) {
		if o.Kind != KindTool || !x.roles[i].ReadOnly || o.Hints.ReadOnly {
			to.add(i)
		}
	}
	for _, i := range x.servers[o.Server] {
		permits(i)
	}
	if o.Toolset != "" {
		for _, i := range x.toolsets[o.Toolset] {
			permits(i)
		}
	}
	switch o.Kind {
	case KindTool:
		x.tools.match(o.Shown, false, permits)
	case KindPrompt:
		x.prompts.match(o.Shown, false, permits)
	case KindResource:
		x.resources.match(o.Name, winding(o.Name), permits)
		return
	}
	x.not.match(o.Shown, false, func(i int) { to.add(len(x.roles) + i) })
}
