package alerts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/toolcrib/toolcrib/telemetry/alerts"
)

const deployed = "../../deploy/prometheus"

// generate writes the rules with values.
func generate(t *testing.T, values string) string {
	t.Helper()
	v, err := alerts.Read(strings.NewReader(values))
	if err != nil {
		t.Fatal(err)
	}
	text, err := alerts.Generate(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDeployed holds the rules that are shipped against the table.
func TestDeployed(t *testing.T) {
	got, err := os.ReadFile(filepath.Join(deployed, "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(generate(t, ""), string(got)); diff != "" {
		t.Errorf("deploy/prometheus/rules.yaml is stale; run: go generate ./telemetry/alerts\n%s", diff)
	}
}

// promtool runs a command of Prometheus' own tool.
func promtool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("promtool %s: %v (test/prepare sees to promtool)\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestFiring(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(deployed, "rules.yaml"))
	promtool(t, append([]string{"test", "rules"}, testFiles(t)...)...)
}

func testFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(deployed, "*_test.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("tests of alerts: %v, %v", files, err)
	}
	return files
}

// ruleTests is what is looked at of a file of promtool's tests.
type ruleTests struct {
	Tests []struct {
		Cases []struct {
			Alert string `yaml:"alertname"`
			Want  []any  `yaml:"exp_alerts"`
		} `yaml:"alert_rule_test"`
	}
}

func readTests(t *testing.T, name string) (tests ruleTests) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &tests); err != nil {
		t.Fatal(err)
	}
	return tests
}

// TestTested: the tests of promtool see each alert fire and not fire.
func TestTested(t *testing.T) {
	fires, rests := map[string]bool{}, map[string]bool{}
	for _, name := range testFiles(t) {
		for _, test := range readTests(t, name).Tests {
			for _, c := range test.Cases {
				fires[c.Alert] = fires[c.Alert] || len(c.Want) > 0
				rests[c.Alert] = rests[c.Alert] || len(c.Want) == 0
			}
		}
	}
	for _, name := range alerts.Names() {
		if !fires[name] || !rests[name] {
			t.Errorf("%s: seen firing: %t, seen not firing: %t", name, fires[name], rests[name])
		}
	}
}

