package app

import (
	"testing"
	"time"
)

// TestSteady: what is in use for a moment only refuses nobody.
func TestSteady(t *testing.T) {
	var st strain
	for i, step := range []struct{ now, want int64 }{{700, 0}, {930, 700}, {710, 710}, {950, 710}, {980, 950}, {600, 600}} {
		if got := st.steady(step.now); got != step.want {
			t.Errorf("step %d: %d, want %d", i, got, step.want)
		}
	}
}

// TestPause: it is looked seldom while nothing is asked, unless half of the memory is in use.
func TestPause(t *testing.T) {
	for _, tt := range []struct {
		under, used int64
		want        time.Duration
	}{{0, 0, idleEvery}, {0, 499, idleEvery}, {0, 500, strainEvery}, {1, 0, strainEvery}, {9, 900, strainEvery}} {
		if got := (&strain{before: tt.used}).pause(tt.under); got != tt.want {
			t.Errorf("%d under way, %d in use: %s, want %s", tt.under, tt.used, got, tt.want)
		}
	}
}
