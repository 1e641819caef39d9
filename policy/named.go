package policy

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

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

// Mentioned are the tools, prompts and resources that the roles, toolsets and Cedar policies of configurations name, the tools without
// annotations. What names no single one stands for those of a server that it could be about: search__* for whatever it has.
// Patterns are those that stand for what only servers know: of roles, and the places of policies. With toolsKnown those are left out
// that are about tools alone.
func Mentioned(toolsKnown bool, configs ...*v1.Config) (all []What, patterns []string) {
	n := &names{seen: map[What]bool{}, toolsKnown: toolsKnown}
	for _, c := range configs {
		n.roles(c)
		n.cedar(c)
		for _, name := range slices.Sorted(maps.Keys(c.Toolsets)) {
			n.toolset(c.Toolsets[name])
		}
		for _, server := range c.ServerNames() {
			n.add(What{Tool: c.PrefixOf(server) + "*"}, What{Prompt: c.PrefixOf(server) + "*"}, What{Resource: "*", Server: server})
		}
	}
	return n.all, n.patterns
}

// names collects what configurations name.
type names struct {
	all      []What
	seen     map[What]bool
	patterns []string
	// toolsKnown has patterns of tools be none.
	toolsKnown bool
}

func (n *names) add(all ...What) {
	for _, w := range all {
		if !n.seen[w] {
			n.seen[w] = true
			n.all = append(n.all, w)
		}
	}
}

func (n *names) open(what string) {
	if !slices.Contains(n.patterns, what) {
		n.patterns = append(n.patterns, what)
	}
}

func (n *names) roles(c *v1.Config) {
	for _, name := range slices.Sorted(maps.Keys(c.Policies.Roles)) {
		r := c.Policies.Roles[name]
		for _, shown := range slices.Concat(r.Allow, r.Deny) {
			n.add(What{Tool: shown})
		}
		for _, shown := range r.Prompts {
			n.add(What{Prompt: shown})
		}
		for _, uri := range r.Resources {
			n.resource(uri, c.ServerNames())
		}
		wide := slices.Concat(r.Deny, r.Prompts, r.Resources)
		if !n.toolsKnown {
			wide = slices.Concat(r.Allow, wide)
		}
		for _, text := range wide {
			if v1.IsPattern(text) {
				n.open(text)
			}
		}
		for _, shown := range r.Deny {
			if v1.IsPattern(shown) { // else it is a tool in most cases
				n.add(What{Prompt: shown})
			}
		}
		for _, server := range r.Servers {
			n.open(c.PrefixOf(server) + "*")
		}
	}
}

func (n *names) resource(uri string, servers []string) {
	for _, server := range servers {
		n.add(What{Resource: uri, Server: server})
	}
}

func (n *names) cedar(c *v1.Config) {
	for _, f := range c.Policies.Files {
		list, _ := parse(f)
		for _, one := range list {
			node := toAST(one)
			if w, ok := thingOf(c, node.Resource); ok {
				n.add(w)
			} else if can := actionsOf(actionScope(node)); can["call"] && !n.toolsKnown || can["get"] || can["read"] {
				n.open(nameOf(node))
			}
		}
	}
}

func (n *names) toolset(t *v1.Toolset) {
	for _, shown := range slices.Sorted(maps.Keys(t.Tools)) {
		n.add(What{Tool: shown})
	}
	for _, shown := range t.Prompts {
		n.add(What{Prompt: shown})
	}
	for _, uri := range t.Resources {
		n.resource(uri, t.Servers)
	}
}

// thingOf is the one tool, prompt or resource that the scope of a policy names.
func thingOf(c *v1.Config, scope ast.IsScopeNode) (w What, ok bool) {
	eq, ok := scope.(ast.ScopeTypeEq)
	if !ok {
		return w, false
	}
	server, name, _ := strings.Cut(string(eq.Entity.ID), "/")
	switch eq.Entity.Type {
	case "Tool":
		w.Tool = c.PrefixOf(server) + name
	case "Prompt":
		w.Prompt = c.PrefixOf(server) + name
	case "Resource":
		w.Resource, w.Server = name, server
	default:
		return w, false
	}
	return w, c.MCPServers[server] != nil
}
