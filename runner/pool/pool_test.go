package pool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/runner/pool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// thing is an instance of the tests.
type thing struct {
	n      int
	key    string
	busy   atomic.Bool
	ended  atomic.Bool
	yard   *yard
	adopts int
}

func (th *thing) Busy() bool { return th.busy.Load() }

func (th *thing) Close() {
	time.Sleep(th.yard.ending)
	th.ended.Store(true)
	th.yard.count(-1)
}

// yard makes things, and counts them.
type yard struct {
	takes, ending time.Duration
	fails         func(key string) error

	mu             sync.Mutex
	made, now, top int
	log            []string
}

func (y *yard) count(by int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.now += by
	y.top = max(y.top, y.now)
}

func (y *yard) start(ctx context.Context, key pool.Key) (*thing, error) {
	y.mu.Lock()
	y.made++
	n := y.made
	y.log = append(y.log, key.Name)
	y.mu.Unlock()
	y.count(1)
	select {
	case <-time.After(y.takes):
	case <-ctx.Done():
		y.count(-1)
		return nil, ctx.Err()
	}
	if y.fails != nil {
		if err := y.fails(key.Name); err != nil {
			y.count(-1)
			return nil, err
		}
	}
	return &thing{n: n, key: key.Name, yard: y}, nil
}

func (y *yard) starts() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.made
}

func (y *yard) running() int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.now
}

func (y *yard) pool(change func(*pool.Options[*thing])) *pool.Pool[*thing] {
	o := pool.Options[*thing]{
		Op: `server "x"`, Max: 3, Idle: time.Minute, Queue: 10, Wait: 5 * time.Second, Start: y.start, Alike: true,
		Adopt: func(th *thing, k pool.Key) { th.key = k.Name; th.adopts++ },
	}
	if change != nil {
		change(&o)
	}
	return pool.New(o)
}

func key(name string) pool.Key { return pool.Key{Name: name, Tenant: "t"} }

// in runs a test with a pool in a bubble of time, and holds that closing it ends everything.
func in(t *testing.T, y *yard, change func(*pool.Options[*thing]), f func(t *testing.T, p *pool.Pool[*thing])) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := y.pool(change)
		defer func() {
			p.Close()
			if n := y.running(); n != 0 {
				t.Errorf("%d are left after Close", n)
			}
		}()
		f(t, p)
	})
}

func get(t *testing.T, p *pool.Pool[*thing], k pool.Key) *thing {
	t.Helper()
	th, _, err := p.Acquire(t.Context(), k)
	if err != nil {
		t.Fatalf("%s: %v", k.Name, err)
	}
	if th.key != k.Name {
		t.Errorf("%s got the instance of %q", k.Name, th.key)
	}
	return th
}

// TestOneEach: every key has one instance, however many ask for it at the same time.
func TestOneEach(t *testing.T) {
	y := &yard{takes: time.Second}
	in(t, y, func(o *pool.Options[*thing]) { o.Queue = 100 }, func(t *testing.T, p *pool.Pool[*thing]) {
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				k := key(fmt.Sprint("k", i%3))
				for range 5 {
					th, _, err := p.Acquire(t.Context(), k)
					if err != nil || th.key != k.Name {
						t.Errorf("%s: %+v, %v", k.Name, th, err)
						return
					}
					time.Sleep(time.Millisecond)
					p.Release(k)
				}
			})
		}
		wg.Wait()
		if y.starts() != 3 || p.Counts().Instances != 3 {
			t.Errorf("%d starts, %+v", y.starts(), p.Counts())
		}
	})
}

