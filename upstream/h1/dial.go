package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// clientTLS is the configuration that connections are made with.
func clientTLS(cfg *tls.Config, addr string) *tls.Config {
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	cfg.DynamicRecordSizingDisabled = true // a request is of use only whole: fewer records are fewer writes
	if cfg.ServerName == "" {
		cfg.ServerName = addr
		if host, _, err := net.SplitHostPort(addr); err == nil {
			cfg.ServerName = host
		}
	}
	if cfg.ClientSessionCache == nil {
		cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	}
	return cfg
}

// dial opens a connection, TLS included, within DialTimeout.
func (c *Client) dial(ctx context.Context) (*conn, error) {
	began, limit := time.Now(), c.o.DialTimeout()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	nc, err := c.o.Dial(limited, "tcp", c.o.Addr)
	if err != nil {
		return nil, c.dialError(ctx, limited, limit, PhaseDial, err)
	}
	if c.o.TLS == nil {
		return newConn(nc, nil).dialed(began), nil
	}
	w := &wire{Conn: nc}
	w.sock = newSocket(nc)
	tc := tls.Client(w, c.o.TLS)
	if err := tc.HandshakeContext(limited); err != nil {
		_ = nc.Close() // the handshake's error is the one that tells
		return nil, c.dialError(ctx, limited, limit, PhaseTLS, err)
	}
	return newConn(tc, w).dialed(began), nil
}

// dialError makes the *Error of a connection that did not come about.
func (c *Client) dialError(ctx, limited context.Context, limit time.Duration, phase Phase, err error) error {
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case c.life.Err() != nil:
		err = ErrClosed
	case limited.Err() != nil, errors.Is(err, os.ErrDeadlineExceeded):
		err = &timeoutError{what: "no connection to " + c.o.Addr + " within ", limit: limit}
	}
	return &Error{Phase: phase, Err: err}
}

// wire is the socket under a TLS connection. While probing, its reads do not wait.
type wire struct {
	net.Conn
	sock    *socket
	probing bool
	ended   bool // the socket has ended, which crypto/tls reports like a proper goodbye
}

// Read reads from the socket; while probing it returns what is there at once, or os.ErrDeadlineExceeded,
// which crypto/tls takes for a time-out after which reading may go on.
func (w *wire) Read(b []byte) (n int, err error) {
	if w.probing {
		return w.sock.readNow(b)
	}
	n, err = w.Conn.Read(b)
	w.ended = w.ended || errors.Is(err, io.EOF)
	return n, err
}
