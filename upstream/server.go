package upstream

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
	"github.com/toolcrib/toolcrib/runner/launch"
)

// Client is what a server may need to know of the client that a call is for.
type Client struct {
	// Modern tells the era of the client, and with it the shape an answer must have.
	Modern bool `json:"modern"`
	// Info is the raw JSON of the client's Implementation; nil when unknown.
	Info []byte `json:"info,omitempty"`
	// Capabilities is the raw JSON of its ClientCapabilities; nil when unknown.
	Capabilities []byte `json:"capabilities,omitempty"`
	// LogLevel is the least severe log level the client asked for; empty when it asked for none.
	LogLevel string `json:"logLevel,omitempty"`
}

// Call is one request on its way to a server. Nothing in it is changed by the server it goes to.
type Call struct {
	// In is the request as the client sent it.
	In *mcp.Raw
	// Rename, when present, is replaced in the body by RenameTo (raw JSON): the server's own name instead of the shown one.
	Rename   mcp.Span
	RenameTo []byte
	// Name is the decoded name or uri that Mcp-Name mirrors; nil when the method mirrors none.
	Name []byte
	// Session tells apart the callers that must not share a legacy session.
	Session string
	// Client is who asks.
	Client *Client
	// Who tells the server for whom the call is; nil where it is not told, or for nobody.
	Who Statement
	// From holds the client's HTTP headers, one of which may choose the instance; may be nil.
	From http.Header
	// Header holds the client's HTTP headers, of which Mcp-Param-* go on to a modern HTTP server; may be nil.
	Header http.Header
	// Params are the header bindings of the called tool, where the client did not send the headers itself, or not all of them.
	Params []mcp.Param
	// State, when present, is the value of params.requestState and is replaced by StateTo (raw JSON), the server's own; where that is
	// empty, the server has none, and the member is left out.
	State   mcp.Span
	StateTo []byte
	// Add are raw members to put into params, such as "inputResponses":{…}; nil for none.
	Add []byte
	// Tasks lets the server carry a tools/call out as a task: a modern server is told that its client understands task handles,
	// a legacy one gets params.task, which is taken from it otherwise.
	Tasks bool
	// Resume continues the parked call of that number with Answers, instead of sending the request.
	Resume  uint64
	Answers []Answer
	// Parked is set by Do when a legacy server asked something in the middle of the call: out then holds an input_required
	// result without requestState, and the call waits at the server until it is resumed under this number or abandoned.
	Parked uint64
	// Repeatable says that the tool may be called twice in place of once.
	Repeatable bool
	// vain: to send it again is in vain; late: its answer did not begin in time. Both are of the last attempt.
	vain, late bool
	tried      bool // it was given to a server
	// Limits are those of the tool that is called.
	Limits Limits
	// Spent is how much of the time that it has as a whole it took before: what was asked of its client came between. Do adds to it
	// where there is such a bound.
	Spent time.Duration
	// Trace notes what is sent, and has it told of the trace; nil does neither.
	Trace *trace.Record
	// attempt is what is being sent.
	attempt *trace.Attempt
	// Timing is added to by Do, but for the transport.
	Timing  Timing
	seat    *seat   // the instance that it was sent to; nil where there are none
	told    float64 // the progress that the client was told of, where it had to wait or is called again
	seen    float64 // the most that the server told before that
	last    *site   // where it failed, so that it is sent elsewhere when it is tried again
	tooMuch bool    // the server answered that it is overloaded
	// opening: the call is part of finding out what the server is, which has a time limit of its own.
	opening bool
	// Notify receives the notifications that belong to the call, before the answer; nil drops them. The message is valid
	// only during the call of Notify.
	Notify func(*mcp.Raw)
}

// Limits are time limits of a call in place of the server's own; a zero one is the server's.
type Limits struct{ Idle, FirstByte, Total Limit }

// Limit is a time limit, and the key of the server's tools that it is of.
type Limit struct {
	Time time.Duration
	Of   string
}

// key is that of the limit in the configuration of the server.
func (l Limit) key(name string) string {
	if l.Time == 0 {
		return "timeouts." + name
	}
	return "tools." + l.Of + ".timeouts." + name
}

// State is where a server stands.
type State string

// The states of a server.
const (
	StateStarting State = "starting"
	StateReady    State = "ready"
	StateFailed   State = "failed"
	StateStopped  State = "stopped"
	// StateIdle: no process runs since nobody calls; the next call starts one.
	StateIdle State = "idle"
)

