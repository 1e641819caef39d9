package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream/h1"
)

// send posts the drafted request and reads the answer into out. ls is the legacy session it goes to; nil for a modern server.
func (l *httpLink) send(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session) error {
	limit := l.s.patience(c)
	f.req.Head, f.req.Body = f.head, f.segs
	f.req.Timeout = limit
	f.req.Safe = c.In.Method.Facts().Cacheable
	err := l.client.Do(ctx, &f.req, &f.resp)
	if err == nil {
		err = l.receive(ctx, f, c, out, ls, limit)
	}
	return l.settle(ctx, f, c, out, ls, err, limit)
}

// settle gives the failure of a call its final form, and tells a legacy server when it was the caller who ended it.
func (l *httpLink) settle(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, err error, limit time.Duration) error {
	if err == nil || errors.Is(err, errAsked) {
		return err
	}
	out.Reset()
	left := context.Cause(ctx)
	if left != nil {
		err = left
	} else {
		err = l.explain(f, err, limit)
	}
	gaveUp := left != nil || errs.Of(err).Kind == errs.Timeout
	if gaveUp && ls != nil && c.In.Method != mcp.MethodInitialize { // which must not be cancelled
		l.cancelled(ls, f.id)
	}
	return err
}

// explain turns a failure of transport into an error that names it, and has the server probed anew where it may be gone.
func (l *httpLink) explain(f *flight, err error, limit time.Duration) error {
	var e *errs.Error
	var w *wrongEra
	if errors.As(err, &e) || errors.As(err, &w) || errors.Is(err, errSessionLost) {
		return err // the server answered: it is there, and what it is does not have to be found out again
	}
	var fault *h1.Error
	errors.As(err, &fault)
	early := fault != nil && (fault.Phase == h1.PhaseDial || fault.Phase == h1.PhaseTLS)
	if errors.Is(err, os.ErrDeadlineExceeded) && !early {
		return l.s.errorf(errs.Timeout, "was silent for %s; raise timeouts.call (timeouts.list for lists) if it needs longer", limit)
	}
	if !early {
		return l.s.errorf(f.broken(errs.Unavailable), "connection broke in mid-call; the call may have been carried out: %w", err)
	}
	out := l.s.errorf(errs.Unavailable, "cannot be reached at its url: %w", err)
	l.s.fail(out)
	return out
}

// receive reads the answer, whatever form it comes in.
func (l *httpLink) receive(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, limit time.Duration) error {
	if err := l.s.refusal(f.resp.Status()); err != nil {
		return err
	}
	switch kind := mediaType(f.resp.Header("Content-Type")); kind {
	case "text/event-stream":
		return l.stream(ctx, f, c, out, ls, limit)
	case "application/json":
		return l.single(f, c, out, ls, limit)
	default:
		return l.notMCP(f, ls, kind)
	}
}

// refusal is what a status says whatever else is in the answer; nil for any other status.
func (s *Server) refusal(status int) error {
	switch {
	case status == 401 || status == 403:
		return s.errorf(errs.Unavailable, "refuses the gateway's credential (HTTP %d); set it under headers", status)
	case status == 429 || status == 503:
		return s.errorf(errs.Unavailable, "is overloaded (HTTP %d); try again later", status)
	case status >= 300 && status < 400:
		return s.errorf(errs.Unavailable, "answers a redirect (HTTP %d), which is not followed; set url to the final address", status)
	}
	return nil
}

// notMCP judges an answer that carries no message.
func (l *httpLink) notMCP(f *flight, ls *session, kind string) error {
	status := f.resp.Status()
	switch {
	case ls != nil && ls.id != "" && status == 404:
		return errSessionLost
	case noPOST(status):
		return &wrongEra{l.s.errorf(errs.Protocol, "answers HTTP %d without an MCP message; check that url is the MCP endpoint", status)}
	case status >= 500:
		return l.s.errorf(errs.Unavailable, "fails with HTTP %d", status)
	}
	return l.s.errorf(errs.Protocol, "answers HTTP %d with content type %.60q instead of application/json or text/event-stream", status, kind)
}

