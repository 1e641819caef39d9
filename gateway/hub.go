package gateway

import (
	"context"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/upstream"
)

// hub hands what servers tell to the clients that watch. There is one watch at each server, whoever it is for.
type hub struct {
	mu        sync.RWMutex
	servers   map[string]*watched            // those of the present plan, by name
	watches   map[string]map[*Watch]struct{} // by endpoint
	endpoints map[string]*endpoint           // of the present plan
	showing   map[string][]string            // the endpoints that show each server
	afar      map[string]*watched            // instances at other replicas, by lease
}

// watched is what is watched at one running server.
type watched struct {
	name   string
	server *upstream.Server
	kin    *kin // that serves one key alone; nil where all callers are served
	// family is that of an instance at another replica, for which vacated is called when nothing is watched at it any more; both
	// are nil for all others.
	family  *family
	vacated func()
	most    int // URIs; guarded by the hub
	present *atomic.Pointer[v1.Server]
	// lists are those whose changes the server told when it was last watched; it may not be any more.
	lists  atomic.Uint32
	ticket atomic.Uint64 // the last one of server.Want

	uris  map[string]map[*Watch]struct{} // guarded by the hub
	first map[string]string              // the principal who wanted each first; likewise
	each  map[string]int                 // of how many each principal was the first; likewise
}

func newWatched(s *plan.Server, p *plan.Plan, present *atomic.Pointer[v1.Server]) *watched {
	return &watched{
		name: s.Name, most: p.Config.Streams.ServerSubscriptions, present: present,
		uris: map[string]map[*Watch]struct{}{}, first: map[string]string{}, each: map[string]int{},
	}
}

// patience is how long the server may take to say that it watches something.
func (p *watched) patience() time.Duration { return time.Duration(p.present.Load().Timeouts.List) }

func (p *watched) lastTicket() uint64 { return p.ticket.Load() }

func (p *watched) want(w upstream.Wish) { p.ticket.Store(p.server.Want(w)) }

// shown are the servers of the present plan that an endpoint shows. The caller holds the lock.
func (h *hub) shown(endpoint string) (all []*watched) {
	e := h.endpoints[endpoint]
	if e == nil {
		return nil
	}
	for _, m := range e.members {
		all = append(all, h.servers[m.Name])
	}
	return all
}

// enter takes a watch in. The first one at an endpoint has the servers watched.
func (h *hub) enter(w *Watch) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.endpoints[w.endpoint] == nil {
		return errs.E("front", errs.NoEndpoint, "there is no server %.80q any more", w.endpoint)
	}
	all := h.watches[w.endpoint]
	if all == nil {
		all = map[*Watch]struct{}{}
		if h.watches == nil {
			h.watches = map[string]map[*Watch]struct{}{}
		}
		h.watches[w.endpoint] = all
		for _, p := range h.shown(w.endpoint) {
			p.want(upstream.Wish{})
		}
	}
	all[w] = struct{}{}
	return nil
}

// leave lets a watch go; the last one at an endpoint has the servers watched no more for it.
func (h *hub) leave(w *Watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.mu.Lock()
	places := w.places
	w.places, w.lists = nil, 0
	w.mu.Unlock()
	for uri, p := range places {
		p.drop(w, uri)
	}
	all := h.watches[w.endpoint]
	if _, in := all[w]; !in {
		return
	}
	delete(all, w)
	if len(all) > 0 {
		return
	}
	delete(h.watches, w.endpoint)
	for _, p := range h.shown(w.endpoint) {
		p.server.Unwant(upstream.Wish{})
	}
}

// add has a server watch a resource for w: the caller's own instance, if there is one.
func (h *hub) add(w *Watch, server string, own *watched, uri string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := own
	if p == nil {
		p = h.servers[server]
	}
	if p == nil {
		return errs.E("gateway", errs.Unavailable, "server %q is being removed", server)
	}
	return h.addTo(w, p, uri)
}

