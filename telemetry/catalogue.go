package telemetry

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Kind is what a metric does.
type Kind string

// The kinds of metrics.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Metric is an entry of the catalogue.
type Metric struct {
	// Name is that for Prometheus, OTel that in OTLP.
	Name, OTel string
	Kind       Kind
	// Unit is in UCUM, as OpenTelemetry has it: s, By, 1, or what is counted in braces.
	Unit string
	// Help is one sentence on what it tells.
	Help string
	// Labels are the names of its labels, which Labels explains.
	Labels []string
	// Buckets are the upper bounds of a histogram; nil for other kinds.
	Buckets []float64
	// Native says that a histogram has exponential buckets too, for those who ask for them.
	Native bool
}

// Label explains a label: what its values are, and what bounds their number.
type Label struct {
	Name, Values, Bound string
	// OTel is the name of the attribute in OTLP, where that is another one.
	OTel string
}

// Catalogue lists all metrics of the program but those of the Go runtime and its process, in the order of the reference page.
func Catalogue() []Metric { return slices.Clone(catalogue) }

// Labels lists all labels of the catalogue.
func Labels() []Label { return slices.Clone(labels) }

// Buckets of histograms.
var (
	// callBuckets span a cached list (a millisecond) to the longest call that is allowed by default (five minutes).
	callBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300}
	// shareBuckets begin where the gateway's own share of a call is.
	// operationBuckets are those of the conventions of OpenTelemetry for MCP.
	operationBuckets = []float64{.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120, 300}
	sizeBuckets      = []float64{256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20}
	sessionBuckets   = []float64{1, 10, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 7 * 24 * 3600}
	shareBuckets     = []float64{.00005, .0001, .00025, .0005, .001, .0025, .01, .05, .1, .5, 1, 5, 10, 30, 60, 300}
)

var labels = []Label{
	{"bound", "what was reached: concurrency, memory", "2", ""},
	{"change", "gained or lost", "2", ""},
	{"client", "what a client calls itself", "50, then _other", ""},
	{"decision", "allowed, denied or scope", "3", ""},
	{"era", "modern or legacy", "2", ""},
	{
		"error_type", "tool_error for a result with isError, else the JSON-RPC code that the server answered, or the gateway's own kind, " +
			"such as denied, limited, overloaded, draining, unavailable or timeout", "32 a server, then _other", "error.type",
	},
	{"go_version", "that of Go", "1", ""},
	{"instance", "the address of an instance that is reached by url", "5000 in all, the others are left out", ""},
	{"kind", "what it is about, as the metric says", "8", ""},
	{"label", "a label that is bounded: method, tool, client, tenant", "4", ""},
	{"limit", "the name of a limit", "the configured ones", ""},
	{"mcp_method_name", "the JSON-RPC method of a request", "as method", "mcp.method.name"},
	{"mcp_protocol_version", "the version of MCP that the client speaks, where it is known", "4", "mcp.protocol.version"},
	{"method", "the JSON-RPC method of a request, or how a caller was identified", "512 combinations with era and outcome, then _other", ""},
	{"network_transport", "tcp, or pipe for a process", "2", "network.transport"},
	{"outcome", "ok, or what came of it", "the kinds of errors", ""},
	{"priority", "high, normal or low", "3", ""},
	{"reason", "why it was so, as the metric says", "12", ""},
	{"server", "the name of a server", "the configured ones", ""},
	{"share", "queue, start, server or transport", "4", ""},
	{"sink", "the name of a sink of the audit log", "the configured ones", ""},
	{"source", "store, or an issuer", "the configured ones", ""},
	{"state", "of a server or an instance", "16 a server, then _other", ""},
	{"status", "completed, failed or cancelled", "3", ""},
	{"tenant", "the tenant of the caller", "2000 combinations with outcome, then _other", ""},
	{"tool", "the name of a tool as its server has it; _other for names that no server lists", "2000 a server, then _other", "gen_ai.tool.name"},
	{"use", "serving or client_ca", "2", ""},
	{"version", "that of the program", "1", ""},
}

