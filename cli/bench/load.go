package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	progressEvery = time.Second
	overtime      = 5 * time.Second // in which requests that are due may still be sent
	partingTime   = 5 * time.Second // for ending sessions
	partingAtOnce = 32
	startAhead    = 8                      // callers that an open loop begins with
	refusedPause  = 100 * time.Millisecond // of a caller of a closed loop that cannot connect
)

// Progress is how a load stands.
type Progress struct {
	Elapsed          time.Duration // negative during the warm-up
	Answered, Errors int64
	InFlight         int
	P50, P99         float64 // milliseconds
}

// load is one that is on.
type load struct {
	o   *Options
	p   *prepared
	rec *recorder

	begin, end time.Time // with the warm-up
	next       atomic.Int64
	nextCall   atomic.Int64

	mu   sync.Mutex
	idle [2][]*client // of each era; the one that was used last is the last
	all  []*client
}

// Run puts the load on and returns when it is over, or soon after ctx ends: then the report is of what was done until then.
func Run(ctx context.Context, o *Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p, err := o.prepare(ctx)
	if err != nil {
		return nil, err
	}
	l := &load{o: o, p: p}
	defer l.part(context.WithoutCancel(ctx))
	if err := l.gather(ctx); err != nil {
		return nil, err
	}
	queued := o.queue
	if queued == nil {
		queued = queueing()
	}
	l.begin = time.Now()
	l.end = l.begin.Add(o.Warmup + o.Duration)
	l.rec = newRecorder(l.begin.Add(o.Warmup), o.Duration)
	stop := l.watch()
	if o.Rate > 0 {
		l.openLoop(ctx)
	} else {
		l.closedLoop(ctx)
	}
	stop()
	return l.report(ctx.Err() != nil, queued()), nil
}

// watch calls Progress until it is stopped.
func (l *load) watch() (stop func()) {
	if l.o.Progress == nil {
		return func() {}
	}
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.o.Progress(l.rec.progress(time.Now()))
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wait.Wait() }
}

// gather has callers ready: all of a closed loop, some of an open one.
func (l *load) gather(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.o.Timeout)
	defer cancel()
	n := l.o.Concurrency
	if l.o.Rate > 0 {
		n = startAhead
	}
	turns := make(chan struct{}, partingAtOnce)
	faults := make(chan *fault, n)
	var wait sync.WaitGroup
	for i := range n {
		c := l.take(i % len(l.p.eras))
		turns <- struct{}{}
		wait.Go(func() {
			if f := c.ready(ctx); f != nil {
				faults <- f
			}
			<-turns
		})
	}
	wait.Wait()
	for i, c := range l.all {
		l.give(i%len(l.p.eras), c)
	}
	if len(faults) > 0 {
		return fmt.Errorf("of %d callers %d cannot connect: %s", n, len(faults), (<-faults).String())
	}
	return nil
}

// take is a caller of an era that has nothing to do; there are as many as are wanted.
func (l *load) take(era int) *client {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle[era]); n > 0 {
		c := l.idle[era][n-1]
		l.idle[era] = l.idle[era][:n-1]
		return c
	}
	c := newClient(l.o, l.p.eras[era])
	l.all = append(l.all, c)
	return c
}

func (l *load) give(era int, c *client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle[era] = append(l.idle[era], c)
}

// part ends the sessions of all callers.
func (l *load) part(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, partingTime)
	defer cancel()
	turns := make(chan struct{}, partingAtOnce)
	var wait sync.WaitGroup
	for _, c := range l.all {
		turns <- struct{}{}
		wait.Go(func() {
			c.close(ctx)
			<-turns
		})
	}
	wait.Wait()
}

// draw is the next request of the mix.
func (l *load) draw() *request { return l.drawn(l.next.Add(1) - 1) }

// drawn is the request i of the mix.
func (l *load) drawn(i int64) *request {
	op := l.p.order[i%int64(len(l.p.order))]
	if op == Call {
		return &l.p.calls[(l.nextCall.Add(1)-1)%int64(len(l.p.calls))]
	}
	return &request{op: op}
}

