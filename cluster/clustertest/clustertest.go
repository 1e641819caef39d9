// Package clustertest is what every cluster backend must do, as one suite of tests.
package clustertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/seal"
)

const patience = 20 * time.Second

// Ring makes a ring with a new key.
func Ring(t testing.TB) *seal.Ring {
	t.Helper()
	key := make([]byte, seal.KeySize)
	rand.Read(key)
	r, err := seal.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Fixed is a ring as options of a node take it.
func Fixed(r *seal.Ring) func() *seal.Ring { return func() *seal.Ring { return r } }

// Node makes a node that closes with the test, and waits until the backend is reached.
func Node(t testing.TB, b cluster.Backend, r *seal.Ring) *cluster.Node {
	t.Helper()
	n := cluster.New(cluster.Options{Backend: b, Ring: Fixed(r)})
	t.Cleanup(n.Close)
	Eventually(t, "connected", func() bool { return n.Status().Connected })
	return n
}

// Eventually waits for a condition.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// Run runs the suite. Two backends made by open must share one store; open closes them with the test.
func Run(t *testing.T, open func(t *testing.T) cluster.Backend) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"call", testCall}, {"notes", testNotes}, {"errors", testErrors}, {"cancel", testCancel}, {"gone", testGone},
		{"callee dies", testCalleeDies}, {"caller dies", testCallerDies}, {"large", testLarge}, {"slow caller", testSlowCaller},
		{"slow handler", testSlowHandler}, {"many", testMany}, {"broadcast", testBroadcast}, {"other keys", testOtherKeys},
		{"facts", testFacts}, {"facts are bounded", testFactsBounded}, {"leases", testLeases}, {"hold", testHold},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &suite{t: t, open: open, ring: Ring(t)}
			s.a, s.b = s.node(), s.node()
			test.run(t, s)
		})
	}
}

type suite struct {
	t    *testing.T
	open func(t *testing.T) cluster.Backend
	ring *seal.Ring
	a, b *cluster.Node
}

func (s *suite) node() *cluster.Node {
	s.t.Helper()
	return Node(s.t, s.open(s.t), s.ring)
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func echo(_ context.Context, request []byte, _ func([]byte)) ([]byte, error) {
	return bytes.Clone(request), nil
}

func testCall(t *testing.T, s *suite) {
	if s.a.ID() == s.b.ID() || s.a.Alone() {
		t.Fatalf("ids %q, %q, alone %v", s.a.ID(), s.b.ID(), s.a.Alone())
	}
	for _, n := range []*cluster.Node{s.a, s.b} {
		n.Handle("who", func(_ context.Context, request []byte, _ func([]byte)) ([]byte, error) {
			return []byte(n.ID() + string(request)), nil
		})
	}
	for _, from := range []*cluster.Node{s.a, s.b} {
		for _, to := range []*cluster.Node{s.a, s.b} {
			if got, err := from.Call(within(t), to.ID(), "who", []byte("?"), nil); err != nil || string(got) != to.ID()+"?" {
				t.Errorf("got %q, %v", got, err)
			}
		}
	}
}

func testNotes(t *testing.T, s *suite) {
	const count = 500
	s.b.Handle("count", func(_ context.Context, _ []byte, note func([]byte)) ([]byte, error) {
		for i := range count {
			note(fmt.Appendf(nil, "%d", i))
		}
		return []byte("done"), nil
	})
	var got []string
	answer, err := s.a.Call(within(t), s.b.ID(), "count", nil, func(b []byte) { got = append(got, string(b)) })
	if err != nil || string(answer) != "done" || len(got) != count {
		t.Fatalf("got %d notes, %q, %v", len(got), answer, err)
	}
	for i, text := range got {
		if text != fmt.Sprint(i) {
			t.Fatalf("note %d is %q", i, text)
		}
	}
}

func testErrors(t *testing.T, s *suite) {
	want := &errs.Error{Op: `server "files"`, Kind: errs.Forbidden, Msg: "no", Data: []byte(`{"a":9007199254740993}`), RetryAfter: time.Second}
	s.b.Handle("refuse", func(context.Context, []byte, func([]byte)) ([]byte, error) { return nil, fmt.Errorf("so: %w", want) })
	s.b.Handle("plain", func(context.Context, []byte, func([]byte)) ([]byte, error) { return nil, errors.New("plain") })
	s.b.Handle("panic", func(context.Context, []byte, func([]byte)) ([]byte, error) { panic("oh") })
	_, err := s.a.Call(within(t), s.b.ID(), "refuse", nil, nil)
	got := errs.Of(err)
	if got.Op != want.Op || got.Kind != want.Kind || got.Msg != want.Msg || !bytes.Equal(got.Data, want.Data) || got.RetryAfter != want.RetryAfter {
		t.Errorf("got %+v", got)
	}
	for kind, want := range map[string]errs.Kind{"plain": errs.Internal, "panic": errs.Internal, "unknown": errs.Unsupported} {
		if _, err := s.a.Call(within(t), s.b.ID(), kind, nil, nil); errs.Of(err).Kind != want || err == nil {
			t.Errorf("%s: got %v", kind, err)
		}
	}
}

// waiting serves calls that wait until their context ends, and tells when they begin and why they end.
func waiting(n *cluster.Node) (began chan struct{}, ended chan error) {
	began, ended = make(chan struct{}, 16), make(chan error, 16)
	n.Handle("wait", func(ctx context.Context, _ []byte, _ func([]byte)) ([]byte, error) {
		began <- struct{}{}
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return nil, ctx.Err()
	})
	return began, ended
}

func await[T any](t testing.TB, what string, c <-chan T, most time.Duration) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(most):
		t.Fatalf("not within %v: %s", most, what)
		panic("unreachable")
	}
}

