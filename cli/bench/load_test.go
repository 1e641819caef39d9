package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/cli/bench"
)

// near compares milliseconds, of which three digits are known.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > max(want*0.002, 0.01) {
		t.Errorf("%s is %gms, want %gms", what, got, want)
	}
}

// TestPercentiles: of calls that take 1 to 100 ms the percentiles are their number.
func TestPercentiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(after(func(n int64) time.Duration { return time.Duration((n*37)%100+1) * time.Millisecond }))
		r := s.load(t.Context(), t, "call=1", bench.Options{Rate: 100, Duration: 10 * time.Second})
		if r.Sent != 1000 || r.Answered != 1000 || r.Errors != 0 || r.PerSecond < 99 || r.PerSecond > 100 { // the last ones are answered after the end
			t.Errorf("sent %d, answered %d (%g/s), errors %d", r.Sent, r.Answered, r.PerSecond, r.Errors)
		}
		for _, tt := range []struct {
			what      string
			got, want float64
		}{
			{"p50", r.Latency.P50, 50},
			{"p90", r.Latency.P90, 90},
			{"p99", r.Latency.P99, 99},
			{"p99.9", r.Latency.P999, 100},
			{"max", r.Latency.Max, 100},
			{"mean", r.Latency.Mean, 50.5},
		} {
			near(t, tt.what, tt.got, tt.want)
		}
		if !r.Generator.KeptUp || r.Generator.DelayMs > 0.01 {
			t.Errorf("generator: %+v", r.Generator)
		}
	})
}

// stalling answers at once, but what comes in the middle of a load waits for its end.
func stalling(from, to time.Duration) *server {
	begin := time.Now()
	return newServer(after(func(int64) time.Duration {
		if at := time.Since(begin); at >= from && at < to {
			return to - at
		}
		return time.Millisecond
	}))
}

// TestStall: a server that stands still for two of ten seconds makes a fifth of all wait, and the percentiles tell how long.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stalling(4*time.Second, 6*time.Second).load(t.Context(), t, "call=1", bench.Options{Rate: 100, Duration: 10 * time.Second})
		near(t, "p50", r.Latency.P50, 1)
		near(t, "p90", r.Latency.P90, 1000)
		near(t, "p99", r.Latency.P99, 1900)
		near(t, "max", r.Latency.Max, 2000)
		if r.PerSecond != 100 {
			t.Errorf("%g/s", r.PerSecond)
		}
		if r.MostInFlight < 200 || r.MostInFlight > 201 || r.Answered != 1000 { // the first after the stall comes as it ends
			t.Errorf("%d in flight, %d answered", r.MostInFlight, r.Answered)
		}
	})
	synctest.Test(t, func(t *testing.T) { // callers that wait hide it: that is what the open loop is for
		r := stalling(4*time.Second, 6*time.Second).load(t.Context(), t, "call=1", bench.Options{
			Concurrency: 1, Think: 9 * time.Millisecond, Duration: 10 * time.Second,
		})
		near(t, "p99 of the closed loop", r.Latency.P99, 1)
		if r.Latency.Max < 1980 || r.Latency.Max > 2001 {
			t.Errorf("max of the closed loop is %gms, want the one call that met the stall", r.Latency.Max)
		}
	})
}

// TestWarmup: what is due before the measurement does not count, however long it takes.
func TestWarmup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stalling(0, time.Second).load(t.Context(), t, "call=1", bench.Options{Rate: 50, Warmup: 2 * time.Second, Duration: 4 * time.Second})
		near(t, "max", r.Latency.Max, 1)
		if r.Sent != 200 {
			t.Errorf("sent %d, want 200", r.Sent)
		}
	})
}

// TestTimeout: callers that give up waited at least so long.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(after(func(int64) time.Duration { return time.Hour }))
		r := s.load(t.Context(), t, "call=1", bench.Options{Rate: 10, Duration: 2 * time.Second, Timeout: 5 * time.Second})
		near(t, "p50", r.Latency.P50, 5000)
		want := []bench.Failure{{Count: 20, Kind: bench.FailedTimeout, Example: "no answer in time"}}
		if d := cmp.Diff(want, r.Failures); d != "" || r.Answered != 0 {
			t.Errorf("failures (-want +got):\n%s", d)
		}
	})
}

// TestCrowd: when as many as can be are in flight, those that are due and get no turn count too, and the generator is not to blame.
func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(after(func(int64) time.Duration { return time.Hour }))
		r := s.load(t.Context(), t, "call=1", bench.Options{Rate: 1000, Duration: 2200 * time.Millisecond})
		if r.Sent != 2200 || r.MostInFlight != bench.CallersMost || !r.Generator.KeptUp {
			t.Errorf("sent %d, %d in flight, generator %+v", r.Sent, r.MostInFlight, r.Generator)
		}
		kinds := map[string]int64{}
		for _, f := range r.Failures {
			kinds[f.Kind] = f.Count
		}
		if d := cmp.Diff(map[string]int64{bench.FailedTimeout: bench.CallersMost, bench.FailedUnsent: 2200 - bench.CallersMost}, kinds); d != "" {
			t.Errorf("failures (-want +got):\n%s", d)
		}
		near(t, "p99", r.Latency.P99, 30000)
	})
}

