package limit_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/limit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limits makes rules of limits, for as long as the test.
func limits(t testing.TB, all ...v1.Limit) (*limit.Limiter, *limit.Rules) {
	t.Helper()
	c := v1.New()
	c.Limits = all
	if ps := c.Validate(); len(ps) > 0 {
		t.Fatal(ps)
	}
	l := limit.New(limit.Options{})
	t.Cleanup(l.Close)
	return l, l.Configure(c)
}

// ask asks once for a caller, and finishes; false when it is refused.
func ask(r *limit.Rules, s *limit.Subject) bool {
	var t limit.Ticket
	defer t.Finish(0)
	return r.Caller(context.Background(), &t, s, time.Now()) == nil
}

// many asks n times and counts how often it is let in.
func many(r *limit.Rules, s *limit.Subject, n int) (in int) {
	for range n {
		if ask(r, s) {
			in++
		}
	}
	return in
}

// TestRate: a rate lets its burst in at once, and no more than it says afterwards.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r := limits(t, v1.Limit{Per: []string{"principal"}, Rate: "50/s", Burst: new(100)})
		who := &limit.Subject{Principal: "a"}
		got := 0
		for range 10_000 { // 10 s
			if ask(r, who) {
				got++
			}
			time.Sleep(time.Millisecond)
		}
		if got < 599 || got > 601 {
			t.Errorf("%d in 10 s, want 600", got)
		}
		if !ask(r, &limit.Subject{Principal: "b"}) {
			t.Error("another is refused")
		}
	})
}

// TestExact: many at once get what the limit says, within 1 %.
func TestExact(t *testing.T) {
	const rate, burst = 20_000, 100_000 // no less than comes back while the machine has other things to do
	_, r := limits(t, v1.Limit{Rate: "20000/s", Burst: new(burst)})
	var got atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range 8 {
		all.Go(func() {
			who := &limit.Subject{Principal: "a"}
			for time.Since(began) < time.Second {
				if ask(r, who) {
					got.Add(1)
				}
			}
		})
	}
	all.Wait()
	for ask(r, &limit.Subject{}) { // what has come back meanwhile
		got.Add(1)
	}
	want := burst + rate*time.Since(began).Seconds()
	if off := float64(got.Load()) / want; off < 0.99 || off > 1.01 {
		t.Errorf("%d let in, want %.0f", got.Load(), want)
	}
}

// TestQuota: a quota is one of a day or month in UTC.
func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // midnight of 2000-01-01 UTC
		_, r := limits(t,
			v1.Limit{Name: "day", Methods: []string{"tools/call"}, Quota: "3/day"}, v1.Limit{Name: "month", Methods: []string{"tools/list"}, Quota: "3/month"})
		many := func(method string) (n int) {
			for ask(r, &limit.Subject{Method: method}) {
				n++
			}
			return n
		}
		time.Sleep(24*time.Hour - time.Second)
		for at, want := range []struct{ day, month int }{{3, 3}, {3, 0}, {0, 0}} {
			if day, month := many("tools/call"), many("tools/list"); day != want.day || month != want.month {
				t.Errorf("after %d: %d and %d, want %+v", at, day, month, want)
			}
			time.Sleep(2 * time.Second)
		}
		time.Sleep(29 * 24 * time.Hour)
		if day, month := many("tools/call"), many("tools/list"); day != 3 || month != 0 {
			t.Errorf("on the 31st: %d and %d", day, month)
		}
		time.Sleep(24 * time.Hour)
		if month := many("tools/list"); month != 3 {
			t.Errorf("in February: %d", month)
		}
	})
}

