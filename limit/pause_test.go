package limit

import (
	"testing"
	"time"
)

// TestSavePause: saving takes little of the time, and a disk that stood still has not much more forgotten than what is used in a second.
func TestSavePause(t *testing.T) {
	t.Parallel()
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: time.Second, 100 * time.Millisecond: 2 * time.Second, 2 * time.Second: 5 * time.Second,
	} {
		if got := savePause(took); got != want {
			t.Errorf("after %s: %s, want %s", took, got, want)
		}
	}
}