// addTo is add where the caller holds the lock.
func (h *hub) addTo(w *Watch, p *watched, uri string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.places[uri] != nil:
		return nil
	case len(w.places) >= w.most.Subscriptions:
		return errs.E("gateway", errs.Overloaded, "%d resources are watched, which is the most; raise streams.subscriptions", w.most.Subscriptions)
	case p.uris[uri] == nil && len(p.uris) >= p.most:
		return errs.E("gateway", errs.Overloaded, "%d resources of server %q are watched, which is the most; raise streams.serverSubscriptions", p.most, p.name)
	case p.uris[uri] == nil && p.each[w.principal] >= p.share(w.principal):
		return errs.E("gateway", errs.Overloaded, "%d resources of server %q are watched for this caller, which is the most: "+
			"half of streams.serverSubscriptions; raise that", p.share(w.principal), p.name)
	}
	if w.places == nil {
		w.places = map[string]*watched{}
	}
	w.places[uri] = p
	p.put(w, uri)
	return nil
}

// remove has a resource watched no more for w.
func (h *hub) remove(w *Watch, uri string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w.mu.Lock()
	p := w.places[uri]
	delete(w.places, uri)
	w.mu.Unlock()
	if p != nil {
		p.drop(w, uri)
	}
}

// share is how many resources one principal may have watched, so that some are left for others. Where callers have no keys
// there is only one.
func (p *watched) share(principal string) int {
	if principal == identity.Anonymous.Key() {
		return p.most
	}
	return (p.most + 1) / 2
}

// put and drop keep count of who watches what; the caller holds the lock of the hub.
func (p *watched) put(w *Watch, uri string) {
	all := p.uris[uri]
	if all == nil {
		all = map[*Watch]struct{}{}
		p.uris[uri], p.first[uri] = all, w.principal
		p.each[w.principal]++
		p.used(1)
		p.want(wishFor(uri))
	}
	all[w] = struct{}{}
}

func (p *watched) drop(w *Watch, uri string) {
	all := p.uris[uri]
	if _, in := all[w]; !in {
		return
	}
	if delete(all, w); len(all) == 0 {
		less(p.each, p.first[uri])
		delete(p.uris, uri)
		delete(p.first, uri)
		p.used(-1)
		p.server.Unwant(wishFor(uri))
	}
	if len(p.uris) == 0 && p.vacated != nil {
		p.vacated()
	}
}

// waitLists waits a short time until it is known which lists are watched at the endpoint, and returns those.
func (h *hub) waitLists(ctx context.Context, w *Watch) (got upstream.Lists) {
	h.mu.RLock()
	all := h.shown(w.endpoint)
	h.mu.RUnlock()
	all = slices.DeleteFunc(all, func(p *watched) bool {
		now, known := p.server.Watching(p.lastTicket(), everyList)
		got |= now.Lists
		return known
	})
	if len(all) == 0 {
		return got
	}
	ctx, cancel := shortly(ctx)
	defer cancel()
	for _, p := range all {
		got |= p.server.Watched(ctx, p.lastTicket(), everyList).Lists
	}
	return got
}

var everyList = upstream.Wish{Lists: upstream.AllLists}

// used keeps count of what is watched, as long as an instance of its own cannot be stopped for it.
func (p *watched) used(by int64) {
	if p.kin != nil {
		p.kin.uses.Add(by)
	}
}

// listsChanged tells all who watch lists of a server, of those whose instance it is. quiet leaves out who was not told yet what
// it watches.
func (h *hub) listsChanged(m *member, lists upstream.Lists, quiet bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	h.tellLists(m.Name, m.kin, lists, quiet)
}

// concerned calls f for each watch that a server shows at; for an instance of a caller's own, those of that caller. The caller
// holds the lock.
func (h *hub) concerned(server string, k *kin, f func(*Watch)) {
	for _, endpoint := range h.showing[server] {
		for w := range h.watches[endpoint] {
			if k == nil || k.serves(w.who) {
				f(w)
			}
		}
	}
}