// call calls in the background.
func call(n *cluster.Node, ctx context.Context, replica, kind string) <-chan error { //nolint:revive // reads as n.Call
	failed := make(chan error, 1)
	go func() {
		_, err := n.Call(ctx, replica, kind, nil, nil)
		failed <- err
	}()
	return failed
}

func testCancel(t *testing.T, s *suite) {
	began, ended := waiting(s.b)
	ctx, cancel := context.WithCancel(within(t))
	failed := call(s.a, ctx, s.b.ID(), "wait")
	await(t, "the call begins", began, patience)
	cancel()
	if err := await(t, "the caller sees the cancel", failed, patience); !errors.Is(err, context.Canceled) {
		t.Errorf("caller: %v", err)
	}
	if err := await(t, "the handler sees the cancel", ended, patience); !errors.Is(err, context.Canceled) {
		t.Errorf("handler: %v", err)
	}
}

func testGone(t *testing.T, s *suite) {
	for _, id := range []string{"nobody", "", strings.Repeat("x", 1000)} {
		start := time.Now()
		_, err := s.a.Call(within(t), id, "x", nil, nil)
		if !errors.Is(err, cluster.ErrGone) || errs.Of(err).Kind != errs.Lost || time.Since(start) > time.Second {
			t.Errorf("%.10q: got %v after %v", id, err, time.Since(start))
		}
	}
	s.b.Close()
	if _, err := s.a.Call(within(t), s.b.ID(), "x", nil, nil); !errors.Is(err, cluster.ErrGone) {
		t.Errorf("a closed one: got %v", err)
	}
	if _, err := s.b.Call(within(t), s.a.ID(), "x", nil, nil); errs.Of(err).Kind != errs.Lost || err == nil {
		t.Errorf("from a closed one: got %v", err)
	}
}

// testCalleeDies closes the callee, which says so at once.
func testCalleeDies(t *testing.T, s *suite) {
	began, ended := waiting(s.b)
	failed := call(s.a, within(t), s.b.ID(), "wait")
	await(t, "the call begins", began, patience)
	s.b.Close()
	if err := await(t, "the caller learns of it", failed, 3*time.Second); err == nil || errs.Of(err).Kind != errs.Lost {
		t.Errorf("caller: %v", err)
	}
	await(t, "the handler ends", ended, time.Second)
}

func testCallerDies(t *testing.T, s *suite) {
	began, ended := waiting(s.b)
	failed := call(s.a, within(t), s.b.ID(), "wait")
	await(t, "the call begins", began, patience)
	s.a.Close()
	if err := await(t, "the caller ends", failed, time.Second); errs.Of(err).Kind != errs.Lost || err == nil {
		t.Errorf("caller: %v", err)
	}
	await(t, "the handler learns of it", ended, 5*time.Second)
}

func testLarge(t *testing.T, s *suite) {
	s.b.Handle("echo", func(ctx context.Context, request []byte, note func([]byte)) ([]byte, error) {
		note(request)
		return echo(ctx, request, note)
	})
	s.b.Handle("too large", func(context.Context, []byte, func([]byte)) ([]byte, error) {
		return make([]byte, cluster.MaxMessage+1), nil
	})
	for _, size := range []int{0, 1, 100 << 10, cluster.MaxMessage} {
		sent := make([]byte, size)
		rand.Read(sent)
		var noted []byte
		got, err := s.a.Call(within(t), s.b.ID(), "echo", sent, func(b []byte) { noted = b })
		if err != nil || !bytes.Equal(got, sent) || !bytes.Equal(noted, sent) {
			t.Errorf("%d bytes came back as %d, %v", size, len(got), err)
		}
	}
	if _, err := s.a.Call(within(t), s.b.ID(), "echo", make([]byte, cluster.MaxMessage+1), nil); errs.Of(err).Kind != errs.TooLarge || err == nil {
		t.Errorf("too large a request: %v", err)
	}
	if _, err := s.a.Call(within(t), s.b.ID(), "too large", nil, nil); errs.Of(err).Kind != errs.TooLarge || err == nil {
		t.Errorf("too large an answer: %v", err)
	}
}

