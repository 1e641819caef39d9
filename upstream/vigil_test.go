package upstream_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// briefly has idle instances stopped soon.
func briefly(s *v1.Server) { s.Pool.Idle = v1.Duration(50 * time.Millisecond) }

func asleep(t testing.TB, srv *upstream.Server) {
	t.Helper()
	testenv.Eventually(t, "sleep", func() bool { return srv.Status().State == upstream.StateIdle })
}

// TestSleep: the last process of a server that nobody calls is stopped; what it said of itself stays known, nothing but a call
// wakes it, and that finds it ready again.
func TestSleep(t *testing.T) {
	t.Parallel()
	eachEra(t, func(t *testing.T, era testenv.Era) {
		s := testenv.StdioServer(t, testenv.Script{Era: era, Tools: []string{testenv.Tool("ask")}})
		var mu sync.Mutex
		var states []upstream.State
		woken := 0
		crashes := 0
		srv := openWith(t, s, upstream.Options{
			Name:         "one",
			StateChanged: func(st upstream.State) { mu.Lock(); states = append(states, st); mu.Unlock() },
			Woken:        func() { mu.Lock(); woken++; mu.Unlock() },
			Crashed:      func(string) { mu.Lock(); crashes++; mu.Unlock() },
			Restarted:    func() { mu.Lock(); crashes++; mu.Unlock() },
		}, briefly)
		srv.Want(upstream.Wish{}) // lists do not change while it sleeps
		asleep(t, srv)
		<-s.Children()[0].Done
		if p, err := srv.Peer(t.Context()); err != nil || p.Modern != (era == testenv.Modern) {
			t.Errorf("%+v, %v", p, err)
		}
		wish := upstream.Wish{Lists: upstream.AllLists}
		srv.Watched(testenv.Within(t, testenv.Patience), srv.Want(wish), wish)
		if n := len(s.Children()); n != 1 || len(srv.Instances()) != 0 {
			t.Errorf("%d processes were started, %+v", n, srv.Instances())
		}
		if r := plain(t, srv).tool(`{}`); r.text() != "done" {
			t.Errorf("%+v", r)
		}
		testenv.Eventually(t, "waking", func() bool { mu.Lock(); defer mu.Unlock(); return woken == 1 })
		asleep(t, srv)
		mu.Lock()
		defer mu.Unlock()
		want := []upstream.State{"starting", "ready", "idle", "ready", "idle"}
		if !slices.Equal(states, want) || crashes != 0 || len(s.Children()) != 2 {
			t.Errorf("%v, want %v; %d crashes, %d processes", states, want, crashes, len(s.Children()))
		}
	})
}

// TestStaysAwake: what would be lost keeps a server from sleeping, and looking at its lists does not.
func TestStaysAwake(t *testing.T) {
	t.Parallel()
	a := newAsker()
	script := a.script(func(c *testenv.Call) {
		if c.Param("task") != "" {
			c.Result(`{"task":{"taskId":"t","status":"working","ttl":3600000}}`)
			return
		}
		c.Text(a.ask(c, elicit, really))
	})
	start := func(change ...func(*v1.Server)) (*testenv.Server, *upstream.Server) {
		s := testenv.StdioServer(t, script)
		return s, open(t, s, append(change, briefly)...)
	}
	_, kept := start(func(s *v1.Server) { s.Pool.Min = 1 })
	_, watched := start()
	watched.Want(upstream.Wish{URIs: []string{"a:1"}})
	_, parked := start()
	r := newCaller(t, parked).tool(`{}`)
	wants(t, r, "q1")
	_, tasks := start()
	if r := plain(t, tasks).do(testenv.Within(t, testenv.Patience), `1`, "tools/call", `{"name":"ask"}`, func(c *upstream.Call) { c.Tasks = true }); r.err != nil {
		t.Fatal(r.err)
	}
	forever := testenv.StdioServer(t, script)
	never := open(t, forever, func(s *v1.Server) { s.Pool.Idle = 0 })
	for range 2 { // each of which takes as long as one that nothing keeps
		_, other := start()
		looks := plain(t, other)
		looks.name = ""
		testenv.Eventually(t, "sleep though its lists are looked at", func() bool {
			if other.Status().State == upstream.StateIdle {
				return true
			}
			looks.do(testenv.Within(t, testenv.Patience), `1`, "tools/list", `{}`)
			return false
		})
	}
	for name, srv := range map[string]*upstream.Server{"pool.min": kept, "a watch": watched, "a parked call": parked, "a task": tasks, "pool.idle 0": never} {
		if st := srv.Status(); st.State != upstream.StateReady || len(srv.Instances()) != 1 {
			t.Errorf("%s does not keep a server awake: %+v", name, st)
		}
	}
	watched.SetLinger(0)
	watched.Unwant(upstream.Wish{URIs: []string{"a:1"}})
	parked.Abandon(r.parked)
	asleep(t, watched)
	asleep(t, parked)
}