// Status is a server's state, since when, and why.
type Status struct {
	State  State     `json:"state"`
	Since  time.Time `json:"since"`
	Reason string    `json:"reason,omitempty"`
	Era    string    `json:"era,omitempty"`
	// Instances are those of a server that is reached by url, where they are told apart.
	Instances []InstanceStatus `json:"instances,omitempty"`
	// Concurrency is the adaptive bound; nil where there is none.
	Concurrency *ConcurrencyStatus `json:"concurrency,omitempty"`
	// Told is the reason as callers may read it.
	Told string `json:"-"`
}

// Peer is what a server said of itself when it was probed.
type Peer struct {
	// Modern tells whether the server speaks 2026-07-28; Version is what was agreed with it.
	Modern  bool
	Version string
	// Capabilities, Info and Instructions are raw JSON; nil when the server gave none.
	Capabilities, Info, Instructions []byte

	stream bool // it is reached over HTTP+SSE
}

// Options are what a Server needs besides its configuration.
type Options struct {
	// Zone is where this replica runs; empty where that is not known.
	Zone string
	// Name is the server's name in the configuration; Version the gateway's, told to servers.
	Name, Version string
	// Isolation says which callers share this Server, as it was derived; that of the configuration when empty.
	Isolation string
	// Key is the isolation key whose callers share this Server; empty where all do.
	Key string
	// Who is the caller that env, args, cwd, url and headers refer to; nil where they refer to none.
	Who *v1.Caller
	// Present is the configuration as it is by now: its time limits, retries and hedge count in place of those that the Server was
	// opened with. It is nil where that does not change.
	Present *atomic.Pointer[v1.Server]
	// Own is what requests of nobody in particular tell the server, such as those for lists; nil for nothing.
	Own Statement
	Log *slog.Logger
	// Guard is the argv of the guard process for children; nil for none.
	Guard []string
	// Launch decides what is started for a command or a package; nil starts commands as they are and leaves packages to
	// their launchers.
	Launch *launch.Launcher
	// Confine is the argv of the launcher that confines children; nil refuses servers that need it.
	Confine []string
	// Room is asked before each start of a child process, with whether it is one beside others for calls that those cannot take;
	// give is called when the process has ended. An error refuses the start. Nil always has room.
	Room func(ctx context.Context, aside bool) (give func(), err error)
	// Journal keeps what the server's processes print; may be nil.
	Journal *runner.Journal
	// MaxBytes and MaxDepth bound a message; zero means the defaults of mcp.Limits.
	MaxBytes, MaxDepth int
	// Changed is called when the server says that a list changed; nil ignores it.
	Changed func(mcp.Method)
	// Doubted is called when lists may have changed, and Changed is likely to follow; nil ignores it.
	Doubted func(Lists)
	// Woken is called when there is a process again after the last one was stopped since nobody called: it may list other things.
	// Nil ignores it.
	Woken func()
	// Noticed is called with what the server says of resources and tasks that are watched, which is valid only during the
	// call; nil ignores it.
	Noticed func(*mcp.Raw)
	// WatchBegan is called when a watch begins anew, with the lists that are watched from now on: what the server told
	// before may have been missed. Nil ignores it.
	WatchBegan func(Lists)
	// WatchedAnew is called with resources that the server tells of from then on, before they count as watched: changes before
	// that were not told. Nil ignores it.
	WatchedAnew func(uris []string)
	// StateChanged is called after each change of state, one at a time; nil ignores it.
	StateChanged func(State)
	// Restarted is called each time a child process is started again after one crashed; nil ignores it.
	Restarted func()
	// Started is called after each start of a child process, with how long it took until the handshake was over, or why it
	// failed; nil ignores it.
	Started func(took time.Duration, err error)
	// Crashed is called each time a child process ended that was not to end, with the kind of its end: start, liveness, or as
	// [runner.ExitError.Reason] has it; nil ignores it.
	Crashed func(reason string)
	// Refused is called for each call that found no instance: because of the bound of the queue, or of the wait; nil ignores it.
	Refused func(reason string)
	// Retried is called for each repetition of a request, with what came of it: again, hedge (beside the first), hedge_won, or budget
	// for one that was not made; nil ignores it.
	Retried func(outcome string)
	// SessionClosed is called when a legacy session over HTTP is ended, with how long it lasted; nil ignores it.
	SessionClosed func(lasted time.Duration)
}

