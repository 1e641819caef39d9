package upstream

import (
	"context"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

var (
	drafts = sync.Pool{New: func() any { return new(draft) }}
	raws   = sync.Pool{New: func() any { return new(mcp.Raw) }}
	timers = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}
)

// timer returns a timer that fires after d; done gives it back.
func timer(d time.Duration) *time.Timer {
	t := timers.Get().(*time.Timer)
	t.Reset(d)
	return t
}

func done(t *time.Timer) {
	t.Stop() // nothing is in its channel after that
	timers.Put(t)
}

// call writes one request and waits for what it comes to.
func (in *instance) call(ctx context.Context, modern bool, c *Call, out *mcp.Raw) (err error) {
	defer func() { c.concluded(out, err) }()
	id, w, err := in.send(ctx, modern, c)
	if err != nil {
		in.seat.leave()
		return err
	}
	return in.conclude(ctx, modern, c, id, w, out)
}

// send writes one request.
func (in *instance) send(ctx context.Context, modern bool, c *Call) (int64, *waiting, error) {
	id := in.s.ids.Add(1)
	w, err := in.open(id, modern, c)
	if err != nil {
		return 0, nil, err
	}
	d := drafts.Get().(*draft)
	d.reset(id)
	who := in.attempted(c, id)
	if modern {
		d.modern(c, in.info)
	} else {
		d.legacy(c)
	}
	err = in.p.Write(ctx, d.segs, who, in.patience())
	clear(d.segs)
	drafts.Put(d)
	if err != nil && ctx.Err() != nil {
		in.giveUp(id) // it may have arrived
		return 0, nil, context.Cause(ctx)
	}
	if err != nil {
		in.abandon(id)
		return 0, nil, in.s.errorf(errs.Unavailable, "does not take the request: %w", err)
	}
	return id, w, nil
}

// await passes on what comes before the answer. It ends with errAsked, and the call parked, when the client is asked something.
func (in *instance) await(ctx context.Context, c *Call, id int64, w *waiting, limit time.Duration, out *mcp.Raw) error {
	pause := in.s.overture(c, limit)
	early := true
	if len(w.asking.list) > 0 {
		pause = gatherTime
	}
	silence := timer(pause)
	defer done(silence)
	for {
		select {
		case <-w.notes.bell:
			n := w.notes.take()
			if n == nil {
				continue
			}
			asks := n.Kind == mcp.KindRequest
			in.pass(c, id, w, n)
			early = false
			switch {
			case asks && len(w.asking.list) == 1:
				silence.Reset(gatherTime)
			case len(w.asking.list) == 0:
				silence.Reset(limit)
			}
		case m, ok := <-w.answer:
			if !ok {
				return w.failure()
			}
			for n := w.notes.take(); n != nil; n = w.notes.take() {
				in.pass(c, id, w, n)
			}
			*out, *m = *m, mcp.Raw{}
			raws.Put(m)
			return nil
		case <-ctx.Done():
			in.giveUp(id)
			return context.Cause(ctx)
		case <-silence.C:
			if len(w.asking.list) > 0 {
				if in.suspend(id, w) {
					return errAsked
				}
				silence.Reset(limit) // it is over: the answer is on its way
				continue
			}
			in.giveUp(id)
			if early {
				return in.s.late(c, limit, in.complaint())
			}
			return in.s.silent(c, limit, in.complaint())
		}
	}
}

// pass hands a notification to the client, and puts a question on the list.
func (in *instance) pass(c *Call, id int64, w *waiting, n *mcp.Raw) {
	if n.Kind == mcp.KindRequest {
		w.asking.take(n)
	} else {
		in.s.relay(c, idBytes(id), n)
	}
	n.Free()
}

// discard gives back what arrived for a call that nobody reads any more.
func discard(w *waiting) {
	for n := w.notes.take(); n != nil; n = w.notes.take() {
		n.Free()
	}
	select {
	case m := <-w.answer:
		if m != nil { // it is closed otherwise
			m.Free()
		}
	default:
	}
}

// giveUp forgets a call and tells the server so.
func (in *instance) giveUp(id int64) {
	in.mu.Lock()
	in.leave(id)
	in.remove(id)
	in.mu.Unlock()
	in.tell(cancelNotice(idBytes(id)))
}

// ownTurn is own for what does not come first: where one request at a time is sent, it waits its turn.
func (in *instance) ownTurn(ctx context.Context, body []byte, out *mcp.Raw) error {
	if in.seat != nil {
		if err := in.seat.r.own(ctx, in.seat); err != nil {
			return err
		}
		defer in.seat.r.done(in.seat)
	}
	return in.own(ctx, false, body, out)
}

// own sends a request of the gateway itself.
func (in *instance) own(ctx context.Context, modern bool, body []byte, out *mcp.Raw) error {
	c, err := ownCall(body)
	if err != nil {
		return err
	}
	c.Who = in.whose()
	id, w, err := in.send(ctx, modern, c)
	if err != nil {
		return err
	}
	defer discard(w)
	return in.await(ctx, c, id, w, in.s.patience(c), out)
}
