package telemetry_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/telemetry"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

const referenceFile = "../docs/metrics.md"

// TestReference holds the reference page to the catalogue.
func TestReference(t *testing.T) {
	want := reference()
	if *update {
		if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("run go test ./telemetry -run TestReference -update (-want +got):\n%s", diff)
	}
}

const preamble = `# Metrics

What the gateway tells about itself in numbers. This page is made from the catalogue in ` + "`telemetry/catalogue.go`" + `, as are the metrics themselves.

` + "`GET /metrics`" + ` serves them for Prometheus, to whoever may read them (see [management](management.md)). A Prometheus that asks for
native histograms gets those marked *native* with exponential buckets too. With ` + "`telemetry.metrics.endpoint`" + ` they are also sent by OTLP, under
the names of the second column; attributes have the names of their labels but for those listed below. Metrics of the Go runtime
(` + "`go_*`" + `) and of the process (` + "`process_*`" + `) come with them.

Labels never hold what a caller sends unless it is bounded: what is over a bound is counted under ` + "`_other`" + `, and by
` + "`toolcrib_metrics_folded_total`" + `. The bounds of tools, clients and tenants are set under ` + "`telemetry.metrics`" + `.

Whose fault a failed or slow call is: ` + "`mcp_call_share_seconds`" + ` tells where its time went, ` + "`mcp_tool_errors_total`" + ` has by ` + "`error_type`" + ` what a server
answered (` + "`tool_error`" + `, a code) or what the gateway says of it (` + "`timeout`" + `, ` + "`unavailable`" + `, ` + "`limited`" + `), and ` + "`mcp_gateway_overhead_seconds`" + ` what the gateway
itself took. For an autoscaler, the recording rule ` + "`mcp_tool_requests_per_second`" + ` in ` + "`deploy/prometheus/rules.yaml`" + ` is made from
` + "`mcp_tool_requests_total`" + `; [dashboards](dashboards.md) show all of them.
`

func reference() string {
	var b strings.Builder
	b.WriteString(preamble)
	b.WriteString("\n## Catalogue\n\n| Prometheus | OpenTelemetry | kind, unit | labels | what it tells |\n|---|---|---|---|---|\n")
	for _, m := range telemetry.Catalogue() {
		kind := string(m.Kind)
		if m.Native {
			kind += ", native"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s, `%s` | %s | %s |\n", m.Name, m.OTel, kind, m.Unit, quoted(m.Labels), m.Help)
	}
	b.WriteString("\n## Labels\n\n| label | values | how many | in OTLP |\n|---|---|---|---|\n")
	for _, l := range telemetry.Labels() {
		otel := ""
		if l.OTel != "" {
			otel = "`" + l.OTel + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", l.Name, l.Values, l.Bound, otel)
	}
	b.WriteString("\n## Buckets\n\n| histogram | upper bounds |\n|---|---|\n")
	for _, m := range telemetry.Catalogue() {
		if m.Kind == telemetry.Histogram {
			fmt.Fprintf(&b, "| `%s` | %s |\n", m.Name, bounds(m.Buckets))
		}
	}
	return b.String()
}

func quoted(all []string) string {
	var b strings.Builder
	for i, l := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("`" + l + "`")
	}
	return b.String()
}

func bounds(all []float64) string {
	var text []string
	for _, v := range all {
		text = append(text, strconv.FormatFloat(v, 'f', -1, 64))
	}
	return strings.Join(text, " ")
}
