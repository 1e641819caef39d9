package upstream

import (
	"container/list"
	"context"
	"strconv"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

const (
	progressTime = time.Second     // how often a call that waits tells its client so
	retryAfter   = 5 * time.Second // when a call that was refused may come again, at the latest
)

// waiter is a call that waits for room.
type waiter struct {
	asks   bool  // its client may be asked, so that it should not go where a call waits for its client
	only   *seat // the one seat that it can take; nil for any
	got    chan grant
	place  *list.Element // in the queue; nil when it is not in there
	ticket uint64
	began  time.Duration // on the clock
	cold   bool          // no instance ran when it came
	up     time.Duration // on the clock: one did; 0 when that was not to be waited for
	starts time.Duration // how long it waited for starts
}

// grant is what waiting came to.
type grant struct {
	seat *seat
	err  error
}

// kind tells apart the waiters that not the same seats can take.
func (w *waiter) kind() int {
	switch {
	case w.only != nil:
		return 2
	case w.asks:
		return 1
	}
	return 0
}

// wait finds room for a call, at once or when its turn has come. The call is nil for a request of the gateway itself.
func (r *roster) wait(ctx context.Context, c *Call, w *waiter) (*seat, error) {
	st, err := r.lineUp(w)
	if st != nil || err != nil {
		return st, err
	}
	limit := time.NewTimer(time.Duration(r.s.spec.Pool.Wait))
	defer limit.Stop()
	tick := time.NewTicker(progressTime)
	defer tick.Stop()
	if !c.WantsProgress() {
		tick.Stop()
	}
	for {
		select {
		case g := <-w.got:
			w.account(c)
			return g.seat, g.err
		case <-ctx.Done():
			return nil, r.quit(w, context.Cause(ctx))
		case <-r.s.ctx.Done():
			return nil, r.quit(w, r.s.closedError())
		case <-limit.C:
			if r.starting() {
				limit.Reset(time.Duration(r.s.spec.Pool.Wait)) // which has a time limit of its own
				continue
			}
			return nil, r.quit(w, r.tooLong())
		case <-tick.C:
			r.report(c, w)
		}
	}
}

// lineUp finds room at once or puts a call into the queue.
func (r *roster) lineUp(w *waiter) (*seat, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.got = make(chan grant, 1)
	if _, _, parked := r.lightest(); r.queue.Len() == 0 || w.only != nil || parked && r.kinds[w.kind()] == 0 {
		if st := r.place(w); st != nil {
			return st, nil
		}
	}
	if r.queue.Len() >= max(r.s.spec.Pool.Queue, 1) && w.only == nil {
		return nil, r.full()
	}
	r.tickets++
	w.ticket, w.began, w.cold = r.tickets, clock(), r.count(false) == 0
	w.place = r.queue.PushBack(w)
	r.kinds[w.kind()]++
	r.waiting.Add(1)
	r.turnLocked()  // who left before it was counted did not look for it
	return nil, nil //nolint:nilnil // it waits
}

// turn lets those go on for whom there is room.
func (r *roster) turn() {
	r.mu.Lock()
	r.turnLocked()
	r.mu.Unlock()
}

// turnLocked is turn with mu held.
func (r *roster) turnLocked() {
	left := r.kinds // of which the first may still find room
	for e := r.queue.Front(); e != nil && left != [3]int{}; {
		w, next := e.Value.(*waiter), e.Next()
		if k := w.kind(); left[k] > 0 {
			left[k]--
			if st := r.place(w); st != nil {
				r.unqueue(w)
				r.started(w, st)
				w.got <- grant{seat: st}
			} else if w.only == nil {
				left[k] = 0
			}
		}
		e = next
	}
	if n := r.count(false); n > 0 && n < r.least {
		r.more(false)
	}
}

// started notes that a call waited for the start of the instance that it gets, if that is so. Called with mu held.
func (r *roster) started(w *waiter, st *seat) {
	if st == r.fresh {
		w.starts += clock() - max(w.began, w.up, st.begun)
	}
}

// unqueue takes a waiter out of the queue. Called with mu held.
func (r *roster) unqueue(w *waiter) {
	r.queue.Remove(w.place)
	w.place = nil
	r.waiting.Add(-1)
	r.kinds[w.kind()]--
}

// refuseAll tells all who wait why nothing comes of it. Called with mu held.
func (r *roster) refuseAll(err error) {
	for e := r.queue.Front(); e != nil; e = r.queue.Front() {
		w := e.Value.(*waiter)
		r.unqueue(w)
		w.got <- grant{err: err}
	}
}

// quit ends the waiting of one who gives up.
func (r *roster) quit(w *waiter, err error) error {
	r.mu.Lock()
	waits := w.place != nil
	if waits {
		r.unqueue(w)
	}
	r.mu.Unlock()
	if !waits {
		if g := <-w.got; g.seat != nil {
			g.seat.leave()
		}
	}
	return err
}

// account notes what was waited for.
func (w *waiter) account(c *Call) {
	if c == nil {
		return
	}
	now := clock()
	if w.cold && w.up == 0 {
		w.starts = now - w.began
	}
	c.Timing.Start += w.starts
	c.Timing.Queue += max(0, now-w.began-w.starts)
}

// starting tells whether a call waits for the first instance and not for its turn.
func (r *roster) starting() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opening != nil && r.count(false) == 0
}