// sight are the lists of a server in which a client may see something where it watches. The caller holds the lock.
func (h *hub) sight(w *Watch, server string) upstream.Lists {
	e := h.endpoints[w.endpoint]
	if v := w.view.Load(); v != nil && e.shows(server) {
		return e.listsOf(server) & e.seenOf(v, e.member(server))
	}
	return e.listsOf(server)
}

// tellLists tells those concerned that lists of a server changed, as far as they show where they watch. The caller holds the lock.
func (h *hub) tellLists(server string, k *kin, lists upstream.Lists, quiet bool) {
	h.concerned(server, k, func(w *Watch) { w.tellLists(lists&h.sight(w, server), quiet) })
}

// recovered: a server is up again. Lists that it tells changes of are told of when its watch begins anew.
func (h *hub) recovered(p *watched) {
	lists := upstream.AllLists &^ upstream.Lists(p.lists.Load())
	h.mu.RLock()
	defer h.mu.RUnlock()
	h.tellLists(p.name, p.kin, lists, true)
	h.concerned(p.name, p.kin, (*Watch).reconsider)
}

// noticed takes what a server tells of something that is watched.
func (h *hub) noticed(p *watched, n *mcp.Raw) {
	switch n.Method {
	case mcp.MethodResourceUpdated:
		h.updated(p, n)
	case mcp.MethodTaskChanged:
		h.taskChanged(p, n)
	}
}

// updated tells those who watch a resource, or one that it is part of (2025-11-25 server/resources "Subscriptions").
func (h *hub) updated(p *watched, n *mcp.Raw) {
	text, ok := mcp.Text(n.Body, n.Get(mcp.KeyURI), nil)
	if !ok {
		return
	}
	uri := string(text)
	var made *notice
	h.mu.RLock()
	defer h.mu.RUnlock()
	for whole := range wholes(uri) {
		for w := range p.uris[whole] {
			if made == nil {
				made = newNotice(n)
			}
			h.tellUpdate(p, w, uri, whole, made)
		}
	}
}

// tellUpdate tells a client of an update. Where it may not read the part that changed, it is told of the whole.
func (h *hub) tellUpdate(p *watched, w *Watch, uri, whole string, made *notice) {
	e := h.endpoints[w.endpoint]
	switch {
	case w.view.Load() == nil:
		w.tell(uri, whole, made)
	case e == nil || e.member(p.name) == nil:
	case w.mayRead(e, e.member(p.name), uri):
		w.tell(uri, whole, made)
	case uri != whole && w.mayRead(e, e.member(p.name), whole):
		w.tell(whole, whole, updatedNotice(whole))
	}
}

// cutsMost bounds how many wholes a URI is looked for in.
const cutsMost = 64

// wholes yields a URI and what it may be part of: itself cut off at each slash, fragment and query.
func wholes(uri string) iter.Seq[string] {
	return func(yield func(string) bool) {
		more := yield(uri)
		for i, cuts := len(uri)-1, 0; more && i > 0 && cuts < cutsMost; i-- {
			switch uri[i] {
			case '/':
				more = (i+1 == len(uri) || yield(uri[:i+1])) && yield(uri[:i])
			case '#', '?':
				more = yield(uri[:i])
			default:
				continue
			}
			cuts++
		}
	}
}

// began: a watch at a server began anew, so those who watched it before may have missed something.
func (h *hub) began(p *watched, lists upstream.Lists) {
	p.lists.Store(uint32(lists))
	h.mu.RLock()
	defer h.mu.RUnlock()
	h.tellLists(p.name, p.kin, lists, true)
	h.askTasks(p)
	for uri, all := range p.uris {
		if isTask(uri) {
			continue
		}
		var made *notice
		for w := range all {
			if !w.isOpen() {
				continue
			}
			if made == nil {
				made = updatedNotice(uri)
			}
			w.tell(uri, uri, made)
		}
	}
}