// TestClocks: a wall clock that jumps gives nothing twice, and closes nothing for ever.
func TestClocks(t *testing.T) {
	_, r := limits(t, v1.Limit{Name: "q", Quota: "3/day"}, v1.Limit{Name: "r", Rate: "1/h", Methods: []string{"tools/call"}})
	at := time.Now()
	day := func(days int, method string) bool {
		var tk limit.Ticket
		return r.Caller(context.Background(), &tk, &limit.Subject{Method: method}, at.AddDate(0, 0, days).Round(0)) == nil
	}
	steps := []struct {
		days int
		want bool
	}{{0, true}, {0, true}, {1, true}, {0, true}, {-1, true}, {-1, false}, {-400, false}, {-399, true}, {5000, true}, {0, true}, {1, true}}
	for i, step := range steps {
		if got := day(step.days, ""); got != step.want {
			t.Errorf("step %d, day %d: %v", i, step.days, got)
		}
	}
}

// TestConcurrency: so many are under way at once, no more, and none is lost.
func TestConcurrency(t *testing.T) {
	_, r := limits(t, v1.Limit{Per: []string{"tenant"}, Concurrency: new(5)})
	var running, most, got atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			var tk limit.Ticket
			for range 2000 {
				if r.Caller(context.Background(), &tk, &limit.Subject{Tenant: "t"}, time.Now()) != nil {
					continue
				}
				got.Add(1)
				if now := running.Add(1); now > most.Load() {
					most.Store(now)
				}
				running.Add(-1)
				tk.Finish(0)
			}
		})
	}
	all.Wait()
	if most.Load() > 5 || got.Load() < 2000 {
		t.Errorf("%d at once, %d in all", most.Load(), got.Load())
	}
	tickets := make([]limit.Ticket, 6)
	for i := range tickets {
		if err := r.Caller(context.Background(), &tickets[i], &limit.Subject{Tenant: "t"}, time.Now()); (err == nil) != (i < 5) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// TestBytes: bytes count when they have passed, and what was too much is waited for.
func TestBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r := limits(t, v1.Limit{Bytes: "1k/s"})
		var tk limit.Ticket
		one := func(size int) bool {
			err := r.Caller(context.Background(), &tk, &limit.Subject{}, time.Now())
			tk.Finish(size)
			return err == nil
		}
		if !one(999) || !one(2001) || one(1) {
			t.Error("3000 bytes should go, and then none")
		}
		time.Sleep(2 * time.Second)
		if one(1) {
			t.Error("too early")
		}
		time.Sleep(2 * time.Millisecond)
		if !one(1) {
			t.Error("too late")
		}
	})
}

// TestBytesUnderWay: bytes count also of requests that last.
func TestBytesUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r := limits(t, v1.Limit{Bytes: "1k/s"})
		var tk limit.Ticket
		if err := r.Caller(context.Background(), &tk, &limit.Subject{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		tk.Finish(1_000_000)
		if ask(r, &limit.Subject{}) {
			t.Error("a million bytes did not count")
		}
	})
}

// TestFarAway: when to come again is told right, however long that takes.
func TestFarAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r := limits(t, v1.Limit{Bytes: "1/h"})
		var tk limit.Ticket
		if err := r.Caller(context.Background(), &tk, &limit.Subject{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		tk.Finish(64 << 20)
		err := errs.Of(r.Caller(context.Background(), &tk, &limit.Subject{}, time.Now()))
		if err == nil || err.RetryAfter < 365*24*time.Hour {
			t.Errorf("%v", err.RetryAfter)
		}
	})
}

// TestCost: a tool counts as what it costs, of the limits of its caller too; one that costs more than there can be is let in
// when all is there.
func TestCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := v1.New()
		c.MCPServers = map[string]*v1.Server{"s": {URL: "http://x", Tools: map[string]v1.ToolSettings{
			"dear": {Cost: new(4)}, "free": {Cost: new(0)}, "huge*": {Cost: new(1000)},
		}}}
		c.Limits = []v1.Limit{{Per: []string{"principal"}, Rate: "10/s"}}
		l := limit.New(limit.Options{})
		t.Cleanup(l.Close)
		r := l.Configure(c)
		call := func(tool string) bool {
			var tk limit.Ticket
			s := &limit.Subject{Principal: "p", Server: "s", Prefix: "s__", Tool: []byte(tool)}
			if err := r.Caller(context.Background(), &tk, s, time.Now()); err != nil {
				return false
			}
			if !r.Aims("s") {
				t.Fatal("costs are not looked at")
			}
			err := r.Target(context.Background(), &tk, s, time.Now())
			tk.Finish(0)
			return err == nil
		}
		for i, step := range []struct {
			tool string
			want bool
			wait time.Duration
		}{
			{"free", true, 0},
			{"dear", true, 0},
			{"dear", true, 0},
			{"dear", false, 0},
			{"plain", true, 0},
			{"plain", true, 0},
			{"plain", false, 0},
			{"huge", false, 900 * time.Millisecond},
			{"huge", false, 100 * time.Millisecond},
			{"huge", true, 99 * time.Second},
			{"plain", false, 100 * time.Millisecond},
			{"plain", true, 0},
		} {
			if got := call(step.tool); got != step.want {
				t.Errorf("step %d, %s: %v", i, step.tool, got)
			}
			time.Sleep(step.wait)
		}
	})
}

