package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/memory"
	"github.com/toolcrib/toolcrib/cluster/redis"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/front"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/limit"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/runner/launch"
	"github.com/toolcrib/toolcrib/seal"
	"github.com/toolcrib/toolcrib/source"
	"github.com/toolcrib/toolcrib/store"
	"github.com/toolcrib/toolcrib/telemetry"
)

// Options say what Serve serves.
type Options struct {
	// File is the configuration file, which is watched; Config stands in its place when it is empty.
	File   string
	Config *v1.Config
	// Listen overrides the configured address.
	Listen string
	// AllowUnauthenticated lets an address that is not loopback serve callers without a key.
	AllowUnauthenticated bool
	// Guard is the argv of the guard process for children of stdio servers; nil for none.
	Guard []string
	// Confine is the argv of the launcher that confines children; nil refuses servers that need it.
	Confine []string
	Version string
	// Stdout takes audit records, where that is configured.
	Stdout io.Writer
	// Stderr takes the log.
	Stderr io.Writer
	// Ready is called with the base URL and the configuration once clients can connect; may be nil.
	Ready func(baseURL string, c *v1.Config)
}

const (
	watchEvery   = 500 * time.Millisecond
	headerTime   = 10 * time.Second
	idleTime     = 2 * time.Minute
	headerMost   = 64 << 10
	drainDelay   = 5 * time.Second
	gcPercent    = 400 // the heap is small; fewer collections cost memory that only load uses
	sealFileName = "seal.keys"
	// limitsFileName is the file with what is used of quotas.
	limitsFileName = "limits.json"
)

// server is everything that runs while Serve does.
type server struct {
	o        Options
	logs     *telemetry.Log
	log      *slog.Logger
	metrics  *telemetry.Metrics
	traces   *telemetry.Tracer
	pusher   *telemetry.Pusher
	present  *v1.Config // nil before the first is applied; of whoever applies configurations
	ring     atomic.Pointer[seal.Ring]
	sealKey  atomic.Pointer[time.Time] // since when its newest key is in use
	node     *cluster.Node
	backend  cluster.Backend
	store    *store.Lazy
	identity *identity.Authenticator
	tls      *tlsFiles // nil without TLS
	audit    *audit.Log
	manage   *control.API
	strain   *strain
	limits   *limit.Limiter
	gw       *gateway.Gateway
	launch   *launch.Launcher
	front    *front.Handler
	source   *source.File
	loopback bool
	started  time.Time
	base     string     // URL, without a path
	first    *v1.Config // what Serve began with
	draining atomic.Bool
	applied  atomic.Pointer[configState]
	tasks    sync.WaitGroup
	life     context.Context //nolint:containedctx // of all calls
	abort    context.CancelCauseFunc
}

// configState is how the last change of configuration went.
type configState struct {
	At    time.Time `json:"at"`
	Error string    `json:"error,omitempty"`

	good time.Time // when the present configuration was applied
}

// Serve serves until ctx ends, then lets running calls finish within the drain timeout.
func Serve(ctx context.Context, o Options) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	s := &server{o: o, started: time.Now()}
	config, err := s.load()
	if err != nil {
		return err
	}
	s.first = config
	ln, err := s.listen(ctx, config)
	if err != nil {
		return err
	}
	defer ln.Close()
	life, abort := context.WithCancelCause(context.Background())
	defer abort(nil)
	s.life, s.abort = life, abort
	if err := s.build(config); err != nil {
		return err
	}
	s.base = s.scheme() + "://" + ln.Addr().String()
	background, stop := context.WithCancel(context.Background())
	s.watch(background)
	blind := s.sight(background)
	s.meet(ctx)
	err = s.run(ctx, ln, config)
	blind()
	stop()
	s.tasks.Wait()
	s.gw.Yield()
	s.node.Refuse()
	last, cancel := context.WithTimeout(context.Background(), cutOffTime)
	s.node.Drain(last) // others hear that the instances they ask for are not here any more
	cancel()
	s.leave() // and with it ends what the gateway still does for other replicas
	s.gw.Close()
	var exports sync.WaitGroup // what each still sends takes its time
	exports.Go(s.traces.Close)
	exports.Go(s.pusher.Close)
	exports.Wait()
	s.forget()
	err = errors.Join(err, s.closeAudit())
	s.logs.Close()
	return err
}

