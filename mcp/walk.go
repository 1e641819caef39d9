package mcp

import (
	"fmt"
	"math"
	"strings"
)

// MaxBatch is the most messages [Split] takes from one batch.
const MaxBatch = 100

// Split returns the elements of a batch array (JSON-RPC 2.0 section 6, in the
// protocol of 2025-03-26 only), each still to be scanned. An empty batch and
// one of more than [MaxBatch] elements are refused.
func Split(body []byte, lim Limits) ([]Span, *Error) {
	lim = lim.or()
	var w walker
	i := w.begin(body, lim)
	if i >= 0 && body[i] != '[' {
		i = w.fail(i, faultValue)
	}
	var spans []Span
	if i >= 0 {
		i, done := w.open(i, ']')
		for i >= 0 && !done {
			start := i
			if i = w.value(i); i < 0 {
				break
			}
			if len(spans) == MaxBatch {
				return nil, &Error{Code: CodeInvalidRequest, Message: fmt.Sprintf("the batch has more than %d messages", MaxBatch)}
			}
			spans = append(spans, Span{int32(start), int32(i)})
			i, done = w.next(i, ']')
		}
		w.end(i)
	}
	if e := w.problem(lim); e != nil {
		return nil, e
	}
	if len(spans) == 0 {
		return nil, &Error{Code: CodeInvalidRequest, Message: "the batch is empty"}
	}
	return spans, nil
}

// within returns a walker over the scanned value s, which must begin with
// opening, else ok is false.
func within(body []byte, s Span, opening byte) (w walker, ok bool) {
	raw := s.Of(body)
	if len(raw) == 0 || raw[0] != opening {
		return w, false
	}
	return walker{body: body[:s.End], depth: deepest, values: math.MaxInt}, true
}

// Elements calls f for each element of an already scanned array until f
// returns false.
func Elements(body []byte, array Span, f func(Span) bool) {
	w, ok := within(body, array, '[')
	if !ok {
		return
	}
	i, done := w.open(int(array.Start), ']')
	for i >= 0 && !done {
		end := w.value(i)
		if end < 0 || !f(Span{int32(i), int32(end)}) {
			return
		}
		i, done = w.next(end, ']')
	}
}

// Members calls f for each member of an already scanned object until f
// returns false. It reports whether it came to the end of the object.
func Members(body []byte, object Span, f func(Field) bool) bool {
	m := membersOf(body, object)
	for m.next() {
		if !f(m.field) {
			return false
		}
	}
	return m.done && m.at == int(object.End)
}

// members steps through an already scanned object.
type members struct {
	w      walker
	at     int
	done   bool
	field  Field
	keyEnd int
}

func membersOf(body []byte, object Span) members {
	w, ok := within(body, object, '{')
	m := members{w: w, done: true}
	if ok {
		m.at, m.done = m.w.open(int(object.Start), '}')
	}
	return m
}

// next steps to the next member; it reports false behind the last one.
func (m *members) next() bool {
	if m.done || m.at < 0 {
		return false
	}
	m.w.escaped = false
	end, val := m.w.key(m.at)
	escaped := m.w.escaped
	if val < 0 {
		return false
	}
	after := m.w.value(val)
	if after < 0 {
		return false
	}
	m.field = Field{int32(m.at), Span{int32(val), int32(after)}}
	m.keyEnd = end
	m.w.escaped = escaped
	m.at, m.done = m.w.next(after, '}')
	return true
}

// name returns the decoded key; ok is false when it has a lone surrogate.
func (m *members) name() (text []byte, ok bool) {
	raw := m.w.body[m.field.Key+1 : m.keyEnd-1]
	if !m.w.escaped {
		return raw, true
	}
	return unescape(nil, raw)
}

// Lookup finds a member of an already scanned object, the zero Field when it
// has none. A second member of that name, or one whose name differs from it in
// case only, is an error: readers would not agree on which one counts.
func Lookup(body []byte, object Span, key string) (Field, *Error) {
	var found Field
	for m := membersOf(body, object); m.next(); {
		name, ok := m.name()
		switch {
		case !ok:
		case string(name) == key && found.Present():
			return Field{}, &Error{Code: CodeInvalidParams, Message: "duplicate key " + quote(key)}
		case string(name) == key:
			found = m.field
		case foldsTo(name, key):
			return Field{}, &Error{Code: CodeInvalidParams, Message: fmt.Sprintf(
				"key %s differs only in case from %s, which is ambiguous", quote(string(name)), quote(key))}
		}
	}
	return found, nil
}

// foldsTo reports whether name equals key under Unicode simple folding.
func foldsTo(name []byte, key string) bool {
	const widest = len(kelvin)
	if len(name) > len(key)*widest || len(key) > len(name)*widest || len(name) == 0 {
		return false
	}
	ascii := name[0] < 0x80 && key[0] < 0x80
	if ascii && lower(name[0]) != lower(key[0]) {
		return false
	}
	return strings.EqualFold(string(name), key)
}
