package cache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toolcrib/toolcrib/cache"
)

const kilo = 1024

func key(text string) cache.Key {
	var h cache.Hash
	h.AddText(text)
	return h.Sum()
}

func resource(name string) cache.Name { return cache.Name{Kind: cache.Resource, Name: name} }

func answer(size int, ttl time.Duration) *cache.Answer {
	now := time.Now()
	return &cache.Answer{Body: make([]byte, size), Had: now, Fresh: now.Add(ttl)}
}

// keep keeps an answer under the text that names it too.
func keep(t *testing.T, g *cache.Group, text string, a *cache.Answer) {
	t.Helper()
	f, first := g.Begin(key(text), resource(text))
	if !first {
		t.Fatalf("%s is under way", text)
	}
	f.Keep(key(text), a)
}

func has(c *cache.Cache, text string) bool {
	a, _ := c.Get(key(text))
	return a != nil
}

func TestTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(1<<20, 1<<20)
		g := c.Group()
		a := answer(10, time.Minute)
		a.Error = a.Fresh.Add(time.Minute)
		keep(t, g, "a", a)
		time.Sleep(119 * time.Second)
		if got, _ := c.Get(key("a")); got != a {
			t.Errorf("an answer is not held until its last time: %v", got)
		}
		time.Sleep(time.Second)
		if has(c, "a") {
			t.Error("an answer is given after its last time")
		}
		f, _ := g.Begin(key("b"), resource("b"))
		f.Pass()
		if _, known := c.Get(key("b")); !known {
			t.Error("it is not known that there is no answer to keep")
		}
		time.Sleep(time.Hour)
		if _, known := c.Get(key("b")); known {
			t.Error("it is known for ever that there is no answer to keep")
		}
	})
}

// TestSize: whatever is kept, it takes no more than it may, and what is asked for stays.
func TestSize(t *testing.T) {
	t.Parallel()
	c := cache.New(100*kilo, 8*kilo)
	g := c.Group()
	keep(t, g, "hot", answer(kilo, time.Hour))
	for i := range 1000 {
		if !has(c, "hot") {
			t.Fatalf("what is asked for all the time went after %d others", i)
		}
		keep(t, g, fmt.Sprint(i), answer(i%(8*kilo), time.Hour))
		if s := c.Stats(); s.Bytes > s.Size || s.Bytes != g.Stats().Bytes {
			t.Fatalf("%+v, %+v", s, g.Stats())
		}
	}
	if s := c.Stats(); s.Evicted == 0 || s.Entries < 10 {
		t.Errorf("%+v", s)
	}
	keep(t, g, "large", answer(8*kilo+1, time.Hour))
	if has(c, "large") {
		t.Error("an answer over the size of an entry is kept")
	}
	c.Resize(10*kilo, 8*kilo)
	if s := c.Stats(); s.Bytes > 10*kilo || s.Entries == 0 {
		t.Errorf("after Resize: %+v", s)
	}
	c.Resize(0, kilo)
	keep(t, g, "none", answer(1, time.Hour))
	if s := c.Stats(); s.Entries != 0 || s.Bytes != 0 || g.Stats().Resources != 0 {
		t.Errorf("of a cache without a size: %+v", s)
	}
}

func TestDrop(t *testing.T) {
	t.Parallel()
	c := cache.New(1<<20, 1<<20)
	g, other := c.Group(), c.Group()
	for i, user := range []string{"ann", "ben", "cid"} {
		for _, uri := range []string{"u1", "u2"} {
			f, _ := g.Begin(key(user+uri), resource(uri))
			f.Keep(key(user+uri), answer(i, time.Hour))
		}
	}
	f, _ := other.Begin(key("other"), resource("u1"))
	f.Keep(key("other"), answer(1, time.Hour))
	if n := g.Drop(resource("u1")); n != 3 || has(c, "annu1") || has(c, "cidu1") || !has(c, "benu2") || !has(c, "other") {
		t.Errorf("Drop dropped %d", n)
	}
	if n := g.Purge(func(n cache.Name) bool { return n.Kind == cache.Tool }); n != 0 || !has(c, "benu2") {
		t.Errorf("Purge dropped %d of another kind", n)
	}
	g.Close()
	if has(c, "benu2") || !has(c, "other") {
		t.Error("Close drops the answers of its group, and no others")
	}
	keep(t, g, "late", answer(1, time.Hour))
	if has(c, "late") {
		t.Error("something is kept for a group that was closed")
	}
	if s := c.Stats(); s.Entries != 1 || s.Bytes != other.Stats().Bytes {
		t.Errorf("%+v", s)
	}
}

// TestChangedMeanwhile: what was asked for before a change is not kept after it, nor given to whoever comes after it.
func TestChangedMeanwhile(t *testing.T) {
	t.Parallel()
	c := cache.New(1<<20, 1<<20)
	g := c.Group()
	old, _ := g.Begin(key("a"), resource("a"))
	other, _ := g.Begin(key("b"), resource("b"))
	g.Drop(resource("a"))
	next, first := g.Begin(key("a"), resource("a"))
	if !first {
		t.Fatal("who comes after the change joins the request from before it")
	}
	old.Keep(key("a"), answer(1, time.Hour))
	other.Keep(key("b"), answer(1, time.Hour))
	if has(c, "a") || !has(c, "b") {
		t.Error("what was asked for before the change is kept, or what has not changed is not")
	}
	next.Keep(key("a"), answer(2, time.Hour))
	if a, _ := c.Get(key("a")); a == nil || len(a.Body) != 2 {
		t.Errorf("%v", a)
	}
}

