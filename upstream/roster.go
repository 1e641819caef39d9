package upstream

import (
	"container/list"
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

const (
	asidesMost = 4           // instances of a server beyond those that it may have, each for one call at a time
	asideIdle  = time.Minute // an unused one is stopped after this
)

// roster is the instances of one isolation key and the calls that wait for one of them.
//
// A call takes room in the instance with the fewest calls, or waits its turn; instances are started, one at a time, while
// calls wait and more are allowed. Besides, a legacy server has asides, each of which carries out one call at a time: they take
// the calls that come while a call waits for its client's answers in every other instance. There nobody could tell whose the
// next question is, so that one client that never answers would keep all others from being asked; and an instance that takes
// one call at a time would be lost to all.
type roster struct {
	s       *Server
	launch  func(ctx context.Context, st *seat) error // starts the instance of a seat
	room    int32                                     // calls at once in one instance
	most    int                                       // instances, without asides
	least   int
	fast    atomic.Pointer[seat] // the only instance, when there is one
	waiting atomic.Int32         // calls in the queue

	mu      sync.Mutex
	lasting time.Duration // asideIdle, but for tests
	seats   []*seat
	queue   list.List // of *waiter, first come first
	kinds   [3]int    // how many of each kind are in it
	tickets uint64
	opening *opening // the start under way
	fresh   *seat    // has just come up, while those who waited for it are seen to
	later   [2]time.Time
	peer    *Peer         // what the server said last; nil when it must be asked
	asleep  chan struct{} // closed at waking; nil while awake
}

// seat is one instance of a roster, with the room that calls take in it.
type seat struct {
	r      *roster
	in     *instance
	aside  bool
	load   atomic.Int32 // calls that take room
	parked atomic.Int32 // calls that wait for their clients; where one call at a time is sent, they take room as well
	used   atomic.Int64 // on the clock: the end of the last call
	tasks  atomic.Int64 // on the clock: until when a task may run that was begun here
	last   atomic.Bool  // it crashed, and no other was left
	ready  time.Duration
	begun  time.Duration // on the clock: its start, once there was room for it
	give   func()        // back the room of the process
}

// retiring is the load of a seat that takes no more calls.
const retiring = math.MaxInt32 / 2

// opening is one start of an instance.
type opening struct {
	done  chan struct{}
	began time.Time
	err   error // set before done is closed
}

func newRoster(s *Server, launch func(context.Context, *seat) error) *roster {
	r := &roster{s: s, launch: launch, room: int32(min(int(s.spec.Pool.Concurrency), retiring-1)), most: 1, lasting: asideIdle}
	if r.room <= 0 {
		r.room = retiring - 1
	}
	if s.opts.Key == "" {
		r.least = min(s.spec.Pool.Min, 1)
	}
	if s.opts.Key == "" && s.isolation() == v1.IsolationShared {
		r.most = max(s.spec.Pool.Max, 1)
		r.least = min(s.spec.Pool.Min, r.most)
	}
	return r
}

// epoch is where the clock starts; durations since then are cheaper to read than times.
var epoch = time.Now()

func clock() time.Duration { return time.Since(epoch) }

// take takes room for a call, if there is some.
func (st *seat) take(most int32) bool {
	for {
		n := st.load.Load()
		if n >= most {
			return false
		}
		if st.load.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave gives room back. It does nothing where there are no seats.
func (st *seat) leave() {
	if st == nil {
		return
	}
	st.load.Add(-1)
	if st.r.waiting.Load() > 0 {
		st.r.turn()
	}
}

// park keeps a call that waits for its client, and unpark ends that. Both do nothing where there are no seats.
func (st *seat) park() {
	if st == nil {
		return
	}
	st.parked.Add(1)
	if !st.r.serial() {
		st.leave()
	} else if st.r.waiting.Load() > 0 {
		st.r.turn() // an aside can take what waits
	}
}

func (st *seat) unpark(goesOn bool) {
	if st == nil {
		return
	}
	if goesOn && !st.r.serial() {
		st.load.Add(1)
	}
	st.parked.Add(-1)
	switch {
	case !goesOn && st.r.serial():
		st.leave()
	case st.r.waiting.Load() > 0:
		st.r.turn()
	}
}

// vacant takes a seat for one call alone.
func (st *seat) vacant() bool {
	return st.parked.Load() == 0 && st.load.CompareAndSwap(0, 1)
}

func (r *roster) serial() bool { return r.room == 1 }

// enter takes room for a call, which gives it back with leave.
func (r *roster) enter(ctx context.Context, c *Call) (*seat, error) {
	if st := r.fast.Load(); st != nil && r.waiting.Load() == 0 && st.parked.Load() == 0 && st.take(r.room) {
		return st, nil
	}
	return r.wait(ctx, c, &waiter{asks: mayBeAsked(c)})
}

// own takes room for a request of the gateway itself, which counts only where one request at a time is sent.
func (r *roster) own(ctx context.Context, st *seat) error {
	if !r.serial() || st.take(r.room) {
		return nil
	}
	_, err := r.wait(ctx, nil, &waiter{only: st})
	return err
}

// done ends what own began.
func (r *roster) done(st *seat) {
	if r.serial() {
		st.leave()
	}
}

func mayBeAsked(c *Call) bool {
	switch c.In.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead:
		return c.abilities() != 0
	}
	return false
}

// place finds room for a call, or has an instance started for it. Called with mu held.
func (r *roster) place(w *waiter) *seat {
	if w.only != nil {
		if w.only.take(r.room) {
			return w.only
		}
		return nil
	}
	best, free, parked := r.lightest()
	if free != nil && free.take(r.room) {
		return free
	}
	if parked && (w.asks || r.serial()) && r.splits() {
		if st := r.vacancy(); st != nil {
			return st
		}
		if r.another() || r.opening != nil || r.more(true) {
			return nil
		}
	}
	if best != nil && (free == nil || !w.asks) && best.take(r.room) {
		return best
	}
	r.another()
	return nil
}

// lightest finds the seat with the fewest calls, and that of those in which no call waits for its client. Called with mu held.
func (r *roster) lightest() (best, free *seat, parked bool) {
	for _, st := range r.seats {
		if st.aside {
			continue
		}
		if best == nil || st.load.Load() < best.load.Load() {
			best = st
		}
		if st.parked.Load() > 0 {
			parked = true
		} else if free == nil || st.load.Load() < free.load.Load() {
			free = st
		}
	}
	return best, free, parked
}

// splits tells whether calls may go to different instances: a process knows only its own tasks.
func (r *roster) splits() bool { return r.peer == nil || !r.peer.HasTasks() }

// vacancy finds an aside that does nothing. Called with mu held.
func (r *roster) vacancy() *seat {
	for _, st := range r.seats {
		if st.aside && st.vacant() {
			return st
		}
	}
	return nil
}

// another has a further instance started, if there may be one. Called with mu held.
func (r *roster) another() bool {
	n := r.count(false)
	if n > 0 && (n >= r.most || !r.splits()) {
		return false
	}
	return n == 0 && r.begin(false) || r.more(false)
}

// more has an instance started besides others, unless that failed a short time ago. Called with mu held.
func (r *roster) more(aside bool) bool {
	most := r.most
	if aside {
		most = asidesMost
	}
	return r.count(aside) < most && !time.Now().Before(r.later[laterOf(aside)]) && r.begin(aside)
}

func laterOf(aside bool) int {
	if aside {
		return 1
	}
	return 0
}

func (r *roster) count(aside bool) int {
	n := 0
	for _, st := range r.seats {
		if st.aside == aside {
			n++
		}
	}
	return n
}

// begin has an instance started; true when a start is under way. Called with mu held.
func (r *roster) begin(aside bool) bool {
	if r.opening != nil {
		return true
	}
	o := &opening{done: make(chan struct{}), began: time.Now()}
	if !r.s.spawn(func(ctx context.Context) { r.run(ctx, o, &seat{r: r, aside: aside}) }) {
		return false // who waits is told by the end of the server's life
	}
	r.opening = o
	return true
}

// run starts an instance and tells those who wait for it.
func (r *roster) run(ctx context.Context, o *opening, st *seat) {
	err := r.launch(ctx, st)
	r.mu.Lock()
	slept := r.asleep != nil
	if slept {
		close(r.asleep)
		r.asleep = nil
	}
	r.opening = nil
	if err == nil && st.in.over() {
		err = r.s.errorf(errs.Unavailable, "process ended right after its start (%s)", st.in.p.fate())
	}
	if err == nil {
		r.join(st)
		r.fresh = st
	} else {
		r.failed(st, err)
	}
	r.turnLocked()
	r.fresh = nil
	r.mu.Unlock()
	o.err = err
	close(o.done)
	if st.aside {
		return
	}
	switch {
	case err == nil && slept:
		r.s.woke(st.in.peer)
	case err == nil:
		r.s.setReady(st.in.peer)
	case slept:
		r.s.fail(err)
	}
}

// join takes a started instance in. Called with mu held.
func (r *roster) join(st *seat) {
	now := clock()
	st.used.Store(int64(now))
	r.seats = append(r.seats, st)
	if !st.aside {
		r.peer = st.in.peer
	}
	for e := r.queue.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*waiter); w.cold && w.up == 0 {
			w.up, w.starts = now, now-w.began
		}
	}
	r.settle()
}

