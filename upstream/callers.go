package upstream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

// callerIdle is how long what is kept for a caller is kept without use.
const callerIdle = 10 * time.Minute

// callers keep what each caller has at a server, a session or a stream, as long as it is used.
type callers[T any] struct {
	s    *Server
	what string         // they are called in errors
	most int            // how many there are at once
	kept *sessionKey    // whose is never ended; nil for nobody
	busy func(*T) bool  // nil where only calls under way count
	end  func(old []*T) // ends what is kept no more; it may take its time

	mu      sync.Mutex
	places  map[sessionKey]*place[T]
	tidying bool
}

// place is where that of one caller is kept, and made again when it is lost.
type place[T any] struct {
	shared[T]
	used atomic.Int64 // unix nanoseconds
	busy atomic.Int32 // calls under way
}

// release ends the use of the place by one call.
func (p *place[T]) release() {
	p.used.Store(time.Now().UnixNano())
	p.busy.Add(-1)
}

// place finds or makes the place of a caller.
func (c *callers[T]) place(key sessionKey) (*place[T], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.places[key]
	if p == nil {
		if len(c.places) >= c.most && !c.evict(callerIdle) && !c.evict(time.Minute) && !c.evict(time.Second) {
			return nil, c.s.errorf(errs.Overloaded, "has %d %s open and in use, which is the most", c.most, c.what)
		}
		if !c.tidying {
			c.tidying = c.s.spawn(c.tidy)
		}
		p = &place[T]{}
		c.places[key] = p
	}
	p.used.Store(time.Now().UnixNano())
	return p, nil
}

// evict ends what was not used for a time and tells whether there was such. Called with mu held.
func (c *callers[T]) evict(unused time.Duration) bool {
	limit := time.Now().Add(-unused).UnixNano()
	n := len(c.places)
	var old []*T
	for key, p := range c.places {
		v := p.peek()
		if c.kept != nil && key == *c.kept || p.used.Load() > limit || p.busy.Load() > 0 || p.making() || v != nil && c.busy != nil && c.busy(v) {
			continue
		}
		delete(c.places, key)
		if v != nil {
			old = append(old, v)
		}
	}
	if len(old) > 0 {
		c.s.spawn(func(context.Context) { c.end(old) })
	}
	return len(c.places) < n
}

// depart ends what is kept for a caller that has gone, unless it is in use.
func (c *callers[T]) depart(caller string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, p := range c.places {
		if key.caller == caller {
			p.used.Store(0)
		}
	}
	c.evict(callerIdle)
}

// tidy ends what is idle as long as there is anything.
func (c *callers[T]) tidy(ctx context.Context) {
	t := time.NewTicker(callerIdle / 4)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if c.tidied() {
			return
		}
	}
}

// tidied ends what is idle and tells whether nothing is left.
func (c *callers[T]) tidied() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.evict(callerIdle)
	c.tidying = len(c.places) > 0
	return !c.tidying
}

// takeAll takes out all that is kept.
func (c *callers[T]) takeAll() (all []*T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.places {
		if v := p.peek(); v != nil {
			all = append(all, v)
		}
	}
	clear(c.places)
	return all
}
