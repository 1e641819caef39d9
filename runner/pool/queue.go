package pool

import (
	"context"
	"slices"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

// waiter is one call that waits for the instance of its key.
type waiter[T Instance] struct {
	key    Key
	began  time.Time
	placed time.Time     // when its start began to be waited for, and nothing else any more; zero before
	lacks  lack          // why there is none yet
	done   chan struct{} // closed when inst or err is set
	inst   T
	err    error
}

// lack is what there is too little of for those who wait.
type lack byte

const (
	lackNothing lack = iota
	lackRoom         // pool.max
	lackTotal        // runner.maxInstances
	lackTenant       // runner.maxPerTenant
)

// enqueue takes in a call that must wait. The caller holds the lock.
func (p *Pool[T]) enqueue(key Key) (*waiter[T], error) {
	if p.closed {
		return nil, p.removed()
	}
	if err := p.resting(key); err != nil {
		return nil, err
	}
	if p.waiting >= p.o.Queue {
		e := errs.E(p.o.Op, errs.Overloaded, "%d calls wait for an instance already, which is the most; call again, or raise pool.queue", p.waiting)
		e.RetryAfter = retryAfter
		return nil, e
	}
	w := &waiter[T]{key: key, began: time.Now(), done: make(chan struct{})}
	p.queue = append(p.queue, w)
	p.waiting++
	return w, nil
}

const retryAfter = time.Second

// await waits until the call has its instance, for room within the limit.
func (p *Pool[T]) await(ctx context.Context, w *waiter[T]) (T, Waited, error) {
	limit := time.NewTimer(p.o.Wait)
	defer limit.Stop()
	for {
		select {
		case <-w.done:
			return w.inst, w.waited(), w.err
		case <-limit.C:
			p.withdraw(w, func() error { return p.tooLong(w.lacks) }, false)
		case <-ctx.Done():
			p.withdraw(w, func() error { return context.Cause(ctx) }, true)
		}
	}
}

// waited is how a call that has its instance now spent its time until then.
func (w *waiter[T]) waited() Waited {
	now := time.Now()
	if w.placed.IsZero() {
		return Waited{Queue: now.Sub(w.began)}
	}
	return Waited{Queue: w.placed.Sub(w.began), Start: now.Sub(w.placed)}
}

// withdraw ends the wait of a call; one that waits for a start goes on unless it is to end always.
func (p *Pool[T]) withdraw(w *waiter[T], why func() error, always bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-w.done:
		if w.err == nil && always {
			p.release(w.key) // nobody takes it
			w.err = why()
		}
		return
	default:
	}
	if !w.placed.IsZero() && !always {
		return
	}
	other := func(o *waiter[T]) bool { return o == w }
	p.queue = slices.DeleteFunc(p.queue, other)
	if s := p.slots[w.key.Name]; s != nil {
		s.waiters = slices.DeleteFunc(s.waiters, other)
	}
	p.fail(w, why())
}

// tooLong says why a call did not get an instance in time. The caller holds the lock.
func (p *Pool[T]) tooLong(why lack) error {
	if why > lackRoom {
		return p.o.Share.full(p.o.Op, why, p.o.Wait)
	}
	return overloaded(p.o.Op, "all %d are in use; raise pool.max, or pool.wait", p.o.Wait, p.o.Max)
}

// fail and hand end the wait of a call. The caller holds the lock.
func (p *Pool[T]) fail(w *waiter[T], err error) {
	p.waiting--
	w.err = err
	close(w.done)
}

func (p *Pool[T]) hand(w *waiter[T], s *slot[T]) {
	p.waiting--
	s.refs++
	w.inst = s.inst
	close(w.done)
}

// pump gives those who wait what there is, in their order. The caller holds the lock.
func (p *Pool[T]) pump() {
	wanted := map[string]bool{} // keys that need room of this pool
	p.pressing, p.pressed = false, ""
	left := p.queue[:0]
	for _, w := range p.queue {
		if p.place(w) {
			continue
		}
		left = append(left, w)
		switch {
		case w.lacks == lackRoom:
			wanted[w.key.Name] = true
		case w.lacks > lackRoom && !p.pressing:
			p.pressing = true
			if w.lacks == lackTenant {
				p.pressed = w.key.Tenant
			}
		}
	}
	clear(p.queue[len(left):])
	p.queue = left
	for range len(wanted) - p.closing {
		if !p.evict("") {
			break
		}
	}
	p.o.Share.want(p, p.pressing)
	if len(p.queue) > 0 {
		p.plan(lookAgain)
	}
}

// place finds what a call waits for; false when it must wait on.
func (p *Pool[T]) place(w *waiter[T]) bool {
	w.lacks = lackNothing
	s := p.slots[w.key.Name]
	if s == nil {
		if err := p.resting(w.key); err != nil {
			p.fail(w, err)
			return true
		}
		s, w.lacks = p.room(w.key)
	}
	switch {
	case s == nil || s.state == ending:
		return false
	case s.state == up:
		p.hand(w, s)
	default:
		w.placed = time.Now()
		s.waiters = append(s.waiters, w)
	}
	return true
}

// room makes the slot of a key from a spare or with a start; nil when there is no room, or it is too early for another start.
func (p *Pool[T]) room(key Key) (*slot[T], lack) {
	if n := len(p.spares); n > 0 {
		if why := p.o.Share.adopt(key.Tenant); why != lackNothing {
			return nil, why
		}
		s := &slot[T]{key: key, state: up, inst: p.spares[n-1], used: time.Now()}
		p.spares = p.spares[:n-1]
		p.o.Adopt(s.inst, key)
		p.slots[key.Name] = s
		p.plan(afterHandover) // for another spare
		p.spareFrom = time.Now().Add(afterHandover)
		return s, lackNothing
	}
	if !p.failures.ready(p.scope(key)) {
		return nil, lackNothing
	}
	if p.total >= p.o.Max {
		return nil, lackRoom
	}
	if why := p.o.Share.take(key.Tenant); why != lackNothing {
		return nil, why
	}
	return p.begin(key), lackNothing
}

// evict ends the instance that was unused longest, of a tenant if one is named; false when all are in use or were a moment ago.
func (p *Pool[T]) evict(tenant string) bool {
	s := p.oldest(tenant)
	if s == nil {
		return false
	}
	if p.o.Evicted != nil {
		p.o.Evicted(s.inst)
	}
	p.end(s)
	return true
}

func (p *Pool[T]) oldest(tenant string) *slot[T] {
	var oldest *slot[T]
	limit := time.Now().Add(-p.o.Hold)
	for _, s := range p.slots {
		if s.state != up || s.refs > 0 || tenant != "" && s.key.Tenant != tenant || oldest != nil && !s.used.Before(oldest.used) {
			continue
		}
		if !s.used.After(limit) && !s.inst.Busy() {
			oldest = s
		}
	}
	return oldest
}
