package mcp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrEventTooLarge says that an event, or a line of it, is over the bound of
// its reader. The error that wraps it names the bound. The reader can go on
// behind that event.
var ErrEventTooLarge = errors.New("server-sent event too large")

// Event is a server-sent event: a block of lines with at least one field in it.
type Event struct {
	ID, Name string // "" when absent
	Data     []byte // lines joined by \n; nil when there is no data line
	Retry    int    // milliseconds, -1 when absent
}

// EventReader reads server-sent events (WHATWG HTML 9.2.6). Its time is linear
// in the length of the stream, its memory bounded by the size of one event.
type EventReader struct {
	src io.Reader
	max int
	buf []byte
	// buf[dataStart:dataEnd] is the data of the event so far, joined in place;
	// buf[pos:end] is not read yet.
	dataStart, dataEnd int
	pos, end           int
	lf, cr             seeker
	event              Event
	fields, hasData    bool // what the event has so far
	started            bool // a byte order mark can no longer come
	afterCR            bool // a LF that comes now belongs to the line before
	dropping           bool // the head of the current line is thrown away
	skipping           bool // the event was too large: drop the rest of it
	halfway            bool // the last read failed in the middle of an event
}

// NewEventReader returns a reader of events that have at most max bytes of
// data.
func NewEventReader(r io.Reader, max int) *EventReader {
	e := &EventReader{max: max}
	e.Reset(r)
	return e
}

// Reset makes e read from r, as if new, in the buffer it has.
func (e *EventReader) Reset(r io.Reader) {
	const keep = 1 << 20
	buf := e.buf
	if len(buf) > keep {
		buf = nil
	}
	*e = EventReader{src: r, max: e.max, buf: buf, lf: seeker{at: -1}, cr: seeker{at: -1}}
}

// Next returns the next event. Its Data is valid until the following call. The
// error is io.EOF where the stream ends between events, io.ErrUnexpectedEOF
// where it ends within one. After another error of the source, such as a
// time-out, Next goes on where it was, in the middle of an event too.
func (e *EventReader) Next() (Event, error) {
	if !e.halfway {
		e.begin()
	}
	e.halfway = false
	for {
		start, end, err := e.line()
		if err != nil {
			e.halfway = !errors.Is(err, ErrEventTooLarge) && !errors.Is(err, io.EOF)
			return Event{}, err
		}
		if start < end {
			if e.skipping {
				continue
			}
			if e.field(start, end); e.dataEnd-e.dataStart > e.max {
				return Event{}, e.tooLarge()
			}
			continue
		}
		if e.fields {
			return e.take(), nil
		}
		e.skipping = false
		e.begin()
	}
}

// begin starts an event at pos.
func (e *EventReader) begin() {
	e.event = Event{Retry: -1}
	e.fields, e.hasData = false, false
	e.dataStart, e.dataEnd = e.pos, e.pos
}

// take returns the event, whose data stays where it is until the next call.
func (e *EventReader) take() Event {
	if e.hasData {
		e.event.Data = e.buf[e.dataStart:e.dataEnd:e.dataEnd]
	}
	return e.event
}

// tooLarge drops the event and makes e skip what is still to come of it.
func (e *EventReader) tooLarge() error {
	e.skipping = true
	e.begin()
	return fmt.Errorf("%w: over %d bytes", ErrEventTooLarge, e.max)
}

// line returns where the next line stands in buf, without its end. A line
// whose head was dropped looks like a comment.
func (e *EventReader) line() (start, end int, err error) {
	for {
		e.prelude()
		if i := lineEnd(&e.lf, &e.cr, e.buf[:e.end], e.pos); i >= 0 {
			start, e.pos = e.pos, i+1
			e.afterCR = e.buf[i] == '\r'
			if e.dropping {
				e.dropping = false
				e.buf[i] = ':'
				return i, i + 1, nil
			}
			return start, i, nil
		}
		if err := e.drop(); err != nil {
			return 0, 0, err
		}
		if err := e.fill(); err != nil {
			return 0, 0, e.ended(err)
		}
	}
}

var bom = []byte("\ufeff")

// prelude steps over a byte order mark at the start of the stream, and over
// the LF of a CRLF.
func (e *EventReader) prelude() {
	if e.afterCR && e.pos < e.end {
		if e.afterCR = false; e.buf[e.pos] == '\n' {
			e.pos++
		}
	}
	if head := e.buf[e.pos:e.end]; !e.started && !bytes.HasPrefix(bom, head) {
		e.started = true
		if bytes.HasPrefix(head, bom) {
			e.pos += len(bom)
		}
	} else if !e.started && len(head) == len(bom) {
		e.started = true
		e.pos += len(bom)
	}
}

