package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

// Change is a tool that somebody gains or loses.
type Change struct {
	// Who is the principal, as bindings have it: "group analysts".
	Who string `json:"who"`
	// Object is the tool, prompt or resource, by the name that it has at /mcp.
	Object string `json:"object"`
	// Kind is gains, loses or differs: it is permitted for other arguments, at other times or for other reasons.
	Kind string `json:"change"`
	// Before and After are what decides.
	Before string `json:"before"`
	After  string `json:"after"`
}

// Subject is a principal that policies are compared for.
type Subject struct {
	Who       string
	Principal *identity.Principal
}

// Subjects are the principals that the bindings, keys and Cedar policies of configurations speak of, and somebody of
// whom they do not.
func Subjects(configs ...*v1.Config) []Subject {
	all := map[string]*identity.Principal{}
	add := func(who string, c *v1.Config, w Who) {
		if p, err := w.Principal(c); err == nil && all[who] == nil {
			all[who] = p
		}
	}
	for _, c := range configs {
		add("everyone", c, Who{})
		for i := range c.Policies.Bindings {
			b := &c.Policies.Bindings[i]
			w := Who{Subject: b.Subject, Tenant: b.Tenant, Issuer: b.Issuer, Scopes: b.Scopes}
			if b.Group != "" {
				w.Groups = []string{b.Group}
			}
			who := strings.TrimPrefix((&binding{Binding: *b}).via(), " via ")
			if len(b.Scopes) > 0 {
				who += " with scopes " + strings.Join(b.Scopes, " ")
			}
			add(who, c, w)
		}
		for _, k := range c.Auth.APIKeys {
			add("key "+k.Name, c, Who{Subject: k.Name, Tenant: k.Tenant})
		}
		for _, name := range slices.Sorted(maps.Keys(c.Policies.Roles)) {
			add("role "+name, c, Who{Roles: []string{name}})
		}
		for _, group := range cedarGroups(&c.Policies) {
			add("group "+group, c, Who{Groups: []string{group}})
		}
	}
	list := make([]Subject, 0, len(all))
	for _, who := range slices.Sorted(maps.Keys(all)) {
		list = append(list, Subject{who, all[who]})
	}
	return list
}

// Diff compares what two sets decide about objects for principals.
func Diff(before, after *Set, subjects []Subject, objects []*Object) (changes []Change) {
	for _, s := range subjects {
		old, next := before.View(s.Principal), after.View(s.Principal)
		for _, o := range objects {
			was, is := old.outlook(o), next.outlook(o)
			if was.allowed == is.allowed && was.rule == is.rule {
				continue
			}
			c := Change{Who: s.Who, Object: o.Shown, Kind: "differs", Before: was.rule, After: is.rule}
			switch {
			case is.allowed && !was.allowed:
				c.Kind = "gains"
			case was.allowed && !is.allowed:
				c.Kind = "loses"
			case was.always && is.always || !was.allowed:
				continue // for another reason alone
			}
			changes = append(changes, c)
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int {
		return cmp.Or(strings.Compare(a.Who, b.Who), strings.Compare(b.Kind, a.Kind), strings.Compare(a.Object, b.Object))
	})
	return changes
}

// outlook is whether an object is permitted ever, and whether always.
type outlook struct {
	allowed, always bool
	rule            string
}

func (v *View) outlook(o *Object) outlook {
	c, kept := v.set.classOf(o)
	d := v.verdict(c, kept, o)
	if d.needs == 0 {
		return outlook{d.decision.Allowed, true, d.decision.Rule}
	}
	listed := d.listed
	if len(d.forbids) > 0 {
		listed.Rule += ", unless " + d.forbids[0].name
	}
	return outlook{listed.Allowed, false, listed.Rule}
}

// cedarGroups are the groups that the scopes of Cedar policies name.
func cedarGroups(p *v1.Policies) (groups []string) {
	for _, f := range p.Files {
		list, _ := parse(f)
		for _, one := range list {
			var s scopes
			s.add(toAST(one).Principal, 0)
			for uid := range s.of {
				if uid.Type == "Group" {
					groups = append(groups, string(uid.ID))
				}
			}
		}
	}
	return groups
}

// NamedTools are the tools that the roles and the Cedar policies of configurations name, as tools without annotations.
func NamedTools(configs ...*v1.Config) (all []*Object) {
	seen := map[string]bool{}
	add := func(c *v1.Config, shown string) {
		if o, err := (&What{Tool: shown}).Object(c); err == nil && !v1.IsPattern(shown) && !seen[shown] {
			seen[shown] = true
			all = append(all, o)
		}
	}
	for _, c := range configs {
		for _, name := range slices.Sorted(maps.Keys(c.Policies.Roles)) {
			for _, shown := range append(slices.Clone(c.Policies.Roles[name].Allow), c.Policies.Roles[name].Deny...) {
				add(c, shown)
			}
		}
		for _, f := range c.Policies.Files {
			list, _ := parse(f)
			for _, one := range list {
				var s scopes
				s.add(toAST(one).Resource, 0)
				for uid := range s.of {
					if server, name, ok := strings.Cut(string(uid.ID), "/"); ok && uid.Type == "Tool" && c.MCPServers[server] != nil {
						add(c, c.PrefixOf(server)+name)
					}
				}
			}
		}
	}
	return all
}
