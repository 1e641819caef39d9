package alerts

import "slices"

// alert is a row of the table.
type alert struct {
	name string
	Setting
	unit unit
	// burns says that it is about an objective: its windows and severities are those of Values.Burn.
	burns bool
	// expr is what is asked. It gets the threshold, and the settings of the alert.
	expr func(b *builder, s Setting, threshold string) string
	// summary says what is wrong, description what that means for whom. Both are templates of Prometheus.
	summary, description string
}

// The alerts on budgets.
const (
	serverBurn = "ToolcribServerBudgetBurn"
	toolBurn   = "ToolcribToolBudgetBurn"
)

// table are all alerts. Each has a runbook of its name in docs/runbooks, and a walk in test/ops.
var table = []alert{
	{
		name: "ToolcribToolErrors", Setting: Setting{Severity: critical, Threshold: "0.005", Window: "5m", For: "5m"}, unit: share,
		expr: func(b *builder, s Setting, threshold string) string {
			return b.ratio("server", s.Window) + " > " + threshold + b.often("server", s.Window)
		},
		summary:     `{{ $value | humanizePercentage }} of the calls of server {{ $labels.server }} fail`,
		description: `More tool calls fail than may. What callers do wrong is not counted.`,
	},
	{
		name: "ToolcribToolLatency", Setting: Setting{Severity: warning, Threshold: "3", Least: "250ms", Window: "5m", For: "15m"}, unit: factor,
		expr: func(b *builder, s Setting, threshold string) string {
			expr := b.quantile("0.99", s.Window) + " > " + threshold + " * " + b.quantile("0.5", s.Window)
			if least := s.Least.time(); least > 0 {
				expr += "\nand " + b.quantile("0.99", s.Window) + " >= " + number(least.Seconds())
			}
			return expr + b.often("tool", s.Window)
		},
		summary:     `1 % of the calls of tool {{ $labels.tool }} of server {{ $labels.server }} take {{ $value | humanizeDuration }} or longer`,
		description: `The slowest calls take many times as long as the usual ones (p99 against p50).`,
	},
	{
		name: "ToolcribDiscovery", Setting: Setting{Severity: warning, Threshold: "0.999", Failures: 3, Window: "30m", For: "5m"}, unit: share,
		expr: func(b *builder, s Setting, threshold string) string {
			const name, failed = "mcp_server_discoveries_total", `outcome="error"`
			return b.success("server", name, failed, `outcome=~"ok|error"`, s.Window) + " < " + threshold + b.repeated("server", name, failed, s)
		},
		summary:     `Only {{ $value | humanizePercentage }} of the questions to server {{ $labels.server }} for what it offers are answered`,
		description: `What the server offers is missing from lists, or as it was before.`,
	},
	{
		name: "ToolcribTasks", Setting: Setting{Severity: warning, Threshold: "0.95", Failures: 3, Window: "30m", For: "5m"}, unit: share,
		expr: func(b *builder, s Setting, threshold string) string {
			const name, failed = "mcp_tasks_ended_total", `status="failed"`
			return b.success("server", name, failed, `status=~"completed|failed"`, s.Window) + " < " + threshold + b.repeated("server", name, failed, s)
		},
		summary:     `Only {{ $value | humanizePercentage }} of the tasks of server {{ $labels.server }} are completed`,
		description: `More tasks fail than may. Those that were cancelled are not counted.`,
	},
	{
		name: serverBurn, burns: true,
		expr:        func(b *builder, _ Setting, _ string) string { return b.burning("server") },
		summary:     `Server {{ $labels.server }} uses up what may fail of its calls {{ $value | humanize }} times too fast`,
		description: `If calls go on to fail like this, the objective of the server is missed.`,
	},
	{
		name: toolBurn, burns: true,
		expr:        func(b *builder, _ Setting, _ string) string { return b.burning("tool") },
		summary:     `Tool {{ $labels.tool }} of server {{ $labels.server }} uses up what may fail of its calls {{ $value | humanize }} times too fast`,
		description: `If calls go on to fail like this, the objective of the tool is missed.`,
	},
	{
		name: "ToolcribInstanceFlapping", Setting: Setting{Severity: warning, Threshold: "3", Window: "15m", For: "0s"}, unit: several,
		expr: func(b *builder, s Setting, threshold string) string {
			// Each replica has processes of its own, and takes out for itself what all reach.
			return b.grown("server", "mcp_server_restarts_total", "", s.Window) + " > " + threshold +
				"\nor max" + b.by("server") + "(increase(" + b.metric("mcp_server_instance_ejections_total", "server") +
				"[" + string(s.Window) + "])) > " + threshold
		},
		summary:     `Instances of server {{ $labels.server }} come and go`,
		description: `Processes of the server crash again and again, or an instance is taken out and put back ({{ $value | humanize }} times).`,
	},
	{
		name: "ToolcribBreakerOpen", Setting: Setting{Severity: critical, Threshold: "0", For: "1m"}, unit: count,
		expr: func(b *builder, _ Setting, threshold string) string {
			return "max" + b.by("server") + "(" + b.metric("mcp_server_breaker_open", "server") + ") > " + threshold
		},
		summary:     `The circuit breaker of server {{ $labels.server }} is open`,
		description: `Instances of the server failed so often that they are not called ({{ $value }} now).`,
	},
	{
		name: "ToolcribAuditQueue", Setting: Setting{Severity: critical, Threshold: "16777216", For: "5m"}, unit: count,
		expr: func(b *builder, _ Setting, threshold string) string {
			return b.metric("toolcrib_audit_sink_behind_bytes", "sink") + " > " + threshold +
				"\nor " + b.metric("toolcrib_audit_sink_failing") + " == 1" +
				"\nor " + b.metric("toolcrib_audit_failing") + " == 1"
		},
		summary:     `The audit log of {{ $labels.instance }} does not get through{{ with $labels.sink }} to {{ . }}{{ end }}`,
		description: `Records wait for a sink, or cannot be written at all, in which case calls are refused.`,
	},
	{
		name: "ToolcribCredentialExpiring", Setting: Setting{Severity: warning, Threshold: "7d", For: "0s"}, unit: period,
		expr: func(b *builder, _ Setting, threshold string) string {
			return b.left("toolcrib_credential_expiry_timestamp_seconds", "kind") + " < " + threshold
		},
		summary:     `The first credential to end ({{ $labels.kind }}) does so in {{ $value | humanizeDuration }}`,
		description: `Who uses it is refused from then on.`,
	},
	{
		name: "ToolcribCertificateExpiring", Setting: Setting{Severity: warning, Threshold: "14d", For: "0s"}, unit: period,
		expr: func(b *builder, _ Setting, threshold string) string {
			return b.left("toolcrib_certificate_expiry_timestamp_seconds", "use") + " < " + threshold
		},
		summary:     `A certificate ({{ $labels.use }}) ends in {{ $value | humanizeDuration }}`,
		description: `Clients do not connect from then on.`,
	},
	{
		name: "ToolcribRedisDegraded", Setting: Setting{Severity: warning, For: "1m"},
		expr: func(b *builder, _ Setting, _ string) string {
			return b.metric("toolcrib_cluster_connected") + " == 0" +
				"\nor " + b.metric("toolcrib_limits_local") + " == 1"
		},
		summary:     `Replica {{ $labels.instance }} does not reach Redis, or Redis refuses what it asks`,
		description: `Calls go on. What takes another replica fails, and limits go by each replica's own share.`,
	},
	{
		name: "ToolcribKeyRingStale", Setting: Setting{Severity: warning, Threshold: "90d", For: "0s"}, unit: period,
		expr: func(b *builder, _ Setting, threshold string) string {
			return "time() - min" + b.by() + "(" + b.metric("toolcrib_seal_key_created_timestamp_seconds") + ") > " + threshold
		},
		summary:     `The newest key of the key ring is {{ $value | humanizeDuration }} old`,
		description: `Sessions, task ids and cursors are sealed with a key that should have been replaced, at one replica at least.`,
	},
	{
		name: "ToolcribConfigRejected", Setting: Setting{Severity: warning, For: "1m"},
		expr: func(b *builder, _ Setting, _ string) string {
			return b.metric("toolcrib_config_last_apply_successful") + " == 0"
		},
		summary:     `Replica {{ $labels.instance }} refused its changed configuration`,
		description: `It goes on with the one before, which is gone when it starts anew.`,
	},
	{
		name: "ToolcribGatewayGone", Setting: Setting{Severity: critical, Window: "1d", For: "2m"},
		expr: func(b *builder, s Setting, _ string) string {
			info := b.metric("toolcrib_build_info")
			return "count" + b.by() + "(count_over_time(" + info + "[" + string(s.Window) + "]))\nunless" + b.on() + "count" + b.by() + "(" + info + ")"
		},
		summary:     `No replica of the gateway is there any more`,
		description: `Prometheus gets metrics of none, though it did before ({{ $value }} of them). No other alert can fire now.`,
	},
}

// find is the alert of a name; nil for none.
func find(name string) *alert {
	i := slices.IndexFunc(table, func(a alert) bool { return a.name == name })
	if i < 0 {
		return nil
	}
	return &table[i]
}

// Names are the alerts there are.
func Names() []string {
	names := make([]string, len(table))
	for i := range table {
		names[i] = table[i].name
	}
	return names
}
