package h1

import (
	"context"
	"errors"
	"io"
	"os"
	"time"
)

// maxInterim bounds the 1xx responses before a final one.
const maxInterim = 16

// framing is how the end of a body is found (RFC 9112 section 6.3).
type framing uint8

const (
	framedNone framing = iota
	framedLength
	framedChunked
	framedClose
)

// Response is a response whose head has been read and whose body is read with Read. The zero value is ready
// for Do; one may be used for many exchanges, one after the other. It is not safe for concurrent use: to
// stop a blocked Read, cancel the context given to Do.
type Response struct {
	head
	client  *Client
	cn      *conn           // nil once the connection has been given back
	ctx     context.Context //nolint:containedctx // of the exchange that the response belongs to
	stop    func() bool     // ends watching ctx; nil when there was nothing to watch
	timeout time.Duration
	until   time.Time // zero for no bound
	err     error     // what Read returns from now on
	reused  bool
	connect time.Duration
	keep    bool // the connection may serve again
	aside   bool // between Suspend and Resume
	waker   *Waker
	framing framing
	chunk   chunkState
	left    int64 // bytes of the body, or of the chunk, not yet read
	trailer int   // bytes of trailers seen
}

// reset makes p ready for Do, keeping its memory unless it has grown large.
func (p *Response) reset() {
	p.Close()
	text, fields := p.text[:0], p.fields[:0]
	if cap(text) > readSize {
		text = nil
	}
	if cap(fields) > 128 {
		fields = nil
	}
	*p = Response{head: head{text: text, fields: fields}, err: errBodyClosed}
}

// readHead reads heads until the final one.
func (p *Response) readHead(cn *conn, limit int) error {
	for range maxInterim {
		text, err := cn.readHead(limit)
		if err != nil {
			return err
		}
		p.text = append(p.text[:0], text...)
		if err := p.parse(); err != nil {
			return err
		}
		if p.status == 101 {
			return protocol("protocol switched unasked")
		}
		if p.status >= 200 {
			return nil
		}
	}
	return protocol("too many interim responses")
}

// begin sets the body up.
func (p *Response) begin(f facts) {
	p.err = nil
	p.keep = p.keep && !f.closing && !p.closing && (p.minor == '1' || p.keeping)
	switch {
	case f.head || p.status == 204 || p.status == 304:
		p.framing = framedNone
		if p.status == 204 {
			p.keep = p.keep && p.length <= 0 // else a body may follow that must not be there
			p.length = 0
		}
		p.finish()
	case p.chunked:
		p.framing, p.chunk = framedChunked, chunkSize
	case p.length == 0:
		p.finish()
	case p.length > 0:
		p.framing, p.left = framedLength, p.length
	default:
		p.framing, p.keep = framedClose, false
	}
}

// Status returns the status code.
func (p *Response) Status() int { return p.status }

// Connect tells how long opening the connection took; 0 where one was open.
func (p *Response) Connect() time.Duration {
	if p.reused {
		return 0
	}
	return p.connect
}

// ContentLength returns the body's declared length in bytes, -1 when there is none.
func (p *Response) ContentLength() int64 { return p.length }

// Header returns the value of the first header line with the name, compared without regard to case; "" when absent.
func (p *Response) Header(name string) string {
	v, _ := p.get(name)
	switch string(v) { // the usual ones without an allocation
	case "application/json":
		return "application/json"
	case "text/event-stream":
		return "text/event-stream"
	}
	return string(v)
}

// SetTimeout bounds the waiting of each following Read; 0 is no bound. Read then returns
// os.ErrDeadlineExceeded, and may be called again.
func (p *Response) SetTimeout(d time.Duration) { p.timeout = d }

// SetDeadline bounds all waiting of the following Reads together, besides SetTimeout; the zero time is no bound.
func (p *Response) SetDeadline(t time.Time) { p.until = t }

// Suspend sets a response aside that will be read on much later: the end of the context given to Do no longer ends it, and its
// connection no longer counts among those of Options.MaxConns. Between Suspend and Resume only Close may be called. False
// means that the context had ended before.
func (p *Response) Suspend() bool {
	if p.cn == nil {
		return true
	}
	ok := p.stop == nil || p.stop()
	p.stop, p.ctx, p.aside = nil, context.Background(), true
	if p.waker != nil {
		p.waker.bind(nil)
	}
	if p.cn.r == p.cn.w {
		p.cn.rest()
	}
	p.client.lend()
	return ok
}