// TestBehind: a load generator that cannot keep up says so, and meets no objective.
func TestBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(after(func(int64) time.Duration { return time.Millisecond }))
		o := bench.Options{Rate: 1000, Duration: 2 * time.Second, P99: time.Minute}
		o.Hinder(func() { time.Sleep(5 * time.Millisecond) })
		r := s.load(t.Context(), t, "call=1", o)
		if r.Generator.KeptUp || r.Result != bench.Inconclusive || r.Sent != 2000 || !strings.Contains(strings.Join(r.Notes, "\n"), "could not keep up") {
			t.Errorf("sent %d, result %s, generator %+v, notes %q", r.Sent, r.Result, r.Generator, r.Notes)
		}
		if r.Latency.P50 < 500 {
			t.Errorf("p50 is %gms: the delay belongs to it", r.Latency.P50)
		}
	})
}

// TestClosed: so many callers are always on their way, no more and no fewer.
func TestClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(after(func(int64) time.Duration { return 10 * time.Millisecond }))
		r := s.load(t.Context(), t, "call=1", bench.Options{Concurrency: 7, Duration: time.Second})
		if r.Answered != 7*100 || r.MostInFlight != 7 || s.most.Load() != 7 {
			t.Errorf("%d answered, %d and %d in flight", r.Answered, r.MostInFlight, s.most.Load())
		}
		near(t, "p99", r.Latency.P99, 10)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newServer(after(func(int64) time.Duration { return 10 * time.Millisecond }))
		r := s.load(t.Context(), t, "call=1", bench.Options{Concurrency: 20, Think: 90 * time.Millisecond, Duration: 5 * time.Second})
		if want := 20.0 * 5 / 0.1; math.Abs(float64(r.Answered)-want) > want/20 {
			t.Errorf("%d answered, want about %g", r.Answered, want)
		}
	})
}

// TestTurns: callers of an open loop are of both eras by turns also when one could do all the work.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(after(func(int64) time.Duration { return time.Millisecond }))
		r := s.load(t.Context(), t, "connect=1,call=1", bench.Options{Rate: 20, Duration: 10 * time.Second, Era: bench.EraBoth})
		if r.Errors > 0 || s.calls.Load() != 100 || s.modern.Load() != 50 || s.begun < 50 {
			t.Errorf("%d of %d calls are modern, %d sessions; %+v", s.modern.Load(), s.calls.Load(), s.begun, r.Failures)
		}
	})
}

// odd answers calls wrongly, each in its turn.
func odd(_ context.Context, n int64, w http.ResponseWriter, id json.RawMessage) {
	rpcError := func(status, code int, data string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":"no \u001b[31m","data":%s}}`, id, code, data)
	}
	switch n % 10 {
	case 0:
		rpcError(http.StatusTooManyRequests, 429, `{"reason":"limit","limit":"searches"}`)
	case 1:
		w.Header().Set("RateLimit", `"burst";r=0;t=2`)
		w.WriteHeader(http.StatusTooManyRequests)
	case 2:
		w.WriteHeader(http.StatusServiceUnavailable)
	case 3:
		rpcError(http.StatusOK, -32602, "null")
	case 4:
		result(w, id, `{"content":[{"type":"text","text":"broken"}],"isError":true}`)
	case 5:
		result(w, id, `{"resultType":"input_required"}`)
	case 6:
		_, _ = io.WriteString(w, "what?")
	case 7:
		panic(http.ErrAbortHandler)
	case 8:
		result(w, []byte("0"), "{}")
	default:
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, ": hello\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{}}\n\n"+
			"data: {\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{}}\n\n", id)
	}
}

// TestRefusals: what is refused at once is not answered in time, however quick the rest is.
func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		every int64 // so many requests one is refused
		want  bench.Objective
	}{
		{200, bench.Objective{Name: "p99 at most 50ms", Measured: "10ms", Met: true}},
		{50, bench.Objective{Name: "p99 at most 50ms", Measured: "2 % failed"}},
		{1, bench.Objective{Name: "p99 at most 50ms", Measured: "100 % failed"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			answer := after(func(int64) time.Duration { return 10 * time.Millisecond })
			s := newServer(func(ctx context.Context, n int64, w http.ResponseWriter, id json.RawMessage) {
				if n%tt.every == tt.every-1 {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				answer(ctx, n, w, id)
			})
			r := s.load(t.Context(), t, "call=1", bench.Options{Rate: 100, Duration: 10 * time.Second, P99: 50 * time.Millisecond})
			if d := cmp.Diff([]bench.Objective{tt.want}, r.Objectives); d != "" {
				t.Errorf("one of %d refused (-want +got):\n%s", tt.every, d)
			}
		})
	}
}

// TestNothing: a load that nothing of was answered is none that went well, also without objectives.
func TestNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(func(_ context.Context, _ int64, w http.ResponseWriter, _ json.RawMessage) {
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		if r := s.load(t.Context(), t, "call=1", bench.Options{Rate: 10, Duration: time.Second}); r.Result != bench.Missed {
			t.Errorf("result %s", r.Result)
		}
	})
}

