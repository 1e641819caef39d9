package upstream_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// aloof is a server that asks on the stream of the session instead of that of the call.
type aloof struct {
	*asker
	mu      sync.Mutex
	streams map[string]*testenv.Call // by session
}

func newAloof() *aloof { return &aloof{asker: newAsker(), streams: map[string]*testenv.Call{}} }

func (a *aloof) script(f func(*testenv.Call)) testenv.Script {
	script := a.asker.script(f)
	script.Streams = true
	script.On["GET"] = func(c *testenv.Call) {
		a.mu.Lock()
		a.streams[c.Header.Get("Mcp-Session-Id")] = c
		a.mu.Unlock()
		c.HTTP.Events(": open\n\n")
		c.Hang()
	}
	return script
}

// stream is the open stream of a call's session.
func (a *aloof) stream(c *testenv.Call) *testenv.Call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.streams[c.Header.Get("Mcp-Session-Id")]
}

// TestAskedAside: what is asked outside of the stream of the call belongs to it as long as it is the only one of its session.
func TestAskedAside(t *testing.T) {
	t.Parallel()
	a := newAloof()
	script := a.script(func(c *testenv.Call) {
		c.HTTP.Events(": open\n\n")
		side := a.stream(c)
		text := a.ask(side, "ping", `{}`) + a.ask(side, elicit, really)
		two := a.send(side, `"x"`, "roots/list", `{}`)
		c.Text(text + a.ask(c, elicit, really) + two())
	})
	s := testenv.HTTPServer(t, script)
	srv := open(t, s)
	me := newCaller(t, srv)
	for _, name := range []string{"me", "you"} {
		me.name = name
		r := me.tool(`{}`)
		wants(t, r, "q1")
		r = me.resume(r.parked, "q1", accept)
		n := 1
		for r.err == nil && r.parked != 0 { // both are asked at about the same time, on two streams
			var answers []string
			for key, ask := range r.asks() {
				answer := decline
				if strings.Contains(string(ask), "roots") {
					answer = `{"roots":[]}`
				}
				answers = append(answers, key, answer)
				n++
			}
			r = me.resume(r.parked, answers...)
		}
		if r.text() != `{}`+accept+decline+`{"roots":[]}` || n != 3 {
			t.Errorf("%d questions, %+v", n, r)
		}
	}
}

// TestAskedAsideOfSeveral: with several calls in flight in the session, parked ones included, nobody is asked; other sessions do
// not matter.
func TestAskedAsideOfSeveral(t *testing.T) {
	t.Parallel()
	a := newAloof()
	s := testenv.HTTPServer(t, a.script(func(c *testenv.Call) {
		c.HTTP.Events(": open\n\n")
		c.Text(a.ask(a.stream(c), elicit, really))
	}))
	srv := open(t, s)
	me, you := newCaller(t, srv), newCaller(t, srv)
	you.name = "you"
	first := me.tool(`{}`)
	wants(t, first, "q1")
	if r := me.tool(`{}`); !strings.Contains(r.text(), "several calls are under way in this session") {
		t.Errorf("%+v", r)
	}
	yours := you.tool(`{}`)
	wants(t, yours, "q1")
	if r := you.resume(yours.parked, "q1", decline); r.text() != decline {
		t.Errorf("%+v", r)
	}
	if r := me.resume(first.parked, "q1", accept); r.text() != accept {
		t.Errorf("%+v", r)
	}
}

// TestAskedAsideOfNone: without a call nobody is asked, and after a parked call was asked again while its client was away, the
// client hears of it when it comes back.
func TestAskedAsideOfNone(t *testing.T) {
	t.Parallel()
	a := newAloof()
	later, said := make(chan struct{}), make(chan string, 1)
	s := testenv.HTTPServer(t, a.script(func(c *testenv.Call) {
		c.HTTP.Events(": open\n\n")
		one := a.send(c, `1`, elicit, really)
		<-later
		two := a.send(a.stream(c), `2`, elicit, really)
		c.Text(one() + two())
		side := a.stream(c)
		go func() { said <- a.ask(side, "roots/list", `{}`) }()
	}))
	me := newCaller(t, open(t, s))
	r := me.tool(`{}`)
	wants(t, r, "q1")
	close(later)
	r = me.resume(r.parked, "q1", accept)
	wants(t, r, "q2")
	if r = me.resume(r.parked, "q2", decline); r.text() != accept+decline {
		t.Errorf("%+v", r)
	}
	select {
	case got := <-said:
		if !strings.Contains(got, "no call is under way") {
			t.Errorf("%s", got)
		}
	case <-time.After(testenv.Patience):
		t.Error("the question within no call has no answer")
	}
	me.srv.Close()
	if r = me.tool(`{}`); errs.Of(r.err) == nil {
		t.Errorf("%+v", r)
	}
}

// TestAskedAsideOfOneMessage: a call whose answer is no stream cannot wait for its client, and does not wait for a time-out either.
func TestAskedAsideOfOneMessage(t *testing.T) {
	t.Parallel()
	a := newAloof()
	script := a.script(func(c *testenv.Call) { c.Text(a.ask(a.stream(c), elicit, really)) })
	script.Streams = false
	me := newCaller(t, open(t, testenv.HTTPServer(t, script)))
	for range 2 {
		if r := me.tool(`{}`); r.err != nil || !strings.Contains(r.text(), "is no stream") {
			t.Errorf("%+v", r)
		}
	}
}
