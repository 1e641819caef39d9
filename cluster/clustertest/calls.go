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
)

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
	for left := most; ; left -= beat { // beat by beat: while the machine stands still no time passes
		select {
		case v := <-c:
			return v
		case <-time.After(beat):
			if left <= 0 {
				t.Fatalf("not within %v: %s", most, what)
			}
		}
	}
}

const beat = 20 * time.Millisecond

// wait calls what waiting serves, in the background.
func wait(n *cluster.Node, ctx context.Context, replica string) <-chan error { //nolint:revive // reads as n.Call
	failed := make(chan error, 1)
	go func() {
		_, err := n.Call(ctx, replica, "wait", nil, nil)
		failed <- err
	}()
	return failed
}

func testCancel(t *testing.T, s *suite) {
	began, ended := waiting(s.b)
	ctx, cancel := context.WithCancel(within(t))
	failed := wait(s.a, ctx, s.b.ID())
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
		err := await(t, "a refusal", wait(s.a, within(t), id), time.Second)
		if !errors.Is(err, cluster.ErrGone) || errs.Of(err).Kind != errs.Lost {
			t.Errorf("%.10q: got %v", id, err)
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
	failed := wait(s.a, within(t), s.b.ID())
	await(t, "the call begins", began, patience)
	s.b.Close()
	if err := await(t, "the caller learns of it", failed, 3*time.Second); err == nil || errs.Of(err).Kind != errs.Lost {
		t.Errorf("caller: %v", err)
	}
	_ = await(t, "the handler ends", ended, time.Second) // whatever it makes of that
}

// testLeaves closes a replica that is called without end: each call is answered, or was not begun and its caller knows.
func testLeaves(t *testing.T, s *suite) {
	var served atomic.Int64
	began := make(chan struct{}, 1)
	s.b.Handle("count", func(context.Context, []byte, func([]byte)) ([]byte, error) {
		served.Add(1)
		select {
		case began <- struct{}{}:
		default:
		}
		return nil, nil
	})
	var callers sync.WaitGroup
	var answered atomic.Int64
	for range 16 {
		callers.Go(func() {
			for {
				_, err := s.a.Call(within(t), s.b.ID(), "count", nil, nil)
				if err == nil {
					answered.Add(1)
					continue
				}
				if !errors.Is(err, cluster.ErrUnsent) || !errors.Is(err, cluster.ErrGone) || errs.Of(err).Kind != errs.Lost {
					t.Errorf("got %v", err)
				}
				return
			}
		})
	}
	await(t, "calls begin", began, patience)
	s.b.Refuse()
	s.b.Drain(within(t))
	s.b.Close()
	callers.Wait()
	if served.Load() != answered.Load() {
		t.Errorf("%d were served, %d answered", served.Load(), answered.Load())
	}
}

func testCallerDies(t *testing.T, s *suite) {
	began, ended := waiting(s.b)
	failed := wait(s.a, within(t), s.b.ID())
	await(t, "the call begins", began, patience)
	s.a.Close()
	if err := await(t, "the caller ends", failed, time.Second); errs.Of(err).Kind != errs.Lost || err == nil {
		t.Errorf("caller: %v", err)
	}
	_ = await(t, "the handler learns of it", ended, 5*time.Second) // by a ping, or by what its own side was told
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
	waits := make([]<-chan error, 10)
	for i := range waits {
		waits[i] = wait(s.a, ctx, s.b.ID())
		await(t, "the call begins", began, patience)
	}
	if _, err := s.a.Call(within(t), s.b.ID(), "echo", nil, nil); err != nil {
		t.Error(err)
	}
	cancel()
	for _, w := range waits {
		if err := await(t, "the calls end", w, patience); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
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
	if len(heard) != 2 { // it returns when they have heard
		t.Errorf("%d have heard", len(heard))
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
	if unheard, err := stranger.Announce(within(t), time.Second/2, "news", []byte("false")); err != nil || unheard < 2 {
		t.Errorf("%d have not heard a stranger, %v", unheard, err)
	}
	start := time.Now()
	if _, err := s.a.Call(within(t), stranger.ID(), "echo", nil, nil); !errors.Is(err, cluster.ErrGone) || time.Since(start) > 10*time.Second {
		t.Errorf("got %v after %v", err, time.Since(start))
	}
	if facts, err := stranger.Facts(within(t), "k"); err != nil || len(facts) > 0 {
		t.Errorf("facts: %v, %v", facts, err)
	}
}
