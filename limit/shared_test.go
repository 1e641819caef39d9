package limit_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/redis"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/limit"
)

// fleet are replicas that share limits by a Redis.
type fleet struct {
	limiters []*limit.Limiter
	rules    []*limit.Rules
	backends []*redis.Backend
	late     atomic.Int64 // how often Redis did not answer in time, so that a replica went by its part
}

// observed counts what its Redis does not answer in time.
type observed struct {
	*redis.Backend
	late *atomic.Int64
}

func (o observed) Join(replica string, c cluster.Callbacks) (hide, leave func()) {
	connected := c.Connected
	c.Connected = func(up bool) {
		if !up {
			o.late.Add(1)
		}
		connected(up)
	}
	return o.Backend.Join(replica, c)
}

func (o observed) Draw(ctx context.Context, d *cluster.Draw) (cluster.Drawn, error) {
	drawn, err := o.Backend.Draw(ctx, d)
	if err != nil {
		o.late.Add(1)
	}
	return drawn, err
}

func newFleet(t *testing.T, url string, n int, all ...v1.Limit) *fleet {
	t.Helper()
	f := &fleet{}
	for range n {
		b, err := redis.New(redis.Options{Address: v1.Secret(url), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		node := cluster.New(cluster.Options{Backend: observed{b, &f.late}})
		l := limit.New(limit.Options{Node: node})
		t.Cleanup(func() {
			l.Close()
			node.Close()
			b.Close()
		})
		c := v1.New()
		c.Limits = all
		f.backends = append(f.backends, b)
		f.limiters = append(f.limiters, l)
		f.rules = append(f.rules, l.Configure(c))
	}
	return f
}

// ready waits until all know of one another.
func (f *fleet) ready(t *testing.T) {
	t.Helper()
	for _, l := range f.limiters {
		testenv.Eventually(t, "the replicas know of one another", func() bool {
			n, local, shared := l.Shared()
			return n == len(f.limiters) && !local && shared
		})
	}
}

// drained takes all that there is at each replica, and tells when it began and when there was nothing any more.
func (f *fleet) drained(s *limit.Subject) (got float64, began, ended time.Time) {
	began = time.Now()
	for _, r := range f.rules {
		for ask(r, s) {
			got++
		}
	}
	return got, began, time.Now()
}

// steady wants all replicas to let in so many a second, within 5 %, unless Redis was late meanwhile, three times at most.
func (f *fleet) steady(t *testing.T, s *limit.Subject, rate float64, each time.Duration) {
	t.Helper()
	for range 3 {
		f.ready(t)
		late := f.late.Load()
		wrong := f.window(s, rate, each)
		if wrong == "" {
			return
		}
		if f.late.Load() == late {
			t.Error(wrong)
			return
		}
		t.Log("while Redis was late:", wrong)
	}
	t.Error("Redis was late three times")
}

// window tells what is wrong where all replicas together do not let in so many a second, within 5 %. Nothing is lost while the
// machine does something else.
func (f *fleet) window(s *limit.Subject, rate float64, each time.Duration) (wrong string) {
	f.drained(s)
	_, fromBegan, fromEnded := f.drained(s)
	in := float64(f.flood(s, each))
	rest, toBegan, toEnded := f.drained(s)
	least, most := rate*toBegan.Sub(fromEnded).Seconds(), rate*toEnded.Sub(fromBegan).Seconds()
	if in += rest; in < 0.95*least-1 || in > 1.05*most+1 {
		return fmt.Sprintf("%v/s: %v were let in, want %.0f to %.0f", rate, in, least, most)
	}
	return ""
}

// askLeast is how often each asks in a flood, however little time there is.
const askLeast = 200

// flood has all replicas ask at the same time, until a time has passed, and tells how many requests were let in.
func (f *fleet) flood(s *limit.Subject, each time.Duration) (in int64) {
	var got atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for _, r := range f.rules {
		for range 3 {
			all.Go(func() {
				for n := 0; n < askLeast || time.Since(began) < each; n++ {
					if ask(r, s) {
						got.Add(1)
					}
					time.Sleep(100 * time.Microsecond) // as a request would take
				}
			})
		}
	}
	all.Wait()
	return got.Load()
}

// TestSharedRate: three replicas let in what the limit says, within 5 %, whichever of them is asked.
func TestSharedRate(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.StartRedis(t).URL(), 3, v1.Limit{Per: []string{"principal"}, Rate: "500/s", Burst: new(2000)},
		v1.Limit{Name: "slow", Methods: []string{"slow"}, Rate: "20/s", Burst: new(80)})
	f.ready(t)
	for method, rate := range map[string]float64{"": 500, "slow": 20} {
		f.steady(t, &limit.Subject{Principal: "p" + method, Method: method}, rate, 3*time.Second)
	}
	try := 0
	testenv.Eventually(t, "one of them alone gets the whole", func() bool { // unless Redis was late, and each went by its part
		try++
		in, began := 0, time.Now()
		for range 2500 {
			if ask(f.rules[1], &limit.Subject{Principal: fmt.Sprint("other", try)}) {
				in++
			}
		}
		if most := 1.05 * (2000 + 500*time.Since(began).Seconds()); float64(in) > most {
			t.Errorf("%d for one replica alone, want no more than %.0f", in, most)
		}
		return in >= 1900
	})
}

// TestSharedQuota: a quota is used up by all, and what one has drawn and does not need is there for the others.
func TestSharedQuota(t *testing.T) {
	t.Parallel()
	r := testenv.StartRedis(t)
	f := newFleet(t, r.URL(), 3, v1.Limit{Quota: "1000/month"})
	f.ready(t)
	for i, r := range f.rules {
		for range 10 {
			if !ask(r, &limit.Subject{}) {
				t.Fatalf("replica %d refuses", i)
			}
		}
	}
	in := f.flood(&limit.Subject{}, time.Second)
	testenv.Eventually(t, "what lay idle elsewhere is used", func() bool {
		in += f.flood(&limit.Subject{}, 500*time.Millisecond)
		return in >= 960
	})
	if in += f.flood(&limit.Subject{}, time.Second); in > 970 {
		t.Errorf("%d were let in, want 970", in)
	}
	again := newFleet(t, r.URL(), 1, v1.Limit{Quota: "1000/month"})
	testenv.Eventually(t, "it knows of the others", func() bool { n, _, _ := again.limiters[0].Shared(); return n == 4 })
	if n := again.flood(&limit.Subject{}, 100*time.Millisecond); n > 10 {
		t.Errorf("a replica that is started anew lets in %d", n)
	}
}

// TestSharedConcurrency: so many are under way at all replicas together, and a place that is free is there for each of them.
func TestSharedConcurrency(t *testing.T) {
	t.Parallel()
	f := newFleet(t, testenv.StartRedis(t).URL(), 3, v1.Limit{Concurrency: new(9)})
	f.ready(t)
	var tickets [12]limit.Ticket
	in := 0
	for i := range tickets {
		if f.rules[i%3].Caller(context.Background(), &tickets[i], &limit.Subject{}, time.Now()) == nil {
			in++
		}
	}
	if in != 9 {
		t.Errorf("%d at once, want 9", in)
	}
	tickets[0].Finish(0)
	testenv.Eventually(t, "another replica has the place that is free", func() bool {
		return f.rules[1].Caller(context.Background(), &tickets[10], &limit.Subject{}, time.Now()) == nil
	})
	if err := f.rules[2].Caller(context.Background(), &tickets[11], &limit.Subject{}, time.Now()); errs.Of(err) == nil {
		t.Error("there are ten")
	}
}

// TestPlacesOfKilled: the places of a replica that is gone without a word are free again when its lease is over, and not before;
// those of one that is there stay its own for as long as requests are under way.
func TestPlacesOfKilled(t *testing.T) {
	t.Parallel()
	const most, killed = 9, 6
	f := newFleet(t, testenv.StartRedis(t).URL(), 3, v1.Limit{Concurrency: new(most)})
	f.ready(t)
	var tickets [2 * most]limit.Ticket
	enter := func(replica, n int) bool {
		return f.rules[replica].Caller(context.Background(), &tickets[n], &limit.Subject{}, time.Now()) == nil
	}
	for n := range most {
		if replica := n / killed; !enter(replica, n) {
			t.Fatalf("replica %d refuses the request %d", replica, n)
		}
	}
	f.backends[0].Close() // it renews nothing, and gives nothing back
	began, watch, n := time.Now(), testenv.StartWatch(t), most
	testenv.Eventually(t, "another replica has a place", func() bool { return enter(2, n) })
	if took := time.Since(began); took < 3*time.Second || watch.Took() > 7*time.Second {
		t.Errorf("the places came back after %v, want 6 s from when they were last renewed", took)
	}
	for n++; n < len(tickets) && enter(2, n); {
		n++
	}
	if n != most+killed {
		t.Errorf("%d places came back, want %d", n-most, killed)
	}
}

// TestLocalShare: while Redis is away each replica goes by its part, and no more than the limit is let in by all; when it is back
// they share again.
func TestLocalShare(t *testing.T) {
	t.Parallel()
	r := testenv.StartRedis(t)
	f := newFleet(t, r.URL(), 3,
		v1.Limit{Name: "rate", Methods: []string{"rate"}, Per: []string{"principal"}, Rate: "300/s", Burst: new(1200)},
		v1.Limit{Name: "quota", Methods: []string{"quota"}, Quota: "900/month"},
		v1.Limit{Name: "places", Methods: []string{"places"}, Concurrency: new(6)})
	f.ready(t)
	for range 300 {
		ask(f.rules[0], &limit.Subject{Method: "quota"})
	}
	r.Kill()
	for _, l := range f.limiters {
		testenv.Eventually(t, "it is noticed", func() bool { _, local, _ := l.Shared(); return local })
	}
	if wrong := f.window(&limit.Subject{Method: "rate", Principal: "new"}, 300, 2*time.Second); wrong != "" {
		t.Error(wrong)
	}
	alone, began := 0, time.Now()
	for range 1200 {
		if ask(f.rules[2], &limit.Subject{Method: "rate", Principal: "lone"}) {
			alone++
		}
	}
	if most := 400 + 100*time.Since(began).Seconds(); alone < 400 || float64(alone) > most+1 {
		t.Errorf("one replica lets in %d, want a third of 1200", alone)
	}
	if n := f.flood(&limit.Subject{Method: "quota"}, 300*time.Millisecond); n < 550 || n > 810 {
		t.Errorf("%d of the quota, want a third of what each knows to be left: 600 to 800", n)
	}
	var tickets [3]limit.Ticket
	for i := range tickets {
		if err := f.rules[0].Caller(context.Background(), &tickets[i], &limit.Subject{Method: "places"}, time.Now()); (err == nil) != (i < 2) {
			t.Errorf("place %d: %v", i, err)
		}
	}
	r.Start()
	f.ready(t)
	f.steady(t, &limit.Subject{Method: "rate", Principal: "after"}, 300, time.Second)
}

// TestSlowRedis: a Redis that does not answer holds requests up once in a while, not each.
func TestSlowRedis(t *testing.T) {
	t.Parallel()
	r := testenv.StartRedis(t)
	f := newFleet(t, r.URL(), 1, v1.Limit{Rate: "1/h", Burst: new(1000)})
	f.ready(t)
	if answer, err := r.Do("CLIENT", "PAUSE", "10000"); err != nil || answer != "OK" {
		t.Fatal(answer, err)
	}
	began, watch, in := time.Now(), testenv.StartWatch(t), 0
	for range 500 {
		if ask(f.rules[0], &limit.Subject{}) {
			in++
		}
	}
	if took := time.Since(began); in != 500 || took < 100*time.Millisecond || watch.Took() > 1500*time.Millisecond {
		t.Errorf("%d were let in within %v", in, took)
	}
}