// scheme is that of the addresses served.
func (s *server) scheme() string {
	if s.tls != nil {
		return "https"
	}
	return "http"
}

// accept serves what comes in at ln.
func (s *server) accept(h *http.Server, ln net.Listener) error {
	if s.tls == nil {
		return h.Serve(ln)
	}
	h.TLSConfig = s.tls.serving()
	return h.ServeTLS(ln, "", "")
}

func (s *server) load() (*v1.Config, error) {
	if s.o.File == "" {
		return s.o.Config, nil
	}
	s.source = &source.File{Path: s.o.File}
	return s.source.Load()
}

// listen opens the address, or takes over the socket that is open already. It must be loopback when anyone may call.
func (s *server) listen(ctx context.Context, c *v1.Config) (net.Listener, error) {
	addr := c.Listen
	if s.o.Listen != "" {
		addr = s.o.Listen
	}
	ln, err := inherited()
	if err != nil {
		return nil, err
	}
	if ln == nil {
		var lc net.ListenConfig
		if ln, err = lc.Listen(ctx, "tcp", addr); err != nil {
			return nil, fmt.Errorf("cannot listen: %w; set listen or --listen to a free address", err)
		}
	}
	tcp, ok := ln.Addr().(*net.TCPAddr)
	s.loopback = ok && tcp.IP.IsLoopback()
	if err := s.guardOpen(c); err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

func (s *server) guardOpen(c *v1.Config) error {
	if s.loopback || !c.Unguarded() || s.o.AllowUnauthenticated {
		return nil
	}
	return errors.New("listen: anyone who reaches this address could call " + permitted(c) + ": set auth.anonymous: deny, auth.apiKeys or auth.issuers, " +
		"listen on 127.0.0.1, or pass --allow-unauthenticated")
}

// permitted is what callers without a credential may call.
func permitted(c *v1.Config) string {
	if c.Policies.Any() {
		return "what policies permit to anybody"
	}
	return "everything"
}

// build makes the parts and applies the first plan.
func (s *server) build(c *v1.Config) error {
	s.logs = telemetry.NewLog(s.o.Stderr, c.Log.Format)
	s.logs.Configure(&c.Log)
	s.logs.TakeStandard()
	s.logs.TakeGRPC()
	s.log = s.logs.Logger()
	s.warn(c)
	ring, err := ring(c, c.StateDir)
	if err != nil {
		return err
	}
	s.seal(ring)
	s.metrics = telemetry.NewMetrics(s.o.Version)
	s.metrics.Bound(telemetry.BoundsOf(&c.Telemetry.Metrics))
	if err := s.join(c); err != nil {
		return err
	}
	s.traces = telemetry.NewTracer(s.o.Version, s.node.ID(), s.logger("telemetry"))
	s.metrics.Traces(s.traces)
	s.pusher = s.metrics.Pusher(s.o.Version, s.node.ID(), s.logger("telemetry"))
	s.launch = launch.New(c, s.logger("runner"))
	if s.audit, err = audit.Open(c, s.auditOptions(c)); err != nil {
		s.leave()
		return err
	}
	s.metrics.Audit(s.recording)
	s.store = openStore(c)
	s.identity = identity.New(identity.Options{Log: s.logger("identity"), Keys: s.store})
	s.limits = limit.New(limit.Options{
		Node: s.node, Refused: s.metrics.Limited, File: filepath.Join(c.StateDir, limitsFileName), Log: s.logger("limit"),
	})
	s.metrics.Limits(func() bool { _, local, _ := s.limits.Shared(); return local })
	s.gw = gateway.New(gateway.Options{
		Identity: s.identity, Audit: s.audit, Limits: s.limits, Traces: s.traces,
		Version: s.o.Version, Log: s.logger("gateway"), Calls: s.logs.Calls(), Metrics: s.metrics,
		Guard: s.o.Guard, Confine: s.o.Confine, Launch: s.launch, Node: s.node, Ring: s.ring.Load,
	})
	s.strain = newStrain()
	s.metrics.Load(s.loaded)
	s.metrics.Processes(s.processes)
	s.metrics.Quarantine(s.gw.Quarantined)
	s.metrics.CacheSize(s.gw.CacheSize)
	s.metrics.Sites(s.sites)
	s.metrics.Facts(s.facts)
	s.manage = s.management()
	s.front = front.New(front.Options{
		Gateway: s.gw, Node: s.node, Log: s.logger("front"), Metrics: s.metrics, Ring: ring, Loopback: s.loopback, Leaving: &s.draining, Life: s.life,
	})
	if s.tls, err = newTLSFiles(c.TLS, s.log, s.identity.TrustClients); err == nil {
		err = s.put(c)
	}
	if err != nil {
		s.leave()
		s.forget()
		return errors.Join(err, s.closeAudit())
	}
	s.wasApplied()
	return nil
}

// auditOptions are those of the audit log. Collectors are told of this process as they are of traces and metrics.
func (s *server) auditOptions(c *v1.Config) audit.Options {
	return audit.Options{
		Log: s.logger("audit"), Version: s.o.Version, Replica: s.node.ID(), Stdout: s.o.Stdout,
		Service: c.Telemetry.Service, Resource: c.Telemetry.Resource,
	}
}

// join makes this replica one of those that share a Redis, or the only one.
func (s *server) join(c *v1.Config) error {
	s.backend = memory.New()
	if c.Cluster != "" {
		b, err := redis.New(redis.Options{Address: c.Cluster, Log: s.logger("cluster")})
		if err != nil {
			return err
		}
		s.backend = b
	}
	s.node = cluster.New(cluster.Options{Backend: s.backend, Ring: s.ring.Load, Log: s.logger("cluster")})
	s.metrics.Cluster(func() bool { return s.node.Status().Connected })
	return nil
}

// meetTime is how long a replica that starts waits for its cluster before it serves without.
const meetTime = 2 * time.Second

// meet waits until other replicas can be reached, or are known not to be: a balancer may send to this one, as soon as it serves,
// what another holds.
func (s *server) meet(ctx context.Context) {
	timer := time.NewTimer(meetTime)
	defer timer.Stop()
	select {
	case <-s.node.Tried():
	case <-timer.C:
	case <-ctx.Done():
	}
}

// forget closes what knows the callers.
func (s *server) forget() {
	s.identity.Close()
	if err := s.store.Close(); err != nil {
		s.log.Warn("the store was not closed in good order", "error", err)
	}
}

func (s *server) leave() {
	if s.limits != nil {
		s.limits.Close() // others have what it gives back
	}
	s.node.Close()
	s.backend.Close()
}

// logger logs as a component.
func (s *server) logger(component string) *slog.Logger { return s.log.With("component", component) }

func (s *server) warn(c *v1.Config) {
	for _, w := range c.Warnings {
		s.log.Warn("configuration", "warning", w)
	}
}

// ring takes the seal keys from the configuration, else from the state directory, where the first start makes one.
func ring(c *v1.Config, stateDir string) (*seal.Ring, error) {
	if len(c.Seal.Keys) == 0 {
		r, err := seal.LoadOrCreate(filepath.Join(stateDir, sealFileName))
		if err != nil {
			return nil, fmt.Errorf("%w; set stateDir (TOOLCRIB_STATE_DIR) to a folder that can be written to, or seal.keys", err)
		}
		return r, nil
	}
	var keys [][]byte
	for _, text := range c.Seal.Keys {
		k, err := seal.ParseKeys([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("seal.keys: %w", err)
		}
		keys = append(keys, k...)
	}
	return seal.NewRing(keys...)
}

// seal has the keys of a ring be used from now on.
func (s *server) seal(r *seal.Ring) {
	s.ring.Store(r)
	since := s.sealsSince(r.Newest())
	s.sealKey.Store(&since)
}

// watch applies changes of the file as they come, and warms the lists.
func (s *server) watch(ctx context.Context) {
	s.task(func() { s.gw.Warm(ctx) })
	s.task(func() { s.bear(ctx) })
	if s.tls != nil {
		s.task(func() { often(ctx, s.tls.look) })
	}
	s.task(func() { often(ctx, s.gw.Repin) }) // what is approved meanwhile counts
	if s.source == nil {
		return
	}
	s.task(func() { s.firstKey(ctx) })
	s.task(func() { s.source.Watch(ctx, watchEvery, func(c *v1.Config, err error) { s.apply(ctx, c, err) }) })
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	s.task(func() {
		defer signal.Stop(hup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
				s.source.Reload()
			}
		}
	})
}

// often does what looks for changes, until ctx ends.
func often(ctx context.Context, look func()) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			look()
		}
	}
}

