package gateway

import (
	"context"
	"strings"
	"sync"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// resource finds the server that has a resource: the one that lists it, else the one with the template that fits best,
// else the only one whose resources have its scheme. URIs are not renamed, so that links inside results stay right.
// Servers of which the caller may not read it are none.
func (g *Gateway) resource(ctx context.Context, c caller, e *endpoint, r rights, uri string) (*member, error) {
	all := e.readable(r, uri)
	if len(all) == 0 {
		return nil, unknownResource(uri)
	}
	if e.set != nil && !e.set.HoldsResource(uri) {
		return g.expansion(ctx, c, e, all, uri)
	}
	if len(e.members) == 1 {
		return all[0], nil
	}
	// Who owns a URI is decided only once all servers were asked, so that it does not depend on what was asked before.
	if all.knowResources(c) {
		if m := all.owner(c, uri); m != nil {
			return m, nil
		}
	}
	if err := g.learnResources(ctx, c, all); err != nil {
		return nil, err
	}
	if m := all.owner(c, uri); m != nil {
		return m, nil
	}
	return nil, unknownResource(uri)
}

// expansion finds the server of a resource that a toolset does not hold by its URI: it may hold a template that it fits.
func (g *Gateway) expansion(ctx context.Context, c caller, e *endpoint, all members, uri string) (*member, error) {
	if e.allLists()&upstream.ListResources == 0 {
		return nil, unknownResource(uri)
	}
	if !all.knowResources(c) {
		if err := g.learnResources(ctx, c, all); err != nil {
			return nil, err
		}
	}
	var best *member
	most := -1
	for _, m := range all {
		l := m.lastFor(c, mcp.MethodResourcesTemplatesList)
		if l == nil {
			continue
		}
		for i := range l.items {
			if n, ok := fits(l.items[i].key, uri); ok && n > most && e.set.HoldsExpansion(l.items[i].key, uri) {
				best, most = m, n
			}
		}
	}
	if best == nil {
		return nil, unknownResource(uri)
	}
	return best, nil
}

// learnResources asks servers for their resources and templates.
func (g *Gateway) learnResources(ctx context.Context, c caller, all members) error {
	var wg sync.WaitGroup
	for _, m := range all {
		for _, method := range [...]mcp.Method{mcp.MethodResourcesList, mcp.MethodResourcesTemplatesList} {
			wg.Go(func() {
				_, _ = g.listsFor(ctx, c, m, method) // a server that fails has no resources for now
			})
		}
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// unknownResource is the answer to a URI that leads nowhere, for the caller.
func unknownResource(uri string) error {
	unknown := errs.E("gateway", errs.NotFound, "unknown resource %.200q: no server lists it, has a template for it, or is alone with its scheme", uri)
	unknown.Data = append(mcp.AppendString([]byte(`{"uri":`), uri), '}')
	return unknown
}

// members are some servers of an endpoint, in the order of their names.
type members []*member

// readable are the servers of which a URI may be read, if they have it.
func (e *endpoint) readable(r rights, uri string) members {
	if r.view == nil {
		return e.members
	}
	var all members
	for _, m := range e.members {
		if may(r.view, e.resource(m, uri), r.facts).Listed() {
			all = append(all, m)
		}
	}
	return all
}

// knowResources tells whether every server gave its resources and templates, or failed to, at least once.
func (all members) knowResources(c caller) bool {
	for _, m := range all {
		if m.lastFor(c, mcp.MethodResourcesList) == nil || m.lastFor(c, mcp.MethodResourcesTemplatesList) == nil {
			return false
		}
	}
	return true
}

// owner searches the lists last had.
func (all members) owner(c caller, uri string) *member {
	var best *member
	bestLen := -1
	for _, m := range all {
		if l := m.lastFor(c, mcp.MethodResourcesList); l != nil && l.has(uri) {
			return m
		}
		if l := m.lastFor(c, mcp.MethodResourcesTemplatesList); l != nil {
			for i := range l.items {
				if n, ok := fits(l.items[i].key, uri); ok && n > bestLen {
					best, bestLen = m, n
				}
			}
		}
	}
	if best != nil {
		return best
	}
	return all.byScheme(c, uri)
}

func (all members) byScheme(c caller, uri string) *member {
	scheme, _, ok := strings.Cut(uri, ":")
	if !ok {
		return nil
	}
	var only *member
	for _, m := range all {
		for _, method := range [...]mcp.Method{mcp.MethodResourcesList, mcp.MethodResourcesTemplatesList} {
			l := m.lastFor(c, method)
			if l == nil || !l.hasScheme(scheme+":") || only == m {
				continue
			}
			if only != nil {
				return nil
			}
			only = m
		}
	}
	return only
}

func (l *listing) has(uri string) bool {
	for i := range l.items {
		if l.items[i].key == uri {
			return true
		}
	}
	return false
}

func (l *listing) hasScheme(scheme string) bool {
	for i := range l.items {
		if strings.HasPrefix(l.items[i].key, scheme) {
			return true
		}
	}
	return false
}

// fits tells whether a URI can come from a URI template (RFC 6570), and how many of its characters the template fixes.
// An expression stands for any text: servers refuse what they do not have. It takes time linear in template and URI
// for each expression.
func fits(template, uri string) (fixed int, ok bool) {
	if template == uri {
		return len(uri) + 1, true // the template itself, as completion/complete names it
	}
	rest := uri
	first := true
	for template != "" {
		literal, after, expr := strings.Cut(template, "{")
		if expr {
			var closed bool
			if _, after, closed = strings.Cut(after, "}"); !closed {
				return 0, false
			}
		}
		switch {
		case first:
			if !strings.HasPrefix(rest, literal) {
				return 0, false
			}
			rest = rest[len(literal):]
		case !expr:
			if !strings.HasSuffix(rest, literal) {
				return 0, false
			}
			return fixed + len(literal), true
		default:
			i := strings.Index(rest, literal)
			if i < 0 {
				return 0, false
			}
			rest = rest[i+len(literal):]
		}
		fixed += len(literal)
		first = false
		if !expr {
			return fixed, rest == ""
		}
		template = after
	}
	return fixed, true
}
