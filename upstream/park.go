package upstream

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

const (
	questionsMost = 32                    // questions that wait for one client
	gatherTime    = 30 * time.Millisecond // after a question, how long others are waited for that go to the client with it
)

// errAsked says that a call cannot go on before its client has answered.
var errAsked = errors.New("the server asks the client")

// suspended is a call that waits at its server for answers. No goroutine waits with it.
type suspended interface {
	// proceed delivers the answers of c and goes on with the call.
	proceed(ctx context.Context, c *Call, out *mcp.Raw) error
	// cancel tells the server that nobody waits any more; free only forgets the call.
	cancel()
	free()
}

// parkedCalls are the calls that wait at the server for a client's answers.
type parkedCalls struct {
	mu     sync.Mutex
	calls  map[uint64]suspended
	closed bool
}

// add keeps a call under a number of its own; 0 after close.
func (p *parkedCalls) add(call suspended) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return 0
	}
	if p.calls == nil {
		p.calls = map[uint64]suspended{}
	}
	for {
		n := rand.Uint64() //nolint:gosec // it is told to nobody unsealed; it only has to be another one each time
		if _, used := p.calls[n]; n != 0 && !used {
			p.calls[n] = call
			return n
		}
	}
}

// take removes a call: whoever gets it is the only one who does.
func (p *parkedCalls) take(n uint64) suspended {
	p.mu.Lock()
	defer p.mu.Unlock()
	call := p.calls[n]
	delete(p.calls, n)
	if len(p.calls) == 0 {
		p.calls = nil // a map keeps the room that it once needed
	}
	return call
}

func (p *parkedCalls) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls)
}

func (p *parkedCalls) abandon(n uint64) {
	if call := p.take(n); call != nil {
		call.cancel()
	}
}

// close frees all calls and takes no more.
func (p *parkedCalls) close() {
	p.mu.Lock()
	calls := p.calls
	p.calls, p.closed = nil, true
	p.mu.Unlock()
	for _, call := range calls {
		call.free()
	}
}

// resume goes on with a parked call.
func (s *Server) resume(ctx context.Context, c *Call, out *mcp.Raw) error {
	call := s.parked.take(c.Resume)
	if call == nil {
		return s.errorf(errs.Lost, "has no call that waits for these answers: it was answered already, was given up or has ended; call again")
	}
	return call.proceed(ctx, c, out)
}

// park keeps a call until its client has answered, and puts the questions into out.
func (s *Server) park(c *Call, out *mcp.Raw, a *asking, call suspended) error {
	out.Free()
	size := 512
	for i := range a.list { // the weight counts what arrives meanwhile too
		size += len(a.list[i].body)
	}
	buf := mcp.GetBuffer(size)
	buf.B = a.appendRequired(buf.B[:0], c.In.ID.Of(c.In.Body))
	out.Own(buf)
	if e := mcp.Scan(out.Body, &out.Message, mcp.Limits{Bytes: len(out.Body), Depth: 1024}); e != nil {
		out.Free()
		call.cancel()
		return s.errorf(errs.Protocol, "asks what cannot be carried to a client: %s", e.Message)
	}
	n := s.parked.add(call)
	if n == 0 {
		out.Free()
		call.free()
		return s.closedError()
	}
	c.Parked = n
	return nil
}

// question is what a server wants to know of a client.
type question struct {
	key                string // in the map that the client is given
	body               []byte
	id, method, params mcp.Span
}

// asking is what one call lets its server ask, and what it asked.
type asking struct {
	modern  bool // the server is, and has to ask in its answer
	opens   bool // the call may be parked
	can     Abilities
	list    []question // not answered yet
	given   int        // keys so far; one key never names two questions of a call
	waits   int        // questions admitted and not answered
	weight  int        // bytes of them
	refused string     // the last question that was declined, and why; empty for none
}

// begin says what may be asked within a call to a legacy server: other methods cannot end in input_required.
func (a *asking) begin(c *Call, can Abilities) {
	switch c.In.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead, mcp.MethodTasksResult:
		a.opens = !c.opening
	}
	a.can = can
}

// admit judges a question and counts it in; the error tells the server why the client will not see it.
func (a *asking) admit(q *mcp.Raw, most int) *mcp.Error {
	e := a.judge(q, most)
	if e == nil {
		a.waits++
		a.weight += len(q.Body)
		return nil
	}
	a.refused = e.Message
	return e
}

// drop forgets a question that was admitted but has found no place.
func (a *asking) drop(q *mcp.Raw) {
	a.waits--
	a.weight -= len(q.Body)
}

func (a *asking) judge(q *mcp.Raw, most int) *mcp.Error {
	switch {
	case !askable(q.Method):
		return unknownQuestion(q)
	case a.modern:
		return declined(mcp.CodeMethodNotFound, q, mcp.VersionModern+" has no requests of servers")
	case !a.opens:
		return declined(mcp.CodeInvalidRequest, q, whyElsewhere)
	case a.waits >= questionsMost:
		return declined(mcp.CodeInvalidRequest, q, "the client has "+strconv.Itoa(questionsMost)+" questions to answer already, which is the most")
	case a.weight+len(q.Body) > most:
		return declined(mcp.CodeInvalidRequest, q, "the questions to the client are over the size of one message")
	}
	return a.can.judge(q)
}

// take puts an admitted question on the list.
func (a *asking) take(q *mcp.Raw) {
	a.given++
	a.list = append(a.list, question{
		key: "q" + strconv.Itoa(a.given), body: append([]byte(nil), q.Body...), id: q.ID, method: q.MethodText, params: q.Payload,
	})
}

// answered takes the questions that have an answer off the list and returns the messages for the server.
func (a *asking) answered(answers []Answer) (replies [][]byte) {
	left := a.list[:0]
	for _, q := range a.list {
		reply := q.reply(answers)
		if reply == nil {
			left = append(left, q)
			continue
		}
		a.waits--
		a.weight -= len(q.body)
		replies = append(replies, reply)
	}
	clear(a.list[len(left):])
	a.list = left
	return replies
}

// reply renders the answer to a question; nil when there is none. What is no object answers nothing.
func (q *question) reply(answers []Answer) []byte {
	for i := range answers {
		ans := &answers[i]
		if ans.Key != q.key {
			continue
		}
		member, value := `,"result":`, ans.Result
		if value == nil {
			member, value = `,"error":`, ans.Error
		}
		if len(value) == 0 || value[0] != '{' {
			return nil
		}
		b := append([]byte(`{"jsonrpc":"2.0","id":`), q.id.Of(q.body)...)
		return append(append(append(b, member...), value...), '}')
	}
	return nil
}

// appendRequired appends an answer to the request of an id that asks the client what is on the list (mrtr "InputRequiredResult").
func (a *asking) appendRequired(b, id []byte) []byte {
	b = append(append(append(b, `{"jsonrpc":"2.0","id":`...), id...), `,"result":{"resultType":"input_required","inputRequests":{`...)
	for i := range a.list {
		q := &a.list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), q.key...), `":{"method":`...)
		b = append(b, q.method.Of(q.body)...)
		params := q.params.Of(q.body)
		if params == nil {
			params = emptyObject // roots/list may have none; the official Go client does not read a question without
		}
		b = append(append(b, `,"params":`...), params...)
		b = append(b, '}')
	}
	return append(b, "}}}"...)
}