var catalogue = []Metric{
	{
		Name: "mcp_requests_total", OTel: "mcp.requests", Kind: Counter, Unit: "{request}", Labels: []string{"method", "era", "outcome"},
		Help: "Requests from clients that were answered, refused ones included.",
	},
	{
		Name: "mcp_request_duration_seconds", OTel: "mcp.request.duration", Kind: Histogram, Unit: "s", Labels: []string{"method", "era"},
		Buckets: callBuckets, Help: "Time from a client's request to the end of its answer.",
	},
	{
		Name: "mcp_tenant_requests_total", OTel: "mcp.tenant.requests", Kind: Counter, Unit: "{request}", Labels: []string{"tenant", "outcome"},
		Help: "Requests of callers that were identified, by their tenant; of more than some hundred tenants, the later ones together.",
	},
	{
		Name: "mcp_tool_requests_total", OTel: "mcp.tool.requests", Kind: Counter, Unit: "{call}", Labels: []string{"server", "tool"},
		Help: "Tool calls.",
	},
	{
		Name: "mcp_tool_errors_total", OTel: "mcp.tool.errors", Kind: Counter, Unit: "{call}", Labels: []string{"server", "tool", "error_type"},
		Help: "Tool calls that failed: tool_error for a result with isError, else the JSON-RPC code that the server answered, or the gateway's own kind of error.",
	},
	{
		Name: "mcp_tool_duration_seconds", OTel: "mcp.tool.duration", Kind: Histogram, Unit: "s", Labels: []string{"server", "tool"},
		Buckets: callBuckets, Native: true, Help: "Time a tool call took.",
	},
	{
		Name: "mcp_call_share_seconds", OTel: "mcp.call.share", Kind: Histogram, Unit: "s", Labels: []string{"server", "share"}, Buckets: shareBuckets,
		Help: "Where the time of a call went: in the queue, on the start of an instance, at the server, or in transport, which is all else.",
	},
	{
		Name: "mcp_parked_calls", OTel: "mcp.parked.calls", Kind: Gauge, Unit: "{call}",
		Help: "Calls that wait at a server for a client's answers.",
	},
	{
		Name: "mcp_rejected_tokens_total", OTel: "mcp.rejected.tokens", Kind: Counter, Unit: "{token}", Labels: []string{"kind"},
		Help: "Sealed tokens of clients that were forged, expired, used up or of another caller, by what they stand for.",
	},
	{
		Name: "mcp_cache_requests_total", OTel: "mcp.cache.requests", Kind: Counter, Unit: "{request}", Labels: []string{"server", "outcome"},
		Help: "Requests whose answers may be kept, by what came of it: hit, miss, shared (with another one under way), stale, stale_error.",
	},

	{
		Name: "mcp_client_requests_total", OTel: "mcp.client.requests", Kind: Counter, Unit: "{request}", Labels: []string{"client"},
		Help: "Requests by the client program that sent them, as far as it says what it is.",
	},
	{
		Name: "mcp_tool_request_size_bytes", OTel: "mcp.tool.request.size", Kind: Histogram, Unit: "By", Labels: []string{"server"}, Buckets: sizeBuckets,
		Help: "Length of the bodies of tool calls.",
	},
	{
		Name: "mcp_tool_response_size_bytes", OTel: "mcp.tool.response.size", Kind: Histogram, Unit: "By", Labels: []string{"server"}, Buckets: sizeBuckets,
		Help: "Length of the bodies of answers to tool calls, without what was streamed before.",
	},
	{
		Name: "mcp_gateway_overhead_seconds", OTel: "mcp.gateway.overhead", Kind: Histogram, Unit: "s", Buckets: shareBuckets, Native: true,
		Help: "What the gateway and the wires took of a call: all its time but for what it waited for a server, and what the server took.",
	},
	{
		Name: "mcp_tasks_ended_total", OTel: "mcp.tasks.ended", Kind: Counter, Unit: "{task}", Labels: []string{"server", "status"},
		Help: "Tasks that the gateway saw to be over: completed, failed or cancelled.",
	},

	{
		Name: "mcp_server_operation_duration_seconds", OTel: "mcp.server.operation.duration", Kind: Histogram, Unit: "s",
		Labels: []string{"mcp_method_name", "mcp_protocol_version", "error_type"}, Buckets: operationBuckets, Native: true,
		Help: "Time from a client's request to the end of its answer, by the conventions of OpenTelemetry for MCP.",
	},
	{
		Name: "mcp_client_operation_duration_seconds", OTel: "mcp.client.operation.duration", Kind: Histogram, Unit: "s",
		Labels: []string{"server", "mcp_method_name", "error_type", "network_transport"}, Buckets: operationBuckets,
		Help: "Time a server took to answer a request of the gateway, by the conventions of OpenTelemetry for MCP.",
	},
	{
		Name: "mcp_server_session_duration_seconds", OTel: "mcp.server.session.duration", Kind: Histogram, Unit: "s", Labels: []string{"mcp_protocol_version"},
		Buckets: sessionBuckets, Help: "How long sessions of legacy clients lasted that were ended; those that expired are not among them.",
	},
	{
		Name: "mcp_client_session_duration_seconds", OTel: "mcp.client.session.duration", Kind: Histogram, Unit: "s", Labels: []string{"server"},
		Buckets: sessionBuckets, Help: "How long sessions lasted that the gateway had at legacy servers over HTTP.",
	},
	{
		Name: "mcp_sessions_ended_total", OTel: "mcp.sessions.ended", Kind: Counter, Unit: "{session}", Labels: []string{"reason"},
		Help: "Sessions of legacy clients that are over: the client ended it (client), a server lost its part of it (server), its stream ended (stream), " +
			"or nobody ended it before sessions.ttl was over (expired), which the replica counts where it began, as long as that runs, of at most 100000 at a time.",
	},
	{
		Name: "mcp_discovery_requests_total", OTel: "mcp.discovery.requests", Kind: Counter, Unit: "{request}", Labels: []string{"method", "outcome"},
		Help: "Requests by which clients find out what there is: ok, partial (some server did not tell what it has), error, " +
			"or refused for what is the client's own doing.",
	},
	{
		Name: "mcp_discovery_duration_seconds", OTel: "mcp.discovery.duration", Kind: Histogram, Unit: "s", Labels: []string{"method"}, Buckets: callBuckets,
		Help: "Time that requests took by which clients find out what there is.",
	},
	{
		Name: "mcp_discovery_last_success_timestamp_seconds", OTel: "mcp.discovery.last_success.timestamp", Kind: Gauge, Unit: "s", Labels: []string{"server"},
		Help: "When a server last told what it offers, in seconds since 1970.",
	},
	{
		Name: "mcp_server_discoveries_total", OTel: "mcp.server.discoveries", Kind: Counter, Unit: "{discovery}", Labels: []string{"server", "outcome"},
		Help: "Times a server was asked for what it offers.",
	},
	{
		Name: "mcp_server_state", OTel: "mcp.server.state", Kind: Gauge, Unit: "1", Labels: []string{"server", "state"},
		Help: "1 for the state a server is in, 0 for those it was in.",
	},
	{
		Name: "mcp_server_restarts_total", OTel: "mcp.server.restarts", Kind: Counter, Unit: "{restart}", Labels: []string{"server"},
		Help: "Times a server's process was started again after one crashed.",
	},
	{
		Name: "mcp_server_starts_total", OTel: "mcp.server.starts", Kind: Counter, Unit: "{start}", Labels: []string{"server", "outcome"},
		Help: "Starts of a server's processes.",
	},
	{
		Name: "mcp_server_start_duration_seconds", OTel: "mcp.server.start.duration", Kind: Histogram, Unit: "s", Labels: []string{"server"},
		Buckets: callBuckets, Help: "Time from the start of a server's process until it answered.",
	},
	{
		Name: "mcp_server_crashes_total", OTel: "mcp.server.crashes", Kind: Counter, Unit: "{crash}", Labels: []string{"server", "reason"},
		Help: "Ends of a server's processes that nobody wanted, by why they ended.",
	},
	{
		Name: "mcp_server_refused_calls_total", OTel: "mcp.server.refused.calls", Kind: Counter, Unit: "{call}", Labels: []string{"server", "reason"},
		Help: "Calls that got no instance: the queue was full (queue), they waited in it too long (wait), a circuit breaker was open (breaker), " +
			"or the server had as many as it is given (concurrency).",
	},
	{
		Name: "mcp_server_fallbacks_total", OTel: "mcp.server.fallbacks", Kind: Counter, Unit: "{answer}", Labels: []string{"server", "kind"},
		Help: "Times something stood in for a server's answer: its last list (lists), a cached answer (stale), another server (server) or a text (message).",
	},
	{
		Name: "mcp_server_retries_total", OTel: "mcp.server.retries", Kind: Counter, Unit: "{request}", Labels: []string{"server", "outcome"},
		Help: "Requests that were sent to a server again: after a failure (again), or beside one that was late (hedge), whose answer came first (hedge_won). " +
			"Those over retries.budget (budget) were not.",
	},
	{
		Name: "mcp_server_instance_up", OTel: "mcp.server.instance.up", Kind: Gauge, Unit: "1", Labels: []string{"server", "instance"},
		Help: "1 while an instance that is reached by url takes work, 0 while it is passed over.",
	},
	{
		Name: "mcp_server_instance_in_flight", OTel: "mcp.server.instance.in_flight", Kind: Gauge, Unit: "{call}", Labels: []string{"server", "instance"},
		Help: "Calls under way at an instance.",
	},
	{
		Name: "mcp_server_instance_calls_total", OTel: "mcp.server.instance.calls", Kind: Counter, Unit: "{call}", Labels: []string{"server", "instance"},
		Help: "Times an instance was chosen.",
	},
	{
		Name: "mcp_server_instance_ejections_total", OTel: "mcp.server.instance.ejections", Kind: Counter, Unit: "{ejection}",
		Labels: []string{"server", "instance"}, Help: "Times an instance was taken out.",
	},
	{
		Name: "mcp_server_concurrency_limit", OTel: "mcp.server.concurrency.limit", Kind: Gauge, Unit: "{call}", Labels: []string{"server"},
		Help: "Calls that a server is given at once now.",
	},
	{
		Name: "mcp_server_concurrency_in_flight", OTel: "mcp.server.concurrency.in_flight", Kind: Gauge, Unit: "{call}", Labels: []string{"server"},
		Help: "Calls under way of those that the limit counts.",
	},
	{
		Name: "mcp_server_instances", OTel: "mcp.server.instances", Kind: Gauge, Unit: "{instance}", Labels: []string{"server", "state"},
		Help: "Running copies of a server.",
	},
	{
		Name: "mcp_server_queued_calls", OTel: "mcp.server.queued.calls", Kind: Gauge, Unit: "{call}", Labels: []string{"server"},
		Help: "Calls that wait for an instance of a server.",
	},
	{
		Name: "mcp_server_processes", OTel: "mcp.server.processes", Kind: Gauge, Unit: "{process}", Labels: []string{"server"},
		Help: "Processes of a server, descendants included.",
	},
	{
		Name: "mcp_server_open_fds", OTel: "mcp.server.open_fds", Kind: Gauge, Unit: "{file}", Labels: []string{"server"},
		Help: "File descriptors that the processes of a server have open.",
	},
	{
		Name: "mcp_server_resident_memory_bytes", OTel: "mcp.server.resident_memory", Kind: Gauge, Unit: "By", Labels: []string{"server"},
		Help: "Resident memory of the processes of a server.",
	},
	{
		Name: "mcp_server_cpu_seconds_total", OTel: "mcp.server.cpu", Kind: Counter, Unit: "s", Labels: []string{"server"},
		Help: "CPU time of the processes of a server, as far as it was seen before they ended.",
	},

	{
		Name: "mcp_server_pool_in_flight", OTel: "mcp.server.pool.in_flight", Kind: Gauge, Unit: "{call}", Labels: []string{"server"},
		Help: "Calls under way at the processes of a server.",
	},
	{
		Name: "mcp_server_pool_capacity", OTel: "mcp.server.pool.capacity", Kind: Gauge, Unit: "{call}", Labels: []string{"server"},
		Help: "Calls that the processes of a server take at once, when there are as many of them as pool.max lets there be.",
	},
	{
		Name: "mcp_server_queue_capacity", OTel: "mcp.server.queue.capacity", Kind: Gauge, Unit: "{call}", Labels: []string{"server"},
		Help: "Calls that may wait for an instance of a server, by pool.queue.",
	},
	{
		Name: "mcp_server_breaker_open", OTel: "mcp.server.breaker.open", Kind: Gauge, Unit: "{instance}", Labels: []string{"server"},
		Help: "Instances of a server that are not called because their circuit breaker is open.",
	},
	{
		Name: "mcp_sessions_active", OTel: "mcp.sessions.active", Kind: Gauge, Unit: "{session}",
		Help: "Sessions of legacy clients that this replica serves, neither ended nor expired; of those in no stream it knows some thousand.",
	},

	{
		Name: "toolcrib_config_last_apply_successful", OTel: "toolcrib.config.last_apply.successful", Kind: Gauge, Unit: "1",
		Help: "1 while the configuration last given is in force, 0 while one before it is, because it cannot be.",
	},
	{
		Name: "toolcrib_config_last_apply_success_timestamp_seconds", OTel: "toolcrib.config.last_apply.success.timestamp", Kind: Gauge, Unit: "s",
		Help: "When the configuration in force was applied, in seconds since 1970.",
	},
	{
		Name: "toolcrib_seal_key_created_timestamp_seconds", OTel: "toolcrib.seal.key.created.timestamp", Kind: Gauge, Unit: "s",
		Help: "When this replica first used the newest seal key, in seconds since 1970.",
	},
	{
		Name: "toolcrib_certificate_expiry_timestamp_seconds", OTel: "toolcrib.certificate.expiry.timestamp", Kind: Gauge, Unit: "s", Labels: []string{"use"},
		Help: "When a certificate ends, in seconds since 1970: the one that is served (serving), the first of those that sign clients' ones (client_ca).",
	},
	{
		Name: "toolcrib_credential_expiry_timestamp_seconds", OTel: "toolcrib.credential.expiry.timestamp", Kind: Gauge, Unit: "s", Labels: []string{"kind"},
		Help: "When the first credential of a kind ends that has an end, in seconds since 1970; those that ended over a day ago do not count.",
	},
	{
		Name: "toolcrib_traces_total", OTel: "toolcrib.traces", Kind: Counter, Unit: "{request}", Labels: []string{"reason"},
		Help: "Requests that were traced, by why: sampled, failed, slow; over are those that failed or were slow beyond telemetry.traces.kept, and were not.",
	},
	{
		Name: "toolcrib_trace_spans_total", OTel: "toolcrib.trace.spans", Kind: Counter, Unit: "{span}", Labels: []string{"outcome"},
		Help: "Spans that were exported, that failed to be, and that were dropped since too many waited.",
	},
	{
		Name: "toolcrib_metric_exports_total", OTel: "toolcrib.metric.exports", Kind: Counter, Unit: "{export}", Labels: []string{"outcome"},
		Help: "Times all metrics were sent by OTLP: exported, or failed to be.",
	},
	{
		Name: "toolcrib_source_up", OTel: "toolcrib.source.up", Kind: Gauge, Unit: "1", Labels: []string{"source"},
		Help: "1 while knowledge of callers can be read where it comes from: the store, and each issuer.",
	},
	{
		Name: "toolcrib_build_info", OTel: "toolcrib.build.info", Kind: Gauge, Unit: "1", Labels: []string{"version", "go_version"},
		Help: "1, labelled with the version of the program and of Go.",
	},
	{
		Name: "toolcrib_metrics_folded_total", OTel: "toolcrib.metrics.folded", Kind: Counter, Unit: "{request}", Labels: []string{"label"},
		Help: "Times something was counted under _other, because of the bound of a label or because nobody knows the name.",
	},
	{
		Name: "toolcrib_authentications_total", OTel: "toolcrib.authentications", Kind: Counter, Unit: "{request}", Labels: []string{"method", "outcome"},
		Help: "Requests by how their callers were identified: anonymous, api_key, token, client_certificate, trusted_proxy; of those that were not, " +
			"by why: missing where there was no credential.",
	},
	{
		Name: "toolcrib_policy_decisions_total", OTel: "toolcrib.policy.decisions", Kind: Counter, Unit: "{decision}", Labels: []string{"kind", "decision"},
		Help: "Requests that policies decided about: allowed, denied, or scope for those whose token lacks one.",
	},
	{
		Name: "toolcrib_policy_shadow_total", OTel: "toolcrib.policy.shadow", Kind: Counter, Unit: "{decision}", Labels: []string{"kind", "change"},
		Help: "Requests that policies.shadow would decide otherwise, by what would change: gained or lost.",
	},
	{
		Name: "toolcrib_tools_quarantined", OTel: "toolcrib.tools.quarantined", Kind: Gauge, Unit: "{tool}", Labels: []string{"server"},
		Help: "Tools that are kept from callers because their definition is not the approved one.",
	},
	{
		Name: "toolcrib_limited_requests_total", OTel: "toolcrib.limited.requests", Kind: Counter, Unit: "{request}", Labels: []string{"limit", "kind"},
		Help: "Requests that a limit refused, by what of it was used up: rate, bytes, quota or concurrency.",
	},
	{
		Name: "toolcrib_limits_local", OTel: "toolcrib.limits.local", Kind: Gauge, Unit: "1",
		Help: "1 while this replica goes by its own part of each limit, because other replicas cannot be asked.",
	},
	{
		Name: "toolcrib_shed_requests_total", OTel: "toolcrib.shed.requests", Kind: Counter, Unit: "{request}", Labels: []string{"bound", "priority"},
		Help: "Requests that were refused because this replica is overloaded, by what was reached (concurrency, memory) and by priority.",
	},
	{
		Name: "toolcrib_requests_under_way", OTel: "toolcrib.requests.under_way", Kind: Gauge, Unit: "{request}",
		Help: "Requests that this replica serves now.",
	},
	{
		Name: "toolcrib_requests_most", OTel: "toolcrib.requests.most", Kind: Gauge, Unit: "{request}",
		Help: "Requests that it may serve at once, by overload.concurrency; 0 for any number.",
	},
	{
		Name: "toolcrib_memory_used_bytes", OTel: "toolcrib.memory.used", Kind: Gauge, Unit: "By",
		Help: "Memory that the process has from the system.",
	},
	{
		Name: "toolcrib_memory_most_bytes", OTel: "toolcrib.memory.most", Kind: Gauge, Unit: "By",
		Help: "Memory from which on requests are refused, by overload.memory; 0 for any.",
	},
	{Name: "toolcrib_cache_bytes", OTel: "toolcrib.cache.size", Kind: Gauge, Unit: "By", Help: "Bytes that kept answers take."},
	{Name: "toolcrib_cache_entries", OTel: "toolcrib.cache.entries", Kind: Gauge, Unit: "{answer}", Help: "Answers that are kept."},
	{
		Name: "toolcrib_cache_evicted_total", OTel: "toolcrib.cache.evicted", Kind: Counter, Unit: "{answer}",
		Help: "Kept answers that made room for others.",
	},
	{Name: "toolcrib_audit_sequence", OTel: "toolcrib.audit.sequence", Kind: Gauge, Unit: "{record}", Help: "Number of the last record of the audit log."},
	{
		Name: "toolcrib_audit_failing", OTel: "toolcrib.audit.failing", Kind: Gauge, Unit: "1",
		Help: "1 while no record can be written to the audit log, so that calls are refused.",
	},
	{
		Name: "toolcrib_audit_cuts_total", OTel: "toolcrib.audit.cuts", Kind: Counter, Unit: "{cut}",
		Help: "How often the file of the audit log was cut short while it was written.",
	},
	{
		Name: "toolcrib_audit_intrusions_total", OTel: "toolcrib.audit.intrusions", Kind: Counter, Unit: "{intrusion}",
		Help: "How often the file of the audit log was found to hold what somebody else wrote.",
	},
	{
		Name: "toolcrib_audit_sink_behind_bytes", OTel: "toolcrib.audit.sink.behind", Kind: Gauge, Unit: "By", Labels: []string{"sink"},
		Help: "Records that a sink of the audit log has not got yet.",
	},
	{
		Name: "toolcrib_audit_sink_failing", OTel: "toolcrib.audit.sink.failing", Kind: Gauge, Unit: "1", Labels: []string{"sink"},
		Help: "1 while a sink of the audit log takes no records.",
	},
	{
		Name: "toolcrib_cluster_connected", OTel: "toolcrib.cluster.connected", Kind: Gauge, Unit: "1",
		Help: "1 while what the replicas share is reached, which is always so for one replica alone.",
	},
}

