package h1

import (
	"bytes"
	"encoding/binary"
)

// field is a header line: where its name and its value stand in the head.
type field struct{ name, nameEnd, value, valueEnd int32 }

// maxFields bounds the header lines of a response.
const maxFields = 1000

// head is a parsed response head (RFC 9112 sections 4 to 6).
type head struct {
	text    []byte
	fields  []field
	status  int
	minor   byte  // '0' or '1' of HTTP/1.x
	length  int64 // Content-Length, -1 when absent
	chunked bool
	closing bool // Connection: close
	keeping bool // Connection: keep-alive
}

// parse reads h.text, which ends with the first blank line of the response.
func (h *head) parse() error {
	h.fields, h.length = h.fields[:0], -1
	h.chunked, h.closing, h.keeping = false, false, false
	if hasControl(h.text) {
		return protocol("control character in the response head")
	}
	at, err := h.statusLine()
	if err != nil {
		return err
	}
	for {
		line, next := cutLine(h.text, at)
		if next < 0 {
			return protocol("line of the response head without CRLF")
		}
		if len(line) == 0 {
			return h.consistent()
		}
		if err := h.field(line, at); err != nil {
			return err
		}
		at = next
	}
}

// cutLine returns the line that begins at a byte of text, and where the next one begins, -1 when it does
// not end with CRLF or a CR stands inside it.
func cutLine(text []byte, at int) (line []byte, next int) {
	i := bytes.IndexByte(text[at:], '\r')
	if i < 0 || at+i+1 >= len(text) || text[at+i+1] != '\n' {
		return nil, -1
	}
	line = text[at : at+i]
	if bytes.IndexByte(line, '\n') >= 0 {
		return nil, -1
	}
	return line, at + i + 2
}

// statusLine parses "HTTP/1.x NNN reason" and returns where the next line begins.
func (h *head) statusLine() (int, error) {
	line, next := cutLine(h.text, 0)
	const need = len("HTTP/1.1 200")
	if next < 0 || len(line) < need || !bytes.HasPrefix(line, httpName) || line[8] != ' ' || len(line) > need && line[need] != ' ' {
		return 0, protocol("status line is malformed")
	}
	h.minor = line[7]
	if h.minor != '0' && h.minor != '1' {
		return 0, protocol("version is neither HTTP/1.0 nor HTTP/1.1")
	}
	h.status = 0
	for _, d := range line[9:need] {
		if d < '0' || d > '9' {
			return 0, protocol("status is not a number")
		}
		h.status = h.status*10 + int(d-'0')
	}
	if h.status < 100 {
		return 0, protocol("status is below 100")
	}
	return next, nil
}

// field parses and keeps one header line, which begins at a byte of the head.
func (h *head) field(line []byte, at int) error {
	colon, err := fieldName(line)
	if err != nil {
		return err
	}
	if len(h.fields) >= maxFields {
		return protocol("too many header lines")
	}
	from, to := trim(line, colon+1)
	h.fields = append(h.fields, field{int32(at), int32(at + colon), int32(at + from), int32(at + to)})
	name, value := line[:colon], line[from:to]
	switch {
	case foldEqual(name, "content-length"):
		return h.contentLength(value)
	case foldEqual(name, "transfer-encoding"):
		if h.chunked || !foldEqual(value, "chunked") {
			return protocol("Transfer-Encoding is not chunked alone")
		}
		h.chunked = true
	case foldEqual(name, "connection"):
		h.closing = h.closing || hasToken(value, "close")
		h.keeping = h.keeping || hasToken(value, "keep-alive")
	}
	return nil
}

// fieldName returns where the colon after a valid name stands.
func fieldName(line []byte) (int, error) {
	if line[0] == ' ' || line[0] == '\t' {
		return 0, protocol("header line is folded")
	}
	for i, b := range line {
		if b == ':' && i > 0 {
			return i, nil
		}
		if !tokenByte[b] {
			break
		}
	}
	return 0, protocol("header name is malformed")
}

func (h *head) contentLength(value []byte) error {
	if len(value) == 0 || len(value) > 18 {
		return protocol("Content-Length is not a number")
	}
	n := int64(0)
	for _, d := range value {
		if d < '0' || d > '9' {
			return protocol("Content-Length is not a number")
		}
		n = n*10 + int64(d-'0')
	}
	if h.length >= 0 && h.length != n {
		return protocol("Content-Length is given twice, differently")
	}
	h.length = n
	return nil
}

