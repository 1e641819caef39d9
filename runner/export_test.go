package runner

import (
	"testing"
	"time"
)

// SetGuardLinger changes how long an idle guard is kept, for one test.
func SetGuardLinger(tb testing.TB, d time.Duration) {
	old := guardLinger
	guardLinger = d
	tb.Cleanup(func() { guardLinger = old })
}
