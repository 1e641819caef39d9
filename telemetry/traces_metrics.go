package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Traces has the metrics of traces show what a tracer counts. It is called once.
func (m *Metrics) Traces(t *Tracer) {
	m.registry.MustRegister(&traceMetrics{&t.counts, desc("toolcrib_traces_total"), desc("toolcrib_trace_spans_total")})
}

// traceMetrics are made when they are asked for.
type traceMetrics struct {
	counts      *traceCounts
	kept, spans *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (m *traceMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- m.kept
	to <- m.spans
}

// Collect implements prometheus.Collector.
func (m *traceMetrics) Collect(to chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n int64, label string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label)
	}
	for r := Sampled; r < numReasons; r++ {
		count(m.kept, m.counts.kept[r].Load(), r.String())
	}
	count(m.spans, m.counts.exported.Load(), "exported")
	count(m.spans, m.counts.failed.Load(), "failed")
	count(m.spans, m.counts.dropped.Load(), "dropped")
}