// TestValues: each value takes effect, and what it makes is what Prometheus reads.
func TestValues(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, values, want string }{
		{"runbooks", "runbooks: http://wiki/r/", "runbook_url: http://wiki/r/ToolcribToolErrors.md\n"},
		{"by", "by: [namespace, job]", "sum by (namespace, job, server, tool) (rate(mcp_tool_requests_total[5m]))"},
		{"by none", "by: []", "sum by (server, tool) (rate(mcp_tool_requests_total[5m]))"},
		{"base", "base: 2m", "tool:mcp_tool_requests:rate2m"},
		{"interval", "interval: 30s", "    interval: 30s\n"},
		{"labels", "labels: {team: tools}", "          team: tools\n"},
		{"ignore", "ignore: [tool_error]", `rate(mcp_tool_errors_total{error_type!~"tool_error"}[5m])`},
		{"ignore none", "ignore: []", `rate(mcp_tool_errors_total[5m])`},
		{"objective of servers", "objectives: {server: 0.99}", "expr: 0 * server:mcp_tool_requests:rate5m + 0.01\n"},
		{"objective of tools", "objectives: {tool: 0.95}", "expr: 0 * tool:mcp_tool_requests:rate5m + 0.05\n"},
		{
			"special server", `objectives: {special: [{server: "a.*", success: 0.999}, {server: b, tool: c, success: 0.98}]}`,
			`0 * server:mcp_tool_requests:rate5m{server=~"a\\..*"} + 0.001` + "\n          or 0 * server:mcp_tool_requests:rate5m + 0.005\n",
		},
		{"special tool", "objectives: {special: [{server: b, tool: c, success: 0.98}]}", `0 * tool:mcp_tool_requests:rate5m{server="b", tool="c"} + 0.02`},
		{"least calls", "objectives: {least: 5}", "sum_over_time(tool:mcp_tool_requests:rate5m[1h:5m]) * 300 >= 5\n"},
		{"least calls for errors", "objectives: {least: 6}", "\n          and on (job, server) sum by (job, server) (increase(mcp_tool_requests_total[5m])) >= 6\n"},
		{"no least calls", "objectives: {least: 0}", "expr: server:mcp_tool_errors:ratio_rate5m > 0.005\n"},
		{
			"burn", "burn: [{long: 3h, short: 15m, factor: 2, severity: info, for: 1m}]",
			"tool:mcp_tool_errors:ratio_rate3h / on (job, server, tool) tool:mcp_error_budget:ratio > 2\n",
		},
		{"severity", "alerts: {ToolcribRedisDegraded: {severity: info}}", "          severity: info\n"},
		{"threshold", "alerts: {ToolcribToolErrors: {threshold: 0.02}}", "server:mcp_tool_errors:ratio_rate5m > 0.02\n"},
		{"window", "alerts: {ToolcribToolErrors: {window: 10m}}", "server:mcp_tool_errors:ratio_rate10m > 0.005\n"},
		{"window of latency", "alerts: {ToolcribToolLatency: {window: 10m}}", "tool:mcp_tool_duration_seconds:p99_rate10m > 3 * "},
		{"least latency", "alerts: {ToolcribToolLatency: {least: 100ms}}", "\n          and tool:mcp_tool_duration_seconds:p99_rate5m >= 0.1\n"},
		{"any latency", "alerts: {ToolcribToolLatency: {least: 0s}}", "> 3 * tool:mcp_tool_duration_seconds:p50_rate5m\n          and on (job, server, tool) "},
		{
			"failures", "alerts: {ToolcribDiscovery: {failures: 1}}",
			`increase(mcp_server_discoveries_total{outcome="error"}[30m])) >= 1` + "\n",
		},
		{"for", "alerts: {ToolcribToolErrors: {for: 90s}}", ">= 20\n        for: 90s\n"},
	}
	defaults, dir := generate(t, ""), t.TempDir()
	files := []string{"check", "rules"}
	for _, tt := range tests {
		got := generate(t, tt.values)
		if !strings.Contains(got, tt.want) || strings.Contains(defaults, tt.want) {
			t.Errorf("%s: %q is not there, or by default too, in\n%s", tt.name, tt.want, got)
		}
		files = append(files, filepath.Join(dir, strings.ReplaceAll(tt.name, " ", "-")+".yaml"))
		if err := os.WriteFile(files[len(files)-1], []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, files...)
	if got := generate(t, "burn: []\nalerts: {ToolcribServerBudgetBurn: {off: true}, ToolcribToolBudgetBurn: {off: true}}"); strings.Contains(got, "BudgetBurn") {
		t.Errorf("what is off is there:\n%s", got)
	}
	if got := generate(t, "alerts: {ToolcribToolErrors: {off: true}, ToolcribToolLatency: {off: true}}"); strings.Contains(got, "alert: ToolcribToolErrors") ||
		strings.Contains(got, "p99") {
		t.Errorf("what is off is there:\n%s", got)
	}
}

// TestShownValues: what is shown as values is a file of values that changes nothing.
func TestShownValues(t *testing.T) {
	shown, err := alerts.Defaults().YAML()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(generate(t, ""), generate(t, string(shown))); diff != "" {
		t.Error(diff)
	}
}

