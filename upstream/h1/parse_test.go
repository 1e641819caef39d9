package h1_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/upstream/h1"
)

// TestResponses plays responses of one connection each; the server closes after them.
func TestResponses(t *testing.T) {
	long := strings.Repeat("v", 20_000)
	for _, tc := range []struct {
		name, response, body string
		status               int
		length               int64
		kept                 bool
		method               string
	}{
		{"length", answer("hi"), "hi", 200, 2, true, "POST"},
		{"no reason", "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, 2, true, "POST"},
		{"empty reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nhi", "hi", 200, 2, true, "POST"},
		{"status over 599", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", "", 999, 0, true, "POST"},
		{"same length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCONTENT-LENGTH:2\t\r\n\r\nhi", "hi", 200, 2, true, "POST"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n00a;x=y\r\n0123456789\r\n0\r\n\r\n", "hi0123456789", 200, -1, true, "POST"},
		{"extensions", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA ; x=\"y\"\r\n0123456789\r\n0;end\r\n\r\n", "0123456789", 200, -1, true, "POST"},
		{"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\nC: d\r\n\r\n", "hi", 200, -1, true, "POST"},
		{"until close", "HTTP/1.1 200 OK\r\n\r\nhi", "hi", 200, -1, false, "POST"},
		{"until close, empty", "HTTP/1.1 200 OK\r\n\r\n", "", 200, -1, false, "POST"},
		{"connection close", "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, 2, false, "POST"},
		{"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, 2, false, "POST"},
		{"1.0 keep-alive", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, 2, true, "POST"},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", "", 204, 0, true, "POST"},
		{"204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi", "", 204, 0, false, "POST"},
		{"204 with length 0", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "", 204, 0, true, "POST"},
		{"304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "", 304, 5, true, "GET"},
		{"head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "", 200, 5, true, "HEAD"},
		{"head, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", 200, -1, true, "HEAD"},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer("hi"), "hi", 200, 2, true, "POST"},
		{"long header", "HTTP/1.1 200 OK\r\nX: " + long + "\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, 2, true, "POST"},
		{"obs-text", "HTTP/1.1 200 \xe9\r\nX: \xff\xe9\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, 2, true, "POST"},
		{"stray bytes at once", answer("hi") + answer("evil"), "hi", 200, 2, false, "POST"},
		{"stray bytes after chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\nx", "hi", 200, -1, false, "POST"},
		{"stray bytes after head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "", 200, 5, false, "HEAD"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
				p.request()
				p.say(tc.response)
			})})
			var p h1.Response
			q := &h1.Request{Head: []byte(tc.method + " / HTTP/1.1\r\nHost: a\r\n")}
			if err := c.Do(t.Context(), q, &p); err != nil {
				t.Fatal(err)
			}
			if p.Status() != tc.status || p.ContentLength() != tc.length {
				t.Errorf("status %d, length %d", p.Status(), p.ContentLength())
			}
			body, err := io.ReadAll(&p)
			if string(body) != tc.body || err != nil {
				t.Errorf("body %q, %v", body, err)
			}
			if kept := c.Stats().Idle == 1; kept != tc.kept {
				t.Errorf("connection kept: %v", kept)
			}
			p.Close()
			p.Close()
			if n, err := p.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("Read after Close: %d, %v", n, err)
			}
			if st := c.Stats(); st.Active != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestRefusedHeads plays responses that Do must refuse, without repeating what was in them.
func TestRefusedHeads(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, tc := range []struct{ name, response, want string }{
		{"nothing", "", "without an answer"},
		{"cut", "HTTP/1.1 200 OK\r\nContent-Le", "inside the response head"},
		{"cut in the name", "HTT", "inside the response head"},
		{"garbage", "SSH-2.0-secret\r\n", "does not begin with HTTP/1."},
		{"http2", "\x00\x00\x12\x04\x00", "does not begin with HTTP/1."},
		{"version", "HTTP/1.2 200 OK\r\n\r\n", "version"},
		{"blank first", "\r\n" + ok + "\r\n", "does not begin with HTTP/1."},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", "status line"},
		{"short status", "HTTP/1.1 20 OK\r\n\r\n", "status line"},
		{"worded status", "HTTP/1.1 2x0 OK\r\n\r\n", "status is not a number"},
		{"long status", "HTTP/1.1 2000 OK\r\n\r\n", "status line"},
		{"low status", "HTTP/1.1 099 OK\r\n\r\n", "below 100"},
		{"no status", "HTTP/1.1\r\n\r\n", "status line"},
		{"bare LF", "HTTP/1.1 200 OK\nX: secret\n\r\n\r\n", "status line"},
		{"bare LF in a header", ok + "X: secret\nContent-Length: 5\r\n\r\n", "without CRLF"},
		{"bare CR", ok + "X: secret\rY: z\r\n\r\n", "without CRLF"},
		{"bare CR in the status line", "HTTP/1.1 200 O\rK\r\n\r\n", "status line"},
		{"NUL", ok + "X: secret\x00\r\n\r\n", "control character"},
		{"DEL", ok + "X: secret\x7f\r\n\r\n", "control character"},
		{"escape", ok + "X: \x1b[2Jsecret\r\n\r\n", "control character"},
		{"folded", ok + "X: a\r\n secret\r\n\r\n", "folded"},
		{"folded by tab", ok + "X: a\r\n\tsecret\r\n\r\n", "folded"},
		{"blank before colon", ok + "Content-Length : 5\r\n\r\n", "name is malformed"},
		{"no name", ok + ": secret\r\n\r\n", "name is malformed"},
		{"no colon", ok + "secret\r\n\r\n", "name is malformed"},
		{"name with obs-text", ok + "X\xe9: secret\r\n\r\n", "name is malformed"},
		{"lengths differ", ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", "twice"},
		{"length list", ok + "Content-Length: 5, 5\r\n\r\n", "Content-Length"},
		{"length signed", ok + "Content-Length: +5\r\n\r\n", "Content-Length"},
		{"length negative", ok + "Content-Length: -5\r\n\r\n", "Content-Length"},
		{"length hex", ok + "Content-Length: 0x5\r\n\r\n", "Content-Length"},
		{"length empty", ok + "Content-Length:\r\n\r\n", "Content-Length"},
		{"length too long", ok + "Content-Length: 9223372036854775808\r\n\r\n", "Content-Length"},
		{"length and chunked", ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "both"},
		{"chunked and length", ok + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", "both"},
		{"chunked twice", ok + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "chunked alone"},
		{"chunked list", ok + "Transfer-Encoding: chunked, chunked\r\n\r\n", "chunked alone"},
		{"gzip", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n", "chunked alone"},
		{"identity", ok + "Transfer-Encoding: identity\r\n\r\n", "chunked alone"},
		{"vertical tab", ok + "Transfer-Encoding: \vchunked\r\n\r\n", "control character"},
		{"chunked in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"},
		{"chunked 204", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", "without body"},
		{"interim with a body", "HTTP/1.1 103 Early\r\nContent-Length: 5\r\n\r\nhello", "interim"},
		{"switched", "HTTP/1.1 101 Switching\r\nUpgrade: secret\r\n\r\n", "switched"},
		{"interim for ever", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 17), "too many interim"},
		{"too large", ok + "X: " + strings.Repeat("secret", 20_000), "over 65536 bytes"},
		{"too large at once", ok + "X: " + strings.Repeat("secret", 20_000) + "\r\n\r\n", "over 65536 bytes"},
		{"too many", ok + strings.Repeat("a:b\r\n", 1001) + "\r\n", "too many header lines"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
				p.request()
				p.say(tc.response)
			})})
			_, _, err := call(t.Context(), c, post("/", "{}"))
			e := wantPhase(t, err, h1.PhaseHead, nil)
			if !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") || e.Reused {
				t.Errorf("error %q", err)
			}
			if cut := errors.Is(err, io.ErrUnexpectedEOF); cut == errors.Is(err, h1.ErrProtocol) {
				t.Errorf("error %q is %T", err, e.Err)
			}
			if st := c.Stats(); st.Active+st.Idle != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestRefusedBodies plays bodies that Read must refuse after it gave what was right.
func TestRefusedBodies(t *testing.T) {
	const chunked = "Transfer-Encoding: chunked\r\n\r\n"
	for _, tc := range []struct{ name, rest, body, want string }{
		{"cut length", "Content-Length: 5\r\n\r\nhi", "hi", "inside the response body"},
		{"cut chunk", chunked + "5\r\nhi", "hi", "inside the response body"},
		{"cut size", chunked + "2\r\nhi\r\n5", "hi", "inside the response body"},
		{"no last chunk", chunked + "2\r\nhi\r\n", "hi", "inside the response body"},
		{"cut trailer", chunked + "2\r\nhi\r\n0\r\nA: secret", "hi", "inside the response body"},
		{"no hex", chunked + "2\r\nhi\r\nsecret\r\n", "hi", "chunk size is malformed"},
		{"empty size", chunked + "\r\nhi", "", "chunk size is malformed"},
		{"signed", chunked + "+2\r\nhi", "", "chunk size is malformed"},
		{"prefix", chunked + "0x2\r\nhi", "", "chunk size is malformed"},
		{"blank before", chunked + " 2\r\nhi", "", "chunk size is malformed"},
		{"blank after", chunked + "2 \r\nhi", "", "chunk size is malformed"},
		{"junk after", chunked + "2 secret\r\nhi", "", "chunk size is malformed"},
		{"LF in extension", chunked + "2;a\nsecret\r\nhi", "", "without CRLF"},
		{"CR in extension", chunked + "2;a\rsecret\r\nhi", "", "chunk size is malformed"},
		{"NUL in extension", chunked + "2;a\x00\r\nhi", "", "chunk size is malformed"},
		{"bare LF", chunked + "2\nhi\n0\n\n", "", "without CRLF"},
		{"overflow", chunked + "8000000000000000\r\nhi", "", "chunk size is too large"},
		{"overflow to zero", chunked + "10000000000000000\r\nhi", "", "chunk size is too large"},
		{"long line", chunked + strings.Repeat("0", 300), "", "too long"},
		{"long extension", chunked + "2;" + strings.Repeat("x", 300) + "\r\nhi", "", "too long"},
		{"data too long", chunked + "2\r\nhisecret\r\n", "hi", "longer than its size"},
		{"data without CR", chunked + "2\r\nhi\n0\r\n\r\n", "hi", "longer than its size"},
		{"trailer without colon", chunked + "2\r\nhi\r\n0\r\nsecret\r\n\r\n", "hi", "trailer is malformed"},
		{"trailer folded", chunked + "2\r\nhi\r\n0\r\nA: b\r\n secret\r\n\r\n", "hi", "trailer is malformed"},
		{"trailer too long", chunked + "0\r\nA: " + strings.Repeat("secret", 2000), "", "too long"},
		{"trailers too many", chunked + "0\r\n" + strings.Repeat("A: secret\r\n", 7000) + "\r\n", "", "trailers are too large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
				p.request()
				p.say("HTTP/1.1 200 OK\r\n" + tc.rest)
			})})
			_, body, err := call(t.Context(), c, post("/", "{}"))
			wantPhase(t, err, h1.PhaseBody, nil)
			if body != tc.body || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("body %q, error %q", body, err)
			}
			if st := c.Stats(); st.Active+st.Idle != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

func TestRefusedRequests(t *testing.T) {
	const line = "POST / HTTP/1.1\r\n"
	c := client(t, h1.Options{Addr: "127.0.0.1:1"})
	for _, head := range []string{
		"", "POST / HTTP/1.1", "POST / HTTP/1.0\r\n", "POST /a b HTTP/1.1\r\n", "/ HTTP/1.1\r\n", " / HTTP/1.1\r\n", "P\x00 / HTTP/1.1\r\n",
		"CONNECT a:1 HTTP/1.1\r\n", line + "\r\n", line + "A: b", line + "A: b\r\n\r\nGET / HTTP/1.1\r\n", line + "A: b\nC: d\r\n",
		line + "A: b\rC: d\r\n", line + "A: \x00\r\n", line + " A: b\r\n", line + "A : b\r\n", line + "secret\r\n",
		line + "content-length: 5\r\n", line + "Transfer-Encoding: chunked\r\n", line + "Upgrade: websocket\r\n", line + "Expect: 100-continue\r\n",
		"POST  HTTP/1.1\r\n", "P(ST / HTTP/1.1\r\n",
	} {
		_, _, err := call(t.Context(), c, &h1.Request{Head: []byte(head)})
		wantPhase(t, err, h1.PhaseWrite, h1.ErrRequest)
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("error %q", err)
		}
	}
	if st := c.Stats(); st.Dials != 0 {
		t.Errorf("%+v", st)
	}
}

func TestHeader(t *testing.T) {
	c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\nContent-Type:text/event-stream \r\nMcp-Session-Id: one\r\nmcp-session-id: two\r\nEmpty:\r\nContent-Length: 2\r\n\r\nhi")
		p.hold()
	})})
	var p h1.Response
	if err := c.Do(t.Context(), post("/"), &p); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"content-type": "text/event-stream", "MCP-Session-ID": "one", "empty": "", "absent": "", "Mcp-Session-I": ""} {
		if got := p.Header(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	p.Close() // the body was not read
	if st := c.Stats(); st.Idle+st.Active != 0 {
		t.Errorf("%+v", st)
	}
}