// TestRefused: a refusal says what is used up and when to come again, and takes nothing of other limits.
func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r := limits(t, v1.Limit{Name: "wide", Rate: "10/h"}, v1.Limit{Name: "narrow", Per: []string{"principal"}, Rate: "2/m"})
		who := &limit.Subject{Principal: "a"}
		for range 2 {
			if !ask(r, who) {
				t.Fatal("refused")
			}
		}
		for range 50 {
			var tk limit.Ticket
			err := errs.Of(r.Caller(context.Background(), &tk, who, time.Now()))
			if err == nil || err.Kind != errs.Limited || err.RetryAfter != 30*time.Second || !strings.Contains(err.Msg, `"narrow" of 2/m`) ||
				string(err.Data) != `{"reason":"limit","retryAfter":30,"limit":"narrow","kind":"rate","reset":30}` {
				t.Fatalf("%v %v %s", err, err.RetryAfter, err.Data)
			}
			h := http.Header{}
			tk.Headers(h)
			//nolint:staticcheck // the draft writes the name so
			if h["RateLimit"][0] != `"narrow";r=0;t=30` || h["RateLimit-Policy"][0] != `"narrow";q=2;w=60` {
				t.Fatal(h)
			}
		}
		for i := range 8 {
			if !ask(r, &limit.Subject{Principal: string(rune('b' + i))}) {
				t.Errorf("%d is refused", i)
			}
		}
	})
}

// TestPolicy: headers name the most that can be there at once, and in what time it comes back, so that no more is left than there can be.
func TestPolicy(t *testing.T) {
	for want, l := range map[string]v1.Limit{
		`"all";q=40;w=2`:                  {Rate: "20/s", Burst: new(40)},
		`"all";q=20;w=1`:                  {Rate: "20/s"},
		`"all";q=1;w=1`:                   {Rate: "20/s", Burst: new(1)},
		`"all";q=10;w=60`:                 {Rate: "10/m"},
		`"all";q=1000000000;w=4611686019`: {Rate: "1/h", Burst: new(1_000_000_000)},
		`"all";q=5;w=86400`:               {Quota: "5/day"},
	} {
		_, r := limits(t, l)
		var tk limit.Ticket
		if err := r.Caller(t.Context(), &tk, &limit.Subject{}, time.Now()); err != nil {
			t.Fatal(err)
		}
		h := http.Header{}
		tk.Headers(h)
		if got := map[string][]string(h)["RateLimit-Policy"]; got[0] != want { // as the draft spells it
			t.Errorf("%v, want %s", got, want)
		}
		tk.Finish(0)
	}
}

