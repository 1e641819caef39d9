package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// A requestState that leaves the gateway is a sealed token, bound to principal, endpoint and request, whatever the server made
// of its own (2026-07-28 basic/patterns/mrtr: it must be taken for attacker-controlled).

const (
	stateKind = "state"
	stateLife = time.Hour
	digestLen = 16
	innerMost = 32 << 10 // bytes of a server's own requestState
)

// what a requestState stands for.
type stateOf byte

const (
	stateInner  stateOf = 'i' // a modern server's own requestState
	stateParked stateOf = 'p' // a call that waits at a legacy server
	stateAgain  stateOf = 'a' // a call that a legacy server wants to have made again (-32042)
	stateTask   stateOf = 't' // a modern server's task, waited for in the place of a client that knows no tasks
	stateClock  stateOf = 'c' // nothing but how long the call took: the server keeps no state
)

// state is what the token holds.
type state struct {
	of      stateOf
	rounds  uint8
	spent   time.Duration   // of the time that the call has as a whole
	digest  [digestLen]byte // of the request it belongs to
	server  string
	inner   []byte // raw JSON of the server's own requestState, or the task that is waited for
	replica string // that holds the parked call
	number  uint64
}

func (s *state) payload() []byte {
	b := append([]byte{byte(s.of), s.rounds}, s.digest[:]...)
	b = binary.AppendUvarint(b, uint64(s.spent))
	b = append(binary.AppendUvarint(b, uint64(len(s.server))), s.server...)
	if s.of == stateParked {
		b = binary.BigEndian.AppendUint64(b, s.number)
		b = append(binary.AppendUvarint(b, uint64(len(s.replica))), s.replica...)
	}
	return append(b, s.inner...)
}

// readState undoes payload; only tokens of our own reach it.
func readState(b []byte) (s state, ok bool) {
	if len(b) < 2+digestLen+1 {
		return s, false
	}
	s.of, s.rounds = stateOf(b[0]), b[1]
	copy(s.digest[:], b[2:])
	b = b[2+digestLen:]
	spent, w := binary.Uvarint(b)
	if w <= 0 || spent > math.MaxInt64 {
		return s, false
	}
	s.spent, b = time.Duration(spent), b[w:]
	if s.server, b, ok = cutText(b); !ok {
		return s, false
	}
	if s.of == stateParked {
		if len(b) < 8 {
			return s, false
		}
		s.number = binary.BigEndian.Uint64(b)
		if s.replica, b, ok = cutText(b[8:]); !ok {
			return s, false
		}
	}
	s.inner = b
	return s, true
}

// cutText reads a text with its length before it.
func cutText(b []byte) (text string, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return "", nil, false
	}
	return string(b[w : w+int(n)]), b[w+int(n):], true
}

// binding ties a token to who may use it, and where.
func (x *Exchange) binding() []byte {
	return append(append([]byte(x.Principal.Key()), 0), x.Endpoint...)
}

// digest is that of what makes a retry the same request: method, name and arguments, whatever the white space.
func (x *Exchange) digest() (d [digestLen]byte) {
	h := sha256.New()
	h.Write([]byte(x.In.Method.String()))
	h.Write([]byte{0})
	h.Write(x.name)
	h.Write([]byte{0})
	h.Write(compact(x.In.Get(mcp.KeyArguments).Of(x.In.Body)))
	copy(d[:], h.Sum(nil))
	return d
}

// compact takes the white space between tokens out of raw JSON.
func compact(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	inString := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case inString && c == '\\':
			out = append(out, c)
			i++
			c = raw[i]
		case c == '"':
			inString = !inString
		case !inString && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			continue
		}
		out = append(out, c)
	}
	return out
}

// openState opens a requestState of the caller's. Whatever is wrong with it, the answer is the same.
func (g *Gateway) openState(x *Exchange, raw []byte) (*state, error) {
	text, ok := mcp.Text(raw, mcp.Span{End: int32(len(raw))}, nil)
	if ok {
		payload, err := g.o.Ring().Open(stateKind, x.binding(), string(text), time.Now())
		if err == nil {
			if s, ok := readState(payload); ok && s.server == x.member.Name && s.digest == x.digest() {
				return &s, nil
			}
		}
	}
	g.o.Metrics.TokenRejected(stateKind)
	g.o.Log.Info("requestState rejected", "principal", x.Who(), "endpoint", x.Endpoint, "method", x.In.Method.String())
	return nil, errs.E("gateway", errs.Invalid, "requestState is not valid for this request: it was changed, has expired, or belongs to another "+
		"request, caller or endpoint; send the request again without requestState and inputResponses")
}

func (g *Gateway) sealState(x *Exchange, s *state) []byte {
	token := g.o.Ring().Seal(stateKind, x.binding(), s.payload(), stateLife)
	return mcp.AppendString(nil, token)
}

// asks tells whether a request may be answered with questions (mrtr: only these three).
func asks(m mcp.Method) bool {
	return m == mcp.MethodToolsCall || m == mcp.MethodPromptsGet || m == mcp.MethodResourcesRead ||
		m == mcp.MethodTasksResult // of a legacy client, whose task may ask
}

// interact takes the answers of a retried request to the call that asked for them.
func interact(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	x.rounds = 0
	if !asks(x.In.Method) {
		return false, nil
	}
	if err := x.smuggled(); err != nil {
		return false, err
	}
	raw, where := x.retried()
	if !where && !x.In.Get(mcp.KeyInputResponses).Present() {
		return false, nil
	}
	if err := x.readAnswers(); err != nil {
		return false, err
	}
	if !where {
		return false, nil // a server that keeps no state: the answers stand in the body
	}
	s, err := g.openState(x, raw)
	if err != nil {
		return false, err
	}
	x.rounds, x.call.Spent = s.rounds, s.spent
	switch s.of {
	case stateParked:
		return g.unpark(ctx, x, s)
	case stateAgain:
		return false, x.accepted()
	case stateTask:
		return true, g.goOn(ctx, x, s)
	}
	x.passState(s)
	return false, nil
}

// smuggled: what a legacy client cannot have been given, no server is shown.
func (x *Exchange) smuggled() error {
	if x.Client.Modern {
		return nil
	}
	for _, k := range [...]mcp.Key{mcp.KeyRequestState, mcp.KeyInputResponses} {
		if x.In.Get(k).Present() {
			return errs.E("gateway", errs.Invalid, "params.%s exists only in %s; leave it out", k, mcp.VersionModern)
		}
	}
	return nil
}

// retried is the requestState that came with the request, from a modern client's body or a legacy client's front.
func (x *Exchange) retried() ([]byte, bool) {
	if x.state != nil {
		return x.state, true
	}
	span := x.In.Get(mcp.KeyRequestState)
	return span.Of(x.In.Body), span.Present() && x.Client.Modern
}

// passState has a modern server get its own requestState back, or none where it gave none.
func (x *Exchange) passState(s *state) {
	if x.state == nil {
		x.call.State, x.call.StateTo = x.In.Get(mcp.KeyRequestState), s.inner
		return
	}
	if len(s.inner) == 0 {
		return
	}
	if len(x.call.Add) > 0 {
		x.call.Add = append(x.call.Add, ',')
	}
	x.call.Add = append(append(x.call.Add, `"requestState":`...), s.inner...)
}
