package gateway

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/runner/pool"
	"github.com/toolcrib/toolcrib/upstream"
)

// caller is whose instances are used.
type caller struct {
	principal *identity.Principal
	within    string // as Exchange.Within
	handed    bool   // over by another replica, since this one has the instance
	stays     bool   // as Exchange.stays
	header    http.Header
}

func (x *Exchange) who() caller { return caller{x.Principal, x.Within, x.handed, x.stays, x.Header} }

// family is a server whose callers do not all share an instance: besides the member of the world, which gives the lists and
// never carries a call, there is a kin for each isolation key.
type family struct {
	g    *Gateway
	plan *plan.Server
	all  *plan.Plan
	base *member
	pool *pool.Pool[*kin]
	// last is how the last start of a personal server went, which has no other status; nil before.
	last atomic.Pointer[upstream.Status]
	// refused is the key for which it failed; nil after one that did not.
	refused atomic.Pointer[string]
	// peer is what an instance of a personal server last said of it; nil before.
	peer atomic.Pointer[upstream.Peer]

	mu    sync.Mutex
	up    map[*kin]struct{} // the instances that are, besides the base
	since time.Time         // there are some
	// showing orders what the metrics are told; ended: nothing any more, since another may have the name.
	showing sync.Mutex
	ended   bool
}

// personal tells whether instances differ by whom they are for, so that there can be none for nobody.
func (f *family) personal() bool { return f.plan.Personal != "" }

// found makes m, which was opened, the base of a family.
func (g *Gateway) found(m *member, p *plan.Plan) {
	f := &family{g: g, plan: m.Server, all: p, base: m, up: map[*kin]struct{}{}}
	s := f.plan.Pool
	m.family = f
	f.pool = pool.New(pool.Options[*kin]{
		Op: `server "` + m.Name + `"`, Max: s.Max, Min: s.Min, Spares: s.Spares, Idle: time.Duration(s.Idle),
		Queue: s.Queue, Wait: time.Duration(s.Wait), Share: f.share(), Alike: !f.personal(),
		Hold: holdTime(&s), Start: f.start,
		Evicted: func(k *kin) {
			g.o.Log.Info("instance ended to make room for another caller's; raise pool.max where that happens often",
				"server", f.plan.Name, "key", k.shown())
		},
		Adopt: func(k *kin, key pool.Key) {
			k.key.Store(&key)
			k.claim.Store(g.owners.retain(f.leaseOf(key.Name), k))
		},
	})
}

// remote tells whether an instance is but connections to where the server runs: each replica has its own for a key, so that there
// is no lease, and the ceilings of processes do not count it.
func (f *family) remote() bool { return f.plan.Spec.URL != "" }

// share are the ceilings that instances count for.
func (f *family) share() *pool.Share {
	if f.remote() {
		return nil
	}
	return f.g.share
}

// holdTime is how long a caller's instance is left alone: those who follow call on call find theirs again, while another caller gets
// one within the time that a call may wait.
func holdTime(s *v1.Pool) time.Duration {
	most := time.Duration(s.Wait) / 2
	if s.Idle == 0 {
		return most
	}
	return min(most, time.Duration(s.Idle)/10)
}

// keyOf is the isolation key of a caller.
func (f *family) keyOf(c caller) pool.Key {
	k := pool.Key{Name: c.principal.Key(), Tenant: c.principal.Tenant, For: c.principal}
	if f.plan.Spec.ForwardToken {
		kept := c // only here does it leave the stack
		k.For = &kept
	}
	switch f.plan.Isolation {
	case v1.IsolationTenant:
		k.Name = k.Tenant
	case v1.IsolationSession:
		if c.within != "" {
			k.Name = c.within
		}
	}
	return k
}