// noPOST tells a status that a server gives to a POST that it has no place for.
func noPOST(status int) bool {
	switch status {
	case 400, 404, 405, 406, 415:
		return true
	}
	return false
}

func mediaType(v string) string {
	if i := strings.IndexByte(v, ';'); i >= 0 {
		v = v[:i]
	}
	return strings.ToLower(strings.TrimSpace(v))
}

// single reads an answer that is one JSON message.
func (l *httpLink) single(f *flight, c *Call, out *mcp.Raw, ls *session, limit time.Duration) error {
	buf, err := l.readAll(f, limit)
	if err != nil {
		return err
	}
	out.Own(buf)
	if e := mcp.Scan(out.Body, &out.Message, l.s.limits()); e != nil {
		out.Reset()
		if noPOST(f.resp.Status()) {
			return l.notMCP(f, ls, "application/json")
		}
		return l.garbage(e)
	}
	if out.Kind != mcp.KindBatch {
		return l.check(f, out, ls)
	}
	defer buf.Free()
	f.asking.opens = false // what is asked here has no stream on which the call could go on
	data := out.Body
	out.Reset()
	if done, err := l.batch(f, c, out, ls, data); done || err != nil {
		return err
	}
	return l.s.errorf(errs.Protocol, "answers a request with a batch that lacks its answer")
}

func (l *httpLink) garbage(e *mcp.Error) error {
	return l.s.errorf(errs.Protocol, "answers what is not a valid MCP message: %s", e.Message)
}

// check accepts only the answer to our own request.
func (l *httpLink) check(f *flight, out *mcp.Raw, ls *session) error {
	if ls != nil && ls.id != "" && lostSession(f.resp.Status(), out) {
		return errSessionLost
	}
	id := out.ID.Of(out.Body)
	switch {
	case out.Kind == mcp.KindError && (id == nil || string(id) == "null"):
		return nil
	case out.Kind != mcp.KindResult && out.Kind != mcp.KindError:
		return l.s.errorf(errs.Protocol, "answers a request with a message that is no answer")
	case !bytes.Equal(id, f.id):
		return l.s.errorf(errs.Protocol, "answers with the id of another request (%.40s instead of %s)", id, f.id)
	}
	return nil
}

// lostSession: 404 is what the specification asks for; well-known servers answer 400 with -32000 instead.
func lostSession(status int, out *mcp.Raw) bool {
	if out.Kind != mcp.KindError {
		return false
	}
	if out.ID.Present() {
		return false // it knows the request: it took it up
	}
	if status == 404 {
		return out.ErrorCode != mcp.CodeMethodNotFound
	}
	msg := bytes.ToLower(out.Get(mcp.KeyMessage).Of(out.Body))
	return status == 400 && bytes.Contains(msg, []byte("session"))
}

// readAll reads a whole body into a pooled buffer.
func (l *httpLink) readAll(f *flight, limit time.Duration) (*mcp.Buffer, error) {
	most := l.maxBytes()
	n := f.resp.ContentLength()
	if n > int64(most) {
		return nil, l.tooLarge(most)
	}
	f.resp.SetTimeout(limit)
	if n >= 0 {
		buf := mcp.GetBuffer(int(n))
		buf.B = buf.B[:n]
		if _, err := io.ReadFull(&f.resp, buf.B); err != nil {
			buf.Free()
			return nil, err
		}
		return buf, nil
	}
	buf := mcp.GetBuffer(8 << 10)
	for {
		if len(buf.B) == cap(buf.B) {
			bigger := mcp.GetBuffer(2 * cap(buf.B))
			bigger.B = append(bigger.B[:0], buf.B...)
			buf.Free()
			buf = bigger
		}
		n, err := f.resp.Read(buf.B[len(buf.B):cap(buf.B)])
		buf.B = buf.B[:len(buf.B)+n]
		if len(buf.B) > most {
			buf.Free()
			return nil, l.tooLarge(most)
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			buf.Free()
			return nil, err
		}
	}
}

func (l *httpLink) maxBytes() int { return l.s.maxBytes() }

