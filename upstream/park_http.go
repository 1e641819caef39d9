package upstream

import (
	"context"
	"errors"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// parkedFlight is a parked call over HTTP: its stream stays open and its session in use.
type parkedFlight struct {
	l  *httpLink
	f  *flight
	at *place[session]
	ls *session
}

// question puts a question of the server on the list of the call, or answers it at once.
func (l *httpLink) question(ctx context.Context, f *flight, ls *session, q *mcp.Raw) {
	var e *mcp.Error
	if q.Method != mcp.MethodPing {
		if e = f.asking.admit(q, l.maxBytes()); e == nil {
			f.asking.take(q)
			return
		}
	}
	l.reply(ctx, ls, l.s.decline(q, e))
}

// park sets the call aside until its client has answered.
func (l *httpLink) park(ctx context.Context, f *flight, c *Call, out *mcp.Raw, at *place[session], ls *session) error {
	f.gather = time.Time{}
	f.resp.SetDeadline(f.gather)
	at.busy.Add(1)
	p := &parkedFlight{l: l, f: f, at: at, ls: ls}
	if !f.resp.Suspend() {
		p.cancel()
		return context.Cause(ctx)
	}
	return l.s.park(c, out, &f.asking, p)
}

func (p *parkedFlight) proceed(ctx context.Context, c *Call, out *mcp.Raw) error {
	l, f := p.l, p.f
	defer p.at.release()
	p.ls.use(c.Who)
	replies := f.asking.answered(c.Answers)
	f.resp.Resume(ctx)
	limit := l.s.patience(c)
	err := l.deliver(ctx, p, replies)
	if err == nil {
		err = l.follow(ctx, f, c, out, p.ls, limit)
	}
	return l.conclude(ctx, f, c, out, p.at, p.ls, l.settle(ctx, f, c, out, p.ls, err, limit))
}

// deliver posts the client's answers, each on a connection of its own as the transport wants it.
func (l *httpLink) deliver(ctx context.Context, p *parkedFlight, replies [][]byte) error {
	for _, reply := range replies {
		err := l.tell(ctx, p.ls, reply)
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return err
		case errors.Is(err, errSessionLost):
			// The call goes on: only the server knows what the missing answer means to it.
			l.s.warnings.warn(l.s.log, "answer to the server's question not taken", "error", err)
		default:
			l.cancelled(p.ls, p.f.id)
			return l.s.errorf(errs.Lost, "cannot be reached with the client's answer, so the call is given up: %w", err)
		}
	}
	return nil
}

func (p *parkedFlight) cancel() {
	p.l.cancelled(p.ls, p.f.id)
	p.l.dismiss(p.ls, p.f)
	p.free()
}

func (p *parkedFlight) free() {
	p.l.leave(p.ls, p.f)
	p.l.put(p.f)
	p.at.release()
}