func (s *server) task(f func()) {
	s.tasks.Go(f)
}

// apply makes a changed configuration the present one, or keeps the old one and says why.
func (s *server) apply(ctx context.Context, c *v1.Config, err error) {
	var r *seal.Ring
	was := s.gw.Plan().Config.Unguarded()
	if err == nil {
		err = s.guardOpen(c)
	}
	if err == nil {
		r, err = ring(c, s.first.StateDir)
	}
	if err == nil {
		err = s.enact(c)
	}
	if err != nil {
		s.log.Error("configuration not applied; the old one stays", "error", err)
		s.applied.Store(&configState{At: time.Now(), Error: err.Error(), good: s.applied.Load().good})
		return
	}
	if c.Unguarded() && !was {
		s.log.Warn("anybody who reaches this gateway may call " + permitted(c) + " from now on; to keep it closed, set auth.anonymous: deny")
	}
	s.seal(r)
	s.front.SetRing(r)
	s.logs.Configure(&c.Log)
	s.warnUnapplied(c)
	s.warn(c)
	s.wasApplied()
	s.log.Info("configuration applied", "servers", len(c.ServerNames()))
	s.task(func() { s.gw.Warm(ctx) })
}

// wasApplied notes that the present configuration is the one last given.
func (s *server) wasApplied() {
	now := time.Now()
	s.applied.Store(&configState{At: now, good: now})
}

