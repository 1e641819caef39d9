package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/clustertest"
	"github.com/toolcrib/toolcrib/cluster/memory"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/seal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tap is a backend whose messages can be looked at, lost and sent again.
type tap struct {
	*memory.Backend

	mu        sync.Mutex
	sent      []message
	lose      func(to string) bool
	callbacks []cluster.Callbacks
}

type message struct {
	to   string // empty: all
	body []byte
}

func newTap() *tap { return &tap{Backend: memory.New(), lose: func(string) bool { return false }} }

func (b *tap) Join(replica string, c cluster.Callbacks) (hide, leave func()) {
	b.callbacks = append(b.callbacks, c)
	return b.Backend.Join(replica, c)
}

func (b *tap) Send(ctx context.Context, replica string, body []byte) error {
	b.mu.Lock()
	b.sent = append(b.sent, message{replica, bytes.Clone(body)})
	lost := b.lose(replica)
	b.mu.Unlock()
	if lost {
		return nil
	}
	return b.Backend.Send(ctx, replica, body)
}

func (b *tap) Broadcast(ctx context.Context, body []byte) (int, error) {
	b.mu.Lock()
	b.sent = append(b.sent, message{"", bytes.Clone(body)})
	b.mu.Unlock()
	return b.Backend.Broadcast(ctx, body)
}

func (b *tap) losing(f func(to string) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lose = f
}

func (b *tap) taken() []message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]message(nil), b.sent...)
}

// counting serves calls and broadcasts of kind "x" and counts them.
func counting(nodes ...*cluster.Node) *atomic.Int64 {
	var count atomic.Int64
	for _, n := range nodes {
		n.Handle("x", func(context.Context, []byte, func([]byte)) ([]byte, error) { count.Add(1); return nil, nil })
		n.OnBroadcast("x", func([]byte) { count.Add(1) })
	}
	return &count
}

// TestTampered sends what was heard on the bus again: as it was, into other inboxes, changed, cut, as of another sort.
func TestTampered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ring := newTap(), clustertest.Ring(t)
		a, other, third := clustertest.Node(t, b, ring), clustertest.Node(t, b, ring), clustertest.Node(t, b, ring)
		count := counting(a, other, third)
		if _, err := a.Call(t.Context(), other.ID(), "x", nil, nil); err != nil {
			t.Fatal(err)
		}
		if err := a.Broadcast(t.Context(), "x", nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := count.Load(); got != 3 {
			t.Fatalf("served %d", got)
		}
		for _, m := range b.taken() {
			for i := range len(m.body) {
				changed := bytes.Clone(m.body)
				changed[i] ^= 1
				resend(t, b, m.to, changed)
				resend(t, b, m.to, bytes.Clone(m.body[:i]))
			}
			for _, to := range []string{"", a.ID(), other.ID(), third.ID()} {
				resend(t, b, to, bytes.Clone(m.body))
			}
		}
		synctest.Wait()
		if got := count.Load(); got != 3 {
			t.Errorf("after all that, served %d", got)
		}
	})
}

func resend(t *testing.T, b *tap, to string, body []byte) {
	t.Helper()
	var err error
	if to == "" {
		_, err = b.Backend.Broadcast(t.Context(), body)
	} else {
		err = b.Backend.Send(t.Context(), to, body)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestLate delivers a request after its time.
func TestLate(t *testing.T) {
	for _, tt := range []struct {
		late time.Duration
		want int64
	}{{30 * time.Second, 1}, {2 * time.Minute, 0}} {
		synctest.Test(t, func(t *testing.T) {
			b, ring := newTap(), clustertest.Ring(t)
			a, other := clustertest.Node(t, b, ring), clustertest.Node(t, b, ring)
			count := counting(other)
			b.losing(func(string) bool { return true })
			if _, err := a.Call(t.Context(), other.ID(), "x", nil, nil); !errors.Is(err, cluster.ErrGone) {
				t.Fatalf("got %v", err)
			}
			first := b.taken()[0]
			time.Sleep(tt.late - 6*time.Second) // the call took that long to fail
			resend(t, b, first.to, first.body)
			synctest.Wait()
			if got := count.Load(); got != tt.want {
				t.Errorf("%v late: served %d", tt.late, got)
			}
		})
	}
}

// TestHung has a replica that is listed fall silent: both sides give up, in seconds.
func TestHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ring := newTap(), clustertest.Ring(t)
		a, other := clustertest.Node(t, b, ring), clustertest.Node(t, b, ring)
		ended := make(chan error, 1)
		other.Handle("wait", func(ctx context.Context, _ []byte, note func([]byte)) ([]byte, error) {
			note(nil)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil, ctx.Err()
		})
		time.Sleep(time.Hour)
		start := time.Now()
		_, err := a.Call(t.Context(), other.ID(), "wait", nil, func([]byte) {
			b.losing(func(string) bool { return true })
		})
		if took := time.Since(start); !errors.Is(err, cluster.ErrGone) || took > 8*time.Second {
			t.Errorf("caller: %v after %v", err, took)
		}
		if err := <-ended; !errors.Is(err, cluster.ErrGone) || time.Since(start) > 8*time.Second {
			t.Errorf("handler: %v after %v", err, time.Since(start))
		}
	})
}