// TestMistakes: errors name the field, what is wrong with it, and what it may be.
func TestMistakes(t *testing.T) {
	t.Parallel()
	tests := []struct{ values, want string }{
		{"alert: {}", "field alert not found"},
		{"runbooks: docs", `runbooks: "docs" is not an http(s) URL under which the runbooks are found`},
		{"by: [server]", `by: "server" is not a label that tells installations apart, as job or namespace do`},
		{"by: ['a b']", `by: "a b" is not a label that tells installations apart`},
		{"labels: {severity: x}", `labels: "severity" cannot be given; a name has letters, digits and _, and is none of alertname,`},
		{"labels: {window: 1h}", `labels: "window" cannot be given`},
		{"labels: {team: 'x {{ $value }}'}", `labels.team: "x {{ $value }}" is a template; give a text without {{`},
		{"labels: {team: \"a\\nb\"}", `labels.team: "a\nb" has a line feed or another control character; give a text of one line`},
		{"runbooks: 'http://wiki/{{ $labels.x }}'", `runbooks: "http://wiki/{{ $labels.x }}" is a template`},
		{"ignore: ['.*']", `ignore: ".*" is not an error type, as -32602 or denied are`},
		{"base: 0s", "base: 0s looks back on nothing; give a time like 5m"},
		{"base: 1s", "base: 1s is too short for rates; give 1m0s or more: 4 times interval, or a minute without one"},
		{"base: 1m\ninterval: 30s", "base: 1m is too short for rates; give 2m0s or more"},
		{"alerts: {ToolcribDiscovery: {window: 59s}}", "alerts.ToolcribDiscovery.window: 59s is too short for rates"},
		{"base: -5m", `base: "-5m" is not a time like 30s, 5m, 1h30m or 7d`},
		{"interval: soon", `interval: "soon" is not a time`},
		{"base: 99999999999999999999d", `base: "99999999999999999999d" is longer than the 400 days that can be asked for`},
		{"base: 401d", `base: "401d" is longer than the 400 days that can be asked for`},
		{"objectives: {server: 1}", "objectives.server: 1 is not a share of calls between 0 and 1, such as 0.995"},
		{"objectives: {tool: 99.5}", "objectives.tool: 99.5 is not a share of calls"},
		{"objectives: {tool: .nan}", "objectives.tool: NaN is not a share of calls"},
		{"objectives: {least: -1}", "objectives.least: -1 is below 0, which is for any number of calls"},
		{"objectives: {tool: 0.9}", "objectives.tool: 0.9 lets burn[0] never fire: 14.4 times what may fail is more than all calls; raise it, or lower the factor"},
		{"objectives: {special: [{tool: x, success: 0.99}]}", "objectives.special[0].server: is missing; name a server, or * for all"},
		{"burn: []", "burn: has no windows, without which nothing tells of a budget; leave it out, or set alerts.ToolcribServerBudgetBurn.off and "},
		{"burn:", "burn: has no windows"},
		{"burn: []\nalerts: {ToolcribToolBudgetBurn: {off: true}}", "burn: has no windows"},
		{"burn: [{long: 5m, short: 5m, factor: 1, severity: info, for: 1m}]", "burn[0].short: 5m is not shorter than long, which is 5m"},
		{"burn: [{long: 1h, short: 5m, factor: -1, severity: info, for: 1m}]", "burn[0].factor: -1 is not a number above 0"},
		{"burn: [{long: 1h, short: 5m, factor: 1, severity: info}]", `burn[0].for: "" is not a time`},
		{"base: 10m", "burn[0].short: 5m is shorter than base, which is 10m"},
		{"alerts: {ToolcribToolErrors: {window: 2m}}", "alerts.ToolcribToolErrors.window: 2m is shorter than base, which is 5m"},
		{"alerts: {ToolErrors: {}}", "alerts.ToolErrors: there is no such alert; there are ToolcribToolErrors, "},
		{"alerts: {ToolcribToolErrors: {severity: page}}", `alerts.ToolcribToolErrors.severity: "page" is none of critical, warning, info`},
		{"alerts: {ToolcribToolErrors: {threshold: 5%}}", `alerts.ToolcribToolErrors.threshold: "5%" is not a number`},
		{"alerts: {ToolcribToolErrors: {threshold: 5}}", "alerts.ToolcribToolErrors.threshold: 5 is not between 0 and 1; half a percent is 0.005"},
		{"alerts: {ToolcribToolLatency: {threshold: 1}}", "alerts.ToolcribToolLatency.threshold: 1 is not above 1"},
		{"alerts: {ToolcribAuditQueue: {threshold: -1}}", "alerts.ToolcribAuditQueue.threshold: -1 is below 0"},
		{"alerts: {ToolcribInstanceFlapping: {threshold: 0}}", "alerts.ToolcribInstanceFlapping.threshold: 0 is below 1, which is an alert of each time; give 1 or more"},
		{"alerts: {ToolcribKeyRingStale: {threshold: 0d}}", "alerts.ToolcribKeyRingStale.threshold: 0d is no time; give one like 7d"},
		{"alerts: {ToolcribToolBudgetBurn: {severity: info}}", "alerts.ToolcribToolBudgetBurn.severity: this alert has none"},
		{"alerts: {ToolcribToolBudgetBurn: {for: 1m}}", "alerts.ToolcribToolBudgetBurn.for: this alert has none"},
		{"alerts: {ToolcribRedisDegraded: {threshold: 1}}", "alerts.ToolcribRedisDegraded.threshold: this alert has none"},
		{"alerts: {ToolcribRedisDegraded: {window: 1m}}", "alerts.ToolcribRedisDegraded.window: this alert has none"},
		{"alerts: {ToolcribRedisDegraded: {least: 1s}}", "alerts.ToolcribRedisDegraded.least: this alert has none"},
		{"alerts: {ToolcribRedisDegraded: {failures: 1}}", "alerts.ToolcribRedisDegraded.failures: this alert has none"},
		{"alerts: {ToolcribTasks: {failures: -1}}", "alerts.ToolcribTasks.failures: -1 is below 1; give 1 for an alert of each failure"},
		{"alerts: {ToolcribToolLatency: {least: -1s}}", `alerts.ToolcribToolLatency.least: "-1s" is not a time`},
		{"alerts: {ToolcribDiscovery: {window: 0s}}", "alerts.ToolcribDiscovery.window: 0s looks back on nothing"},
		{"# " + strings.Repeat("x", 1<<20), "the values are over 1048576 bytes"},
	}
	for _, tt := range tests {
		_, err := alerts.Read(strings.NewReader(tt.values))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.80s: %v, want %s", tt.values, err, tt.want)
		}
	}
}