// TestMatch: who and what a limit is for.
func TestMatch(t *testing.T) {
	_, r := limits(t,
		v1.Limit{Name: "t", Tenants: []string{"ac*"}, Rate: "1/h"},
		v1.Limit{Name: "g", Groups: []string{"interns"}, Methods: []string{"tools/*"}, Per: []string{"address"}, Rate: "1/h"})
	at := netip.MustParseAddr
	for i, step := range []struct {
		s    limit.Subject
		want bool
	}{
		{limit.Subject{Tenant: "acme"}, true},
		{limit.Subject{Tenant: "acorn"}, false},
		{limit.Subject{Tenant: "other"}, true},
		{limit.Subject{Groups: []string{"x", "interns"}, Method: "tools/call", Address: at("2001:db8::1")}, true},
		{limit.Subject{Groups: []string{"interns"}, Method: "tools/list", Address: at("2001:db8::2")}, false},
		{limit.Subject{Groups: []string{"interns"}, Method: "tools/list", Address: at("2001:db8:0:1::2")}, true},
		{limit.Subject{Groups: []string{"interns"}, Method: "tools/list", Address: at("192.0.2.1")}, true},
		{limit.Subject{Groups: []string{"interns"}, Method: "tools/list", Address: at("::ffff:192.0.2.1")}, false},
		{limit.Subject{Groups: []string{"interns"}, Method: "prompts/list", Address: at("192.0.2.1")}, true},
	} {
		if got := ask(r, &step.s); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}

// TestKept: another plan goes on with what is left, unless the limit is another.
func TestKept(t *testing.T) {
	l, r := limits(t, v1.Limit{Name: "a", Per: []string{"tenant"}, Rate: "2/h", Quota: "100/day"})
	who := &limit.Subject{Tenant: "t"}
	if many(r, who, 2) != 2 || ask(r, who) {
		t.Fatal("not two")
	}
	for _, step := range []struct {
		l    v1.Limit
		want bool
	}{
		{v1.Limit{Name: "a", Per: []string{"tenant"}, Rate: "3/h"}, false},
		{v1.Limit{Name: "b", Per: []string{"tenant"}, Rate: "2/h"}, true},
	} {
		c := v1.New()
		c.Limits = []v1.Limit{step.l}
		if got := ask(l.Configure(c), who); got != step.want {
			t.Errorf("%+v: %v", step.l, got)
		}
	}
}

// TestGrown: an amount that a limit gets by another plan counts for keys that are known, and one that it loses does not.
func TestGrown(t *testing.T) {
	l, r := limits(t, v1.Limit{Name: "a", Per: []string{"tenant"}, Rate: "5/h"})
	who := &limit.Subject{Tenant: "t"}
	if many(r, who, 2) != 2 {
		t.Fatal("not two")
	}
	for i, step := range []struct {
		l    v1.Limit
		want int
	}{
		{v1.Limit{Name: "a", Per: []string{"tenant"}, Rate: "5/h", Quota: "1/day"}, 1},
		{v1.Limit{Name: "a", Per: []string{"tenant"}, Quota: "3/day"}, 2},
		{v1.Limit{Name: "a", Per: []string{"tenant"}, Rate: "5/h"}, 2}, // the one that the quota refused took nothing
	} {
		c := v1.New()
		c.Limits = []v1.Limit{step.l}
		if got := many(l.Configure(c), who, 9); got != step.want {
			t.Errorf("step %d: %d", i, got)
		}
	}
}

// TestRoom: more keys than there is room for share an amount; those that are known are not forgotten for them.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, r := limits(t, v1.Limit{Per: []string{"principal"}, Rate: "1/m"})
		known := &limit.Subject{Principal: "known"}
		if !ask(r, known) {
			t.Fatal("refused")
		}
		let := 0
		for i := range 200_000 {
			if ask(r, &limit.Subject{Principal: string(rune(i + 0x10000))}) {
				let++
			}
		}
		if let < 1<<17-64 || let > 1<<17+64 {
			t.Errorf("%d were let in, there is room for %d", let, 1<<17)
		}
		if ask(r, known) {
			t.Error("it was forgotten")
		}
		time.Sleep(time.Minute)
		if !ask(r, known) || !ask(r, &limit.Subject{Principal: "new"}) || !ask(r, &limit.Subject{Principal: "newer"}) {
			t.Error("what is not used is not forgotten")
		}
	})
}

