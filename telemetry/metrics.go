// Package telemetry is what the program tells about itself: the Prometheus metrics, listed in one place,
// and the logger. Handles are resolved once; what is called per request does not allocate, and the number
// of series is bounded whatever servers and clients send.
package telemetry

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// other is the label value that stands for all values over a bound.
	other = "_other"

	maxRequestSeries = 512 // combinations of method, era and outcome
	maxScrapes       = 4   // at once
	scrapeTimeout    = 10 * time.Second
)

// buckets span a cached list (a millisecond) to the longest call that is allowed by default (five minutes).
var buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}

// shareBuckets begin where the gateway's own share of a call is.
var shareBuckets = []float64{.00005, .0001, .00025, .0005, .001, .0025, .01, .05, .1, .5, 1, 5, 10, 30, 60, 300}

// Metrics is the metric catalogue with its own registry. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	requests        *prometheus.CounterVec
	requestDuration *prometheus.HistogramVec
	tenantRequests  *prometheus.CounterVec
	toolRequests    *prometheus.CounterVec
	toolErrors      *prometheus.CounterVec
	toolDuration    *prometheus.HistogramVec
	discoveries     *prometheus.CounterVec
	states          *prometheus.GaugeVec
	restarts        *prometheus.CounterVec
	starts          *prometheus.CounterVec
	startDuration   *prometheus.HistogramVec
	crashes         *prometheus.CounterVec
	refused         *prometheus.CounterVec
	shares          *prometheus.HistogramVec
	rejected        *prometheus.CounterVec
	parked          prometheus.Gauge
	policies        Policies

	requestSeries table[requestLabels, requestSeries]
	tenantSeries  table[tenantLabels, prometheus.Counter]

	mu      sync.Mutex
	servers map[string]*server
}

type requestLabels struct{ method, era, outcome string }

type requestSeries struct {
	count    prometheus.Counter
	duration prometheus.Observer
}

// NewMetrics makes the catalogue; version is what toolcrib_build_info shows.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		servers:  map[string]*server{},
		policies: newPolicies(),

		requests: counters("mcp_requests_total",
			"Requests from clients that were answered, refused ones included.", "method", "era", "outcome"),
		requestDuration: histograms("mcp_request_duration_seconds",
			"Time from a client's request to the end of its answer.", "method", "era"),
		tenantRequests: counters("mcp_tenant_requests_total",
			"Requests of callers that were identified, by their tenant; of more than some hundred tenants, the later ones together.", "tenant", "outcome"),
		toolRequests: counters("mcp_tool_requests_total",
			"Tool calls.", "server", "tool"),
		toolErrors: counters("mcp_tool_errors_total",
			"Tool calls that failed: tool_error for a result with isError, else the JSON-RPC code or the outcome.", "server", "tool", "error_type"),
		toolDuration: histograms("mcp_tool_duration_seconds",
			"Time a tool call took.", "server", "tool"),
		discoveries: counters("mcp_server_discoveries_total",
			"Times a server was asked for what it offers.", "server", "outcome"),
		states: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mcp_server_state",
			Help: "1 for the state a server is in, 0 for those it was in.",
		}, []string{"server", "state"}),
		restarts: counters("mcp_server_restarts_total",
			"Times a server's process was started again after one crashed.", "server"),
		starts: counters("mcp_server_starts_total",
			"Starts of a server's processes.", "server", "outcome"),
		startDuration: histograms("mcp_server_start_duration_seconds",
			"Time from the start of a server's process until it answered.", "server"),
		crashes: counters("mcp_server_crashes_total",
			"Ends of a server's processes that nobody wanted, by why they ended.", "server", "reason"),
		refused: counters("mcp_server_refused_calls_total",
			"Calls that got no instance: the queue was full (queue), or they waited in it too long (wait).", "server", "reason"),
		shares: shareHistograms("mcp_call_share_seconds",
			"Where the time of a call went: in the queue, on the start of an instance, at the server, or in transport, which is all else.", "server", "share"),
		rejected: counters("mcp_rejected_tokens_total",
			"Sealed tokens of clients that were forged, expired, used up or of another caller, by what they stand for.", "kind"),
		parked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mcp_parked_calls",
			Help: "Calls that wait at a server for a client's answers.",
		}),
	}
	m.registry.MustRegister(m.requests, m.requestDuration, m.tenantRequests, m.toolRequests, m.toolErrors, m.toolDuration,
		m.discoveries, m.states, m.restarts, m.starts, m.startDuration, m.crashes, m.refused, m.shares, m.rejected, m.parked, buildInfo(version),
		m.policies.decisions, m.policies.shadow,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Cluster has toolcrib_cluster_connected show what connected tells. It is called once.
func (m *Metrics) Cluster(connected func() bool) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "toolcrib_cluster_connected",
		Help: "1 while what the replicas share is reached, which is always so for one replica alone.",
	}, func() float64 {
		if connected() {
			return 1
		}
		return 0
	}))
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histograms(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

func shareHistograms(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: shareBuckets}, labels)
}

func buildInfo(version string) prometheus.Collector {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "toolcrib_build_info",
		Help:        "1, labelled with the version of the program and of Go.",
		ConstLabels: prometheus.Labels{"version": label(version), "go_version": runtime.Version()},
	})
	info.Set(1)
	return info
}

// TokenRejected counts a sealed token that does not open or is used up; kind is what it stands for: session, question, state,
// task, stream.
func (m *Metrics) TokenRejected(kind string) { m.rejected.WithLabelValues(kind).Inc() }

// Parked adds to the number of calls that wait for a client's answers.
func (m *Metrics) Parked(delta int) { m.parked.Add(float64(delta)) }

// Handler serves the metrics in the Prometheus exposition formats.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
	})
}

// Request counts one request of a client. Era is modern or legacy; an empty outcome means ok, any other
// is the outcome of the error.
func (m *Metrics) Request(method, era, outcome string, d time.Duration) {
	if outcome == "" {
		outcome = "ok"
	}
	key := requestLabels{method, era, outcome}
	s, ok := m.requestSeries.get(key)
	if !ok {
		s = m.addRequestSeries(key)
	}
	s.count.Inc()
	s.duration.Observe(d.Seconds())
}

func (m *Metrics) addRequestSeries(key requestLabels) requestSeries {
	if m.requestSeries.len() >= maxRequestSeries {
		key = requestLabels{other, other, other}
	}
	return m.requestSeries.add(key, func() requestSeries {
		method, era, outcome := label(key.method), label(key.era), label(key.outcome)
		return requestSeries{
			count:    m.requests.WithLabelValues(method, era, outcome),
			duration: m.requestDuration.WithLabelValues(method, era),
		}
	})
}