// TestObjectives: the first objective that fits counts.
func TestObjectives(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rules := generate(t, `objectives: {special: [
		{server: "pay*", success: 0.999}, {server: "*", success: 0.996}, {server: payments, tool: "find_*", success: 0.98},
	]}`)
	const tests = `
rule_files: [rules.yaml]
tests:
  - interval: 1m
    input_series:
      - {series: 'mcp_tool_requests_total{job="gw", server="payments", tool="find_one"}', values: 0+10x20}
      - {series: 'mcp_tool_requests_total{job="gw", server="payments", tool="pay"}', values: 0+10x20}
      - {series: 'mcp_tool_requests_total{job="gw", server="search", tool="find_one"}', values: 0+10x20}
    promql_expr_test:
      - expr: server:mcp_error_budget:ratio * 1000
        eval_time: 10m
        exp_samples:
          - {labels: '{job="gw", server="payments"}', value: 1}
          - {labels: '{job="gw", server="search"}', value: 4}
      - expr: tool:mcp_error_budget:ratio * 1000
        eval_time: 10m
        exp_samples:
          - {labels: '{job="gw", server="payments", tool="find_one"}', value: 20}
          - {labels: '{job="gw", server="payments", tool="pay"}', value: 10}
          - {labels: '{job="gw", server="search", tool="find_one"}', value: 10}
`
	for name, text := range map[string]string{"rules.yaml": rules, "tests.yaml": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	promtool(t, "test", "rules", filepath.Join(dir, "tests.yaml"))
}
