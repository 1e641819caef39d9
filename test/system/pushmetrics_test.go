package system_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	collect "go.opentelemetry.io/proto/slim/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	meters "go.opentelemetry.io/proto/slim/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// meterReader takes metrics as a collector does. It keeps the last export.
type meterReader struct {
	*testenv.Exports

	mu      sync.Mutex
	service map[string]string
	units   map[string]string
	points  map[string]string // what each is, by name and attributes
	last    time.Time
}

func takeMetrics(t *testing.T) *meterReader {
	t.Helper()
	m := &meterReader{}
	m.Exports = testenv.TakeExports(t, "metrics", m.read)
	return m
}

func (m *meterReader) read(message []byte) error {
	var q collect.ExportMetricsServiceRequest
	if err := proto.Unmarshal(message, &q); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.units, m.points, m.last = map[string]string{}, map[string]string{}, time.Now()
	for _, of := range q.GetResourceMetrics() {
		m.service = textsOf(of.GetResource().GetAttributes())
		for _, scope := range of.GetScopeMetrics() {
			for _, one := range scope.GetMetrics() {
				m.take(one)
			}
		}
	}
	return nil
}

// since tells whether an export came after a time.
func (m *meterReader) since(begin time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last.After(begin)
}

func (m *meterReader) take(one *meters.Metric) {
	m.units[one.GetName()] = one.GetUnit()
	at := func(attributes []*common.KeyValue, what string) {
		m.points[one.GetName()+fmt.Sprint(textsOf(attributes))] = what
	}
	for _, p := range one.GetSum().GetDataPoints() {
		at(p.GetAttributes(), fmt.Sprint("sum ", p.GetAsDouble()))
	}
	for _, p := range one.GetGauge().GetDataPoints() {
		at(p.GetAttributes(), fmt.Sprint("gauge ", p.GetAsDouble()))
	}
	for _, p := range one.GetHistogram().GetDataPoints() {
		at(p.GetAttributes(), fmt.Sprint("histogram ", p.GetCount()))
	}
	for _, p := range one.GetExponentialHistogram().GetDataPoints() {
		at(p.GetAttributes(), fmt.Sprint("exponential ", p.GetCount()))
	}
}

func textsOf(all []*common.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range all {
		out[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
	return out
}

// TestMetricsOverOTLP: metrics reach a collector under the names of OpenTelemetry, and the bounds of labels are those configured.
func TestMetricsOverOTLP(t *testing.T) {
	t.Parallel()
	reader := takeMetrics(t)
	script := says("hello")
	script.Tools = script.Tools[:1]
	config := testenv.One(testenv.HTTPServer(t, script))
	config.More = map[string]any{"telemetry": map[string]any{"service": "tools", "metrics": map[string]any{
		"endpoint": reader.URL, "every": "1s", "headers": map[string]any{"X-Key": "open"}, "maxTools": 1, "maxClients": 1, "maxTenants": 1,
	}}}
	g := testenv.Serve(t, config)
	c := g.Modern("/mcp")
	c.Call("prompts/get", `"name":7`)
	c.Do(testenv.Request{Method: "tools/list", Meta: `"io.modelcontextprotocol/clientInfo":{"name":"another","version":"1"}`})
	c.Tool("one__plain", "{}")
	g.Legacy("/mcp").Call("tools/list", "")
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v", reader.points)
		}
	})
	testenv.Eventually(t, "an export with all of it", func() bool {
		reader.mu.Lock()
		defer reader.mu.Unlock()
		return reader.points["mcp.tool.requests"+fmt.Sprint(map[string]string{"server": "one", "gen_ai.tool.name": "plain"})] == "sum 1" &&
			reader.points["toolcrib.metrics.folded"+fmt.Sprint(map[string]string{"label": "tenant"})] != ""
	})
	header := reader.Headers()[0]
	reader.mu.Lock()
	of := reader.service
	if header.Get("X-Key") != "open" || of["service.name"] != "tools" || of["service.version"] == "" || of["service.instance.id"] == "" {
		t.Errorf("header %v, service %v", header, reader.service)
	}
	modern := fmt.Sprint(map[string]string{"mcp.method.name": "tools/call", "mcp.protocol.version": "2026-07-28"})
	for point, want := range map[string]string{
		"mcp.server.operation.duration" + modern: "exponential 1",
		"mcp.client.operation.duration" + fmt.Sprint(map[string]string{
			"server": "one", "mcp.method.name": "tools/call", "network.transport": "tcp",
		}): "histogram 1",
		"mcp.gateway.overhead" + fmt.Sprint(map[string]string{}):                                    "exponential 1",
		"toolcrib.config.last_apply.successful" + fmt.Sprint(map[string]string{}):                   "gauge 1",
		"mcp.tenant.requests" + fmt.Sprint(map[string]string{"outcome": "ok", "tenant": "default"}): "",
	} {
		if got := reader.points[point]; got != want && want != "" {
			t.Errorf("%s is %q, want %q", point, got, want)
		}
	}
	if reader.units["mcp.server.operation.duration"] != "s" || reader.units["mcp.tool.requests"] != "{call}" {
		t.Errorf("units %v", reader.units)
	}
	for point := range reader.points {
		if strings.HasPrefix(point, "mcp_") || strings.HasPrefix(point, "toolcrib_") {
			t.Errorf("%s has no name of OpenTelemetry", point)
		}
	}
	reader.mu.Unlock()
	_, body := g.Get("/metrics", nil)
	for _, folded := range []string{"tenant", "client"} {
		testenv.Eventually(t, "something is folded of "+folded, func() bool {
			_, body = g.Get("/metrics", nil)
			n, _ := measured(t, body, `toolcrib_metrics_folded_total{label="`+folded+`"}`)
			return n > 0
		})
	}
	config.More = map[string]any{"telemetry": map[string]any{"metrics": map[string]any{"tenants": false}}}
	g.Configure(config)
	testenv.Eventually(t, "requests are not counted by tenant any more", func() bool {
		before, _ := measured(t, body, `mcp_tenant_requests_total{outcome="ok",tenant="_other"}`)
		for range 5 {
			c.Tool("one__plain", "{}")
		}
		_, body = g.Get("/metrics", nil)
		after, _ := measured(t, body, `mcp_tenant_requests_total{outcome="ok",tenant="_other"}`)
		return after == before
	})
}
