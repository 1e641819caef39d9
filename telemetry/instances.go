package telemetry

import "github.com/prometheus/client_golang/prometheus"

// sitesMost bounds the instances of all servers that a scrape tells of.
const sitesMost = 5000

// Site is one instance of a server that is reached by url.
type Site struct {
	Server, Instance string
	Up               bool
	// Broken says that its circuit breaker is open.
	Broken                     bool
	InFlight, Calls, Ejections int64
}

// Bound is the present bound of the calls that a server has at once.
type Bound struct {
	Server          string
	Limit, InFlight int
}

// Sites has the metrics of instances show what read tells at each scrape. It is called once.
func (m *Metrics) Sites(read func() ([]Site, []Bound)) { m.registry.MustRegister(sites(read)) }

type sites func() ([]Site, []Bound)

var (
	breakerOpen   = desc("mcp_server_breaker_open")
	siteUp        = desc("mcp_server_instance_up")
	siteInFlight  = desc("mcp_server_instance_in_flight")
	siteCalls     = desc("mcp_server_instance_calls_total")
	siteEjections = desc("mcp_server_instance_ejections_total")
	boundLimit    = desc("mcp_server_concurrency_limit")
	boundInFlight = desc("mcp_server_concurrency_in_flight")
)

// Describe implements prometheus.Collector.
func (sites) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{breakerOpen, siteUp, siteInFlight, siteCalls, siteEjections, boundLimit, boundInFlight} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (read sites) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, value, labels...)
	}
	all, bounds := read()
	broken := map[string]int{}
	seen := map[[2]string]bool{} // one may be going while another comes at its address
	for _, s := range all[:min(len(all), sitesMost)] {
		of := [2]string{label(s.Server), label(s.Instance)}
		if seen[of] {
			continue
		}
		seen[of] = true
		broken[of[0]] += int(flag(s.Broken))
		send(siteUp, prometheus.GaugeValue, flag(s.Up), of[:]...)
		send(siteInFlight, prometheus.GaugeValue, float64(s.InFlight), of[:]...)
		send(siteCalls, prometheus.CounterValue, float64(s.Calls), of[:]...)
		send(siteEjections, prometheus.CounterValue, float64(s.Ejections), of[:]...)
	}
	for server, n := range broken {
		send(breakerOpen, prometheus.GaugeValue, float64(n), server)
	}
	for _, b := range bounds {
		send(boundLimit, prometheus.GaugeValue, float64(b.Limit), label(b.Server))
		send(boundInFlight, prometheus.GaugeValue, float64(b.InFlight), label(b.Server))
	}
}
