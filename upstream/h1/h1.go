// Package h1 is a pooled HTTP/1.1 client (RFC 9112) for many small exchanges with one server.
//
// It starts no goroutine: the caller's own goroutine writes the request and reads the response, a cancelled
// context moves the connection's deadline, and idle connections share one timer. A small request leaves in
// one system call and a small response arrives in one. Parsing is strict: what two readers of HTTP could
// understand differently is refused, and a connection is used again only when nothing is left on it.
package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Defaults for Options left zero.
const (
	DefaultMaxConns    = 1024
	DefaultIdleTimeout = 90 * time.Second
	DefaultDialTimeout = 5 * time.Second
	DefaultMaxHeader   = 64 << 10
)

// Options say where a Client connects and what it may hold.
type Options struct {
	// Addr is the server's host:port.
	Addr string
	// TLS is nil for plain HTTP. It is cloned; ALPN is set to http/1.1 and an empty ServerName to Addr's host.
	TLS *tls.Config
	// Dial opens a connection; nil is a net.Dialer. It must heed its context.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// MaxIdle bounds the connections kept for later; 0 is MaxConns, negative keeps none.
	MaxIdle int
	// MaxConns bounds all connections, idle ones included but for those set aside by Response.Suspend; calls over it wait in
	// order. 0 is DefaultMaxConns.
	MaxConns int
	// IdleTimeout closes a connection not used for so long; 0 is DefaultIdleTimeout, negative never.
	IdleTimeout time.Duration
	// DialTimeout bounds dialling and TLS handshake together, and is asked for each connection; nil is DefaultDialTimeout.
	DialTimeout func() time.Duration
	// MaxHeader bounds a response head, and the trailers of a chunked body, in bytes; 0 is DefaultMaxHeader.
	MaxHeader int
}

// Client is a pool of connections to one server. It is safe for concurrent use.
type Client struct {
	o     Options
	life  context.Context //nolint:containedctx // ends with Abort; dials hang on it
	abort context.CancelFunc

	mu      sync.Mutex
	closed  bool
	total   int                // connections plus dials under way
	dials   int64              // dials ever begun
	conns   map[*conn]struct{} // every open connection
	idle    []*conn            // least recently used first
	waiters waiters
	timer   *time.Timer // closes idle connections; made when first needed
	armed   bool
}

// Addr is the host:port that the client connects to.
func (c *Client) Addr() string { return c.o.Addr }

// Stats is a snapshot of a Client's pool.
type Stats struct {
	Dials  int64 // connections dialled since New, failed attempts included
	Idle   int   // open connections waiting for a call
	Active int   // connections in use or being opened
}

// New returns a Client; it connects only when called.
func New(o Options) *Client {
	o.MaxConns = orDefault(o.MaxConns, DefaultMaxConns)
	o.MaxHeader = orDefault(o.MaxHeader, DefaultMaxHeader)
	if o.IdleTimeout == 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.MaxIdle == 0 {
		o.MaxIdle = o.MaxConns
	}
	if o.DialTimeout == nil {
		o.DialTimeout = func() time.Duration { return DefaultDialTimeout }
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.TLS != nil {
		o.TLS = clientTLS(o.TLS, o.Addr)
	}
	c := &Client{o: o, conns: map[*conn]struct{}{}}
	c.life, c.abort = context.WithCancel(context.Background())
	return c
}

func orDefault(v, def int) int {
	if v <= 0 {
		return def
	}
	return v
}

// Close closes idle connections and refuses new calls. Calls already begun go on; their connections close
// when they end.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	idle := c.idle
	c.idle = nil
	for _, cn := range idle {
		delete(c.conns, cn)
		c.total--
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.mu.Unlock()
	for _, cn := range idle {
		cn.close(true)
	}
}

// Abort is Close, and ends the calls under way too: they fail with ErrClosed.
func (c *Client) Abort() {
	c.Close()
	c.abort()
	c.mu.Lock()
	defer c.mu.Unlock()
	for w := c.waiters.pop(); w != nil; w = c.waiters.pop() {
		w.ready <- grant{err: ErrClosed}
	}
	for cn := range c.conns {
		cn.close(false)
	}
}

// Stats returns the present state of the pool.
func (c *Client) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{Dials: c.dials, Idle: len(c.idle), Active: c.total - len(c.idle)}
}

