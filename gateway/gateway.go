package gateway

import (
	"context"
	"crypto/rand"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/cache"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/memory"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/identity/assertion"
	"github.com/toolcrib/toolcrib/limit"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/runner"
	"github.com/toolcrib/toolcrib/runner/launch"
	"github.com/toolcrib/toolcrib/runner/pool"
	"github.com/toolcrib/toolcrib/seal"
	"github.com/toolcrib/toolcrib/telemetry"
	"github.com/toolcrib/toolcrib/upstream"
)

// Options are what a Gateway needs besides its plan.
type Options struct {
	Version string
	Log     *slog.Logger
	Metrics *telemetry.Metrics
	// Calls has a line for each request; nil writes none.
	Calls *telemetry.CallLog
	// Traces notes what becomes of requests; nil traces nothing.
	Traces *telemetry.Tracer
	// Audit takes records of what was asked and answered; nil takes none.
	Audit *audit.Log
	// Guard is the argv of the guard process for children of stdio servers; nil for none.
	Guard []string
	// Launch decides what is started for stdio servers; nil starts commands as they are.
	Launch *launch.Launcher
	// Confine is the argv of the launcher that confines children; nil refuses servers that need it.
	Confine []string
	// Identity identifies callers; who made it closes it, after the gateway.
	Identity *identity.Authenticator
	// Limits keep what is left of limits; who made it closes it, after the gateway. Without it there are none.
	Limits *limit.Limiter
	// Node is this replica among the others, and Ring gives the present keys of sealed tokens. Without them the gateway is
	// alone, and nothing that it seals outlives it.
	Node *cluster.Node
	Ring func() *seal.Ring
}

// Gateway serves exchanges by the present plan.
type Gateway struct {
	o     Options
	info  []byte // serverInfo, raw JSON
	world atomic.Pointer[world]

	load    load
	hub     hub
	share   *pool.Share // of all isolated servers
	notary  *assertion.Notary
	owners  owners
	aparts  aparts
	changes changes

	mu      sync.Mutex // one Apply at a time
	retired sync.WaitGroup
	parking parking
	waits   taskWaits
	lasting lasting
	vigils  sync.Once
	applied chan struct{} // has room for one
	closing chan struct{}
	// draining is closed when nothing is watched here any more for clients of other replicas.
	draining chan struct{}
	drains   sync.Once
	// handing: no call of another replica is begun here any more at its caller's instance.
	handing atomic.Bool

	cache     *cache.Cache
	refetches atomic.Int64 // of kept answers, in the background

	approvals  approvals
	quarantine quarantine
	warned     sync.Map // what warnOnce said
	warnings   atomic.Int64
}

// world is a plan with the servers opened for it.
type world struct {
	plan      *plan.Plan
	callers   *identity.Verifier
	limits    *limit.Rules
	members   map[string]*member
	order     []*member // by name
	endpoints map[string]*endpoint
	guarded   bool // somebody may not do everything
	gen       *atomic.Uint64
	views     viewCache
	presences presences
	shadows   shadows
	labels    keyLabels

	refs    atomic.Int64
	old     atomic.Bool
	idle    chan struct{} // closed when it is old and its last exchange is over
	idleOne sync.Once
	ended   chan struct{} // closed when that holds for all worlds before it too
	before  <-chan struct{}
}

func newWorld(p *plan.Plan, callers *identity.Verifier) *world {
	return &world{
		plan: p, callers: callers, limits: &limit.Rules{}, members: map[string]*member{}, guarded: guards(p), gen: new(atomic.Uint64),
		idle: make(chan struct{}), ended: make(chan struct{}),
	}
}

// member is one server of a world, with what is known of its lists.
type member struct {
	*plan.Server
	// present is the configuration of the present plan, which what serves one caller alone goes by too; labeled counts how often the
	// labels changed.
	present *atomic.Pointer[v1.Server]
	labeled uint64

	server  *upstream.Server
	catalog *catalog
	watched *watched
	journal *runner.Journal // what its processes print
	other   *telemetry.Tool // counts calls of names that the server does not list
	book    *assertion.Book // tells it for whom requests are; nil where it is not told
	family  *family         // of an isolated server; nil for every other
	kept    *kept           // of its answers, shared by all its instances
	kin     *kin            // that this is the member of; nil where it is one of a world
}

