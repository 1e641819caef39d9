package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Load is what a replica has to do, and what it can take.
type Load struct {
	Requests, MostRequests int64 // under way
	Memory, MostMemory     int64 // in bytes
}

// Load has the metrics of load show what read tells at each scrape. It is called once.
func (m *Metrics) Load(read func() Load) { m.registry.MustRegister(loading(read)) }

// Shed counts a request that was refused for want of room: bound is what was reached, priority that of the request.
func (m *Metrics) Shed(bound, priority string) { m.shed.WithLabelValues(bound, priority).Inc() }

// loading collects when it is scraped.
type loading func() Load

var (
	underDesc    = desc("toolcrib_requests_under_way")
	requestsDesc = desc("toolcrib_requests_most")
	inUseDesc    = desc("toolcrib_memory_used_bytes")
	budgetDesc   = desc("toolcrib_memory_most_bytes")
)

// Describe implements prometheus.Collector.
func (loading) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{underDesc, requestsDesc, inUseDesc, budgetDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (read loading) Collect(ch chan<- prometheus.Metric) {
	now := read()
	for d, v := range map[*prometheus.Desc]int64{
		underDesc: now.Requests, requestsDesc: now.MostRequests, inUseDesc: now.Memory, budgetDesc: now.MostMemory,
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
}