// TestWokenByAWatch: what a server tells only while it runs has it started.
func TestWokenByAWatch(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{
		Era: testenv.Legacy, Capabilities: `{"resources":{"subscribe":true}}`,
		On: map[string]func(*testenv.Call){"resources/subscribe": func(c *testenv.Call) { c.Result(`{}`) }},
	})
	srv := open(t, s, briefly)
	asleep(t, srv)
	wish := upstream.Wish{URIs: []string{"a:1"}}
	if got := srv.Watched(testenv.Within(t, testenv.Patience), srv.Want(wish), wish); len(got.URIs) != 1 {
		t.Errorf("%+v", got)
	}
	if st := srv.Status().State; st != upstream.StateReady {
		t.Error(st)
	}
}

// TestCrashBudget: a server that crashed more often than it may is given up, with what it printed last, and calls are refused at
// once; when the window is over it is tried again.
func TestCrashBudget(t *testing.T) {
	t.Parallel()
	script := testenv.Script{Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){"server/discover": func(c *testenv.Call) {
		c.Child.Complain("no such table: users\n")
		c.Child.Exit(3)
	}}}
	start := func(t *testing.T, window time.Duration) (*testenv.Server, *upstream.Server, *atomic.Int32) {
		s := testenv.StdioServer(t, script)
		crashes := new(atomic.Int32)
		srv := opening(t, s, upstream.Options{Name: "one", Crashed: func(why string) {
			if why == "start" {
				crashes.Add(1)
			}
		}}, func(s *v1.Server) { s.Restarts = v1.Restarts{Max: 2, Window: v1.Duration(window)} })
		testenv.Eventually(t, "giving up", func() bool { return strings.Contains(srv.Status().Reason, "given up") })
		return s, srv, crashes
	}
	t.Run("within", func(t *testing.T) {
		t.Parallel()
		s, srv, crashes := start(t, time.Hour)
		st := srv.Status()
		for _, want := range []string{"restarts.max", "restarts.window", "no such table: users", "exit status 3", "again at"} {
			if !strings.Contains(st.Reason, want) {
				t.Errorf("%q lacks %q", st.Reason, want)
			}
		}
		for range 3 {
			r := plain(t, srv).tool(`{}`)
			if e := errs.Of(r.err); e == nil || e.Kind != errs.Unavailable || e.RetryAfter <= 0 || !strings.Contains(e.Msg, "given up") {
				t.Errorf("%+v", r)
			}
		}
		if n := len(s.Children()); st.State != upstream.StateFailed || n != 3 || crashes.Load() != 3 {
			t.Errorf("%s, %d processes, %d crashes", st.State, n, crashes.Load())
		}
	})
	t.Run("after", func(t *testing.T) {
		t.Parallel()
		s, _, crashes := start(t, 10*time.Second) // in which a busy machine starts three
		n := int(crashes.Load())
		s.AwaitChild(n + 1)
		testenv.Eventually(t, "the end of the trial", func() bool { return int(crashes.Load()) > n })
	})
}