// TestKnownKey: a request of a known key allocates nothing.
func TestKnownKey(t *testing.T) {
	_, r := limits(t, v1.Limit{Name: "a", Per: []string{"principal", "address", "key"}, Rate: "1000000/s", Quota: "1000000000/day", Concurrency: new(10)},
		v1.Limit{Name: "b", Per: []string{"tool", "tenant"}, Rate: "1000000/s"}, v1.Limit{Name: "c", Per: []string{"address"}, Rate: "1000000/s"})
	var tk limit.Ticket
	got := testing.AllocsPerRun(100, func() {
		s := limit.Subject{
			Principal: "alice", Tenant: "acme", Address: netip.AddrFrom4([4]byte{1, 2, 3, 4}), Key: []byte("k"), Server: "s", Tool: []byte("tool"),
		}
		now := time.Now()
		if err := errors.Join(r.Edge(context.Background(), &tk, &s, now), r.Caller(context.Background(), &tk, &s, now), r.Target(context.Background(), &tk, &s, now)); err != nil {
			t.Fatal(err)
		}
		tk.Finish(10)
	})
	if got > 0 {
		t.Errorf("%v allocations", got)
	}
}

// TestHeaderCost: what clients are told costs one small allocation.
func TestHeaderCost(t *testing.T) {
	_, r := limits(t, v1.Limit{Name: strings.Repeat("n", 64), Rate: "1000000000000/h"})
	h, now := http.Header{}, time.Now()
	var tk limit.Ticket
	got := testing.AllocsPerRun(100, func() {
		if err := r.Caller(context.Background(), &tk, &limit.Subject{}, now); err != nil {
			t.Fatal(err)
		}
		tk.Headers(h)
		tk.Finish(10)
	})
	if got > 1 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkHeaders(b *testing.B) {
	_, r := limits(b, v1.Limit{Per: []string{"principal"}, Rate: "1000000000/s"})
	var tk limit.Ticket
	if err := r.Caller(context.Background(), &tk, &limit.Subject{Principal: "acme/alice"}, time.Now()); err != nil {
		b.Fatal(err)
	}
	h := http.Header{}
	b.ReportAllocs()
	for b.Loop() {
		tk.Headers(h)
	}
}

func BenchmarkKnownKey(b *testing.B) {
	_, r := limits(b, v1.Limit{Per: []string{"principal"}, Rate: "1000000000/s", Concurrency: new(10)})
	s := limit.Subject{Principal: "acme/alice"}
	var tk limit.Ticket
	b.ReportAllocs()
	now := time.Now()
	for b.Loop() {
		if err := r.Caller(context.Background(), &tk, &s, now); err != nil {
			b.Fatal(err)
		}
		tk.Finish(10)
	}
}

// BenchmarkRequest is all that limits of each phase and kind cost a request.
func BenchmarkRequest(b *testing.B) {
	_, r := limits(b, v1.Limit{Per: []string{"address"}, Rate: "1000000000/s", Concurrency: new(10)},
		v1.Limit{Per: []string{"principal"}, Rate: "1000000000/s", Bytes: "100Gi/s"},
		v1.Limit{Per: []string{"tenant", "tool"}, Tools: []string{"*"}, Quota: "1000000000000/day", Concurrency: new(10)})
	h := http.Header{}
	var tk limit.Ticket
	b.ReportAllocs()
	for b.Loop() {
		s := limit.Subject{Principal: "acme/alice", Tenant: "acme", Address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Server: "s", Tool: []byte("tool")}
		now := time.Now()
		if err := errors.Join(r.Edge(context.Background(), &tk, &s, now), r.Caller(context.Background(), &tk, &s, now),
			r.Target(context.Background(), &tk, &s, now)); err != nil {
			b.Fatal(err)
		}
		tk.Headers(h)
		tk.Finish(10)
	}
}

// FuzzKeys: two callers share an amount only if all that the limit is per is the same, whatever bytes are in it.
func FuzzKeys(f *testing.F) {
	f.Add("a", "b", "a", "b")
	f.Add("", "ab", "a", "b")
	f.Add("\x00", "\xff\xfe", "\x00\xff", "\xfe")
	f.Add("a\x01b", "", "a", "b")
	f.Fuzz(func(t *testing.T, tenant1, principal1, tenant2, principal2 string) {
		_, r := limits(t, v1.Limit{Per: []string{"tenant", "principal"}, Rate: "1/h"})
		first, second := &limit.Subject{Tenant: tenant1, Principal: principal1}, &limit.Subject{Tenant: tenant2, Principal: principal2}
		if !ask(r, first) {
			t.Fatal("refused")
		}
		same := tenant1 == tenant2 && principal1 == principal2
		if ask(r, second) == same {
			t.Errorf("%q %q and %q %q", tenant1, principal1, tenant2, principal2)
		}
	})
}

// TestFile: what is used of a quota outlives the process, for as long as its window; a file that is broken keeps nobody from
// starting.
func TestFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limits.json")
	who := &limit.Subject{Principal: "a\x00\xff", Tenant: "t"}
	synctest.Test(t, func(t *testing.T) {
		start := func() (*limit.Limiter, *limit.Rules) {
			c := v1.New()
			c.Limits = []v1.Limit{{Per: []string{"principal"}, Quota: "3/day"}}
			l := limit.New(limit.Options{File: file})
			return l, l.Configure(c)
		}
		l, r := start()
		if many(r, who, 2) != 2 {
			t.Fatal("refused")
		}
		l.Close()
		l, r = start()
		if !ask(r, who) || ask(r, who) || !ask(r, &limit.Subject{Principal: "b"}) {
			t.Error("after a start it is not as before")
		}
		time.Sleep(1100 * time.Millisecond)
		killed, r := start() // while the other has not closed
		if ask(r, who) {
			t.Error("it is not written meanwhile")
		}
		killed.Close()
		l.Close()
		time.Sleep(24 * time.Hour)
		l, r = start()
		if !ask(r, who) {
			t.Error("the next day it still counts")
		}
		l.Close()
		if err := os.WriteFile(file, []byte(`{"format":1,"quotas":[`), 0o600); err != nil {
			t.Fatal(err)
		}
		l, r = start()
		if !ask(r, who) {
			t.Error("refused for a broken file")
		}
		l.Close()
	})
}

