package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// parkedWait is a parked call to a child: it stays among those in flight.
type parkedWait struct {
	in *instance
	id int64
	w  *waiting
}

// held is a question that waits for the end of requests of the gateway itself, which were under way when it came.
type held struct {
	q    *mcp.Raw
	id   int64 // of the call that is then the only one it can belong to
	w    *waiting
	upTo int64 // the last request that was under way
	till time.Time
}

// heldTime bounds how long a question is held: a server that does one thing at a time answers no request of the gateway before
// the call that asks is over.
const heldTime = 2 * time.Second

// asked hands a question of the child to the call it belongs to. Nothing on the wire tells which one that is, so it is certain
// only while a single call of a client is in flight, parked ones included; else the question is declined.
func (in *instance) asked(q *mcp.Raw) {
	if q.Method == mcp.MethodPing {
		in.tell(in.s.decline(q, nil))
		q.Free()
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if e := in.attribute(q); e != nil {
		in.refuse(q, e)
	}
}

// refuse answers a question with an error.
func (in *instance) refuse(q *mcp.Raw, e *mcp.Error) {
	in.tell(in.s.decline(q, e))
	q.Free()
}

// attribute gives a question to the one call in flight; the error says why it cannot. Called with mu held.
func (in *instance) attribute(q *mcp.Raw) *mcp.Error {
	if !askable(q.Method) {
		return unknownQuestion(q)
	}
	if w := in.collector(q); w != nil {
		return in.hand(w, q)
	}
	var id int64
	var w *waiting
	clients := 0
	for n, other := range in.pending {
		if other.caller == "" {
			continue
		}
		if id, w, clients = n, other, clients+1; clients > 1 {
			has := in.p.words()
			return declined(mcp.CodeInvalidRequest, q, "several calls are under way in this "+has.whole+", and "+has.wire+" does not tell which one asks")
		}
	}
	switch {
	case w == nil:
		return declined(mcp.CodeInvalidRequest, q, whyNoCall)
	case in.haunted(w.caller):
		return in.mayBeLate(q)
	case len(in.pending) == 1, w.asking.judge(q, in.s.maxBytes()) != nil: // whoever asks, nobody can be asked
		return in.hand(w, q)
	case len(in.held) >= questionsMost:
		return declined(mcp.CodeInvalidRequest, q, "too many questions wait already")
	}
	in.held = append(in.held, held{q, id, w, in.issued.Load(), time.Now().Add(heldTime)})
	time.AfterFunc(heldTime, func() {
		in.mu.Lock()
		defer in.mu.Unlock()
		in.settle()
	})
	return nil
}

// mayBeLate declines a question that another caller's call may ask, which was given up.
func (in *instance) mayBeLate(q *mcp.Raw) *mcp.Error {
	return declined(mcp.CodeInvalidRequest, q, "a call that was given up may still run in this "+in.p.words().whole+", and nothing tells which one asks")
}

// hand gives a question to a call. Called with mu held.
func (in *instance) hand(w *waiting, q *mcp.Raw) *mcp.Error {
	if e := w.asking.admit(q, in.s.maxBytes()); e != nil {
		return e
	}
	if w.notes.put(q) {
		return nil
	}
	w.asking.drop(q)
	return declined(mcp.CodeInvalidRequest, q, "the client reads too slowly")
}

// settle looks at the held questions again after a request ended: who asks waits for the answer, so what ended did not ask.
// After a while a request of the gateway itself is taken to wait behind the call that asks. Called with mu held.
func (in *instance) settle() {
	var wait []held
	for _, h := range in.held {
		switch {
		case in.pending[h.id] != h.w:
			in.refuse(h.q, declined(mcp.CodeInvalidRequest, h.q, "no call is under way any more that it could belong to"))
		case in.haunted(h.w.caller):
			in.refuse(h.q, in.mayBeLate(h.q))
		case in.busy(h.upTo) && time.Now().Before(h.till):
			wait = append(wait, h)
		default:
			if e := in.hand(h.w, h.q); e != nil {
				in.refuse(h.q, e)
			}
		}
	}
	in.held = wait
}

// busy: a request of the gateway itself is under way that is not newer than id. Called with mu held.
func (in *instance) busy(id int64) bool {
	for n, w := range in.pending {
		if w.caller == "" && n <= id {
			return true
		}
	}
	return false
}

// suspend parks a call, unless it is over already.
func (in *instance) suspend(id int64, w *waiting) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.pending[id] != w {
		return false
	}
	w.parked = true
	return true
}

// conclude waits for what a call comes to: an answer, an error, or questions with which it is parked.
func (in *instance) conclude(ctx context.Context, modern bool, c *Call, id int64, w *waiting, out *mcp.Raw) error {
	err := in.await(ctx, c, id, w, in.s.patience(c), out)
	if errors.Is(err, errAsked) {
		in.seat.park()
		return in.s.park(c, out, &w.asking, &parkedWait{in, id, w})
	}
	in.seat.leave()
	in.dismiss(w)
	if err != nil {
		return err
	}
	return in.s.finish(c, out, modern, w.asking.refused)
}

func (p *parkedWait) proceed(ctx context.Context, c *Call, out *mcp.Raw) error {
	in, w := p.in, p.w
	in.seat.unpark(true)
	c.seat = in.seat
	in.mu.Lock()
	w.parked = false
	replies := w.asking.answered(c.Answers)
	in.mu.Unlock()
	for _, reply := range replies {
		if err := in.p.Write(ctx, [][]byte{reply}, c.Who, in.patience()); err != nil {
			in.s.log.Debug("answer not delivered", "error", err) // it has ended, or decides what becomes of the call
		}
	}
	return in.conclude(ctx, false, c, p.id, w, out)
}

func (p *parkedWait) cancel() {
	p.in.giveUp(p.id)
	p.in.dismiss(p.w)
	p.in.seat.unpark(false)
}

// dismiss ends a call that was taken off those in flight: what it was asked and nobody has answered is declined.
func (in *instance) dismiss(w *waiting) {
	for n := w.notes.take(); n != nil; n = w.notes.take() {
		if n.Kind == mcp.KindRequest {
			w.asking.take(n)
		}
		n.Free()
	}
	for _, reply := range in.s.moot(&w.asking) {
		in.tell(reply)
	}
	discard(w)
}

func (p *parkedWait) free() {
	p.in.abandon(p.id)
	discard(p.w)
	p.in.seat.unpark(false)
}

// failure is why a call will never be answered.
func (w *waiting) failure() error {
	e := errs.Of(w.err)
	if w.asking.given == 0 || e.Kind != errs.Unavailable {
		return w.err
	}
	return &errs.Error{Op: e.Op, Kind: errs.Lost, Msg: e.Msg, Err: e.Err}
}

// collector is the tasks/result under way of the task that a question says it is of (2025-11-25 tasks "Associating Task-Related
// Messages"): that is certain, whatever else is in flight. Called with mu held.
func (in *instance) collector(q *mcp.Raw) *waiting {
	related := q.GetMeta(mcp.MetaRelatedTask)
	if !related.Present() || q.Body[related.Start] != '{' {
		return nil
	}
	task, err := mcp.Lookup(q.Body, related, "taskId")
	if err != nil {
		return nil
	}
	id, ok := mcp.Text(q.Body, task.Span, nil)
	if !ok || len(id) == 0 {
		return nil
	}
	for _, w := range in.pending {
		if w.task == string(id) {
			return w
		}
	}
	return nil
}
