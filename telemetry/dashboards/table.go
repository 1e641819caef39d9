package dashboards

// Dashboard is one dashboard.
type Dashboard struct {
	// Name is that of its file, Title what people read.
	Name, Title string
	// Servers says that it is looked at by server.
	Servers bool
	Panels  []Panel
}

// Panel is one picture of a dashboard.
type Panel struct {
	Title, About string
	// Kind is timeseries, stat or table, Unit that of Grafana.
	Kind, Unit string
	Queries    []Query
}

// Query is an expression of Prometheus, with what its series are called.
type Query struct{ Expr, Legend string }

// What stands in expressions: the gateways that are looked at, the servers, and a time that fits the picture.
const (
	jobs = `job=~"$job"`
	own  = `{` + jobs + `}`
	of   = `{` + jobs + `,server=~"$server"`
	some = of + `}`
	span = `[$__rate_interval]`
)

const (
	lines = "timeseries"
	stat  = "stat"
	table = "table"
)

// All are the dashboards.
var All = []Dashboard{
	{Name: "overview", Title: "Toolcrib: overview", Servers: true, Panels: []Panel{
		{"Calls per second", "Tool calls, of all replicas.", stat, "reqps", []Query{{`sum(rate(mcp_tool_requests_total` + some + span + `))`, "calls"}}},
		{"Failed calls", "Share of tool calls that failed, by whoever's fault.", stat, "percentunit", []Query{
			{`(sum(rate(mcp_tool_errors_total` + some + span + `)) or vector(0)) / sum(rate(mcp_tool_requests_total` + some + span + `))`, "failed"},
		}},
		{"p99 of calls", "", stat, "s", []Query{{quantile("0.99", "", "mcp_tool_duration_seconds", some), "p99"}}},
		{"Alerts that fire", "", stat, "none", []Query{
			{`count(ALERTS{` + jobs + `,alertstate="firing",alertname=~"Toolcrib.*"}) or vector(0)`, "alerts"},
		}},
		{"Requests by method", "All requests of clients, refused ones included.", lines, "reqps", []Query{
			{`sum by (method) (rate(mcp_requests_total` + own + span + `))`, "{{method}}"},
		}},
		{"Requests by outcome", "ok, error for an error of the server, else why the gateway refused or failed.", lines, "reqps", []Query{
			{`sum by (outcome) (rate(mcp_requests_total` + own + span + `))`, "{{outcome}}"},
		}},
		{"Latency of requests", "", lines, "s", []Query{
			{quantile("0.5", "", "mcp_request_duration_seconds", own), "p50"}, {quantile("0.99", "", "mcp_request_duration_seconds", own), "p99"},
		}},
		{"Errors by server", "", lines, "reqps", []Query{
			{`sum by (server, error_type) (rate(mcp_tool_errors_total` + some + span + `))`, "{{server}} {{error_type}}"},
		}},
		{"State of servers", "", table, "none", []Query{{`sum by (server, state) (mcp_server_state` + some + `) > 0`, "{{server}}"}}},
		{"Clients", "By what they call themselves.", lines, "reqps", []Query{
			{`sum by (client) (rate(mcp_client_requests_total` + own + span + `))`, "{{client}}"},
		}},
	}},
	{Name: "tools", Title: "Toolcrib: tools", Servers: true, Panels: []Panel{
		{"Calls by tool", "", lines, "reqps", []Query{
			{`topk(20, sum by (server, tool) (rate(mcp_tool_requests_total` + some + span + `)))`, "{{server}} {{tool}}"},
		}},
		{"Success by tool", "Share of calls that did not fail.", lines, "percentunit", []Query{
			{`1 - (sum by (server, tool) (rate(mcp_tool_errors_total` + some + span + `)) or 0 * sum by (server, tool) (rate(mcp_tool_requests_total` + some +
				span + `))) / sum by (server, tool) (rate(mcp_tool_requests_total` + some + span + `))`, "{{server}} {{tool}}"},
		}},
		{"p50 by tool", "", lines, "s", []Query{
			{`topk(20, ` + quantile("0.5", "server, tool", "mcp_tool_duration_seconds", some) + `)`, "{{server}} {{tool}}"},
		}},
		{"p99 by tool", "", lines, "s", []Query{
			{`topk(20, ` + quantile("0.99", "server, tool", "mcp_tool_duration_seconds", some) + `)`, "{{server}} {{tool}}"},
		}},
		{"Errors by type", "tool_error for a result with isError, else the code of the server or why the gateway failed.", lines, "reqps", []Query{
			{`sum by (server, tool, error_type) (rate(mcp_tool_errors_total` + some + span + `))`, "{{server}} {{tool}} {{error_type}}"},
		}},
		{"Where the time of calls goes", "Per call, on average.", lines, "s", []Query{
			{`sum by (share) (rate(mcp_call_share_seconds_sum` + some + span + `)) / ` +
				`sum by (share) (rate(mcp_call_share_seconds_count` + some + span + `))`, "{{share}}"},
		}},
		{"Sizes of requests and answers", "p99", lines, "bytes", []Query{
			{quantile("0.99", "server", "mcp_tool_request_size_bytes", some), "{{server}} in"},
			{quantile("0.99", "server", "mcp_tool_response_size_bytes", some), "{{server}} out"},
		}},
		{"Discovery", "Requests by which clients find out what there is.", lines, "reqps", []Query{
			{`sum by (outcome) (rate(mcp_discovery_requests_total` + own + span + `))`, "{{outcome}}"},
		}},
		{"Asked for lists", "Servers that were asked for what they offer.", lines, "none", []Query{
			{`sum by (server, outcome) (increase(mcp_server_discoveries_total` + some + `[1h]))`, "{{server}} {{outcome}}"},
		}},
	}},
	{Name: "gateway", Title: "Toolcrib: gateway health", Panels: []Panel{
		{"Time that the gateway takes", "What it adds to calls: all their time but for servers and waiting for them.", lines, "s", []Query{
			{quantile("0.5", "", "mcp_gateway_overhead_seconds", own), "p50"}, {quantile("0.99", "", "mcp_gateway_overhead_seconds", own), "p99"},
		}},
		{"Callers", "How they were identified, or why they were not.", lines, "reqps", []Query{
			{`sum by (method, outcome) (rate(toolcrib_authentications_total` + own + span + `))`, "{{method}} {{outcome}}"},
		}},
		{"Decisions of policies", "", lines, "reqps", []Query{
			{`sum by (kind, decision) (rate(toolcrib_policy_decisions_total` + own + span + `))`, "{{kind}} {{decision}}"},
		}},
		{"Limits that refused", "", lines, "reqps", []Query{
			{`sum by (limit, kind) (rate(toolcrib_limited_requests_total` + own + span + `))`, "{{limit}} {{kind}}"},
		}},
		{"Cache", "Share of requests that were answered from it.", lines, "percentunit", []Query{
			{
				`sum by (server) (rate(mcp_cache_requests_total{` + jobs + `,outcome="hit"}` + span + `)) / ` +
					`sum by (server) (rate(mcp_cache_requests_total` + own + span + `))`,
				"{{server}}",
			},
		}},
		{"Requests under way", "", lines, "none", []Query{{`sum by (instance) (toolcrib_requests_under_way` + own + `)`, "{{instance}}"}}},
		{"Audit log", "Records in a second.", lines, "cps", []Query{
			{`sum by (instance) (rate(toolcrib_audit_sequence` + own + span + `))`, "{{instance}}"},
		}},
		{"Sinks of the audit log", "Records that they have not got yet.", lines, "bytes", []Query{
			{`sum by (instance, sink) (toolcrib_audit_sink_behind_bytes` + own + `)`, "{{instance}} {{sink}}"},
		}},
		{"What is shared", "1 where it is reached: the cluster, the store, each issuer.", lines, "none", []Query{
			{`min by (job) (toolcrib_cluster_connected` + own + `)`, "cluster"}, {`min by (source) (toolcrib_source_up` + own + `)`, "{{source}}"},
		}},
		{"Configuration in force", "1 where the one last given is in force.", stat, "none", []Query{
			{`min(toolcrib_config_last_apply_successful` + own + `)`, "applied"},
		}},
		{"Newest seal key", "How long it is in use, at the replica that is furthest behind.", stat, "s", []Query{
			{`time() - min(toolcrib_seal_key_created_timestamp_seconds` + own + `)`, "age"},
		}},
		{"First key of a caller to end", "Time that is left.", stat, "s", []Query{
			{`min by (kind) (toolcrib_credential_expiry_timestamp_seconds` + own + `) - time()`, "{{kind}}"},
		}},
		{"Versions", "", table, "none", []Query{{`count by (version, go_version) (toolcrib_build_info` + own + `)`, "{{version}}"}}},
	}},
	{Name: "resources", Title: "Toolcrib: resources", Servers: true, Panels: []Panel{
		{"CPU of the gateway", "", lines, "percentunit", []Query{
			{`sum by (instance) (rate(process_cpu_seconds_total` + own + span + `))`, "{{instance}}"},
		}},
		{"Memory of the gateway", "", lines, "bytes", []Query{
			{`sum by (instance) (toolcrib_memory_used_bytes` + own + `)`, "{{instance}}"},
			{`sum by (instance) (toolcrib_memory_most_bytes` + own + `)`, "{{instance}} most"},
		}},
		{"CPU of servers", "", lines, "percentunit", []Query{{`sum by (server) (rate(mcp_server_cpu_seconds_total` + some + span + `))`, "{{server}}"}}},
		{"Memory of servers", "", lines, "bytes", []Query{{`sum by (server) (mcp_server_resident_memory_bytes` + some + `)`, "{{server}}"}}},
		{"Processes of servers", "", lines, "none", []Query{
			{`sum by (server) (mcp_server_processes` + some + `)`, "{{server}} processes"},
			{`sum by (server) (mcp_server_open_fds` + some + `)`, "{{server}} files"},
		}},
		{"Instances", "", lines, "none", []Query{{`sum by (server, state) (mcp_server_instances` + some + `)`, "{{server}} {{state}}"}}},
		{"Saturation of pools", "Calls under way of those that a pool takes at once.", lines, "percentunit", []Query{
			{`sum by (server) (mcp_server_pool_in_flight` + some + `) / sum by (server) (mcp_server_pool_capacity` + some + `)`, "{{server}}"},
		}},
		{"Saturation of queues", "Calls that wait, of those that may.", lines, "percentunit", []Query{
			{`sum by (server) (mcp_server_queued_calls` + some + `) / sum by (server) (mcp_server_queue_capacity` + some + `)`, "{{server}}"},
		}},
		{"Starts of processes", "", lines, "none", []Query{
			{`sum by (server, outcome) (increase(mcp_server_starts_total` + some + `[1h]))`, "{{server}} {{outcome}}"},
		}},
		{"Crashes", "", lines, "none", []Query{{`sum by (server, reason) (increase(mcp_server_crashes_total` + some + `[1h]))`, "{{server}} {{reason}}"}}},
		{"Instances that are reached by url", "0 for one that is passed over.", lines, "none", []Query{
			// What the gateway calls instance is called so by Prometheus, whose own instance is the replica.
			{`min by (server, exported_instance) (mcp_server_instance_up` + some + `)`, "{{server}} {{exported_instance}}"},
			{`max by (server) (mcp_server_breaker_open` + some + `)`, "{{server}} breakers open"},
		}},
		{"Goroutines", "", lines, "none", []Query{{`sum by (instance) (go_goroutines` + own + `)`, "{{instance}}"}}},
	}},
	{Name: "sessions", Title: "Toolcrib: sessions", Panels: []Panel{
		{"Sessions open", "Of legacy clients.", lines, "none", []Query{{`sum by (instance) (mcp_sessions_active` + own + `)`, "{{instance}}"}}},
		{"Sessions ended", "", lines, "none", []Query{{`sum by (reason) (increase(mcp_sessions_ended_total` + own + `[1h]))`, "{{reason}}"}}},
		{"How long they lasted", "Of those that were ended.", lines, "s", []Query{{
			`histogram_quantile(0.5, sum by (mcp_protocol_version, le) (increase(mcp_server_session_duration_seconds_bucket` + own +
				`[1h])))`, "{{mcp_protocol_version}} p50",
		}}},
		{"Eras of clients", "", lines, "reqps", []Query{{`sum by (era) (rate(mcp_requests_total` + own + span + `))`, "{{era}}"}}},
		{"Versions of the protocol", "", lines, "reqps", []Query{
			{`sum by (mcp_protocol_version) (rate(mcp_server_operation_duration_seconds_count` + own + span + `))`, "{{mcp_protocol_version}}"},
		}},
		{"Tokens refused", "Sealed tokens that were forged, expired or of another caller.", lines, "none", []Query{
			{`sum by (kind) (increase(mcp_rejected_tokens_total` + own + `[1h]))`, "{{kind}}"},
		}},
		{"Calls that wait for clients", "", lines, "none", []Query{{`sum by (instance) (mcp_parked_calls` + own + `)`, "{{instance}}"}}},
	}},
	{Name: "tenants", Title: "Toolcrib: tenants", Panels: []Panel{
		{"Requests by tenant", "", lines, "reqps", []Query{
			{`topk(20, sum by (tenant) (rate(mcp_tenant_requests_total` + own + span + `)))`, "{{tenant}}"},
		}},
		{"Refused and failed by tenant", "", lines, "reqps", []Query{
			{`topk(20, sum by (tenant, outcome) (rate(mcp_tenant_requests_total{` + jobs + `,outcome!="ok"}` + span + `)))`, "{{tenant}} {{outcome}}"},
		}},
		{"Success by tenant", "", table, "percentunit", []Query{
			{`sum by (tenant) (rate(mcp_tenant_requests_total{` + jobs + `,outcome="ok"}` + span + `)) / ` +
				`sum by (tenant) (rate(mcp_tenant_requests_total` + own + span + `))`, "{{tenant}}"},
		}},
		{"Limits that refused", "", lines, "reqps", []Query{
			{`sum by (limit, kind) (rate(toolcrib_limited_requests_total` + own + span + `))`, "{{limit}} {{kind}}"},
		}},
		{"Counted together", "What was counted under _other, by label.", lines, "reqps", []Query{
			{`sum by (label) (rate(toolcrib_metrics_folded_total` + own + span + `))`, "{{label}}"},
		}},
	}},
	{Name: "objectives", Title: "Toolcrib: objectives", Servers: true, Panels: []Panel{
		{"Success by server", "Share of calls, in the last hour, that did not fail by what an objective counts.", stat, "percentunit", []Query{
			{
				`1 - sum_over_time(server:mcp_tool_errors:rate5m` + some + `[1h]) / sum_over_time(server:mcp_tool_requests:rate5m` + some + `[1h])`,
				"{{server}}",
			},
		}},
		{"Error budget", "Share of calls that may fail.", stat, "percentunit", []Query{{`server:mcp_error_budget:ratio` + some, "{{server}}"}}},
		{"How fast budgets burn, by server", "1 uses them up just in time.", lines, "none", []Query{
			{`server:mcp_tool_errors:ratio_rate5m` + some + ` / on (job, server) server:mcp_error_budget:ratio` + some, "{{server}}"},
		}},
		{"How fast budgets burn, by tool", "", lines, "none", []Query{
			{`topk(20, tool:mcp_tool_errors:ratio_rate5m` + some + ` / on (job, server, tool) tool:mcp_error_budget:ratio` + some + `)`, "{{server}} {{tool}}"},
		}},
		{"p99 against p50", "", lines, "none", []Query{
			{`topk(20, tool:mcp_tool_duration_seconds:p99_rate5m` + some + ` / tool:mcp_tool_duration_seconds:p50_rate5m` + some + `)`, "{{server}} {{tool}}"},
		}},
		{"Discovery", "Share of lists that clients got whole, but for what is their own doing.", lines, "percentunit", []Query{
			{`1 - sum(rate(mcp_discovery_requests_total{` + jobs + `,outcome=~"partial|error"}` + span + `)) / sum(rate(mcp_discovery_requests_total{` + jobs +
				`,outcome!="refused"}` + span + `)) or 0 * sum(rate(mcp_discovery_requests_total` + own + span + `)) + 1`, "whole"},
		}},
		{"For autoscalers", "mcp_tool_requests_per_second", lines, "reqps", []Query{{`mcp_tool_requests_per_second` + own, "{{instance}}"}}},
	}},
}

// quantile is that of a histogram, by labels.
func quantile(q, by, name, selector string) string {
	le := "le"
	if by != "" {
		le = by + ", le"
	}
	return `histogram_quantile(` + q + `, sum by (` + le + `) (rate(` + name + `_bucket` + selector + span + `)))`
}
