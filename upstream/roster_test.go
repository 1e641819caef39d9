package upstream_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/upstream"
)

// held is a tool whose calls go on when they are let.
type held struct {
	mu   sync.Mutex
	most int
	now  int
	in   chan *testenv.Call
	out  chan struct{}
}

func newHeld() *held {
	return &held{in: make(chan *testenv.Call, 1000), out: make(chan struct{}, 1000)}
}

func (h *held) script(era testenv.Era) testenv.Script {
	return testenv.Script{Era: era, Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){"tools/call": func(c *testenv.Call) {
		h.mu.Lock()
		h.now++
		h.most = max(h.most, h.now)
		h.mu.Unlock()
		h.in <- c
		select {
		case <-h.out:
		case <-c.Done:
		}
		h.mu.Lock()
		h.now--
		h.mu.Unlock()
		c.Text(strconv.Itoa(c.Child.PID))
	}}}
}

// pool changes how a server's instances are kept.
func pool(change func(*v1.Pool)) func(*v1.Server) {
	return func(s *v1.Server) { change(&s.Pool) }
}

// plain is a caller that cannot be asked anything.
func plain(t testing.TB, srv *upstream.Server) *caller {
	c := newCaller(t, srv)
	c.can = `{}`
	return c
}

// begin makes a call in the background.
func (c *caller) begin(ctx context.Context) <-chan reply {
	out := make(chan reply, 1)
	go func() { out <- c.do(ctx, `1`, "tools/call", `{"name":"ask","arguments":{}}`) }()
	return out
}

func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(testenv.Patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func eachEra(t *testing.T, f func(*testing.T, testenv.Era)) {
	t.Helper()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			f(t, era)
		})
	}
}

// TestConcurrency: an instance is sent no more calls at once than pool.concurrency, and the others are not lost.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	for _, most := range []int{1, 3} {
		t.Run(v1.Concurrency(most).String(), func(t *testing.T) {
			t.Parallel()
			eachEra(t, func(t *testing.T, era testenv.Era) {
				const calls = 20
				h := newHeld()
				s := testenv.StdioServer(t, h.script(era))
				srv := open(t, s, pool(func(p *v1.Pool) { p.Concurrency = v1.Concurrency(most) }))
				var replies []<-chan reply
				for range calls {
					replies = append(replies, plain(t, srv).begin(testenv.Within(t, testenv.Patience)))
				}
				for range most {
					await(t, h.in)
				}
				testenv.Eventually(t, "the others in the queue", func() bool { return srv.Queued() == calls-most })
				for range calls {
					h.out <- struct{}{}
				}
				for _, c := range replies {
					if r := await(t, c); r.err != nil {
						t.Error(r.err)
					}
				}
				if h.most != most || len(s.Children()) != 1 || srv.Queued() != 0 || srv.Busy() {
					t.Errorf("%d at once in %d processes, %d wait, busy %v", h.most, len(s.Children()), srv.Queued(), srv.Busy())
				}
			})
		})
	}
}

// TestOwnRequestsAreSerial: where one request at a time is sent, the gateway's own wait for the calls too.
func TestOwnRequestsAreSerial(t *testing.T) {
	t.Parallel()
	h := newHeld()
	script := h.script(testenv.Legacy)
	script.Capabilities = `{"tools":{},"resources":{"subscribe":true}}`
	script.On["resources/subscribe"] = func(c *testenv.Call) { c.Result(`{}`) }
	s := testenv.StdioServer(t, script)
	srv := open(t, s, pool(func(p *v1.Pool) { p.Concurrency = 1 }))
	call := plain(t, srv).begin(testenv.Within(t, testenv.Patience))
	await(t, h.in)
	wish := upstream.Wish{URIs: []string{"a:1", "a:2", "a:3"}}
	ticket := srv.Want(wish)
	testenv.Eventually(t, "requests of the gateway in the queue", func() bool { return srv.Queued() > 0 })
	if n := len(s.Received("resources/subscribe")); n != 0 {
		t.Errorf("%d requests were sent beside the call", n)
	}
	h.out <- struct{}{}
	if r := await(t, call); r.err != nil {
		t.Error(r.err)
	}
	if got := srv.Watched(testenv.Within(t, testenv.Patience), ticket, wish); len(got.URIs) != 3 {
		t.Errorf("watched: %+v", got)
	}
	srv.Unwant(wish)
}

