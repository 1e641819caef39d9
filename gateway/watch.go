package gateway

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/upstream"
)

// watchWait is how long a new watch waits for servers that are not watched yet.
const watchWait = 2 * time.Second

// shortly is a context for that time. It ends after two halves, of which a machine that stands still takes no more than one.
func shortly(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(ctx)
	half := time.AfterFunc(watchWait/2, func() {
		time.AfterFunc(watchWait/2, func() { end(context.DeadlineExceeded) })
	})
	return ctx, func() {
		half.Stop()
		end(nil)
	}
}

// Wish is what a client wants to be told of.
type Wish struct {
	// Lists are the kinds of lists.
	Lists upstream.Lists
	// URIs are resources, each once.
	URIs []string
	// Tasks are ids of tasks as the client knows them, each once.
	Tasks []string
}

// Empty tells whether there is nothing in the wish.
func (wish Wish) Empty() bool { return wish.Lists == 0 && len(wish.URIs)+len(wish.Tasks) == 0 }

// Watch is what one client is told of changes. It holds no goroutine and no plan: whoever owns the client's stream waits for
// Ready and writes what Append gives.
type Watch struct {
	g         *Gateway
	hub       *hub
	endpoint  string
	principal string
	who       caller
	set       *plan.Toolset               // that is served; nil for none
	view      atomic.Pointer[policy.View] // nil where nothing is enforced
	facts     policy.Facts                // of the client
	most      v1.Streams

	ready chan struct{} // has room for one
	ended chan struct{}
	retry chan struct{} // has room for one; nil when it is not for a session
	end   sync.Once
	why   error // of the end; nil when nobody was refused

	remote netip.AddrPort // of the client
	path   string         // that it asked

	mu     sync.Mutex
	lists  upstream.Lists // that the client is told of
	open   bool           // the client was told what it is told of
	due    upstream.Lists
	order  []string // of the keys of notes
	notes  map[string]*notice
	places map[string]*watched // where each URI is watched, and each task by its taskKey
	tokens map[string]string   // the client's own ids of tasks, by taskKey
	tools  map[string]string   // that made them, likewise
	lost   map[string]bool     // URIs of a session that cannot be watched now
}

// Watch begins to watch what a client wishes, at the exchange's endpoint. It waits a short time for what is not watched yet,
// and grants only what truly is. Close ends it.
func (g *Gateway) Watch(ctx context.Context, x *Exchange, wish Wish) (*Watch, error) {
	if err := x.meter(ctx); err != nil {
		return nil, err
	}
	if len(wish.Tasks) > 0 {
		if err := x.mayTask(); err != nil {
			return nil, err
		}
	}
	w := g.newWatch(x)
	w.lists = wish.Lists
	if err := g.hub.enter(w); err != nil {
		return nil, err
	}
	got := g.hub.waitLists(ctx, w)
	if m := x.at.own; m != nil {
		// At the aggregated endpoint the gateway itself tells of changes that it sees, so there all are granted; here it tells of approvals.
		if looked, _ := x.world.plan.Config.Pins(m.Name); looked {
			got |= upstream.ListTools
		}
		w.limit(got | m.watchedFor(ctx, w.who))
	} else {
		w.limit(x.at.allLists())
	}
	for _, uri := range wish.URIs {
		// What cannot be watched is not granted, and that says it.
		_ = w.place(ctx, x.world, uri)
	}
	w.placeTasks(ctx, x, wish.Tasks)
	w.settle(ctx)
	if err := ctx.Err(); err != nil {
		w.Close()
		return nil, context.Cause(ctx)
	}
	return w, nil
}

// WatchSession begins to watch what the client of a legacy session is told of without having to ask: changes of all lists that
// the endpoint declares, and updates of resources that it subscribed to before. It waits a short time for what is not watched yet.
func (g *Gateway) WatchSession(ctx context.Context, x *Exchange, uris ...string) (*Watch, error) {
	if err := x.meter(ctx); err != nil {
		return nil, err
	}
	w := g.newWatch(x)
	w.lists, w.retry = x.at.allLists(), make(chan struct{}, 1)
	if err := g.hub.enter(w); err != nil {
		return nil, err
	}
	g.hub.waitLists(ctx, w)
	w.Follow(ctx, uris)
	if len(uris) > 0 {
		limited, cancel := shortly(ctx)
		defer cancel()
		for p, keys := range w.byPlace() {
			p.server.Watched(limited, p.lastTicket(), wishFor(keys...))
		}
	}
	w.Granted(Wish{})
	return w, nil
}

// Retry gets a value when Follow may have more success than before.
func (w *Watch) Retry() <-chan struct{} { return w.retry }

