package telemetry_test

import (
	"bytes"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/toolcrib/toolcrib/telemetry"
)

// scraped is what a scrape that accepts so brings, by name.
func scraped(t *testing.T, h http.Handler, accept string) map[string]*dto.MetricFamily {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	families := map[string]*dto.MetricFamily{}
	decoder := expfmt.NewDecoder(bytes.NewReader(w.Body.Bytes()), expfmt.ResponseFormat(w.Header()))
	for {
		f := &dto.MetricFamily{}
		if err := decoder.Decode(f); err != nil {
			break
		}
		families[f.GetName()] = f
	}
	return families
}

// classic leaves of a family what the text format has, in order.
func classic(f *dto.MetricFamily) *dto.MetricFamily {
	key := func(m *dto.Metric) (of string) {
		for _, l := range m.GetLabel() {
			of += l.GetName() + "=" + l.GetValue() + ","
		}
		return of
	}
	for _, m := range f.GetMetric() {
		slices.SortFunc(m.GetLabel(), func(a, b *dto.LabelPair) int { return strings.Compare(a.GetName(), b.GetName()) })
	}
	slices.SortFunc(f.GetMetric(), func(a, b *dto.Metric) int { return strings.Compare(key(a), key(b)) })
	for _, m := range f.GetMetric() {
		if c := m.GetCounter(); c != nil {
			m.Counter = &dto.Counter{Value: c.Value}
		}
		h := m.GetHistogram()
		if h == nil {
			continue
		}
		buckets := h.GetBucket()
		if n := len(buckets); n == 0 || !math.IsInf(buckets[n-1].GetUpperBound(), 1) {
			infinite := math.Inf(1)
			buckets = append(buckets, &dto.Bucket{CumulativeCount: h.SampleCount, UpperBound: &infinite})
		}
		m.Histogram = &dto.Histogram{SampleCount: h.SampleCount, SampleSum: h.SampleSum, Bucket: buckets}
	}
	return f
}

// TestTextOfTools: the text says of tools what the library's encoding says, whatever they are called.
func TestTextOfTools(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("1.2.3")
	for _, server := range []string{"plain", `back\slash`, `quo"te`, "new\nline", "ünï"} {
		for i, tool := range []string{"a", `\n`, "\"\n\\", "日本"} {
			h := m.Tool(server, tool)
			h.Observe(time.Duration(i+1)*100*time.Millisecond, "")
			h.Observe(time.Hour, []string{"tool_error", `od"d`}[i%2])
			h.Shares(time.Millisecond, 0, time.Second, time.Microsecond)
			h.Sizes(100, 1<<20)
		}
	}
	m.Remove("plain")
	text := scraped(t, m.Handler(), "text/plain")
	binary := scraped(t, m.Handler(), "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	for _, name := range []string{
		"mcp_tool_requests_total", "mcp_tool_errors_total", "mcp_tool_duration_seconds", "mcp_call_share_seconds",
		"mcp_tool_request_size_bytes", "mcp_tool_response_size_bytes", "mcp_gateway_overhead_seconds",
	} {
		if len(binary[name].GetMetric()) == 0 {
			t.Errorf("%s: none", name)
		}
		if d := cmp.Diff(classic(binary[name]), classic(text[name]), protocmp.Transform()); d != "" {
			t.Errorf("%s (-binary +text):\n%s", name, d)
		}
	}
}

// TestNativeHistograms: who asks for them gets exponential buckets.
func TestNativeHistograms(t *testing.T) {
	t.Parallel()
	m := telemetry.NewMetrics("1.2.3")
	m.Tool("s", "t").Observe(time.Second, "")
	families := scraped(t, m.Handler(), "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited")
	h := families["mcp_tool_duration_seconds"].GetMetric()[0].GetHistogram()
	if len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) == 0 {
		t.Errorf("got %v", h)
	}
}

// TestTextOfNothing: families without a series have no heading.
func TestTextOfNothing(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	telemetry.NewMetrics("1.2.3").Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if text := w.Body.String(); strings.Contains(text, "mcp_tool_") || !strings.Contains(text, "toolcrib_build_info{") {
		t.Errorf("got %s", text)
	}
}