// otherLabel is the label under which unknown names are counted: clients must not make up labels.
const otherLabel = "_other"

func (g *Gateway) metric(m *member, facts *toolFacts) *telemetry.Tool {
	if facts == nil {
		return m.other
	}
	return facts.metric
}

// New makes a gateway without servers; Apply gives it a plan.
func New(o Options) *Gateway {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Ring == nil {
		var key [seal.KeySize]byte
		rand.Read(key[:])
		ring, _ := seal.NewRing(key[:]) // the size is right
		o.Ring = func() *seal.Ring { return ring }
	}
	if o.Node == nil {
		o.Node = cluster.New(cluster.Options{Backend: memory.New(), Ring: o.Ring, Log: o.Log})
	}
	if o.Identity == nil {
		o.Identity = identity.New(identity.Options{Log: o.Log})
	}
	g := &Gateway{
		o: o, applied: make(chan struct{}, 1), closing: make(chan struct{}), draining: make(chan struct{}),
		parking: parking{metrics: o.Metrics}, share: pool.NewShare(0, 0), cache: cache.New(0, 0),
	}
	g.owners.g = g
	g.changes.back = make(chan struct{}, 1)
	g.notary = assertion.New(o.Ring)
	o.Node.Handle(exchangeKind, g.fromElsewhere)
	o.Node.Handle(watchKind, g.watchFromElsewhere)
	none := make(chan struct{})
	close(none)
	g.info = mcp.AppendString([]byte(`{"name":"toolcrib","title":"Toolcrib","version":`), o.Version)
	g.info = append(g.info, '}')
	nothing := &v1.Config{}
	callers, _ := o.Identity.Configure(nothing) // there is nothing in it that could be wrong
	empty, _ := plan.Compile(nothing)
	g.approvals.now.Store(&approved{})
	first := newWorld(empty, callers)
	first.before = none
	first.lay()
	g.hub.endpoints = first.endpoints
	g.world.Store(first)
	o.Node.OnBroadcast(apartKind, g.heardApart)
	o.Node.OnBroadcast(purgeKind, g.heardPurge)
	o.Node.OnBroadcast(changesKind, g.heardChanges)
	o.Node.OnReconnect(g.respread)
	o.Node.OnReconnect(g.caughtUp)
	g.owners.joined = o.Node.Status().Connected
	o.Node.OnReconnect(g.owners.reconnected)
	return g
}

// Callers identifies callers by the present plan.
func (g *Gateway) Callers() *identity.Verifier { return g.world.Load().callers }

// Plan is the present plan.
func (g *Gateway) Plan() *plan.Plan { return g.world.Load().plan }

// Apply makes p the present plan. Servers whose configuration did not change stay as they are; those that are gone end when
// the last exchange of the old plan has. An error leaves the old plan in place.
func (g *Gateway) Apply(p *plan.Plan) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	callers, err := g.o.Identity.Configure(p.Config)
	if err != nil {
		return err
	}
	g.share.Set(p.Config.Runner.MaxInstances, p.Config.Runner.MaxPerTenant)
	was := g.world.Load()
	next := newWorld(p, callers)
	for _, s := range p.Servers {
		m := was.keep(s, p)
		if m == nil {
			m = g.open(s, p, next.gen)
		} else {
			m = m.moved(s, next.gen)
			m.journal.Hide(p.Config.CredentialsFor(s.Name))
		}
		next.members[s.Name] = m
		next.order = append(next.order, m)
	}
	next.lay()
	g.settleKept(was, next)
	next.before = was.ended
	if g.o.Limits != nil {
		next.limits = g.o.Limits.Configure(p.Config)
	}
	g.world.Store(next)
	g.hub.replace(was, next)
	g.lasting.review(next)
	g.parking.review(next)
	g.vigils.Do(func() { g.retired.Go(g.vigil) })
	poke(g.applied)
	g.settlePins(was, next)
	g.retire(was, next)
	return nil
}

