package front

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/seal"
	"github.com/toolcrib/toolcrib/upstream"
)

// session serves a message that belongs to a legacy session.
func (v *visit) session(r *http.Request) error {
	s, err := v.openSession(r.Header)
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
	return v.message(s)
}

// message serves one message of a session.
func (v *visit) message(s *session) error {
	x := &v.x
	switch x.In.Kind {
	case mcp.KindNotification:
		if x.In.Method == mcp.MethodCancelled {
			v.h.running.cancel(s.id, string(x.In.Get(mcp.KeyRequestID).Of(x.In.Body)))
		}
		v.sink.status(http.StatusAccepted)
		return nil
	case mcp.KindResult, mcp.KindError:
		// Nothing was asked, so nothing waits for it.
		v.sink.status(http.StatusAccepted)
		return nil
	case mcp.KindRequest:
		return v.request(s)
	}
	return errs.E("front", errs.BadRequest, "the body is a %s; a session takes requests, notifications and responses", x.In.Kind)
}

// legacyMost bounds a call whose client may be gone without that ending it.
const legacyMost = time.Hour

var errLegacyMost = errs.E("front", errs.Timeout, "the call took longer than %s", legacyMost)

var emptyObject = []byte("{}")

func (v *visit) request(s *session) error {
	x := &v.x
	switch x.In.Method {
	case mcp.MethodInitialize:
		return errs.E("front", errs.BadRequest, "initialize inside a session; send it without Mcp-Session-Id to open another")
	case mcp.MethodPing:
		return v.local(emptyObject)
	case mcp.MethodSetLevel:
		return v.setLevel(s)
	}
	if facts := x.In.Method.Facts(); !facts.Legacy || (facts.Tasks && !mcp.HasTasks(s.version)) {
		name, _ := mcp.Text(x.In.Body, x.In.MethodText, nil)
		return errs.E("front", errs.MethodNotFound, "method %.80q does not exist in %s", name, s.version)
	}
	x.Client = upstream.Client{Info: s.info, LogLevel: v.h.sessions.level(s.id)}
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
	return v.respond(ctx, legacyAnswer)
}

func (v *visit) local(result []byte) error {
	if err := v.x.Answer(result); err != nil {
		return err
	}
	v.sink.answer(&v.x.Out, http.StatusOK)
	return nil
}

func (v *visit) setLevel(s *session) error {
	x := &v.x
	span := x.In.Get(mcp.KeyLevel)
	level, ok := mcp.Text(x.In.Body, span, nil)
	if !ok || !upstream.KnownLogLevel(string(level)) {
		return errs.E("front", errs.Invalid, "params.level is %.40s; it must be a level such as info or error", span.Of(x.In.Body))
	}
	v.h.sessions.setLevel(s.id, string(level), s.expires)
	return v.local(emptyObject)
}

