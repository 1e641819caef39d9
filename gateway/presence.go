package gateway

import (
	"context"
	"sync"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
)

// An endpoint exists for those who may see something there. What that takes of lists is looked at once for all who have the same
// rights, until a list changes.

// presences are what was found of endpoints, by rights.
type presences struct {
	mu sync.Mutex
	m  map[presenceKey]presence
}

type presenceKey struct {
	endpoint string
	rights   *policy.View
}

type presence struct {
	gen   uint64
	there bool
}

// presencesMost bounds how many are kept.
const presencesMost = 10_000

func (p *presences) get(k presenceKey, gen uint64) (there, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	found, ok := p.m[k]
	return found.there, ok && found.gen == gen
}

func (p *presences) put(k presenceKey, found presence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil || len(p.m) >= presencesMost {
		p.m = map[presenceKey]presence{}
	}
	p.m[k] = found
}

// exists tells whether the endpoint of the exchange exists for its caller. The one that shows all servers does for everybody.
func (g *Gateway) exists(ctx context.Context, x *Exchange) bool {
	if x.at == nil || x.view == nil || x.at.name == aggregated {
		return x.at != nil
	}
	k, gen := presenceKey{x.Endpoint, x.view}, x.world.gen.Load()
	if there, known := x.world.presences.get(k, gen); known {
		return there
	}
	x.facts = policy.Facts{Now: x.started}
	x.surroundings(&x.facts)
	there, sure := false, true
	for _, m := range x.at.members {
		if sure = g.shows(ctx, x, m, &there) && sure; there {
			break
		}
	}
	if sure && !x.view.Ambient() {
		x.world.presences.put(k, presence{gen, there})
	}
	return there
}

// shows looks whether the caller may see something of a server. It is not sure where the server gave no list: there is something
// then, if any policy permits something.
func (g *Gateway) shows(ctx context.Context, x *Exchange, m *member, there *bool) (sure bool) {
	sure = true
	for method, kind := range kindOf {
		if *there || !x.at.sees(x.view, m, kind) {
			continue
		}
		if m.ownLists(x.who()) {
			*there = true
			return false
		}
		l := m.catalog.sound(method)
		if l == nil {
			var err error
			if l, err = g.lists(x.noting(ctx), m, method); err != nil || l.err != nil {
				*there = true
				return false
			}
		}
		if x.facts.Args = nil; kind == policy.KindResource {
			x.facts.Args = policy.NoArgs
		}
		*there = x.anyOf(m, method, l)
	}
	return sure
}

// anyOf tells whether the caller may see any element of a list.
func (x *Exchange) anyOf(m *member, method mcp.Method, l *listing) bool {
	for i := range l.items {
		if x.at.holds(m, method, l.items[i].key) && x.lists(m, method, l, i) {
			return true
		}
	}
	return false
}