// replace makes the servers of a new world the ones that are watched, and tells clients what that changes for them.
func (h *hub) replace(was, next *world) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.servers
	h.servers = make(map[string]*watched, len(next.order))
	for _, m := range next.order {
		h.servers[m.Name] = m.watched
		m.watched.most = next.plan.Config.Streams.ServerSubscriptions
	}
	h.endpoints, h.showing = next.endpoints, next.showing()
	h.endStale(was, next)
	h.review(next, !sameRights(was, next))
	for name, p := range old {
		switch m := next.members[name]; {
		case h.servers[name] == p:
		case m != nil && m.family != nil:
			h.scattered(p) // callers have instances of their own now, and the base carries nothing of theirs
		default:
			h.move(p, h.servers[name])
		}
		if f := was.members[name].family; f != nil && (next.members[name] == nil || next.members[name].family != f) {
			h.disperse(f)
		}
	}
	for endpoint, all := range h.watches {
		is := next.endpoints[endpoint]
		h.rewant(old, was.endpoints[endpoint], is)
		if is != nil && is.alters(was.endpoints[endpoint]) {
			for w := range all {
				w.tellLists(upstream.AllLists, true)
			}
		}
	}
	for name, p := range h.servers {
		if old[name] != p {
			h.concerned(name, nil, (*Watch).reconsider)
		}
	}
}

// disperse scatters those who watch something at an instance of a family that ends.
func (h *hub) disperse(f *family) {
	for _, k := range f.pool.All() {
		h.scattered(k.watched)
	}
	for _, p := range h.afar {
		if p.family == f {
			h.scattered(p)
		}
	}
}

// rewant has the servers watched, for an endpoint with watches, that it shows from now on, and those no more that it showed
// until now and does not any more.
func (h *hub) rewant(old map[string]*watched, was, is *endpoint) {
	for name, p := range h.servers {
		before, now := old[name] == p && was.shows(name), is.shows(name)
		switch {
		case now && !before:
			p.want(upstream.Wish{})
		case before && !now:
			p.server.Unwant(upstream.Wish{})
		}
	}
}

// scatter has whoever watched something at an instance that ends look for it elsewhere: a session by itself, any other when its
// stream ends.
func (h *hub) scatter(p *watched) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.scattered(p)
}

// scattered is scatter where the caller holds the lock.
func (h *hub) scattered(p *watched) {
	for uri, all := range p.uris {
		for w := range all {
			w.mu.Lock()
			delete(w.places, uri)
			again := w.retry != nil && !isTask(uri)
			if again {
				if w.lost == nil {
					w.lost = map[string]bool{}
				}
				w.lost[uri] = true
			}
			w.mu.Unlock()
			p.drop(w, uri)
			if again {
				poke(w.retry)
			} else {
				w.stop(nil)
			}
		}
	}
}

// move has what was watched at one server watched at the one that takes its place. Where there is none, whoever watched it
// is told by the end of its stream.
func (h *hub) move(from, to *watched) {
	for uri, all := range from.uris {
		for w := range all {
			if to == nil {
				w.stop(nil)
				continue
			}
			w.mu.Lock()
			w.places[uri] = to
			w.mu.Unlock()
			to.put(w, uri)
		}
	}
}

// endStale ends the watches that the new plan would not serve as it did: an endpoint is gone, or the only server's may have become
// that of several.
func (h *hub) endStale(was, next *world) {
	for endpoint, all := range h.watches {
		aliased := was.alias() != next.alias() && (endpoint == aggregated || endpoint == was.alias())
		narrowed := next.endpoints[endpoint].holdsOther(was.endpoints[endpoint])
		for w := range all {
			if aliased || next.endpoints[endpoint] == nil || narrowed && w.placed() {
				w.stop(nil)
			}
		}
	}
}