// TestLastWords has what a replica sends last, an answer, be on its way still when others find it gone.
func TestLastWords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ring := newTap(), clustertest.Ring(t)
		a, other := clustertest.Node(t, b, ring), clustertest.Node(t, b, ring)
		finish := make(chan struct{})
		other.Handle("x", func(context.Context, []byte, func([]byte)) ([]byte, error) { <-finish; return []byte("done"), nil })
		called := make(chan error, 1)
		go func() {
			got, err := a.Call(t.Context(), other.ID(), "x", nil, nil)
			if err == nil && string(got) != "done" {
				err = errors.New(string(got))
			}
			called <- err
		}()
		synctest.Wait()
		b.losing(func(to string) bool { return to == a.ID() })
		before := len(b.taken())
		close(finish)
		synctest.Wait()
		late := b.taken()[before:]
		b.losing(func(string) bool { return false })
		time.Sleep(700 * time.Millisecond) // a ping is soon due
		other.Close()
		time.Sleep(600 * time.Millisecond)
		for _, m := range late {
			resend(t, b, m.to, m.body)
		}
		if err := <-called; err != nil {
			t.Errorf("the call: %v", err)
		}
	})
}

// TestLong shows that a call may take as long as it likes while both replicas live.
func TestLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ring := newTap(), clustertest.Ring(t)
		a, other := clustertest.Node(t, b, ring), clustertest.Node(t, b, ring)
		other.Handle("long", func(ctx context.Context, _ []byte, _ func([]byte)) ([]byte, error) {
			select {
			case <-time.After(time.Hour):
				return []byte("late"), nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		})
		if got, err := a.Call(t.Context(), other.ID(), "long", nil, nil); err != nil || string(got) != "late" {
			t.Errorf("got %q, %v", got, err)
		}
		before := len(b.taken())
		time.Sleep(time.Hour)
		if after := len(b.taken()); after > before+4 {
			t.Errorf("%d messages while nothing is under way", after-before)
		}
	})
}

// TestLostOnTheWay loses single messages: the call fails for it, soon, on both sides.
func TestLostOnTheWay(t *testing.T) {
	for name, lost := range map[string]int{"request": 1, "note": 2, "answer": 3} {
		synctest.Test(t, func(t *testing.T) {
			b, ring := newTap(), clustertest.Ring(t)
			a, other := clustertest.Node(t, b, ring), clustertest.Node(t, b, ring)
			other.Handle("x", func(_ context.Context, _ []byte, note func([]byte)) ([]byte, error) {
				note([]byte("n"))
				return []byte("a"), nil
			})
			sent := 0
			b.losing(func(string) bool { sent++; return sent == lost })
			start := time.Now()
			_, err := a.Call(t.Context(), other.ID(), "x", nil, nil)
			if took := time.Since(start); err == nil || errs.Of(err).Kind != errs.Lost || took > 2*time.Second {
				t.Errorf("%s: got %v after %v", name, err, took)
			}
		})
	}
}

// TestConnectionLost ends what is under way, and calls hooks when it is back.
func TestConnectionLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ring := newTap(), clustertest.Ring(t)
		a, other := clustertest.Node(t, b, ring), clustertest.Node(t, b, ring)
		hooks := make(chan struct{}, 2)
		a.OnReconnect(func() { hooks <- struct{}{} })
		ended := make(chan error, 1)
		other.Handle("wait", func(ctx context.Context, _ []byte, note func([]byte)) ([]byte, error) {
			note(nil)
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil, ctx.Err()
		})
		_, err := a.Call(t.Context(), other.ID(), "wait", nil, func([]byte) { b.callbacks[0].Connected(false) })
		if !errors.Is(err, cluster.ErrDown) || errs.Of(err).Kind != errs.Unavailable {
			t.Errorf("got %v", err)
		}
		<-ended
		b.callbacks[0].Connected(true)
		<-hooks
	})
}