// TestLastWordsAreNotForCallers: what a process printed that served callers is told to operators only.
func TestLastWordsAreNotForCallers(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){"tools/call": func(c *testenv.Call) {
		c.Child.Complain("ann asked for her salary\n")
		c.Child.Exit(3)
	}}})
	srv := opening(t, s, upstream.Options{Name: "one"}, func(s *v1.Server) { s.Restarts = v1.Restarts{Max: 1, Window: v1.Duration(time.Hour)} })
	testenv.Eventually(t, "giving up", func() bool {
		if r := plain(t, srv).tool(`{}`); r.err == nil || strings.Contains(r.err.Error(), "salary") {
			t.Fatalf("%+v", r)
		}
		return strings.Contains(srv.Status().Reason, "given up")
	})
	testenv.Eventually(t, "what it ended with", func() bool { // which is known a little later
		st := srv.Status()
		if strings.Contains(st.Told, "salary") {
			t.Fatalf("told %q", st.Told)
		}
		return strings.Contains(st.Reason, "ann asked for her salary") && strings.Contains(st.Told, "exit status 3")
	})
}

// TestRestartAfterACrash in the middle of a call: that call is told, the next one finds another process.
func TestRestartAfterACrash(t *testing.T) {
	t.Parallel()
	eachEra(t, func(t *testing.T, era testenv.Era) {
		h := newHeld()
		s := testenv.StdioServer(t, h.script(era))
		var restarts, crashes atomic.Int32
		srv := openWith(t, s, upstream.Options{Name: "one", Restarted: func() { restarts.Add(1) }, Crashed: func(why string) {
			if why == "signal" {
				crashes.Add(1)
			}
		}})
		me := plain(t, srv)
		call := me.begin(testenv.Within(t, testenv.Patience))
		await(t, h.in).Child.Kill()
		if r := await(t, call); errs.Of(r.err).Kind != errs.Unavailable || !strings.Contains(r.err.Error(), "killed") {
			t.Errorf("%+v", r)
		}
		h.out <- struct{}{}
		if r := me.tool(`{}`); r.err != nil {
			t.Error(r.err)
		}
		testenv.Eventually(t, "count of the crash", func() bool { return restarts.Load() == 1 && crashes.Load() == 1 })
		if all := srv.Instances(); len(all) != 1 || all[0].Restarts != 1 {
			t.Errorf("%+v", all)
		}
	})
}

// TestLiveness: an instance that answers nothing twice is started anew; one that answers, with an error too, is left alone, and
// is asked nothing else.
func TestLiveness(t *testing.T) {
	t.Parallel()
	eachEra(t, func(t *testing.T, era testenv.Era) {
		method := map[testenv.Era]string{testenv.Modern: "server/discover", testenv.Legacy: "ping"}[era]
		var deaf atomic.Bool
		script := testenv.Script{Era: era, Tools: []string{testenv.Tool("ask")}, Capabilities: `{}`}
		var answers atomic.Int64 // a process answers several at once
		script.On = map[string]func(*testenv.Call){method: func(c *testenv.Call) {
			switch n := answers.Add(1); {
			case deaf.Load():
				c.Hang()
			case n%2 == 0:
				c.Error(-32601, "what?")
			default:
				c.Default()
			}
		}}
		s := testenv.StdioServer(t, script)
		reasons := make(chan string, 10)
		srv := openWith(t, s, upstream.Options{Name: "one", Crashed: func(why string) { reasons <- why }}, func(s *v1.Server) {
			s.Liveness = v1.Liveness{Every: v1.Duration(20 * time.Millisecond), Timeout: v1.Duration(100 * time.Millisecond)}
		})
		s.Await(method, 5)
		if n := len(s.Children()); n != 1 {
			t.Fatalf("%d processes", n)
		}
		deaf.Store(true)
		if why := await(t, reasons); why != "liveness" {
			t.Error(why)
		}
		deaf.Store(false)
		s.AwaitChild(2)
		testenv.Eventually(t, "a new start", func() bool { return srv.Status().State == upstream.StateReady })
		for _, r := range s.Received("") {
			switch r.Method {
			case method, "server/discover", "initialize", "notifications/initialized", "notifications/cancelled":
			default:
				t.Errorf("it was sent %s", r.Method)
			}
		}
		if n := len(s.Received("initialize")); era == testenv.Legacy && n > len(s.Children()) {
			t.Errorf("%d processes were initialized %d times", len(s.Children()), n)
		}
	})
}