// Follow has exactly these resources watched, without waiting for it to be so.
func (w *Watch) Follow(ctx context.Context, uris []string) {
	wanted := make(map[string]bool, len(uris))
	for _, uri := range uris {
		wanted[uri] = true
	}
	w.mu.Lock()
	var gone []string
	for uri := range w.places {
		if !wanted[uri] {
			gone = append(gone, uri)
		}
		delete(wanted, uri)
	}
	w.mu.Unlock()
	for _, uri := range gone {
		w.hub.remove(w, uri)
	}
	now := w.g.acquire()
	defer w.g.release(now)
	lost := map[string]bool{}
	for uri := range wanted {
		if err := w.place(ctx, now, uri); err != nil {
			w.g.o.Log.Debug("resource of a session not watched", "error", err)
			lost[uri] = true
		}
	}
	w.found(lost)
}

// found records which resources cannot be watched now. Of those that could not be before, something may have been missed.
func (w *Watch) found(lost map[string]bool) {
	w.mu.Lock()
	was := w.lost
	w.lost = lost
	var again []string
	for uri := range was {
		if w.places[uri] != nil {
			again = append(again, uri)
		}
	}
	w.mu.Unlock()
	for _, uri := range again {
		w.tell(uri, uri, updatedNotice(uri))
	}
}

// reconsider has resources tried again that could not be watched.
func (w *Watch) reconsider() {
	w.mu.Lock()
	lost := len(w.lost) > 0
	w.mu.Unlock()
	if lost {
		poke(w.retry)
	}
}

func (w *Watch) limit(lists upstream.Lists) {
	w.mu.Lock()
	w.lists &= lists
	w.due &= lists
	w.mu.Unlock()
}

func (g *Gateway) newWatch(x *Exchange) *Watch {
	w := &Watch{
		g: g, hub: &g.hub, endpoint: x.Endpoint, principal: x.Principal.Key(), who: x.who(), most: x.world.plan.Config.Streams,
		set: x.at.set, ready: make(chan struct{}, 1), ended: make(chan struct{}),
		remote: x.Request.Remote, path: x.Request.Path,
	}
	w.view.Store(x.view)
	if x.view != nil {
		x.surroundings(&w.facts)
	}
	return w
}

// Granted is what the watch truly watches. From now on its client is told of it.
func (w *Watch) Granted(wish Wish) Wish {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = true
	got := Wish{Lists: w.lists}
	for _, uri := range wish.URIs {
		if w.places[uri] != nil {
			got.URIs = append(got.URIs, uri)
		}
	}
	for key, token := range w.tokens {
		if w.places[key] != nil {
			got.Tasks = append(got.Tasks, token)
		}
	}
	return got
}

// Ready gets a value when there is something to tell.
func (w *Watch) Ready() <-chan struct{} { return w.ready }

// Ended is closed when the watch ends by itself: what it watched is not there any more.
func (w *Watch) Ended() <-chan struct{} { return w.ended }

// stop ends the watch for its client.
func (w *Watch) stop(why error) {
	w.end.Do(func() {
		w.why = why
		close(w.ended)
	})
}

// RecordEnd puts on record why the watch ended by itself, where that is that its client may not have it any more.
func (w *Watch) RecordEnd() {
	select {
	case <-w.ended:
		w.g.RecordEnd(w.who.principal, w.remote, w.path, w.why)
	default:
	}
}

// Append appends what is to be told, as server-sent events, and forgets it. id is the raw subscriptionId that each carries;
// nil makes messages for a legacy client.
func (w *Watch) Append(b, id []byte) []byte {
	w.mu.Lock()
	due, order, notes := w.due, w.order, w.notes
	w.due, w.order, w.notes = 0, nil, nil
	w.mu.Unlock()
	for i, n := range listNotices {
		if due&(1<<i) != 0 {
			b = n.append(b, id)
		}
	}
	for _, key := range order {
		b = notes[key].append(b, id)
	}
	return b
}

