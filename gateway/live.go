package gateway

import (
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/upstream"
)

// Requests are identified and decided about one by one. What outlives its request (streams for changes, what is subscribed to, calls
// that wait for answers) is looked at again twice in each auth.revocation, and at once when the configuration changes.

// errChanged is why a stream ends whose caller has other rights now.
var errChanged = errs.E("gateway", errs.Canceled, "what the caller may do has changed; open another stream")

// errNothing is why a stream ends whose caller may use nothing of its endpoint any more.
var errNothing = errs.E("gateway", errs.Forbidden, "no policy permits the caller anything of the endpoint any more")

// revocationDefault is auth.revocation where no configuration says it.
const revocationDefault = 30 * time.Second

// lasting are the streams that are none of a Watch.
type lasting struct {
	mu  sync.Mutex
	all map[*lasts]struct{}
}

type lasts struct {
	principal *identity.Principal
	end       func(error)
}

// Last has a stream of the exchange's caller ended when its credential is not good any more, or stands for other rights. end may
// not wait, and may be called again. leave takes the stream out.
func (g *Gateway) Last(x *Exchange, end func(error)) (leave func()) {
	s, l := &g.lasting, &lasts{x.Principal, end}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[*lasts]struct{}{}
	}
	s.all[l] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, l)
	}
}

func (s *lasting) review(now *world) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.all {
		switch is, err := now.callers.Current(l.principal); {
		case err != nil:
			l.end(err)
		case is != l.principal:
			l.end(errChanged)
		}
	}
}

// vigil looks after what lasts until the gateway is closed.
func (g *Gateway) vigil() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		every := time.Duration(g.Plan().Config.Auth.Revocation) / 2
		if every <= 0 {
			every = revocationDefault / 2
		}
		timer.Reset(every)
		select {
		case <-g.closing:
			return
		case <-g.applied: // the time may be another
		case <-timer.C:
			now := g.acquire()
			g.review(now)
			g.release(now)
		}
	}
}

// review looks at all that lasts.
func (g *Gateway) review(now *world) {
	g.hub.mu.Lock()
	g.hub.review(now, false)
	g.hub.mu.Unlock()
	g.lasting.review(now)
	g.parking.review(now)
}

// review ends what clients watch that they may not watch any more. changed: the policies are others. The caller holds the lock.
func (h *hub) review(now *world, changed bool) {
	for _, all := range h.watches {
		for w := range all {
			h.reviewOne(now, w, changed)
		}
	}
}

func (h *hub) reviewOne(now *world, w *Watch, changed bool) {
	is, err := now.callers.Current(w.who.principal)
	e := now.endpoints[w.endpoint]
	if err != nil || is != w.who.principal || e == nil {
		if err == nil {
			w.tellLists(upstream.AllLists, false)
		}
		if err == nil && is != w.who.principal {
			err = errChanged
		}
		w.stop(err) // whoever has other rights now comes back with those
		return
	}
	view := now.view(is)
	was := w.view.Swap(view)
	if was == view && (view == nil || !view.Ambient()) {
		return
	}
	if e.name != aggregated && len(e.seen(view)) == 0 {
		w.stop(errNothing)
		return
	}
	h.regrant(w, e)
	if changed {
		w.tellLists(upstream.AllLists, false)
		w.reconsider()
	}
}

// regrant has a client told no more of what it may not read, or of tasks whose tool it may not call.
func (h *hub) regrant(w *Watch, e *endpoint) {
	w.mu.Lock()
	var gone []string
	for key, p := range w.places {
		if m := e.member(p.name); m == nil || !w.mayWatch(e, m, key) {
			gone = append(gone, key)
		}
	}
	for _, key := range gone {
		if w.retry != nil && !isTask(key) {
			if w.lost == nil {
				w.lost = map[string]bool{}
			}
			w.lost[key] = true
		}
	}
	w.mu.Unlock()
	for _, key := range gone {
		w.mu.Lock()
		p := w.places[key]
		delete(w.places, key)
		delete(w.notes, key)
		w.mu.Unlock()
		p.drop(w, key)
	}
}

