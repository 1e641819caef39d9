package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/toolcrib/toolcrib/errs"
)

const (
	// A handler may be ahead of its caller by so many notes, or bytes of notes; the caller gives credit twice within that.
	maxAhead      = 64
	maxAheadBytes = 4 << 20
)

// outgoing is a call that waits for its answer.
type outgoing struct {
	id   uint64
	peer *peer
	sent bool // guarded by Node.mu: the request is in the inbox, so the replica must know the call

	mu    sync.Mutex
	queue []frame
	last  uint64 // seq of the last note that came
	err   error  // why no answer will come
	wake  chan struct{}
}

// Call has a replica, which may be this one, serve a request. note gets what comes before the answer, in order, on the
// caller's goroutine. It fails with ErrGone as soon as the replica is gone, with ErrDown when it cannot be reached now. When
// ctx ends, so does the context of the handler.
func (n *Node) Call(ctx context.Context, replica, kind string, request []byte, note func([]byte)) ([]byte, error) {
	if note == nil {
		note = func([]byte) {}
	}
	if replica == n.o.ID {
		return n.callSelf(ctx, kind, request, note)
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	c, err := n.begin(replica)
	if err != nil {
		return nil, err
	}
	defer n.forget(c)
	if err := n.send(ctx, replica, &frame{typ: frameRequest, call: c.id, kind: kind, body: request}); err != nil {
		n.control(replica, &frame{typ: frameCancel, call: c.id}) // it may have arrived
		if _, failed := c.take(); failed != nil {
			return nil, failed // the node was closed meanwhile, which says more
		}
		if errors.Is(err, ErrGone) {
			err = &unsent{err}
		}
		return nil, err
	}
	n.mu.Lock()
	c.sent = true
	n.mu.Unlock()
	return n.await(ctx, c, note)
}

// unsent is the end of a call that nobody got.
type unsent struct{ error }

func (e *unsent) Unwrap() []error { return []error{e.error, ErrUnsent} }

func (n *Node) callSelf(ctx context.Context, kind string, request []byte, note func([]byte)) ([]byte, error) {
	n.mu.Lock()
	f, closed := n.handlers[kind], n.closed
	n.mu.Unlock()
	if closed {
		return nil, stopping()
	}
	if f == nil {
		return nil, unserved(kind)
	}
	return f(ctx, request, note)
}

func unserved(kind string) error {
	return errs.E("cluster", errs.Unsupported, "the replica does not serve %.64q; do all replicas run the same version?", kind)
}

// begin makes a call known to the pings.
func (n *Node) begin(replica string) (*outgoing, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, stopping()
	}
	p := n.peer(replica)
	if p == nil || n.calls >= maxCalls {
		return nil, errs.E("cluster", errs.Overloaded, "too many calls to other replicas are under way (%d); try again", n.calls)
	}
	c := &outgoing{id: newID(), peer: p, wake: make(chan struct{}, 1)}
	p.out[c.id] = c
	n.calls++
	return c, nil
}

func (n *Node) forget(c *outgoing) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := c.peer.out[c.id]; ok {
		delete(c.peer.out, c.id)
		n.calls--
	}
}

// await hands on notes until the answer.
func (n *Node) await(ctx context.Context, c *outgoing, note func([]byte)) ([]byte, error) {
	var count, bytes, credited, creditedBytes uint64
	for {
		frames, failed := c.take()
		for i := range frames {
			switch f := &frames[i]; f.typ {
			case frameAnswer:
				return f.body, nil
			case frameError:
				return nil, decodeError(f.body)
			case frameRefused:
				return nil, &unsent{said(ErrGone, c.peer.id)}
			default:
				note(f.body)
				count, bytes = f.seq, bytes+uint64(len(f.body))
			}
			if count-credited < maxAhead/2 && bytes-creditedBytes < maxAheadBytes/2 {
				continue
			}
			credited, creditedBytes = count, bytes
			if err := n.send(ctx, c.peer.id, &frame{typ: frameCredit, call: c.id, seq: count, body: binary.BigEndian.AppendUint64(nil, bytes)}); err != nil {
				n.control(c.peer.id, &frame{typ: frameCancel, call: c.id})
				return nil, err
			}
		}
		if failed != nil {
			n.control(c.peer.id, &frame{typ: frameCancel, call: c.id})
			return nil, failed
		}
		select {
		case <-c.wake:
		case <-ctx.Done():
			n.control(c.peer.id, &frame{typ: frameCancel, call: c.id})
			return nil, context.Cause(ctx)
		}
	}
}

// take empties the queue. An error counts after what came before it.
func (c *outgoing) take() ([]frame, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames := c.queue
	c.queue = nil
	return frames, c.err
}

// push queues a note or the answer. Whatever breaks the order ends the call: something was lost.
func (c *outgoing) push(f *frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return
	case f.seq != c.last+1 || len(c.queue) > maxAhead:
		c.err = errs.E("cluster", errs.Lost, "a message of the replica that serves the call was lost on the way; call again")
	default:
		c.last = f.seq
		c.queue = append(c.queue, *f)
	}
	c.signal()
}

// fail ends the call.
func (c *outgoing) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	c.signal()
}

func (c *outgoing) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