// failed deals with a start that failed: where there are other instances, what waits goes there. Called with mu held.
func (r *roster) failed(st *seat, err error) {
	if !st.aside && r.count(false) == 0 {
		r.peer = nil
		r.refuseAll(err)
		return
	}
	r.later[laterOf(st.aside)] = time.Now().Add(retryMost)
	r.s.warnings.warn(r.s.log, "further process not started", "error", err)
}

// lost takes an instance out that has ended or does not live, unless that was done already; count is called before another one
// is started in its place. It tells whether it was the last one that calls share.
func (r *roster) lost(st *seat, count func()) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.seats, st) {
		count()
	}
	return r.remove(st)
}

// remove takes an instance out. Called with mu held.
func (r *roster) remove(st *seat) (last bool) {
	i := slices.Index(r.seats, st)
	if i < 0 {
		return false
	}
	r.seats = slices.Delete(r.seats, i, i+1)
	r.settle()
	if last = !st.aside && r.count(false) == 0; last {
		r.peer = nil
	}
	r.turnLocked()
	return last
}

// settle finds the way that calls take when nothing special is up. Called with mu held.
func (r *roster) settle() {
	var only *seat
	for _, st := range r.seats {
		if st.aside {
			continue
		}
		if only != nil {
			only = nil
			break
		}
		only = st
	}
	r.fast.Store(only)
}