// link is how one server is reached.
type link interface {
	// ready returns when the server can be called, or why it cannot.
	ready(ctx context.Context) (*Peer, error)
	do(ctx context.Context, c *Call, out *mcp.Raw) error
	// forget drops what was learned by probing.
	forget()
	close()
	// attend watches the server, of which p was found out, until the watch is over, and tells why.
	attend(ctx context.Context, p *Peer, w *watcher) error
}

// Server is one configured MCP server.
type Server struct {
	spec *v1.Server
	// present is what of spec can change, as it is by now.
	present *atomic.Pointer[v1.Server]
	opts    Options
	log     *slog.Logger
	link    link

	ids    atomic.Int64
	parked parkedCalls
	watch  watcher
	status atomic.Pointer[Status]
	broken chan struct{}
	// calls is how many requests it was sent for callers, flying how many of them are under way; counted where it has a key.
	calls, flying atomic.Int64
	budget        budget // of repetitions
	// warnings are those that a server can cause as often as it likes.
	warnings throttle

	ctx    context.Context //nolint:containedctx // the life of what Open started
	cancel context.CancelFunc
	states sync.Mutex // one change of state at a time
	mu     sync.Mutex // guards closed against wg.Add
	closed bool
	wg     sync.WaitGroup
	// dormant: it starts nothing.
	dormant bool
}

// Open starts to look after a server: it is probed (and, for stdio, started) in the background until Close.
func Open(spec *v1.Server, o Options) *Server {
	s := prepare(spec, o)
	s.setState(StateStarting)
	s.link = s.newLink()
	s.spawn(s.supervise)
	return s
}

func (s *Server) newLink() link {
	if s.spec.Type == v1.TypeStdio {
		return newStdio(s)
	}
	spec, err := s.spec.For(s.opts.Who)
	if err != nil {
		return noLink{s, s.errorf(errs.Unavailable, "is not reached: %w", err)}
	}
	if s.spec = spec; spec.Type == v1.TypeSSE {
		return newSSE(s)
	}
	return newHTTP(s)
}

func prepare(spec *v1.Server, o Options) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Present == nil {
		o.Present = new(atomic.Pointer[v1.Server])
		o.Present.Store(spec)
	}
	s := &Server{spec: spec, present: o.Present, opts: o, log: o.Log.With("server", o.Name), ctx: ctx, cancel: cancel, broken: make(chan struct{}, 1)}
	s.watch.init()
	s.watch.anew = o.WatchedAnew
	return s
}

// Name is the server's name in the configuration.
func (s *Server) Name() string { return s.opts.Name }

// Status is the server's present state.
func (s *Server) Status() Status {
	st := *s.status.Load()
	switch l := s.link.(type) {
	case *httpLink:
		st.Instances, st.Concurrency = l.sites.status(), l.bound.status()
	case *sseLink:
		st.Instances = l.sites.status()
	}
	return st
}

// Peer waits until the server was probed and tells what it said of itself.
func (s *Server) Peer(ctx context.Context) (*Peer, error) { return s.link.ready(ctx) }

// HTTP tells whether the server is reached over HTTP.
func (s *Server) HTTP() bool { return s.spec.Type != "stdio" }

// Do sends a call and waits for its answer, which out then holds with the client's id put in again.
// The error names the server and what failed; an error that the server answered is no error here but out's.
// When ctx ends the call is cancelled at the server.
// An end of ctx while the call is parked changes nothing.
func (s *Server) Do(ctx context.Context, c *Call, out *mcp.Raw) error {
	c.Parked = 0
	if s.opts.Key != "" {
		s.calls.Add(1)
		s.flying.Add(1)
		defer s.flying.Add(-1)
	}
	c.Who = s.who(c)
	began, waited := clock(), c.Timing.Queue+c.Timing.Start
	err := s.Within(ctx, c, func(ctx context.Context) error {
		if c.Resume != 0 {
			return s.resume(ctx, c, out)
		}
		if late := time.Duration(s.present.Load().Hedge); late > 0 && c.In.Method.Facts().List {
			return s.hedged(ctx, c, out, late)
		}
		return s.try(ctx, c, out)
	})
	now := clock()
	c.Timing.Server += now - began - (c.Timing.Queue + c.Timing.Start - waited)
	if c.seat != nil && !c.rechecks() {
		c.seat.used.Store(int64(now))
	}
	c.seat = nil
	return err
}

// rechecks tells a request of the gateway that only looks whether a list is as it was: it is no use of the server.
func (c *Call) rechecks() bool { return c.Session == "" && c.In.Method.Facts().List }

// Abandon ends a parked call that nobody will resume: it is cancelled at the server. It does nothing when there is none.
func (s *Server) Abandon(parked uint64) { s.parked.abandon(parked) }