// TestLongNames: names that callers make up take no more room than others.
func TestLongNames(t *testing.T) {
	_, r := limits(t, v1.Limit{Per: []string{"tool"}, Rate: "2/h"})
	used := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	call := func(n int) bool {
		var tk limit.Ticket
		defer tk.Finish(0)
		tool := bytes.Repeat([]byte{'x'}, 1<<20)
		return r.Target(context.Background(), &tk, &limit.Subject{Server: "s", Tool: strconv.AppendInt(tool, int64(n), 10)}, time.Now()) == nil
	}
	before := used()
	for n := range 100 {
		for i := range 3 {
			if call(n) != (i < 2) {
				t.Errorf("tool %d, call %d", n, i)
			}
		}
	}
	if grown := int64(used() - before); grown > 10<<20 {
		t.Errorf("100 names of 1 MiB keep %d bytes", grown)
	}
	runtime.KeepAlive(r)
}

// TestBrokenKey: a key that is none, in a file that somebody has changed, keeps nobody from reading what is used.
func TestBrokenKey(t *testing.T) {
	file := filepath.Join(t.TempDir(), "limits.json")
	for _, key := range []string{"", "\xff", "\x09a", "\xff\xff\xff\xff\xff\xff\xff\xff\x7fa"} {
		b64 := base64.StdEncoding.EncodeToString
		text := fmt.Sprintf(`{"format":1,"quotas":[{"limit":"principal","per":%q,"cells":[{"key":%q,"window":%d,"used":2}]}]}`,
			b64([]byte("\x09principal")), b64([]byte(key)), time.Now().Unix()/86400)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := limit.New(limit.Options{File: file})
		c := v1.New()
		c.Limits = []v1.Limit{{Per: []string{"principal"}, Quota: "3/day"}}
		l.Configure(c)
		all := l.Report(10, nil)
		if len(all) != 1 || all[0].Keys != 1 || all[0].Top[0].Left != 1 {
			t.Errorf("key %q: %+v", key, all)
		}
		l.Close()
	}
}