// TestQueueIsBounded: what finds the queue full is refused at once, what waits too long later; both errors name the key.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	h := newHeld()
	s := testenv.StdioServer(t, h.script(testenv.Modern))
	var mu sync.Mutex
	refused := map[string]int{}
	srv := openWith(t, s, upstream.Options{Name: "one", Refused: func(why string) {
		mu.Lock()
		defer mu.Unlock()
		refused[why]++
	}}, pool(func(p *v1.Pool) { p.Concurrency, p.Queue, p.Wait = 1, 1, v1.Duration(3*time.Second) }))
	me := plain(t, srv)
	first := me.begin(testenv.Within(t, testenv.Patience))
	await(t, h.in)
	second := me.begin(testenv.Within(t, testenv.Patience))
	testenv.Eventually(t, "the second in the queue", func() bool { return srv.Queued() == 1 })
	overloaded := func(r reply, keys ...string) {
		t.Helper()
		e := errs.Of(r.err)
		if e == nil || e.Kind != errs.Overloaded || e.RetryAfter <= 0 {
			t.Fatalf("%+v", r)
		}
		for _, key := range append(keys, "retry in") {
			if !strings.Contains(e.Msg, key) {
				t.Errorf("%q does not name %s", e.Msg, key)
			}
		}
	}
	overloaded(me.tool(`{}`), "1 calls waiting", "pool.queue")
	overloaded(await(t, second), "within 3s", "pool.wait")
	h.out <- struct{}{}
	if r := await(t, first); r.err != nil {
		t.Error(r.err)
	}
	mu.Lock()
	defer mu.Unlock()
	if refused["queue"] != 1 || refused["wait"] != 1 {
		t.Errorf("refused: %v", refused)
	}
}

// TestCancelledWaiter leaves the queue at once, and the others keep their turns.
func TestCancelledWaiter(t *testing.T) {
	t.Parallel()
	h := newHeld()
	srv := open(t, testenv.StdioServer(t, h.script(testenv.Modern)), pool(func(p *v1.Pool) { p.Concurrency, p.Queue = 1, 2 }))
	me := plain(t, srv)
	first := me.begin(testenv.Within(t, testenv.Patience))
	await(t, h.in)
	ctx, cancel := context.WithCancel(t.Context())
	second := me.begin(ctx)
	testenv.Eventually(t, "the second in the queue", func() bool { return srv.Queued() == 1 })
	third := me.begin(testenv.Within(t, testenv.Patience))
	testenv.Eventually(t, "the third in the queue", func() bool { return srv.Queued() == 2 })
	cancel()
	if r := await(t, second); errs.Of(r.err).Kind != errs.Canceled {
		t.Errorf("%+v", r)
	}
	if n := srv.Queued(); n != 1 {
		t.Errorf("%d calls wait", n)
	}
	h.out <- struct{}{}
	h.out <- struct{}{}
	for _, c := range []<-chan reply{first, third} {
		if r := await(t, c); r.err != nil {
			t.Error(r.err)
		}
	}
}

// TestSeveralInstances: a shared server with room for more than one gets a further instance when the others are full, one at a
// time and no more than pool.max; those in surplus are stopped when they are idle, and pool.min are kept.
func TestSeveralInstances(t *testing.T) {
	t.Parallel()
	eachEra(t, func(t *testing.T, era testenv.Era) {
		h := newHeld()
		s := testenv.StdioServer(t, h.script(era))
		srv := open(t, s, pool(func(p *v1.Pool) { p.Max, p.Min, p.Concurrency, p.Idle = 3, 2, 2, v1.Duration(200*time.Millisecond) }))
		s.AwaitChild(2) // pool.min
		var replies []<-chan reply
		for range 8 {
			replies = append(replies, plain(t, srv).begin(testenv.Within(t, testenv.Patience)))
		}
		for range 6 {
			await(t, h.in)
		}
		testenv.Eventually(t, "two in the queue", func() bool { return srv.Queued() == 2 })
		loads := map[int]int{}
		for _, in := range srv.Instances() {
			loads[in.InFlight]++
		}
		if len(s.Children()) != 3 || loads[2] != 3 {
			t.Errorf("%d processes, loads %v", len(s.Children()), loads)
		}
		for range 8 {
			h.out <- struct{}{}
		}
		pids := map[string]bool{}
		for _, c := range replies {
			r := await(t, c)
			if pids[r.text()] = true; r.err != nil {
				t.Error(r.err)
			}
		}
		if len(pids) != 3 {
			t.Errorf("%d processes answered", len(pids))
		}
		testenv.Eventually(t, "end of the one in surplus", func() bool { return len(srv.Instances()) == 2 })
		if st := srv.Status(); st.State != upstream.StateReady {
			t.Errorf("%+v", st)
		}
	})
}