// legacyAnswer takes from an answer what legacy clients do not understand.
func legacyAnswer(x *gateway.Exchange) error {
	out := &x.Out
	if out.Kind == mcp.KindError {
		legacyCode(x)
		return nil
	}
	if string(out.Get(mcp.KeyResultType).Of(out.Body)) == `"input_required"` {
		return errs.E("gateway", errs.Unsupported, "the server asks the client a question (input_required), "+
			"which is not carried to sessions of %s", mcp.LatestLegacy)
	}
	// Before 2026-07-28 structuredContent is an object; the same stands in content as text.
	if f := out.Fields[mcp.KeyStructuredContent]; f.Present() && out.Body[f.Start] != '{' {
		out.Edits.Remove(out.Body, f)
	}
	return nil
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

const (
	infoMost    = 512 // bytes of clientInfo kept in a session id
	idLen       = 16  // random bytes that tell sessions apart
	sessionKind = "session"
)

// session is what a session id holds.
type session struct {
	id      [idLen]byte
	version string
	info    []byte // raw JSON; nil when it was too long
	expires time.Time

	local               bool   // held by a stream of this replica, so that no other has to know of it
	principal, endpoint string // who may use it, and where
	ring                *seal.Ring
}

// binding ties a session id to who may use it, and where.
func (v *visit) binding() []byte {
	return append(append([]byte(v.x.Principal.Key()), 0), v.x.Endpoint...)
}

// initialize opens a session: the id is all there is of it.
func (v *visit) initialize(r *http.Request) error {
	version, err := v.negotiate(mcp.LatestLegacy)
	if err != nil {
		return err
	}
	v.sink.header("Mcp-Session-Id", v.sealSession(version)) // now: a server that starts slowly may have the answer streamed
	if err := v.describe(r.Context(), version); err != nil {
		v.sink.header("Mcp-Session-Id", "")
		return err
	}
	v.sink.answer(&v.x.Out, http.StatusOK)
	return nil
}

// negotiate agrees on the version that initialize asks for, or else on another.
func (v *visit) negotiate(otherwise string) (string, error) {
	x := &v.x
	if x.In.Kind != mcp.KindRequest {
		return "", errs.E("front", errs.BadRequest, "initialize needs an id")
	}
	asked, ok := mcp.Text(x.In.Body, x.In.Get(mcp.KeyProtocolVersion), nil)
	if !ok {
		return "", errs.E("front", errs.Invalid, "params.protocolVersion is missing or no string; initialize needs it")
	}
	if version := string(asked); mcp.Known(version) && !mcp.IsModern(version) {
		return version, nil
	}
	return otherwise, nil
}

// describe makes the answer to initialize.
func (v *visit) describe(ctx context.Context, version string) error {
	d, err := v.h.o.Gateway.Describe(ctx, &v.x)
	if err != nil {
		return err
	}
	b := mcp.AppendString([]byte(`{"protocolVersion":`), version)
	b = append(append(b, `,"capabilities":`...), d.ForLegacy(version)...)
	b = append(append(b, `,"serverInfo":`...), d.Info...)
	if d.Instructions != nil {
		b = append(append(b, `,"instructions":`...), d.Instructions...)
	}
	return v.x.Answer(append(b, '}'))
}

func (v *visit) sealSession(version string) string {
	x := &v.x
	ttl := time.Duration(x.Plan().Config.Sessions.TTL)
	payload := make([]byte, idLen, idLen+8+len(version)+1+infoMost)
	rand.Read(payload)
	payload = binary.BigEndian.AppendUint64(payload, uint64(time.Now().Add(ttl).UnixNano()))
	payload = append(append(payload, version...), 0)
	if info := x.In.Get(mcp.KeyClientInfo).Of(x.In.Body); len(info) > 0 && len(info) <= infoMost && info[0] == '{' {
		payload = append(payload, info...)
	}
	return v.h.ring.Load().Seal(sessionKind, v.binding(), payload, ttl)
}

// openSession opens the session id of a request. Whatever is wrong with it, the answer is the one that makes a client
// initialize again, and that tells an attacker nothing.
func (v *visit) openSession(h http.Header) (*session, error) {
	tokens := h["Mcp-Session-Id"]
	gone := errs.E("front", errs.SessionNotFound, "session is unknown, expired, ended, or of another caller or endpoint; initialize again")
	if len(tokens) != 1 {
		return nil, gone
	}
	ring := v.h.ring.Load()
	s := v.h.opened.get(ring, tokens[0], v.x.Principal.Key(), v.x.Endpoint)
	if s == nil {
		if s = v.unseal(ring, tokens[0]); s == nil {
			return nil, gone
		}
		v.h.opened.put(tokens[0], s)
	}
	if v.h.sessions.ended(s.id) {
		return nil, gone
	}
	return s, nil
}

// unseal opens a session id; nil when it is not one that this caller may use here.
func (v *visit) unseal(ring *seal.Ring, token string) *session {
	payload, err := ring.Open(sessionKind, v.binding(), token, time.Now())
	if err != nil || len(payload) < idLen+8 {
		return nil
	}
	s := &session{ring: ring, principal: v.x.Principal.Key(), endpoint: v.x.Endpoint}
	copy(s.id[:], payload)
	s.expires = time.Unix(0, int64(binary.BigEndian.Uint64(payload[idLen:])))
	version, info, _ := bytes.Cut(payload[idLen+8:], []byte{0})
	if s.version = string(version); !mcp.Known(s.version) {
		return nil
	}
	if len(info) > 0 {
		s.info = info
	}
	return s
}

// endSession serves DELETE.
func (v *visit) endSession() error {
	s, err := v.openSession(v.x.Header)
	if err != nil {
		return err
	}
	v.h.sessions.end(s.id, s.expires)
	v.h.opened.drop(v.x.Header["Mcp-Session-Id"][0])
	v.h.running.cancelAll(s.id)
	v.sink.status(http.StatusNoContent)
	return nil
}
