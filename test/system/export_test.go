package system_test

import (
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// exporting has all traces and, each second, the metrics be sent.
func exporting(to receivers, protocol, timeout string) map[string]any {
	signal := func(endpoint string, more ...any) map[string]any {
		all := map[string]any{"endpoint": endpoint, "protocol": protocol, "timeout": timeout}
		for i := 0; i < len(more); i += 2 {
			all[more[i].(string)] = more[i+1]
		}
		return all
	}
	return map[string]any{"telemetry": map[string]any{
		"traces": signal(to.spans.URL, "sample", 1), "metrics": signal(to.metrics.URL, "every", "1s"),
	}}
}

// TestExportTimeouts: an export that gets no answer is given up when its time is over, no sooner, and counted; the next one arrives.
func TestExportTimeouts(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"http", "grpc"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			server := troubled(t)
			begin := func(timeout string) (*testenv.Gateway, receivers) {
				to := newReceivers(t)
				to.spans.Hold(true)
				to.metrics.Hold(true)
				g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": server}, More: exporting(to, protocol, timeout)})
				return g, to
			}
			patient, all := begin("5m")
			patient.Modern("/mcp").Tool("one__well", "{}")
			testenv.Eventually(t, "exports that wait", func() bool { return len(all.spans.Headers()) > 0 && len(all.metrics.Headers()) > 0 })
			hasty, some := begin("300ms")
			testenv.Eventually(t, "exports that are given up", func() bool {
				hasty.Modern("/mcp").Tool("one__well", "{}") // an export may be given up before it has come to the receiver
				text := scrape(t, hasty)
				return some.spans.GivenUp() > 0 && some.metrics.GivenUp() > 1 &&
					value(text, `toolcrib_trace_spans_total{outcome="failed"}`) > 0 && value(text, `toolcrib_metric_exports_total{outcome="failed"}`) > 1
			})
			for _, what := range []string{"traces", "metrics"} {
				if n := strings.Count(hasty.Log(), what+" were not exported"); n != 1 {
					t.Errorf("%d lines about %s", n, what)
				}
			}
			if n, m := all.spans.GivenUp(), all.metrics.GivenUp(); n+m > 0 {
				t.Errorf("given up before its time: %d exports of traces, %d of metrics", n, m)
			}
			for _, r := range []receivers{all, some} {
				r.spans.Hold(false)
				r.metrics.Hold(false)
			}
			for g, to := range map[*testenv.Gateway]receivers{patient: all, hasty: some} {
				testenv.Eventually(t, "exports that arrive", func() bool {
					g.Modern("/mcp").Tool("one__well", "{}")
					text := scrape(t, g)
					return len(to.spans.All(nil)) > 1 && value(text, `toolcrib_trace_spans_total{outcome="exported"}`) > 1 &&
						value(text, `toolcrib_metric_exports_total{outcome="exported"}`) > 0
				})
			}
			if text := scrape(t, patient); value(text, `toolcrib_trace_spans_total{outcome="failed"}`) > 0 || value(text, `toolcrib_metric_exports_total{outcome="failed"}`) > 0 {
				t.Error(lines(text, "toolcrib_trace_spans_total"), lines(text, "toolcrib_metric_exports_total"))
			}
		})
	}
}

// TestTraceFlood: of a flood of failures a bounded number is traced each second, the others are counted, and what is sampled still is.
func TestTraceFlood(t *testing.T) {
	t.Parallel()
	const kept, callers, each = 5, 8, 100
	collector := testenv.TakeSpans(t)
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": troubled(t)}, More: tracedTo(collector, map[string]any{"sample": 0, "kept": kept}),
	})
	var flood sync.WaitGroup
	for range callers {
		flood.Go(func() {
			c, ctx := g.Modern("/mcp"), testenv.Within(t, testenv.Patience)
			for range each {
				if _, err := c.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"one__bad"`}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	flood.Wait()
	id := newTraceID()
	callIn(g.Modern("/mcp"), "one__bad", child(id, "01"))
	text := scrape(t, g)
	failed, over := value(text, `toolcrib_traces_total{reason="failed"}`), value(text, `toolcrib_traces_total{reason="over"}`)
	if failed == 0 || over == 0 || failed+over != callers*each {
		t.Errorf("%d calls, of which %v are traced and %v are over", callers*each, failed, over)
	}
	g.Stop() // which sends what waits
	in := map[int64]int{}
	for _, s := range collector.All(func(s testenv.Span) bool { return s.Kind == "server" && s.Trace != id }) {
		in[s.End.Unix()]++
	}
	sum := 0
	for second, n := range in {
		if sum += n; n > 2*kept { // those that end in a second may be told of in the next one
			t.Errorf("%d in the second %d", n, second)
		}
	}
	if float64(sum) != failed || len(collector.All(func(s testenv.Span) bool { return s.Trace == id })) < 2 {
		t.Errorf("%d traces arrived, not %v: %s", sum, failed, fmt.Sprint(in))
	}
}

// TestExportCompressed: OTEL_EXPORTER_OTLP_COMPRESSION has exports be compressed, for each signal or for all.
//
//nolint:paralleltest // of variables a process has one set
func TestExportCompressed(t *testing.T) {
	for name, want := range map[string]string{"": "TM", "TRACES_": "T", "METRICS_": "M"} {
		t.Run("OTEL_EXPORTER_OTLP_"+name+"COMPRESSION", func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_"+name+"COMPRESSION", "gzip")
			for _, protocol := range []string{"http", "grpc"} {
				to := newReceivers(t)
				g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": troubled(t)}, More: exporting(to, protocol, "10s")})
				g.Modern("/mcp").Tool("one__well", "{}")
				g.Stop() // which sends what waits
				if len(to.spans.Headers()) == 0 || len(to.metrics.Headers()) == 0 {
					t.Fatalf("%s: traces came %d times, metrics %d", protocol, len(to.spans.Headers()), len(to.metrics.Headers()))
				}
				got := zipped(to.spans.Exports, "T") + zipped(to.metrics.Exports, "M")
				if got != want || len(to.spans.All(nil)) == 0 || len(to.metrics.points) == 0 {
					t.Errorf("%s: %q came compressed, not %q; %d spans, %d metrics", protocol, got, want, len(to.spans.All(nil)), len(to.metrics.points))
				}
			}
		})
	}
}

// TestExportBesideCertificates: certificates that variables name are for collectors at https, and keep none at http from being told.
//
//nolint:paralleltest // of variables a process has one set
func TestExportBesideCertificates(t *testing.T) {
	made := testenv.Certificate(t, &x509.Certificate{NotAfter: time.Now().Add(time.Hour)}, nil)
	cert, _ := testenv.WriteCertificate(t, t.TempDir(), "collector", made)
	t.Setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", cert)
	for _, protocol := range []string{"http", "grpc"} {
		to := newReceivers(t)
		g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": troubled(t)}, More: exporting(to, protocol, "10s")})
		g.Modern("/mcp").Tool("one__well", "{}")
		g.Stop() // which sends what waits
		if len(to.spans.All(nil)) == 0 || len(to.metrics.points) == 0 {
			t.Errorf("%s: %d spans and %d metrics came", protocol, len(to.spans.All(nil)), len(to.metrics.points))
		}
	}
}

// zipped is the name of a signal, when it comes compressed.
func zipped(e *testenv.Exports, name string) string {
	if h := e.Headers()[0]; h.Get("Content-Encoding") == "gzip" || h.Get("Grpc-Encoding") == "gzip" {
		return name
	}
	return ""
}
