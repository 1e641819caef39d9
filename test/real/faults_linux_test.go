package real_test

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// The fault matrix: what callers see of each fault, and how long it lasts. Each row has servers of its own behind Toxiproxy, and
// a gateway, or a fleet of three with a Redis.

// see is what callers may see while there is a fault.
type see int

const (
	nothing see = iota // they are answered as ever
	failure            // all get an error
	either             // some may get one
)

// want is what is promised of a fault.
type want struct {
	call, list, stream see
	within             time.Duration // for whatever they see; 4 s when 0
	others             see           // what callers of other servers see
	recovers           time.Duration // after its end; 3 s when 0
}

// fault is one row.
type fault struct {
	name string
	// fleet takes three replicas and a Redis; local has the gateway in the test's process.
	fleet, local bool
	begin        func(*site)
	end          func(*site) // nil for what ends by itself
	want
}

// tries is how often each caller asks while there is a fault.
const tries = 3

// site is where a row is tried.
type site struct {
	t       *testing.T
	toxi    *toxiproxy
	bad     map[testenv.Era]*testenv.Server
	proxies map[testenv.Era]*proxy
	mode    atomic.Value // of the bad servers: how they answer
	redis   *testenv.Redis
	wire    *proxy // before Redis
	fleet   *testenv.Fleet
	client  func(era testenv.Era, path string) *testenv.Client
	names   *nameServer // nil for addresses
	watch   *testenv.Watch
}

func (s *site) each(f func(*proxy)) {
	for _, p := range s.proxies {
		f(p)
	}
}

// script is that of a server that answers as mode says.
func (s *site) script(era testenv.Era) testenv.Script {
	spoilt := func(do func(*testenv.Call)) func(*testenv.Call) {
		return func(c *testenv.Call) {
			switch mode, _ := s.mode.Load().(string); mode {
			case "":
				do(c)
			case "garbage":
				c.HTTP.Status(http.StatusOK, "application/json", "\x00\xffno JSON at all")
			case "500":
				c.HTTP.Status(http.StatusInternalServerError, "text/plain", "oops")
			case "401":
				c.HTTP.Status(http.StatusUnauthorized, "application/json", "{}")
			case "hang":
				c.Hang()
			}
		}
	}
	list := func(c *testenv.Call) {
		members := `"tools":[` + testenv.Tool("quick") + "," + testenv.Tool("slow") + "]"
		if era == testenv.Modern {
			members = `"ttlMs":0,"cacheScope":"public",` + members
		}
		c.Complete(members)
	}
	slow := func(c *testenv.Call) {
		c.Progress(1)
		c.In(200 * time.Millisecond)
		c.Text("done")
	}
	return testenv.Script{Era: era, Lenient: true, Forgets: true, Tools: []string{testenv.Tool("quick"), testenv.Tool("slow")}, On: map[string]func(*testenv.Call){
		"tools/call quick": spoilt(func(c *testenv.Call) { c.Text("done") }),
		"tools/call slow":  spoilt(slow),
		"tools/list":       spoilt(list),
	}}
}

// config is a modern and a legacy server behind proxies, and as many that nothing happens to.
func (s *site) config(f *fault) testenv.Config {
	t := s.t
	c := testenv.Config{Entries: map[string]any{}, More: map[string]any{"log": map[string]any{"level": "info"}, "drainDelay": "3s"}} // in which a busy machine notices
	more := map[string]any{"listTTL": "1ms"}
	if f.call == failure { // else there is time for a machine that stands still
		more["timeouts"] = map[string]any{"connect": "1s", "start": "2s", "list": "1s", "call": "2s"}
	}
	for _, era := range testenv.Eras {
		s.bad[era] = testenv.HTTPServer(t, s.script(era))
		at, err := url.Parse(s.bad[era].URL)
		if err != nil {
			t.Fatal(err)
		}
		s.proxies[era] = s.toxi.before("bad-"+era.String(), at.Host)
		host := s.proxies[era].Listen
		if s.names != nil {
			_, port, _ := net.SplitHostPort(host)
			host = badName + ":" + port
		}
		bad := map[string]any{"url": "http://" + host + "/mcp"}
		maps.Copy(bad, more)
		c.Entries["bad"+era.String()] = bad
		good := &site{t: t}
		c.Entries["good"+era.String()] = testenv.HTTPServer(t, good.script(era)).Entry(map[string]any{"listTTL": "1ms"})
	}
	return c
}