// entry is that of a name; a name that is not in the catalogue is a mistake in this package.
func entry(name string, kind Kind) *Metric {
	at := slices.IndexFunc(catalogue, func(m Metric) bool { return m.Name == name })
	if at < 0 || kind != "" && catalogue[at].Kind != kind {
		panic(fmt.Sprintf("the catalogue has no %s %q", kind, name))
	}
	return &catalogue[at]
}

// Growth of native buckets: 8 a power of two, and at most so many of them.
const (
	nativeFactor = 1.1
	nativeMost   = 160
)

func newCounters(name string) *prometheus.CounterVec {
	e := entry(name, Counter)
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: e.Name, Help: e.Help}, e.Labels)
}

func newGauges(name string) *prometheus.GaugeVec {
	e := entry(name, Gauge)
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: e.Name, Help: e.Help}, e.Labels)
}

func newGauge(name string) prometheus.Gauge {
	e := entry(name, Gauge)
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: e.Name, Help: e.Help})
}

func newHistograms(name string) *prometheus.HistogramVec {
	e := entry(name, Histogram)
	return prometheus.NewHistogramVec(e.histogram(), e.Labels)
}

func newHistogram(name string) prometheus.Histogram {
	return prometheus.NewHistogram(entry(name, Histogram).histogram())
}

func (e *Metric) histogram() prometheus.HistogramOpts {
	o := prometheus.HistogramOpts{Name: e.Name, Help: e.Help, Buckets: e.Buckets}
	if e.Native {
		o.NativeHistogramBucketFactor, o.NativeHistogramMaxBucketNumber = nativeFactor, nativeMost
	}
	return o
}

// newFlag is a gauge that shows what is tells at each scrape.
func newFlag(name string, is func() bool) prometheus.Collector {
	e := entry(name, Gauge)
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: e.Name, Help: e.Help}, func() float64 { return flag(is()) })
}

// desc describes what a collector makes when it is scraped.
func desc(name string) *prometheus.Desc {
	e := entry(name, "")
	return prometheus.NewDesc(e.Name, e.Help, e.Labels, nil)
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
