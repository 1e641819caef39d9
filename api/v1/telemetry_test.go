package v1_test

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

func TestOpenTelemetryVariables(t *testing.T) {
	c, problems := parse("telemetry: {resource: {a: file, b: file}, traces: {endpoint: 'http://127.0.0.1:1', sample: 0.3}}",
		"OTEL_SERVICE_NAME", "svc", "OTEL_RESOURCE_ATTRIBUTES", "a=env,c=x%20y", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/base/",
		"OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20sekrit", "OTEL_EXPORTER_OTLP_TIMEOUT", "1500",
		"OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG", "0.25", "OTEL_BSP_MAX_QUEUE_SIZE", "7")
	if problems != nil {
		t.Fatal(problems)
	}
	got, tr := &c.Telemetry, &c.Telemetry.Traces
	if got.Service != "svc" || got.Resource["a"] != "env" || got.Resource["b"] != "file" || got.Resource["c"] != "x y" {
		t.Errorf("service %q, resource %v", got.Service, got.Resource)
	}
	if tr.Endpoint != "http://127.0.0.1:4318/base/v1/traces" || tr.Protocol != v1.ProtocolHTTP || string(tr.Headers["authorization"]) != "Bearer sekrit" ||
		tr.Timeout.String() != "1.5s" || tr.Queue != 7 {
		t.Errorf("traces %+v", tr)
	}
	if tr.Sample.String() != "0.25" || tr.Parent != v1.ParentOwn || !got.On() {
		t.Errorf("sample %v, parent %s, on %v", tr.Sample, tr.Parent, got.On())
	}
}

func TestOpenTelemetryVariablesTurnOff(t *testing.T) {
	for _, env := range [][]string{{"OTEL_SDK_DISABLED", "true"}, {"OTEL_TRACES_EXPORTER", "none"}} {
		c, problems := parse("telemetry: {traces: {endpoint: 'http://127.0.0.1:1'}}", env...)
		if problems != nil || c.Telemetry.On() {
			t.Errorf("%v: %v, on %v", env, problems, c.Telemetry.On())
		}
	}
}

