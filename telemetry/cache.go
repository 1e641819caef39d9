package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Cache counts what came of requests of one server that may be answered from the cache.
type Cache struct {
	counts table[string, prometheus.Counter]
	open   func(outcome string) prometheus.Counter
}

// Cache returns the handle of a server's series. They appear with the first request.
func (m *Metrics) Cache(server string) *Cache {
	return &Cache{open: func(outcome string) prometheus.Counter {
		return m.cacheRequests.WithLabelValues(label(server), outcome)
	}}
}

// Count counts one request; the outcomes are few.
func (c *Cache) Count(outcome string) {
	n, ok := c.counts.get(outcome)
	if !ok {
		n = c.counts.add(outcome, func() prometheus.Counter { return c.open(outcome) })
	}
	n.Inc()
}

// CacheSize are the numbers of the whole cache.
type CacheSize struct{ Bytes, Entries, Evicted int64 }

// CacheSize has the metrics of the cache show what read tells at each scrape. It is called once.
func (m *Metrics) CacheSize(read func() CacheSize) { m.registry.MustRegister(cacheSize(read)) }

type cacheSize func() CacheSize

var (
	cacheBytes   = desc("toolcrib_cache_bytes")
	cacheEntries = desc("toolcrib_cache_entries")
	cacheEvicted = desc("toolcrib_cache_evicted_total")
)

// Describe implements prometheus.Collector.
func (cacheSize) Describe(ch chan<- *prometheus.Desc) {
	ch <- cacheBytes
	ch <- cacheEntries
	ch <- cacheEvicted
}

// Collect implements prometheus.Collector.
func (read cacheSize) Collect(ch chan<- prometheus.Metric) {
	now := read()
	ch <- prometheus.MustNewConstMetric(cacheBytes, prometheus.GaugeValue, float64(now.Bytes))
	ch <- prometheus.MustNewConstMetric(cacheEntries, prometheus.GaugeValue, float64(now.Entries))
	ch <- prometheus.MustNewConstMetric(cacheEvicted, prometheus.CounterValue, float64(now.Evicted))
}
