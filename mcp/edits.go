package mcp

import "slices"

// Edits is a set of splices to one body, kept in the order of the body. The
// zero value is ready; small sets do not allocate. Bytes handed to it are
// kept, not copied.
//
// Edits to the inside of something that is itself replaced or removed have no
// effect, whichever came first.
type Edits struct {
	n      int
	spill  bool // more holds the edits, not few
	settle bool // separators are not worked out yet
	few    [8]edit
	more   []edit
}

type editKind uint8

const (
	editReplace editKind = iota
	editInsert           // members behind the '{' at start-1
	editRemove           // a member from its key to the end of its value
)

type edit struct {
	start, end int32 // what the caller named
	from, to   int32 // what is cut out, separators included
	with       []byte
	kind       editKind
	comma      bool // one follows with
}

func (e *Edits) all() []edit {
	if e.spill {
		return e.more
	}
	return e.few[:e.n]
}

// Replace puts with in the place of s. An absent span is left alone.
func (e *Edits) Replace(s Span, with []byte) {
	if s.Present() {
		e.add(edit{start: s.Start, end: s.End, with: with, kind: editReplace})
	}
}

// Insert puts members, `"k":v,"k2":v2`, in front of the members of object. The
// comma behind them comes by itself when others follow. Members inserted into
// the same object stand in the order of the calls.
func (e *Edits) Insert(body []byte, object Span, members []byte) {
	if !object.Present() || len(members) == 0 || body[object.Start] != '{' {
		return
	}
	e.add(edit{start: object.Start + 1, end: object.Start + 1, with: members, kind: editInsert})
}

// Remove takes out members of an object; any set of them may go, in one call
// or many. Absent fields are left alone.
func (e *Edits) Remove(body []byte, fields ...Field) {
	for _, f := range fields {
		if f.Present() && int(f.End) <= len(body) {
			e.add(edit{start: f.Key, end: f.End, kind: editRemove})
		}
	}
}

// add puts the edit in its place. Spans of JSON values nest or are apart, so
// an outer edit swallows inner ones.
func (e *Edits) add(d edit) {
	list := e.all()
	i := len(list)
	for i > 0 && d.before(list[i-1]) {
		i--
	}
	// Those in the list are apart, so only the one before d can lie around it.
	// Of two at the same place the later one counts.
	if i > 0 && list[i-1].contains(d) && !d.contains(list[i-1]) {
		return
	}
	for i > 0 && d.contains(list[i-1]) {
		i--
	}
	j := i
	for j < len(list) && d.contains(list[j]) {
		j++
	}
	e.splice(i, j, d)
	e.settle = true
}

// before reports whether d stands before o. Of two at one place the insertion
// is first, and insertions keep the order of the calls.
func (d edit) before(o edit) bool {
	if d.start != o.start {
		return d.start < o.start
	}
	return d.kind == editInsert && o.kind != editInsert
}

// contains reports whether d takes away the place of o.
func (d edit) contains(o edit) bool {
	return d.kind != editInsert && d.start <= o.start && o.end <= d.end &&
		(o.kind != editInsert || d.start < o.start)
}

// splice replaces edits i to j by d.
func (e *Edits) splice(i, j int, d edit) {
	if !e.spill && e.n-(j-i)+1 > len(e.few) {
		e.more = append(e.more[:0], e.few[:e.n]...)
		clear(e.few[:])
		e.spill = true
	}
	if e.spill {
		e.more = slices.Replace(e.more, i, j, d)
		return
	}
	copy(e.few[i+1:], e.few[j:e.n])
	clear(e.few[e.n-(j-i)+1 : max(e.n, e.n-(j-i)+1)])
	e.few[i] = d
	e.n += 1 - (j - i)
}

// Reset forgets all edits.
func (e *Edits) Reset() {
	clear(e.all())
	e.n, e.spill, e.more = 0, false, e.more[:0]
}

// Empty reports whether there is nothing to change.
func (e *Edits) Empty() bool { return len(e.all()) == 0 }

// settled returns the edits with their separators worked out.
func (e *Edits) settled(body []byte) []edit {
	list := e.all()
	if e.settle {
		settle(list, body)
		e.settle = false
	}
	return list
}

// settle works out which commas go with the members that go and which come
// with those that come, so that what is left is well-formed.
func settle(list []edit, body []byte) {
	for i := range list {
		d := &list[i]
		d.from, d.to = d.start, d.end
		if d.kind != editRemove {
			continue
		}
		if next := forward(body, d.to); body[next] == ',' {
			d.to = next + 1
		} else {
			settleLast(list[:i+1], body)
		}
	}
	for i := range list {
		if list[i].kind == editInsert {
			list[i].comma = list[i].end < int32(len(body)) && followed(list[i+1:], body, list[i].end)
		}
	}
}

// settleLast is for the removal of the last member of an object: the comma in
// front of the run of removed members goes too, if a member stands there.
func settleLast(list []edit, body []byte) {
	first := len(list) - 1
	comma := backward(body, list[first].start)
	for body[comma] == ',' && first > 0 && list[first-1].kind == editRemove && list[first-1].to == comma+1 {
		first--
		comma = backward(body, list[first].start)
	}
	if body[comma] == ',' {
		list[first].from = comma
	}
}

// followed reports whether a member stands behind what is inserted at pos, of
// the edits that follow it or of the body.
func followed(rest []edit, body []byte, pos int32) bool {
	for _, d := range rest {
		if d.kind == editInsert && d.start == pos {
			return true
		}
		next := forward(body, pos)
		if d.kind != editRemove || d.from != next {
			break
		}
		pos = d.to
	}
	return body[forward(body, pos)] != '}'
}

// forward returns the offset of the first byte at or after i that is not white
// space, backward that of the last one before i. An object has one both ways.
func forward(body []byte, i int32) int32 {
	for int(i) < len(body)-1 && isSpace(body[i]) {
		i++
	}
	return i
}

func backward(body []byte, i int32) int32 {
	for i--; i > 0 && isSpace(body[i]); i-- {
	}
	return max(i, 0)
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// Len returns the length of body with the edits applied.
func (e *Edits) Len(body []byte) int {
	n := len(body)
	for _, d := range e.settled(body) {
		n += len(d.with) - int(d.to-d.from)
		if d.comma {
			n++
		}
	}
	return n
}

// Append appends body with the edits applied.
func (e *Edits) Append(dst, body []byte) []byte {
	at := int32(0)
	for _, d := range e.settled(body) {
		dst = append(dst, body[at:d.from]...)
		dst = append(dst, d.with...)
		if d.comma {
			dst = append(dst, ',')
		}
		at = d.to
	}
	return append(dst, body[at:]...)
}

var comma = []byte{','}

// Segments appends the pieces of body with the edits applied, for vectored
// writes. They share memory with body and with what was handed to the edits.
func (e *Edits) Segments(dst [][]byte, body []byte) [][]byte {
	at := int32(0)
	for _, d := range e.settled(body) {
		dst = appendSegment(dst, body[at:d.from])
		dst = appendSegment(dst, d.with)
		if d.comma {
			dst = append(dst, comma)
		}
		at = d.to
	}
	return appendSegment(dst, body[at:])
}

func appendSegment(dst [][]byte, s []byte) [][]byte {
	if len(s) == 0 {
		return dst
	}
	return append(dst, s)
}
