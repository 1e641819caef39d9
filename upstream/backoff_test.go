package upstream

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

// TestBackoff: failures in a row wait longer and longer; those that lie far apart are no row.
func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b backoff
		wait := func() time.Duration {
			b.failed(errors.New("broken"))
			return max(0, time.Until(b.notBefore))
		}
		for range 2 {
			var last time.Duration
			for i := range 12 {
				pause := wait()
				if i == 0 && pause != 0 || i > 0 && pause < last || pause > retryMost {
					t.Fatalf("failure %d: %s after %s", i, pause, last)
				}
				last = pause
				time.Sleep(pause)
			}
			if last != retryMost {
				t.Errorf("in the end %s", last)
			}
			time.Sleep(time.Hour)
		}
	})
}

// TestBudget: after more failures than may be within the window, nothing is started until it is over, then once; a trial that
// lasts gives the whole budget again.
func TestBudget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Server{opts: Options{Name: "one"}}
		b := backoff{most: 3, window: 10 * time.Minute}
		start := func() error { return b.pause(t.Context(), s, "is started again") }
		fail := func() {
			t.Helper()
			for start() != nil {
				if b.givenUp {
					t.Fatal("given up too early")
				}
				time.Sleep(time.Second)
			}
			b.failed(errors.New("broken"))
		}
		for range 3 {
			fail()
			time.Sleep(11 * time.Minute) // apart from each other they are no matter
		}
		for range 2 {
			for range 3 {
				fail()
			}
			fail() // one too many
			if err := errs.Of(start()); err == nil || err.RetryAfter != 10*time.Minute || !strings.Contains(err.Msg, "more than 3 times within 10m") {
				t.Fatalf("%v", err)
			}
			for range 2 {
				time.Sleep(10 * time.Minute)
				if err := start(); err != nil {
					t.Fatalf("no trial: %v", err)
				}
				b.failed(errors.New("still broken"))
				if start() == nil {
					t.Fatal("a second trial at once")
				}
			}
			time.Sleep(10 * time.Minute)
			b.over() // the trial lasted
		}
	})
}