// start opens the instance of a key, or a spare, and waits until it is up.
func (f *family) start(ctx context.Context, key pool.Key) (*kin, error) {
	k := f.open(key)
	if err := f.secure(ctx, k, key); err != nil {
		k.Close()
		return nil, err
	}
	peer, err := k.server.Peer(ctx)
	if f.personal() {
		f.record(key, peer, err)
	}
	if err != nil {
		k.Close()
		return nil, err
	}
	k.watched.want(upstream.Wish{}) // of its lists, for as long as it lives
	return k, nil
}

// lacks says what a personal server needs of a caller who has it not. That is no failed start: it concerns nobody else.
func (f *family) lacks(key pool.Key) error {
	if !f.personal() {
		return nil
	}
	if _, err := f.plan.Spec.For(f.whoIs(key)); err != nil {
		return errs.E(`server "`+f.plan.Name+`"`, errs.Forbidden, "cannot serve this caller: %w", err)
	}
	return nil
}

// record keeps how a start of a personal server went. That it failed for one key may be due to what that caller gave it, so that
// the server counts as failed only when the next one of another key failed too. What a process printed is its caller's.
func (f *family) record(key pool.Key, peer *upstream.Peer, err error) {
	st := upstream.Status{State: upstream.StateIdle, Since: time.Now()}
	if err == nil {
		f.peer.Store(peer)
		f.refused.Store(nil)
	} else {
		what, _, _ := strings.Cut(err.Error(), "; last stderr: ")
		st.Reason = "the last start, for one of its callers, failed: " + what
		if !f.remote() {
			st.Reason += "; toolcrib logs " + f.plan.Name + " shows what it printed"
		}
		was, other := f.last.Load(), f.refused.Swap(&key.Name)
		if other != nil && *other != key.Name || was != nil && was.State == upstream.StateFailed {
			st.State = upstream.StateFailed
		}
	}
	f.last.Store(&st)
	f.show()
}

// status is that of a member's server.
func (m *member) status() upstream.Status {
	if m.family != nil {
		return m.family.status()
	}
	return m.server.Status()
}

// status is ready while any instance is up, whatever came of others.
func (f *family) status() upstream.Status {
	st := f.base.server.Status()
	if st.State == upstream.StateReady {
		return st
	}
	f.mu.Lock()
	n, since := len(f.up), f.since
	f.mu.Unlock()
	if n > 0 {
		return upstream.Status{State: upstream.StateReady, Since: since, Era: st.Era}
	}
	if last := f.last.Load(); last != nil && f.personal() {
		return *last
	}
	return st
}

// turned notes whether an instance is up.
func (f *family) turned(k *kin, up bool) {
	f.mu.Lock()
	if !up {
		delete(f.up, k)
	} else {
		if len(f.up) == 0 {
			f.since = time.Now()
		}
		f.up[k] = struct{}{}
	}
	f.mu.Unlock()
	f.show()
}

// show tells the metrics the state.
func (f *family) show() {
	f.showing.Lock()
	defer f.showing.Unlock()
	if !f.ended {
		f.g.o.Metrics.ServerState(f.plan.Name, string(f.status().State))
	}
}

// fade ends what show does.
func (f *family) fade() {
	f.showing.Lock()
	f.ended = true
	f.showing.Unlock()
}

// kin is what serves one isolation key: an instance with what is known of it.
type kin struct {
	member
	f     *family
	key   atomic.Pointer[pool.Key] // nil for a spare
	apart atomic.Bool              // its lists are not those of every new instance
	up    atomic.Bool              // it was up before
	told  atomic.Bool              // its watch began before
	uses  atomic.Int64             // of what is watched at it
	tasks pins
	// unsaid are the changed lists that other replicas are still to be told of; saying: that goes on.
	unsaid atomic.Uint32
	saying atomic.Bool
	// claim is that of the cluster's lease; nil where there is none.
	claim atomic.Pointer[claim]
	// foreign: another replica has an instance of the same key by now.
	foreign atomic.Bool
}

// Busy implements pool.Instance.
func (k *kin) Busy() bool { return k.uses.Load() > 0 || k.server.Parked() > 0 || k.tasks.any() }

