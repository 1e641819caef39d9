package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
)

// Param binds an argument of a tool to a request header by an x-mcp-header
// annotation (2026-07-28 streamable-http "Custom Headers from Tool
// Parameters").
type Param struct {
	Header string   // without the Mcp-Param- in front
	Path   []string // keys from arguments down to the value
	Type   string   // string, integer or boolean
}

const annotation = "x-mcp-header"

// Params returns the bindings of an inputSchema. An error means that an
// annotation breaks a rule; the whole tool must then be dropped from lists.
func Params(schema []byte) ([]Param, error) {
	// An escaped spelling of the annotation has a \u in it.
	if !bytes.Contains(schema, []byte(annotation)) && !bytes.Contains(schema, []byte(`\u`)) {
		return nil, nil
	}
	lim := Limits{}.or()
	var w walker
	i := w.begin(schema, lim)
	if i >= 0 {
		w.end(w.value(i))
	}
	if e := w.problem(lim); e != nil {
		return nil, e
	}
	b := binder{schema: schema}
	b.walk(Span{int32(i), int32(len(bytes.TrimRight(schema, " \t\r\n")))}, nil, true)
	if b.err != nil {
		return nil, b.err
	}
	return b.params, nil
}

// binder collects the annotations of one schema.
type binder struct {
	schema []byte
	params []Param
	err    error
}

func (b *binder) fail(path []string, format string, args ...any) {
	if b.err == nil {
		where := strings.Join(path, ".")
		b.err = fmt.Errorf("property %q: %s", clip(where), fmt.Sprintf(format, args...))
	}
}

// walk reads a subschema, or whatever else may hold one. static says that only
// properties keys lead to it.
func (b *binder) walk(node Span, path []string, static bool) {
	raw := node.Of(b.schema)
	if b.err != nil || raw == nil {
		return
	}
	if raw[0] == '[' {
		Elements(b.schema, node, func(s Span) bool {
			b.walk(s, path, false)
			return b.err == nil
		})
		return
	}
	for m := membersOf(b.schema, node); b.err == nil && m.next(); {
		name, _ := m.name()
		b.keyword(node, string(name), m.field.Span, path, static)
	}
}

func (b *binder) keyword(node Span, name string, value Span, path []string, static bool) {
	switch name {
	case annotation:
		if !static || len(path) == 0 {
			b.fail(path, "%s must be on a property that only properties lead to", annotation)
			return
		}
		b.bind(node, path)
	case "properties":
		b.schemas(value, path, static)
	case "$defs", "definitions", "patternProperties", "dependentSchemas":
		b.schemas(value, path, false)
	case "const", "default", "enum", "examples": // data, not schemas
	default:
		b.walk(value, path, false)
	}
}

// schemas reads an object whose keys are names, not keywords.
func (b *binder) schemas(object Span, path []string, static bool) {
	for m := membersOf(b.schema, object); b.err == nil && m.next(); {
		name, _ := m.name()
		b.walk(m.field.Span, append(slices.Clip(path), string(name)), static)
	}
}

func (b *binder) bind(node Span, path []string) {
	header, e := Lookup(b.schema, node, annotation)
	kind, e2 := Lookup(b.schema, node, "type")
	if e != nil || e2 != nil {
		b.fail(path, "%v", errors.Join(asError(e), asError(e2)))
		return
	}
	p := Param{Header: b.text(header.Span), Path: path, Type: b.text(kind.Span)}
	switch p.Type {
	case "string", "integer", "boolean":
	default:
		b.fail(path, "%s needs the type string, integer or boolean, not %s", annotation, clip(string(kind.Of(b.schema))))
		return
	}
	if !isToken(p.Header) {
		b.fail(path, "%s %s is not an HTTP field name", annotation, clip(string(header.Of(b.schema))))
		return
	}
	for _, other := range b.params {
		if strings.EqualFold(other.Header, p.Header) {
			b.fail(path, "%s %q is used twice", annotation, clip(p.Header))
			return
		}
	}
	b.params = append(b.params, p)
}

// asError keeps a nil *Error from becoming an error that is not nil.
func asError(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}