// consistent refuses heads whose framing lines contradict each other.
func (h *head) consistent() error {
	switch {
	case h.chunked && h.length >= 0:
		return protocol("both Content-Length and Transfer-Encoding")
	case h.chunked && h.minor == '0':
		return protocol("Transfer-Encoding in HTTP/1.0")
	case h.chunked && (h.status < 200 || h.status == 204):
		return protocol("Transfer-Encoding in a response without body")
	case h.length > 0 && h.status < 200:
		return protocol("Content-Length in an interim response")
	}
	return nil
}

// get returns the value of the first line with the name.
func (h *head) get(name string) ([]byte, bool) {
	for _, f := range h.fields {
		if foldEqual(h.text[f.name:f.nameEnd], name) {
			return h.text[f.value:f.valueEnd], true
		}
	}
	return nil, false
}

// trim returns the bounds of line[from:] without blanks around it.
func trim(line []byte, from int) (int, int) {
	to := len(line)
	for from < to && (line[from] == ' ' || line[from] == '\t') {
		from++
	}
	for to > from && (line[to-1] == ' ' || line[to-1] == '\t') {
		to--
	}
	return from, to
}

// foldEqual compares ASCII without regard to case.
func foldEqual(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, x := range b {
		if x != s[i] && lower(x) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(b byte) byte {
	if b >= 'A' && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// hasToken looks for a member of a comma-separated list.
func hasToken(list []byte, token string) bool {
	for len(list) > 0 {
		member, rest, _ := bytes.Cut(list, []byte(","))
		from, to := trim(member, 0)
		if foldEqual(member[from:to], token) {
			return true
		}
		list = rest
	}
	return false
}

// hasControl looks for bytes that no head may hold: controls but HTAB, CR and LF. CR and LF are judged by
// cutLine.
func hasControl(b []byte) bool {
	for len(b) >= 8 {
		if x := binary.LittleEndian.Uint64(b); suspicious(x) != 0 && anyControl(b[:8]) {
			return true
		}
		b = b[8:]
	}
	return anyControl(b)
}

// suspicious has a high bit set for each byte below 0x20 or equal to 0x7f, and maybe for others next to one.
func suspicious(x uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	below := (x - 0x20*ones) &^ x & highs
	del := x ^ 0x7f*ones
	return below | (del-ones)&^del&highs
}

func anyControl(b []byte) bool {
	for _, x := range b {
		if x < 0x20 && x != '\t' && x != '\r' && x != '\n' || x == 0x7f {
			return true
		}
	}
	return false
}

// tokenByte marks the bytes of a token (RFC 9110 section 5.6.2).
var tokenByte = func() (t [256]bool) {
	for _, b := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[b] = true
	}
	return t
}()

func isToken(b []byte) bool {
	for _, x := range b {
		if !tokenByte[x] {
			return false
		}
	}
	return len(b) > 0
}

// facts is what a request's head says about its framing.
type facts struct {
	head    bool // method HEAD: the response has no body
	length  bool // method that wants a Content-Length even without body
	closing bool // Connection: close
}

// inspect checks a request head: whole lines, nothing that frames the body, nothing to smuggle.
func inspect(text []byte) (f facts, err error) {
	if hasControl(text) {
		return f, badRequest("control character in the head")
	}
	line, at := cutLine(text, 0)
	method, target, ok := bytes.Cut(line, []byte(" "))
	target, whole := bytes.CutSuffix(target, []byte(" HTTP/1.1"))
	if at < 0 || !ok || !whole || !isToken(method) || len(target) == 0 || bytes.IndexByte(target, ' ') >= 0 || bytes.IndexByte(target, '\t') >= 0 {
		return f, badRequest("request line is not method, target and HTTP/1.1")
	}
	switch string(method) {
	case "HEAD":
		f.head = true
	case "POST", "PUT", "PATCH":
		f.length = true
	case "CONNECT":
		return f, badRequest("CONNECT is not supported")
	}
	for at < len(text) {
		line, next := cutLine(text, at)
		if next < 0 || len(line) == 0 {
			return f, badRequest("head is not whole lines, or holds a blank one")
		}
		if err := f.line(line); err != nil {
			return f, err
		}
		at = next
	}
	return f, nil
}

func (f *facts) line(line []byte) error {
	colon, err := fieldName(line)
	if err != nil {
		return badRequest("header line is malformed")
	}
	name := line[:colon]
	switch {
	case foldEqual(name, "content-length"), foldEqual(name, "transfer-encoding"):
		return badRequest("Content-Length and Transfer-Encoding are not the caller's")
	case foldEqual(name, "upgrade"), foldEqual(name, "expect"):
		return badRequest("Upgrade and Expect are not supported")
	case foldEqual(name, "connection"):
		f.closing = f.closing || hasToken(line[colon+1:], "close")
	}
	return nil
}