// TestIdle: what nobody uses is stopped, but for the least number, and unless it is busy.
func TestIdle(t *testing.T) {
	y := &yard{}
	in(t, y, func(o *pool.Options[*thing]) { o.Min = 1 }, func(t *testing.T, p *pool.Pool[*thing]) {
		get(t, p, key("a"))
		busy := get(t, p, key("b"))
		busy.busy.Store(true)
		get(t, p, key("c"))
		p.Release(key("b"))
		p.Release(key("c"))
		time.Sleep(59 * time.Second)
		if y.running() != 3 {
			t.Errorf("%d run before the time is over", y.running())
		}
		time.Sleep(2 * time.Second)
		if y.running() != 2 {
			t.Errorf("%d run: c was idle, a is used, b is busy", y.running())
		}
		busy.busy.Store(false)
		time.Sleep(3 * time.Minute)
		if y.running() != 1 {
			t.Errorf("%d run: b is not busy any more", y.running())
		}
		p.Release(key("a"))
		time.Sleep(time.Hour)
		if y.running() != 1 {
			t.Errorf("%d run; one is to stay", y.running())
		}
		again := get(t, p, key("a"))
		p.Release(key("a"))
		if again.n != 1 {
			t.Errorf("a has another instance (%d)", again.n)
		}
	})
}

// TestEviction: when another key needs room, the one that was unused longest goes, and none that is used or busy.
func TestEviction(t *testing.T) {
	y := &yard{ending: time.Second}
	in(t, y, nil, func(t *testing.T, p *pool.Pool[*thing]) {
		var all []*thing
		for _, k := range []string{"a", "b", "c"} {
			all = append(all, get(t, p, key(k)))
			time.Sleep(time.Second)
		}
		for _, k := range []string{"c", "a", "b"} {
			p.Release(key(k))
			time.Sleep(time.Second)
		}
		all[2].busy.Store(true)
		get(t, p, key("d"))
		if !all[0].ended.Load() || all[1].ended.Load() || all[2].ended.Load() || y.top > 3 {
			t.Errorf("a %t, b %t, c %t; at most %d", all[0].ended.Load(), all[1].ended.Load(), all[2].ended.Load(), y.top)
		}
		get(t, p, key("e"))
		if !all[1].ended.Load() || all[2].ended.Load() || y.top > 3 {
			t.Errorf("b %t, c %t; at most %d", all[1].ended.Load(), all[2].ended.Load(), y.top)
		}
	})
}

// TestHold: an instance that was used a moment ago is not ended for another key, which waits for it.
func TestHold(t *testing.T) {
	y := &yard{}
	var evicted []int
	in(t, y, func(o *pool.Options[*thing]) {
		o.Max, o.Hold, o.Evicted = 1, 2*time.Second, func(th *thing) { evicted = append(evicted, th.n) }
	}, func(t *testing.T, p *pool.Pool[*thing]) {
		first := get(t, p, key("a"))
		p.Release(key("a"))
		began := time.Now()
		time.AfterFunc(time.Second, func() {
			get(t, p, key("a"))
			p.Release(key("a"))
		})
		get(t, p, key("b"))
		if took := time.Since(began); took < 3*time.Second || took > 3*time.Second+200*time.Millisecond || !first.ended.Load() {
			t.Errorf("handed over after %s", took)
		}
		if y.made != 2 || len(evicted) != 1 || evicted[0] != first.n {
			t.Errorf("%d made, evicted %v", y.made, evicted)
		}
	})
}

// TestWaits: a call waits for room as long as it may; what is in use, or busy, is not taken from anybody.
func TestWaits(t *testing.T) {
	y := &yard{}
	in(t, y, func(o *pool.Options[*thing]) { o.Max, o.Queue = 1, 2 }, func(t *testing.T, p *pool.Pool[*thing]) {
		first := get(t, p, key("a"))
		began := time.Now()
		_, _, err := p.Acquire(t.Context(), key("b"))
		if e := errs.Of(err); e == nil || e.Kind != errs.Overloaded || e.RetryAfter == 0 || !strings.Contains(e.Text(), "raise pool.max") || time.Since(began) != 5*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		first.busy.Store(true)
		p.Release(key("a"))
		time.AfterFunc(2*time.Second, func() { first.busy.Store(false) })
		began = time.Now()
		get(t, p, key("b"))
		if took := time.Since(began); took < 2*time.Second || took > 2*time.Second+200*time.Millisecond || !first.ended.Load() {
			t.Errorf("handed over after %s", took)
		}
	})
}

