package mcp

import (
	"fmt"
	"math"
)

// MaxBatch is the most messages [Split] takes from one batch.
const MaxBatch = 100

// Split returns the elements of a batch array (JSON-RPC 2.0 section 6, in the
// protocol of 2025-03-26 only), each still to be scanned. An empty batch and
// one of more than [MaxBatch] elements are refused.
func Split(body []byte, lim Limits) ([]Span, *Error) {
	lim = lim.or()
	w, i := lim.begin(body)
	if i >= 0 && body[i] != '[' {
		i = w.fail(i, faultValue)
	}
	var spans []Span
	if i >= 0 {
		done := false
		for i, done = w.open(i, ']'); i >= 0 && !done; {
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
// returns false.
func Members(body []byte, object Span, f func(Field) bool) {
	w, ok := within(body, object, '{')
	if !ok {
		return
	}
	i, done := w.open(int(object.Start), '}')
	for i >= 0 && !done {
		_, val := w.key(i)
		if val < 0 {
			return
		}
		end := w.value(val)
		if end < 0 || !f(Field{int32(i), Span{int32(val), int32(end)}}) {
			return
		}
		i, done = w.next(end, '}')
	}
}

// Lookup finds a member of an already scanned object, the zero Field when it
// has none. A second member of that name, or one whose name differs from it in
// case only, is an error: readers would not agree on which one counts.
func Lookup(body []byte, object Span, key string) (Field, *Error) {
	var found Field
	var problem *Error
	var scratch []byte
	Members(body, object, func(f Field) bool {
		text, ok := Text(body, Span{f.Key, nameEnd(body, f)}, scratch)
		if !ok {
			return true
		}
		switch {
		case string(text) == key:
			if found.Present() {
				problem = &Error{Code: CodeInvalidParams, Message: "duplicate key " + clip(key)}
				return false
			}
			found = f
		case len(text) >= len(key) && foldsTo(text, key):
			problem = &Error{Code: CodeInvalidParams, Message: "a key differs only in case from " + clip(key)}
			return false
		}
		return true
	})
	if problem != nil {
		return Field{}, problem
	}
	return found, nil
}

// nameEnd is the end of the key of f.
func nameEnd(body []byte, f Field) int32 {
	w := walker{body: body[:f.Start]}
	return int32(w.str(int(f.Key)))
}

// foldsTo reports whether text equals key under Unicode simple folding.
func foldsTo(text []byte, key string) bool {
	return equalFold(string(text), key)
}
