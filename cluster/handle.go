package cluster

import (
	"context"
	"encoding/binary"
	"runtime/debug"
	"sync"

	"github.com/toolcrib/toolcrib/errs"
)

// incoming is a call of another replica that is served here.
type incoming struct {
	n      *Node
	id     uint64
	peer   *peer
	ctx    context.Context //nolint:containedctx // the handler's, which frames of the caller end
	cancel context.CancelCauseFunc

	sending sync.Mutex // keeps notes in order
	over    bool
	seq     uint64
	bytes   uint64

	mu          sync.Mutex
	credit      uint64 // notes, and bytes of them, that the caller has consumed
	creditBytes uint64
	creditsCame chan struct{}
}

// accept begins to serve a request.
func (n *Node) accept(f *frame) {
	n.mu.Lock()
	if n.refusing {
		select {
		case n.refusals <- refusal{f.sender, f.call}:
		default: // its caller learns that this replica is gone
		}
		n.mu.Unlock()
		return
	}
	h := n.handlers[f.kind]
	p := n.peer(f.sender)
	var refused error
	switch {
	case h == nil:
		refused = unserved(f.kind)
	case p == nil || n.serving >= maxServed:
		refused = errs.E("cluster", errs.Overloaded, "the replica serves %d calls of others already; try again", n.serving)
	}
	if refused != nil {
		n.mu.Unlock()
		n.control(f.sender, &frame{typ: frameError, call: f.call, seq: 1, body: encodeError(refused)})
		return
	}
	c := &incoming{n: n, id: f.call, peer: p, creditsCame: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancelCause(n.life)
	p.in[c.id] = c
	n.serving++
	request := f.body
	n.served.Go(func() { c.serve(h, request) })
	n.mu.Unlock()
}

// sendRefusals tells other replicas of calls that are not begun.
func (n *Node) sendRefusals(refusals <-chan refusal) {
	defer close(n.refused)
	for r := range refusals {
		if err := n.send(n.parting, r.replica, &frame{typ: frameRefused, call: r.call, seq: 1}); err != nil {
			n.o.Log.Debug("cluster: refusal not sent", "replica", r.replica, "error", err)
		}
	}
}

func (c *incoming) serve(h Handler, request []byte) {
	answer := frame{typ: frameAnswer, call: c.id}
	body, err := c.run(h, request)
	if err == nil && len(body) > MaxMessage {
		err = errs.E("cluster", errs.TooLarge, "the answer of %d bytes is over what replicas send each other: %d", len(body), MaxMessage)
	}
	if answer.body = body; err != nil {
		answer.typ, answer.body = frameError, encodeError(err)
	}
	c.sending.Lock()
	c.over = true
	answer.seq = c.seq + 1
	c.sending.Unlock()
	// The call is known until its answer is out: a pong that says otherwise comes after it.
	if err := c.n.send(context.Background(), c.peer.id, &answer); err != nil {
		c.n.o.Log.Debug("cluster: answer not sent", "replica", c.peer.id, "error", err)
	}
	c.cancel(nil)
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	delete(c.peer.in, c.id)
	if c.n.serving--; c.n.serving == 0 {
		select {
		case c.n.idle <- struct{}{}:
		default:
		}
	}
}

// run calls the handler. Why its context ended says more than what it makes of that.
func (c *incoming) run(h Handler, request []byte) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.n.o.Log.Error("cluster: panic in a handler", "panic", p, "stack", string(debug.Stack()))
			err = errs.E("cluster", errs.Internal, "the replica failed while it served the call; its log has more")
		}
	}()
	body, err = h(c.ctx, request, c.note)
	if err != nil && c.ctx.Err() != nil {
		err = context.Cause(c.ctx)
	}
	return body, err
}

// note sends what comes before the answer, when the caller is not too far behind.
func (c *incoming) note(body []byte) {
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.over || !c.ahead() {
		return
	}
	c.seq++
	c.bytes += uint64(len(body))
	if err := c.n.send(c.ctx, c.peer.id, &frame{typ: frameNote, call: c.id, seq: c.seq, body: body}); err != nil {
		c.cancel(err)
	}
}

// ahead waits until the next note may be sent; false when none may be any more.
func (c *incoming) ahead() bool {
	for {
		if c.ctx.Err() != nil {
			return false
		}
		c.mu.Lock()
		free := c.seq-c.credit < maxAhead && c.bytes-c.creditBytes < maxAheadBytes
		c.mu.Unlock()
		if free {
			return true
		}
		select {
		case <-c.creditsCame:
		case <-c.ctx.Done():
		}
	}
}

func (c *incoming) credited(f *frame) {
	if len(f.body) != 8 {
		return
	}
	c.mu.Lock()
	c.credit = max(c.credit, f.seq)
	c.creditBytes = max(c.creditBytes, binary.BigEndian.Uint64(f.body))
	c.mu.Unlock()
	select {
	case c.creditsCame <- struct{}{}:
	default:
	}
}