// TestQueueBound: no more wait than may, and one who gives up makes room.
func TestQueueBound(t *testing.T) {
	y := &yard{}
	in(t, y, func(o *pool.Options[*thing]) { o.Max, o.Queue = 1, 2 }, func(t *testing.T, p *pool.Pool[*thing]) {
		get(t, p, key("a"))
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		var wg sync.WaitGroup
		for _, k := range []string{"b", "c"} {
			wg.Go(func() {
				if _, _, err := p.Acquire(ctx, key(k)); !errors.Is(err, gone) {
					t.Errorf("%s: %v", k, err)
				}
			})
		}
		synctest.Wait()
		_, _, err := p.Acquire(t.Context(), key("d"))
		if e := errs.Of(err); e == nil || e.Kind != errs.Overloaded || e.RetryAfter == 0 || !strings.Contains(e.Text(), "2 calls wait") {
			t.Errorf("%v", err)
		}
		cancel(gone)
		wg.Wait()
		if c := p.Counts(); c.Waiting != 0 {
			t.Errorf("%+v", c)
		}
		p.Release(key("a"))
		get(t, p, key("d"))
	})
}

// TestGivesUpStart: a start goes on when the one who asked for it has gone.
func TestGivesUpStart(t *testing.T) {
	y := &yard{takes: 3 * time.Second}
	in(t, y, nil, func(t *testing.T, p *pool.Pool[*thing]) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := p.Acquire(ctx, key("a")); err == nil {
			t.Error("no error")
		}
		get(t, p, key("a"))
		if y.starts() != 1 {
			t.Errorf("%d starts", y.starts())
		}
	})
}

