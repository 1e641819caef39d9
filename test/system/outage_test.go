package system_test

import (
	"context"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// outage is how long Redis is away.
func outage() time.Duration {
	if os.Getenv("TOOLCRIB_LONG") != "" {
		return 30 * time.Second
	}
	return 8 * time.Second
}

// load is clients that call until they are stopped.
type load struct {
	calls, faults atomic.Int64
	stop          context.CancelFunc
	all           sync.WaitGroup
}

// startLoad has each client call one after the other; any error is a fault.
func startLoad(t *testing.T, clients ...*testenv.Client) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop}
	watch := testenv.StartWatch(t)
	for _, c := range clients {
		l.all.Go(func() {
			for ctx.Err() == nil {
				begin := watch.Took()
				r, err := c.Try(ctx, askTool("one__echo"))
				if ctx.Err() != nil {
					return
				}
				l.calls.Add(1)
				if took := watch.Took() - begin; err != nil || r.Texts() != "done" || took > 3*time.Second {
					if l.faults.Add(1) < 4 {
						t.Errorf("%v call at %s after %v: %v %v", c.Era, c.URL, took, r, err)
					}
				}
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	l.stop()
	l.all.Wait()
}

// TestRedisAway: while Redis is away ordinary calls of both eras go on without an error, what needs another replica fails
// with an honest reason, and all is well again by itself when it is back.
func TestRedisAway(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, once(testenv.Legacy))
	f, redis := fleet(t, map[string]*testenv.Server{"one": s})
	f.Again = false
	modern := f.Client(testenv.Modern, "/mcp", testenv.AllCapabilities)
	legacy := f.Client(testenv.Legacy, "/mcp", testenv.AllCapabilities)
	early := park(t, f.At(0, modern), "one__ask")
	l := startLoad(t, modern, legacy, f.At(1, f.Client(testenv.Legacy, "/mcp", "{}")), f.Client(testenv.Legacy, "/mcp", "{}"))
	testenv.Eventually(t, "load", func() bool { return l.calls.Load() > 200 })
	redis.Stop()
	end := time.Now().Add(outage())
	testRedisGone(t, f, modern, early)
	before := l.calls.Load()
	for ; time.Now().Before(end); time.Sleep(100 * time.Millisecond) { // the outage lasts as long as it lasts
		opened := f.Client(testenv.Legacy, "/mcp", testenv.AllCapabilities) // a session opened meanwhile
		if r := opened.Tool("one__echo", "{}"); r.Texts() != "done" {
			t.Errorf("new session: %v", r)
		}
	}
	if l.calls.Load() == before {
		t.Error("no call was made while Redis was away")
	}
	redis.Start()
	testenv.Eventually(t, "the replicas reach each other again", func() bool {
		p := park(t, f.At(0, modern), "one__ask")
		r, err := p.answer(testenv.Within(t, testenv.Patience), f.At(1, modern))
		return err == nil && r.Texts() == "{}yes"
	})
	testenv.Eventually(t, "the call that was parked before is answered", func() bool {
		r, err := early.answer(testenv.Within(t, testenv.Patience), f.At(2, modern))
		return err == nil && r.Texts() == "{}yes"
	})
	l.end()
	t.Logf("%d calls, of which %d failed", l.calls.Load(), l.faults.Load())
}

// testRedisGone holds what needs another replica to fail at once, and what does not to work.
func testRedisGone(t *testing.T, f *testenv.Fleet, client *testenv.Client, parked *parked) {
	t.Helper()
	watch := testenv.StartWatch(t)
	r, err := parked.answer(testenv.Within(t, testenv.Patience), f.At(1, client))
	if err != nil {
		t.Fatal(err)
	}
	code, text := r.Error()
	if code == 0 || strings.Contains(text, "lost") || !strings.Contains(text, "cluster") && !strings.Contains(text, "Redis") {
		t.Errorf("answer to another replica without Redis: %v", r)
	}
	if d := watch.Took(); d > 3*time.Second {
		t.Errorf("it took %v to say so", d)
	}
	here := park(t, f.At(2, client), "one__ask")
	if r, err := here.answer(testenv.Within(t, testenv.Patience), f.At(2, client)); err != nil || r.Texts() != "{}yes" {
		t.Errorf("answer where the call is parked: %v %v", r, err)
	}
}
