package trace

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
)

type (
	// ID names a trace. The zero value names none.
	ID [16]byte
	// SpanID names a span within a trace. The zero value names none.
	SpanID [8]byte
)

// Context is what is handed on of a trace.
type Context struct {
	Trace ID
	Span  SpanID
	// Sampled tells that the trace is kept by whoever handed it on.
	Sampled bool
	// State is a valid tracestate; empty for none.
	State string
}

// Valid tells whether the context names a span.
func (c *Context) Valid() bool { return c.Trace != ID{} && c.Span != SpanID{} }

// ParentSize is the length of a traceparent of version 00.
const ParentSize = 55

// The parts of a traceparent: version-trace-span-flags.
const (
	traceAt = 3
	spanAt  = traceAt + 2*len(ID{}) + 1
	flagsAt = spanAt + 2*len(SpanID{}) + 1
)

// parentMost bounds a traceparent of a later version.
const parentMost = 256

// Parse reads a traceparent. Of a version later than 00 it reads what it has in common with that.
func Parse[T []byte | string](parent T) (c Context, ok bool) {
	var version, flags [1]byte
	switch {
	case len(parent) < ParentSize || len(parent) > parentMost,
		parent[traceAt-1] != '-' || parent[spanAt-1] != '-' || parent[flagsAt-1] != '-',
		!digits(version[:], parent[:traceAt-1]) || version[0] == 0xff,
		len(parent) > ParentSize && (version[0] == 0 || parent[ParentSize] != '-'),
		!digits(c.Trace[:], parent[traceAt:spanAt-1]),
		!digits(c.Span[:], parent[spanAt:flagsAt-1]),
		!digits(flags[:], parent[flagsAt:ParentSize]),
		!c.Valid():
		return Context{}, false
	}
	c.Sampled = flags[0]&1 != 0
	return c, true
}

// digits decodes lower-case hexadecimal digits.
func digits[T []byte | string](dst []byte, text T) bool {
	for i := range dst {
		high, low := digit(text[2*i]), digit(text[2*i+1])
		if high|low > 0xf {
			return false
		}
		dst[i] = high<<4 | low
	}
	return true
}

func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 0xff
}

// AppendParent appends the context as a traceparent.
func (c *Context) AppendParent(dst []byte) []byte {
	dst = append(dst, "00-"...)
	dst = append(hex.AppendEncode(dst, c.Trace[:]), '-')
	dst = hex.AppendEncode(dst, c.Span[:])
	if c.Sampled {
		return append(dst, "-01"...)
	}
	return append(dst, "-00"...)
}

// String is the id as 32 digits; empty for none.
func (id ID) String() string {
	if id == (ID{}) {
		return ""
	}
	return hex.EncodeToString(id[:])
}

// NewID makes the id of a trace. It is to be told apart, not secret.
func NewID() (id ID) {
	for id == (ID{}) {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // see above
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // see above
	}
	return id
}

// NewSpanID makes the id of a span.
func NewSpanID() (id SpanID) {
	for id == (SpanID{}) {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64()) //nolint:gosec // as NewID
	}
	return id
}
