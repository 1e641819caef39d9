package balance_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toolcrib/toolcrib/upstream/balance"
)

// load runs workers that each call again and again for a time, at a server whose calls take what took tells for the number at
// once; it tells how many were let in and how many turned away.
func load(l *balance.Limiter, workers int, d time.Duration, kind string, took func(atOnce int) time.Duration) (in, away int) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	end := time.Now().Add(d)
	for range workers {
		wg.Go(func() {
			for time.Now().Before(end) {
				p, ok := l.Enter([]byte(kind))
				mu.Lock()
				if ok {
					in++
				} else {
					away++
				}
				mu.Unlock()
				if !ok {
					time.Sleep(10 * time.Millisecond)
					continue
				}
				began := time.Now()
				time.Sleep(took(l.InFlight()))
				l.Leave(p, time.Since(began), balance.Took)
			}
		})
	}
	wg.Wait()
	return in, away
}

// TestLimitFollows: a server that works at ten calls at once gets not many more, and all again when it is quick.
func TestLimitFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := balance.NewLimiter(4, 200)
		load(l, 4, 5*time.Second, "find", func(int) time.Duration { return 100 * time.Millisecond })
		_, away := load(l, 150, 30*time.Second, "find", func(n int) time.Duration { return 100 * time.Millisecond * time.Duration(max(n, 10)) / 10 })
		if got := l.Limit(); got > 40 || got < 10 || away == 0 {
			t.Errorf("at a server for ten at once the limit is %d, %d turned away", got, away)
		}
		load(l, 150, 30*time.Second, "find", func(int) time.Duration { return 100 * time.Millisecond })
		if got := l.Limit(); got < 150 {
			t.Errorf("quick again, the limit is %d", got)
		}
	})
}

// TestKinds: a kind that is slow by nature is not taken for a server that slows down.
func TestKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := balance.NewLimiter(4, 100)
		var wg sync.WaitGroup
		for kind, took := range map[string]time.Duration{"quick": 5 * time.Millisecond, "slow": 20 * time.Second} {
			wg.Go(func() { load(l, 20, 5*time.Minute, kind, func(int) time.Duration { return took }) })
		}
		wg.Wait()
		if got := l.Limit(); got < 90 {
			t.Errorf("the limit fell to %d", got)
		}
	})
}

// TestStall: a server at which nothing ends any more has its limit fall before the first call times out.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := balance.NewLimiter(4, 200)
		load(l, 4, 5*time.Second, "find", func(int) time.Duration { return 50 * time.Millisecond })
		in, away := 0, 0
		for range 1000 {
			if _, ok := l.Enter([]byte("find")); ok {
				in++
			} else {
				away++
			}
			time.Sleep(10 * time.Millisecond)
		}
		if in > 60 || l.Limit() != 4 || away == 0 {
			t.Errorf("%d got in, %d did not, the limit is %d", in, away, l.Limit())
		}
	})
}

// TestNewSpeed: a server that is slower for good gets its share again.
func TestNewSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := balance.NewLimiter(4, 100)
		load(l, 50, 10*time.Second, "find", func(int) time.Duration { return 50 * time.Millisecond })
		load(l, 50, 10*time.Minute, "find", func(int) time.Duration { return 500 * time.Millisecond })
		if got := l.Limit(); got < 50 {
			t.Errorf("the limit stays at %d", got)
		}
	})
}

func TestOverloadSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := balance.NewLimiter(2, 100)
		for range 100 {
			p, _ := l.Enter(nil)
			time.Sleep(100 * time.Millisecond)
			l.Leave(p, 0, balance.Overload)
		}
		if got := l.Limit(); got != 2 {
			t.Errorf("after 100 times too much, %d", got)
		}
	})
}

func TestManyKinds(t *testing.T) {
	l := balance.NewLimiter(1, 10)
	for i := range 5000 {
		p, ok := l.Enter(fmt.Append(nil, "kind", i))
		if !ok {
			t.Fatal("refused")
		}
		l.Leave(p, time.Millisecond, balance.Took)
	}
	if l.InFlight() != 0 {
		t.Errorf("%d under way", l.InFlight())
	}
	if got := testing.AllocsPerRun(100, func() {
		p, _ := l.Enter([]byte("kind7"))
		l.Leave(p, time.Millisecond, balance.Took)
	}); got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func BenchmarkLimiter(b *testing.B) {
	l := balance.NewLimiter(4, 100)
	for b.Loop() {
		p, _ := l.Enter([]byte("find"))
		l.Leave(p, time.Millisecond, balance.Took)
	}
}