// open builds the site of a row.
func open(t *testing.T, f *fault) *site {
	t.Helper()
	s := &site{
		t: t, toxi: startToxiproxy(t), bad: map[testenv.Era]*testenv.Server{}, proxies: map[testenv.Era]*proxy{}, watch: testenv.StartWatch(t),
	}
	switch {
	case f.local:
		s.names = &names
		names.serve(t)
		g := testenv.Serve(t, s.config(f))
		s.client = g.Client
	default:
		binary, err := gatewayBinary()
		if err != nil {
			t.Fatal(err)
		}
		c := testenv.FleetConfig{Config: s.config(f), Program: binary, Replicas: 1}
		if f.fleet {
			c.Replicas = 3
			s.redis = testenv.StartRedis(t)
			s.wire = s.toxi.before("redis", s.redis.Address())
			c.Redis = "redis://" + s.wire.Listen
		} else {
			c.More["audit"] = map[string]any{"sinks": []any{map[string]any{"file": "audit.jsonl"}}, "wait": "200ms"}
		}
		s.fleet = testenv.ServeFleet(t, c)
		s.fleet.Heed()
		s.client = func(era testenv.Era, path string) *testenv.Client { return s.fleet.Client(era, path, "{}") }
	}
	return s
}

// question is what is asked, and what answers it.
type question struct {
	name string
	testenv.Request
	right func(*testenv.Reply) bool
	see   func(*want) see
}

// asks are what is asked of each server.
var asks = []question{
	{
		"call",
		testenv.Request{Method: "tools/call", Members: `"name":"quick"`},
		func(r *testenv.Reply) bool { return r.Texts() == "done" }, func(w *want) see { return w.call },
	},
	{
		"list",
		testenv.Request{Method: "tools/list"},
		func(r *testenv.Reply) bool { return len(r.Names("tools")) == 2 }, func(w *want) see { return w.list },
	},
	{
		"stream",
		testenv.Request{Method: "tools/call", Members: `"name":"slow"`, Meta: `"progressToken":"p"`},
		func(r *testenv.Reply) bool { return r.Texts() == "done" && len(r.Messages) == 2 }, func(w *want) see { return w.stream },
	},
}

// joined are what is asked of all servers at once: of the good ones, and for all that there is of the bad ones too.
func joined(era testenv.Era) []question {
	return []question{
		{name: "call", Request: testenv.Request{Method: "tools/call", Members: `"name":"good` + era.String() + `__quick"`}, right: asks[0].right},
		{name: "list", Request: testenv.Request{Method: "tools/list"}, right: func(r *testenv.Reply) bool { return len(r.Names("tools")) == 8 }},
	}
}

// witness is what one kind of caller saw.
type witness struct {
	mu      sync.Mutex
	good    int
	bad     int
	slowest time.Duration
	sample  string // of an error
	back    time.Duration
}

func (s *witness) add(r *testenv.Reply, err error, right func(*testenv.Reply) bool, took time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slowest = max(s.slowest, took)
	if err == nil && r.Status == http.StatusOK && right(r) {
		s.good++
		return true
	}
	s.bad++
	if s.sample == "" {
		s.sample = fmt.Sprintf("%v %v", err, r)
	}
	return false
}

func rounded(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func (s *witness) String() string {
	at := rounded(s.slowest)
	switch {
	case s.bad == 0:
		return "answered, " + at
	case s.good == 0:
		return "error, " + at
	}
	return fmt.Sprintf("%d of %d errors, %s", s.bad, s.good+s.bad, at)
}

// as tells whether it is what was promised.
func (s *witness) as(w see) bool {
	return w == either || (w == nothing) == (s.bad == 0) && (w == failure) == (s.good == 0)
}

// once asks once and waits for the answer.
func (s *site) once(c *testenv.Client, q *question, into *witness) bool {
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Patience)
	defer cancel()
	began := s.watch.Took()
	r, err := c.Try(ctx, q.Request)
	return into.add(r, err, q.right, s.watch.Took()-began)
}