// Close implements pool.Instance.
func (k *kin) Close() {
	k.f.g.hub.scatter(k.watched)
	k.f.g.parking.endAt(k.server)
	k.server.Close()
	k.f.g.owners.drop(k.claim.Load(), true)
}

// shown is its key as people see it.
func (k *kin) shown() string {
	if key := k.key.Load(); key != nil {
		return keyLabel(key.Name)
	}
	return ""
}

// serves tells whether the instance is that of a caller.
func (k *kin) serves(c caller) bool {
	key := k.key.Load()
	return key != nil && key.Name == k.f.keyOf(c).Name
}

// lister is the member whose lists are those of m.
func (m *member) lister() *member {
	if k := m.kin; k != nil && !k.ownLists() {
		return k.f.base
	}
	return m
}

func (k *kin) ownLists() bool { return k.f.personal() || k.apart.Load() }

// open opens the server of a kin.
func (f *family) open(key pool.Key) *kin {
	g, s := f.g, f.plan
	k := &kin{f: f}
	k.member = member{
		Server: s, present: f.base.present, catalog: newCatalog(), journal: f.base.journal, other: f.base.other, kin: k, kept: f.base.kept,
	}
	k.book = f.bookFor(key)
	k.catalog.gen.Store(new(atomic.Uint64)) // no view is made of its lists that is kept
	k.watched = newWatched(s, f.all, k.present)
	k.watched.kin = k
	o := g.upstreamOptions(&k.member, f.all)
	o.Doubted = k.catalog.doubt
	o.Noticed = func(n *mcp.Raw) {
		g.resourceUpdated(&k.member, n)
		g.hub.noticed(k.watched, n)
	}
	o.Changed = func(changed mcp.Method) {
		lists := upstream.ListOf(changed)
		k.apart.Store(true)
		k.catalog.invalidate(lists)
		k.outdated(lists)
		g.hub.listsChanged(&k.member, lists, false)
		k.spread(lists)
		g.noteLists(&k.member, lists)
	}
	o.WatchBegan = func(lists upstream.Lists) {
		k.catalog.invalidate(lists)
		k.rewatched()
		if again := k.told.Swap(true); !again {
			lists = 0 // nothing can have been missed of a new instance
		}
		g.hub.began(k.watched, lists)
	}
	o.WatchedAnew = k.watchedAnew
	o.StateChanged = func(st upstream.State) {
		f.turned(k, st == upstream.StateReady)
		if st == upstream.StateReady && k.up.Swap(true) {
			k.catalog.recovered()
			g.hub.recovered(k.watched)
		}
	}
	o.Room = k.roomAside
	if key.Name != "" {
		k.key.Store(&key)
		o.Key, o.Who, o.Own = key.Name, f.whoIs(key), k.own(key)
	}
	k.server = upstream.Open(alone(s.Spec), o)
	k.watched.server = k.server
	return k
}

// roomAside finds room for a process beside the instance, which the pool knows of.
func (k *kin) roomAside(ctx context.Context, aside bool) (give func(), err error) {
	if !aside {
		return func() {}, nil
	}
	tenant := ""
	if key := k.key.Load(); key != nil {
		tenant = key.Tenant
	}
	return k.f.g.room(k.Server, tenant)(ctx, aside)
}

// alone is the server as it runs for one key: one process, whose end the family decides.
func alone(spec *v1.Server) *v1.Server {
	one := *spec
	one.Pool.Min, one.Pool.Max, one.Pool.Spares, one.Pool.Idle = 0, 1, 0, 0
	return &one
}

// whoIs is the caller that the references of a server stand for.
func (f *family) whoIs(key pool.Key) *v1.Caller {
	c, ok := callerOf(key)
	if !ok {
		return nil
	}
	p := c.principal
	who := &v1.Caller{Subject: p.Subject, Tenant: p.Tenant, Credential: p.Credential}
	if t := f.all.Config.Tenants[p.Tenant]; t != nil {
		who.Vars = t.Vars
	}
	return who
}
