package telemetry

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Quarantine has the metric of tools in quarantine show what read tells at each scrape, by server. It is called once.
func (m *Metrics) Quarantine(read func() map[string]int) { m.registry.MustRegister(quarantine(read)) }

// quarantine collects when it is scraped.
type quarantine func() map[string]int

var quarantinedDesc = desc("toolcrib_tools_quarantined")

// Describe implements prometheus.Collector.
func (quarantine) Describe(ch chan<- *prometheus.Desc) { ch <- quarantinedDesc }

// Collect implements prometheus.Collector.
func (read quarantine) Collect(ch chan<- prometheus.Metric) {
	now := read()
	for _, server := range slices.Sorted(maps.Keys(now)) {
		ch <- prometheus.MustNewConstMetric(quarantinedDesc, prometheus.GaugeValue, float64(now[server]), server)
	}
}