// others asks the servers that nothing happens to, and all of them at once, until ctx ends.
func (s *site) others(ctx context.Context, into *witness) (wait func()) {
	var all sync.WaitGroup
	keep := func(c *testenv.Client, questions []question) {
		for i := range questions {
			all.Go(func() {
				tick := time.NewTicker(50 * time.Millisecond)
				defer tick.Stop()
				for ctx.Err() == nil {
					s.once(c, &questions[i], into)
					<-tick.C
				}
			})
		}
	}
	for _, era := range testenv.Eras {
		keep(s.client(era, "/servers/good"+era.String()+"/mcp"), asks)
		keep(s.client(era, "/mcp"), joined(era))
	}
	return all.Wait
}

// line is a row with what was seen.
type line struct {
	fault  *fault
	era    testenv.Era
	cells  []*witness
	others *witness
}

// try has a fault happen.
func (f *fault) try(t *testing.T) []*line {
	t.Helper()
	s := open(t, f)
	lines := make([]*line, 0, len(testenv.Eras))
	others := &witness{}
	clients := map[testenv.Era]*testenv.Client{}
	for _, era := range testenv.Eras {
		clients[era] = s.client(era, "/servers/bad"+era.String()+"/mcp")
		cells := make([]*witness, len(asks))
		for i := range asks {
			cells[i] = &witness{}
			for range 9 { // so that all replicas know the session
				before := new(witness)
				if !testenv.Happens(func() bool { return s.once(clients[era], &asks[i], before) }) { // time limits may be shorter than a stall
					t.Fatalf("before the fault: %s %s: %s", era, asks[i].name, before.sample)
				}
			}
		}
		lines = append(lines, &line{f, era, cells, others})
	}
	ctx, stop := context.WithCancel(t.Context())
	wait := s.others(ctx, others)
	f.begin(s)
	s.ask(lines, clients, func(c *testenv.Client, i int, cell *witness) {
		for range tries {
			s.once(c, &asks[i], cell)
		}
	})
	if f.end != nil {
		f.end(s)
	}
	ended := s.watch.Took()
	s.ask(lines, clients, func(c *testenv.Client, i int, cell *witness) {
		if !testenv.Happens(func() bool { return s.once(c, &asks[i], &witness{}) }) {
			t.Errorf("%s %s: never answered again", c.Era, asks[i].name)
		}
		cell.back = s.watch.Took() - ended
	})
	stop()
	wait()
	return lines
}

func (s *site) ask(lines []*line, clients map[testenv.Era]*testenv.Client, do func(*testenv.Client, int, *witness)) {
	var all sync.WaitGroup
	for _, l := range lines {
		for i := range asks {
			all.Go(func() { do(clients[l.era], i, l.cells[i]) })
		}
	}
	all.Wait()
}

// check holds what was seen against what is promised.
func (l *line) check(t *testing.T) {
	t.Helper()
	w := &l.fault.want
	within, recovers := w.within, w.recovers
	if within == 0 {
		within = 4 * time.Second
	}
	if recovers == 0 {
		recovers = 3 * time.Second
	}
	for i, cell := range l.cells {
		if !cell.as(asks[i].see(w)) || cell.slowest > within {
			t.Errorf("%s %s: %s, want %d within %v: %s", l.era, asks[i].name, cell, asks[i].see(w), within, cell.sample)
		}
		if cell.back > recovers {
			t.Errorf("%s %s: back after %v, want %v", l.era, asks[i].name, cell.back, recovers)
		}
	}
	if !l.others.as(w.others) || l.others.slowest > within {
		t.Errorf("callers of other servers: %s, want %d within %v: %s", l.others, w.others, within, l.others.sample)
	}
}

func (l *line) String() string {
	var back time.Duration
	cells := []string{l.fault.name, l.era.String()}
	for _, c := range l.cells {
		cells = append(cells, c.String())
		back = max(back, c.back)
	}
	return "| " + strings.Join(append(cells, l.others.String(), rounded(back)), " | ") + " |"
}

