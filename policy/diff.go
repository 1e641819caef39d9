package policy

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

// Change is a tool that somebody gains or loses.
type Change struct {
	// Who is the principal, as bindings have it: "group analysts".
	Who string `json:"who"`
	// Object is the tool, prompt or resource, by the name that it has at /mcp.
	Object string `json:"object"`
	// ReadOnly tells that it is so only if the tool is read-only, which nobody said of it.
	ReadOnly bool `json:"readOnly,omitempty"`
	// Kind is gains, loses or differs: it is permitted for other arguments, at other times or to other clients.
	Kind string `json:"change"`
	// Before and After are what decides, never the same.
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
		addNamed(add, c)
	}
	list := make([]Subject, 0, len(all))
	for _, who := range slices.Sorted(maps.Keys(all)) {
		list = append(list, Subject{who, all[who]})
	}
	return list
}

// Diff compares what two sets decide about objects for principals. Those that are unknown are tools whose annotations nobody
// said: they are compared as they are without any, and where that finds nothing, as read-only ones.
func Diff(before, after *Set, subjects []Subject, objects []*Object, unknown bool) (changes []Change) {
	var readers []*Object
	for _, o := range objects {
		if unknown {
			yes := true
			readers = append(readers, &Object{
				Kind: o.Kind, Server: o.Server, Toolset: o.Toolset, Name: o.Name, Shown: o.Shown, Labels: o.Labels, Hints: HintsOf(&yes, nil, nil, nil),
			})
		}
	}
	for _, s := range subjects {
		old, next := before.View(s.Principal), after.View(s.Principal)
		for i, o := range objects {
			c, differs := change(old, next, o)
			if !differs && unknown {
				c, differs = change(old, next, readers[i])
				c.ReadOnly = true
			}
			if c.Who = s.Who; differs {
				changes = append(changes, c)
			}
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int {
		return cmp.Or(strings.Compare(a.Who, b.Who), strings.Compare(b.Kind, a.Kind), strings.Compare(a.Object, b.Object))
	})
	return changes
}

// change is how what two views decide about an object differs.
func change(old, next *View, o *Object) (c Change, differs bool) {
	was, is := old.outlook(o), next.outlook(o)
	c = Change{Object: o.Shown, Kind: "differs", Before: was.full, After: is.full}
	switch {
	case was.allowed == is.allowed && (!is.allowed || was.when == is.when):
		return c, false // perhaps for another reason
	case was.allowed == is.allowed:
	case is.allowed:
		c.Kind, c.Before, c.After = "gains", was.rule, is.rule
	default:
		c.Kind, c.Before, c.After = "loses", was.rule, is.rule
	}
	if c.Before == c.After { // a role that has the tool under both allow and deny
		c.Before, c.After = was.verb()+was.rule, is.verb()+is.rule
	}
	return c, true
}

// outlook is whether an object is permitted ever, by which rules, and under which conditions of a call: none for always.
type outlook struct {
	allowed          bool
	rule, full, when string // full is the rules with what they ask of a call
}

func (o *outlook) verb() string {
	if o.allowed {
		return "permitted by "
	}
	return "forbidden by "
}

func (v *View) outlook(o *Object) outlook {
	c, kept := v.set.classOf(o)
	d := v.verdict(c, kept, o)
	if d.needs == 0 {
		return outlook{allowed: d.decision.Allowed, rule: d.decision.Rule, full: d.decision.Rule}
	}
	out := outlook{allowed: d.listed.Allowed, rule: d.listed.Rule, full: d.listed.Rule}
	if len(d.permits) > 0 {
		out.rule, out.full, out.when = outlooks(d.permits)
	}
	if len(d.forbids) > 0 {
		rule, full, when := outlooks(d.forbids)
		out.rule, out.full, out.when = out.rule+", unless "+rule, out.full+", unless "+full, out.when+" unless "+when
	}
	return out
}

// outlooks are the names of rules, those with what they ask of a call, and that alone: the same in any order.
func outlooks(rules []*rule) (names, full, when string) {
	all, both, conditions := make([]string, 0, len(rules)), make([]string, 0, len(rules)), make([]string, 0, len(rules))
	for _, r := range rules {
		parts := make([]string, 0, len(r.call))
		for _, c := range r.call {
			parts = append(parts, strings.Join(strings.Fields(textOf(c.node)), " "))
		}
		condition := strings.Join(parts, " && ")
		all, both, conditions = append(all, r.name), append(both, r.name+" ("+condition+")"), append(conditions, condition)
	}
	slices.Sort(conditions)
	return strings.Join(all, " or "), strings.Join(both, " or "), strings.Join(slices.Compact(conditions), " or ")
}

// named are the entities that the Cedar policies of a configuration name: some are of whom they are about.
func named(p *v1.Policies) (all []cedar.EntityUID) {
	for _, f := range p.Files {
		list, _ := parse(f)
		for _, one := range list {
			node := toAST(one)
			var s scopes
			s.add(node.Principal, 0)
			s.add(node.Resource, 0)
			all = slices.AppendSeq(all, maps.Keys(s.of))
			for _, c := range node.Conditions {
				ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
					if v, ok := n.(ast.NodeValue); ok {
						if uid, ok := v.Value.(cedar.EntityUID); ok {
							all = append(all, uid)
						}
					}
					return true
				})
			}
		}
	}
	return all
}