// TestLivenessOfSlow: a server that answers, though always too late, lives.
func TestLivenessOfSlow(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{Era: testenv.Legacy, On: map[string]func(*testenv.Call){
		"ping": func(c *testenv.Call) {
			c.In(150 * time.Millisecond)
			c.Result(`{}`)
		},
	}})
	open(t, s, func(s *v1.Server) {
		s.Liveness = v1.Liveness{Every: v1.Duration(20 * time.Millisecond), Timeout: v1.Duration(50 * time.Millisecond)}
	})
	s.Await("ping", 6)
	if n := len(s.Children()); n != 1 {
		t.Errorf("%d processes", n)
	}
}

// TestLivenessLeavesCallsAlone: nothing is asked while a call is under way, however long it takes.
func TestLivenessLeavesCallsAlone(t *testing.T) {
	t.Parallel()
	h := newHeld()
	s := testenv.StdioServer(t, h.script(testenv.Legacy))
	lively := func(s *v1.Server) {
		s.Liveness = v1.Liveness{Every: v1.Duration(20 * time.Millisecond), Timeout: v1.Duration(time.Second)}
	}
	srv := open(t, s, lively)
	other := testenv.StdioServer(t, testenv.Script{Era: testenv.Legacy})
	call := plain(t, srv).begin(testenv.Within(t, testenv.Patience))
	await(t, h.in)
	before := len(s.Received("ping"))
	open(t, other, lively)
	other.Await("ping", 5)
	if n := len(s.Received("ping")); n != before {
		t.Errorf("asked %d times beside a call", n-before)
	}
	h.out <- struct{}{}
	await(t, call)
}

// TestProgressOfWaiting: a client that wants to hear of progress hears that its call waits, and the values grow throughout.
func TestProgressOfWaiting(t *testing.T) {
	t.Parallel()
	var start atomic.Bool
	told := make(chan string, 100)
	on := make(chan struct{})
	script := testenv.Script{Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){
		"server/discover": func(c *testenv.Call) {
			if start.Load() {
				<-on
			}
			c.Default()
		},
		"tools/call": func(c *testenv.Call) {
			for _, p := range []int{0, 1, 2} {
				c.Progress(p)
			}
			c.Text("done")
		},
	}}
	s := testenv.StdioServer(t, script)
	srv := open(t, s, briefly)
	asleep(t, srv)
	start.Store(true)
	me := plain(t, srv)
	me.notify = func(n *mcp.Raw) { told <- string(n.Append(nil)) }
	done := make(chan reply, 1)
	var timing upstream.Timing
	began := time.Now()
	go func() {
		var call *upstream.Call
		r := me.do(testenv.Within(t, testenv.Patience), `1`, "tools/call", `{"name":"ask","_meta":{"progressToken":"p"}}`, func(c *upstream.Call) { call = c })
		timing = call.Timing
		done <- r
	}()
	for n := range 2 {
		got := await(t, told)
		if !strings.Contains(got, `"progressToken":"p","progress":0.00000`+string(rune('1'+n))+`,"message":"starting server one"`) {
			t.Errorf("%d: %s", n, got)
		}
	}
	close(on)
	if r := await(t, done); r.err != nil {
		t.Fatal(r.err)
	}
	took := time.Since(began)
	close(told)
	var rest []string
	for got := range told {
		if !strings.Contains(got, "starting") {
			rest = append(rest, got)
		}
	}
	if len(rest) != 2 || !strings.Contains(rest[0], `"progress":1`) || !strings.Contains(rest[1], `"progress":2`) {
		t.Errorf("of the server: %q", rest)
	}
	if timing.Start < time.Second || timing.Server <= 0 || timing.Start+timing.Queue+timing.Server > took {
		t.Errorf("%+v", timing)
	}
}

