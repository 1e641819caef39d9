package mcp

import (
	"fmt"
	"math"
)

// Kind says what a JSON-RPC message is.
type Kind uint8

// The kinds of messages. KindInvalid is the kind of a message that was not, or
// not successfully, scanned.
const (
	KindInvalid Kind = iota
	KindRequest
	KindNotification
	KindResult
	KindError
	KindBatch
)

// String returns the kind in words.
func (k Kind) String() string {
	names := [...]string{"invalid message", "request", "notification", "result", "error", "batch"}
	if int(k) >= len(names) {
		return names[0]
	}
	return names[k]
}

// Message is what [Scan] found in a body. All spans are ranges of that body.
type Message struct {
	Kind       Kind
	Method     Method
	Newlines   bool // raw CR or LF stands between tokens
	ID         Span // raw JSON, quotes included; absent for null
	MethodText Span // raw JSON string
	Payload    Span // the params, result or error object
	ErrorCode  int64
	Fields     [numKeys]Field     // members of Payload
	Meta       [numMetaKeys]Field // members of the _meta of Payload
}

// Get returns the raw value of a member of Payload, absent when it has none.
func (m *Message) Get(k Key) Span {
	if k >= numKeys {
		return Span{}
	}
	return m.Fields[k].Span
}

// GetMeta returns the raw value of a member of the _meta of Payload, absent
// when it has none.
func (m *Message) GetMeta(k MetaKey) Span {
	if k >= numMetaKeys {
		return Span{}
	}
	return m.Meta[k].Span
}

// Limits bounds what [Scan] accepts. A zero or negative field stands for its
// default: 16 MiB, 128 levels, 1<<20 values. Depth ends at 1024 levels.
type Limits struct{ Bytes, Depth, Values int }

func (l Limits) or() Limits {
	if l.Bytes <= 0 {
		l.Bytes = 16 << 20
	}
	if l.Depth <= 0 {
		l.Depth = 128
	}
	if l.Values <= 0 {
		l.Values = 1 << 20
	}
	// Spans have 31 bits.
	return Limits{min(l.Bytes, math.MaxInt32), min(l.Depth, deepest), l.Values}
}

// begin makes w read body within l and returns the offset of the first token.
func (w *walker) begin(body []byte, l Limits) int {
	w.body, w.depth, w.values = body, l.Depth, l.Values
	switch {
	case len(body) > l.Bytes:
		return w.fail(l.Bytes, faultBytes)
	case len(body) >= 3 && string(body[:3]) == "\ufeff":
		return w.fail(0, faultBOM)
	}
	first := w.token(0)
	if first == len(body) {
		return w.fail(first, faultEmpty)
	}
	return first
}

// end fails unless only white space follows i.
func (w *walker) end(i int) int {
	if i >= 0 {
		if i = w.space(i); i < len(w.body) {
			return w.fail(i, faultTrailing)
		}
	}
	return i
}

// problem turns the walker's fault into the error to answer with: nil when
// there is none.
func (w *walker) problem(l Limits) *Error {
	var bound string
	switch w.fault {
	case faultNone:
		return nil
	case faultBytes:
		bound = fmt.Sprintf("at most %d bytes are allowed", l.Bytes)
	case faultDepth:
		bound = fmt.Sprintf("at most %d levels are allowed", l.Depth)
	case faultValues:
		bound = fmt.Sprintf("at most %d values are allowed", l.Values)
	default:
		return &Error{Code: CodeParse, Message: fmt.Sprintf("invalid JSON at byte %d: %s", w.at, faultTexts[w.fault])}
	}
	return &Error{Code: CodeInvalidRequest, Message: fmt.Sprintf("message refused at byte %d: %s; %s", w.at, faultTexts[w.fault], bound)}
}