// mayWatch tells whether the client may hear of something that it watches. The caller holds the lock of the watch.
func (w *Watch) mayWatch(e *endpoint, m *member, key string) bool {
	r := w.rights()
	switch {
	case r.view == nil:
		return true
	case isTask(key):
		r.facts.Args = nil
		return may(r.view, e.known(m, w.who, policy.KindTool, w.tools[key]), r.facts).Allowed
	}
	return may(r.view, e.resource(m, key), r.facts).Allowed
}

// known is a tool or prompt as its server lists it, or as one of which nothing is known.
func (e *endpoint) known(m *member, c caller, kind policy.Kind, own string) *policy.Object {
	method := mcp.MethodToolsList
	if kind == policy.KindPrompt {
		method = mcp.MethodPromptsList
	}
	if l := m.lastFor(c, method); l != nil {
		if i := l.find([]byte(own)); i >= 0 {
			return e.object(m, method, l, i)
		}
	}
	o := e.make(m, kind, own)
	o.Hints, o.Once = policy.HintsOf(nil, nil, nil, nil), true
	return o
}

// grant is what the caller of something that lasts was permitted.
type grant struct {
	who                    caller
	endpoint, server, name string // the server's own name, or the URI
	kind                   policy.Kind
	facts                  policy.Facts
}

// grant is that of the exchange.
func (x *Exchange) grant() grant {
	gr := grant{who: x.who(), endpoint: x.Endpoint, server: x.member.Name, name: string(x.name), kind: x.kind()}
	if x.view != nil {
		x.surroundings(&gr.facts)
	}
	return gr
}

// holds tells whether it still is.
func (gr *grant) holds(now *world) bool {
	p, err := now.callers.Current(gr.who.principal)
	if err != nil {
		return false
	}
	view := now.view(p)
	if view == nil {
		return true
	}
	e := now.endpoints[gr.endpoint]
	if e == nil || e.member(gr.server) == nil {
		return false
	}
	f := gr.facts
	f.Now = time.Now()
	if gr.kind == policy.KindResource {
		f.Args = policy.NoArgs
		return may(view, e.resource(e.member(gr.server), gr.name), &f).Allowed
	}
	return may(view, e.known(e.member(gr.server), gr.who, gr.kind, gr.name), &f).Allowed
}

// review ends parked calls that their callers may not make any more.
func (p *parking) review(now *world) {
	p.mu.Lock()
	all := slices.Collect(maps.Values(p.calls))
	p.mu.Unlock()
	for _, c := range all {
		if !c.grant.holds(now) && p.take(c.number, c.principal) != nil {
			c.abandon()
		}
	}
}

// renew decides about an exchange that goes on after its client was asked something: by who the caller is now, and what it may.
func (g *Gateway) renew(x *Exchange) error {
	now := g.acquire()
	defer g.release(now)
	p, err := now.callers.Current(x.Principal)
	if err != nil {
		return err
	}
	x.Principal, x.view = p, now.view(p)
	return nil
}

// sameRights tells whether two worlds permit everybody the same, for all that is known.
func sameRights(was, next *world) bool {
	a, b := was.plan.Config, next.plan.Config
	return was.guarded == next.guarded && reflect.DeepEqual(a.Policies, b.Policies) && reflect.DeepEqual(a.Auth, b.Auth) && sameReach(a, b)
}

// sameReach tells whether servers and toolsets are for the same tenants as before, and have the same labels; of those that come or go
// clients are told anyway.
func sameReach(a, b *v1.Config) bool {
	for name, s := range a.MCPServers {
		if t := b.MCPServers[name]; s != nil && t != nil && !(reflect.DeepEqual(s.Tenants, t.Tenants) && maps.Equal(s.Labels, t.Labels)) {
			return false
		}
	}
	for name, s := range a.Toolsets {
		if t := b.Toolsets[name]; s != nil && t != nil && !reflect.DeepEqual(s.Tenants, t.Tenants) {
			return false
		}
	}
	return true
}