// Queued tells how many calls wait for an instance.
func (s *Server) Queued() int {
	if l, ok := s.link.(*stdioLink); ok {
		return l.roster.queued()
	}
	return 0
}

// Busy tells whether something would be lost if the server were stopped: a call under way or parked, a task, or a watch of
// what is told only while it runs.
func (s *Server) Busy() bool {
	if s.watch.needs() || s.Parked() > 0 {
		return true
	}
	l, ok := s.link.(*stdioLink)
	return ok && l.roster.busy()
}

// Parked tells how many calls wait at the server for answers of clients.
func (s *Server) Parked() int { return s.parked.count() }

// Leave ends what is kept for a caller (Call.Session) that will not come again.
func (s *Server) Leave(caller string) {
	if l, ok := s.link.(interface{ depart(caller string) }); ok {
		l.depart(caller)
	}
}

// Close stops the server's child or sessions and waits for everything it started.
func (s *Server) Close() {
	s.mu.Lock()
	done := s.closed
	s.closed = true
	s.mu.Unlock()
	if done {
		return
	}
	s.cancel()
	s.parked.close()
	s.link.close()
	s.wg.Wait()
	s.setState(StateStopped)
}

// spawn runs f in a goroutine that Close waits for; false after Close.
func (s *Server) spawn(f func(context.Context)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.dormant {
		return false
	}
	s.wg.Go(func() {
		f(s.ctx)
	})
	return true
}

// throttle lets one warning a second through and counts the others.
type throttle struct {
	next    atomic.Int64 // unix nanoseconds
	skipped atomic.Int64
}

func (t *throttle) warn(log *slog.Logger, msg string, args ...any) {
	now := time.Now().UnixNano()
	next := t.next.Load()
	if now < next || !t.next.CompareAndSwap(next, now+int64(time.Second)) {
		t.skipped.Add(1)
		return
	}
	if n := t.skipped.Swap(0); n > 0 {
		args = append(args, "suppressed", n)
	}
	log.Warn(msg, args...)
}

const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 30 * time.Second
)