// TestTimingOfTheQueue: what a call waited for its turn is told apart from what the server took, and from a start.
func TestTimingOfTheQueue(t *testing.T) {
	t.Parallel()
	h := newHeld()
	srv := open(t, testenv.StdioServer(t, h.script(testenv.Modern)), pool(func(p *v1.Pool) { p.Concurrency = 1 }))
	first := plain(t, srv).begin(testenv.Within(t, testenv.Patience))
	await(t, h.in)
	me := plain(t, srv)
	told := make(chan string, 100)
	me.notify = func(n *mcp.Raw) { told <- string(n.Append(nil)) }
	var call *upstream.Call
	second, began := make(chan reply, 1), time.Now()
	go func() {
		second <- me.do(testenv.Within(t, testenv.Patience), `1`, "tools/call", `{"name":"ask","_meta":{"progressToken":7}}`, func(c *upstream.Call) { call = c })
	}()
	if got := await(t, told); !strings.Contains(got, `"message":"waiting for a free instance of one, 0 before you"`) {
		t.Error(got)
	}
	h.out <- struct{}{}
	await(t, first)
	h.out <- struct{}{}
	if r := await(t, second); r.err != nil {
		t.Fatal(r.err)
	}
	if tm := call.Timing; tm.Queue < time.Second || tm.Start != 0 || tm.Server <= 0 || tm.Queue+tm.Server > time.Since(began) {
		t.Errorf("%+v", tm)
	}
}

// TestTimingOfGrowth: what a call waited for a further instance is the start of that, if it is the one that it gets; else it waited
// for its turn.
func TestTimingOfGrowth(t *testing.T) {
	t.Parallel()
	for _, gets := range []bool{true, false} {
		t.Run(fmt.Sprint("gets it ", gets), func(t *testing.T) {
			t.Parallel()
			h := newHeld()
			script, starts, on := h.script(testenv.Modern), make(chan struct{}, 10), make(chan struct{})
			script.On["server/discover"] = func(c *testenv.Call) {
				if starts <- struct{}{}; len(starts) > 1 {
					<-on
				}
				c.Default()
			}
			s := testenv.StdioServer(t, script)
			srv := open(t, s, pool(func(p *v1.Pool) { p.Concurrency, p.Max = 1, 2 }))
			first := plain(t, srv).begin(testenv.Within(t, testenv.Patience))
			await(t, h.in)
			var call *upstream.Call
			second, began := make(chan reply, 1), time.Now()
			go func() {
				second <- plain(t, srv).do(testenv.Within(t, testenv.Patience), `1`, "tools/call", `{"name":"ask"}`, func(c *upstream.Call) { call = c })
			}()
			testenv.Eventually(t, "a second start", func() bool { return len(starts) == 2 && srv.Queued() == 1 })
			if !gets {
				h.out <- struct{}{}
				await(t, first)
				await(t, h.in)
			}
			waited := time.Since(began)
			close(on)
			if gets {
				await(t, h.in)
			}
			h.out <- struct{}{}
			h.out <- struct{}{}
			if r := await(t, second); r.err != nil {
				t.Fatal(r.err)
			}
			tm := call.Timing
			if gets && (tm.Start == 0 || tm.Queue+tm.Start < waited/2 || tm.Queue > tm.Start) || !gets && (tm.Start != 0 || tm.Queue == 0) {
				t.Errorf("%+v", tm)
			}
		})
	}
}

// TestTimingOverHTTP: there the server's time is that until its answer.
func TestTimingOverHTTP(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]starter{"http": testenv.HTTPServer, "sse": testenv.StreamServer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			era := testenv.Legacy
			srv := open(t, start(t, testenv.Script{Era: era, Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){
				"tools/call": func(c *testenv.Call) { c.In(20 * time.Millisecond); c.Text("x") },
			}}))
			var call *upstream.Call
			plain(t, srv).do(testenv.Within(t, testenv.Patience), `1`, "tools/call", `{"name":"ask"}`, func(c *upstream.Call) { call = c })
			if tm := call.Timing; tm.Server < 20*time.Millisecond || tm.Queue+tm.Start+tm.Transport != 0 {
				t.Errorf("%+v", tm)
			}
		})
	}
}
