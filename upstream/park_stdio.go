package upstream

import (
	"context"
	"errors"
	"strconv"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// parkedWait is a parked call to a child: it stays among those in flight.
type parkedWait struct {
	in *instance
	id int64
	w  *waiting
}

// asked hands a question of the child to the call it belongs to. Nothing on the wire tells which one that is, so it is certain
// only while a single call is in flight, parked ones included; else the question is declined.
func (in *instance) asked(q *mcp.Raw) {
	defer func() {
		if q != nil {
			q.Free()
		}
	}()
	var e *mcp.Error
	if q.Method != mcp.MethodPing {
		if e = in.attribute(q); e == nil {
			q = nil
			return
		}
	}
	in.tell(in.s.decline(q, e))
}

// attribute gives a question to the one call in flight; the error says why it cannot.
func (in *instance) attribute(q *mcp.Raw) *mcp.Error {
	in.mu.Lock()
	defer in.mu.Unlock()
	n := len(in.pending)
	switch {
	case n == 1:
	case !askable(q.Method):
		return unknownQuestion(q)
	case n == 0:
		return declined(mcp.CodeInvalidRequest, q, "no call is under way that it could belong to")
	default:
		return declined(mcp.CodeInvalidRequest, q, strconv.Itoa(n)+" calls are under way in this process, and stdio does not tell which one asks")
	}
	var w *waiting
	for _, w = range in.pending {
	}
	if e := w.asking.admit(q, in.s.maxBytes()); e != nil {
		return e
	}
	select {
	case w.notes <- q:
		return nil
	default:
		w.asking.drop(q)
		return declined(mcp.CodeInvalidRequest, q, "the client reads too slowly")
	}
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
		return in.s.park(c, out, &w.asking, &parkedWait{in, id, w})
	}
	discard(w)
	if err != nil {
		return err
	}
	return in.s.finish(c, out, modern, w.asking.refused)
}

func (p *parkedWait) proceed(ctx context.Context, c *Call, out *mcp.Raw) error {
	in, w := p.in, p.w
	in.mu.Lock()
	w.parked = false
	replies := w.asking.answered(c.Answers)
	in.mu.Unlock()
	for _, reply := range replies {
		if err := in.p.Write([][]byte{reply}, in.patience()); err != nil {
			in.s.log.Debug("answer not delivered to the child", "error", err) // it has ended, or ends for that
			break
		}
	}
	return in.conclude(ctx, false, c, p.id, w, out)
}

func (p *parkedWait) cancel() {
	p.in.giveUp(p.id)
	discard(p.w)
}

func (p *parkedWait) free() {
	p.in.abandon(p.id)
	discard(p.w)
}

// failure is why a call will never be answered.
func (w *waiting) failure() error {
	e := errs.Of(w.err)
	if w.asking.given == 0 || e.Kind != errs.Unavailable {
		return w.err
	}
	return &errs.Error{Op: e.Op, Kind: errs.Lost, Msg: e.Msg, Err: e.Err}
}
