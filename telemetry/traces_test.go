package telemetry_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	collect "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/telemetry"
)

// lines is a log that may be written and read at once.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// tracer sends each span by itself to a collector.
func tracer(t *testing.T, collector http.HandlerFunc, log *lines) *telemetry.Tracer {
	t.Helper()
	srv := httptest.NewServer(collector)
	t.Cleanup(srv.Close)
	tr := telemetry.NewTracer("v", "i", slog.New(slog.NewTextHandler(log, nil)))
	t.Cleanup(tr.Close)
	c := v1.New().Telemetry
	c.Traces.Endpoint, c.Traces.Sample, c.Traces.Queue = srv.URL, 1_000_000, 1
	if err := tr.Configure(&c); err != nil {
		t.Fatal(err)
	}
	return tr
}

func tell(tr *telemetry.Tracer, s telemetry.Span) {
	r := tr.Begin(http.Header{}, time.Now())
	s.Start, s.End = time.Now(), time.Now()
	tr.Tell(r, &s)
	tr.Drop(r)
}

// TestExportsThatFailNowAndThen: the log is not filled by a collector that takes every other export.
func TestExportsThatFailNowAndThen(t *testing.T) {
	t.Parallel()
	log, came, done := new(lines), make(chan struct{}), make(chan struct{})
	var n atomic.Int64
	tr := tracer(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusBadRequest)
		}
		select {
		case came <- struct{}{}:
		case <-done:
		}
	}, log)
	for range 10 {
		for arrived := false; !arrived; { // what comes before the last one is done with is dropped
			tell(tr, telemetry.Span{Method: "ping"})
			select {
			case <-came:
				arrived = true
			case <-time.After(time.Millisecond):
			}
		}
	}
	close(done)
	tr.Close()
	if failed, again := log.count("traces were not exported"), log.count("traces are exported again"); failed != 1 || again != 1 {
		t.Errorf("%d lines of failures, %d that it works", failed, again)
	}
}

// TestSpanIsText: what is no UTF-8 in one span does not keep the others from being exported.
func TestSpanIsText(t *testing.T) {
	t.Parallel()
	got := make(chan *collect.ExportTraceServiceRequest, 1)
	tr := tracer(t, func(_ http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		q := new(collect.ExportTraceServiceRequest)
		if err := proto.Unmarshal(body.Bytes(), q); err != nil {
			t.Error(err)
		}
		got <- q
	}, new(lines))
	tell(tr, telemetry.Span{Method: "ping", Failed: "x", Message: "a\xffb" + strings.Repeat("c", 1000), Tenant: "\xff"})
	select {
	case q := <-got:
		s := q.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans()[0]
		if m := s.GetStatus().GetMessage(); !strings.HasPrefix(m, "a") || len(m) > 520 {
			t.Errorf("%q", m)
		}
	case <-time.After(time.Minute):
		t.Error("it was not exported")
	}
}