// keep finds the server as it runs already, when nothing that concerns it changed.
func (w *world) keep(s *plan.Server, p *plan.Plan) *member {
	m := w.members[s.Name]
	if m == nil || !sameSpec(m.Spec, s.Spec) || m.Isolation != s.Isolation || w.plan.Config.Messages != p.Config.Messages ||
		m.server.HTTP() && w.plan.Config.Zone != p.Config.Zone {
		return nil
	}
	if !m.server.HTTP() && !sameLaunch(w.plan.Config, p.Config) {
		return nil
	}
	if m.book != nil && w.plan.Config.PublicURL != p.Config.PublicURL {
		return nil // which is who says for whom requests are
	}
	if m.Personal != s.Personal || m.Personal != "" && !sameGiven(w.plan.Config, p.Config) {
		return nil // instances may have been given what is not right any more
	}
	return m
}

// sameCallers tells whether what servers are given of callers is what it was.
func sameCallers(a, b *v1.Config) bool {
	return reflect.DeepEqual(a.Auth, b.Auth) && reflect.DeepEqual(a.Tenants, b.Tenants)
}

// sameGiven tells whether a server would give every caller whom it has an instance for what it gave then: nobody is another now, or
// has other credentials. Who calls besides, what each may do, and how it shows who it is do not count.
func sameGiven(a, b *v1.Config) bool {
	return reflect.DeepEqual(a.Tenants, b.Tenants) && sameNames(&a.Auth, &b.Auth) &&
		!slices.ContainsFunc(a.Auth.APIKeys, func(was v1.APIKey) bool { return !keptCredentials(&was, b.Auth.APIKeys) })
}

// sameNames tells whether those who are known by something else than a static key go by the names that they had.
func sameNames(a, b *v1.Auth) bool {
	for i := range a.Issuers {
		was := &a.Issuers[i]
		if !slices.ContainsFunc(b.Issuers, func(is v1.Issuer) bool {
			return is.Name == was.Name && is.Issuer == was.Issuer && is.JWKS == was.JWKS && is.Tenant == was.Tenant &&
				is.Claims.Subject == was.Claims.Subject && is.Claims.Tenant == was.Claims.Tenant && reflect.DeepEqual(is.Introspection, was.Introspection)
		}) {
			return false
		}
	}
	return (a.ClientCertificates == nil || reflect.DeepEqual(a.ClientCertificates, b.ClientCertificates)) &&
		(a.TrustedProxy == nil || reflect.DeepEqual(a.TrustedProxy, b.TrustedProxy))
}

// keptCredentials tells whether the principal of a key has the credentials that it had. One that had some and is gone has not.
func keptCredentials(was *v1.APIKey, now []v1.APIKey) bool {
	for i := range now {
		if is := &now[i]; is.Name == was.Name && is.Tenant == was.Tenant {
			return maps.Equal(is.Credentials, was.Credentials)
		}
	}
	return len(was.Credentials) == 0
}

// sameLaunch tells whether what runs was started under the present rules of what may run.
func sameLaunch(a, b *v1.Config) bool {
	return a.Launch.Approval == b.Launch.Approval && a.LockFile() == b.LockFile()
}

// moved is the same server in a new world: its prefix may differ, and lists are joined anew.
func (m *member) moved(s *plan.Server, gen *atomic.Uint64) *member {
	m.catalog.gen.Store(gen)
	m.present.Store(s.Spec)
	if m.Spec.ListTTL != s.Spec.ListTTL {
		m.doubtLists()
	}
	labeled := m.labeled
	if !maps.Equal(m.Spec.Labels, s.Spec.Labels) {
		labeled++
	}
	return &member{
		Server: s, present: m.present, labeled: labeled, server: m.server, catalog: m.catalog, watched: m.watched, journal: m.journal,
		other: m.other, book: m.book, family: m.family, kept: m.kept,
	}
}

// doubtLists makes all lists of a server stale, those of its callers' own instances too.
func (m *member) doubtLists() {
	m.catalog.doubt(upstream.AllLists)
	if m.family != nil {
		for _, k := range m.family.pool.All() {
			k.catalog.doubt(upstream.AllLists)
		}
	}
}

// now is the configuration of the server by the present plan: m may be that of an earlier one.
func (m *member) now() *v1.Server { return m.present.Load() }

