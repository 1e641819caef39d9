package mcp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"
)

// The request headers that mirror the body, in the canonical form of net/http.
const (
	HeaderVersion     = "Mcp-Protocol-Version"
	HeaderMethod      = "Mcp-Method"
	HeaderName        = "Mcp-Name"
	HeaderParamPrefix = "Mcp-Param-"
)

const (
	sentinelStart = "=?base64?"
	sentinelEnd   = "?="
)

var (
	errHeaderChar   = errors.New("it has a character outside visible ASCII; encode it as =?base64?…?=")
	errHeaderBase64 = errors.New("it is not valid Base64 of UTF-8 text between =?base64? and ?=")
)

// DecodeHeader returns the text that a header value carries: without the white
// space around it (RFC 9110 5.5) and out of its Base64 sentinel if it has one
// (2026-07-28 streamable-http "Value Encoding").
func DecodeHeader(v string) (string, error) {
	v = strings.Trim(v, " \t")
	if !isFieldText(v) {
		return "", errHeaderChar
	}
	inner, opened := strings.CutPrefix(v, sentinelStart)
	inner, closed := strings.CutSuffix(inner, sentinelEnd)
	if !opened || !closed {
		return v, nil
	}
	text, err := base64.StdEncoding.Strict().DecodeString(inner)
	if err != nil || !utf8.Valid(text) {
		return "", errHeaderBase64
	}
	return string(text), nil
}

// AppendHeader appends text as a header value: plain where that is
// unambiguous, else as Base64 in its sentinel. The empty text is encoded too,
// since receivers take an empty value for a missing one.
func AppendHeader(dst, text []byte) []byte {
	if isPlain(text) {
		return append(dst, text...)
	}
	dst = append(dst, sentinelStart...)
	dst = base64.StdEncoding.AppendEncode(dst, text)
	return append(dst, sentinelEnd...)
}

// isPlain reports whether text may stand in a header as it is.
func isPlain(text []byte) bool {
	if len(text) == 0 || text[0] <= ' ' || text[len(text)-1] <= ' ' {
		return false
	}
	for _, c := range text {
		if c < ' ' && c != '\t' || c > '~' {
			return false
		}
	}
	return !bytes.HasPrefix(text, []byte(sentinelStart)) || !bytes.HasSuffix(text, []byte(sentinelEnd))
}

// isFieldText reports whether v is visible ASCII, spaces and tabs.
func isFieldText(v string) bool {
	for i := range len(v) {
		if c := v[i]; (c < ' ' && c != '\t') || c > '~' {
			return false
		}
	}
	return true
}

// CheckHeaders compares the headers of a modern request with its body
// (2026-07-28 streamable-http "Server Validation"): MCP-Protocol-Version with
// _meta, Mcp-Method with method and, where the method has it, Mcp-Name with
// params.name, uri or taskId. The headers of notifications are not defined:
// theirs must only not contradict the body.
func CheckHeaders(h http.Header, r *Raw) *Error {
	must := r.Kind == KindRequest
	if e := checkVersion(h, r, must); e != nil {
		return e
	}
	if e := check(h, mirrored{HeaderMethod, "method", r.MethodText, false, must}, r.Body); e != nil {
		return e
	}
	key := r.Method.Facts().NameKey
	if key == KeyNone {
		return nil
	}
	value := r.Get(key)
	if !value.Present() {
		return &Error{Code: CodeInvalidParams, Message: fmt.Sprintf("params.%s is missing in %s", key, r.Method)}
	}
	return check(h, mirrored{HeaderName, key.String(), value, true, must}, r.Body)
}

func checkVersion(h http.Header, r *Raw, must bool) *Error {
	version := r.GetMeta(MetaProtocolVersion)
	if !version.Present() {
		if !must {
			return nil
		}
		if _, e := single(h, HeaderVersion, true); e != nil {
			return e
		}
		return &Error{Code: CodeInvalidParams, Message: "params._meta lacks " + MetaProtocolVersion.String()}
	}
	return check(h, mirrored{HeaderVersion, MetaProtocolVersion.String(), version, false, true}, r.Body)
}

// mirrored is a header and the member of the body it repeats.
type mirrored struct {
	header, member string
	value          Span
	encoded        bool // the sentinel is allowed
	must           bool
}

func check(h http.Header, m mirrored, body []byte) *Error {
	v, e := single(h, m.header, m.must)
	if e != nil || v == "" {
		return e
	}
	sent := v
	if m.encoded {
		var err error
		if v, err = DecodeHeader(v); err != nil {
			return mismatch("header %s %s is malformed: %v", m.header, quote(sent), err)
		}
	}
	var buf [128]byte
	text, ok := Text(body, m.value, buf[:0])
	if !ok || string(text) != v {
		return mismatch("header %s is %s but %s in the body is %s; send both with the same value",
			m.header, quote(sent), m.member, clip(string(m.value.Of(body))))
	}
	return nil
}

// single returns the only value of a header, without the white space around
// it: "" when it is missing and need not be there.
func single(h http.Header, name string, must bool) (string, *Error) {
	values := h[name]
	if len(values) > 1 {
		return "", mismatch("header %s is sent %d times; send it once", name, len(values))
	}
	v := ""
	if len(values) == 1 {
		v = strings.Trim(values[0], " \t")
	}
	if v == "" && must {
		return "", mismatch("header %s is missing; it must repeat the value in the body", name)
	}
	return v, nil
}

func mismatch(format string, args ...any) *Error {
	return &Error{Code: CodeHeaderMismatch, Message: fmt.Sprintf(format, args...)}
}

func quote(v string) string { return fmt.Sprintf("%q", clip(v)) }
