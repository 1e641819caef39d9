package front

import (
	"context"
	"net/http"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// session serves a message that belongs to a legacy session.
func (v *visit) session(r *http.Request) error {
	s, err := v.openSession(r)
	if err != nil {
		return err
	}
	if h := r.Header["Mcp-Protocol-Version"]; len(h) > 0 && (len(h) > 1 || !mcp.Known(h[0])) {
		return unsupportedVersion(h[0])
	}
	return v.inSession(r.Context(), s)
}

// inSession serves what a client sent within its session.
func (v *visit) inSession(ctx context.Context, s *session) error {
	if v.x.In.Kind == mcp.KindBatch {
		if !mcp.Batches(s.version) {
			return errs.E("front", errs.BadRequest, "the body is an array; only %s has batches, this session speaks %s", mcp.Version20250326, s.version)
		}
		return v.batch(ctx, s)
	}
	return v.message(ctx, s)
}

// message serves one message of a session. ctx is that of the connection, or of the stream, that it came on.
func (v *visit) message(ctx context.Context, s *session) error {
	x := &v.x
	x.Within, x.Protocol = s.key, s.version
	switch x.In.Kind {
	case mcp.KindNotification:
		if x.In.Method == mcp.MethodCancelled {
			if err := v.h.cancel(ctx, s, string(x.In.Get(mcp.KeyRequestID).Of(x.In.Body))); err != nil {
				return err
			}
		}
		v.sink.status(http.StatusAccepted)
		return nil
	case mcp.KindResult, mcp.KindError:
		if err := v.answer(ctx, s); err != nil {
			return err
		}
		v.sink.status(http.StatusAccepted)
		return nil
	case mcp.KindRequest:
		return v.request(ctx, s)
	}
	return errs.E("front", errs.BadRequest, "the body is a %s; a session takes requests, notifications and responses", x.In.Kind)
}

// legacyMost bounds a call whose client may be gone without that ending it.
const legacyMost = time.Hour

var errLegacyMost = errs.E("front", errs.Timeout, "the call took longer than %s", legacyMost)

var emptyObject = []byte("{}")

func (v *visit) request(client context.Context, s *session) error {
	x := &v.x
	x.Client = upstream.Client{Info: s.info, Capabilities: s.capabilities, LogLevel: v.h.sessions.level(s.id)}
	switch x.In.Method {
	case mcp.MethodInitialize:
		return errs.E("front", errs.BadRequest, "initialize inside a session; send it without Mcp-Session-Id to open another")
	case mcp.MethodPing:
		return v.local(emptyObject)
	case mcp.MethodSetLevel, mcp.MethodResourcesUnsubscribe:
		if err := v.h.o.Gateway.Meter(client, x); err != nil {
			return err
		}
		if x.In.Method == mcp.MethodResourcesUnsubscribe {
			return v.unsubscribe(client, s)
		}
		return v.setLevel(client, s)
	case mcp.MethodResourcesSubscribe:
		return v.subscribe(client, s)
	}
	if facts := x.In.Method.Facts(); !facts.Legacy || (facts.Tasks && !mcp.HasTasks(s.version)) {
		name, _ := mcp.Text(x.In.Body, x.In.MethodText, nil)
		return errs.E("front", errs.MethodNotFound, "method %.80q does not exist in %s", name, s.version)
	}
	x.Session = s.own
	x.Notify = v.notify()
	// A legacy client that only loses its connection did not cancel (2025-11-25 transports); notifications/cancelled does.
	life := v.life
	if life == nil {
		life = v.h.o.Life
	}
	ctx, cancel := context.WithTimeoutCause(life, legacyMost, errLegacyMost)
	defer cancel()
	id := string(x.In.ID.Of(x.In.Body))
	if !v.h.running.add(s.id, id, cancel) {
		return errs.E("front", errs.BadRequest, "id %.60s is in use by another request of this session", id)
	}
	defer v.h.running.remove(s.id, id)
	if err := v.converse(ctx, client, s); err != nil {
		if errs.Of(err).Kind == errs.SessionNotFound {
			v.h.lost(ctx, s)
			v.h.ended(s, "server")
		}
		return err
	}
	legacyAnswer(x)
	return v.reply(http.StatusOK)
}

func (v *visit) local(result []byte) error {
	if err := v.x.Answer(result); err != nil {
		return err
	}
	return v.reply(http.StatusOK)
}

func (v *visit) setLevel(ctx context.Context, s *session) error {
	x := &v.x
	span := x.In.Get(mcp.KeyLevel)
	level, ok := mcp.Text(x.In.Body, span, nil)
	if !ok || !upstream.KnownLogLevel(string(level)) {
		return errs.E("front", errs.Invalid, "params.level is %.40s; it must be a level such as info or error", span.Of(x.In.Body))
	}
	if err := v.h.setLevel(ctx, s, string(level)); err != nil {
		return err
	}
	return v.local(emptyObject)
}

// legacyAnswer takes from an answer what legacy clients do not understand.
func legacyAnswer(x *gateway.Exchange) {
	out := &x.Out
	if out.Kind == mcp.KindError {
		legacyCode(x)
		return
	}
	// Before 2026-07-28 structuredContent is an object; the same stands in content as text.
	if f := out.Fields[mcp.KeyStructuredContent]; f.Present() && out.Body[f.Start] != '{' {
		out.Edits.Remove(out.Body, f)
	}
}

var (
	codeInternal         = []byte("-32603")
	codeResourceNotFound = []byte("-32002")
)

// legacyCode maps the codes that only 2026-07-28 has.
func legacyCode(x *gateway.Exchange) {
	out := &x.Out
	code := out.Get(mcp.KeyCode)
	switch {
	case out.ErrorCode == mcp.CodeInvalidParams && x.In.Method == mcp.MethodResourcesRead:
		out.Edits.Replace(code, codeResourceNotFound)
	case out.ErrorCode == mcp.CodeHeaderMismatch, out.ErrorCode == mcp.CodeMissingCapability, out.ErrorCode == mcp.CodeUnsupportedVersion:
		out.Edits.Replace(code, codeInternal)
	}
}