// queued is how many calls wait.
func (r *roster) queued() int { return int(r.waiting.Load()) }

func (r *roster) full() error {
	r.s.refused("queue")
	return r.overloaded("has %d calls waiting for an instance%s, which is the most (pool.queue); retry in %s, or raise pool.queue, pool.concurrency or pool.max",
		r.s.spec.Pool.Queue)
}

func (r *roster) tooLong() error {
	r.s.refused("wait")
	return r.overloaded("had no free instance%[2]s within %[1]s (pool.wait); retry in %[3]s, or raise pool.wait, pool.concurrency or pool.max",
		time.Duration(r.s.spec.Pool.Wait))
}

// overloaded refuses a call; the format gets the number, whose instances are meant, and when to come again.
func (r *roster) overloaded(format string, number any) error {
	after := min(retryAfter, max(time.Duration(r.s.spec.Pool.Wait), time.Second))
	whose := ""
	if r.s.opts.Key != "" {
		whose = " of this " + r.s.isolation()
	}
	e := r.s.errorf(errs.Overloaded, format, number, whose, after)
	return e.Later("queue", after)
}

// WantsProgress tells whether the client asked to hear of progress.
func (c *Call) WantsProgress() bool {
	return c != nil && c.Notify != nil && c.In.GetMeta(mcp.MetaProgressToken).Present()
}

// progressStep is by how much the progress of a call grows while it waits: so little that what the server says is more.
const progressStep = 1e-6

// report tells the client that its call waits, and for what.
func (r *roster) report(c *Call, w *waiter) {
	r.mu.Lock()
	before := uint64(0)
	if first := r.queue.Front(); first != nil {
		before = w.ticket - min(first.Value.(*waiter).ticket, w.ticket)
	}
	starts := r.opening != nil && r.count(false) == 0
	r.mu.Unlock()
	text := "waiting for a free instance of " + r.s.opts.Name + ", " + strconv.FormatUint(before, 10) + " before you"
	if starts {
		text = "starting server " + r.s.opts.Name
	}
	c.Waited(text)
}

// Waited tells the client of a call that it waits.
func (c *Call) Waited(text string) {
	c.told += progressStep
	b := append([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`), c.In.GetMeta(mcp.MetaProgressToken).Of(c.In.Body)...)
	b = strconv.AppendFloat(append(b, `,"progress":`...), c.told, 'f', 6, 64)
	b = mcp.AppendString(append(b, `,"message":`...), text)
	n := mcp.Raw{Body: append(b, "}}"...)}
	if e := n.Scan(mcp.Limits{Bytes: len(n.Body), Depth: 1024}); e == nil {
		c.Notify(&n)
	}
}

// grows tells whether progress goes on from what the client was told while it waited. Only that is looked after: what a server
// says itself it has to keep in order itself.
func (c *Call) grows(n *mcp.Raw) bool {
	value, err := strconv.ParseFloat(string(n.Get(mcp.KeyProgress).Of(n.Body)), 64)
	if c.told == 0 {
		c.seen = max(c.seen, value)
		return true
	}
	if err != nil || value <= c.told {
		return false
	}
	c.told = value
	return true
}
