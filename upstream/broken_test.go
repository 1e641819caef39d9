package upstream_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/mcp"
)

// TestServerEndsWhileParked: the interaction is lost, and the error says so at once.
func TestServerEndsWhileParked(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		s := start(t, a.script(func(c *testenv.Call) { c.Text(a.ask(c, elicit, really)) }))
		me := newCaller(t, open(t, s))
		r := me.tool(`{}`)
		wants(t, r, "q1")
		if s.URL != "" {
			s.Stop()
		} else {
			s.Children()[0].Kill()
			<-s.Children()[0].Done
		}
		if r = me.resume(r.parked, "q1", accept); errs.Of(r.err).Kind != errs.Lost {
			t.Errorf("%+v", r)
		}
		if s.URL != "" {
			s.Start()
		}
		if n := len(s.Received("tools/call")); n != 1 {
			t.Errorf("the call was sent %d times", n)
		}
	})
}

// TestStreamEndsWhileParked: without event ids there is nothing to fetch the rest by.
func TestStreamEndsWhileParked(t *testing.T) {
	t.Parallel()
	a := newAsker()
	release := make(chan struct{})
	script := a.script(func(c *testenv.Call) {
		c.HTTP.Events(": so that the head is out\n\n")
		a.send(c, `1`, elicit, really)
		<-release
	})
	me := newCaller(t, open(t, testenv.HTTPServer(t, script)))
	r := me.tool(`{}`)
	wants(t, r, "q1")
	close(release)
	r = me.resume(r.parked, "q1", accept)
	if e := errs.Of(r.err); e == nil || e.Kind != errs.Lost || !strings.Contains(e.Msg, "may have been carried out") {
		t.Errorf("%+v", r)
	}
}

// event is an event with an id.
func event(id, message string) string {
	return "id: " + id + "\nretry: 1\ndata: " + message + "\n\n"
}

// TestStreamResumed: a server that lets go of the stream after its question, or breaks it while the call is parked, is asked
// for the rest of it by the id of its last event.
func TestStreamResumed(t *testing.T) {
	t.Parallel()
	const question = `{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"m"}}`
	for _, breaks := range []bool{false, true} {
		t.Run(fmt.Sprint("breaks ", breaks), func(t *testing.T) {
			t.Parallel()
			a := newAsker()
			var id atomic.Value
			var resumed atomic.Int32
			hold := make(chan struct{})
			script := a.script(func(c *testenv.Call) {
				id.Store(c.ID)
				c.HTTP.Events(event("e1", question))
				if breaks {
					<-hold
					c.HTTP.Cut()
				}
			})
			script.On["GET"] = func(c *testenv.Call) {
				switch last := c.Header.Get("Last-Event-ID"); last {
				case "e1":
					resumed.Add(1)
				case "": // the stream of the session, which there is none of
					c.HTTP.Status(405, "", "")
					return
				default:
					t.Errorf("resumed after %q", last)
				}
				c.HTTP.Events(event("e2", `{"jsonrpc":"2.0","id":`+id.Load().(string)+`,"result":{"content":[{"type":"text","text":"late"}]}}`))
			}
			s := testenv.HTTPServer(t, script)
			me := newCaller(t, open(t, s))
			r := me.tool(`{}`)
			wants(t, r, "q1")
			if n := resumed.Load(); n != 0 {
				t.Errorf("the stream was resumed %d times before the answer", n)
			}
			close(hold)
			if r = me.resume(r.parked, "q1", accept); r.err != nil || r.text() != "late" {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestHalfAnEvent: what came of an event when the call was parked is not lost, nor are comments, ids and delays.
func TestHalfAnEvent(t *testing.T) {
	t.Parallel()
	a := newAsker()
	var id atomic.Value
	script := a.script(func(c *testenv.Call) {
		id.Store(c.ID)
		progress := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + c.Token() + `,"progress":7}}`
		c.HTTP.Events(": hello\n\nid: e0\n\n")
		wait := a.send(c, `1`, elicit, really)
		c.HTTP.Events(": alive\n\nretry: 1\nid: e1\n\nid: e2\ndata: " + progress[:30])
		wait()
		c.HTTP.Events(progress[30:] + "\n: alive\n\n\n")
	})
	script.On["GET"] = func(c *testenv.Call) {
		switch last := c.Header.Get("Last-Event-ID"); last {
		case "e2":
		case "": // as above
			c.HTTP.Status(405, "", "")
			return
		default:
			t.Errorf("resumed after %q", last)
		}
		c.HTTP.Events(event("e3", `{"jsonrpc":"2.0","id":`+id.Load().(string)+`,"result":{"content":[{"type":"text","text":"whole"}]}}`))
	}
	me := newCaller(t, open(t, testenv.HTTPServer(t, script)))
	var notes []string
	me.notify = func(n *mcp.Raw) { notes = append(notes, string(n.Append(nil))) }
	ctx := testenv.Within(t, testenv.Patience)
	const params = `{"name":"ask","_meta":{"progressToken":"p"}}`
	r := me.do(ctx, `1`, "tools/call", params)
	wants(t, r, "q1")
	r = me.do(ctx, `2`, "tools/call", params, with(r.parked, "q1", accept))
	if r.err != nil || r.text() != "whole" || len(notes) != 1 || !strings.Contains(notes[0], `"progress":7`) {
		t.Errorf("%+v, %q", r, notes)
	}
}

// TestAnswerRefused: a server that will not have the client's answer still decides what becomes of the call.
func TestAnswerRefused(t *testing.T) {
	t.Parallel()
	for _, code := range []int{400, 404, 500} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			refused := make(chan struct{})
			a := newAsker()
			script := a.script(func(c *testenv.Call) {
				a.send(c, `1`, elicit, really)
				<-refused
				c.Text("without")
			})
			script.On[""] = func(c *testenv.Call) {
				c.HTTP.Status(code, "text/plain", "no")
				close(refused)
			}
			me := newCaller(t, open(t, testenv.HTTPServer(t, script)))
			r := me.tool(`{}`)
			wants(t, r, "q1")
			if r = me.resume(r.parked, "q1", accept); r.err != nil || r.text() != "without" {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestAnsweredBeforeTheClient: a server may give up waiting; its answer is there when the client comes back.
func TestAnsweredBeforeTheClient(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		parked, answered := make(chan struct{}), make(chan struct{})
		s := start(t, a.script(func(c *testenv.Call) {
			a.send(c, `1`, elicit, really)
			<-parked
			c.Text("too late")
			close(answered)
		}))
		me := newCaller(t, open(t, s))
		r := me.tool(`{}`)
		wants(t, r, "q1")
		close(parked)
		<-answered
		if r = me.resume(r.parked, "q1", accept); r.err != nil || r.text() != "too late" {
			t.Errorf("%+v", r)
		}
		// Who answers at once never asked.
		r = newCaller(t, open(t, start(t, a.script(func(c *testenv.Call) {
			a.send(c, `1`, elicit, really)
			c.Text("never mind")
		})))).tool(`{}`)
		if r.err != nil || r.parked != 0 || r.text() != "never mind" {
			t.Errorf("%+v", r)
		}
	})
}
