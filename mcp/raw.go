package mcp

// Raw is a JSON-RPC message as it arrived, what was found in it, and the edits
// it leaves with.
type Raw struct {
	Body []byte
	Message
	Edits Edits
	buf   *Buffer
}

// Own makes the bytes of b the body. Free gives b back.
func (r *Raw) Own(b *Buffer) {
	if r.buf != nil && r.buf != b {
		r.buf.Free()
	}
	r.buf, r.Body = b, b.B
}

// Scan reads Body into Message and drops the edits.
func (r *Raw) Scan(lim Limits) *Error {
	r.Edits.Reset()
	return Scan(r.Body, &r.Message, lim)
}

// Free gives an owned buffer back and empties r, which is then ready for its
// next message. Spans and slices of the body are no longer valid.
func (r *Raw) Free() {
	b := r.buf
	r.Reset()
	b.Free()
}

// Reset empties r for its next message. An owned buffer is let go without
// giving it back: others may still read it.
func (r *Raw) Reset() {
	r.Body, r.buf, r.Message = nil, nil, Message{}
	r.Edits.Reset()
}

// Len is the length of the message with its edits.
func (r *Raw) Len() int { return r.Edits.Len(r.Body) }

// Append appends the message with its edits.
func (r *Raw) Append(dst []byte) []byte { return r.Edits.Append(dst, r.Body) }

// Segments appends the pieces of the message with its edits.
func (r *Raw) Segments(dst [][]byte) [][]byte { return r.Edits.Segments(dst, r.Body) }
