package limit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/memory"
	"github.com/toolcrib/toolcrib/limit"
)

// tally is a backend whose answers a test makes.
type tally struct {
	cluster.Backend

	mu      sync.Mutex
	away    bool
	slow    time.Duration
	got     float64
	on      func(want int)
	present int
}

var errAway = errors.New("away")

func (t *tally) Draw(_ context.Context, d *cluster.Draw) (cluster.Drawn, error) {
	t.mu.Lock()
	away, slow := t.away, t.slow
	t.mu.Unlock()
	time.Sleep(slow)
	if away {
		return cluster.Drawn{}, errAway
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	got := d.Want
	if !d.All {
		got++ // more than is needed now
	}
	t.got += got
	return cluster.Drawn{Got: got, Left: d.Most - got}, nil
}

func (t *tally) Hold(_ context.Context, _, _ string, least, want, most int, _ time.Duration) (int, error) {
	t.mu.Lock()
	away, on := t.away, t.on
	t.mu.Unlock()
	if away {
		return 0, errAway
	}
	if on != nil {
		on(want)
	}
	return min(max(least, want), most), nil
}

func (t *tally) Present(context.Context, string, time.Duration) (int, error) { return t.present, nil }

// set has the backend answer, or not.
func (t *tally) set(away bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.away = away
}

// paid is what was taken, less what was given back, of the amounts that were drawn since.
func (t *tally) paid() (n float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, t.got = t.got, 0
	return n
}

// tallied is one of two replicas at a backend that a test plays.
func tallied(t *testing.T, all ...v1.Limit) (*tally, *limit.Limiter, *limit.Rules) {
	t.Helper()
	b := &tally{Backend: memory.New(), present: 2}
	node := cluster.New(cluster.Options{Backend: b})
	l := limit.New(limit.Options{Node: node})
	t.Cleanup(func() {
		l.Close()
		node.Close()
		b.Close()
	})
	c := v1.New()
	c.Limits = all
	r := l.Configure(c)
	time.Sleep(time.Second)
	if n, local, shared := l.Shared(); n != 2 || local || !shared {
		t.Fatalf("%d replicas, local %v, shared %v", n, local, shared)
	}
	return b, l, r
}

func count(r *limit.Rules, s *limit.Subject, most int) (in int) {
	for range most {
		if ask(r, s) {
			in++
		}
	}
	return in
}

// TestLocalKept: what is used while the others cannot be asked stays used, however long nobody asks.
func TestLocalKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, r := tallied(t, v1.Limit{Name: "q", Methods: []string{"q"}, Quota: "100/month"}, v1.Limit{Name: "r", Methods: []string{"r"}, Rate: "1/h", Burst: new(10)})
		b.set(true)
		quota, rate := 0, 0
		for _, wait := range []time.Duration{3 * time.Second, 3 * time.Second, time.Second, 3 * time.Minute, 0} {
			quota += count(r, &limit.Subject{Method: "q"}, 100)
			rate += count(r, &limit.Subject{Method: "r"}, 20)
			time.Sleep(wait)
		}
		if quota != 50 || rate != 5 {
			t.Errorf("%d of a quota of 100 and %d of a burst of 10, for one of two replicas", quota, rate)
		}
		b.set(false)
		b.paid()
		time.Sleep(5 * time.Second)
		if n := b.paid(); n != 50 {
			t.Errorf("the others are told of %v, want 50", n)
		}
	})
}

// TestLocalDear: while the others cannot be asked, a tool that costs more than a replica's part is let in when all of that is there,
// and paid off.
func TestLocalDear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, l, _ := tallied(t)
		b.set(true)
		c := v1.New()
		c.MCPServers = map[string]*v1.Server{"s": {URL: "http://x", Tools: map[string]v1.ToolSettings{"dear": {Cost: new(60)}}}}
		c.Limits = []v1.Limit{{Per: []string{"tool"}, Rate: "60/m"}}
		r, in := l.Configure(c), 0
		for range 1200 { // 10 minutes
			var tk limit.Ticket
			if r.Target(context.Background(), &tk, &limit.Subject{Server: "s", Tool: []byte("dear")}, time.Now()) == nil {
				in++
			}
			tk.Finish(0)
			time.Sleep(500 * time.Millisecond)
		}
		if in < 5 || in > 6 {
			t.Errorf("%d calls that cost a minute each in 10 minutes, by one of two replicas", in)
		}
	})
}

// TestPlacesGivenBack: a place that is given back is not used meanwhile.
func TestPlacesGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _, r := tallied(t, v1.Limit{Concurrency: new(4)})
		var tickets [3]limit.Ticket
		for i := range tickets {
			if err := r.Caller(context.Background(), &tickets[i], &limit.Subject{}, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		tickets[0].Finish(0)
		tickets[1].Finish(0)
		var asked atomic.Int64
		b.mu.Lock()
		b.on = func(want int) {
			if asked.Add(1) == 1 {
				if want != 1 {
					t.Errorf("it keeps %d", want)
				}
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
				defer cancel()
				if r.Caller(ctx, &tickets[0], &limit.Subject{}, time.Now()) == nil {
					t.Error("it takes a place that it gives back")
				}
			}
		}
		b.mu.Unlock()
		time.Sleep(200 * time.Millisecond)
		if asked.Load() == 0 {
			t.Error("it gives nothing back")
		}
	})
}

// TestLastSettled: a backend that is slow does not keep a gateway from ending.
func TestLastSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, l, r := tallied(t, v1.Limit{Per: []string{"principal"}, Rate: "1000/s"})
		for i := range 2000 {
			if !ask(r, &limit.Subject{Principal: string(rune('a' + i))}) {
				t.Fatal("refused")
			}
		}
		b.mu.Lock()
		b.slow = 200 * time.Millisecond
		b.mu.Unlock()
		began := time.Now()
		l.Close()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it ends after %v", took)
		}
	})
}

// deaf is a backend that does not answer.
type deaf struct{ *tally }

func (deaf) Present(context.Context, string, time.Duration) (int, error) { return 0, errAway }

// TestReplicasRemembered: a replica that starts while the others cannot be asked goes by how many there were.
func TestReplicasRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "limits.json")
		began := func(b cluster.Backend) (l *limit.Limiter, end func()) {
			node := cluster.New(cluster.Options{Backend: b})
			l = limit.New(limit.Options{Node: node, File: file})
			time.Sleep(time.Second)
			return l, func() { l.Close(); node.Close(); b.Close() }
		}
		_, end := began(&tally{Backend: memory.New(), present: 3})
		end()
		for _, step := range []struct {
			content string // empty: as it was left
			want    int
		}{{"", 3}, {`{"format":1,"replicas":-2}`, 1}, {`{"format":1,"replicas":3`, 1}, {`{"format":1}`, 1}} {
			if step.content != "" {
				if err := os.WriteFile(file, []byte(step.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b := deaf{&tally{Backend: memory.New()}}
			b.set(true)
			l, end := began(b)
			if n, _, _ := l.Shared(); n != step.want {
				t.Errorf("%q: goes by %d replicas, want %d", step.content, n, step.want)
			}
			end()
		}
	})
}
