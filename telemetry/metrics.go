// Package telemetry is what the program tells about itself: the Prometheus metrics, listed in one place,
// and the logger. Handles are resolved once; what is called per request does not allocate, and the number
// of series is bounded whatever servers and clients send.
package telemetry

import (
	"cmp"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

const (
	// other is the label value that stands for all values over a bound.
	other = "_other"
	// okOutcome is the outcome of what did not fail.
	okOutcome = "ok"
	// failedOutcome is that of what failed, where nobody asks how.
	failedOutcome = "error"
)

// Metrics is the metric catalogue with its own registry. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	perTool  *prometheus.Registry // what tools and their servers have, which are nearly all series

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
	shed            *prometheus.CounterVec
	fallbacks       *prometheus.CounterVec
	retries         *prometheus.CounterVec
	parked          prometheus.Gauge
	cacheRequests   *prometheus.CounterVec
	limited         *prometheus.CounterVec
	policies        Policies

	serverOperation   *prometheus.HistogramVec
	clientOperation   *prometheus.HistogramVec
	serverSession     *prometheus.HistogramVec
	clientSession     *prometheus.HistogramVec
	sessionsEnded     *prometheus.CounterVec
	discovering       *prometheus.CounterVec
	discoveryDuration *prometheus.HistogramVec
	discovered        *prometheus.GaugeVec
	authentications   *prometheus.CounterVec
	clientRequests    *prometheus.CounterVec
	tasksEnded        *prometheus.CounterVec
	requestSize       *prometheus.HistogramVec
	responseSize      *prometheus.HistogramVec
	overhead          prometheus.Histogram
	folded            *prometheus.CounterVec
	exports           *prometheus.CounterVec

	requestSeries table[Request, *requestSeries]
	tenantSeries  table[tenantLabels, prometheus.Counter]
	authenticated table[[2]string, prometheus.Counter]
	clients       table[string, *clientSeries] // by what they send of themselves
	clientNames   table[string, *clientSeries]
	otherClient   func() *clientSeries // of those that have no counter of their own
	codes         map[string]bool      // of errors that servers answered, all together
	maxClients    atomic.Int64
	maxTools      atomic.Int64 // a server
	maxTenants    atomic.Int64
	noTenants     atomic.Bool

	mu      sync.Mutex
	servers map[string]*server
}