func (g *Gateway) open(s *plan.Server, p *plan.Plan, gen *atomic.Uint64) *member {
	m := &member{Server: s, catalog: newCatalog(), journal: g.journal(s.Name), other: g.o.Metrics.Tool(s.Name, otherLabel), kept: new(kept)}
	m.present = new(atomic.Pointer[v1.Server])
	m.present.Store(s.Spec)
	m.book = g.book(s.Spec, s.Name, p.Config)
	m.journal.Hide(p.Config.CredentialsFor(s.Name))
	m.catalog.gen.Store(gen)
	m.watched = newWatched(s, p, m.present)
	slept := false // its states follow one another
	var kept atomic.Pointer[family]
	o := g.upstreamOptions(m, p)
	o.Changed = func(changed mcp.Method) {
		lists := upstream.ListOf(changed)
		m.catalog.invalidate(lists) // before clients ask for the list again
		m.outdated(lists)
		g.hub.listsChanged(m, lists, false)
		g.noteLists(m, lists)
	}
	o.Doubted = m.catalog.doubt
	o.Woken = m.catalog.age
	o.Noticed = func(n *mcp.Raw) {
		g.resourceUpdated(m, n)
		g.hub.noticed(m.watched, n)
	}
	o.WatchBegan = func(lists upstream.Lists) {
		m.catalog.invalidate(lists)
		m.rewatched()
		g.hub.began(m.watched, lists)
	}
	o.WatchedAnew = m.watchedAnew
	o.StateChanged = func(st upstream.State) {
		if st == upstream.StateStopped {
			return // another may have its name by now; Remove clears what is gone
		}
		if f := kept.Load(); f != nil {
			f.show()
		} else {
			g.o.Metrics.ServerState(s.Name, string(st))
		}
		if st == upstream.StateReady && !slept {
			m.catalog.recovered()
			g.hub.recovered(m.watched)
		}
		slept = st == upstream.StateIdle
	}
	o.Room, o.Own = g.room(s, ""), m.own()
	m.server = openServer(s, o)
	m.watched.server = m.server
	if s.Isolated() {
		g.found(m, p)
		kept.Store(m.family)
		m.family.show()
	}
	return m
}

// openServer opens the server of a member of a world.
func openServer(s *plan.Server, o upstream.Options) *upstream.Server {
	switch {
	case s.Personal != "":
		return upstream.Dormant(s.Spec, o)
	case s.Isolated():
		one := alone(s.Spec)
		one.Pool.Idle = s.Spec.Pool.Idle // nobody calls it, so that it sleeps but for its lists
		return upstream.Open(one, o)
	}
	return upstream.Open(s.Spec, o)
}

// room has processes of a server that no pool knows of count for the ceilings of all.
func (g *Gateway) room(s *plan.Server, tenant string) func(context.Context, bool) (func(), error) {
	guest := pool.Guest{Op: `server "` + s.Name + `"`, Tenant: tenant, Wait: time.Duration(s.Spec.Pool.Wait)}
	return func(ctx context.Context, _ bool) (func(), error) { return g.share.Take(ctx, guest) }
}

// upstreamOptions are what is the same for all instances of a server.
func (g *Gateway) upstreamOptions(m *member, p *plan.Plan) upstream.Options {
	s := m.Server
	return upstream.Options{
		Name: s.Name, Version: g.o.Version, Log: g.o.Log.With("component", "upstream"), Guard: g.o.Guard, Confine: g.o.Confine,
		Launch: g.o.Launch, Journal: m.journal,
		MaxBytes: int(p.Config.Messages.MaxBytes), MaxDepth: p.Config.Messages.MaxDepth,
		Isolation: s.Isolation, Zone: p.Config.Zone, Present: m.present,
		Restarted: func() { g.o.Metrics.Restart(s.Name) },
		Started:   func(took time.Duration, err error) { g.o.Metrics.Started(s.Name, took, err) },
		Crashed:   func(reason string) { g.o.Metrics.Crashed(s.Name, reason) },
		Refused:   func(reason string) { g.o.Metrics.Refused(s.Name, reason) },
		Retried:   func(outcome string) { g.o.Metrics.Retried(s.Name, outcome) },

		SessionClosed: func(lasted time.Duration) { g.o.Metrics.SessionClosed(s.Name, lasted) },
	}
}

