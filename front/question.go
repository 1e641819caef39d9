package front

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// A server asks by an input_required result (2026-07-28 basic/patterns/mrtr). A legacy client is asked by requests on the
// stream of its call instead, and the call is served again with what it answers:
//
//	input_required ──► request, id = sealed {replica, round, index} ──► client
//	serve again ◄── answers of the round ◄── POST of a response, at any replica

const (
	questionsMost = 100 // that a server may ask at once
	firstPause    = 100 * time.Millisecond
	longestPause  = 5 * time.Second
)

// question is one element of inputRequests.
type question struct {
	key    string
	kind   mcp.Method
	method []byte // raw JSON string
	params []byte // raw JSON as the client is to get it; nil when there are none
	id     string // the sealed token
}

// demand is what an input_required result demands; it shares no memory with the result.
type demand struct {
	questions []question
	state     []byte // raw requestState; nil when there is none
}

// converse serves a request of a session until its answer is there, with as many rounds of questions as it takes. client ends
// when the client's connection does.
func (v *visit) converse(ctx, client context.Context, s *session) error {
	gw := v.h.o.Gateway
	v.sink.promise(&v.x.In)
	err := gw.Serve(ctx, &v.x)
	for n := 0; err == nil && asksBack(&v.x.Out); n++ {
		var d *demand
		var answers []upstream.Answer
		if d, answers, err = v.round(ctx, client, s, n); err != nil {
			gw.Forsake(&v.x)
			break
		}
		err = gw.Retry(ctx, &v.x, d.state, answers)
	}
	return err
}

func asksBack(out *mcp.Raw) bool {
	return out.Kind == mcp.KindResult && string(out.Get(mcp.KeyResultType).Of(out.Body)) == `"input_required"`
}

// round has the client answer what the server asks for the nth time. A server that only wants to be asked again later gets
// that after a pause.
func (v *visit) round(ctx, client context.Context, s *session, n int) (*demand, []upstream.Answer, error) {
	if most := v.x.Plan().Config.Questions.Rounds; n >= most {
		return nil, nil, errs.E("gateway", errs.Protocol, "the server asked back %d times in one call; questions.rounds sets the limit", most)
	}
	d, err := v.demand(s)
	if err != nil {
		return nil, nil, err
	}
	if len(d.questions) == 0 {
		return d, nil, pause(ctx, n)
	}
	answers, err := v.ask(ctx, client, s, d.questions)
	return d, answers, err
}

