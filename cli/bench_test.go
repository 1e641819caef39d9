package cli

import (
	"errors"
	"io"
	"testing"

	"github.com/toolcrib/toolcrib/cli/bench"
)

// TestBenchVerdict: a missed objective, a load that was not put on and one that nothing answered are failures.
func TestBenchVerdict(t *testing.T) {
	some := bench.Totals{Sent: 2, Answered: 1}
	for _, tt := range []struct {
		report bench.Report
		want   int
	}{
		{bench.Report{Totals: some, Result: bench.Pass}, ExitOK},
		{bench.Report{Totals: some, Result: bench.NoObjective}, ExitOK},
		{bench.Report{Totals: some, Result: bench.Missed}, ExitFailed},
		{bench.Report{Totals: some, Result: bench.Inconclusive}, ExitFailed},
		{bench.Report{Result: bench.NoObjective}, ExitFailed},
		{bench.Report{Totals: bench.Totals{Sent: 2, Errors: 2}, Result: bench.Missed}, ExitFailed},
		{bench.Report{Totals: some, Result: bench.Inconclusive, Interrupted: true}, ExitInterrupted},
	} {
		err := benchVerdict(&tt.report)
		if got := report(io.Discard, err); got != tt.want {
			t.Errorf("%+v: exit code %d, want %d (%v)", tt.report, got, tt.want, errors.Unwrap(err))
		}
	}
}