// NewMetrics makes the catalogue; version is what toolcrib_build_info shows.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		perTool:  prometheus.NewRegistry(),
		codes:    map[string]bool{},
		servers:  map[string]*server{},
		policies: newPolicies(),

		serverOperation:   newHistograms("mcp_server_operation_duration_seconds"),
		clientOperation:   newHistograms("mcp_client_operation_duration_seconds"),
		serverSession:     newHistograms("mcp_server_session_duration_seconds"),
		clientSession:     newHistograms("mcp_client_session_duration_seconds"),
		sessionsEnded:     newCounters("mcp_sessions_ended_total"),
		discovering:       newCounters("mcp_discovery_requests_total"),
		discoveryDuration: newHistograms("mcp_discovery_duration_seconds"),
		discovered:        newGauges("mcp_discovery_last_success_timestamp_seconds"),
		authentications:   newCounters("toolcrib_authentications_total"),
		clientRequests:    newCounters("mcp_client_requests_total"),
		tasksEnded:        newCounters("mcp_tasks_ended_total"),
		requestSize:       newHistograms("mcp_tool_request_size_bytes"),
		responseSize:      newHistograms("mcp_tool_response_size_bytes"),
		overhead:          newHistogram("mcp_gateway_overhead_seconds"),
		folded:            newCounters("toolcrib_metrics_folded_total"),
		exports:           newCounters("toolcrib_metric_exports_total"),

		requests:        newCounters("mcp_requests_total"),
		requestDuration: newHistograms("mcp_request_duration_seconds"),
		tenantRequests:  newCounters("mcp_tenant_requests_total"),
		toolRequests:    newCounters("mcp_tool_requests_total"),
		toolErrors:      newCounters("mcp_tool_errors_total"),
		toolDuration:    newHistograms("mcp_tool_duration_seconds"),
		discoveries:     newCounters("mcp_server_discoveries_total"),
		states:          newGauges("mcp_server_state"),
		restarts:        newCounters("mcp_server_restarts_total"),
		starts:          newCounters("mcp_server_starts_total"),
		startDuration:   newHistograms("mcp_server_start_duration_seconds"),
		crashes:         newCounters("mcp_server_crashes_total"),
		refused:         newCounters("mcp_server_refused_calls_total"),
		shares:          newHistograms("mcp_call_share_seconds"),
		rejected:        newCounters("mcp_rejected_tokens_total"),
		shed:            newCounters("toolcrib_shed_requests_total"),
		cacheRequests:   newCounters("mcp_cache_requests_total"),
		limited:         newCounters("toolcrib_limited_requests_total"),
		fallbacks:       newCounters("mcp_server_fallbacks_total"),
		retries:         newCounters("mcp_server_retries_total"),
		parked:          newGauge("mcp_parked_calls"),
	}
	m.perTool.MustRegister(m.toolRequests, m.toolErrors, m.toolDuration, m.shares, m.requestSize, m.responseSize)
	m.registry.MustRegister(m.requests, m.requestDuration, m.tenantRequests, m.discoveries, m.states, m.restarts,
		m.starts, m.startDuration, m.crashes, m.refused, m.rejected, m.fallbacks, m.retries, m.shed, m.parked,
		buildInfo(version),
		m.policies.decisions, m.policies.shadow, m.cacheRequests, m.limited,
		m.serverOperation, m.clientOperation, m.serverSession, m.clientSession, m.sessionsEnded, m.discovering, m.discoveryDuration, m.discovered,
		m.authentications, m.clientRequests, m.tasksEnded, m.overhead, m.folded, m.exports,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.otherClient = sync.OnceValue(func() *clientSeries {
		return &clientSeries{count: m.clientRequests.WithLabelValues(other), folded: m.folded.WithLabelValues("client")}
	})
	m.Bound(Bounds{})
	return m
}

// Bounds are how many values of a label are told apart. What is over them is counted as one, and by toolcrib_metrics_folded_total.
// Zero stands for the default.
type Bounds struct {
	// Tools are those of each server, Tenants the pairs of tenant and outcome.
	Tools, Clients, Tenants int
	// NoTenants counts nothing by tenant.
	NoTenants bool
}

// BoundsOf are the bounds that a configuration sets.
func BoundsOf(c *v1.Metrics) Bounds {
	return Bounds{Tools: c.MaxTools, Clients: c.MaxClients, Tenants: c.MaxTenants, NoTenants: !c.Tenants}
}

// Bound has bounds be those of values that were not seen before.
func (m *Metrics) Bound(b Bounds) {
	m.maxTools.Store(int64(cmp.Or(b.Tools, maxTools)))
	m.maxClients.Store(int64(cmp.Or(b.Clients, maxClients)))
	m.maxTenants.Store(int64(cmp.Or(b.Tenants, maxTenantSeries)))
	m.noTenants.Store(b.NoTenants)
}

// Cluster has toolcrib_cluster_connected show what connected tells. It is called once.
func (m *Metrics) Cluster(connected func() bool) {
	m.registry.MustRegister(newFlag("toolcrib_cluster_connected", connected))
}

func buildInfo(version string) prometheus.Collector {
	info := newGauges("toolcrib_build_info")
	info.WithLabelValues(label(version), runtime.Version()).Set(1)
	return info
}

// TokenRejected counts a sealed token that does not open or is used up; kind is what it stands for: session, question, state,
// task, stream.
func (m *Metrics) TokenRejected(kind string) { m.rejected.WithLabelValues(kind).Inc() }

// Limits has toolcrib_limits_local show what local tells. It is called once.
func (m *Metrics) Limits(local func() bool) {
	m.registry.MustRegister(newFlag("toolcrib_limits_local", local))
}

// Limited counts a request that a limit refused; kind is what was used up.
func (m *Metrics) Limited(limit, kind string) { m.limited.WithLabelValues(limit, kind).Inc() }

// Parked adds to the number of calls that wait for a client's answers.
func (m *Metrics) Parked(delta int) { m.parked.Add(float64(delta)) }