// TestFailures: each way to fail is counted by itself, and what fails at once does not make the others look fast.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		most := 10.0
		s := newServer(func(ctx context.Context, n int64, w http.ResponseWriter, id json.RawMessage) {
			if n%10 == 9 {
				time.Sleep(100 * time.Millisecond)
			}
			odd(ctx, n, w, id)
		})
		r := s.load(t.Context(), t, "call=1", bench.Options{Rate: 10, Duration: 10 * time.Second, P99: time.Second, MaxErrors: &most})
		want := []bench.Failure{
			{Count: 10, Kind: "code", Code: -32602},
			{Count: 10, Kind: "code", Status: 429, Code: 429, Limit: "searches"},
			{Count: 10, Kind: "status", Status: 429, Limit: "burst"},
			{Count: 10, Kind: "status", Status: 503},
			{Count: 20, Kind: "answer"},
			{Count: 10, Kind: "connection"},
			{Count: 10, Kind: "input_required"},
			{Count: 10, Kind: "isError"},
		}
		for i := range r.Failures {
			if e := r.Failures[i].Example; e == "" || strings.Contains(e, "\x1b") {
				t.Errorf("%+v: example %q", r.Failures[i], e)
			}
			r.Failures[i].Example = ""
		}
		byKey := cmp.Transformer("byKey", func(list []bench.Failure) map[string]int64 {
			m := map[string]int64{}
			for _, f := range list {
				m[fmt.Sprint(f.Kind, f.Status, f.Code, f.Limit)] = f.Count
			}
			return m
		})
		if d := cmp.Diff(want, r.Failures, byKey); d != "" {
			t.Errorf("failures (-want +got):\n%s", d)
		}
		if r.Answered != 10 || r.ErrorPercent != 90 || r.Result != bench.Missed {
			t.Errorf("%d answered, %g %% errors, result %s", r.Answered, r.ErrorPercent, r.Result)
		}
		near(t, "p50 of what was answered", r.Latency.P50, 100)
		wantMet := []bench.Objective{{Name: "p99 at most 1s", Measured: "90 % failed"}, {Name: "errors at most 10 %", Measured: "90 %"}}
		if d := cmp.Diff(wantMet, r.Objectives); d != "" {
			t.Errorf("objectives (-want +got):\n%s", d)
		}
	})
}

// TestAllFail: a load that nothing came of is a failure, whether or not there was an objective that it could miss.
func TestAllFail(t *testing.T) {
	for _, most := range []float64{0, 100} {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(func(_ context.Context, _ int64, w http.ResponseWriter, _ json.RawMessage) {
				w.WriteHeader(http.StatusInternalServerError)
			})
			o := bench.Options{Rate: 10, Duration: time.Second}
			if most > 0 {
				o.MaxErrors = &most
			}
			if r := s.load(t.Context(), t, "call=1", o); r.Result != bench.Missed || r.ErrorPercent != 100 || !strings.HasPrefix(r.Summary(), "fail: ") {
				t.Errorf("%g %% errors, %s", r.ErrorPercent, r.Summary())
			}
		})
	}
}

// TestEnded: a load that is ended early reports what was done, and those who still wait.
func TestEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, context.Canceled)
		defer cancel()
		s := stalling(2*time.Second, time.Hour)
		r := s.load(ctx, t, "call=1", bench.Options{Rate: 100, Duration: 10 * time.Second, P99: time.Minute})
		if !r.Interrupted || r.Answered != 200 || r.Seconds != 3 || r.Result != bench.Inconclusive {
			t.Errorf("interrupted %t after %gs, %d answered, result %s", r.Interrupted, r.Seconds, r.Answered, r.Result)
		}
		if len(r.Failures) != 1 || r.Failures[0].Kind != bench.FailedUnanswered || r.Latency.Max < 990 {
			t.Errorf("failures %+v, max %gms", r.Failures, r.Latency.Max)
		}
	})
}

// TestEras: callers of both eras do all kinds of requests, and leave nothing behind.
func TestEras(t *testing.T) {
	for _, era := range []bench.Era{"", bench.EraModern, bench.EraLegacy, bench.EraBoth} {
		t.Run(string("era "+era), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(after(func(int64) time.Duration { return time.Millisecond }))
				r := s.load(t.Context(), t, "connect=1,list=2,call=4,stream=1", bench.Options{
					Concurrency: 4, Think: 10 * time.Millisecond, Duration: 2 * time.Second, Era: era,
				})
				if r.Errors > 0 || r.Answered < 200 {
					t.Errorf("%d answered, failures %+v", r.Answered, r.Failures)
				}
				if len(r.Ops) != 5 || s.listed.Load() == 0 || s.opened.Load() == 0 {
					t.Errorf("kinds %+v", r.Ops)
				}
				if legacy := era == bench.EraLegacy || era == bench.EraBoth; (s.begun > 0) != legacy || len(s.sessions) > 0 {
					t.Errorf("%d sessions, of which %d were not ended", s.begun, len(s.sessions))
				}
				synctest.Wait()
			})
		})
	}
}
