package testenv

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// Watch measures time in which this process ran: while the machine stands still, next to none passes. What has to be quick is
// measured by it, since tests run where other things are done, too.
type Watch struct{ took atomic.Int64 }

const (
	watchBeat = 10 * time.Millisecond
	watchMost = 10 * watchBeat // between two beats; whatever lies farther apart, it was not for what is measured
)

// StartWatch starts a watch that runs until the test ends.
func StartWatch(t testing.TB) *Watch { return StartWatchAt(t, time.Now()) }

// StartWatchAt is StartWatch at a time to come.
func StartWatchAt(t testing.TB, start time.Time) *Watch {
	w := new(Watch)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(watchBeat)
		defer tick.Stop()
		for last := time.Now(); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			now := time.Now()
			if now.After(start) {
				w.took.Add(int64(min(now.Sub(last), watchMost)))
			}
			last = now
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}

// Took is the time since the start.
func (w *Watch) Took() time.Duration { return time.Duration(w.took.Load()) }
