package h1

import (
	"context"
	"fmt"
	"time"
)

// maxWaiters bounds the calls that wait for a connection.
const maxWaiters = 1 << 16

// grant is what a waiter gets: a connection, or the right to dial one, or an error.
type grant struct {
	cn  *conn
	err error
}

// waiter is a call that waits for a connection.
type waiter struct {
	ready      chan grant // buffered: the giver never blocks
	prev, next *waiter
	queued     bool
}

// waiters is a FIFO that waiters may also leave from its middle.
type waiters struct {
	first, last *waiter
	n           int
}

func (q *waiters) push(w *waiter) {
	w.queued, w.prev = true, q.last
	if q.last == nil {
		q.first = w
	} else {
		q.last.next = w
	}
	q.last = w
	q.n++
}

func (q *waiters) pop() *waiter {
	w := q.first
	if w != nil {
		q.remove(w)
	}
	return w
}

func (q *waiters) remove(w *waiter) {
	if w.prev == nil {
		q.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.queued = nil, nil, false
	q.n--
}

// acquire returns a connection for one exchange: an idle one that is alive, else a new one, waiting for
// a place when MaxConns are open.
func (c *Client) acquire(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, &Error{Phase: PhaseDial, Err: err}
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, &Error{Phase: PhaseDial, Err: ErrClosed}
	}
	if cn := c.popIdle(); cn != nil {
		c.mu.Unlock()
		return c.alive(ctx, cn)
	}
	if c.total < c.o.MaxConns {
		c.total++
		c.mu.Unlock()
		return c.connect(ctx)
	}
	if c.waiters.n >= maxWaiters {
		c.mu.Unlock()
		return nil, &Error{Phase: PhaseDial, Err: ErrBusy}
	}
	w := &waiter{ready: make(chan grant, 1)}
	c.waiters.push(w)
	c.mu.Unlock()
	return c.wait(ctx, w)
}

// Cold tells whether the next call needs a new connection: none is idle, or those that are have died.
func (c *Client) Cold() bool {
	for {
		c.mu.Lock()
		cn := c.popIdle()
		c.mu.Unlock()
		switch {
		case cn == nil:
			return true
		case cn.quiet():
			c.put(cn)
			return false
		}
		c.drop(cn)
	}
}

// Warm has a connection ready for the next call, which is opened where there is none.
func (c *Client) Warm(ctx context.Context) error {
	cn, err := c.acquire(ctx)
	if err != nil {
		return err
	}
	c.put(cn)
	return nil
}

func (c *Client) wait(ctx context.Context, w *waiter) (*conn, error) {
	select {
	case g := <-w.ready:
		switch {
		case g.err != nil:
			return nil, &Error{Phase: PhaseDial, Err: g.err}
		case g.cn != nil:
			return c.alive(ctx, g.cn)
		}
		return c.connect(ctx)
	case <-ctx.Done():
	}
	c.mu.Lock()
	queued := w.queued
	if queued {
		c.waiters.remove(w)
	}
	c.mu.Unlock()
	if !queued { // granted in the meantime: pass it on
		c.giveBack(<-w.ready)
	}
	return nil, &Error{Phase: PhaseDial, Err: fmt.Errorf("waiting for one of %d connections: %w", c.o.MaxConns, ctx.Err())}
}

func (c *Client) giveBack(g grant) {
	switch {
	case g.cn != nil:
		c.put(g.cn)
	case g.err == nil:
		c.mu.Lock()
		c.release()
		c.mu.Unlock()
	}
}

// popIdle returns the most recently used idle connection. Called with mu held.
func (c *Client) popIdle() *conn {
	n := len(c.idle) - 1
	if n < 0 {
		return nil
	}
	cn := c.idle[n]
	c.idle[n] = nil
	c.idle = c.idle[:n]
	return cn
}

// alive returns cn, or what replaces it when it has died while idle.
func (c *Client) alive(ctx context.Context, cn *conn) (*conn, error) {
	for !cn.quiet() {
		cn.close(false)
		c.mu.Lock()
		delete(c.conns, cn)
		next := c.popIdle()
		if next == nil { // the place of the dead one is now ours
			c.mu.Unlock()
			return c.connect(ctx)
		}
		c.total--
		c.mu.Unlock()
		cn = next
	}
	return cn, nil
}

// connect dials in a place that the caller holds, and gives the place up on failure.
func (c *Client) connect(ctx context.Context) (*conn, error) {
	c.mu.Lock()
	c.dials++
	c.mu.Unlock()
	cn, err := c.dial(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && c.life.Err() != nil {
		cn.close(false)
		err = &Error{Phase: PhaseDial, Err: ErrClosed}
	}
	if err != nil {
		c.release()
		return nil, err
	}
	c.conns[cn] = struct{}{}
	return cn, nil
}

// redial replaces a connection that failed, in its place.
func (c *Client) redial(ctx context.Context, cn *conn) (*conn, error) {
	cn.close(false)
	cn.rest()
	c.mu.Lock()
	delete(c.conns, cn)
	c.mu.Unlock()
	return c.connect(ctx)
}

// drop closes a connection that is of no more use and gives up its place.
func (c *Client) drop(cn *conn) {
	cn.close(false)
	cn.rest()
	c.mu.Lock()
	delete(c.conns, cn)
	c.release()
	c.mu.Unlock()
}

// lend gives up the place of a connection that stays open, reclaim takes one again even when there is none left.
func (c *Client) lend() {
	c.mu.Lock()
	c.release()
	c.mu.Unlock()
}

func (c *Client) reclaim() {
	c.mu.Lock()
	c.total++
	c.mu.Unlock()
}

// release gives a place to the first waiter, or back. Called with mu held.
func (c *Client) release() {
	if w := c.waiters.pop(); w != nil {
		w.ready <- grant{}
		return
	}
	c.total--
}

// put hands a connection that is fit for another exchange to the first waiter, or keeps it.
func (c *Client) put(cn *conn) {
	cn.reused = true
	cn.rest()
	c.mu.Lock()
	if w := c.waiters.pop(); w != nil {
		w.ready <- grant{cn: cn}
		c.mu.Unlock()
		return
	}
	if c.closed || len(c.idle) >= c.o.MaxIdle {
		c.total--
		delete(c.conns, cn)
		c.mu.Unlock()
		cn.close(true)
		return
	}
	c.idle = append(c.idle, cn)
	if c.o.IdleTimeout > 0 {
		cn.since = time.Now()
		if !c.armed {
			c.arm(c.o.IdleTimeout)
		}
	}
	c.mu.Unlock()
}

// arm sets the idle timer. Called with mu held.
func (c *Client) arm(d time.Duration) {
	c.armed = true
	if c.timer == nil {
		c.timer = time.AfterFunc(d, c.expire)
		return
	}
	c.timer.Reset(d)
}

// expire closes the connections whose idle time is over. The timer is armed only while any is idle.
func (c *Client) expire() {
	now := time.Now()
	c.mu.Lock()
	n := 0
	for n < len(c.idle) && now.Sub(c.idle[n].since) >= c.o.IdleTimeout {
		delete(c.conns, c.idle[n])
		n++
	}
	old := append([]*conn(nil), c.idle[:n]...)
	c.idle = append(c.idle[:0], c.idle[n:]...)
	clear(c.idle[len(c.idle):cap(c.idle)])
	c.total -= n
	c.armed = false
	if len(c.idle) > 0 {
		c.arm(c.o.IdleTimeout - now.Sub(c.idle[0].since))
	}
	c.mu.Unlock()
	for _, cn := range old {
		cn.close(true)
	}
}
