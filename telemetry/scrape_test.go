package telemetry_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/telemetry"
)

// BenchmarkScrape is /metrics of 200 servers with 50 tools each, all of which were called.
func BenchmarkScrape(b *testing.B) {
	m := telemetry.NewMetrics("1.2.3")
	for s := range 200 {
		for i := range 50 {
			t := m.Tool(fmt.Sprint("server", s), fmt.Sprint("tool", i))
			t.Observe(time.Duration(i)*time.Millisecond, "")
			t.Shares(0, 0, time.Millisecond, time.Microsecond)
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as the gateway has it
	handler, r := m.Handler(), httptest.NewRequest("GET", "/metrics", nil)
	w := &discarding{header: http.Header{}}
	for b.Loop() {
		w.bytes = 0
		handler.ServeHTTP(w, r)
	}
	b.ReportMetric(float64(w.bytes), "bytes")
}

// discarding takes an answer and keeps nothing of it.
type discarding struct {
	header http.Header
	bytes  int
}

func (d *discarding) Header() http.Header { return d.header }
func (d *discarding) WriteHeader(int)     {}

func (d *discarding) Write(p []byte) (int, error) {
	d.bytes += len(p)
	return len(p), nil
}