func (b *binder) text(s Span) string {
	text, ok := Text(b.schema, s, nil)
	if !ok {
		return ""
	}
	return string(text)
}

// isToken reports whether v is a token of RFC 9110 5.6.2.
func isToken(v string) bool {
	for i := range len(v) {
		c := v[i]
		alnum := '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return v != ""
}

// CheckParams compares the Mcp-Param headers of a tools/call with its
// arguments. Headers that ps does not name are ignored.
func CheckParams(ps []Param, h http.Header, r *Raw) *Error {
	for i := range ps {
		if e := ps[i].check(h, r); e != nil {
			return e
		}
	}
	return nil
}

func (p *Param) check(h http.Header, r *Raw) *Error {
	name := HeaderParamPrefix + p.Header
	values := h[textproto.CanonicalMIMEHeaderKey(name)]
	value, e := p.value(r)
	switch {
	case e != nil:
		return e
	case len(values) > 1:
		return mismatch("header %s is sent %d times; send it once", name, len(values))
	case !value.Present() && len(values) == 1:
		return mismatch("header %s is sent but arguments.%s is not; leave it out", name, p.path())
	case !value.Present():
		return nil
	case len(values) == 0:
		return mismatch("header %s is missing; it must repeat arguments.%s", name, p.path())
	}
	got := strings.Trim(values[0], " \t")
	sent, err := DecodeHeader(got)
	if err != nil {
		return mismatch("header %s %s is malformed: %v", name, quote(got), err)
	}
	if want, ok := p.text(r.Body, value, nil); !ok || !p.same(sent, want) {
		return mismatch("header %s is %s but arguments.%s is %s; send both with the same value",
			name, quote(got), p.path(), clip(string(value.Of(r.Body))))
	}
	return nil
}

func (p *Param) path() string { return clip(strings.Join(p.Path, ".")) }

// same compares a header with the text of the argument, integers by value.
func (p *Param) same(sent string, want []byte) bool {
	if sent == string(want) {
		return true
	}
	if p.Type != "integer" {
		return false
	}
	a, okA := Integer([]byte(sent), Span{0, int32(len(sent))})
	b, okB := Integer(want, Span{0, int32(len(want))})
	return okA && okB && a == b
}

// value finds the argument; absent also when it is null.
func (p *Param) value(r *Raw) (Span, *Error) {
	at := r.Get(KeyArguments)
	for _, key := range p.Path {
		f, e := Lookup(r.Body, at, key)
		if e != nil {
			return Span{}, e
		}
		at = f.Span
	}
	if len(p.Path) == 0 || string(at.Of(r.Body)) == "null" {
		return Span{}, nil
	}
	return at, nil
}

// text returns what the header of the argument says: the text of a string,
// true or false, or an integer in decimal; in scratch when it is none of the
// bytes of body. ok is false for everything else.
func (p *Param) text(body []byte, value Span, scratch []byte) (text []byte, ok bool) {
	raw := value.Of(body)
	switch {
	case len(raw) == 0:
		return nil, false
	case raw[0] == '"':
		return Text(body, value, scratch)
	case string(raw) == "true" || string(raw) == "false":
		return raw, true
	}
	n, ok := Integer(body, value)
	return strconv.AppendInt(scratch[:0], n, 10), ok
}

// AppendParamHeaders appends the header lines, each with CRLF, that repeat the
// arguments of r. An argument that cannot be a header is an error.
func AppendParamHeaders(dst []byte, ps []Param, r *Raw) ([]byte, *Error) {
	var buf [128]byte
	for i := range ps {
		p := &ps[i]
		value, e := p.value(r)
		if e != nil {
			return dst, e
		}
		if !value.Present() {
			continue
		}
		text, ok := p.text(r.Body, value, buf[:])
		if !ok {
			return dst, &Error{Code: CodeInvalidParams, Message: fmt.Sprintf(
				"arguments.%s is sent as header %s%s and must be a string, a boolean or an integer within ±(2^53-1)",
				p.path(), HeaderParamPrefix, p.Header)}
		}
		dst = append(append(dst, HeaderParamPrefix...), p.Header...)
		dst = AppendHeader(append(dst, ": "...), text)
		dst = append(dst, "\r\n"...)
	}
	return dst, nil
}