// Resume goes on with a suspended response under another context.
func (p *Response) Resume(ctx context.Context) {
	if p.cn == nil || !p.aside {
		return
	}
	p.client.reclaim()
	if p.cn.small == nil {
		p.cn.open()
	}
	p.ctx, p.aside = ctx, false
	if p.waker != nil {
		p.waker.bind(p.cn)
	}
	if ctx.Done() != nil {
		p.stop = context.AfterFunc(ctx, p.cn.interrupt)
	}
}

// Close ends the exchange. The connection is kept when the body was read to its end and both sides keep it
// alive, and is closed otherwise. A second Close does nothing.
func (p *Response) Close() {
	if p.aside {
		p.Resume(context.Background())
	}
	if p.cn != nil && p.framing == framedChunked && p.left == 0 {
		_ = p.nextChunk(false) // the last chunk may have arrived already; if not, the connection is closed
	}
	if p.cn != nil {
		p.abandon(errBodyClosed)
	}
	p.err = errBodyClosed
}

// detach stops watching the context and reports whether it had not ended before.
func (p *Response) detach() bool {
	ok := p.stop == nil || p.stop()
	if p.waker != nil {
		p.waker.bind(nil)
	}
	p.stop, p.ctx, p.cn = nil, nil, nil
	return ok
}

// finish ends the body and gives the connection back, which is kept when nothing is left on it.
func (p *Response) finish() {
	cn := p.cn
	p.err = io.EOF
	if p.detach() && p.keep && cn.r == cn.w {
		p.client.put(cn)
		return
	}
	p.client.drop(cn)
}

// abandon ends the body with err and closes the connection.
func (p *Response) abandon(err error) {
	cn := p.cn
	p.err = err
	p.detach()
	p.client.drop(cn)
}

// Read reads the body, de-chunked. It returns io.EOF at the end, ctx.Err() when the context given to Do has
// ended, os.ErrDeadlineExceeded after the time of SetTimeout, and an *Error for everything else.
func (p *Response) Read(b []byte) (int, error) {
	if p.err != nil || p.cn == nil {
		return 0, p.lastError()
	}
	if len(b) == 0 {
		return 0, nil
	}
	n, err := p.read(b)
	if err == nil || n > 0 {
		return n, nil
	}
	return 0, p.fail(err)
}

func (p *Response) lastError() error {
	if p.err == nil {
		return errBodyClosed
	}
	return p.err
}

func (p *Response) read(b []byte) (int, error) {
	switch p.framing {
	case framedChunked:
		return p.readChunked(b)
	case framedClose:
		n, err := p.take(b)
		if errors.Is(err, io.EOF) && p.cn.ended() {
			p.finish()
		}
		return n, err
	}
	n, err := p.take(b[:min(int64(len(b)), p.left)])
	if p.left -= int64(n); p.left == 0 {
		p.finish()
	}
	return n, err
}

// fail turns a failed read into what Read returns. Only a time-out leaves the body readable.
func (p *Response) fail(err error) error {
	switch {
	case errors.Is(err, io.EOF) && errors.Is(p.err, io.EOF):
		return err
	case p.ctx.Err() != nil:
		err = p.ctx.Err()
	case p.client.life.Err() != nil:
		err = &Error{Phase: PhaseBody, Reused: p.reused, Err: ErrClosed}
	case isTimeout(err):
		return os.ErrDeadlineExceeded
	case errors.Is(err, io.EOF):
		err = &Error{Phase: PhaseBody, Reused: p.reused, Err: errCutBody}
	default:
		err = &Error{Phase: PhaseBody, Reused: p.reused, Err: err}
	}
	p.abandon(err)
	return err
}

// take returns bytes from the buffer, else from the connection; large reads bypass the buffer.
func (p *Response) take(b []byte) (int, error) {
	cn := p.cn
	if cn.r == cn.w {
		if len(b) >= readSize/2 {
			if err := p.arm(); err != nil {
				return 0, err
			}
			return cn.nc.Read(b)
		}
		if err := p.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, cn.buf[cn.r:cn.w])
	cn.r += n
	return n, nil
}

func (p *Response) fill() error {
	if err := p.arm(); err != nil {
		return err
	}
	return p.cn.fill(0)
}

// arm sets the deadline of the next read, and minds that this may have undone an interruption.
func (p *Response) arm() error {
	var t time.Time
	if p.timeout > 0 {
		t = time.Now().Add(p.timeout)
	}
	if !p.until.IsZero() {
		t = earlier(t, p.until)
	}
	if !t.IsZero() || p.cn.limited {
		p.cn.setDeadline(t)
		if p.waker != nil && p.waker.isWoken() {
			return os.ErrDeadlineExceeded
		}
		return p.ctx.Err()
	}
	return nil
}
