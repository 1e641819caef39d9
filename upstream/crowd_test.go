package upstream_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// tag is the tag of a message's "tag" member.
func tag(raw string) string {
	var m struct {
		Tag     string
		Content struct{ Tag string }
	}
	_ = json.Unmarshal([]byte(raw), &m) // what has none has none
	return m.Tag + m.Content.Tag
}

// tagged asks with the tag of the call, twice, and wants answers with that tag.
func tagged(a *asker, id func(c *testenv.Call, round int) string) func(*testenv.Call) {
	return func(c *testenv.Call) {
		mine := tag(c.Args())
		for round := range 2 {
			if got := tag(a.send(c, id(c, round), elicit, `{"message":"m","tag":"`+mine+`","requestedSchema":{}}`)()); got != mine {
				c.Server.Fail(fmt.Sprintf("the call of %s got the answer of %q", mine, got))
			}
		}
		c.Text(mine)
	}
}

// TestAnswersNeverCross: 200 clients with equal JSON-RPC ids, each in a session of its own whose server uses equal ids too, or all
// in one session, get their own questions and answer them.
func TestAnswersNeverCross(t *testing.T) {
	t.Parallel()
	const callers = 200
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprint("one session ", shared), func(t *testing.T) {
			t.Parallel()
			a := newAsker()
			s := testenv.HTTPServer(t, a.script(tagged(a, func(c *testenv.Call, round int) string {
				if shared {
					return `"` + tag(c.Args()) + strconv.Itoa(round) + `"`
				}
				return "1"
			})))
			srv := open(t, s)
			var wg sync.WaitGroup
			for i := range callers {
				wg.Go(func() {
					me := newCaller(t, srv)
					mine := fmt.Sprintf("caller-%d", i)
					if !shared {
						me.name = mine
					}
					r := me.do(testenv.Within(t, testenv.Patience), `1`, "tools/call", `{"name":"ask","arguments":{"tag":"`+mine+`"}}`)
					for round := range 2 {
						key := "q" + strconv.Itoa(round+1)
						if ask := string(r.asks()[key]); !strings.Contains(ask, `"tag":"`+mine+`"`) {
							t.Errorf("%s: %+v", mine, r)
							return
						}
						r = me.do(testenv.Within(t, testenv.Patience), `1`, "tools/call", `{"name":"ask"}`,
							with(r.parked, key, `{"action":"accept","content":{"tag":"`+mine+`"}}`))
					}
					if r.err != nil || r.text() != mine {
						t.Errorf("%s: %+v", mine, r)
					}
				})
			}
			wg.Wait()
		})
	}
}

// settledHeap is what is in use after the collector ran, pools included.
func settledHeap() uint64 {
	for range 3 {
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// within counts the goroutines that are in a package of the program.
func within(t *testing.T, in string) int {
	t.Helper()
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		t.Fatal(err)
	}
	total := 0
	for group := range strings.SplitSeq(b.String(), "\n\n") {
		count, stack, _ := strings.Cut(group, " @ ")
		if n, err := strconv.Atoi(count[strings.LastIndexByte(count, '\n')+1:]); err == nil && strings.Contains(stack, in) {
			total += n
		}
	}
	return total
}

// TestManyParked: ten thousand parked calls hold no goroutine, and when they were answered, or abandoned, memory and goroutines
// are where they were.
func TestManyParked(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	const waves, size = 10, 1000
	a := newAsker()
	s := testenv.HTTPServer(t, a.script(func(c *testenv.Call) { c.Text(a.ask(c, elicit, really)) }))
	srv := open(t, s)
	me := newCaller(t, srv)
	wave := func() {
		parked := make([]uint64, size)
		each(size, func(i int) {
			r := me.tool(`{}`)
			if parked[i] = r.parked; r.parked == 0 {
				t.Errorf("%+v", r)
			}
		})
		if held := within(t, "toolcrib/upstream."); held > 20 {
			t.Errorf("%d goroutines are in upstream while nothing but %d parked calls is there", held, size)
		}
		each(size, func(i int) {
			if i%2 == 0 {
				srv.Abandon(parked[i])
			} else if r := me.resume(parked[i], "q1", accept); r.text() != accept {
				t.Errorf("%+v", r)
			}
		})
		s.Forget()
	}
	wave() // which leaves idle connections
	quiet := func() bool { return within(t, "toolcrib/upstream.(*httpLink).cancelled") == 0 }
	testenv.Eventually(t, "rest", quiet)
	heap, routines := settledHeap(), within(t, "toolcrib/upstream.")
	for range waves - 1 {
		wave()
	}
	testenv.Eventually(t, "rest", quiet)
	if left := within(t, "toolcrib/upstream."); left > routines {
		t.Errorf("%d goroutines, before %d", left, routines)
	}
	var now uint64
	testenv.Eventually(t, "memory where it was", func() bool {
		now = settledHeap()
		return now < heap+1<<20
	})
	t.Logf("heap %d KiB, after %d KiB", heap>>10, now>>10)
	if n := srv.Parked(); n != 0 {
		t.Errorf("%d calls are still parked", n)
	}
}

// each runs f for 0 to n-1, some at a time.
func each(n int, f func(int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{}, 100)
	for i := range n {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			f(i)
		})
	}
	wg.Wait()
}

// TestParkedOverStdio one after the other leaves nothing behind.
func TestParkedOverStdio(t *testing.T) {
	t.Parallel()
	a := newAsker()
	srv := open(t, testenv.StdioServer(t, a.script(func(c *testenv.Call) { c.Text(a.ask(c, elicit, really)) })))
	me := newCaller(t, srv)
	for i := range 50 {
		r := me.tool(`{}`)
		wants(t, r, "q1")
		if i%2 == 0 {
			srv.Abandon(r.parked)
		} else if r = me.resume(r.parked, "q1", accept); r.text() != accept {
			t.Fatalf("%+v", r)
		}
	}
	if n := srv.Parked(); n != 0 {
		t.Errorf("%d calls are still parked", n)
	}
}

// BenchmarkParked is what one question costs: parking, and resuming with the answer.
func BenchmarkParked(b *testing.B) {
	a := newAsker()
	srv := open(b, testenv.HTTPServer(b, a.script(func(c *testenv.Call) { c.Text(a.ask(c, elicit, really)) })))
	me := newCaller(b, srv)
	b.ReportAllocs()
	b.SetParallelism(128) // the time for further questions passes for all at once
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r := me.tool(`{}`)
			if r = me.resume(r.parked, "q1", accept); r.err != nil {
				b.Error(r.err)
				return
			}
		}
	})
}
