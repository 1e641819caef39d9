package h1

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	// readSize is the read buffer of a connection in use. It holds a small response whole, and a stream
	// held open costs no more.
	readSize = 8 << 10
	// joinSize is up to where head and body are copied together to leave in one write.
	joinSize = 32 << 10
)

var (
	readPool = sync.Pool{New: func() any { return new([readSize]byte) }}
	joinPool = sync.Pool{New: func() any { return new([joinSize]byte) }}
)

// conn is one connection. Only the call that holds it uses it, but for interrupt and close.
type conn struct {
	nc        net.Conn // TCP or TLS
	tcp       *net.TCPConn
	sock      *socket // nil: cannot be probed
	wire      *wire   // under TLS
	interrupt func()  // wakes a blocked read or write; the connection is of no use after
	since     time.Time
	reused    bool
	connect   time.Duration // that opening it took
	limited   bool          // a deadline is set

	buf   []byte // what was read and not yet consumed is buf[r:w]
	small *[readSize]byte
	r, w  int
	heads int // response heads read in this exchange
	vec   net.Buffers
}

func (cn *conn) dialed(began time.Time) *conn {
	cn.connect = time.Since(began)
	return cn
}

func newConn(nc net.Conn, w *wire) *conn {
	cn := &conn{nc: nc, wire: w}
	if w != nil {
		cn.sock = w.sock
	} else {
		cn.sock = newSocket(nc)
		cn.tcp, _ = nc.(*net.TCPConn)
	}
	cn.interrupt = func() { _ = nc.SetDeadline(time.Unix(1, 0)) } // fails only when closed already
	return cn
}

// open takes a read buffer for an exchange.
func (cn *conn) open() {
	if cn.small == nil {
		cn.small = readPool.Get().(*[readSize]byte)
	}
	cn.buf, cn.r, cn.w, cn.heads = cn.small[:], 0, 0, 0
}

// rest gives the read buffer back.
func (cn *conn) rest() {
	if cn.small != nil {
		readPool.Put(cn.small)
	}
	cn.small, cn.buf, cn.r, cn.w = nil, nil, 0, 0
}

// close ends the connection. Politely is for one that nobody uses: TLS then says goodbye.
func (cn *conn) close(politely bool) {
	if cn.wire != nil && !politely {
		_ = cn.wire.Conn.Close() // nothing can be done about a failure to close
		return
	}
	_ = cn.nc.Close() // as above
}

// ended reports whether the end of what was read is what the server meant. Under TLS only a goodbye is
// (RFC 9112 section 9.8).
func (cn *conn) ended() bool { return cn.wire == nil || !cn.wire.ended }

func (cn *conn) setDeadline(t time.Time) {
	if t.IsZero() && !cn.limited {
		return
	}
	cn.limited = !t.IsZero()
	_ = cn.nc.SetDeadline(t) // fails only when closed, which the next read or write reports
}