// limitFiles bounds the size of what the gateway writes.
func (s *site) limitFiles(size uint64) {
	s.t.Helper()
	if err := unix.Prlimit(s.fleet.Replicas[0].PID, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: unix.RLIM_INFINITY}, nil); err != nil {
		s.t.Fatal(err)
	}
}

func answers(mode string) func(*site) { return func(s *site) { s.mode.Store(mode) } }

func toxic(kind string, attributes map[string]any) func(*site) {
	return func(s *site) { s.each(func(p *proxy) { p.toxic(kind, attributes) }) }
}

func healed(kind string) func(*site) {
	return func(s *site) { s.each(func(p *proxy) { p.heal(kind) }) }
}

// failing is a server whose calls fail, and whose lists are what was last known of them.
var failing = want{call: failure, stream: failure}

var faults = []*fault{
	{
		name:  "server crash",
		begin: func(s *site) { s.eachBad((*testenv.Server).Stop) },
		end:   func(s *site) { s.eachBad((*testenv.Server).Start) }, want: failing,
	},
	{name: "hang", begin: answers("hang"), end: answers(""), want: failing},
	{name: "half-open connections", begin: toxic("timeout", map[string]any{"timeout": 0}), end: healed("timeout"), want: failing},
	{name: "slow", begin: toxic("latency", map[string]any{"latency": 300}), end: healed("latency")},
	{name: "little bandwidth", begin: toxic("bandwidth", map[string]any{"rate": 1}), end: healed("bandwidth")},
	{name: "reset mid-stream", begin: toxic("reset_peer", map[string]any{"timeout": 50}), end: healed("reset_peer"), want: failing},
	{name: "garbage", begin: answers("garbage"), end: answers(""), want: failing},
	{name: "5xx", begin: answers("500"), end: answers(""), want: failing},
	{name: "401", begin: answers("401"), end: answers(""), want: failing},
	{name: "session lost", begin: func(s *site) { s.eachBad((*testenv.Server).ForgetSessions) }},
	{
		name: "DNS failure", local: true, want: failing,
		begin: func(s *site) {
			s.names.down.Store(true)
			s.each(func(p *proxy) { p.cut(true); p.cut(false) })
		},
		end: func(s *site) { s.names.down.Store(false) },
	},
	{name: "Redis down", fleet: true, begin: func(s *site) { s.redis.Stop() }, end: func(s *site) { s.redis.Start() }},
	{
		name: "Redis slow", fleet: true,
		begin: func(s *site) { s.wire.toxic("latency", map[string]any{"latency": 1000}) }, end: func(s *site) { s.wire.heal("latency") },
	},
	{
		name: "Redis partitioned", fleet: true,
		begin: func(s *site) { s.wire.toxic("timeout", map[string]any{"timeout": 0}) }, end: func(s *site) { s.wire.heal("timeout") },
	},
	{
		name: "disk full", want: want{call: failure, list: failure, stream: failure, others: either},
		begin: func(s *site) { s.limitFiles(1) }, end: func(s *site) { s.limitFiles(unix.RLIM_INFINITY) },
	},
	{
		name: "replica killed", fleet: true, want: want{call: either, list: either, stream: either, others: either},
		begin: func(s *site) { s.fleet.Kill(0) },
	},
	{name: "replica drained", fleet: true, begin: func(s *site) { s.fleet.Restart(0) }},
}

func (s *site) eachBad(f func(*testenv.Server)) {
	for _, b := range s.bad {
		f(b)
	}
}

// TestFaultMatrix: no fault of a server is felt by callers of others, callers of that server are told within its time-outs, and it
// is over soon after it is over.
func TestFaultMatrix(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	table := map[int][]*line{}
	t.Cleanup(func() {
		rows := []string{"| fault | era | call | list | stream | callers of others | recovered after |", "|---|---|---|---|---|---|---|"}
		for _, i := range slices.Sorted(maps.Keys(table)) {
			for _, l := range table[i] {
				rows = append(rows, l.String())
			}
		}
		t.Log("\n" + strings.Join(rows, "\n"))
	})
	for i, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			lines := f.try(t)
			for _, l := range lines {
				l.check(t)
			}
			mu.Lock()
			table[i] = lines
			mu.Unlock()
		})
	}
}
