package upstream_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

type starter = func(testing.TB, testenv.Script) *testenv.Server

// TestParked: a question parks the call, bytes as they were sent; the answer reaches the server as the client gave it; the
// server may ask again; and what the call comes to has the id and the token of the request that resumed it last.
func TestParked(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		s := start(t, a.script(func(c *testenv.Call) {
			c.Progress(1)
			first := a.ask(c, elicit, really)
			second := a.ask(c, "roots/list", `{}`)
			c.Progress(2)
			c.Text(first + second)
		}))
		srv := open(t, s)
		me := newCaller(t, srv)
		var notes []string
		me.notify = func(n *mcp.Raw) { notes = append(notes, string(n.Append(nil))) }
		ctx := testenv.Within(t, testenv.Patience)
		token := func(token string) string {
			return `{"name":"ask","arguments":{},"_meta":{"progressToken":` + token + `}}`
		}
		r := me.do(ctx, `"a"`, "tools/call", token(`"one"`))
		want := `{"jsonrpc":"2.0","id":"a","result":{"resultType":"input_required","inputRequests":{"q1":{"method":"elicitation/create","params":` + really + `}}}}`
		if r.err != nil || r.body != want || r.parked == 0 {
			t.Fatalf("%+v, want %s", r, want)
		}
		r = me.do(ctx, `7`, "tools/call", token(`"two"`), with(r.parked, "q1", accept))
		want = `{"jsonrpc":"2.0","id":7,"result":{"resultType":"input_required","inputRequests":{"q2":{"method":"roots/list","params":{}}}}}`
		if r.err != nil || r.body != want || r.parked == 0 {
			t.Fatalf("%+v, want %s", r, want)
		}
		r = me.do(ctx, `8`, "tools/call", token(`3`), with(r.parked, "q2", `{"roots":[]}`))
		if r.err != nil || r.text() != accept+`{"roots":[]}` || !strings.HasPrefix(r.body, `{"jsonrpc":"2.0","id":8,`) || !strings.Contains(r.body, `"complete"`) {
			t.Errorf("%+v", r)
		}
		if len(notes) != 2 || !strings.Contains(notes[0], `"progressToken":"one"`) || !strings.Contains(notes[1], `"progressToken":3,`) {
			t.Errorf("progress %q", notes)
		}
		if n := len(s.Received("tools/call")); n != 1 {
			t.Errorf("the call was sent %d times", n)
		}
	})
}

// TestSeveralQuestions come in one map. Answers may come one at a time and in any order; keys that nobody asked for and answers
// that are no object count for nothing.
func TestSeveralQuestions(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		s := start(t, a.script(func(c *testenv.Call) {
			one := a.send(c, `1`, elicit, really)
			two := a.send(c, `"two"`, "sampling/createMessage", `{"messages":[],"maxTokens":1}`)
			three := a.send(c, `3`, "roots/list", `{}`)
			c.Text(one() + two() + three())
		}))
		me := newCaller(t, open(t, s))
		r := me.tool(`{}`)
		wants(t, r, "q1", "q2", "q3")
		r = me.resume(r.parked, "q4", accept, "", accept, "Q1", accept)
		wants(t, r, "q1", "q2", "q3")
		r = me.resume(r.parked)
		wants(t, r, "q1", "q2", "q3")
		r = me.resume(r.parked, "q3", `{"c":3}`, "q2", `"no object"`, "q1", ``)
		wants(t, r, "q1", "q2")
		r = me.resume(r.parked, "q1", `{"a":1}`, "q2", `{"b":2}`, "q1", `{"second":1}`, "q3", `{"late":1}`)
		if r.err != nil || r.text() != `{"a":1}{"b":2}{"c":3}` || r.parked != 0 {
			t.Errorf("%+v", r)
		}
	})
}

// TestErrorAnswers of legacy clients reach the server as they are.
func TestErrorAnswers(t *testing.T) {
	t.Parallel()
	const no = `{"code":-1,"message":"user rejected","data":1.0}`
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		me := newCaller(t, open(t, start(t, a.script(func(c *testenv.Call) { c.Text(a.ask(c, elicit, really)) }))))
		me.modern = false
		r := me.tool(`{}`)
		wants(t, r, "q1")
		r = me.do(t.Context(), `1`, "tools/call", `{"name":"ask"}`, func(c *upstream.Call) {
			c.Resume, c.Answers = r.parked, []upstream.Answer{{Key: "q1", Error: []byte(no)}}
		})
		if r.text() != no {
			t.Errorf("%+v", r)
		}
	})
}

// TestResumedOnce: whoever resumes a call first has it; to all others, and for numbers that never were, it is lost.
func TestResumedOnce(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		me := newCaller(t, open(t, start(t, a.script(func(c *testenv.Call) { c.Text(a.ask(c, elicit, really)) }))))
		r := me.tool(`{}`)
		wants(t, r, "q1")
		replies := make([]reply, 8)
		var wg sync.WaitGroup
		for i := range replies {
			wg.Go(func() { replies[i] = me.resume(r.parked, "q1", accept) })
		}
		wg.Wait()
		good := 0
		late := []reply{me.resume(r.parked, "q1", accept), me.resume(1, "q1", accept)}
		for _, again := range slices.Concat(replies, late) {
			switch {
			case again.err == nil && again.text() == accept:
				good++
			case errs.Of(again.err).Kind != errs.Lost:
				t.Errorf("%+v", again)
			}
		}
		if good != 1 {
			t.Errorf("%d had the answer", good)
		}
		me.srv.Abandon(r.parked) // of what is over does nothing
	})
}