// quiet reports whether an idle connection is open and nothing has arrived on it.
func (cn *conn) quiet() bool {
	if cn.sock == nil {
		return true
	}
	b := cn.sock.one[:]
	if cn.wire == nil {
		_, err := cn.sock.readNow(b)
		return errors.Is(err, os.ErrDeadlineExceeded)
	}
	// crypto/tls consumes session tickets and alerts that came since, and knows what it holds decrypted.
	cn.wire.probing = true
	_, err := cn.nc.(*tls.Conn).Read(b)
	cn.wire.probing = false
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// errEarly says that a response came before the whole body was sent.
var errEarly = errors.New("response before the end of the request")

// send writes the request and returns how many bytes of it went out.
func (cn *conn) send(ctx context.Context, q *Request, f facts, deadline time.Time) (int64, error) {
	size := 0
	for _, s := range q.Body {
		size += len(s)
	}
	scratch := cn.buf[:0]
	total := len(q.Head) + len("Content-Length: 9223372036854775807\r\n\r\n") + size
	if total > len(cn.buf) {
		join := joinPool.Get().(*[joinSize]byte)
		defer joinPool.Put(join)
		scratch = join[:0]
	}
	scratch = append(scratch, q.Head...)
	if q.Body != nil || f.length {
		scratch = append(scratch, "Content-Length: "...)
		scratch = strconv.AppendInt(scratch, int64(size), 10)
		scratch = append(scratch, "\r\n"...)
	}
	scratch = append(scratch, "\r\n"...)
	if total > joinSize {
		return cn.sendLarge(ctx, scratch, q.Body, deadline)
	}
	for _, s := range q.Body {
		scratch = append(scratch, s...)
	}
	n, err := cn.nc.Write(scratch)
	return int64(n), err
}

// sendLarge writes without copying the body.
func (cn *conn) sendLarge(ctx context.Context, head []byte, body [][]byte, deadline time.Time) (n int64, err error) {
	cn.vec = append(append(cn.vec[:0], head), body...)
	all := cn.vec // WriteTo moves the start of vec
	defer func() {
		clear(all)
		cn.vec = all[:0]
	}()
	if cn.tcp == nil || cn.sock == nil {
		return cn.sendJoined(cn.vec)
	}
	// A server that has answered may read no further: look for its response whenever the write stalls.
	for {
		stall := time.Now().Add(stallTime)
		last := !deadline.IsZero() && !deadline.After(stall)
		if last {
			stall = deadline
		}
		cn.limited = true
		_ = cn.nc.SetWriteDeadline(stall) // fails only when closed, which the write reports
		if err := ctx.Err(); err != nil { // the line above may have undone an interruption
			return n, err
		}
		m, err := cn.vec.WriteTo(cn.nc)
		n += m
		if err == nil || !isTimeout(err) {
			return n, err
		}
		if cn.sock.readable() {
			return n, errEarly
		}
		if last {
			return n, err
		}
	}
}

// sendJoined writes in large pieces where there is no vectored write: under TLS each piece is a record or more.
func (cn *conn) sendJoined(segments [][]byte) (n int64, err error) {
	join := joinPool.Get().(*[joinSize]byte)
	defer joinPool.Put(join)
	have := 0
	for _, s := range segments {
		for len(s) > 0 {
			m := copy(join[have:], s)
			s, have = s[m:], have+m
			if have < joinSize {
				continue
			}
			m, err := cn.nc.Write(join[:have])
			if n += int64(m); err != nil {
				return n, err
			}
			have = 0
		}
	}
	if have == 0 {
		return n, nil
	}
	m, err := cn.nc.Write(join[:have])
	return n + int64(m), err
}

// stallTime is after how long a blocked write looks for an early response.
const stallTime = 200 * time.Millisecond

// fill reads more into the buffer, which must have room unless limit allows it to grow.
func (cn *conn) fill(limit int) error {
	if cn.r > 0 {
		cn.w = copy(cn.buf, cn.buf[cn.r:cn.w])
		cn.r = 0
	}
	if cn.w == len(cn.buf) {
		if cn.w >= limit {
			return protocol("line is too long")
		}
		cn.buf = append(cn.buf, make([]byte, min(cn.w, limit-cn.w))...)
	}
	for range 100 {
		n, err := cn.nc.Read(cn.buf[cn.w:])
		if n > 0 {
			cn.w += n
			return nil // an error comes again with the next read
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

var (
	headEnd  = []byte("\r\n\r\n")
	httpName = []byte("HTTP/1.")
)

// readHead returns the next response head, blank line included, which stays valid until the next fill.
func (cn *conn) readHead(limit int) ([]byte, error) {
	from := 0
	for {
		b := cn.buf[cn.r:cn.w]
		if n := min(len(b), len(httpName)); !bytes.Equal(b[:n], httpName[:n]) {
			return nil, protocol("response does not begin with HTTP/1.")
		}
		if i := bytes.Index(b[from:], headEnd); i >= 0 {
			end := from + i + len(headEnd)
			if end > limit {
				return nil, tooLarge(limit)
			}
			cn.r += end
			cn.heads++
			return b[:end], nil
		}
		if len(b) >= limit {
			return nil, tooLarge(limit)
		}
		from = max(0, len(b)-len(headEnd)+1)
		if err := cn.fill(limit); err != nil {
			if errors.Is(err, io.EOF) {
				err = errCutHead
				if len(b) == 0 {
					err = errNoAnswer
				}
			}
			return nil, err
		}
	}
}

func tooLarge(limit int) error {
	return protocol("response head is over " + strconv.Itoa(limit) + " bytes")
}
