package h1_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/toolcrib/toolcrib/upstream/h1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is the server's side of a connection.
type peer struct {
	net.Conn
	r *bufio.Reader
	n int // how many connections came before

	done chan struct{} // closed when the test ends
}

// request reads a whole request; ok is false when the client has gone.
func (p *peer) request() (body string, ok bool) {
	r, err := http.ReadRequest(p.r)
	if err != nil {
		return "", false
	}
	b, err := io.ReadAll(r.Body)
	return string(b), err == nil
}

func (p *peer) say(s string) { _, _ = io.WriteString(p.Conn, s) }

// hold waits until the client closes.
func (p *peer) hold() { _, _ = io.Copy(io.Discard, p.r) }

// serve runs f for each connection and closes it after. All of it ends with the test.
func serve(tb testing.TB, f func(p *peer)) string { return serveTLS(tb, nil, f) }

func serveTLS(tb testing.TB, cfg *tls.Config, f func(p *peer)) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	addr := l.Addr().String()
	if cfg != nil {
		l = tls.NewListener(l, cfg)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for n := 0; ; n++ {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, nc)
			mu.Unlock()
			wg.Go(func() {
				defer func() { _ = nc.Close() }()
				f(&peer{Conn: nc, r: bufio.NewReader(nc), n: n, done: done})
			})
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		close(done)
		mu.Lock()
		for _, nc := range open {
			_ = nc.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return addr
}

// client makes a client that ends with the test, before its server does.
func client(tb testing.TB, o h1.Options) *h1.Client {
	c := h1.New(o)
	tb.Cleanup(c.Abort)
	return c
}

func address(s *httptest.Server) string {
	_, addr, _ := strings.Cut(s.URL, "://")
	return addr
}

func post(path string, body ...string) *h1.Request {
	q := &h1.Request{Head: []byte("POST " + path + " HTTP/1.1\r\nHost: example.test\r\nContent-Type: application/json\r\n")}
	for _, b := range body {
		q.Body = append(q.Body, []byte(b))
	}
	return q
}

// answer is a small response that keeps the connection alive.
func answer(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// call makes one exchange and reads its body whole.
func call(ctx context.Context, c *h1.Client, q *h1.Request) (status int, body string, err error) {
	var p h1.Response
	if err := c.Do(ctx, q, &p); err != nil {
		return 0, "", err
	}
	defer p.Close()
	b, err := io.ReadAll(&p)
	return p.Status(), string(b), err
}

func mustCall(t *testing.T, c *h1.Client, q *h1.Request, want string) {
	t.Helper()
	status, body, err := call(t.Context(), c, q)
	if err != nil || status != 200 || body != want {
		t.Fatalf("status %d, body %.80q, error %v; want body %.80q", status, body, err, want)
	}
}

// wantPhase checks the type and phase of an error.
func wantPhase(t *testing.T, err error, phase h1.Phase, is error) *h1.Error {
	t.Helper()
	e, ok := errors.AsType[*h1.Error](err)
	if !ok {
		t.Fatalf("error is %T %v, want *h1.Error", err, err)
	}
	if e.Phase != phase || is != nil && !errors.Is(err, is) {
		t.Fatalf("error is %q (phase %s), want phase %s and %v", err, e.Phase, phase, is)
	}
	return e
}
