package h1_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/upstream/h1"
)

// tape is a connection whose server side was written down before. Reads give at most step bytes.
type tape struct {
	net.Conn
	in   []byte
	step int
	at   int
	out  bytes.Buffer
}

func (c *tape) Read(b []byte) (int, error) {
	if c.at == len(c.in) {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), c.step)], c.in[c.at:])
	c.at += n
	return n, nil
}
func (c *tape) Write(b []byte) (int, error)      { return c.out.Write(b) }
func (c *tape) Close() error                     { return nil }
func (c *tape) SetDeadline(time.Time) error      { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

// outcome is all that a caller sees of an exchange.
type outcome struct {
	Status   int
	Length   int64
	Body     string
	Err      string
	Kept     bool
	Consumed int // when kept
}

func play(data []byte, method string, step, buffer int) (o outcome, p *h1.Response) {
	conn := &tape{in: data, step: step}
	c := h1.New(h1.Options{Addr: "a:1", IdleTimeout: -1, MaxHeader: 20_000, Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }})
	defer c.Close()
	p = new(h1.Response)
	if err := c.Do(context.Background(), &h1.Request{Head: []byte(method + " / HTTP/1.1\r\nHost: a\r\n")}, p); err != nil {
		return outcome{Err: err.Error()}, p
	}
	o.Status, o.Length = p.Status(), p.ContentLength()
	var body []byte
	b := make([]byte, buffer)
	for {
		n, err := p.Read(b)
		body = append(body, b[:n]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			o.Err = err.Error()
			break
		}
		if n == 0 {
			panic("Read returned nothing")
		}
	}
	o.Body = string(body)
	if o.Kept = c.Stats().Idle == 1; o.Kept {
		o.Consumed = conn.at
	}
	return o, p
}

var responseSeeds = []string{
	answer("hi"), "HTTP/1.1 200\r\n\r\nhi", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
	"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + answer("hi"), "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 304 No\r\nContent-Length: 10\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nhi",
	"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=\"y\"\r\nhi\r\nA\r\n0123456789\r\n0\r\nT: v\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
	"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "HTTP/1.1 200 OK\r\nX : a\r\n\r\n", "HTTP/1.1 200 OK\nX: a\n\n", "HTTP/1.1 200 OK\r\nConnection: close, x\r\nX:\t\xff \r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nhi", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 9000) + "\r\nContent-Length: 1\r\n\r\nz",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n" + strings.Repeat("z", 0x2000) + "\r\n0\r\n\r\n",
}

// FuzzResponse holds three laws: how bytes are cut into packets changes nothing; what this package accepts,
// net/http accepts and reads as the same response; and a connection is kept only when exactly one response
// has been taken from it.
func FuzzResponse(f *testing.F) {
	for i, s := range responseSeeds {
		f.Add([]byte(s), uint8(i%3), uint16(1+i%5), uint16(1+i*100))
	}
	methods := []string{"POST", "GET", "HEAD"}
	f.Fuzz(func(t *testing.T, data []byte, m uint8, step, buffer uint16) {
		method := methods[int(m)%len(methods)]
		whole, p := play(data, method, 1<<20, 64<<10)
		pieces, _ := play(data, method, int(step)+1, int(buffer)+1)
		if diff := cmp.Diff(unkept(whole), unkept(pieces)); diff != "" {
			t.Fatalf("in pieces of %d (+ now, - whole): %s", step+1, diff)
		}
		if whole.Err == "" {
			sameAsNetHTTP(t, data, method, p, whole, pieces)
		}
	})
}

// unkept leaves out what may depend on packets: stray bytes are seen only when they have arrived.
func unkept(o outcome) outcome {
	o.Kept, o.Consumed = false, 0
	return o
}

