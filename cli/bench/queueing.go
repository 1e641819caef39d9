package bench

import (
	"math"
	"runtime/metrics"
	"time"
)

const queueMetric = "/sched/latencies:seconds"

// queueing starts to measure how long what is ready to run in this process waits for a processor. The function returned tells
// what 99 of 100 waited at most since then: an answer is seen so much later than it is there.
func queueing() func() time.Duration {
	before := queueCounts()
	return func() time.Duration {
		after := queueCounts()
		if before == nil || after == nil || len(before.Counts) != len(after.Counts) {
			return 0
		}
		return since(before, after)
	}
}

func queueCounts() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: queueMetric}}
	if metrics.Read(s); s[0].Value.Kind() != metrics.KindFloat64Histogram {
		return nil // another version of Go
	}
	return s[0].Value.Float64Histogram()
}

// since is the 99th percentile of what was counted between two readings.
func since(before, after *metrics.Float64Histogram) time.Duration {
	total := uint64(0)
	for i, n := range after.Counts {
		total += n - before.Counts[i]
	}
	seen := uint64(0)
	for i, n := range after.Counts {
		seen += n - before.Counts[i]
		if bound := after.Buckets[i+1]; float64(seen) >= 0.99*float64(total) && total > 0 {
			if math.IsInf(bound, 1) {
				bound = after.Buckets[i]
			}
			return time.Duration(bound * float64(time.Second))
		}
	}
	return 0
}
