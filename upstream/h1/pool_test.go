package h1_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toolcrib/toolcrib/upstream/h1"
)

// pipes dials in memory, for tests with a fake clock. f answers a connection's requests.
func pipes(f func(p *peer)) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer func() { _ = far.Close() }()
			f(&peer{Conn: far, r: bufio.NewReader(far)})
		}()
		return near, nil
	}
}

func echo(p *peer) {
	for {
		body, ok := p.request()
		if !ok {
			return
		}
		p.say(answer(body))
	}
}

func TestIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := h1.New(h1.Options{Addr: "a:1", Dial: pipes(echo), IdleTimeout: 10 * time.Second})
		defer c.Close()
		var open [3]h1.Response // three connections at once
		for i := range open {
			if err := c.Do(t.Context(), post("/", "hi"), &open[i]); err != nil {
				t.Fatal(err)
			}
		}
		for i := range open { // given back at 0, 4 and 8 seconds
			if _, err := io.ReadAll(&open[i]); err != nil {
				t.Fatal(err)
			}
			time.Sleep(4 * time.Second)
		}
		for _, want := range []struct {
			after int // seconds
			idle  int
		}{{0, 2}, {1, 2}, {2, 1}, {2, 1}, {1, 0}, {100, 0}} { // at 12, 13, 15, 17, 18 and 118 seconds
			time.Sleep(time.Duration(want.after) * time.Second)
			synctest.Wait()
			if st := c.Stats(); st.Idle != want.idle || st.Active != 0 {
				t.Errorf("%+v, want %d idle", st, want.idle)
			}
		}
		mustCall(t, c, post("/", "hi"), "hi") // the timer is armed anew
		mustCall(t, c, post("/", "hi"), "hi")
		if st := c.Stats(); st.Idle != 1 || st.Dials != 4 {
			t.Errorf("%+v", st)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if st := c.Stats(); st.Idle != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestLastInFirstOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := h1.New(h1.Options{Addr: "a:1", Dial: pipes(echo), IdleTimeout: 10 * time.Second})
		defer c.Close()
		var a, b h1.Response
		_ = c.Do(t.Context(), post("/", "hi"), &a)
		_ = c.Do(t.Context(), post("/", "hi"), &b)
		_, _ = io.ReadAll(&a)
		_, _ = io.ReadAll(&b)
		for range 5 {
			time.Sleep(3 * time.Second)
			mustCall(t, c, post("/", "hi"), "hi")
		}
		if st := c.Stats(); st.Idle != 1 || st.Dials != 2 { // the one not needed has gone
			t.Errorf("%+v", st)
		}
	})
}

func TestTimeLimitsExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"); p.hold() }
		c := h1.New(h1.Options{Addr: "a:1", Dial: pipes(silent)})
		defer c.Close()
		q := post("/", "hi")
		q.Timeout = 7 * time.Second
		var p h1.Response
		if err := c.Do(t.Context(), q, &p); err != nil {
			t.Fatal(err)
		}
		p.SetTimeout(3 * time.Second)
		begun := time.Now()
		for i := range 3 {
			_, err := p.Read(make([]byte, 10))
			if d := time.Since(begun); err != os.ErrDeadlineExceeded || d != time.Duration(i+1)*3*time.Second { //nolint:errorlint // the contract is the bare error
				t.Errorf("%v after %v", err, d)
			}
		}
		p.Close()

		c = h1.New(h1.Options{Addr: "a:1", Dial: pipes(func(p *peer) { p.hold() })})
		defer c.Close()
		begun = time.Now()
		_, _, err := call(t.Context(), c, q)
		wantPhase(t, err, h1.PhaseHead, os.ErrDeadlineExceeded)
		if d := time.Since(begun); d != 7*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

func TestDialTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limit := 4 * time.Second
		c := h1.New(h1.Options{
			Addr: "a:1", DialTimeout: func() time.Duration { return limit }, MaxConns: 1,
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() },
		})
		defer c.Close()
		for range 2 { // the place is given back
			limit += time.Second
			begun := time.Now()
			_, _, err := call(t.Context(), c, post("/"))
			wantPhase(t, err, h1.PhaseDial, os.ErrDeadlineExceeded)
			if d := time.Since(begun); d != limit || !strings.Contains(err.Error(), "a:1 within "+limit.String()) {
				t.Errorf("%v after %v", err, d)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := call(ctx, c, post("/"))
		wantPhase(t, err, h1.PhaseDial, context.DeadlineExceeded)
	})
}

func TestDialError(t *testing.T) {
	broken := errors.New("no route")
	c := client(t, h1.Options{Addr: "a:1", MaxConns: 1, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, broken }})
	for range 3 {
		_, _, err := call(t.Context(), c, post("/"))
		wantPhase(t, err, h1.PhaseDial, broken)
	}
	if st := c.Stats(); st.Dials != 3 || st.Active+st.Idle != 0 {
		t.Errorf("%+v", st)
	}
}