// drop throws away what is there of a line that nobody needs, and refuses one
// that is too long.
func (e *EventReader) drop() error {
	const name = len("data: ")
	n := e.end - e.pos
	if n == 0 {
		return nil
	}
	if e.dropping || e.skipping || e.started && e.buf[e.pos] == ':' {
		e.pos, e.dropping = e.end, true
		return nil
	}
	if n+e.dataEnd-e.dataStart > e.max+name {
		e.pos, e.dropping = e.end, true
		return e.tooLarge()
	}
	return nil
}

// ended is what the end of the stream means here.
func (e *EventReader) ended(err error) error {
	if errors.Is(err, io.EOF) && (e.fields || e.skipping || e.pos < e.end) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// lineEnd returns the offset of the next CR or LF from pos on, -1 when there is
// none.
func lineEnd(lf, cr *seeker, b []byte, pos int) int {
	i, j := lf.find(b, '\n', pos), cr.find(b, '\r', pos)
	if i < 0 || j >= 0 && j < i {
		return j
	}
	return i
}

// seeker looks for one byte and remembers how far it came, so that no byte is
// looked at twice.
type seeker struct{ at, upTo int }

func (s *seeker) find(b []byte, c byte, pos int) int {
	if s.at >= pos {
		return s.at
	}
	from := max(pos, s.upTo)
	if s.at = bytes.IndexByte(b[from:], c); s.at < 0 {
		s.upTo = len(b)
		return -1
	}
	s.at += from
	s.upTo = s.at + 1
	return s.at
}

func (s *seeker) shift(by int) {
	if s.at >= 0 {
		s.at -= by
	}
	s.upTo -= by
}

// fill reads more behind what is not read yet.
func (e *EventReader) fill() error {
	const tries = 100
	e.room()
	for range tries {
		n, err := e.src.Read(e.buf[e.end:])
		e.end += n
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// room makes room for reading. What is moved is at most half of the buffer, so
// that all moves together stay linear.
func (e *EventReader) room() {
	const least = 4096
	if !e.hasData {
		e.dataStart, e.dataEnd = e.pos, e.pos
	}
	held := e.dataEnd - e.dataStart + e.end - e.pos
	if held > 0 && e.end < len(e.buf) {
		return
	}
	dst := e.buf
	if held > len(dst)/2 || len(dst) == 0 {
		dst = make([]byte, max(2*len(dst), least))
	}
	n := copy(dst, e.buf[e.dataStart:e.dataEnd])
	copy(dst[n:], e.buf[e.pos:e.end])
	e.lf.shift(e.pos - n)
	e.cr.shift(e.pos - n)
	e.buf, e.dataStart, e.dataEnd = dst, 0, n
	e.pos, e.end = n, held
}

var colon = []byte{':'}

// field reads the field on the line buf[start:end].
func (e *EventReader) field(start, end int) {
	line := e.buf[start:end]
	name, value, _ := bytes.Cut(line, colon)
	if len(value) > 0 && value[0] == ' ' {
		value = value[1:]
	}
	switch string(name) {
	case "data":
		e.data(value, end)
	case "event":
		if string(value) == "message" {
			e.event.Name = "message" // spares the allocation
		} else {
			e.event.Name = string(value)
		}
	case "id":
		if bytes.IndexByte(value, 0) >= 0 {
			return
		}
		e.event.ID = string(value)
	case "retry":
		ms, ok := milliseconds(value)
		if !ok {
			return
		}
		e.event.Retry = ms
	default:
		return
	}
	e.fields = true
}

// data joins value, which ends at offset end, to the data of the event. It
// only ever moves down: a field name and a line end stood in between.
func (e *EventReader) data(value []byte, end int) {
	if !e.hasData {
		e.dataStart, e.dataEnd, e.hasData = end-len(value), end, true
	} else {
		e.buf[e.dataEnd] = '\n'
		e.dataEnd += 1 + copy(e.buf[e.dataEnd+1:], value)
	}
}

// milliseconds reads a retry field: ASCII digits only.
func milliseconds(value []byte) (int, bool) {
	const most = 1 << 30
	ms := 0
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		ms = min(ms*10+int(c-'0'), most)
	}
	return ms, len(value) > 0
}

// AppendEvent appends a server-sent event of the name message whose data is
// the segments joined. A CR, LF or CRLF in them becomes a line of its own,
// which receivers join with LF.
func AppendEvent(dst []byte, segments ...[]byte) []byte {
	dst = append(dst, "event: message\ndata: "...)
	afterCR := false
	for _, s := range segments {
		lf, cr := seeker{at: -1}, seeker{at: -1}
		for pos := 0; pos < len(s); {
			if afterCR && s[pos] == '\n' {
				pos++
			}
			i := lineEnd(&lf, &cr, s, pos)
			if afterCR = i >= 0 && s[i] == '\r'; i < 0 {
				dst = append(dst, s[pos:]...)
				break
			}
			dst = append(append(dst, s[pos:i]...), "\ndata: "...)
			pos = i + 1
		}
	}
	return append(dst, "\n\n"...)
}
