package h1_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/upstream/h1"
)

// TestDeadConnections closes the connection at each point at which a server may, after a first good exchange.
func TestDeadConnections(t *testing.T) {
	for _, tc := range []struct {
		name  string
		safe  bool
		after func(p *peer) // on the first connection, after its first response
		then  func(p *peer) // after the client may go on
		dials int64
		fails bool
	}{
		{"closed while idle", false, func(p *peer) { _ = p.Close() }, nil, 2, false},
		{"reset while idle", false, func(p *peer) { _ = p.Conn.(*net.TCPConn).SetLinger(0); _ = p.Close() }, nil, 2, false},
		{"stray bytes while idle", false, func(p *peer) { p.say(answer("evil")) }, (*peer).hold, 2, false},
		{"half-closed while idle", false, func(p *peer) { _ = p.Conn.(*net.TCPConn).CloseWrite() }, (*peer).hold, 2, false},
		{"closed after the request, safe", true, nil, func(p *peer) { p.request() }, 2, false},
		{"closed after the request", false, nil, func(p *peer) { p.request() }, 1, true},
		{"reset after the request, safe", true, nil, func(p *peer) { p.request(); _ = p.Conn.(*net.TCPConn).SetLinger(0) }, 2, false},
		{"reset after the request", false, nil, func(p *peer) { p.request(); _ = p.Conn.(*net.TCPConn).SetLinger(0) }, 1, true},
		{"closed inside the head, safe", true, nil, func(p *peer) { p.request(); p.say("HTTP/1.1 200") }, 1, true},
		{"closed after an interim head, safe", true, nil, func(p *peer) { p.request(); p.say("HTTP/1.1 103 Early Hints\r\n\r\n") }, 1, true},
		{"garbage, safe", true, nil, func(p *peer) { p.request(); p.say("garbage") }, 1, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			idle := make(chan struct{})  // closed when the client has its first response
			ready := make(chan struct{}) // closed when it may go on
			c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
				if p.n > 0 {
					p.request()
					p.say(answer("two"))
					p.hold()
					return
				}
				p.request()
				p.say(answer("one"))
				<-idle
				if tc.after != nil {
					tc.after(p)
				}
				close(ready)
				if tc.then != nil {
					tc.then(p)
				}
			})})
			mustCall(t, c, post("/"), "one")
			close(idle)
			<-ready
			q := post("/", "{}")
			q.Safe = tc.safe
			_, body, err := call(t.Context(), c, q)
			if tc.fails {
				if e := wantPhase(t, err, h1.PhaseHead, nil); !e.Reused || !strings.Contains(err.Error(), "reused") {
					t.Errorf("error %q", err)
				}
			} else if err != nil || body != "two" {
				t.Errorf("body %q, error %v", body, err)
			}
			if st := c.Stats(); st.Dials != tc.dials {
				t.Errorf("%+v, want %d dials", st, tc.dials)
			}
		})
	}
}

// TestFreshConnectionIsNotRetried: only a reused connection may be replaced.
func TestFreshConnectionIsNotRetried(t *testing.T) {
	var asked atomic.Int64
	c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
		p.request()
		asked.Add(1)
	})})
	q := post("/", "{}")
	q.Safe = true
	_, _, err := call(t.Context(), c, q)
	e := wantPhase(t, err, h1.PhaseHead, io.ErrUnexpectedEOF)
	if e.Reused || asked.Load() != 1 {
		t.Errorf("%v after %d requests", err, asked.Load())
	}
}

// TestFailedWriteIsReplaced uses connections that cannot be probed, so that only the write tells.
func TestFailedWriteIsReplaced(t *testing.T) {
	addr := serve(t, func(p *peer) {
		for {
			if _, ok := p.request(); !ok {
				return
			}
			p.say(answer("hi"))
		}
	})
	var last *failing
	c := client(t, h1.Options{Addr: addr, Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		last = &failing{Conn: nc}
		return last, err
	}})
	mustCall(t, c, post("/"), "hi")
	mustCall(t, c, post("/"), "hi")
	last.fail = true
	mustCall(t, c, post("/"), "hi")
	if st := c.Stats(); st.Dials != 2 {
		t.Errorf("%+v", st)
	}
}

type failing struct {
	net.Conn
	fail bool
}

func (f *failing) Write(b []byte) (int, error) {
	if f.fail {
		return 0, syscall.EPIPE
	}
	return f.Conn.Write(b)
}

func TestTimeout(t *testing.T) {
	for _, response := range []string{"", "HTTP/1.1 200 OK\r\nContent-", "HTTP/1.1 103 Early Hints\r\n\r\n"} {
		c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
			p.request()
			p.say(response)
			p.hold()
		})})
		q := post("/", "{}")
		q.Safe, q.Timeout = true, 200*time.Millisecond
		_, _, err := call(t.Context(), c, q)
		e := wantPhase(t, err, h1.PhaseHead, os.ErrDeadlineExceeded)
		if !e.Timeout() || !strings.Contains(err.Error(), "within 200ms") {
			t.Errorf("error %q", err)
		}
		if st := c.Stats(); st.Dials != 1 || st.Active+st.Idle != 0 {
			t.Errorf("%+v", st)
		}
	}
}

