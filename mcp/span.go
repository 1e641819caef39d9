package mcp

// Span is a half-open byte range of a body. The zero Span is absent.
type Span struct{ Start, End int32 }

// Present reports whether the span names bytes.
func (s Span) Present() bool { return s.End > 0 }

// Len is the number of bytes of the span.
func (s Span) Len() int { return int(s.End - s.Start) }

// Of returns the bytes of body that the span names, nil when it is absent or
// does not lie in body.
func (s Span) Of(body []byte) []byte {
	if s.End <= 0 || s.Start < 0 || s.Start > s.End || int(s.End) > len(body) {
		return nil
	}
	return body[s.Start:s.End:s.End]
}

// Field is a member of an object: Key is the offset of the opening quote of
// its key, the Span its raw value.
type Field struct {
	Key int32
	Span
}

// Name returns the raw JSON string that is the field's key, quotes included.
func (f Field) Name(body []byte) []byte {
	if !f.Present() || f.Key < 0 || int(f.Key) >= len(body) {
		return nil
	}
	w := walker{body: body[:f.Start]}
	return Span{f.Key, int32(w.str(int(f.Key)))}.Of(body)
}
