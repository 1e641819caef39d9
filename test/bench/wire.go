package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
)

// maxMessage bounds what a wire holds of one message.
const maxMessage = 32 << 20

var (
	blankLine = []byte("\r\n\r\n")
	crlf      = []byte("\r\n")
	errTooBig = errors.New("message over the bound of the benchmark")
)

// wire reads HTTP/1.1 messages off one connection. What it returns points into
// its buffer and is valid until the next read.
type wire struct {
	conn net.Conn
	buf  []byte
	r, w int
	flat []byte // a chunked body put together
}

func newWire(c net.Conn, size int) *wire { return &wire{conn: c, buf: make([]byte, size)} }

// fill reads once, making room first.
func (b *wire) fill() error {
	switch {
	case b.r == b.w:
		b.r, b.w = 0, 0
	case b.w < len(b.buf):
	case b.r > 0:
		b.w = copy(b.buf, b.buf[b.r:b.w])
		b.r = 0
	case len(b.buf) >= maxMessage:
		return errTooBig
	default:
		b.buf = append(b.buf, make([]byte, len(b.buf))...)
	}
	n, err := b.conn.Read(b.buf[b.w:])
	b.w += n
	if n > 0 {
		return nil
	}
	return err
}

// until returns what stands before mark and moves past mark.
func (b *wire) until(mark []byte) ([]byte, error) {
	seen := 0
	for {
		if i := bytes.Index(b.buf[b.r+seen:b.w], mark); i >= 0 {
			at := b.r
			b.r = at + seen + i + len(mark)
			return b.buf[at : at+seen+i], nil
		}
		seen = max(0, b.w-b.r-len(mark)+1)
		if err := b.fill(); err != nil {
			return nil, err
		}
	}
}

// take returns the next n bytes.
func (b *wire) take(n int) ([]byte, error) {
	for b.w-b.r < n {
		if err := b.fill(); err != nil {
			return nil, fmt.Errorf("%d of %d bytes: %w", b.w-b.r, n, cutOff(err))
		}
	}
	at := b.r
	b.r += n
	return b.buf[at:b.r], nil
}

// chunked returns a whole chunked body.
func (b *wire) chunked() ([]byte, error) {
	b.flat = b.flat[:0]
	for {
		part, err := b.chunk()
		if err != nil {
			return nil, err
		}
		if len(part) == 0 {
			return b.flat, nil
		}
		if len(b.flat)+len(part) > maxMessage {
			return nil, errTooBig
		}
		b.flat = append(b.flat, part...)
	}
}

// chunk returns the next part of a chunked body; the last one is empty.
func (b *wire) chunk() ([]byte, error) {
	line, err := b.until(crlf)
	if err != nil {
		return nil, cutOff(err)
	}
	size, err := strconv.ParseUint(string(line), 16, 31)
	if err != nil || size > maxMessage {
		return nil, fmt.Errorf("chunk size %q", line)
	}
	part, err := b.take(int(size) + len(crlf))
	if err != nil {
		return nil, err
	}
	return part[:size], nil
}

func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// eachHeader calls f for every header line of a head, after its first line.
func eachHeader(head []byte, f func(name, value []byte)) {
	_, rest, _ := bytes.Cut(head, crlf)
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, crlf)
		if i := bytes.IndexByte(line, ':'); i > 0 {
			f(line[:i], bytes.Trim(line[i+1:], " \t"))
		}
	}
}

// named tells whether a header name is the given lower-case one.
func named(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// response is what a client reads.
type response struct {
	status  int
	length  int // -1 without Content-Length
	chunked bool
	session string
	body    []byte
}

// response reads one whole response.
func (b *wire) response(p *response) error {
	head, err := b.until(blankLine)
	if err != nil {
		return fmt.Errorf("before the head of an answer: %w", cutOff(err))
	}
	if err := p.parse(head); err != nil {
		return err
	}
	switch {
	case p.chunked:
		p.body, err = b.chunked()
	case p.length >= 0:
		p.body, err = b.take(p.length)
	case p.status == 204:
		p.body = nil
	default:
		err = fmt.Errorf("status %d without a length", p.status)
	}
	return err
}

func (p *response) parse(head []byte) error {
	if len(head) < 12 || !bytes.HasPrefix(head, []byte("HTTP/1.1 ")) {
		return fmt.Errorf("not an HTTP/1.1 response: %.40q", head)
	}
	*p = response{status: decimal(head[9:12]), length: -1}
	eachHeader(head, func(name, value []byte) {
		switch {
		case named(name, "content-length"):
			p.length = decimal(value)
		case named(name, "transfer-encoding"):
			p.chunked = true
		case named(name, "mcp-session-id"):
			p.session = string(value)
		}
	})
	if p.length > maxMessage {
		return errTooBig
	}
	return nil
}

// decimal reads the digits at the start of b.
func decimal(b []byte) int {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' || n > maxMessage {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}