// TestIsolatedHasOneInstance: pool.max and pool.min of a server whose callers do not share it are not of each of its keys.
func TestIsolatedHasOneInstance(t *testing.T) {
	t.Parallel()
	h := newHeld()
	s := testenv.StdioServer(t, h.script(testenv.Modern))
	srv := openWith(t, s, upstream.Options{Name: "one", Key: "k", Isolation: "principal"},
		pool(func(p *v1.Pool) { p.Max, p.Min, p.Concurrency = 3, 2, 1 }))
	first, second := plain(t, srv).begin(testenv.Within(t, testenv.Patience)), plain(t, srv).begin(testenv.Within(t, testenv.Patience))
	await(t, h.in)
	testenv.Eventually(t, "one in the queue", func() bool { return srv.Queued() == 1 })
	h.out <- struct{}{}
	h.out <- struct{}{}
	for _, c := range []<-chan reply{first, second} {
		if r := await(t, c); r.err != nil {
			t.Error(r.err)
		}
	}
	all := srv.Instances()
	if len(s.Children()) != 1 || len(all) != 1 || all[0].Key != "k" || all[0].Isolation != "principal" || all[0].Calls < 2 || all[0].PID == 0 {
		t.Errorf("%d processes, %+v", len(s.Children()), all)
	}
}

// TestParkedTakesRoomWhereCallsAreSerial, and an aside takes what comes meanwhile; elsewhere it takes none.
func TestParkedTakesRoomWhereCallsAreSerial(t *testing.T) {
	t.Parallel()
	for most, children := range map[int]int{1: 2, 2: 1} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			t.Parallel()
			a := newAsker()
			script := a.script(func(c *testenv.Call) {
				if strings.Contains(c.Args(), "ask") {
					c.Text(a.ask(c, elicit, really))
					return
				}
				c.Text("done")
			})
			s := testenv.StdioServer(t, script)
			srv := open(t, s, pool(func(p *v1.Pool) { p.Concurrency = v1.Concurrency(most) }))
			me, you := newCaller(t, srv), plain(t, srv)
			r := me.tool(`{"do":"ask"}`)
			wants(t, r, "q1")
			for range 3 {
				if r := you.tool(`{}`); r.text() != "done" {
					t.Errorf("%+v", r)
				}
			}
			if n := len(s.Children()); n != children {
				t.Errorf("%d processes", n)
			}
			if !srv.Busy() {
				t.Error("a parked call does not count as busy")
			}
			if r = me.resume(r.parked, "q1", accept); r.text() != accept {
				t.Errorf("%+v", r)
			}
			// What was given up gives its room back too.
			r = me.tool(`{"do":"ask"}`)
			wants(t, r, "q1")
			srv.Abandon(r.parked)
			if srv.Busy() {
				t.Error("busy with an abandoned call")
			}
			if r := you.tool(`{}`); r.text() != "done" {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestAsideIsStopped when nobody needed it for a while.
func TestAsideIsStopped(t *testing.T) {
	t.Parallel()
	a := newAsker()
	s := testenv.StdioServer(t, a.script(func(c *testenv.Call) { c.Text(a.ask(c, elicit, really)) }))
	srv := open(t, s)
	srv.SetAsideIdle(50 * time.Millisecond)
	me := newCaller(t, srv)
	first, second := me.tool(`{}`), me.tool(`{}`)
	wants(t, first, "q1")
	wants(t, second, "q1")
	if n := len(srv.Instances()); n != 2 {
		t.Fatalf("%d instances", n)
	}
	if r := me.resume(second.parked, "q1", accept); r.text() != accept {
		t.Errorf("%+v", r)
	}
	testenv.Eventually(t, "end of the aside", func() bool { return len(srv.Instances()) == 1 })
	if r := me.resume(first.parked, "q1", accept); r.text() != accept {
		t.Errorf("%+v", r)
	}
}

// TestTasksKeepToOneInstance: a process knows only its own tasks, so there is no second one to ask.
func TestTasksKeepToOneInstance(t *testing.T) {
	t.Parallel()
	h := newHeld()
	script := h.script(testenv.Legacy)
	script.Capabilities = `{"tools":{},"tasks":{"requests":{"tools":{"call":{}}}}}`
	s := testenv.StdioServer(t, script)
	srv := open(t, s, pool(func(p *v1.Pool) { p.Max, p.Concurrency = 2, 1 }))
	first, second := plain(t, srv).begin(testenv.Within(t, testenv.Patience)), plain(t, srv).begin(testenv.Within(t, testenv.Patience))
	await(t, h.in)
	testenv.Eventually(t, "one in the queue", func() bool { return srv.Queued() == 1 })
	h.out <- struct{}{}
	h.out <- struct{}{}
	await(t, first)
	await(t, second)
	if n := len(s.Children()); n != 1 {
		t.Errorf("%d processes", n)
	}
}