// Request is one HTTP request. Do neither changes nor keeps it.
type Request struct {
	// Head is the request line and all header lines but Content-Length, each ended by CRLF, without the blank line.
	Head []byte
	// Body is sent in order with a Content-Length; nil is no body.
	Body [][]byte
	// Safe says that the request may reach the server twice: it is sent again on a new connection when a
	// reused one ends before the first byte of a response.
	Safe bool
	// Timeout bounds writing the request and waiting for the response's head together; 0 is no bound.
	Timeout time.Duration
}

// Do sends q and reads the head of the response into p, which is reset first and must be closed when Do
// returned nil. A reused connection that proves dead before anything was sent is replaced.
// The error is an *Error; its cause is ctx.Err() when ctx ended, and os.ErrDeadlineExceeded after Timeout.
func (c *Client) Do(ctx context.Context, q *Request, p *Response) error {
	p.reset()
	facts, err := inspect(q.Head)
	if err != nil {
		return &Error{Phase: PhaseWrite, Err: err}
	}
	cn, err := c.acquire(ctx)
	if err != nil {
		return err
	}
	var deadline time.Time
	if q.Timeout > 0 {
		deadline = time.Now().Add(q.Timeout)
	}
	for {
		again, err := p.exchange(ctx, c, cn, q, facts, deadline)
		if err == nil {
			return nil
		}
		if !again {
			c.drop(cn)
			return err
		}
		if cn, err = c.redial(ctx, cn); err != nil {
			return err
		}
	}
}

// exchange sends q over cn and reads the response's head. After a failure, again says that a new connection
// may be tried; the caller disposes of cn.
func (p *Response) exchange(ctx context.Context, c *Client, cn *conn, q *Request, f facts, deadline time.Time) (again bool, err error) {
	p.ctx, p.cn = ctx, cn
	if ctx.Done() != nil {
		p.stop = context.AfterFunc(ctx, cn.interrupt)
	}
	if again, err = p.roundTrip(c, q, f, deadline); err == nil {
		p.client, p.reused, p.connect = c, cn.reused, cn.connect
		p.begin(f)
		return false, nil
	}
	p.detach()
	return again, err
}

func (p *Response) roundTrip(c *Client, q *Request, f facts, deadline time.Time) (again bool, err error) {
	cn, ctx := p.cn, p.ctx
	phase := PhaseWrite
	defer func() {
		if err != nil {
			err = c.explain(ctx, cn, phase, q.Timeout, err)
		}
	}()
	cn.setDeadline(deadline)
	if err := ctx.Err(); err != nil { // the line above may have undone an interruption
		return false, err
	}
	cn.open()
	n, sent := cn.send(ctx, q, f, deadline)
	p.keep = sent == nil
	if sent != nil {
		if ctx.Err() != nil || isTimeout(sent) {
			return false, sent
		}
		if n == 0 && cn.reused {
			return true, sent
		}
		if !errors.Is(sent, errEarly) {
			cn.setDeadline(earlier(deadline, time.Now().Add(afterFailedWrite)))
		}
	}
	phase = PhaseHead
	err = p.readHead(cn, c.o.MaxHeader)
	if err == nil {
		return false, nil
	}
	again = q.Safe && cn.reused && cn.w == 0 && cn.heads == 0 && ctx.Err() == nil && !isTimeout(err)
	if sent != nil && !errors.Is(sent, errEarly) && cn.w == 0 && cn.heads == 0 {
		phase, err = PhaseWrite, sent
	}
	return again, err
}

// afterFailedWrite is how long a response is awaited that a server may have sent before it refused the body.
const afterFailedWrite = time.Second

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// explain makes the *Error of a failed exchange, putting first what ended it.
func (c *Client) explain(ctx context.Context, cn *conn, phase Phase, limit time.Duration, err error) error {
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case c.life.Err() != nil:
		err = ErrClosed
	case isTimeout(err) && limit > 0:
		err = &timeoutError{what: "no response within ", limit: limit}
	}
	return &Error{Phase: phase, Reused: cn.reused, Err: err}
}

// timeoutError is os.ErrDeadlineExceeded with the limit that was passed.
type timeoutError struct {
	what  string
	limit time.Duration
}

func (e *timeoutError) Error() string { return e.what + e.limit.String() }
func (e *timeoutError) Unwrap() error { return os.ErrDeadlineExceeded }
func (e *timeoutError) Timeout() bool { return true }
