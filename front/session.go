package front

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/seal"
	"github.com/toolcrib/toolcrib/upstream"
)

const (
	infoMost         = 512 // bytes of clientInfo kept in a session id
	capabilitiesMost = 384 // bytes of ClientCapabilities kept as they were declared
	idLen            = 16  // random bytes that tell sessions apart
	sessionKind      = "session"
)

type sessionID = [idLen]byte

// session is what a session id holds.
type session struct {
	id           sessionID
	version      string
	info         []byte // raw JSON; nil when it was too long
	capabilities []byte // raw ClientCapabilities; nil when the client declared none
	key          string // names it
	own          string // names it at servers, when they may ask it something; empty when it may be one with others of its principal
	born         time.Time
	expires      time.Time

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
	s := v.newSession(version)
	token := v.sealSession(s)
	v.sink.header("Mcp-Session-Id", token) // now: a server that starts slowly may have the answer streamed
	err = v.describe(r.Context(), version)
	if err == nil {
		err = v.record(http.StatusOK, v.x.Out.Len(), nil)
	}
	if err != nil {
		v.sink.header("Mcp-Session-Id", "")
		v.h.o.Gateway.Leave(s.own, s.key)
		return err
	}
	v.h.opened.put(token, s) // no other replica can know anything of it yet
	v.h.expiries.add(s, v.h.expired)
	v.sink.limits(&v.x)
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

// newSession is the session that initialize asks for.
func (v *visit) newSession(version string) *session {
	in := &v.x.In
	s := &session{
		version: version, capabilities: declared(in.Get(mcp.KeyCapabilities).Of(in.Body)),
		born:      time.Now(),
		expires:   time.Now().Add(time.Duration(v.x.Plan().Config.Sessions.TTL)),
		principal: v.x.Principal.Key(), endpoint: v.x.Endpoint,
	}
	rand.Read(s.id[:])
	s.name()
	v.x.Within, v.x.Protocol = s.key, version
	if info := in.Get(mcp.KeyClientInfo).Of(in.Body); len(info) > 0 && len(info) <= infoMost && info[0] == '{' {
		s.info = bytes.Clone(info)
	}
	return s
}

// name tells the session apart at servers: they may remember what its client answers.
func (s *session) name() {
	s.key = hex.EncodeToString(s.id[:])
	if upstream.AbilitiesOf(s.capabilities) != 0 {
		s.own = s.principal + " " + s.key
	}
}

// declared are a client's capabilities as they were sent, or, if they are too long for that, what matters of them.
func declared(raw []byte) []byte {
	switch {
	case len(raw) == 0 || raw[0] != '{':
		return nil
	case len(raw) > capabilitiesMost:
		return upstream.AbilitiesOf(raw).Capabilities()
	}
	return bytes.Clone(raw)
}

// sealSession makes the session id: JSON has no zero byte, so one ends each part.
func (v *visit) sealSession(s *session) string {
	s.ring = v.h.ring.Load()
	payload := make([]byte, idLen, idLen+8+len(s.version)+1+len(s.info)+1+len(s.capabilities))
	copy(payload, s.id[:])
	payload = binary.BigEndian.AppendUint64(payload, uint64(s.expires.UnixNano()))
	payload = append(append(payload, s.version...), 0)
	payload = append(append(payload, s.info...), 0)
	payload = append(payload, s.capabilities...)
	return s.ring.Seal(sessionKind, v.binding(), payload, time.Until(s.expires))
}

// openSession opens the session id of a request. Whatever is wrong with it, the answer is the one that makes a client
// initialize again, and that tells an attacker nothing.
func (v *visit) openSession(r *http.Request) (*session, error) {
	tokens := r.Header["Mcp-Session-Id"]
	if len(tokens) != 1 {
		return nil, v.noSession()
	}
	ring := v.h.ring.Load()
	s := v.h.opened.get(ring, tokens[0], v.x.Principal.Key(), v.x.Endpoint)
	if s == nil {
		if s = v.unseal(ring, tokens[0]); s == nil {
			return nil, v.noSession()
		}
		v.h.learn(r.Context(), tokens[0], s)
	}
	if v.h.sessions.ended(s.id) {
		return nil, v.noSession()
	}
	v.x.Within, v.x.Protocol = s.key, s.version
	return s, nil
}

func (v *visit) noSession() error {
	v.rejected(sessionKind)
	return errs.E("front", errs.SessionNotFound, "session is unknown, expired, ended, or of another caller or endpoint; initialize again")
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
	s.born = s.expires.Add(-time.Duration(v.x.Plan().Config.Sessions.TTL)) // as it was made, unless that has changed since
	version, rest, _ := bytes.Cut(payload[idLen+8:], []byte{0})
	if s.version = string(version); !mcp.Known(s.version) {
		return nil
	}
	info, capabilities, _ := bytes.Cut(rest, []byte{0})
	if len(info) > 0 {
		s.info = info
	}
	if len(capabilities) > 0 {
		s.capabilities = capabilities
	}
	s.name()
	return s
}

// endSession serves DELETE.
func (v *visit) endSession(r *http.Request) error {
	v.x.Operation = "session/end"
	s, err := v.openSession(r)
	if err != nil {
		return err
	}
	v.h.opened.drop(r.Header["Mcp-Session-Id"][0])
	if err := v.h.endSession(r.Context(), s); err != nil {
		return err
	}
	v.h.ended(s, "client")
	if err := v.record(http.StatusNoContent, 0, nil); err != nil {
		return err
	}
	v.sink.status(http.StatusNoContent)
	return nil
}