// TestOpenTelemetryVariablesOfMetrics: those of metrics, and those of all signals, take effect on metrics.
func TestOpenTelemetryVariablesOfMetrics(t *testing.T) {
	c, problems := parse("mcpServers: {}", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:2",
		"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_METRICS_HEADERS", "k=own", "OTEL_EXPORTER_OTLP_HEADERS", "k=all",
		"OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "700", "OTEL_METRIC_EXPORT_INTERVAL", "5000")
	if problems != nil {
		t.Fatal(problems)
	}
	m := &c.Telemetry.Metrics
	if m.Endpoint != "http://127.0.0.1:1" || m.Protocol != v1.ProtocolGRPC || string(m.Headers["k"]) != "own" ||
		m.Timeout.String() != "700ms" || m.Every.String() != "5s" || string(c.Telemetry.Traces.Headers["k"]) != "all" {
		t.Errorf("%+v %v", m, problems)
	}
	c, problems = parse("mcpServers: {}", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:2", "OTEL_EXPORTER_OTLP_HEADERS", "k=all")
	if m = &c.Telemetry.Metrics; problems != nil || m.Endpoint != "http://127.0.0.1:2/v1/metrics" || string(m.Headers["k"]) != "all" {
		t.Errorf("%+v %v", m, problems)
	}
	c, problems = parse("telemetry: {metrics: {endpoint: 'http://127.0.0.1:1'}}", "OTEL_METRICS_EXPORTER", "none")
	if problems != nil || c.Telemetry.Sent() {
		t.Errorf("%v, sent %v", problems, c.Telemetry.Sent())
	}
}

func TestOpenTelemetryVariablesThatAreSpecific(t *testing.T) {
	c, problems := parse("mcpServers: {}", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/own", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:2",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf", "OTEL_TRACES_SAMPLER", "parentbased_always_on")
	if problems != nil {
		t.Fatal(problems)
	}
	if tr := &c.Telemetry.Traces; tr.Endpoint != "http://127.0.0.1:1/own" || tr.Protocol != v1.ProtocolHTTP || tr.Sample.Of() != 1 || tr.Parent != v1.ParentFollow {
		t.Errorf("%+v", tr)
	}
	c, problems = parse("mcpServers: {}", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:2", "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "OTEL_TRACES_SAMPLER", "parentbased_always_off")
	if tr := &c.Telemetry.Traces; problems != nil || tr.Endpoint != "http://127.0.0.1:2" || tr.Protocol != v1.ProtocolGRPC || tr.Sample != 0 {
		t.Errorf("%+v %v", tr, problems)
	}
}

func TestOpenTelemetryVariablesThatAreWrong(t *testing.T) {
	c, problems := parse("mcpServers: {a: {command: a}}", "OTEL_TRACES_EXPORTER", "zipkin", "OTEL_TRACES_SAMPLER", "sometimes",
		"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", "OTEL_RESOURCE_ATTRIBUTES", "a", "OTEL_EXPORTER_OTLP_TIMEOUT", "1s",
		"OTEL_METRICS_EXPORTER", "prometheus", "OTEL_LOGS_EXPORTER", "console", "OTEL_PROPAGATORS", "b3,baggage",
		"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip", "OTEL_METRIC_EXPORT_INTERVAL", "soon")
	if problems != nil {
		t.Fatal(problems) // they may be meant for others
	}
	want := []string{ // each once
		`OTEL_EXPORTER_OTLP_COMPRESSION: "zstd" is no compression that there is here (gzip, none) and has no effect`,
		`OTEL_EXPORTER_OTLP_PROTOCOL: "http/json" is no protocol that is spoken here (grpc, http/protobuf); http/protobuf is`,
		`OTEL_EXPORTER_OTLP_TIMEOUT: "1s" is not a whole number of milliseconds, as 10000 is, and has no effect`,
		`OTEL_LOGS_EXPORTER: "console" is no exporter of logs that there is here (otlp, none) and has no effect`,
		`OTEL_METRICS_EXPORTER: "prometheus" is no exporter of metrics, which are at /metrics in any case, that there is here (otlp, none) and has no effect`,
		`OTEL_METRIC_EXPORT_INTERVAL: "soon" is not a whole number of milliseconds, as 10000 is, and has no effect`,
		`OTEL_PROPAGATORS: "b3,baggage" has no effect: tracecontext is handed on in any case, baggage with telemetry.traces.baggage, nothing else`,
		`OTEL_RESOURCE_ATTRIBUTES: has an entry that is not name=value, which has no effect`,
		`OTEL_TRACES_EXPORTER: "zipkin" is no exporter of traces that there is here (otlp, none) and has no effect`,
		`OTEL_TRACES_SAMPLER: "sometimes" is no sampler that there is here (always_on, always_off, traceidratio, each also after parentbased_) and has no effect`,
	}
	slices.Sort(c.Warnings)
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Error(diff)
	}
	c, problems = parse("telemetry: {traces: {baggage: true}}", "OTEL_PROPAGATORS", "tracecontext,baggage", "OTEL_LOGS_EXPORTER", "otlp",
		"OTEL_METRICS_EXPORTER", "otlp", "OTEL_EXPORTER_OTLP_COMPRESSION", "none")
	if problems != nil || strings.Contains(strings.Join(c.Warnings, ""), "OTEL_") {
		t.Error(problems, c.Warnings)
	}
	_, problems = parse("mcpServers: {}", "OTEL_EXPORTER_OTLP_ENDPOINT", "sekrit", "OTEL_TRACES_SAMPLER", "traceidratio", "OTEL_TRACES_SAMPLER_ARG", "2", "OTEL_BSP_MAX_QUEUE_SIZE", "-1")
	for _, want := range []string{
		"telemetry.traces.endpoint: has not the scheme http or https", "(set by OTEL_EXPORTER_OTLP_ENDPOINT)",
		"telemetry.traces.sample: 2 is out of bounds; the maximum is 1 (set by OTEL_TRACES_SAMPLER_ARG)",
		"telemetry.traces.queue: -1 is out of bounds; the minimum is 1 (set by OTEL_BSP_MAX_QUEUE_SIZE)",
	} {
		if !strings.Contains(problems.Error(), want) {
			t.Errorf("%v lacks %q", problems, want)
		}
	}
	if strings.Contains(problems.Error(), "sekrit") {
		t.Error("an address is shown:", problems)
	}
}

// TestOpenTelemetryCertificates: the exporters pass over files that they cannot use, and would go on without what was asked for.
func TestOpenTelemetryCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := testenv.WriteCertificate(t, dir, "one", testenv.Certificate(t, &x509.Certificate{}, nil))
	_, other := testenv.WriteCertificate(t, dir, "two", testenv.Certificate(t, &x509.Certificate{}, nil))
	const all, https = "OTEL_EXPORTER_OTLP_", "https://127.0.0.1:1"
	remedy := "; name a file with certificates in PEM that the gateway may read, or unset the variable"
	tests := []struct {
		name, endpoint string
		env            []string
		want           []string
	}{
		{"missing", https, []string{"CERTIFICATE", dir + "/none"}, []string{`OTEL_EXPORTER_OTLP_CERTIFICATE: "` + dir + `/none" cannot be read: no such file or directory` + remedy}},
		{"folder", https, []string{"TRACES_CERTIFICATE", dir}, []string{`OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: "` + dir + `" cannot be read: it is not a regular file`}},
		{"no certificate", https, []string{"METRICS_CERTIFICATE", key}, []string{`OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE: "` + key + `" has no certificate in PEM` + remedy}},
		{"missing pair", https, []string{"CLIENT_CERTIFICATE", dir + "/none", "CLIENT_KEY", dir + "/no"}, []string{
			`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE: "` + dir + `/none" cannot be read`, `OTEL_EXPORTER_OTLP_CLIENT_KEY: "` + dir + `/no" cannot be read`,
		}},
		{"no key", https, []string{"CLIENT_CERTIFICATE", cert}, []string{"OTEL_EXPORTER_OTLP_CLIENT_KEY: is missing beside OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE; set both, or neither"}},
		{"no pair", https, []string{"CLIENT_CERTIFICATE", cert, "CLIENT_KEY", key, "TRACES_CLIENT_KEY", key}, []string{
			"OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE: is missing beside OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
		}},
		{"another key", https, []string{"METRICS_CLIENT_CERTIFICATE", cert, "METRICS_CLIENT_KEY", other}, []string{
			`OTEL_EXPORTER_OTLP_METRICS_CLIENT_CERTIFICATE: "` + cert + `" and "` + other + `" of OTEL_EXPORTER_OTLP_METRICS_CLIENT_KEY are no certificate with its key`,
		}},
		{"right", https, []string{"CERTIFICATE", cert, "CLIENT_CERTIFICATE", cert, "CLIENT_KEY", key}, nil},
		{"one's own", https, []string{"CERTIFICATE", dir + "/none", "TRACES_CERTIFICATE", cert, "METRICS_CERTIFICATE", cert}, nil},
		{"http", "http://127.0.0.1:1", []string{"CERTIFICATE", dir + "/none"}, nil},
		{"nothing is sent", "", []string{"CERTIFICATE", dir + "/none"}, nil},
	}
	for _, tt := range tests {
		env := map[string]string{all + "ENDPOINT": tt.endpoint}
		for i := 0; i < len(tt.env); i += 2 {
			env[all+tt.env[i]] = tt.env[i+1]
		}
		_, problems := v1.Parse([]byte("mcpServers: {}"), v1.Options{Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok }})
		if len(problems) != len(tt.want) {
			t.Errorf("%s: %v", tt.name, problems)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(problems.Error(), want) {
				t.Errorf("%s: %v lacks %q", tt.name, problems, want)
			}
		}
	}
}
