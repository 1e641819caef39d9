package testenv

import (
	"runtime"
	"testing"
	"time"
)

// TestRan: of a long time between two beats little counts, but for as much of it as the process kept the CPUs busy.
func TestRan(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ gap, cpu, want time.Duration }{
		{watchBeat, 0, watchBeat}, {watchBeat, 2 * watchBeat, watchBeat}, {watchMost, 0, watchMost}, // it runs as it should
		{time.Minute, 0, watchMost}, {time.Minute, watchBeat, watchMost}, // it stood still
		{time.Minute, time.Second, time.Second}, {time.Minute, time.Hour, time.Minute}, // it was busy
	} {
		if got := ran(row.gap, row.cpu); got != row.want {
			t.Errorf("%v with %v of CPU: %v, want %v", row.gap, row.cpu, got, row.want)
		}
	}
}

// TestWatch: a watch measures from its start on, never more time than there was, and what passed while the process was busy.
func TestWatch(t *testing.T) {
	t.Parallel()
	began := time.Now()
	watch, later := StartWatch(t), StartWatchAt(t, began.Add(time.Hour))
	Eventually(t, "time passes", func() bool { return watch.Took() > watchMost })
	if took, most := watch.Took(), time.Since(began); took > most {
		t.Errorf("%v passed of %v", took, most)
	}
	if took := later.Took(); took != 0 {
		t.Errorf("%v passed before the start", took)
	}
	busy := &Watch{last: time.Now().Add(-time.Hour), cpu: used() - 2*time.Hour*time.Duration(runtime.GOMAXPROCS(0))}
	if took := busy.Took(); took < time.Hour {
		t.Errorf("%v passed of a busy hour", took)
	}
	still := &Watch{last: time.Now().Add(-time.Hour), cpu: used()}
	if took := still.Took(); took > time.Minute {
		t.Errorf("%v passed while the process stood still for an hour", took)
	}
}