// retire closes what only the old world needs, once its last exchange is over, and that of every world before it: a server
// may have been handed on from world to world.
func (g *Gateway) retire(old, next *world) {
	var gone []*member
	for name, m := range old.members {
		if n := next.members[name]; n == nil || n.server != m.server {
			gone = append(gone, m)
		}
	}
	old.old.Store(true)
	old.settle()
	g.retired.Go(func() {
		defer close(old.ended)
		for _, over := range []<-chan struct{}{old.idle, old.before} {
			select {
			case <-over:
			case <-g.closing:
			}
		}
		var wg sync.WaitGroup
		for _, m := range gone {
			wg.Go(func() {
				g.end(m)
				if g.world.Load().members[m.Name] == nil {
					g.o.Metrics.Remove(m.Name)
				}
			})
		}
		wg.Wait()
	})
}

// end closes a server with all its instances.
func (g *Gateway) end(m *member) {
	if m.family != nil {
		m.family.fade()
		m.family.pool.Close()
	}
	g.parking.endAt(m.server)
	m.server.Close()
	g.unkeep(m.kept.Swap(nil))
}

// sameSpec tells whether nothing that concerns the running server changed. What requests go by one by one, and what is the gateway's
// alone, does not.
func sameSpec(a, b *v1.Server) bool {
	x, y := *a, *b
	x.Prefix, y.Prefix = nil, nil
	x.Pin, y.Pin, x.Tools, y.Tools = "", "", nil, nil // lists are taken anew by them
	x.Cache, y.Cache = v1.ServerCache{}, v1.ServerCache{}
	x.Fallback, y.Fallback = v1.Fallback{}, v1.Fallback{}
	x.Labels, y.Labels, x.Tenants, y.Tenants = nil, nil, nil, nil
	x.Timeouts, y.Timeouts, x.Retries, y.Retries = v1.Timeouts{}, v1.Timeouts{}, v1.Retries{}, v1.Retries{}
	x.Hedge, y.Hedge, x.ListTTL, y.ListTTL = 0, 0, 0, 0
	return reflect.DeepEqual(x, y)
}

// acquire takes the present world and keeps it from ending.
func (g *Gateway) acquire() *world {
	for {
		w := g.world.Load()
		w.refs.Add(1)
		if g.world.Load() == w {
			return w
		}
		g.release(w)
	}
}

func (g *Gateway) release(w *world) {
	if w.refs.Add(-1) == 0 {
		w.settle()
	}
}

func (w *world) settle() {
	if w.old.Load() && w.refs.Load() == 0 {
		w.idleOne.Do(func() { close(w.idle) })
	}
}

// Close ends all servers and waits for them. No exchange may be under way.
func (g *Gateway) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.closing)
	g.Drain()
	g.parking.close()
	var wg sync.WaitGroup
	for _, m := range g.world.Load().order {
		wg.Go(func() {
			g.end(m)
		})
	}
	wg.Wait()
	g.hub.closeAfar()
	g.retired.Wait()
}

// HandDown has calls of other replicas that are for an instance here wait there until it has ended, when another replica starts
// the next one. Those under way go on.
func (g *Gateway) HandDown() { g.handing.Store(true) }

// Yield ends the instances that callers have of their own, so that other replicas can start them at once. No exchange may be
// under way.
func (g *Gateway) Yield() {
	var wg sync.WaitGroup
	for _, m := range g.world.Load().order {
		if m.family != nil {
			wg.Go(m.family.pool.Close)
		}
	}
	wg.Wait()
}

// Status tells the state of every server, by name.
func (g *Gateway) Status() map[string]upstream.Status {
	w := g.acquire()
	defer g.release(w)
	out := make(map[string]upstream.Status, len(w.order))
	for _, m := range w.order {
		out[m.Name] = m.status()
	}
	return out
}

// Warm asks every server for its lists in the background, so that the first client need not wait for them.
func (g *Gateway) Warm(ctx context.Context) {
	w := g.acquire()
	defer g.release(w)
	var wg sync.WaitGroup
	for _, m := range w.order {
		if m.family != nil && m.family.personal() {
			continue // there is nobody yet whose lists to ask for
		}
		wg.Go(func() {
			_, _ = g.lists(ctx, m, mcp.MethodToolsList)
		})
	}
	wg.Wait()
}
