package front

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

const (
	questionKind = "question"       // of the sealed id of a request to a client
	answerKind   = "answer"         // of the call that hands an answer to the replica that waits for it
	answerTime   = 10 * time.Second // for that replica to take it
)

// handle names a round of questions at its replica.
type handle [8]byte

// round is a set of questions that was put to a client.
type round struct {
	handle  handle
	session *session
	answers []upstream.Answer // by index; those not given yet have neither result nor error
	open    int
	done    chan struct{} // closed when none is open
}

// rounds are the rounds of this replica that wait for answers. They are bounded, since their clients may be gone.
type rounds struct {
	mu   sync.Mutex
	m    map[handle]*round
	each map[string]int // by principal
}

func (t *rounds) open(s *session, all []question, most v1.Questions) (*round, error) {
	r := &round{session: s, answers: make([]upstream.Answer, len(all)), open: len(all), done: make(chan struct{})}
	rand.Read(r.handle[:])
	for i := range all {
		r.answers[i].Key = all[i].key
	}
	const text = "%d calls%s wait for answers of their clients already; %s sets the limit"
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case len(t.m) >= most.Total:
		return nil, errs.E("front", errs.Overloaded, text, most.Total, "", "questions.total")
	case t.each[s.principal] >= most.PerPrincipal:
		return nil, errs.E("front", errs.Overloaded, text, most.PerPrincipal, " of this caller", "questions.perPrincipal")
	case t.m == nil:
		t.m, t.each = map[handle]*round{}, map[string]int{}
	}
	t.m[r.handle] = r
	t.each[s.principal]++
	return r, nil
}

// close takes no more answers; it returns those that came.
func (t *rounds) close(r *round) []upstream.Answer {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(r)
	return r.answers
}

func (t *rounds) remove(r *round) {
	if t.m[r.handle] != r {
		return
	}
	delete(t.m, r.handle)
	if t.each[r.session.principal]--; t.each[r.session.principal] == 0 {
		delete(t.each, r.session.principal)
	}
}

// take gives an answer to the round that waits for it; false when none does, or it has one already.
func (t *rounds) take(a *answer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.m[a.handle]
	if r == nil || r.session.id != a.session || int(a.index) >= len(r.answers) {
		return false
	}
	at := &r.answers[a.index]
	if at.Result != nil || at.Error != nil {
		return false
	}
	raw := bytes.Clone(a.raw)
	if a.failed {
		at.Error = raw
	} else {
		at.Result = raw
	}
	if r.open--; r.open == 0 {
		t.remove(r)
		close(r.done)
	}
	return true
}

// answer is a client's answer to one question.
type answer struct {
	handle  handle
	index   uint16
	session sessionID
	failed  bool
	raw     []byte // the result, or the error object
}

const answerHead = len(handle{}) + 2 + idLen + 1

func (a *answer) encode() []byte {
	b := make([]byte, 0, answerHead+len(a.raw))
	b = binary.BigEndian.AppendUint16(append(b, a.handle[:]...), a.index)
	b = append(b, a.session[:]...)
	if a.failed {
		return append(append(b, 'e'), a.raw...)
	}
	return append(append(b, 'r'), a.raw...)
}

func decodeAnswer(b []byte) (*answer, bool) {
	if len(b) <= answerHead {
		return nil, false
	}
	a := &answer{raw: b[answerHead:], failed: b[answerHead-1] == 'e'}
	b = b[copy(a.handle[:], b):]
	a.index = binary.BigEndian.Uint16(b)
	copy(a.session[:], b[2:])
	return a, true
}

// errUnasked is the one answer to whatever is wrong with the id of an answer.
var errUnasked = errs.E("front", errs.BadRequest, "no question with this id is open in this session")

// answer serves a response that the client posts: an answer to a question, which may have been asked by another replica.
func (v *visit) answer(ctx context.Context, s *session) error {
	in := &v.x.In
	id, ok := mcp.Text(in.Body, in.ID, nil)
	if !ok {
		return v.unasked()
	}
	payload, err := v.h.ring.Load().Open(questionKind, s.questionBinding(), string(id), time.Now())
	if err != nil || len(payload) < len(handle{})+3 {
		return v.unasked()
	}
	a := &answer{session: s.id, failed: in.Kind == mcp.KindError, raw: in.Payload.Of(in.Body)}
	payload = payload[copy(a.handle[:], payload):]
	if err := wellFormed(mcp.Method(payload[0]), in); err != nil {
		return err
	}
	a.index = binary.BigEndian.Uint16(payload[1:])
	taken, err := v.h.deliver(ctx, string(payload[3:]), a)
	if err != nil {
		return err
	}
	if !taken {
		return v.unasked()
	}
	return nil
}

func (v *visit) unasked() error {
	v.rejected(questionKind)
	return errUnasked
}

// wellFormed refuses what cannot be an answer, so that the question stays open for one that can.
func wellFormed(asked mcp.Method, in *mcp.Raw) error {
	if in.Kind != mcp.KindResult || asked != mcp.MethodElicit {
		return nil
	}
	action, err := mcp.Lookup(in.Body, in.Payload, "action")
	what := "missing"
	switch {
	case err == nil && action.Present() && in.Body[action.Start] == '"':
		return nil
	case action.Present():
		what = fmt.Sprintf("%.40s", action.Of(in.Body))
	}
	return errs.E("front", errs.BadRequest, "result.action is %s; an answer to elicitation/create says accept, decline or cancel there; "+
		"the question is still open", what)
}

// deliver hands an answer to the replica that waits for it; false when it does not.
func (h *Handler) deliver(ctx context.Context, replica string, a *answer) (bool, error) {
	if replica == h.o.Node.ID() {
		return h.asked.take(a), nil
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	taken, err := h.o.Node.Call(ctx, replica, answerKind, a.encode(), nil)
	switch {
	case errors.Is(err, cluster.ErrGone):
		return false, nil // and the call with it
	case errors.Is(err, cluster.ErrDown):
		return false, errs.E("front", errs.Unavailable, "the replica that asked cannot be reached now: %w; send the answer again later", err)
	}
	return len(taken) > 0, err
}

// delivered takes an answer that came to another replica; the reply is empty when nothing waits for it.
func (h *Handler) delivered(_ context.Context, request []byte, _ func([]byte)) ([]byte, error) {
	if a, ok := decodeAnswer(request); ok && h.asked.take(a) {
		return []byte{1}, nil
	}
	return nil, nil
}
