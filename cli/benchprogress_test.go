package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/cli/bench"
)

// TestBenchProgress: where nobody watches a line comes now and then, on a terminal one line is rewritten all the time.
func TestBenchProgress(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var out strings.Builder
		p := newBenchProgress(&out)
		p.terminal = terminal
		for i := range 2 * benchLines {
			p.show(bench.Progress{Elapsed: time.Duration(i-1) * time.Second, Answered: 10, P99: 1.5})
		}
		p.done()
		lines, again := strings.Count(out.String(), "\n"), strings.Count(out.String(), "\r")
		if want := [2]int{2, 0}; !terminal && [2]int{lines, again} != want {
			t.Errorf("%d lines, %d rewritten: %q", lines, again, out.String())
		}
		if want := [2]int{0, 2*benchLines + 1}; terminal && [2]int{lines, again} != want {
			t.Errorf("%d lines, %d rewritten: %q", lines, again, out.String())
		}
		if !strings.Contains(out.String(), "18s  10 answered (1/s)  p50 0s  p99 1.5ms  0 errors  0 in flight") || strings.Contains(out.String(), "warming up, 1s to go") != terminal {
			t.Errorf("terminal %t: %q", terminal, out.String())
		}
	}
}