// TestAbandon cancels the call at the server, and the end of the context of the call that was parked does not.
func TestAbandon(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		ended := make(chan string, 1)
		s := start(t, a.script(func(c *testenv.Call) {
			answer := a.ask(c, elicit, really)
			ended <- answer
			c.Text(answer)
		}))
		me := newCaller(t, open(t, s))
		ctx, cancel := context.WithCancel(t.Context())
		r := me.do(ctx, `1`, "tools/call", `{"name":"ask"}`)
		wants(t, r, "q1")
		cancel()
		r = me.resume(r.parked, "q1", accept)
		if r.text() != accept || <-ended != accept {
			t.Fatalf("%+v", r)
		}
		r = me.tool(`{}`)
		wants(t, r, "q1")
		me.srv.Abandon(r.parked)
		if got := <-ended; got != "" && !strings.Contains(got, "no call is under way any more") {
			t.Errorf("answered %s", got)
		}
		no := s.Await("notifications/cancelled", 1)
		if call := s.Received("tools/call")[1]; no.Param("requestId") != call.ID {
			t.Errorf("%s cancels %s", no.Body, call.ID)
		}
		if r = me.resume(r.parked, "q1", accept); errs.Of(r.err).Kind != errs.Lost {
			t.Errorf("%+v", r)
		}
	})
}

// TestCancelAfterResume: the context of the call that resumes counts again.
func TestCancelAfterResume(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		s := start(t, a.script(func(c *testenv.Call) {
			a.ask(c, elicit, really)
			c.Hang()
		}))
		me := newCaller(t, open(t, s))
		r := me.tool(`{}`)
		wants(t, r, "q1")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan reply, 1)
		go func() { done <- me.do(ctx, `2`, "tools/call", `{"name":"ask"}`, with(r.parked, "q1", accept)) }()
		s.Await("", 4) // discover, initialize, initialized, call, or one of them and the answer
		testenv.Eventually(t, "the answer", func() bool {
			for _, m := range s.Received("") {
				if m.Method == "" {
					return true
				}
			}
			return false
		})
		cancel()
		if r := <-done; errs.Of(r.err).Kind != errs.Canceled {
			t.Errorf("%+v", r)
		}
		s.Await("notifications/cancelled", 1)
	})
}

// TestPatience: a parked call may wait longer than the server may be silent; a resumed one is given up after that time.
func TestPatience(t *testing.T) {
	t.Parallel()
	const limit = 2500 * time.Millisecond // longer than a busy machine keeps still
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		s := start(t, a.script(func(c *testenv.Call) {
			a.ask(c, elicit, really)
			a.ask(c, elicit, really)
			c.Hang()
		}))
		me := newCaller(t, open(t, s, silence(limit)))
		r := me.tool(`{}`)
		wants(t, r, "q1")
		parked := time.Now()
		testenv.Eventually(t, "the time of a call", func() bool { return time.Since(parked) > limit+limit/10 })
		r = me.resume(r.parked, "q1", accept)
		wants(t, r, "q2")
		if r = me.resume(r.parked, "q2", accept); errs.Of(r.err).Kind != errs.Timeout {
			t.Errorf("%+v", r)
		}
		s.Await("notifications/cancelled", 1)
	})
}

// TestEndless: a server that asks for ever is asked back no more once the call was abandoned.
func TestEndless(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		s := start(t, a.script(func(c *testenv.Call) {
			for a.ask(c, elicit, really) != "" {
			}
		}))
		me := newCaller(t, open(t, s))
		r := me.tool(`{}`)
		for i := range 20 {
			key := fmt.Sprint("q", i+1)
			wants(t, r, key)
			r = me.resume(r.parked, key, decline)
		}
		me.srv.Abandon(r.parked)
		s.Await("notifications/cancelled", 1)
	})
}

// TestFloodWithinACall: of the questions that a call asks at once a bounded number goes to the client.
func TestFloodWithinACall(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		s := start(t, a.script(func(c *testenv.Call) {
			var waits []func() string
			for i := range 40 {
				waits = append(waits, a.send(c, fmt.Sprint(i), elicit, really))
			}
			refused := 0
			for _, wait := range waits {
				if strings.Contains(wait(), "which is the most") {
					refused++
				}
			}
			c.Text(fmt.Sprint(refused))
		}))
		me := newCaller(t, open(t, s))
		r := me.tool(`{}`)
		n := 0
		for r.err == nil && r.parked != 0 {
			var answers []string
			for k := range r.asks() {
				answers = append(answers, k, accept)
			}
			n += len(answers) / 2
			r = me.resume(r.parked, answers...)
		}
		if r.text() == "" || r.text() == "40" || r.text() != fmt.Sprint(40-n) {
			t.Errorf("%d answered: %+v", n, r)
		}
	})
}

// TestClose frees what is parked; it can be resumed no more.
func TestClose(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		me := newCaller(t, open(t, start(t, a.script(func(c *testenv.Call) { c.Text(a.ask(c, elicit, really)) }))))
		r := me.tool(`{}`)
		wants(t, r, "q1")
		me.srv.Close()
		if r = me.resume(r.parked, "q1", accept); errs.Of(r.err).Kind != errs.Lost {
			t.Errorf("%+v", r)
		}
	})
}
