package upstream_test

import (
	"context"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/mcp"
)

// stubborn is a tool whose first call goes on after it was cancelled: it asks, and says, something when another call is there,
// which waits for the answer to that.
func stubborn(a *asker, entered chan<- struct{}, said chan<- string) func(*testenv.Call) {
	other, release := make(chan struct{}), make(chan struct{})
	return func(c *testenv.Call) {
		if strings.Contains(string(c.Body), "second") {
			close(other)
			<-release
			c.Text("second")
			return
		}
		answer := make(chan string, 1)
		a.mu.Lock()
		a.waits[place(c.Record, c.Child, `"late"`)] = answer
		a.mu.Unlock()
		close(entered)
		<-other
		c.Before(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"of the first"}}`)
		c.Before(`{"jsonrpc":"2.0","id":"late","method":"` + elicit + `","params":` + really + `}`)
		said <- <-answer
		close(release)
	}
}

// TestGivenUp: what a call asks or says that was given up reaches no other caller of the same process.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	for _, same := range []bool{false, true} {
		t.Run(map[bool]string{false: "another caller", true: "the same caller"}[same], func(t *testing.T) {
			t.Parallel()
			a := newAsker()
			entered, said := make(chan struct{}), make(chan string, 1)
			script := a.script(stubborn(a, entered, said))
			srv := open(t, testenv.StdioServer(t, script))
			me, you := newCaller(t, srv), newCaller(t, srv)
			if !same {
				you.name = "you"
			}
			you.modern = false // hears every log message
			var heard []string
			you.notify = func(n *mcp.Raw) { heard = append(heard, string(n.Body)) }
			ctx, cancel := context.WithCancel(t.Context())
			mine := make(chan reply, 1)
			go func() { mine <- me.do(ctx, `1`, "tools/call", `{"name":"ask"}`) }()
			<-entered
			cancel()
			if r := <-mine; r.err == nil {
				t.Fatalf("%+v", r)
			}
			r := you.tool(`{"which":"second"}`)
			if same {
				wants(t, r, "q1")
				r = you.resume(r.parked, "q1", accept)
			}
			if r.text() != "second" || (len(heard) > 0) != same {
				t.Fatalf("%+v, heard %q", r, heard)
			}
			if text := <-said; !same && !strings.Contains(text, "given up may still run") {
				t.Errorf("the question was answered %s", text)
			}
		})
	}
}

// TestAnsweredAfterGivenUp: a call that was given up and has been answered since is over.
func TestAnsweredAfterGivenUp(t *testing.T) {
	t.Parallel()
	a := newAsker()
	entered, answered := make(chan struct{}), make(chan struct{})
	srv := open(t, testenv.StdioServer(t, a.script(func(c *testenv.Call) {
		if strings.Contains(string(c.Body), "second") {
			<-answered
			c.Text(a.ask(c, elicit, really))
			return
		}
		close(entered)
		<-c.Done
		c.Text("late")
		close(answered)
	})))
	me, you := newCaller(t, srv), newCaller(t, srv)
	you.name = "you"
	ctx, cancel := context.WithCancel(t.Context())
	mine := make(chan reply, 1)
	go func() { mine <- me.do(ctx, `1`, "tools/call", `{"name":"ask"}`) }()
	<-entered
	cancel()
	<-mine
	r := you.tool(`{"which":"second"}`)
	wants(t, r, "q1")
	if r = you.resume(r.parked, "q1", accept); r.text() != accept {
		t.Errorf("%+v", r)
	}
}

// TestAbandonDeclines: a server that goes on after its parked call was cancelled is not left without an answer.
func TestAbandonDeclines(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		answer := make(chan string, 2)
		srv := open(t, start(t, a.script(func(c *testenv.Call) {
			a.mu.Lock()
			a.waits[place(c.Record, c.Child, `1`)], a.waits[place(c.Record, c.Child, `2`)] = answer, answer
			a.mu.Unlock()
			for _, id := range []string{"1", "2"} {
				c.Before(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + elicit + `","params":` + really + `}`)
			}
			<-c.Done
		})))
		r := newCaller(t, srv).tool(`{}`)
		if r.parked == 0 {
			t.Fatalf("%+v", r)
		}
		srv.Abandon(r.parked)
		late := testenv.Within(t, testenv.Patience).Done()
		for range 2 {
			select {
			case got := <-answer:
				if !strings.Contains(got, "no call is under way any more") {
					t.Errorf("answered %s", got)
				}
			case <-late:
				t.Fatal("not answered")
			}
		}
	})
}