func sameAsNetHTTP(t *testing.T, data []byte, method string, p *h1.Response, all ...outcome) {
	t.Helper()
	r := bufio.NewReaderSize(bytes.NewReader(data), 1<<20)
	var res *http.Response
	for res == nil || res.StatusCode < 200 {
		var err error
		if res, err = http.ReadResponse(r, &http.Request{Method: method}); err != nil { //nolint:bodyclose // it is read from memory
			if strings.Contains(err.Error(), "trailer") { // a Trailer header that names what may not be one; it is not read here
				return
			}
			t.Fatalf("net/http refuses: %v", err)
		}
	}
	body, err := io.ReadAll(res.Body)
	if err != nil && !strings.Contains(err.Error(), "too much non-data") {
		t.Fatalf("net/http refuses the body: %v", err)
	}
	for _, o := range all {
		if o.Status != res.StatusCode || o.Body != string(body) && err == nil {
			t.Fatalf("status %d, body %q; net/http has %d and %q", o.Status, o.Body, res.StatusCode, body)
		}
		if consumed := len(data) - r.Buffered(); o.Kept && err == nil && o.Consumed != consumed {
			t.Fatalf("kept after %d bytes, net/http took %d", o.Consumed, consumed)
		}
		if o.Kept && res.Close {
			t.Fatal("kept, net/http would close")
		}
		if o.Length != res.ContentLength && o.Length >= 0 && method != "HEAD" && o.Status != 304 {
			t.Fatalf("length %d, net/http has %d", o.Length, res.ContentLength)
		}
	}
	for name, values := range res.Header {
		if got := p.Header(name); got != values[0] {
			t.Fatalf("%s: %q, net/http has %q", name, got, values[0])
		}
	}
}

// FuzzChunked compares the chunk reader with net/http's, which is laxer.
func FuzzChunked(f *testing.F) {
	for _, s := range responseSeeds {
		if _, chunks, ok := strings.Cut(s, "chunked\r\n\r\n"); ok {
			f.Add([]byte(chunks), uint16(1), uint16(7))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, step, buffer uint16) {
		head := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
		got, _ := play(append([]byte(head), data...), "GET", int(step)+1, int(buffer)+1)
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(data)))
		switch {
		case got.Err != "":
			if !bytes.HasPrefix(want, []byte(got.Body)) && err == nil {
				t.Fatalf("%q before the fault, want a start of %q", got.Body, want)
			}
		case err != nil && !strings.Contains(err.Error(), "too much non-data"):
			t.Fatalf("net/http refuses: %v", err)
		case err == nil && got.Body != string(want):
			t.Fatalf("%q, want %q", got.Body, want)
		}
	})
}

// FuzzRequest: what is sent is one request, with the given body, to any reader that accepts it.
func FuzzRequest(f *testing.F) {
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\n"), []byte("{}"))
	f.Add([]byte("GET /a?b HTTP/1.1\r\nHost: a\r\nX:\ty\r\n"), []byte(""))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n"), []byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n"), []byte("0\r\n\r\n"))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nX: a\nContent-Length: 1\r\n"), []byte("ab"))
	f.Fuzz(func(t *testing.T, head, body []byte) {
		conn := &tape{in: []byte(answer("")), step: 1 << 20}
		c := h1.New(h1.Options{Addr: "a:1", IdleTimeout: -1, Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }})
		defer c.Close()
		_, _, err := call(t.Context(), c, &h1.Request{Head: head, Body: [][]byte{body[:len(body)/2], body[len(body)/2:]}})
		if err != nil {
			if errors.Is(err, h1.ErrRequest) != (conn.out.Len() == 0) {
				t.Fatalf("%v after %d bytes", err, conn.out.Len())
			}
			return
		}
		if want := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body); conn.out.String() != want {
			t.Fatalf("sent %q, want %q", conn.out.String(), want)
		}
		r := bufio.NewReader(&conn.out)
		q, err := http.ReadRequest(r)
		if err != nil {
			return // a target that is no URL, or a Host of odd shape
		}
		got, err := io.ReadAll(q.Body)
		if _, more := r.Peek(1); err != nil || !bytes.Equal(got, body) || more != io.EOF {
			t.Fatalf("net/http reads body %q (%v), then %v", got, err, more)
		}
	})
}
