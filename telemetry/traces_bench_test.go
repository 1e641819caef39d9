package telemetry_test

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/telemetry"
)

// BenchmarkTracer is what a request costs that is not traced (off, unsampled), and what one costs that is.
func BenchmarkTracer(b *testing.B) {
	for name, sample := range map[string]v1.Ratio{"off": -1, "unsampled": 0, "sampled": 1_000_000} {
		b.Run(name, func(b *testing.B) {
			t := telemetry.NewTracer("v", "i", slog.New(slog.DiscardHandler))
			defer t.Close()
			if sample >= 0 {
				c := v1.New().Telemetry
				c.Traces.Endpoint, c.Traces.Sample = "http://127.0.0.1:1", sample
				if err := t.Configure(&c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				request(t)
			}
		})
	}
}

// request is what a gateway does for a request.
func request(t *telemetry.Tracer) {
	r := t.Begin(http.Header{}, time.Now())
	if r == nil {
		return
	}
	t.Read(r, nil, nil)
	for _, stage := range []string{"shed", "audit", "limits", "identify", "rank", "weigh", "limits", "route", "authorize", "forward"} {
		r.Mark(stage)
	}
	r.Attempt().Ended("")
	if why := t.Keeps(r, false, time.Millisecond); why != telemetry.NotKept {
		now := time.Now()
		t.Tell(r, &telemetry.Span{
			Start: now, End: now, Why: why, Method: "tools/call", Tool: "echo", OwnTool: "echo", Server: "one", ID: "1", Version: "2026-07-28",
		})
	}
	t.Drop(r)
}

// TestUntracedAllocatesNothing: a request that is not traced costs no allocation.
func TestUntracedAllocatesNothing(t *testing.T) {
	for _, on := range []bool{false, true} {
		tr := telemetry.NewTracer("v", "i", slog.New(slog.DiscardHandler))
		if on {
			c := v1.New().Telemetry
			c.Traces.Endpoint, c.Traces.Sample = "http://127.0.0.1:1", 0
			if err := tr.Configure(&c); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(1000, func() { request(tr) }); n >= 1 { // a collection may empty the pool
			t.Errorf("on %v: %v allocations", on, n)
		}
		tr.Close()
	}
}