// TestTimeoutEndsWithTheHead: neither a slow body nor the next exchange is bounded by it.
func TestTimeoutEndsWithTheHead(t *testing.T) {
	const limit = 2500 * time.Millisecond // longer than a busy machine stands still
	go1 := make(chan struct{})
	c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh")
		<-go1
		time.Sleep(limit + limit/10)
		p.say("i")
		p.request()
		time.Sleep(limit + limit/10)
		p.say(answer("ho"))
		p.hold()
	})})
	q := post("/", "{}")
	q.Timeout = limit
	var p h1.Response
	if err := c.Do(t.Context(), q, &p); err != nil {
		t.Fatal(err)
	}
	close(go1)
	if b, err := io.ReadAll(&p); string(b) != "hi" || err != nil {
		t.Fatalf("%q, %v", b, err)
	}
	mustCall(t, c, post("/"), "ho")
	if st := c.Stats(); st.Dials != 1 {
		t.Errorf("%+v", st)
	}
}

func TestWriteTimeout(t *testing.T) {
	c := client(t, h1.Options{Addr: serve(t, func(p *peer) { _, _ = p.r.Peek(1); <-p.done })})
	q := post("/", strings.Repeat("x", 32<<20))
	q.Timeout = 50 * time.Millisecond
	_, _, err := call(t.Context(), c, q)
	wantPhase(t, err, h1.PhaseWrite, os.ErrDeadlineExceeded)
}

// TestCancel ends the context while each phase blocks.
func TestCancel(t *testing.T) {
	for _, tc := range []struct {
		name  string
		phase h1.Phase
		body  int
		serve func(p *peer, reached func())
	}{
		{"waiting for the head", h1.PhaseHead, 2, func(p *peer, reached func()) { p.request(); reached(); p.hold() }},
		{"inside the head", h1.PhaseHead, 2, func(p *peer, reached func()) { p.request(); p.say("HTTP/1.1 200"); reached(); p.hold() }},
		{"writing", h1.PhaseWrite, 32 << 20, func(p *peer, reached func()) { _, _ = p.r.Peek(1); reached(); <-p.done }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := client(t, h1.Options{Addr: serve(t, func(p *peer) { tc.serve(p, cancel) })})
			q := post("/", strings.Repeat("x", tc.body))
			q.Safe, q.Timeout = true, time.Minute
			_, _, err := call(ctx, c, q)
			wantPhase(t, err, tc.phase, context.Canceled)
			if st := c.Stats(); st.Active+st.Idle != 0 || st.Dials != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestCanceledBefore(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := client(t, h1.Options{Addr: "127.0.0.1:1"})
	_, _, err := call(ctx, c, post("/"))
	wantPhase(t, err, h1.PhaseDial, context.Canceled)
	if st := c.Stats(); st.Dials != 0 {
		t.Errorf("%+v", st)
	}
}

// TestCancelBody: Read returns ctx.Err() itself, whether it blocks or comes later, and the server sees the end.
func TestCancelBody(t *testing.T) {
	for _, framing := range []string{"Content-Length: 9\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "\r\nhi"} {
		for _, timeout := range []time.Duration{0, time.Minute} {
			gone := make(chan struct{})
			c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
				p.request()
				p.say("HTTP/1.1 200 OK\r\n" + framing)
				p.hold()
				close(gone)
			})})
			ctx, cancel := context.WithCancel(t.Context())
			var p h1.Response
			if err := c.Do(ctx, post("/"), &p); err != nil {
				t.Fatal(err)
			}
			p.SetTimeout(timeout)
			b := make([]byte, 100)
			if n, err := p.Read(b); string(b[:n]) != "hi" || err != nil {
				t.Fatalf("%q, %v", b[:n], err)
			}
			time.AfterFunc(10*time.Millisecond, cancel)
			for range 2 {
				if _, err := p.Read(b); err != context.Canceled { //nolint:errorlint // the contract is the bare error
					t.Fatalf("error %v", err)
				}
			}
			<-gone // without Close
			p.Close()
			if st := c.Stats(); st.Active+st.Idle != 0 {
				t.Errorf("%+v", st)
			}
		}
	}
}