func (l *httpLink) tooLarge(most int) error {
	return l.s.errorf(errs.Protocol, "answers more than %d bytes; raise messages.maxBytes if that is right", most)
}

// stream reads an answer that comes as server-sent events, resuming it where a legacy server lets go of the connection.
func (l *httpLink) stream(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, limit time.Duration) error {
	f.begin()
	return l.follow(ctx, f, c, out, ls, limit)
}

// follow is stream from where it stands.
func (l *httpLink) follow(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, limit time.Duration) error {
	for try := 0; ; try++ {
		f.heard = false
		done, err := l.readEvents(f, c, out, ls, limit)
		if done || !f.cut(err) {
			return err
		}
		if f.heard {
			try = 0 // the server lets go after each event, as it may
		}
		if ls == nil || f.lastID == "" || try >= resumeMost {
			return l.s.errorf(f.broken(errs.Protocol), "ended its stream before the answer; the call may have been carried out")
		}
		if len(f.asking.list) > 0 {
			return errAsked // the rest is fetched when the client has answered
		}
		if err := l.resume(ctx, f, ls, limit); err != nil {
			return err
		}
		f.begin()
	}
}

// begin starts to read a stream.
func (f *flight) begin() {
	f.events.Reset(&f.resp)
	if f.heedful {
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
func (l *httpLink) readEvents(f *flight, c *Call, out *mcp.Raw, ls *session, limit time.Duration) (done bool, err error) {
	for {
		f.resp.SetTimeout(limit)
		if len(f.asking.list) > 0 && f.gather.IsZero() {
			f.gather = time.Now().Add(gatherTime)
			f.resp.SetDeadline(f.gather)
		}
		ev, err := f.events.Next()
		if err != nil {
			if f.heedful && errors.Is(err, os.ErrDeadlineExceeded) && l.overheard(f, ls) {
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
		if done, err := l.event(f, c, out, ls, ev.Data); done || err != nil {
			return true, err
		}
	}
}

// event handles one message of a stream.
func (l *httpLink) event(f *flight, c *Call, out *mcp.Raw, ls *session, data []byte) (done bool, err error) {
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
		l.question(f, ls, n)
	case mcp.KindBatch:
		return l.batch(f, c, out, ls, data)
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

// batch handles an array of messages, which servers of 2025-03-26 may send (basic "Batching").
func (l *httpLink) batch(f *flight, c *Call, out *mcp.Raw, ls *session, data []byte) (done bool, err error) {
	spans, e := mcp.Split(data, l.s.limits())
	if e != nil {
		return true, l.garbage(e)
	}
	for _, span := range spans {
		element := span.Of(data)
		if element[0] == '[' {
			return true, l.s.errorf(errs.Protocol, "sends a batch inside a batch")
		}
		if done, err := l.event(f, c, out, ls, element); done || err != nil {
			return done, err
		}
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
func (l *httpLink) resume(ctx context.Context, f *flight, ls *session, limit time.Duration) error {
	select {
	case <-time.After(f.retry):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	f.resp.Close()
	f.head = append(append(f.head[:0], "GET"...), l.start...)
	f.head = append(f.head, "Accept: text/event-stream\r\n"...)
	f.header("Last-Event-ID", headerSafe.Replace(f.lastID))
	ls.headers(f)
	f.req.Head, f.req.Body, f.req.Safe = f.head, nil, true
	f.req.Timeout = limit
	if err := l.client.Do(ctx, &f.req, &f.resp); err != nil {
		return err
	}
	if f.resp.Status() != 200 || mediaType(f.resp.Header("Content-Type")) != "text/event-stream" {
		return l.s.errorf(f.broken(errs.Protocol), "let go of its stream and does not resume it (HTTP %d); the call may have been carried out", f.resp.Status())
	}
	return nil
}

// headerSafe takes out what no header may carry.
var headerSafe = strings.NewReplacer("\r", "", "\n", "")

// errSessionLost says that the server does not know the session any more; nothing was executed.
var errSessionLost = fmt.Errorf("session is gone")
