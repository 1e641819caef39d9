package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

// Change is something that somebody gains or loses.
type Change struct {
	// Who is the principal, as bindings have it: "group analysts".
	Who string `json:"who"`
	// Kind is tool, prompt, resource or toolset.
	Kind string `json:"kind"`
	// Object is what it is about, by the name that it has at /mcp, or its URI.
	Object string `json:"object"`
	// Server is that of a resource.
	Server string `json:"server,omitempty"`
	// Toolset is that at whose endpoint it is so; empty at others.
	Toolset string `json:"toolset,omitempty"`
	// ReadOnly tells that it is so only if the tool is read-only, which nobody said of it.
	ReadOnly bool `json:"readOnly,omitempty"`
	// Change is gains, loses or differs: it is permitted for other arguments, at other times or to other clients.
	Change string `json:"change"`
	// Before and After are what decides, never the same.
	Before string `json:"before"`
	After  string `json:"after"`
}

// Pair is something that two sets decide about: as either configuration has it, nil where that has it not. One of them is there.
type Pair struct{ Before, After *Object }

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

// Diff compares what two sets decide about objects for principals. With unknown nobody said which annotations the tools have:
// they are compared as they are without any, and where that finds nothing, as read-only ones. A toolset is gained with the first
// thing at its endpoint, and lost with the last.
func Diff(before, after *Set, subjects []Subject, pairs []Pair, unknown bool) (changes []Change) {
	readers := make([]Pair, len(pairs))
	for i, p := range pairs {
		readers[i] = Pair{reader(p.Before), reader(p.After)}
	}
	for _, s := range subjects {
		old, next := before.View(s.Principal), after.View(s.Principal)
		sets := map[string]*sides{}
		for i, p := range pairs {
			was, is := old.outlook(p.Before), next.outlook(p.After)
			o := p.any()
			if o.Toolset != "" {
				if sets[o.Toolset] == nil {
					sets[o.Toolset] = new(sides)
				}
				sets[o.Toolset].add(was, is)
			}
			c, differs := change(was, is)
			read := !differs && unknown && o.Kind == KindTool
			if read {
				c, differs = change(old.outlook(readers[i].Before), next.outlook(readers[i].After))
			}
			if differs {
				changes = append(changes, c.of(s.Who, o, read))
			}
		}
		for name, set := range sets {
			if c, differs := set.change(); differs {
				c.Who, c.Kind, c.Object = s.Who, "toolset", name
				changes = append(changes, c)
			}
		}
	}
	slices.SortStableFunc(changes, func(a, b Change) int {
		return cmp.Or(strings.Compare(a.Who, b.Who), strings.Compare(b.Change, a.Change), strings.Compare(b.Kind, a.Kind),
			strings.Compare(a.Object, b.Object), strings.Compare(a.Server, b.Server), strings.Compare(a.Toolset, b.Toolset))
	})
	return changes
}

// any is the object, as one of the configurations has it.
func (p Pair) any() *Object { return cmp.Or(p.After, p.Before) }

// reader is a tool as it is where it says that it only reads.
func reader(o *Object) *Object {
	if o == nil {
		return nil
	}
	yes := true
	return &Object{
		Kind: o.Kind, Server: o.Server, Toolset: o.Toolset, Name: o.Name, Shown: o.Shown, Labels: o.Labels, Hints: HintsOf(&yes, nil, nil, nil),
	}
}

// sides are what is decided about all of a toolset, before and after: the rules that permit something of it, and why nothing is.
type sides [2]struct {
	permits   []string
	otherwise string
}

func (s *sides) add(was, is outlook) {
	for i, o := range [...]outlook{was, is} {
		switch {
		case o.allowed && !slices.Contains(s[i].permits, o.rule):
			s[i].permits = append(s[i].permits, o.rule)
		case !o.allowed && (s[i].otherwise == "" || s[i].otherwise == ruleAbsent):
			s[i].otherwise = o.rule
		}
	}
}

// change is how the two differ in whether there is anything at all.
func (s *sides) change() (c Change, differs bool) {
	var o [2]outlook
	for i, side := range s {
		o[i] = outlook{allowed: len(side.permits) > 0, rule: cmp.Or(strings.Join(side.permits, ", "), side.otherwise)}
	}
	return change(o[0], o[1])
}

// of says whose change it is, and of what.
func (c Change) of(who string, o *Object, readOnly bool) Change {
	c.Who, c.Kind, c.Object, c.Toolset, c.ReadOnly = who, strings.ToLower(o.Kind.String()), o.Shown, o.Toolset, readOnly
	if o.Kind == KindResource {
		c.Server = o.Server
	}
	return c
}

// change is how what two views decide about an object differs.
func change(was, is outlook) (c Change, differs bool) {
	c = Change{Change: "differs", Before: was.full, After: is.full}
	switch {
	case was.allowed == is.allowed && (!is.allowed || was.when == is.when):
		return c, false // perhaps for another reason
	case was.allowed == is.allowed:
	case is.allowed:
		c.Change, c.Before, c.After = "gains", was.rule, is.rule
	default:
		c.Change, c.Before, c.After = "loses", was.rule, is.rule
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
	if o == nil {
		return outlook{rule: ruleAbsent}
	}
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
