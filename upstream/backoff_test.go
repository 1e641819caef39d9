package upstream

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
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