// TestSpares: a spare is handed over at once, and another takes its place.
func TestSpares(t *testing.T) {
	y := &yard{takes: 10 * time.Second}
	in(t, y, func(o *pool.Options[*thing]) { o.Spares, o.Max = 2, 4 }, func(t *testing.T, p *pool.Pool[*thing]) {
		time.Sleep(11 * time.Second)
		if c := p.Counts(); c.Spares != 2 {
			t.Fatalf("%+v", c)
		}
		began := time.Now()
		for _, k := range []string{"a", "b"} {
			if th := get(t, p, key(k)); th.adopts != 1 {
				t.Errorf("%s was started for it", k)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
		time.Sleep(10 * time.Millisecond)
		if n := y.starts(); n != 2 {
			t.Errorf("%d more are started while their calls begin", n-2)
		}
		time.Sleep(time.Second)
		if n := y.starts(); n != 4 {
			t.Errorf("%d more are started after that", n-2)
		}
		time.Sleep(10 * time.Second)
		get(t, p, key("c"))
		time.Sleep(time.Minute)
		if c := p.Counts(); c.Instances != 4 || c.Spares != 1 || y.top > 4 {
			t.Errorf("%+v, %d at most", c, y.top)
		}
	})
}

// TestFailures: all who wait get the error of the start; further ones are told until it is time to try again.
func TestFailures(t *testing.T) {
	broken := errors.New("broken")
	y := &yard{takes: time.Second, fails: func(string) error { return broken }}
	in(t, y, nil, func(t *testing.T, p *pool.Pool[*thing]) {
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, _, err := p.Acquire(t.Context(), key("a")); !errors.Is(err, broken) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if y.starts() != 1 {
			t.Errorf("%d starts for five callers", y.starts())
		}
		for range 100 {
			_, _, err := p.Acquire(t.Context(), key("b"))
			if e := errs.Of(err); !errors.Is(err, broken) {
				t.Errorf("%v", e)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := y.starts(); n > 10 {
			t.Errorf("%d starts for 100 calls", n)
		}
		y.fails = nil
		time.Sleep(31 * time.Second)
		get(t, p, key("a"))
	})
}

// TestOthersFailures: where instances differ, the failure of one key is no other's.
func TestOthersFailures(t *testing.T) {
	y := &yard{fails: func(key string) error {
		if key == "bad" {
			return errors.New("no such credential")
		}
		return nil
	}}
	in(t, y, func(o *pool.Options[*thing]) { o.Alike = false }, func(t *testing.T, p *pool.Pool[*thing]) {
		for range 10 {
			if _, _, err := p.Acquire(t.Context(), key("bad")); err == nil {
				t.Error("no error")
			}
			time.Sleep(time.Second)
		}
		began := time.Now()
		get(t, p, key("good"))
		if took := time.Since(began); took != 0 {
			t.Errorf("took %s", took)
		}
	})
}

// TestLeave: the instance of a key that will not come again ends as soon as nobody uses it.
func TestLeave(t *testing.T) {
	y := &yard{}
	in(t, y, nil, func(t *testing.T, p *pool.Pool[*thing]) {
		p.Leave(key("none"))
		get(t, p, key("a"))
		p.Release(key("a"))
		p.Leave(key("a"))
		synctest.Wait()
		used, busy := get(t, p, key("b")), get(t, p, key("c"))
		busy.busy.Store(true)
		p.Release(key("c"))
		p.Leave(key("b"))
		p.Leave(key("c"))
		time.Sleep(time.Second)
		if y.running() != 2 {
			t.Errorf("%d run: one is used, one busy", y.running())
		}
		p.Release(key("b"))
		busy.busy.Store(false)
		time.Sleep(time.Second)
		if y.running() != 0 || !used.ended.Load() {
			t.Errorf("%d run", y.running())
		}
	})
}

// TestShare: pools have ceilings in common, and the one that lacks room gets that of another's idle instance.
func TestShare(t *testing.T) {
	y := &yard{}
	share := pool.NewShare(3, 2)
	in(t, y, func(o *pool.Options[*thing]) { o.Share = share }, func(t *testing.T, p *pool.Pool[*thing]) {
		other := y.pool(func(o *pool.Options[*thing]) { o.Share, o.Spares, o.Op = share, 1, `server "y"` })
		defer other.Close()
		synctest.Wait() // the spare is there
		a, b := get(t, p, key("a")), get(t, other, key("b"))
		_, _, err := p.Acquire(t.Context(), key("c"))
		if e := errs.Of(err); e == nil || e.Kind != errs.Overloaded || !strings.Contains(e.Text(), "runner.maxPerTenant") {
			t.Errorf("%v", err)
		}
		u := pool.Key{Name: "u", Tenant: "u"}
		get(t, p, u)
		v := pool.Key{Name: "v", Tenant: "v"}
		_, _, err = other.Acquire(t.Context(), v)
		if e := errs.Of(err); e == nil || e.Kind != errs.Overloaded || !strings.Contains(e.Text(), "runner.maxInstances") {
			t.Errorf("%v", err)
		}
		if y.top > 3 || share.Count() != 3 {
			t.Errorf("%d at once, %d counted", y.top, share.Count())
		}
		p.Release(key("a"))
		get(t, other, v)
		if !a.ended.Load() || b.ended.Load() || y.top > 3 {
			t.Errorf("a %t, b %t, %d at once", a.ended.Load(), b.ended.Load(), y.top)
		}
		share.Set(10, 10)
		get(t, p, key("c"))
	})
	if share.Count() != 0 {
		t.Errorf("%d are counted after all", share.Count())
	}
}

// TestWaited: the wait for room is told apart from that for the start.
func TestWaited(t *testing.T) {
	y := &yard{takes: 2 * time.Second}
	in(t, y, func(o *pool.Options[*thing]) { o.Max = 1 }, func(t *testing.T, p *pool.Pool[*thing]) {
		for _, tt := range []struct {
			key  string
			want pool.Waited
		}{
			{"a", pool.Waited{Start: 2 * time.Second}}, {"a", pool.Waited{}}, {"b", pool.Waited{Queue: 700 * time.Millisecond, Start: 2 * time.Second}},
		} {
			if tt.key == "b" {
				time.AfterFunc(700*time.Millisecond, func() { p.Release(key("a")) })
			}
			_, got, err := p.Acquire(t.Context(), key(tt.key))
			if err != nil || got != tt.want {
				t.Errorf("%s: %+v, %v; want %+v", tt.key, got, err, tt.want)
			}
			if tt.want == (pool.Waited{}) {
				p.Release(key("a"))
			}
		}
	})
}

// TestGuest: an instance of no pool counts too; what is idle makes room for it, what is in use does not.
func TestGuest(t *testing.T) {
	y := &yard{}
	share := pool.NewShare(2, 1)
	in(t, y, func(o *pool.Options[*thing]) { o.Share = share }, func(t *testing.T, p *pool.Pool[*thing]) {
		guest := pool.Guest{Op: `server "g"`, Wait: time.Second}
		refused := func(g pool.Guest, key string) {
			t.Helper()
			_, err := share.Take(t.Context(), g)
			if e := errs.Of(err); e == nil || e.Kind != errs.Overloaded || e.Op != g.Op || !strings.Contains(e.Text(), key) || e.RetryAfter == 0 {
				t.Errorf("%v", err)
			}
		}
		first, err := share.Take(t.Context(), guest)
		if err != nil {
			t.Fatal(err)
		}
		a := get(t, p, key("a"))
		refused(guest, "raise runner.maxInstances")
		guest.Tenant = "t"
		if _, _, err := p.Acquire(t.Context(), key("b")); err == nil {
			t.Error("there was room for one more")
		}
		p.Release(key("a"))
		second, err := share.Take(t.Context(), guest)
		if err != nil || !a.ended.Load() || share.Count() != 2 {
			t.Fatalf("%v, a ended %t, %d counted", err, a.ended.Load(), share.Count())
		}
		first()
		refused(guest, "raise runner.maxPerTenant")
		time.AfterFunc(time.Second/2, second)
		third, err := share.Take(t.Context(), guest)
		if err != nil {
			t.Fatal(err)
		}
		third()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		get(t, p, key("a"))
		get(t, p, pool.Key{Name: "c"})
		if _, err := share.Take(ctx, guest); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	if share.Count() != 0 {
		t.Errorf("%d are counted after all", share.Count())
	}
}

// TestClose: closing fails those who wait and ends what is in use or being started.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		y := &yard{takes: 10 * time.Second}
		p := y.pool(func(o *pool.Options[*thing]) { o.Max, o.Spares = 2, 1 })
		time.Sleep(11 * time.Second)
		get(t, p, key("a"))
		var wg sync.WaitGroup
		for _, k := range []string{"b", "b", "c"} {
			wg.Go(func() {
				_, _, err := p.Acquire(t.Context(), key(k))
				if e := errs.Of(err); e == nil || e.Kind != errs.Unavailable || !strings.Contains(e.Text(), "being removed") {
					t.Errorf("%s: %v", k, err)
				}
			})
		}
		time.Sleep(time.Second)
		p.Close()
		wg.Wait()
		p.Release(key("a"))
		if _, _, err := p.Acquire(t.Context(), key("a")); err == nil || y.running() != 0 {
			t.Errorf("%v, %d run", err, y.running())
		}
		p.Close()
	})
}

// TestChurn: many keys, few places: never too many, never another's, and nobody is forgotten.
func TestChurn(t *testing.T) {
	y := &yard{takes: 3 * time.Millisecond, ending: 2 * time.Millisecond}
	in(t, y, func(o *pool.Options[*thing]) { o.Queue, o.Spares = 1000, 1 }, func(t *testing.T, p *pool.Pool[*thing]) {
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				for j := range 20 {
					k := key(fmt.Sprint("k", (i+j)%7))
					th, _, err := p.Acquire(t.Context(), k)
					if err != nil || th.key != k.Name || th.ended.Load() {
						t.Errorf("%s: %+v, %v", k.Name, th, err)
						return
					}
					time.Sleep(time.Duration(i%5) * time.Millisecond)
					if th.ended.Load() {
						t.Errorf("%s: ended in use", k.Name)
					}
					p.Release(k)
				}
			})
		}
		wg.Wait()
		if y.top > 3 {
			t.Errorf("%d at once", y.top)
		}
	})
}

// BenchmarkAcquire is what a warm instance costs.
func BenchmarkAcquire(b *testing.B) {
	y := &yard{}
	p := y.pool(nil)
	defer p.Close()
	k := key("a")
	if _, _, err := p.Acquire(b.Context(), k); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := p.Acquire(b.Context(), k); err != nil {
			b.Fatal(err)
		}
		p.Release(k)
	}
}