// TestWaitersAreServedInOrder queues calls one by one behind a single connection.
func TestWaitersAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		c := h1.New(h1.Options{Addr: "a:1", MaxConns: 1, Dial: pipes(func(p *peer) {
			for {
				body, ok := p.request()
				if !ok {
					return
				}
				order = append(order, body)
				time.Sleep(time.Second)
				if len(order)%4 == 0 { // the next waiter has to dial
					p.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
					return
				}
				p.say(answer(""))
			}
		})})
		defer c.Close()
		var wg sync.WaitGroup
		want := make([]string, 0, 10)
		for i := range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			wg.Go(func() {
				_, _, err := call(ctx, c, post("/", fmt.Sprint(i)))
				if i == 5 {
					e := wantPhase(t, err, h1.PhaseDial, context.Canceled)
					if !strings.Contains(e.Error(), "waiting for one of 1 connections") {
						t.Error(e)
					}
				} else if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			if i == 5 {
				cancel()
				synctest.Wait()
				continue
			}
			want = append(want, fmt.Sprint(i))
		}
		wg.Wait()
		if fmt.Sprint(order) != fmt.Sprint(want) {
			t.Errorf("order %v, want %v", order, want)
		}
		if st := c.Stats(); st.Active != 0 || st.Idle != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestMaxIdle(t *testing.T) {
	for _, tc := range []struct{ max, want int }{{2, 2}, {-1, 0}, {0, 4}} {
		c := client(t, h1.Options{Addr: serve(t, echo), MaxIdle: tc.max, IdleTimeout: -1})
		var open [4]h1.Response
		for i := range open {
			if err := c.Do(t.Context(), post("/", "hi"), &open[i]); err != nil {
				t.Fatal(err)
			}
		}
		for i := range open {
			_, _ = io.ReadAll(&open[i])
		}
		if st := c.Stats(); st.Idle != tc.want || st.Active != 0 {
			t.Errorf("MaxIdle %d: %+v", tc.max, st)
		}
	}
}

// TestClose refuses new calls and lets those begun end, waiting ones included.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := h1.New(h1.Options{Addr: "a:1", MaxConns: 2, Dial: pipes(echo)})
		mustCall(t, c, post("/", "hi"), "hi")
		var a, b h1.Response
		if err := errors.Join(c.Do(t.Context(), post("/", "hi"), &a), c.Do(t.Context(), post("/", "hi"), &b)); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { mustCall(t, c, post("/", "waited"), "waited") })
		synctest.Wait()
		b.Close()
		c.Close()
		c.Close()
		_, _, err := call(t.Context(), c, post("/", "hi"))
		wantPhase(t, err, h1.PhaseDial, h1.ErrClosed)
		if got, err := io.ReadAll(&a); string(got) != "hi" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		wg.Wait()
		if st := c.Stats(); st.Active+st.Idle != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestAbort ends calls in every phase.
func TestAbort(t *testing.T) {
	reached := make(chan struct{}, 10)
	addr := serve(t, func(p *peer) {
		body, _ := p.request()
		if body == "body" {
			p.say("HTTP/1.1 200 OK\r\n\r\nhi")
		}
		reached <- struct{}{}
		p.hold()
	})
	dials := 0
	c := h1.New(h1.Options{Addr: addr, MaxConns: 3, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials++; dials == 3 {
			reached <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}})
	var wg sync.WaitGroup
	for _, phase := range []h1.Phase{h1.PhaseBody, h1.PhaseHead, h1.PhaseDial} {
		wg.Go(func() {
			_, _, err := call(t.Context(), c, post("/", string(phase)))
			wantPhase(t, err, phase, h1.ErrClosed)
		})
		<-reached
	}
	wg.Go(func() {
		_, _, err := call(t.Context(), c, post("/", "waiter"))
		wantPhase(t, err, h1.PhaseDial, h1.ErrClosed)
	})
	time.Sleep(5 * time.Millisecond) // most likely it waits by now; it fails alike when it does not
	c.Abort()
	wg.Wait()
	if st := c.Stats(); st.Active+st.Idle != 0 {
		t.Errorf("%+v", st)
	}
}

// TestManyCallers mixes good calls, abandoned ones and cancelled ones, and looks for crossed answers.
func TestManyCallers(t *testing.T) {
	var active, most atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if len(b)%7 == 3 {
			w.Header().Set("Connection", "close")
		}
		_, _ = w.Write(b)
	}))
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		switch st {
		case http.StateNew:
			for n := active.Add(1); n > most.Load(); {
				most.Store(n)
			}
		case http.StateClosed:
			active.Add(-1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	const conns = 40
	c := client(t, h1.Options{Addr: address(s), MaxConns: conns, MaxIdle: 20})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			for j := range 10 {
				body := fmt.Sprintf("%d %d %s", i, j, strings.Repeat("x", rand.IntN(20_000)))
				if err := oneOfMany(c, body, j); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if st := c.Stats(); st.Active != 0 || st.Idle > 20 {
		t.Errorf("%+v", st)
	}
	if most.Load() > 2*conns { // the server learns late of closed ones
		t.Errorf("%d connections", most.Load())
	}
}

func oneOfMany(c *h1.Client, body string, j int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	canceled := j%5 == 1
	if canceled {
		time.AfterFunc(rand.N(2*time.Millisecond), cancel)
	}
	q := post("/", body)
	q.Safe, q.Timeout = true, time.Minute
	var p h1.Response
	err := c.Do(ctx, q, &p)
	if err == nil {
		defer p.Close()
		if j%5 == 2 {
			return nil // abandoned
		}
		var got []byte
		if got, err = io.ReadAll(&p); err == nil && string(got) != body {
			return fmt.Errorf("got %.20q, want %.20q", got, body)
		}
	}
	if canceled && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// TestKeepAliveRace calls a server that closes idle connections about when they are used again.
func TestKeepAliveRace(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	}))
	s.Config.IdleTimeout = 300 * time.Microsecond
	s.Start()
	t.Cleanup(s.Close)
	c := client(t, h1.Options{Addr: address(s)})
	q := post("/", "hi")
	q.Safe = true
	for i := range 600 {
		mustCall(t, c, q, "hi")
		for end := time.Now().Add(time.Duration(i%40) * 20 * time.Microsecond); time.Now().Before(end); {
			continue
		}
	}
	if st := c.Stats(); st.Active != 0 || st.Dials < 2 {
		t.Errorf("%+v", st)
	}
}
