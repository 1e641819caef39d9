package system_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// footprint is what a process holds.
type footprint struct {
	heap       uint64
	goroutines int
}

func measure() footprint {
	runtime.GC()
	runtime.GC() // what finalizers and pools held is gone after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return footprint{m.HeapAlloc, runtime.NumGoroutine()}
}

// returns wants the process to hold again what it held before, give or take what pools and connections keep.
func returns(t *testing.T, what string, before footprint, shut func()) {
	t.Helper()
	const heap, goroutines = 3 << 20, 40
	var now footprint
	testenv.Eventually(t, what+" leave nothing behind", func() bool {
		shut()
		now = measure()
		return now.heap < before.heap+heap && now.goroutines < before.goroutines+goroutines
	})
	t.Logf("%s: %d KiB and %d goroutines before, %d KiB and %d after",
		what, before.heap>>10, before.goroutines, now.heap>>10, now.goroutines)
}

// inParallel runs n times f, some at a time.
func inParallel(n, atOnce int, f func(i int)) {
	var all sync.WaitGroup
	next := make(chan int)
	for range atOnce {
		all.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

// TestNothingStays of 10,000 sessions and as many parked calls. It measures the process, so nothing runs beside it.
func TestNothingStays(t *testing.T) { //nolint:paralleltest // as it says
	const many, wave = crowd, 500
	s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Forgets: true, Tools: once(testenv.Legacy).Tools, On: once(testenv.Legacy).On})
	c := testenv.One(s)
	c.More = map[string]any{
		"questions": map[string]any{"perPrincipal": 2 * wave, "perServer": 2 * wave, "timeout": "10s"}, "log": map[string]any{"level": "error"},
	}
	g := testenv.Serve(t, c)
	session := func(int) {
		client := g.Legacy("/mcp")
		if r := client.Tool("one__echo", "{}"); r.Texts() != "done" {
			t.Errorf("%v", r)
		}
		if code := client.Delete(); code >= 300 {
			t.Errorf("DELETE: HTTP %d", code)
		}
	}
	modern := g.Modern("/mcp")
	modern.Capabilities = testenv.AllCapabilities
	parkedWave := func(n int) {
		all := make([]*parked, n)
		inParallel(n, 16, func(i int) { all[i] = park(t, modern, "one__ask") })
		inParallel(n, 16, func(i int) {
			if i%10 == 9 {
				return // the client never comes back
			}
			if r, err := all[i].answer(context.Background(), modern); err != nil || r.Texts() != "{}yes" {
				t.Errorf("%v %v", r, err)
			}
		})
	}
	session(0)
	parkedWave(wave) // the pool of connections to the server is full from then on
	testenv.Eventually(t, "the warm-up ends", func() bool { return s.Open() == 0 })
	g.CloseIdle()
	before := measure()
	inParallel(many, 8, session)
	returns(t, "sessions", before, g.CloseIdle)
	for range many / wave {
		parkedWave(wave)
	}
	testenv.Eventually(t, "abandoned calls are cancelled", func() bool { return s.Open() == 0 })
	returns(t, "parked calls", before, g.CloseIdle)
	if n := strings.Count(g.Log(), "panic"); n > 0 {
		t.Error(g.Log())
	}
}