// testSlowCaller shows that a handler is held back by a caller that does not take its notes, and nothing is lost.
func testSlowCaller(t *testing.T, s *suite) {
	const count = 400
	var made atomic.Int64
	s.b.Handle("flood", func(_ context.Context, _ []byte, note func([]byte)) ([]byte, error) {
		for range count {
			note(make([]byte, 1<<10))
			made.Add(1)
		}
		return nil, nil
	})
	taken := 0
	_, err := s.a.Call(within(t), s.b.ID(), "flood", nil, func([]byte) {
		if taken++; taken == 1 {
			// Whatever it may send ahead it has sent when another call, made after, is answered.
			for range 3 {
				if _, err := s.a.Call(within(t), s.b.ID(), "nothing", nil, nil); errs.Of(err).Kind != errs.Unsupported {
					t.Errorf("in between: %v", err)
				}
			}
		}
		if ahead := made.Load() - int64(taken); ahead > 200 {
			t.Errorf("the handler is %d notes ahead", ahead)
		}
	})
	if err != nil || taken != count {
		t.Errorf("got %d notes, %v", taken, err)
	}
}

// testSlowHandler shows that a handler that does not end keeps no other call waiting.
func testSlowHandler(t *testing.T, s *suite) {
	began, _ := waiting(s.b)
	s.b.Handle("echo", echo)
	ctx, cancel := context.WithCancel(within(t))
	var waits []<-chan error
	for range 10 {
		waits = append(waits, call(s.a, ctx, s.b.ID(), "wait"))
		await(t, "the call begins", began, patience)
	}
	if _, err := s.a.Call(within(t), s.b.ID(), "echo", nil, nil); err != nil {
		t.Error(err)
	}
	cancel()
	for _, w := range waits {
		await(t, "the calls end", w, patience)
	}
}

// testMany shows that answers go to the calls they belong to.
func testMany(t *testing.T, s *suite) {
	for _, n := range []*cluster.Node{s.a, s.b} {
		n.Handle("echo", func(_ context.Context, request []byte, note func([]byte)) ([]byte, error) {
			note(request)
			return request, nil
		})
	}
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			from, to := s.a, s.b
			if i%2 == 1 {
				from, to = to, from
			}
			sent := fmt.Appendf(nil, "tag %d", i)
			var noted []byte
			got, err := from.Call(within(t), to.ID(), "echo", sent, func(b []byte) { noted = b })
			if err != nil || !bytes.Equal(got, sent) || !bytes.Equal(noted, sent) {
				t.Errorf("%s came back as %q, %q, %v", sent, got, noted, err)
			}
		})
	}
	all.Wait()
}

func testBroadcast(t *testing.T, s *suite) {
	c := s.node()
	heard := make(chan string, 16)
	for name, n := range map[string]*cluster.Node{"a": s.a, "b": s.b, "c": c} {
		n.OnBroadcast("news", func(body []byte) { heard <- name + string(body) })
		n.OnBroadcast("other", func([]byte) { t.Error("another kind was told") })
	}
	if err := s.a.Broadcast(within(t), "news", []byte("!")); err != nil {
		t.Fatal(err)
	}
	got := []string{await(t, "one hears", heard, patience), await(t, "two hear", heard, patience)}
	slices.Sort(got)
	if !slices.Equal(got, []string{"b!", "c!"}) || len(heard) > 0 {
		t.Errorf("got %v", got)
	}
}

// testOtherKeys shows that a replica with other keys is not listened to, and nobody waits for it for long.
func testOtherKeys(t *testing.T, s *suite) {
	stranger := Node(t, s.open(t), Ring(t))
	s.b.OnBroadcast("news", func(body []byte) {
		if string(body) != "real" {
			t.Errorf("heard a stranger: %q", body)
		}
	})
	stranger.Handle("echo", echo)
	if err := stranger.Broadcast(within(t), "news", []byte("false")); err != nil {
		t.Error(err)
	}
	start := time.Now()
	if _, err := s.a.Call(within(t), stranger.ID(), "echo", nil, nil); !errors.Is(err, cluster.ErrGone) || time.Since(start) > 10*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
	if facts, err := stranger.Facts(within(t), "k"); err != nil || len(facts) > 0 {
		t.Errorf("facts: %v, %v", facts, err)
	}
}