// enact has what is started from now on go by c, and applies it.
func (s *server) enact(c *v1.Config) error {
	was := s.gw.Plan().Config
	s.launch.Configure(c)
	err := s.put(c)
	if err != nil {
		s.launch.Configure(was)
	}
	return err
}

// put makes the plan of a configuration the present one.
func (s *server) put(c *v1.Config) error {
	p, err := plan.Compile(c)
	if err != nil {
		return err
	}
	if err := s.record(c); err != nil {
		return err
	}
	if err := s.gw.Apply(p); err != nil {
		return errors.Join(err, s.unrecord())
	}
	s.present = c
	return nil
}

// record has requests be exported and audited as a configuration says, or as before.
func (s *server) record(c *v1.Config) error {
	err := s.export(&c.Telemetry)
	if err == nil {
		err = s.audit.Configure(c)
	}
	if err != nil {
		return errors.Join(err, s.unrecord())
	}
	return nil
}

// unrecord has requests be exported and audited as the present configuration says.
func (s *server) unrecord() error {
	if s.present == nil {
		return s.export(&v1.Telemetry{})
	}
	return errors.Join(s.export(&s.present.Telemetry), s.audit.Configure(s.present))
}

// export has traces and metrics be sent as a configuration says.
func (s *server) export(c *v1.Telemetry) error {
	if err := s.traces.Configure(c); err != nil {
		return fmt.Errorf("telemetry.traces: %w", err)
	}
	if err := s.pusher.Configure(c); err != nil {
		return fmt.Errorf("telemetry.metrics: %w", err)
	}
	return nil
}

// auditTime is how long the sinks of the audit log may take to catch up in the end. What they have not got by then they get after
// the next start.
const auditTime = 5 * time.Second

func (s *server) closeAudit() error {
	last, cancel := context.WithTimeout(context.Background(), auditTime)
	defer cancel()
	if err := s.audit.Close(last); err != nil {
		s.log.Error("audit log not closed well", "error", err)
		return fmt.Errorf("the audit log was not closed well: %w", err)
	}
	return nil
}