// TestOverloaded has more calls than a replica serves at once.
func TestOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ring := memory.New(), clustertest.Ring(t)
		a, other := clustertest.Node(t, b, ring), clustertest.Node(t, b, ring)
		other.Handle("wait", func(ctx context.Context, _ []byte, _ func([]byte)) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		var calls sync.WaitGroup
		for range 4096 {
			calls.Go(func() { a.Call(ctx, other.ID(), "wait", nil, nil) })
		}
		synctest.Wait()
		if _, err := a.Call(t.Context(), other.ID(), "wait", nil, nil); err == nil || errs.Of(err).Kind != errs.Overloaded {
			t.Errorf("one more: %v", err)
		}
		cancel()
		calls.Wait()
		time.Sleep(2 * time.Second) // cancels that were too many at once are made up for by a ping
		other.Handle("echo", func(_ context.Context, request []byte, _ func([]byte)) ([]byte, error) { return request, nil })
		if _, err := a.Call(t.Context(), other.ID(), "echo", nil, nil); err != nil {
			t.Errorf("after that: %v", err)
		}
	})
}

// TestDrain waits for what is served for others, but not for ever.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ring := memory.New(), clustertest.Ring(t)
		a, other := clustertest.Node(t, b, ring), clustertest.Node(t, b, ring)
		other.Handle("long", func(context.Context, []byte, func([]byte)) ([]byte, error) {
			time.Sleep(10 * time.Second)
			return nil, nil
		})
		other.Drain(t.Context())
		done := make(chan error, 1)
		start := time.Now()
		go func() {
			_, err := a.Call(t.Context(), other.ID(), "long", nil, nil)
			done <- err
		}()
		synctest.Wait()
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		other.Drain(brief)
		if took := time.Since(start); took != time.Second {
			t.Errorf("gave up after %v", took)
		}
		other.Drain(t.Context())
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("drained after %v", took)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestSlowListener shows that one who hears too slowly is told that something was missed, and holds up no call.
func TestSlowListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, ring := memory.New(), clustertest.Ring(t)
		a, other := clustertest.Node(t, b, ring), clustertest.Node(t, b, ring)
		count := counting(other)
		hold, missed := make(chan struct{}), make(chan struct{}, 4)
		other.OnBroadcast("slow", func([]byte) { <-hold })
		other.OnReconnect(func() { missed <- struct{}{} })
		for range 2000 {
			if err := a.Broadcast(t.Context(), "slow", nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := a.Call(t.Context(), other.ID(), "x", nil, nil); err != nil || count.Load() != 1 {
			t.Errorf("a call meanwhile: %v", err)
		}
		close(hold)
		<-missed
	})
}

// TestRotation rotates the keys of replicas one after the other: first all learn the new one, then all use it.
func TestRotation(t *testing.T) {
	keys := [][]byte{bytes.Repeat([]byte("abcdefgh"), 4), bytes.Repeat([]byte("ijklmnop"), 4)}
	ring := func(order ...int) *seal.Ring {
		var chosen [][]byte
		for _, i := range order {
			chosen = append(chosen, keys[i])
		}
		r, err := seal.NewRing(chosen...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	b := memory.New()
	var rings [2]atomic.Pointer[seal.Ring]
	var nodes [2]*cluster.Node
	for i := range nodes {
		rings[i].Store(ring(0))
		nodes[i] = cluster.New(cluster.Options{Backend: b, Ring: rings[i].Load})
		t.Cleanup(nodes[i].Close)
	}
	counting(nodes[:]...)
	if err := nodes[0].Put(t.Context(), "k", "f", "v", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		for i := range nodes {
			rings[i].Store(ring(order...))
			for j := range nodes {
				facts, err := nodes[j].Facts(t.Context(), "k")
				if _, callErr := nodes[j].Call(t.Context(), nodes[1-j].ID(), "x", nil, nil); callErr != nil || err != nil || facts["f"] != "v" {
					t.Errorf("replica %d with %v: %v, %v, %v", i, order, callErr, facts, err)
				}
			}
		}
	}
}

// TestReconnectsWhileHooked: however often the backend comes back, what OnReconnect registered runs once at a time, and once
// after the last time.
func TestReconnectsWhileHooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newTap()
		n := clustertest.Node(t, b, clustertest.Ring(t))
		var running, most, calls atomic.Int64
		release := make(chan struct{})
		n.OnReconnect(func() {
			most.Store(max(most.Load(), running.Add(1)))
			<-release
			running.Add(-1)
			calls.Add(1)
		})
		for range 10 {
			b.callbacks[0].Connected(true)
			synctest.Wait()
		}
		close(release)
		synctest.Wait()
		if most.Load() != 1 || calls.Load() != 2 {
			t.Errorf("%d calls, %d at the same time", calls.Load(), most.Load())
		}
		b.callbacks[0].Connected(true)
		synctest.Wait()
		if calls.Load() != 3 {
			t.Errorf("%d calls", calls.Load())
		}
		n.Close()
	})
}