// TestCancelAfterBody must not harm the connection, which may serve another call by then.
func TestCancelAfterBody(t *testing.T) {
	c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
		for {
			if _, ok := p.request(); !ok {
				return
			}
			p.say(answer("hi"))
		}
	})})
	var p h1.Response
	for range 200 {
		ctx, cancel := context.WithCancel(t.Context())
		if err := c.Do(ctx, post("/"), &p); err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(&p); string(b) != "hi" || err != nil {
			t.Fatalf("%q, %v", b, err)
		}
		cancel()
		mustCall(t, c, post("/"), "hi")
	}
	if st := c.Stats(); st.Dials != 1 {
		t.Errorf("%+v", st)
	}
}

// TestSlowBody delivers a body byte by byte, each after the reader has timed out, in every framing.
func TestSlowBody(t *testing.T) {
	for _, tc := range []struct{ rest, body string }{
		{"Content-Length: 5\r\n\r\nhello", "hello"},
		{"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: v\r\n\r\n", "hello"},
	} {
		head, body, _ := strings.Cut(tc.rest, "\r\n\r\n")
		next := make(chan struct{})
		c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
			p.request()
			p.say("HTTP/1.1 200 OK\r\n" + head + "\r\n\r\n")
			for i := range body {
				<-next
				p.say(body[i : i+1])
			}
			p.hold()
		})})
		var p h1.Response
		if err := c.Do(t.Context(), post("/"), &p); err != nil {
			t.Fatal(err)
		}
		p.SetTimeout(2 * time.Millisecond)
		var got []byte
		b := make([]byte, 100)
		fed := 0
		for {
			n, err := p.Read(b)
			got = append(got, b[:n]...)
			if errors.Is(err, io.EOF) {
				break
			}
			if err == nil {
				continue
			}
			if err != os.ErrDeadlineExceeded { //nolint:errorlint // the contract is the bare error
				t.Fatal(err)
			}
			if fed < len(body) {
				next <- struct{}{}
				fed++
			}
		}
		if string(got) != tc.body {
			t.Errorf("body %q", got)
		}
		p.Close()
		if st := c.Stats(); st.Idle != 1 {
			t.Errorf("%+v", st)
		}
	}
}

// TestStream reads events as they come: a Read never waits for more than the first byte.
func TestStream(t *testing.T) {
	next := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 20 {
			_, _ = fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			<-next
		}
	}))
	t.Cleanup(s.Close)
	c := client(t, h1.Options{Addr: address(s)})
	var p h1.Response
	if err := c.Do(t.Context(), post("/"), &p); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if ct := p.Header("Content-Type"); ct != "text/event-stream" || p.ContentLength() != -1 {
		t.Errorf("%q, %d", ct, p.ContentLength())
	}
	b := make([]byte, 4096)
	for i := range 20 {
		n, err := p.Read(b)
		if want := fmt.Sprintf("data: %d\n\n", i); string(b[:n]) != want || err != nil {
			t.Fatalf("%q, %v; want %q", b[:n], err, want)
		}
		next <- struct{}{}
	}
	if n, err := p.Read(b); n != 0 || !errors.Is(err, io.EOF) {
		t.Fatalf("%d, %v", n, err)
	}
}

// TestEarlyResponse: a server that refuses the body is heard, whether it closes or just stops reading.
func TestEarlyResponse(t *testing.T) {
	const refusal = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
	big := []string{strings.Repeat("x", 10<<20), strings.Repeat("y", 10<<20)}
	for name, f := range map[string]func(p *peer){
		"stops reading": func(p *peer) { _, _ = p.r.Peek(1); p.say(refusal); <-p.done },
		"closes":        func(p *peer) { _, _ = p.r.Peek(1); p.say(refusal) },
		"half-closes":   func(p *peer) { _, _ = p.r.Peek(1); p.say(refusal); _ = p.Conn.(*net.TCPConn).CloseWrite(); p.hold() },
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, h1.Options{Addr: serve(t, f)})
			q := post("/", big...)
			q.Timeout = time.Minute
			status, body, err := call(t.Context(), c, q)
			if status != 413 || body != "big" || err != nil {
				t.Errorf("status %d, body %q, error %v", status, body, err)
			}
			if st := c.Stats(); st.Active != 0 || name == "stops reading" && st.Idle != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestEarlyResponseOfNetHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 1000)); err != nil {
			http.Error(w, "too big", http.StatusRequestEntityTooLarge)
		}
	}))
	t.Cleanup(s.Close)
	st := httptest.NewTLSServer(s.Config.Handler)
	t.Cleanup(st.Close)
	plain := client(t, h1.Options{Addr: address(s)})
	secure := client(t, h1.Options{Addr: address(st), TLS: st.Client().Transport.(*http.Transport).TLSClientConfig})
	for _, size := range []int{2000, 200_000, 20 << 20} {
		for name, c := range map[string]*h1.Client{"plain": plain, "TLS": secure} {
			status, body, err := call(t.Context(), c, post("/", strings.Repeat("x", size)))
			if status != 413 || body != "too big\n" || err != nil {
				t.Errorf("%s, size %d: status %d, body %q, error %v", name, size, status, body, err)
			}
		}
	}
}