func testFacts(t *testing.T, s *suite) {
	ctx, key, soon := within(t), fmt.Sprint("session ", time.Now().UnixNano()), time.Now().Add(time.Hour)
	put := func(field, value string, expires time.Time) {
		t.Helper()
		if err := s.a.Put(ctx, key, field, value, expires); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want ...string) {
		t.Helper()
		facts, err := s.b.Facts(ctx, key)
		var got []string
		for field, value := range facts {
			got = append(got, field+"="+value)
		}
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	check()
	put("level", "debug", soon)
	put("uri\x00 é", strings.Repeat("v", 3), soon)
	check("level=debug", "uri\x00 é=vvv")
	put("level", "", soon)
	check("level=", "uri\x00 é=vvv")
	if err := s.b.Drop(ctx, key, "level"); err != nil {
		t.Fatal(err)
	}
	check("uri\x00 é=vvv")
	put("uri\x00 é", "gone", time.Now().Add(-time.Second))
	check()
	put("brief", "1", time.Now().Add(50*time.Millisecond))
	put("long", "1", soon)
	Eventually(t, "a field expires", func() bool { f, err := s.b.Facts(ctx, key); return err == nil && len(f) == 1 && f["long"] == "1" })
	put("brief", "2", time.Now().Add(time.Minute)) // does not shorten the other's time
	check("brief=2", "long=1")
	if err := s.b.Drop(ctx, key+" never", "x"); err != nil {
		t.Error(err)
	}
}

func testFactsBounded(t *testing.T, s *suite) {
	ctx, key, soon := within(t), fmt.Sprint("full ", time.Now().UnixNano()), time.Now().Add(time.Minute)
	for i := range cluster.MaxFields {
		if err := s.a.Put(ctx, key, fmt.Sprint(i), "v", soon); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.a.Put(ctx, key, "one more", "v", soon); !errors.Is(err, cluster.ErrFull) || errs.Of(err).Kind != errs.Overloaded {
		t.Errorf("one field more: %v", err)
	}
	if err := s.a.Put(ctx, key, "0", "changed", soon); err != nil {
		t.Errorf("a field that is there: %v", err)
	}
	for name, err := range map[string]error{
		"value": s.a.Put(ctx, key+"2", "f", strings.Repeat("v", cluster.MaxValue+1), soon),
		"key":   s.a.Put(ctx, strings.Repeat("v", 5000), "f", "", soon),
		"field": s.a.Put(ctx, key+"2", strings.Repeat("v", 5000), "", soon),
	} {
		if err == nil || errs.Of(err).Kind != errs.TooLarge {
			t.Errorf("a large %s: %v", name, err)
		}
	}
}

func testLeases(t *testing.T, s *suite) {
	ctx, name := within(t), fmt.Sprint("lease ", time.Now().UnixNano())
	first, err := s.a.Acquire(ctx, name, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []*cluster.Node{s.a, s.b} {
		if _, err := n.Acquire(ctx, name, time.Minute); !errors.Is(err, cluster.ErrHeld) {
			t.Errorf("a second one: %v", err)
		}
	}
	if err := first.Renew(ctx); err != nil {
		t.Error(err)
	}
	if err := first.Release(ctx); err != nil {
		t.Error(err)
	}
	brief, err := s.b.Acquire(ctx, name, 50*time.Millisecond)
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	var next *cluster.Lease
	Eventually(t, "the lease expires", func() bool { next, err = s.a.Acquire(ctx, name, time.Minute); return err == nil })
	if err := brief.Release(ctx); err != nil {
		t.Error(err)
	}
	if err := brief.Renew(ctx); !errors.Is(err, cluster.ErrHeld) {
		t.Errorf("a lost lease was renewed: %v", err)
	}
	if err := next.Renew(ctx); err != nil {
		t.Errorf("the owner of a lost lease released that of the next: %v", err)
	}
}

func testHold(t *testing.T, s *suite) {
	name := fmt.Sprint("hold ", time.Now().UnixNano())
	var inside atomic.Int64
	began := make(chan string, 4)
	hold := func(n *cluster.Node) (cancel func(), ended chan error) {
		ctx, stop := context.WithCancel(within(t))
		ended = make(chan error, 1)
		go func() {
			ended <- n.Hold(ctx, name, func(ctx context.Context) {
				if inside.Add(1) > 1 {
					t.Error("two hold it")
				}
				began <- n.ID()
				<-ctx.Done()
				inside.Add(-1)
			})
		}()
		return stop, ended
	}
	stopA, endedA := hold(s.a)
	await(t, "the first holds it", began, patience)
	stopB, endedB := hold(s.b)
	stopA()
	if err := await(t, "the first ends", endedA, patience); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if id := await(t, "the second holds it", began, patience); id != s.b.ID() {
		t.Errorf("%s holds it", id)
	}
	stopB()
	await(t, "the second ends", endedB, patience)
	if err := s.a.Hold(within(t), name, func(context.Context) {}); err != nil {
		t.Errorf("one that returns by itself: %v", err)
	}
}