// Add watches one more resource, and fails when that cannot be.
func (w *Watch) Add(ctx context.Context, uri string) error {
	now := w.g.acquire()
	err := w.place(ctx, now, uri)
	w.g.release(now)
	if err != nil {
		return err
	}
	w.settle(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.places[uri] == nil {
		return errs.E("gateway", errs.Invalid, "the server takes no subscription to %.200q", uri)
	}
	return nil
}

// Close ends the watch.
func (w *Watch) Close() { w.hub.leave(w) }

// place has the server of a resource watch it.
func (w *Watch) place(ctx context.Context, now *world, uri string) error {
	if isTask(uri) {
		return errs.E("gateway", errs.Invalid, "%.40q is no URI", uri)
	}
	e := now.endpoints[w.endpoint]
	if e == nil {
		return errs.E("gateway", errs.Unavailable, "server %q is being removed", w.endpoint)
	}
	m := e.own
	if m == nil {
		var err error
		if m, err = w.g.resource(ctx, w.who, e, w.rights(), uri); err != nil {
			return err
		}
	}
	if !w.mayRead(e, m, uri) {
		return unknownResource(uri)
	}
	return w.placeAt(ctx, m, uri)
}

// placeAt has a server watch something, or the caller's own instance of it, which is then not stopped.
func (w *Watch) placeAt(ctx context.Context, m *member, key string) error {
	if m.family == nil {
		return w.hub.add(w, m.Name, nil, key)
	}
	h, err := m.family.hold(ctx, w.who)
	if _, elsewhere := errors.AsType[*remote](err); elsewhere {
		return w.hub.addAfar(w, m.family, key)
	}
	if err != nil {
		return err
	}
	defer h.release()
	return w.hub.add(w, m.Name, h.k.watched, key)
}

// watchedFor are the lists whose changes a personal server tells of to this caller; none for another server.
func (m *member) watchedFor(ctx context.Context, c caller) upstream.Lists {
	if m.family == nil || !m.family.personal() {
		return 0
	}
	limited, cancel := shortly(ctx)
	defer cancel()
	h, err := m.family.hold(limited, c)
	if err != nil {
		return 0
	}
	defer h.release()
	return h.k.server.Watched(limited, h.k.watched.lastTicket(), everyList).Lists
}

// settle waits until it is known which of the resources are watched, and gives up the others.
func (w *Watch) settle(ctx context.Context) {
	began := time.Now()
	for p, uris := range w.byPlace() {
		limited, cancel := context.WithDeadline(ctx, began.Add(p.patience()))
		got := p.server.Watched(limited, p.lastTicket(), wishFor(uris...))
		cancel()
		if len(got.URIs)+len(got.Tasks) == len(uris) {
			continue
		}
		taken := make(map[string]bool, len(got.URIs)+len(got.Tasks))
		for _, uri := range got.URIs {
			taken[uri] = true
		}
		for _, id := range got.Tasks {
			taken[taskKey+id] = true
		}
		for _, uri := range uris {
			if !taken[uri] {
				w.hub.remove(w, uri)
			}
		}
	}
}

// byPlace are the keys of what is watched at each server.
func (w *Watch) byPlace() map[*watched][]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.places) == 0 {
		return nil
	}
	all := map[*watched][]string{}
	for key, p := range w.places {
		all[p] = append(all[p], key)
	}
	return all
}

// tellLists has the client told that lists changed.
func (w *Watch) tellLists(lists upstream.Lists, quiet bool) {
	w.mu.Lock()
	lists &= w.lists
	if quiet && !w.open {
		lists = 0 // it has not seen a list yet that could be old
	}
	w.due |= lists
	w.mu.Unlock()
	if lists != 0 {
		poke(w.ready)
	}
}

// tell has the client told of a notice; of two about the same resource the later one counts. Where too many parts of a watched
// whole change, or one that its toolset does not hold, the client is told of the whole.
func (w *Watch) tell(uri, whole string, n *notice) {
	foreign := uri != whole && w.set != nil && !w.set.HoldsResource(uri)
	w.mu.Lock()
	if foreign || uri != whole && w.notes[uri] == nil && len(w.notes) >= w.most.Subscriptions {
		uri, n = whole, updatedNotice(whole)
	}
	if w.notes == nil {
		w.notes = map[string]*notice{}
	}
	if w.notes[uri] == nil {
		w.order = append(w.order, uri)
	}
	w.notes[uri] = n
	w.mu.Unlock()
	poke(w.ready)
}

// placed tells whether resources or tasks are watched.
func (w *Watch) placed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.places)+len(w.lost) > 0
}

func (w *Watch) isOpen() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Watchable tells whether a resource can be watched, by having it watched for a moment.
func (g *Gateway) Watchable(ctx context.Context, x *Exchange, uri string) error {
	if err := x.meter(ctx); err != nil {
		return err
	}
	w := g.newWatch(x)
	defer w.Close()
	x.judgeURI(uri)
	if d := &x.decision; x.view != nil && d.Rule != "" {
		g.o.Metrics.Decided(labels[policy.KindResource], d.Allowed, len(d.Scopes) > 0)
	}
	if m := x.at.own; m != nil {
		if p, err := m.peerFor(ctx, w.who); err != nil {
			return err
		} else if len(p.Capabilities) > 0 && !strings.Contains(notices(p.Capabilities, "resources"), "subscribe") {
			return errs.E("gateway", errs.MethodNotFound, "server %q takes no subscriptions to resources", m.Name)
		}
	}
	return w.Add(ctx, uri)
}

var listMethods = [...]mcp.Method{mcp.MethodToolsChanged, mcp.MethodPromptsChanged, mcp.MethodResourcesChanged}