// addNamed adds the principals that the Cedar policies of a configuration name.
func addNamed(add func(string, *v1.Config, Who), c *v1.Config) {
	for _, uid := range named(&c.Policies) {
		if who, w := subjectOf(uid); who != "" {
			add(who, c, w)
		}
	}
}

// subjectOf is the principal that an entity of a policy stands for, if it stands for some.
func subjectOf(uid cedar.EntityUID) (who string, w Who) {
	id := string(uid.ID)
	switch uid.Type {
	case "Group":
		return "group " + id, Who{Groups: []string{id}}
	case "Role":
		return "role " + id, Who{Roles: []string{id}}
	case "Tenant":
		return "tenant " + id, Who{Tenant: id}
	case "User":
		return "user " + id, userOf(id)
	}
	return "", Who{}
}

// userOf is whom User::"tenant/subject", or User::"tenant/subject/issuer" of tokens, names.
func userOf(id string) Who {
	parts := strings.SplitN(id, "/", 3)
	for i, p := range parts {
		if text, err := url.PathUnescape(p); err == nil {
			parts[i] = text
		}
	}
	switch len(parts) {
	case 2:
		return Who{Tenant: parts[0], Subject: parts[1], Method: string(identity.MethodAPIKey)}
	case 3:
		return Who{Tenant: parts[0], Subject: parts[1], Issuer: parts[2], Method: string(identity.MethodToken)}
	}
	return Who{Method: string(identity.MethodAnonymous)}
}

// NamedTools are the tools that the roles and the Cedar policies of configurations name, as tools without annotations. What
// names no single tool stands for those of a server that it could be about: search__* for whatever it has. Patterns are
// those that stand for tools which only servers know: of roles, and the places of policies.
func NamedTools(configs ...*v1.Config) (tools []*Object, patterns []string) {
	seen := map[string]bool{}
	add := func(c *v1.Config, shown string) {
		if o, err := (&What{Tool: shown}).Object(c); err == nil && !seen[shown] {
			seen[shown] = true
			tools = append(tools, o)
		}
	}
	open := func(what string) {
		if !slices.Contains(patterns, what) {
			patterns = append(patterns, what)
		}
	}
	for _, c := range configs {
		for _, name := range slices.Sorted(maps.Keys(c.Policies.Roles)) {
			r := c.Policies.Roles[name]
			for _, shown := range slices.Concat(r.Allow, r.Deny) {
				add(c, shown)
				if v1.IsPattern(shown) {
					open(shown)
				}
			}
			for _, server := range r.Servers {
				open(c.PrefixOf(server) + "*")
			}
		}
		for _, f := range c.Policies.Files {
			list, _ := parse(f)
			for _, one := range list {
				node := toAST(one)
				if shown, ok := toolOf(c, node.Resource); ok {
					add(c, shown)
				} else if actionsOf(actionScope(node))["call"] {
					open(nameOf(node))
				}
			}
		}
		for _, server := range c.ServerNames() {
			add(c, c.PrefixOf(server)+"*")
		}
	}
	return tools, patterns
}

// toolOf is the one tool that the scope of a policy names.
func toolOf(c *v1.Config, scope ast.IsScopeNode) (shown string, ok bool) {
	eq, ok := scope.(ast.ScopeTypeEq)
	if !ok || eq.Entity.Type != "Tool" {
		return "", false
	}
	server, name, _ := strings.Cut(string(eq.Entity.ID), "/")
	return c.PrefixOf(server) + name, c.MCPServers[server] != nil
}