func pause(ctx context.Context, n int) error {
	timer := time.NewTimer(min(firstPause<<min(n, 10), longestPause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// demand reads the present answer.
func (v *visit) demand(s *session) (*demand, error) {
	var out mcp.Raw
	out.Body = v.x.Out.Append(make([]byte, 0, v.x.Out.Len()))
	if e := out.Scan(mcp.Limits{Bytes: len(out.Body), Depth: 1 << 10, Values: 1 << 30}); e != nil {
		return nil, errs.E("gateway", errs.Protocol, "the server's question cannot be read: %w", e)
	}
	d := &demand{state: out.Get(mcp.KeyRequestState).Of(out.Body)}
	var err error
	mcp.Members(out.Body, out.Get(mcp.KeyInputRequests), func(f mcp.Field) bool {
		var q question
		if q, err = s.question(out.Body, f); err == nil {
			d.questions = append(d.questions, q)
		}
		return err == nil && len(d.questions) <= questionsMost
	})
	switch {
	case err != nil:
		return nil, err
	case len(d.questions) > questionsMost:
		return nil, errs.E("gateway", errs.Protocol, "the server asks more than %d questions at once", questionsMost)
	case len(d.questions) == 0 && d.state == nil:
		return nil, errs.E("gateway", errs.Protocol, "the server answers input_required with neither inputRequests nor requestState")
	}
	return d, nil
}

// question reads an element of inputRequests in the form that the client is to be asked in, if it can be asked that at all.
func (s *session) question(body []byte, f mcp.Field) (q question, err error) {
	name := f.Name(body)
	key, ok := mcp.Text(name, mcp.Span{End: int32(len(name))}, nil)
	method, _ := mcp.Lookup(body, f.Span, "method")
	params, _ := mcp.Lookup(body, f.Span, "params")
	text, isText := mcp.Text(body, method.Span, nil)
	q = question{key: string(key), kind: mcp.MethodOf(string(text)), method: method.Of(body), params: params.Of(body)}
	need := upstream.Needed(q.kind, q.params)
	switch {
	case !ok || !isText || q.params != nil && q.params[0] != '{':
		return q, errs.E("gateway", errs.Protocol, "the server's question %.60s is malformed: %.100s", name, f.Of(body))
	case need == 0 || need&^upstream.AbilitiesOf(s.capabilities) != 0:
		return q, errs.E("gateway", errs.Protocol, "the server asks the client what it did not declare that it can be asked (%.60s)", text)
	}
	if q.kind == mcp.MethodElicit {
		q.params = s.elicitation(q.params)
	}
	return q, nil
}

// elicitation gives params the form of the client's version: modes came with 2025-11-25, which demands an elicitationId of
// those in URL mode.
func (s *session) elicitation(params []byte) []byte {
	if params == nil {
		return nil
	}
	all := mcp.Span{End: int32(len(params))}
	mode, _ := mcp.Lookup(params, all, "mode")
	id, _ := mcp.Lookup(params, all, "elicitationId")
	isURL := string(mode.Of(params)) == `"url"`
	var e mcp.Edits
	switch {
	case isURL && !id.Present():
		var random [16]byte
		rand.Read(random[:])
		e.Insert(params, all, []byte(`"elicitationId":"`+hex.EncodeToString(random[:])+`"`))
	case !isURL && mode.Present() && s.version < mcp.Version20251125:
		e.Remove(params, mode)
	default:
		return params
	}
	return e.Append(nil, params)
}

// ask puts the questions to the client and waits for the answers.
func (v *visit) ask(ctx, client context.Context, s *session, all []question) (answers []upstream.Answer, err error) {
	c := v.x.Plan().Config.Questions
	limit := time.Duration(c.Timeout)
	r, err := v.h.asked.open(s, all, c)
	if err != nil {
		return nil, err
	}
	defer v.h.asked.close(r)
	noted := v.noteQuestions(all)
	defer func() { v.noteAnswers(noted, err) }()
	for i := range all {
		all[i].id = v.sealQuestion(s, r.handle, i, all[i].kind, limit)
		if err := v.put(client, &all[i]); err != nil {
			v.takeBack(all[:i], r, err)
			return nil, err
		}
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	var stopping chan struct{}
	if v.h.o.Node.Alone() {
		stopping = v.h.draining // then no answer can come in any more
	}
	select {
	case <-r.done:
		return v.h.asked.close(r), nil
	case <-stopping:
		err = errs.E("gateway", errs.Draining, "the gateway stops while the server's question is open")
	case <-timer.C:
		err = errs.E("client", errs.Timeout, "did not answer the server's question within %s; questions.timeout sets the limit", limit)
	case <-ctx.Done():
		err = v.whyOver(ctx, s)
	}
	v.takeBack(all, r, err)
	return nil, err
}

// noteQuestions notes for the trace of the request that its client is asked, and has the questions tell of that trace.
func (v *visit) noteQuestions(all []question) []*trace.Attempt {
	record := v.x.Trace()
	if record == nil {
		return nil
	}
	noted := make([]*trace.Attempt, len(all))
	for i := range all {
		a := record.Attempt()
		if noted[i] = a; a == nil {
			continue
		}
		if a.Asked = all[i].kind.String(); a.Told() {
			all[i].params = traced(all[i].params, a)
		}
	}
	return noted
}

func (v *visit) noteAnswers(noted []*trace.Attempt, err error) {
	failed := ""
	if err != nil {
		failed = errs.Of(err).Kind.Outcome()
	}
	for _, a := range noted {
		a.Ended(failed)
	}
}

// traced puts the trace context into params._meta, in place of one that the server put there.
func traced(params []byte, a *trace.Attempt) []byte {
	if params == nil {
		params = emptyObject
	}
	all := mcp.Span{End: int32(len(params))}
	meta, err := mcp.Lookup(params, all, "_meta")
	members := append(a.AppendParent([]byte(`"traceparent":"`)), '"')
	if a.State != "" {
		members = mcp.AppendString(append(members, `,"tracestate":`...), a.State)
	}
	var e mcp.Edits
	switch {
	case err != nil || meta.Present() && meta.Of(params)[0] != '{':
		return params
	case !meta.Present():
		e.Insert(params, all, append(append([]byte(`"_meta":{`), members...), '}'))
		return e.Append(nil, params)
	}
	for _, key := range [...]string{"traceparent", "tracestate"} {
		was, twice := mcp.Lookup(params, meta.Span, key)
		if twice != nil {
			return params
		}
		e.Remove(params, was)
	}
	e.Insert(params, meta.Span, members)
	return e.Append(nil, params)
}

// whyOver says why nobody waits for the answers any more.
func (v *visit) whyOver(ctx context.Context, s *session) error {
	cause := context.Cause(ctx)
	switch {
	case v.h.sessions.ended(s.id):
		return errSessionEnded
	case errs.Of(cause).Kind == errs.Canceled:
		return errs.E("client", errs.Canceled, "the request was cancelled while the server's question was open")
	}
	return cause
}

// put writes a question on the client's stream. A client that is gone by now cannot have read it.
func (v *visit) put(client context.Context, q *question) error {
	b := mcp.AppendString([]byte(`{"jsonrpc":"2.0","id":`), q.id)
	b = append(append(b, `,"method":`...), q.method...)
	if q.params != nil {
		b = append(append(b, `,"params":`...), q.params...)
	}
	err := client.Err()
	if err == nil {
		err = v.stream().tell(append(b, '}'))
	}
	if err != nil {
		return errs.E("client", errs.Canceled, "cannot be asked what the server wants to know: its connection is gone (%w)", err)
	}
	return nil
}

// takeBack tells the client which questions need no answer any more.
func (v *visit) takeBack(all []question, r *round, why error) {
	for i, a := range v.h.asked.close(r) {
		if i >= len(all) || a.Result != nil || a.Error != nil {
			continue
		}
		b := mcp.AppendString([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":`), all[i].id)
		b = mcp.AppendString(append(b, `,"reason":`...), errs.Of(why).Text())
		if v.stream().tell(append(b, "}}"...)) != nil {
			return // the client is gone
		}
	}
}

// stream is where the client hears what comes before the answer.
func (v *visit) stream() *sink {
	if v.outer != nil {
		return v.outer
	}
	return &v.sink
}

// sealQuestion makes the id of a request to the client: who answers it anywhere brings along where the answer belongs.
func (v *visit) sealQuestion(s *session, h handle, index int, kind mcp.Method, ttl time.Duration) string {
	payload := make([]byte, 0, len(h)+3+len(v.h.o.Node.ID()))
	payload = append(append(payload, h[:]...), byte(kind))
	payload = append(binary.BigEndian.AppendUint16(payload, uint16(index)), v.h.o.Node.ID()...)
	return v.h.ring.Load().Seal(questionKind, s.questionBinding(), payload, ttl)
}

// questionBinding ties questions to the session that is asked.
func (s *session) questionBinding() []byte {
	return bytes.Join([][]byte{[]byte(s.principal), []byte(s.endpoint), s.id[:]}, []byte{0})
}