// recording is what the metrics of the audit log are made from.
func (s *server) recording() telemetry.Audit {
	st := s.audit.Status()
	if st == nil {
		return telemetry.Audit{}
	}
	now := telemetry.Audit{
		On: true, Records: st.Sequence, Failing: st.Error != "", Cuts: st.Cuts, Intrusions: st.Foreign,
		Sinks: make([]telemetry.AuditSink, len(st.Sinks)),
	}
	for i, sink := range st.Sinks {
		now.Sinks[i] = telemetry.AuditSink{Name: sink.Name, Behind: sink.Behind, Failing: sink.Error != ""}
	}
	return now
}

// drainNode lets what runs here for clients of other replicas finish. Those who call on and on are kept waiting in the end, so
// that none of their calls is cut off.
func (s *server) drainNode(ctx context.Context, limit time.Duration) {
	serving, cancel := context.WithTimeout(ctx, limit/2)
	defer cancel()
	s.node.Drain(serving)
	s.gw.HandDown()
	s.node.Drain(ctx)
}

// cutOffTime is how long calls that are cut off may take to tell their clients so.
const cutOffTime = time.Second

func (s *server) cutOff(h *http.Server) error {
	s.abort(errs.E("gateway", errs.Draining, "the gateway is stopping and the call did not finish within drainTimeout; "+
		"its server may have carried it out, so call again only what may be done twice"))
	last, cancel := context.WithTimeout(context.Background(), cutOffTime)
	defer cancel()
	if h.Shutdown(last) == nil {
		return nil
	}
	return h.Close()
}

// warnUnapplied names what changed but takes a restart.
func (s *server) warnUnapplied(c *v1.Config) {
	for _, key := range []struct{ name, was, is string }{
		{"listen", s.first.Listen, c.Listen},
		{"tls", fmt.Sprint(s.first.TLS), fmt.Sprint(c.TLS)},
		{"log.format", s.first.Log.Format, c.Log.Format},
		{"stateDir", s.first.StateDir, c.StateDir},
		{"cluster", string(s.first.Cluster), string(c.Cluster)},
		{"store", string(s.first.Store), string(c.Store)},
	} {
		if key.was != key.is {
			s.log.Warn("changed, but takes effect only after a restart", "key", key.name)
		}
	}
}

// leaveBalancers says that this replica is stopping for as long as balancers may need to learn of it, and serves on meanwhile.
func (s *server) leaveBalancers(failed <-chan error) (ended bool, err error) {
	s.draining.Store(true)
	delay := s.drainDelay()
	if delay <= 0 {
		return false, nil
	}
	s.log.Info("stopping: not ready any more, but serving for drainDelay", "delay", delay)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case err := <-failed:
		return true, err
	case <-timer.C:
		return false, nil
	}
}

// drainDelay is how long balancers are given. On a loopback address there are none unless somebody says so.
func (s *server) drainDelay() time.Duration {
	switch d := s.gw.Plan().Config.DrainDelay; {
	case d != nil:
		return time.Duration(*d)
	case s.loopback:
		return 0
	}
	return drainDelay
}

// run serves until ctx ends and then drains.
func (s *server) run(ctx context.Context, ln net.Listener, c *v1.Config) error {
	h := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerMost,
		BaseContext:       func(net.Listener) context.Context { return s.life },
		ErrorLog:          s.logs.Foreign(),
	}
	h.RegisterOnShutdown(s.front.Drain)
	h.RegisterOnShutdown(s.manage.Drain)
	failed := make(chan error, 1)
	go func() { failed <- s.accept(h, ln) }()
	s.log.Info("serving", "url", s.base+"/mcp", "servers", len(c.ServerNames()))
	if s.o.Ready != nil {
		s.o.Ready(s.base, c)
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	if ended, err := s.leaveBalancers(failed); ended {
		return err
	}
	limit := time.Duration(s.gw.Plan().Config.DrainTimeout)
	s.log.Info("draining", "timeout", limit)
	drain, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	s.gw.Drain()
	err := h.Shutdown(drain)
	s.drainNode(drain, limit)
	if err != nil {
		s.log.Warn("calls cut off: they did not finish within drainTimeout")
		err = s.cutOff(h)
	}
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
