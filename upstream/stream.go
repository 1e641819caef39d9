package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream/h1"
)

// stream reads an answer that comes as server-sent events, resuming it where a legacy server lets go of the connection.
func (l *httpLink) stream(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, limit time.Duration) error {
	f.begin()
	return l.follow(ctx, f, c, out, ls, limit)
}

// follow is stream from where it stands.
func (l *httpLink) follow(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, limit time.Duration) error {
	for try := 0; ; try++ {
		f.heard = false
		done, err := l.readEvents(ctx, f, c, out, ls, limit)
		if done || !f.cut(err) {
			return err
		}
		if f.heard {
			try = 0 // the server lets go after each event, as it may
		}
		if ls == nil || f.lastID == "" || try >= resumeMost {
			return l.s.errorf(f.broken(errs.Unavailable), "ended its stream before the answer; the call may have been carried out")
		}
		if len(f.asking.list) > 0 {
			return errAsked // the rest is fetched when the client has answered
		}
		if err := l.resume(ctx, f, c, ls, limit); err != nil {
			return err
		}
		f.begin()
	}
}

// begin starts to read a stream.
func (f *flight) begin() {
	f.events.Reset(&f.resp)
	if f.heedful {
		f.streams.Store(true)
		f.resp.SetWaker(&f.waker)
	}
}

// cut: the stream ended, or broke where the rest of it can be fetched.
func (f *flight) cut(err error) bool {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	fault, ok := errors.AsType[*h1.Error](err)
	return ok && f.lastID != "" && fault.Phase == h1.PhaseBody && !errors.Is(err, h1.ErrClosed) && !errors.Is(err, h1.ErrProtocol)
}

// broken is the kind of a failure that ends the connection: what was parked once is more than a call that failed.
func (f *flight) broken(k errs.Kind) errs.Kind {
	if f.asking.given > 0 {
		return errs.Lost
	}
	return k
}

// readEvents reads one stream to the answer, to the end of the time for questions, or to its end; done tells that it was one
// of the first two.
func (l *httpLink) readEvents(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, limit time.Duration) (done bool, err error) {
	for {
		f.resp.SetTimeout(limit)
		if len(f.asking.list) > 0 && f.gather.IsZero() {
			f.gather = time.Now().Add(gatherTime)
			f.resp.SetDeadline(f.gather)
		}
		ev, err := f.events.Next()
		if err != nil {
			if f.heedful && errors.Is(err, os.ErrDeadlineExceeded) && l.overheard(ctx, f, ls) {
				continue
			}
			if !f.gather.IsZero() && errors.Is(err, os.ErrDeadlineExceeded) {
				return true, errAsked
			}
			if errors.Is(err, mcp.ErrEventTooLarge) {
				return true, l.tooLarge(l.maxBytes())
			}
			return false, err
		}
		if ev.ID != "" {
			f.lastID = ev.ID
		}
		if ev.Retry >= 0 {
			f.retry = min(time.Duration(ev.Retry)*time.Millisecond, 30*time.Second)
		}
		if len(ev.Data) == 0 || (ev.Name != "" && ev.Name != "message") {
			continue
		}
		f.heard = true
		if done, err := l.event(ctx, f, c, out, ls, ev.Data); done || err != nil {
			return true, err
		}
	}
}

// event handles one message of a stream.
func (l *httpLink) event(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, data []byte) (done bool, err error) {
	n := &f.note
	n.Reset()
	n.Body = data
	if e := mcp.Scan(data, &n.Message, l.s.limits()); e != nil {
		return true, l.garbage(e)
	}
	switch n.Kind {
	case mcp.KindNotification:
		l.s.relay(c, f.id, n)
	case mcp.KindRequest:
		if ls == nil {
			return true, l.s.errorf(errs.Protocol, "sends a request of its own, which %s does not allow", mcp.VersionModern)
		}
		l.question(ctx, f, ls, n)
	case mcp.KindBatch:
		return l.batch(ctx, f, c, out, ls, data)
	case mcp.KindResult, mcp.KindError:
		if !bytes.Equal(n.ID.Of(data), f.id) && !(n.Kind == mcp.KindError && !n.ID.Present()) {
			l.s.warnings.warn(l.s.log, "answer to another request dropped", "id", string(n.ID.Of(data)))
			return false, nil
		}
		buf := mcp.GetBuffer(len(data))
		buf.B = append(buf.B[:0], data...)
		out.Own(buf)
		out.Message = n.Message
		l.drain(f)
		return true, nil
	}
	return false, nil
}

// drainTime is how long the end of a stream may lag behind the answer for the connection to be kept.
const drainTime = 2 * time.Millisecond

// drain reads the end of a stream after its answer, so that the connection can serve the next call.
func (l *httpLink) drain(f *flight) {
	f.resp.SetTimeout(drainTime)
	var rest [512]byte
	for range 8 {
		if _, err := f.resp.Read(rest[:]); err != nil {
			return
		}
	}
}

// resume asks a legacy server for the rest of a stream it let go of (2025-11-25 transports "Resumability and Redelivery").
func (l *httpLink) resume(ctx context.Context, f *flight, c *Call, ls *session, limit time.Duration) error {
	select {
	case <-time.After(f.retry):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	f.resp.Close()
	f.head = append(append(f.head[:0], "GET"...), ls.m.start...)
	f.head = append(f.head, "Accept: text/event-stream\r\n"...)
	f.header("Last-Event-ID", headerSafe.Replace(f.lastID))
	ls.headers(f, c.Who)
	f.req.Head, f.req.Body, f.req.Safe = f.head, nil, true
	f.req.Timeout = limit
	if err := ls.m.client.Do(ctx, &f.req, &f.resp); err != nil {
		return err
	}
	if f.resp.Status() != 200 || mediaType(f.resp.Header("Content-Type")) != "text/event-stream" {
		return l.s.errorf(f.broken(errs.Protocol), "let go of its stream and does not resume it (HTTP %d); the call may have been carried out", f.resp.Status())
	}
	return nil
}