// eraOf is the era of the request i of an open loop: by turns, and so that no kind of request is always of the same.
func (l *load) eraOf(i int64) int {
	round, place := i/int64(len(l.p.order)), i%int64(len(l.p.order))
	return int((round + place) % int64(len(l.p.eras)))
}

// shoot does one request that was due at a time, and notes what became of it.
func (l *load) shoot(ctx context.Context, c *client, r *request, due time.Time) *fault {
	limited, cancel := context.WithTimeout(ctx, l.o.Timeout)
	f := c.do(limited, r)
	cancel()
	l.rec.end(r, due, time.Now(), f)
	aside, cancel := context.WithTimeout(context.WithoutCancel(ctx), partingTime)
	defer cancel()
	c.tidy(aside)
	return f
}

// openLoop sends each request when it is due, whatever became of the others.
func (l *load) openLoop(ctx context.Context) {
	var wait sync.WaitGroup
	defer wait.Wait()
	turns := make(chan struct{}, callersMost)
	over := time.NewTimer(time.Until(l.end.Add(overtime)))
	defer over.Stop()
	free := l.begin // when a turn was last waited for
	for i := int64(0); l.due(i).Before(l.end) && sleep(ctx, time.Until(l.due(i))); i++ {
		if l.o.busy != nil {
			l.o.busy()
		}
		waited, ok := turn(ctx, turns, over.C)
		if waited {
			free = time.Now()
		}
		due, now := l.due(i), time.Now()
		if late := now.After(l.end.Add(overtime)); late || !ok {
			l.leave(i, now, ok)
			return
		}
		l.rec.begin(due, min(now.Sub(due), now.Sub(free)))
		wait.Go(func() {
			era := l.eraOf(i)
			c := l.take(era)
			l.shoot(ctx, c, l.drawn(i), due)
			l.give(era, c)
			<-turns
		})
	}
}

// turn waits until another request may be in flight; not ok when the load ends before.
func turn(ctx context.Context, turns chan<- struct{}, over <-chan time.Time) (waited, ok bool) {
	select {
	case turns <- struct{}{}:
		return false, true
	default:
	}
	select {
	case turns <- struct{}{}:
		return true, true
	case <-over:
	case <-ctx.Done():
	}
	return true, false
}

// due is when a request is due.
func (l *load) due(i int64) time.Time {
	return l.begin.Add(time.Duration(float64(i) / l.o.Rate * float64(time.Second)))
}

const leaveSteps = 10_000

// leave counts what was due from the request i on and is not sent any more, by own fault or because too many are in flight.
func (l *load) leave(i int64, now time.Time, own bool) {
	last := int64(min(now.Sub(l.begin), l.end.Sub(l.begin)).Seconds() * l.o.Rate)
	for step := max(1, (last-i)/leaveSteps); i < last; i += step {
		l.rec.unsent(l.drawn(i), l.due(i), now, min(step, last-i), own)
	}
}

// closedLoop has so many callers, each of which sends when the last is answered and it has thought.
func (l *load) closedLoop(ctx context.Context) {
	var wait sync.WaitGroup
	defer wait.Wait()
	for _, c := range l.all {
		wait.Go(func() {
			for sleep(ctx, l.thought()) && time.Now().Before(l.end) {
				now := time.Now()
				l.rec.begin(now, 0)
				if f := l.shoot(ctx, c, l.draw(), now); f != nil && f.kind == FailedConnection {
					sleep(ctx, refusedPause)
				}
			}
		})
	}
}

// thought is how long a caller thinks: half to one and a half times as long as they do on average.
func (l *load) thought() time.Duration {
	if l.o.Think == 0 {
		return 0
	}
	return min(l.o.Think/2+rand.N(l.o.Think+1), max(time.Until(l.end), 0)) //nolint:gosec // it keeps callers out of step
}

// sleep waits, and tells whether the load goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