func TestFlights(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	endings := map[string]struct {
		end  func(*cache.Flight)
		want func(cache.Landing) bool
		kept bool
	}{
		"kept":    {func(f *cache.Flight) { f.Keep(key("a"), answer(1, time.Hour)) }, func(l cache.Landing) bool { return l.Answer != nil }, true},
		"foreign": {func(f *cache.Flight) { f.Keep(key("mine"), answer(1, time.Hour)) }, func(l cache.Landing) bool { return l == cache.Landing{} }, false},
		"passed":  {(*cache.Flight).Pass, func(l cache.Landing) bool { return l == cache.Landing{} }, false},
		"failed":  {func(f *cache.Flight) { f.Fail(broken) }, func(l cache.Landing) bool { return errors.Is(l.Err, broken) }, false},
		"left":    {(*cache.Flight).Leave, func(l cache.Landing) bool { return l.Again }, false},
	}
	for name, e := range endings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := cache.New(1<<20, 1<<20)
				f, _ := c.Group().Begin(key("a"), resource("a"))
				var wg sync.WaitGroup
				for range 10 {
					wg.Go(func() {
						if l, err := f.Wait(t.Context()); err != nil || !e.want(l) {
							t.Errorf("%+v, %v", l, err)
						}
					})
				}
				synctest.Wait()
				e.end(f)
				f.Leave() // does nothing any more
				f.Pass()
				wg.Wait()
				if has(c, "a") != e.kept {
					t.Error("kept, or not")
				}
			})
		})
	}
}

// TestLeaderGone: when whoever began a flight gives up, one of those who wait goes on, and all are answered.
func TestLeaderGone(t *testing.T) {
	t.Parallel()
	c := cache.New(1<<20, 1<<20)
	g := c.Group()
	f, _ := g.Begin(key("a"), resource("a"))
	var asked atomic.Int32
	var wg sync.WaitGroup
	var ready sync.WaitGroup
	for range 50 {
		ready.Add(1)
		wg.Go(func() {
			ready.Done()
			for {
				if has(c, "a") {
					return
				}
				own, first := g.Begin(key("a"), resource("a"))
				if first {
					asked.Add(1)
					own.Keep(key("a"), answer(1, time.Hour))
					return
				}
				if l, err := own.Wait(t.Context()); err != nil || l.Answer == nil && !l.Again {
					t.Errorf("%+v, %v", l, err)
					return
				} else if l.Answer != nil {
					return
				}
			}
		})
	}
	ready.Wait()
	f.Leave()
	wg.Wait()
	if !has(c, "a") || asked.Load() == 0 {
		t.Errorf("asked %d times", asked.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f, _ = g.Begin(key("b"), resource("b"))
	if _, err := f.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: %v", err)
	}
}

// TestConcurrent has everything done at the same time, for the race detector.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	c := cache.New(64*kilo, 8*kilo)
	groups := []*cache.Group{c.Group(), c.Group()}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for n := range 2000 {
				g, text := groups[n%2], fmt.Sprint(n%2, "/", (n*7+i)%97)
				if a, _ := c.Get(key(text)); a == nil {
					if f, first := g.Begin(key(text), resource(text)); first {
						f.Keep(key(text), answer(n%kilo, time.Hour))
					} else if _, err := f.Wait(t.Context()); err != nil {
						t.Error(err)
					}
				}
				switch n % 100 {
				case 0:
					g.Drop(resource(text))
				case 50:
					g.Purge(func(n cache.Name) bool { return len(n.Name)%2 == 0 })
				case 75:
					g.Each(func(cache.Held) bool { return true })
				}
				g.Count(cache.Hit)
			}
		})
	}
	wg.Wait()
	if s := c.Stats(); s.Bytes > s.Size || s.Bytes != groups[0].Stats().Bytes+groups[1].Stats().Bytes {
		t.Errorf("%+v", s)
	}
	if n := groups[0].Counted(cache.Hit) + groups[1].Counted(cache.Hit); n != 16000 {
		t.Errorf("%d of 16000 were counted", n)
	}
}

// FuzzHash: two lists of parts have the same key only where they are the same.
func FuzzHash(f *testing.F) {
	f.Add("a", "bc", "", "ab", "c", "")
	f.Add("", "", "", "", "\x00", "")
	f.Add("1", "2", "3", "1", "2", "3")
	f.Fuzz(func(t *testing.T, a1, a2, a3, b1, b2, b3 string) {
		sum := func(lists bool, parts ...string) cache.Key {
			var h cache.Hash
			if lists {
				h.AddList(parts)
				return h.Sum()
			}
			for _, p := range parts {
				h.Add([]byte(p))
			}
			return h.Sum()
		}
		same := a1 == b1 && a2 == b2 && a3 == b3
		for _, lists := range []bool{false, true} {
			if (sum(lists, a1, a2, a3) == sum(lists, b1, b2, b3)) != same {
				t.Errorf("%q %q", []string{a1, a2, a3}, []string{b1, b2, b3})
			}
		}
		if sum(false, a1, a2) == sum(false, a1, a2, a3) || sum(false, a1+a2) == sum(false, a1, a2) {
			t.Errorf("%q: parts are lost", []string{a1, a2, a3})
		}
	})
}

func BenchmarkGet(b *testing.B) {
	c := cache.New(1<<20, 1<<20)
	g := c.Group()
	f, _ := g.Begin(key("a"), resource("a"))
	f.Keep(key("a"), answer(100, time.Hour))
	k := key("a")
	b.ReportAllocs()
	for b.Loop() {
		if a, _ := c.Get(k); a == nil {
			b.Fatal("gone")
		}
	}
}
