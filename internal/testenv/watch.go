package testenv

import (
	"context"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Watch measures time in which this process ran: while the machine stands still, next to none passes. What has to be quick is
// measured by it, since tests run where other things are done, too.
type Watch struct {
	mu        sync.Mutex
	last      time.Time     // up to which it measured
	cpu, took time.Duration // what the process had used by then; what it measured
}

const (
	watchBeat = 10 * time.Millisecond
	watchMost = 10 * watchBeat // between two beats; whatever lies farther apart was for what is measured only as far as the process ran
)

// StartWatch starts a watch that runs until the test ends.
func StartWatch(t testing.TB) *Watch { return StartWatchAt(t, time.Now()) }

// StartWatchAt is StartWatch at a time to come.
func StartWatchAt(t testing.TB, start time.Time) *Watch {
	w := &Watch{last: start, cpu: used()}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(watchBeat)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				w.Took()
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}

// Took is the time since the start.
func (w *Watch) Took() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	now, cpu := time.Now(), used()
	if now.After(w.last) {
		w.took += ran(now.Sub(w.last), (cpu-w.cpu)/time.Duration(runtime.GOMAXPROCS(0)))
		w.last = now
	}
	w.cpu = cpu
	return w.took
}

// ran is how much of the time between two beats counts where the process used so much of all CPUs in it: one that keeps its own
// beats away does not stand still.
func ran(gap, cpu time.Duration) time.Duration { return min(gap, max(watchMost, cpu)) }

// used is the CPU time that this process took.
func used() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // it is there for every process
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