// TestVectors sends bodies of awkward shapes and expects them whole.
func TestVectors(t *testing.T) {
	c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
		for {
			body, ok := p.request()
			if !ok {
				return
			}
			p.say(answer(body))
		}
	})})
	for _, segments := range [][]int{{}, {0}, {0, 0, 1, 0}, {32 << 10}, {32<<10 - 200, 100}, {1, 5 << 20, 0, 7, 3 << 20}, many(3000, 100), many(5000, 1)} {
		q := post("/")
		q.Body = [][]byte{}
		var want []byte
		for i, n := range segments {
			s := bytes.Repeat([]byte{byte('a' + i%26)}, n)
			q.Body = append(q.Body, s)
			want = append(want, s...)
		}
		before := fmt.Sprint(len(q.Body), string(bytes.Join(q.Body, nil)[:min(len(want), 10)]))
		mustCall(t, c, q, string(want))
		if after := fmt.Sprint(len(q.Body), string(bytes.Join(q.Body, nil)[:min(len(want), 10)])); after != before {
			t.Error("the request was changed")
		}
	}
	if st := c.Stats(); st.Dials != 1 {
		t.Errorf("%+v", st)
	}
}

func many(n, size int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = size
	}
	return s
}

// TestFramingSent checks the bytes of small requests, which arrive in one piece.
func TestFramingSent(t *testing.T) {
	for _, tc := range []struct {
		q    h1.Request
		want string
	}{
		{h1.Request{Head: []byte("GET / HTTP/1.1\r\nHost: a\r\n")}, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{h1.Request{Head: []byte("POST / HTTP/1.1\r\nHost: a\r\n")}, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{h1.Request{Head: []byte("DELETE / HTTP/1.1\r\nHost: a\r\n"), Body: [][]byte{{}}}, "DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"},
		{h1.Request{Head: []byte("PUT / HTTP/1.1\r\nHost: a\r\n"), Body: [][]byte{[]byte("h"), []byte("i")}}, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"},
	} {
		got := make(chan string, 1)
		c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
			b := make([]byte, 1000)
			n, _ := p.Conn.Read(b)
			got <- string(b[:n])
			p.say(answer("hi"))
		})})
		mustCall(t, c, &tc.q, "hi")
		if s := <-got; s != tc.want {
			t.Errorf("%q, want %q", s, tc.want)
		}
	}
}

func TestConnectionCloseAsked(t *testing.T) {
	c := client(t, h1.Options{Addr: serve(t, func(p *peer) { p.request(); p.say(answer("hi")); p.hold() })})
	mustCall(t, c, &h1.Request{Head: []byte("GET / HTTP/1.1\r\nConnection: close\r\nHost: a\r\n")}, "hi")
	if st := c.Stats(); st.Idle != 0 || st.Active != 0 {
		t.Errorf("%+v", st)
	}
}

// TestResponseReuse: one Response serves many exchanges, also when the one before was not closed.
func TestResponseReuse(t *testing.T) {
	c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
		for {
			if _, ok := p.request(); !ok {
				return
			}
			p.say("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("v", 10_000) + "\r\nContent-Length: 3\r\n\r\nabc")
		}
	})})
	var p h1.Response
	if _, err := p.Read(make([]byte, 1)); err == nil {
		t.Error("Read of a zero Response")
	}
	p.Close()
	for range 3 {
		if err := c.Do(t.Context(), post("/"), &p); err != nil {
			t.Fatal(err)
		}
		if len(p.Header("X")) != 10_000 {
			t.Error("header lost")
		}
	}
	if n, err := p.Read(nil); n != 0 || err != nil {
		t.Errorf("empty Read: %d, %v", n, err)
	}
	if st := c.Stats(); st.Active != 1 || st.Dials != 3 {
		t.Errorf("%+v", st)
	}
	p.Close()
	if err := c.Do(t.Context(), &h1.Request{}, &p); !errors.Is(err, h1.ErrRequest) {
		t.Error(err)
	}
	if n, err := p.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("Read after a failed Do: %d, %v", n, err)
	}
}

// TestUnreadEnd: a caller that stops at the last byte of data still gives the connection back.
func TestUnreadEnd(t *testing.T) {
	for _, rest := range []string{"Content-Length: 2\r\n\r\nhi", "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"} {
		c := client(t, h1.Options{Addr: serve(t, func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\n" + rest); p.hold() })})
		var p h1.Response
		if err := c.Do(t.Context(), post("/"), &p); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(rest, "hi") || strings.Contains(rest, "hi\r") {
			if _, err := io.ReadFull(&p, make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
		}
		p.Close()
		if st := c.Stats(); st.Idle != 1 {
			t.Errorf("%q: %+v", rest, st)
		}
	}
}
