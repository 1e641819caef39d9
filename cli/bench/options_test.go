package bench_test

import (
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/cli/bench"
)

func TestParseMix(t *testing.T) {
	for text, want := range map[string]string{
		bench.DefaultMix: bench.DefaultMix, "call=3, list=1": "list=1,call=3", "stream=1,call=0": "stream=1",
		"":              `"" is no kind of request`,
		"call":          "call=: write a whole number",
		"call=-1":       "call=-1: write a whole number from 0 to 1000",
		"call=1001":     "call=1001: write a whole number",
		"call=1.5":      "call=1.5: write a whole number",
		"call=1,call=2": "call is given twice",
		"call=0":        "nothing would be sent",
		"Call=1":        `"Call" is no kind of request`,
	} {
		m, err := bench.ParseMix(text)
		if got := m.String(); err != nil && !strings.Contains(err.Error(), want) || err == nil && got != want {
			t.Errorf("ParseMix(%q) is %q, %v; want %q", text, got, err, want)
		}
	}
}

// TestSpread: each kind has its share of every stretch, give or take one.
func TestSpread(t *testing.T) {
	m, err := bench.ParseMix("connect=1,list=4,call=20,stream=2")
	if err != nil {
		t.Fatal(err)
	}
	order := m.Spread()
	if len(order) != 27 {
		t.Fatalf("%d requests", len(order))
	}
	var seen bench.Mix
	for i, op := range order {
		seen[op]++
		for op, n := range seen {
			if want := float64(m[op]) * float64(i+1) / 27; float64(n) > want+1 || float64(n) < want-1 {
				t.Errorf("after %d: %d times %s, want about %.1f", i+1, n, bench.Op(op), want)
			}
		}
	}
}

func TestValidate(t *testing.T) {
	over, under := 100.5, -1.0
	for _, tt := range []struct {
		change func(*bench.Options)
		want   string
	}{
		{func(*bench.Options) {}, ""},
		{func(o *bench.Options) { o.Rate = 0 }, "either --rate or --concurrency"},
		{func(o *bench.Options) { o.Concurrency = 1 }, "either --rate or --concurrency"},
		{func(o *bench.Options) { o.Rate = bench.MaxRate + 1 }, "--rate 100001/s"},
		{func(o *bench.Options) { o.Rate, o.Concurrency = 0, bench.MaxConcurrency+1 }, "--concurrency 10001 is too much"},
		{func(o *bench.Options) { o.Think = time.Second }, "--think goes with --concurrency"},
		{func(o *bench.Options) { o.Think = -1 }, "--think -1ns is negative"},
		{func(o *bench.Options) { o.Rate, o.Concurrency, o.Think = 0, 1, bench.MaxDuration+1 }, "--think 24h0m0.000000001s is too long"},
		{func(o *bench.Options) { o.Duration = 0 }, "--duration 0s is too short"},
		{func(o *bench.Options) { o.Duration = bench.MaxDuration + 1 }, "more than 24h0m0s together"},
		{func(o *bench.Options) { o.Warmup = -1 }, "--warmup -1ns is negative"},
		{func(o *bench.Options) { o.Warmup = bench.MaxDuration }, "more than 24h0m0s together"},
		{func(o *bench.Options) { o.Timeout = 0 }, "--timeout 0s must be longer"},
		{func(o *bench.Options) { o.Timeout = time.Hour }, "at most 30m0s"},
		{func(o *bench.Options) { o.P99 = -1 }, "--p99 -1ns is negative"},
		{func(o *bench.Options) { o.MaxErrors = &over }, "--max-errors 100.5 is no percentage"},
		{func(o *bench.Options) { o.MaxErrors = &under }, "--max-errors -1 is no percentage"},
	} {
		o := bench.Options{Rate: 10, Duration: time.Second, Timeout: time.Second}
		tt.change(&o)
		if err := o.Validate(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

func TestLoopback(t *testing.T) {
	for url, want := range map[string]bool{
		"http://127.0.0.1:8080/mcp": true, "http://127.9.9.9/": true, "https://localhost/mcp": true, "http://[::1]:1/": true, "http://[::ffff:127.0.0.1]/": true,
		"http://0.0.0.0:80/": false, "http://10.0.0.1/": false, "https://localhost.example/": false, "http://127.0.0.1.example/": false,
		"http://127.0.0.1@example.com/": false, "http://[::]/": false, "": false, "http://%zz/": false,
	} {
		if got := bench.Loopback(url); got != want {
			t.Errorf("Loopback(%q) is %t", url, got)
		}
	}
}