// lead is the instance that is watched, and that says what the server is; nil when there is none.
func (r *roster) lead() *seat {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, st := range r.seats {
		if !st.aside {
			return st
		}
	}
	return nil
}

// known waits until it is known what the server is. That of a server which sleeps is what it said before.
func (r *roster) known(ctx context.Context) (*Peer, error) {
	for {
		r.mu.Lock()
		peer, o := r.peer, r.opening
		if peer == nil && (o != nil || r.begin(false)) {
			o = r.opening
		}
		r.mu.Unlock()
		if peer != nil {
			return peer, nil
		}
		if o == nil {
			return nil, r.s.closedError()
		}
		if err := o.await(ctx); err != nil {
			return nil, err
		}
	}
}

// awake waits until an instance runs, which is started when there is none.
func (r *roster) awake(ctx context.Context) error {
	r.mu.Lock()
	if r.count(false) > 0 {
		r.mu.Unlock()
		return nil
	}
	if r.opening == nil && !r.begin(false) {
		r.mu.Unlock()
		return r.s.closedError()
	}
	o := r.opening
	r.mu.Unlock()
	return o.await(ctx)
}

// sleeping gives the channel that is closed when the server wakes; nil while it is awake.
func (r *roster) sleeping() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asleep
}

func (o *opening) await(ctx context.Context) error {
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retire takes a seat out that is not needed: nothing is in flight there, and enough others are left. For the last one sleep
// tells that nobody wants it to stay.
func (r *roster) retire(st *seat, sleep bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.count(false)
	if !st.aside && (n <= r.least || n == 1 && !sleep || n > 1 && r.fronts(st)) || r.queue.Len() > 0 {
		return false
	}
	if !st.load.CompareAndSwap(0, retiring) {
		return false
	}
	if st.parked.Load() > 0 || st.in.busyAtAll() {
		st.load.Add(-retiring)
		return false
	}
	peer := r.peer
	if r.remove(st) {
		r.peer, r.asleep = peer, make(chan struct{})
	}
	return true
}

// fronts tells whether a seat is the lead. Called with mu held.
func (r *roster) fronts(st *seat) bool {
	i := slices.IndexFunc(r.seats, func(other *seat) bool { return !other.aside })
	return i >= 0 && r.seats[i] == st
}

// spareTime is how long an instance is kept that has no calls; 0 for ever.
func (r *roster) spareTime(st *seat) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if st.aside {
		return r.lasting
	}
	return time.Duration(r.s.spec.Pool.Idle)
}

// busy tells whether an instance does something that would be lost if it were stopped.
func (r *roster) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.queue.Len() > 0 {
		return true
	}
	now := clock()
	for _, st := range r.seats {
		if st.load.Load() > 0 || st.parked.Load() > 0 || now < time.Duration(st.tasks.Load()) {
			return true
		}
	}
	return false
}
