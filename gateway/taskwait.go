package gateway

import (
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// What a legacy server's task asks comes out of its tasks/result, which the gateway calls as soon as the task wants input and
// keeps parked: modern clients see the questions in tasks/get and answer them with tasks/update, at any replica.

const (
	taskQuestionKind = "task question"
	taskWaitMost     = time.Hour       // for the end of a task, once it was answered
	taskWaitAsk      = 2 * time.Second // for a question to come that a task says it has
)

// taskWaits are the tasks/result calls of this replica, by task.
type taskWaits struct {
	mu        sync.Mutex
	m         map[string]*taskWait
	principal map[string]int // how many each has
}

// taskWait is one tasks/result, under way or parked.
type taskWait struct {
	g       *Gateway
	t       *task
	key     string // as waitKey has it
	binding []byte

	mu     sync.Mutex
	number uint64            // of the parked call; 0 while it is under way
	asks   []byte            // inputRequests, raw, with keys of our own; nil while it is under way
	keys   map[string]string // our keys → the upstream's
	given  map[string]upstream.Answer
	news   chan struct{} // closed when asks changes or it is over
	over   bool
}

// waitKey: a legacy server may know tasks by session, of which a caller has one for each set of abilities.
func waitKey(t *task) string {
	return t.server + "\x00" + t.session + "\x00" + string(rune(t.can)) + t.id
}

// taskQuestions are what the task asks, as raw inputRequests; nil when nothing has come.
func (g *Gateway) taskQuestions(ctx context.Context, x *Exchange, t *task) ([]byte, error) {
	w := g.waits.get(waitKey(t))
	if w == nil {
		var err error
		if w, err = g.collectQuestions(x, t); err != nil {
			return nil, err
		}
	}
	return w.questions(ctx)
}

func (s *taskWaits) get(key string) *taskWait {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m[key]
}

// collectQuestions calls tasks/result for a task.
func (g *Gateway) collectQuestions(x *Exchange, t *task) (*taskWait, error) {
	q := &x.world.plan.Config.Questions
	kept := *t
	kept.client.Info = append([]byte(nil), t.client.Info...) // the exchange's buffers are used again
	kept.token = append([]byte(nil), t.token...)
	w := &taskWait{g: g, t: &kept, key: waitKey(t), binding: x.binding(), news: make(chan struct{})}
	s := &g.waits
	s.mu.Lock()
	defer s.mu.Unlock()
	if there := s.m[w.key]; there != nil {
		return there, nil
	}
	switch {
	case len(s.m) >= q.Total:
		return nil, errs.E("gateway", errs.Overloaded, "%d tasks are waited for already; questions.total sets the limit", q.Total)
	case s.principal[t.principal] >= q.PerPrincipal:
		return nil, errs.E("gateway", errs.Overloaded, "%d tasks of this caller are waited for already; questions.perPrincipal sets the limit", q.PerPrincipal)
	}
	if s.m == nil {
		s.m, s.principal = map[string]*taskWait{}, map[string]int{}
	}
	s.m[w.key] = w
	s.principal[t.principal]++
	g.retired.Go(func() { w.run(0, nil) })
	return w, nil
}

// run waits for the next questions or the end of the task.
func (w *taskWait) run(resume uint64, answers []upstream.Answer) {
	ctx, stop := context.WithTimeout(context.Background(), taskWaitMost)
	defer stop()
	in, err := w.t.request(mcp.MethodTasksResult, nil)
	if err != nil {
		w.end()
		return
	}
	c := w.t.call(in)
	c.Resume, c.Answers = resume, answers
	var out mcp.Raw
	defer out.Free()
	if err := w.t.m.server.Do(ctx, c, &out); err != nil || c.Parked == 0 {
		if err != nil {
			w.g.o.Log.Debug("task not waited for any more", "server", w.t.server, "error", err)
		}
		w.end() // the task is over, which tasks/get tells
		return
	}
	if err := w.park(c.Parked, &out); err != nil {
		w.g.o.Log.Warn("question of a task not kept", "server", w.t.server, "error", err)
		w.end()
	}
}

// park keeps what the task asks until it is answered.
func (w *taskWait) park(number uint64, out *mcp.Raw) error {
	requests := relateQuestions(out.Get(mcp.KeyInputRequests).Of(out.Body), w.t.token)
	keys, asks := map[string]string{}, []byte{'{'}
	mcp.Members(requests, mcp.Span{End: int32(len(requests))}, func(f mcp.Field) bool {
		name := f.Name(requests)
		theirs, _ := mcp.Text(name, mcp.Span{End: int32(len(name))}, nil)
		ours := w.seal(number, string(theirs))
		keys[ours] = string(theirs)
		if len(asks) > 1 {
			asks = append(asks, ',')
		}
		asks = append(append(mcp.AppendString(asks, ours), ':'), f.Of(requests)...)
		return true
	})
	asks = append(asks, '}')
	c := &parkedCall{number: number, server: w.t.m.server, principal: w.t.principal, grant: w.t.grant, gone: w.end}
	if err := w.g.parking.keep(w.g, c, &w.g.Plan().Config.Questions); err != nil {
		return err
	}
	w.mu.Lock()
	w.number, w.keys, w.given, w.asks = number, keys, map[string]upstream.Answer{}, asks
	close(w.news)
	w.news = make(chan struct{})
	w.mu.Unlock()
	return nil
}

// seal makes the key of a question: it names the replica that waits for the answer.
func (w *taskWait) seal(number uint64, theirs string) string {
	replica := w.g.o.Node.ID()
	b := binary.BigEndian.AppendUint64(nil, number)
	b = append(append(append(b, replica...), 0), theirs...)
	return w.g.o.Ring().Seal(taskQuestionKind, append(w.binding, w.t.id...), b, taskWaitMost)
}

// questions are those that are open, waited for a while; nil when there are none.
func (w *taskWait) questions(ctx context.Context) ([]byte, error) {
	timer := time.NewTimer(taskWaitAsk)
	defer timer.Stop()
	for {
		w.mu.Lock()
		asks, news, over := w.asks, w.news, w.over
		w.mu.Unlock()
		if asks != nil || over {
			return asks, nil
		}
		select {
		case <-news:
		case <-timer.C:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// end forgets the tasks/result, which is not parked any more.
func (w *taskWait) end() {
	s := &w.g.waits
	s.mu.Lock()
	if s.m[w.key] == w {
		delete(s.m, w.key)
		less(s.principal, w.t.principal)
	}
	s.mu.Unlock()
	w.mu.Lock()
	if !w.over {
		w.over, w.asks = true, nil
		close(w.news)
	}
	w.mu.Unlock()
}

// updateLegacy takes answers to what a legacy server's task asked to the replica that waits for them. Answers that nobody
// waits for are ignored, as the extension has it.
func (g *Gateway) updateLegacy(ctx context.Context, x *Exchange, t *task) error {
	if !x.In.Get(mcp.KeyInputResponses).Present() {
		return errs.E("gateway", errs.Invalid, "params.inputResponses is missing; tasks/update needs it")
	}
	if err := x.readAnswers(); err != nil {
		return err
	}
	binding := append(x.binding(), t.id...)
	for _, a := range x.answers {
		payload, err := g.o.Ring().Open(taskQuestionKind, binding, a.Key, time.Now())
		if err != nil || len(payload) < 8 {
			g.o.Metrics.TokenRejected(taskKind)
			continue
		}
		replica := replicaOf(payload)
		if replica != g.o.Node.ID() {
			err := g.elsewhere(ctx, x, replica)
			if err != nil && errs.Of(err).Kind == errs.Lost {
				return errs.E("gateway", errs.Lost, "what the task asked was lost with the replica that waited for the answer; ask for the task again")
			}
			return err
		}
		break
	}
	if w := g.waits.get(waitKey(t)); w != nil {
		w.answer(x.answers)
	}
	return x.answerInstead(acknowledged)
}

func replicaOf(payload []byte) string {
	for i, c := range payload[8:] {
		if c == 0 {
			return string(payload[8 : 8+i])
		}
	}
	return ""
}

// answer takes in answers, and has the task go on when none is lacking.
func (w *taskWait) answer(answers []upstream.Answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range answers {
		theirs, open := w.keys[a.Key]
		if _, twice := w.given[a.Key]; open && !twice && w.asks != nil {
			w.given[a.Key] = upstream.Answer{Key: theirs, Result: append([]byte(nil), a.Result...)}
		}
	}
	if w.asks == nil || len(w.given) == 0 {
		return
	}
	if len(w.given) < len(w.keys) {
		w.leave()
		return
	}
	if w.g.parking.take(w.number, w.t.principal) == nil {
		return // given up meanwhile
	}
	all := make([]upstream.Answer, 0, len(w.given))
	for _, a := range w.given {
		all = append(all, a)
	}
	number := w.number
	w.number, w.asks, w.keys, w.given = 0, nil, nil, nil
	w.g.retired.Go(func() { w.run(number, all) })
}

// leave shows only the questions that are not answered yet; the caller holds the lock.
func (w *taskWait) leave() {
	var e mcp.Edits
	mcp.Members(w.asks, mcp.Span{End: int32(len(w.asks))}, func(f mcp.Field) bool {
		name := f.Name(w.asks)
		if _, given := w.given[string(name[1:len(name)-1])]; given {
			e.Remove(w.asks, f)
		}
		return true
	})
	w.asks = e.Append(nil, w.asks)
}
