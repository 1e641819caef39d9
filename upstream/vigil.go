package upstream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
)

// fillTime is how often it is looked whether as many instances run as are always to run.
const fillTime = 5 * time.Second

// missesMost is how many questions whether it lives an instance may leave without an answer.
const missesMost = 2

var pingBody = []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)

// vigil looks after one instance from its start to its end: it is stopped when nobody needs it, and when it does not live.
type vigil struct {
	l     *stdioLink
	st    *seat
	idle  time.Duration // 0 keeps it
	every time.Duration // 0 never asks

	asked   time.Duration // on the clock: when it was last asked
	misses  int           // in a row
	arrived int64         // messages, when it was last looked at
	pending chan error    // what came of being asked; nil when it is not
	wg      sync.WaitGroup
}

// attendSeat waits for the end of an instance and has it started again; when the server's life ends first, it stops it.
func (l *stdioLink) attendSeat(ctx context.Context, st *seat) {
	spec := l.s.spec
	v := &vigil{l: l, st: st, idle: l.roster.spareTime(st), every: time.Duration(spec.Liveness.Every), asked: clock()}
	defer v.wg.Wait()
	why := v.keep(ctx)
	if why == nil || ctx.Err() != nil {
		return
	}
	if st.aside {
		l.s.crashed(reasonOf(why))
		return
	}
	l.back.explain(why)
	l.s.crashed(reasonOf(why))
	if st.last.Load() {
		l.s.fail(why)
	}
}

// keep returns when the instance has ended, with the reason, which is nil when that was wanted.
func (v *vigil) keep(ctx context.Context) error {
	in := v.st.in
	t := time.NewTimer(v.due())
	defer t.Stop()
	for {
		select {
		case <-in.gone:
			v.l.ended(v.st)
			return in.end()
		case <-ctx.Done():
			in.stop()
			<-in.gone
			return nil
		case err := <-v.pending:
			if v.pending = nil; !v.heard(err) {
				continue
			}
			v.l.ended(v.st)
			in.stop()
			<-in.gone
			return &lifeless{v.l.s.errorf(errs.Unavailable, "process answered %d times nothing to %s within %s (liveness.timeout)",
				v.misses, lifeQuestion(in), time.Duration(v.l.s.spec.Liveness.Timeout))}
		case <-t.C:
			if v.spare() {
				in.stop()
				<-in.gone
				return nil
			}
			v.ask(ctx)
			v.l.roster.turn() // others may be wanted that could not be started before
			t.Reset(v.due())
		}
	}
}

// lifeless is why an instance was stopped that did not answer whether it lives.
type lifeless struct{ error }

func (e *lifeless) Unwrap() error { return e.error }

// reasonOf is the kind of a crash, for counting.
func reasonOf(err error) string {
	if _, dead := errors.AsType[*lifeless](err); dead {
		return "liveness"
	}
	if e, ok := errors.AsType[*runner.ExitError](err); ok {
		return e.Reason()
	}
	return "exit"
}

// due is when to look again.
func (v *vigil) due() time.Duration {
	next, now, used := time.Hour, clock(), time.Duration(v.st.used.Load())
	if v.idle > 0 {
		next = min(next, max(used+v.idle-now, v.idle/4))
	}
	if v.every > 0 {
		next = min(next, max(max(used, v.asked)+v.every-now, v.every/4))
	}
	if v.l.roster.least > 1 {
		next = min(next, fillTime)
	}
	return max(next, time.Millisecond)
}

// spare tells whether the instance was stopped being used long enough ago, and takes it out of the roster then.
func (v *vigil) spare() bool {
	now, s := clock(), v.l.s
	if v.idle == 0 || v.pending != nil || now-time.Duration(v.st.used.Load()) < v.idle || now < time.Duration(v.st.tasks.Load()) {
		return false
	}
	sleep := s.opts.Key == "" && !s.watch.needs()
	if !v.l.roster.retire(v.st, sleep) {
		return false
	}
	s.slept(v.st.in.peer)
	return true
}

// ask asks the instance whether it lives, when it has nothing else to do.
func (v *vigil) ask(ctx context.Context) {
	now, used := clock(), time.Duration(v.st.used.Load())
	if v.every == 0 || v.pending != nil || now-max(used, v.asked) < v.every || v.st.load.Load() > 0 || v.st.in.busyAtAll() {
		return
	}
	serial := v.l.roster.serial()
	if serial && !v.st.vacant() {
		return
	}
	v.asked = now
	v.listen()
	answer := make(chan error, 1)
	v.pending = answer
	v.wg.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(v.l.s.spec.Liveness.Timeout))
		defer cancel()
		var out mcp.Raw
		defer out.Free()
		body := pingBody
		if v.st.in.peer.Modern {
			body = discoverBody
		}
		err := v.st.in.own(ctx, v.st.in.peer.Modern, body, &out)
		if serial {
			v.st.leave()
		}
		answer <- err
	})
}

func lifeQuestion(in *instance) string {
	if in.peer.Modern {
		return "server/discover"
	}
	return "ping"
}

// heard takes what came of being asked and tells whether the instance is given up: any answer shows that it lives, and so does
// whatever else it said since, such as an answer that came too late.
func (v *vigil) heard(err error) bool {
	v.misses++
	v.listen()
	if err == nil {
		v.misses = 0
	}
	return v.misses >= missesMost
}

// listen looks whether the instance said something since the last time: what it left without an answer does not count then.
func (v *vigil) listen() {
	if arrived := v.st.in.arrived.Load(); arrived != v.arrived {
		v.arrived, v.misses = arrived, 0
	}
}

// tasksMost is how long a task may run whose server does not say, and taskLife the longest that is believed.
const (
	tasksMost = time.Hour
	taskLife  = 24 * time.Hour
)

// keepTask keeps an instance that carries a call out as a task for as long as the task may live.
func (st *seat) keepTask(out *mcp.Raw) {
	result := out.Payload.Of(out.Body)
	ok, task := member(result, "task")
	if !ok {
		if string(out.Get(mcp.KeyResultType).Of(out.Body)) != `"task"` {
			return
		}
		task = result
	}
	life := tasksMost
	for _, name := range [...]string{"ttlMs", "ttl"} {
		if f, err := mcp.Lookup(task, whole(task), name); err == nil && f.Present() {
			if ms, ok := mcp.Integer(task, f.Span); ok {
				life = time.Duration(min(max(ms, 0), taskLife.Milliseconds())) * time.Millisecond
			}
		}
	}
	until := int64(clock() + life)
	for was := st.tasks.Load(); was < until && !st.tasks.CompareAndSwap(was, until); was = st.tasks.Load() {
	}
}
