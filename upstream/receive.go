package upstream

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
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
	f.req.Timeout = l.s.overture(c, limit)
	f.req.Safe = c.In.Method.Facts().Cacheable
	err := f.m.client.Do(ctx, &f.req, &f.resp)
	if err == nil {
		f.sent = true
		c.attempt.Began(f.resp.Connect())
		err = l.receive(ctx, f, c, out, ls, limit)
	}
	return l.settle(ctx, f, c, out, ls, err, limit)
}

// settle gives the failure of a call its final form, tells a legacy server when it was the caller who ended it, and judges the
// instance.
func (l *httpLink) settle(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, err error, limit time.Duration) error {
	if err != nil && !errors.Is(err, errAsked) {
		out.Reset()
		err = l.failed(ctx, f, c, ls, err, limit)
	}
	if f.works {
		l.judge(ctx, f, c, err)
	}
	return err
}

func (l *httpLink) failed(ctx context.Context, f *flight, c *Call, ls *session, err error, limit time.Duration) error {
	left := context.Cause(ctx)
	if left != nil {
		err = left
	} else {
		err = l.explain(f, c, err, limit)
	}
	gaveUp := left != nil || errs.Of(err).Kind == errs.Timeout
	if gaveUp && ls != nil && c.In.Method != mcp.MethodInitialize { // which must not be cancelled
		l.cancelled(ls, f.id)
	}
	return err
}

// explain turns a failure of transport into an error that names it, and has the server probed anew where it may be gone.
func (l *httpLink) explain(f *flight, c *Call, err error, limit time.Duration) error {
	var e *errs.Error
	var w *wrongEra
	if errors.As(err, &e) || errors.As(err, &w) || errors.Is(err, errSessionLost) {
		return err // the server answered: it is there, and what it is does not have to be found out again
	}
	var fault *h1.Error
	errors.As(err, &fault)
	early := fault != nil && (fault.Phase == h1.PhaseDial || fault.Phase == h1.PhaseTLS) && !f.sent
	if errors.Is(err, os.ErrDeadlineExceeded) && !early {
		if fault != nil && fault.Phase != h1.PhaseBody {
			return l.s.late(c, limit, "")
		}
		return l.s.silent(c, limit, "")
	}
	if !early {
		return l.s.errorf(f.broken(errs.Unavailable), "connection broke in mid-call; the call may have been carried out: %w", err)
	}
	out := l.s.unreachable(err)
	if !l.sites.several {
		l.s.fail(out)
	}
	return &unreached{out}
}

// unreachable says that no connection came about.
func (s *Server) unreachable(err error) *errs.Error {
	var fault *h1.Error
	if errors.As(err, &fault) && (fault.Phase == h1.PhaseDial || fault.Phase == h1.PhaseTLS) && errors.Is(err, os.ErrDeadlineExceeded) {
		return s.errorf(errs.Unavailable, "cannot be reached at its url: %w; raise timeouts.connect if it needs longer", err)
	}
	return s.errorf(errs.Unavailable, "cannot be reached at its url: %w", err)
}

// receive reads the answer, whatever form it comes in.
func (l *httpLink) receive(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, limit time.Duration) error {
	if err := l.s.refusal(f.resp.Status()); err != nil {
		c.tooMuch = tooMuch(f.resp.Status())
		c.vain = !c.tooMuch // it says the same to whoever asks again
		if c.tooMuch && !l.sites.several {
			if after := pauseOf(f.resp.Header("Retry-After"), time.Now()); after > 0 {
				err = err.Later("server", after)
			}
		}
		return l.reasoned(f, err)
	}
	switch kind := mediaType(f.resp.Header("Content-Type")); kind {
	case "text/event-stream":
		return l.stream(ctx, f, c, out, ls, limit)
	case "application/json":
		return l.single(ctx, f, c, out, ls, limit)
	default:
		return l.notMCP(f, ls, kind)
	}
}

// Reason is what a server itself said of its refusal. It is no part of the text of errors: it may repeat what it was sent.
type Reason string

// Error is what the server said.
func (r Reason) Error() string { return string(r) }

const (
	reasonMost = 4 << 10
	reasonTime = time.Second
)

// reasoned adds the server's own reason for a refusal, the message of a JSON-RPC error or of a problem (RFC 9457), as its cause.
func (l *httpLink) reasoned(f *flight, refused *errs.Error) error {
	switch mediaType(f.resp.Header("Content-Type")) {
	case "application/json", "application/problem+json":
	default:
		return refused
	}
	f.resp.SetTimeout(reasonTime)
	body, err := io.ReadAll(io.LimitReader(&f.resp, reasonMost))
	var said struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
		Detail string `json:"detail"`
	}
	if err != nil || json.Unmarshal(body, &said) != nil {
		return refused
	}
	if text := cmp.Or(said.Error.Message, said.Detail); text != "" {
		refused.Err = Reason(text)
	}
	return refused
}

// refusal is what a status says whatever else is in the answer; nil for any other status.
func (s *Server) refusal(status int) *errs.Error {
	switch {
	case status == 401 || status == 403:
		return s.errorf(errs.Unavailable, "refuses the gateway's credential (HTTP %d); set it under headers", status)
	case status == http.StatusTooManyRequests:
		return s.errorf(errs.Unavailable, "takes no more requests from this caller now (HTTP %d): a limit of its own is reached; try again later", status)
	case tooMuch(status):
		return s.errorf(errs.Unavailable, "is overloaded (HTTP %d); try again later", status)
	case status >= 300 && status < 400:
		return s.errorf(errs.Unavailable, "answers a redirect (HTTP %d), which is not followed; set url to the final address", status)
	}
	return nil
}

// pauseMost bounds for how long a server has callers stay away.
const pauseMost = time.Hour

// pauseOf reads Retry-After (RFC 9110 section 10.2.3); 0 for none.
func pauseOf(v string, now time.Time) time.Duration {
	if v == "" {
		return 0
	}
	var pause time.Duration
	if n, err := strconv.ParseUint(v, 10, 32); err == nil {
		pause = time.Duration(n) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		pause = at.Sub(now)
	} else {
		return 0
	}
	return min(max(pause, 0), pauseMost)
}

func tooMuch(status int) bool { return status == 429 || status == 503 }

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
	if kind == "application/json" {
		return l.s.errorf(errs.Protocol, "answers HTTP %d without an MCP message", status)
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
func (l *httpLink) single(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, limit time.Duration) error {
	buf, err := l.readAll(f, limit)
	if err != nil {
		return err
	}
	out.Own(buf)
	if e := mcp.Scan(out.Body, &out.Message, l.s.limits()); e != nil {
		out.Reset()
		if f.resp.Status() >= 400 { // which says more than what came with it
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
	if done, err := l.batch(ctx, f, c, out, ls, data); done || err != nil {
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

// batch handles an array of messages, which servers of 2025-03-26 may send (basic "Batching").
func (l *httpLink) batch(ctx context.Context, f *flight, c *Call, out *mcp.Raw, ls *session, data []byte) (done bool, err error) {
	spans, e := mcp.Split(data, l.s.limits())
	if e != nil {
		return true, l.garbage(e)
	}
	for _, span := range spans {
		element := span.Of(data)
		if element[0] == '[' {
			return true, l.s.errorf(errs.Protocol, "sends a batch inside a batch")
		}
		if done, err := l.event(ctx, f, c, out, ls, element); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// headerSafe takes out what no header may carry.
var headerSafe = strings.NewReplacer("\r", "", "\n", "")

// errSessionLost says that the server does not know the session any more; nothing was executed.
var errSessionLost = fmt.Errorf("session is gone")