// supervise brings the server up, and up again each time it broke, with growing pauses.
func (s *Server) supervise(ctx context.Context) {
	var pause time.Duration
	for ctx.Err() == nil {
		s.drainBroken()
		peer, err := s.link.ready(ctx)
		if err == nil {
			pause = 0
			s.setReady(peer)
			select {
			case <-ctx.Done():
			case <-s.broken:
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		s.setFailed(err)
		pause = min(max(2*pause, retryFirst), retryMost)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (s *Server) drainBroken() {
	select {
	case <-s.broken:
	default:
	}
}

// fail records that the server broke; what was learned of it is forgotten and it is probed anew.
func (s *Server) fail(err error) {
	s.link.forget()
	s.setFailed(err)
	select {
	case s.broken <- struct{}{}:
	default:
	}
}

func (s *Server) setReady(p *Peer) {
	s.states.Lock()
	defer s.states.Unlock()
	if s.asleep() {
		return
	}
	was := s.Status()
	era := p.era()
	if was.State == StateReady && was.Era == era {
		return
	}
	s.store(Status{State: StateReady, Since: time.Now(), Era: era})
	poke(s.watch.up)
	s.log.Info("server ready", "era", era, "version", p.Version)
}

// asleep tells whether no process runs since nobody calls.
func (s *Server) asleep() bool {
	l, ok := s.link.(*stdioLink)
	return ok && l.roster.sleeping() != nil
}

// slept records that the last process was stopped, unless there is one again.
func (s *Server) slept(p *Peer) {
	s.states.Lock()
	defer s.states.Unlock()
	if s.asleep() {
		s.store(Status{State: StateIdle, Since: time.Now(), Era: p.era()})
		s.log.Info("server idle: the last process was stopped")
	}
}

// woke records that there is a process again.
func (s *Server) woke(p *Peer) {
	if s.opts.Woken != nil {
		s.opts.Woken()
	}
	s.setReady(p)
}

// isolation says which callers share the server.
func (s *Server) isolation() string {
	switch {
	case s.opts.Isolation != "":
		return s.opts.Isolation
	case s.spec.Isolation != "":
		return s.spec.Isolation
	}
	return v1.IsolationShared
}

func (s *Server) crashed(reason string) {
	if s.opts.Crashed != nil {
		s.opts.Crashed(reason)
	}
}

func (s *Server) refused(reason string) {
	if s.opts.Refused != nil {
		s.opts.Refused(reason)
	}
}

func (s *Server) setFailed(err error) {
	s.states.Lock()
	defer s.states.Unlock()
	was := s.Status()
	if s.ctx.Err() != nil {
		return
	}
	reason := errs.Full(err)
	if was.State != StateFailed || was.Reason != reason {
		s.log.Warn("server failed", "error", reason)
	}
	since := time.Now()
	if was.State == StateFailed {
		since = was.Since
	}
	s.store(Status{State: StateFailed, Since: since, Reason: reason, Told: err.Error()})
}

func (s *Server) setState(st State) {
	s.states.Lock()
	defer s.states.Unlock()
	s.store(Status{State: st, Since: time.Now()})
}

func (s *Server) store(st Status) {
	s.status.Store(&st)
	if s.opts.StateChanged != nil {
		s.opts.StateChanged(st.State)
	}
}

// timeouts are the time limits that count now.
func (s *Server) timeouts() *v1.Timeouts { return &s.present.Load().Timeouts }

// lists tells whether a call is bounded by timeouts.list.
func (c *Call) lists() bool { return c.In.Method.Facts().List || c.In.Method == mcp.MethodListen }

// patience is how long the server may be silent before a call is given up.
func (s *Server) patience(c *Call) time.Duration {
	t := s.timeouts()
	switch {
	case c.opening:
		return time.Duration(t.Start) + time.Second // the context of the opening ends before, and says so
	case c.lists():
		return time.Duration(t.List)
	}
	return cmp.Or(c.Limits.Idle.Time, time.Duration(t.Idle))
}

// overture is how long the server may take for the first byte of its answer, where it may be silent for limit.
func (s *Server) overture(c *Call, limit time.Duration) time.Duration {
	first := cmp.Or(c.Limits.FirstByte.Time, time.Duration(s.timeouts().FirstByte))
	switch {
	case first == 0 || c.opening || c.Resume != 0:
		return limit
	case c.lists():
		return min(first, limit)
	}
	return first
}

// late says that the server has not begun to answer.
func (s *Server) late(c *Call, limit time.Duration, complaint string) error {
	first := s.overture(c, limit)
	if first == limit {
		return s.silent(c, limit, complaint)
	}
	c.late = true
	return s.errorf(errs.Timeout, "did not begin to answer within %s%s; raise %s if it needs longer", first, complaint, c.Limits.FirstByte.key("firstByte"))
}

// total bounds a call as a whole; 0 for no bound.
func (s *Server) total(c *Call) time.Duration {
	return cmp.Or(c.Limits.Total.Time, time.Duration(s.timeouts().Total))
}

// errOvertime is why a call ends that took longer than it may as a whole.
var errOvertime = errors.New("the call takes too long")

// Within does what f does within what is left of the time that the call has as a whole.
func (s *Server) Within(ctx context.Context, c *Call, f func(context.Context) error) error {
	total := s.total(c)
	if total == 0 {
		return f(ctx)
	}
	began, spent := clock(), c.Spent
	ctx, stop := context.WithTimeoutCause(ctx, total-spent, errOvertime)
	defer stop()
	err := f(ctx)
	c.Spent = spent + clock() - began
	if err != nil && errors.Is(context.Cause(ctx), errOvertime) {
		return s.errorf(errs.Timeout, "took longer than %s as a whole; raise %s if it needs longer", total, c.Limits.Total.key("total"))
	}
	return err
}

// silent says that the server was silent for too long.
func (s *Server) silent(c *Call, limit time.Duration, complaint string) error {
	knob := c.Limits.Idle.key("idle")
	switch {
	case c.opening:
		knob = "timeouts.start"
	case c.lists():
		knob = "timeouts.list"
	}
	return s.errorf(errs.Timeout, "was silent for %s%s; raise %s if it needs longer", limit, complaint, knob)
}

// maxBytes bounds a message of the server.
func (s *Server) maxBytes() int {
	if s.opts.MaxBytes > 0 {
		return s.opts.MaxBytes
	}
	return 16 << 20
}

func (s *Server) limits() mcp.Limits {
	return mcp.Limits{Bytes: s.opts.MaxBytes, Depth: s.opts.MaxDepth}
}

// errorf makes an error that names the server as the hop that failed.
func (s *Server) errorf(k errs.Kind, format string, args ...any) *errs.Error {
	return errs.E(`server "`+s.opts.Name+`"`, k, format, args...)
}

func (s *Server) closedError() error { return s.errorf(errs.Unavailable, "is being removed") }
