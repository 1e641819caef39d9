package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/toolcrib/toolcrib/mcp"
)

// edge is how much of an oversized line is kept at each end.
const edge = 4 << 10

// LineTooLong reports a line over the bound. The line was skipped; the next Read returns the next one.
type LineTooLong struct {
	Head []byte // first 4 KiB
	Tail []byte // last 4 KiB
	Size int    // bytes of the whole line, without the newline
	Max  int    // the bound, in bytes
}

func (e *LineTooLong) Error() string {
	return fmt.Sprintf("a line of %d bytes on stdout is over the bound of %d bytes", e.Size, e.Max)
}

// Read reads the next line that is not blank into m.B, without its newline; m grows as needed.
// A line over Options.MaxLine is skipped in bounded memory and reported as a [*LineTooLong].
// A last line without a newline counts. At the end of the output the error is io.EOF, which does not
// mean that the process has ended: see [Process.Done].
func (p *Process) Read(m *mcp.Buffer) error {
	p.reading.Lock()
	defer p.reading.Unlock()
	for {
		err := p.lines.next(m)
		if err != nil || !blank(m.B) {
			return err
		}
	}
}

// lines cuts what comes from an inlet into lines, each byte looked at once.
type lines struct {
	in  *inlet
	max int
}

// next reads one line into m.B. Its beginning comes from the chunk that the inlet reads; when the
// line goes on beyond that chunk, the rest is read straight into m.B.
func (r *lines) next(m *mcp.Buffer) error {
	m.B = m.B[:0]
	if err := r.in.fill(); err != nil {
		return err
	}
	i := bytes.IndexByte(r.in.data, '\n')
	if i >= 0 {
		line := trimCR(r.in.data[:i])
		if len(line) > r.max {
			return r.skip(m)
		}
		r.grow(m, len(line))
		m.B = append(m.B, line...)
		r.in.consume(i + 1)
		return nil
	}
	for len(m.B) <= r.max+1 {
		done, err := r.more(m)
		if err != nil {
			return err
		}
		if done {
			return nil
		}
	}
	return r.skip(m)
}

// more appends the next piece to the line in m.B and reports whether the line is complete.
func (r *lines) more(m *mcp.Buffer) (bool, error) {
	if n := len(r.in.data); n > 0 {
		r.grow(m, n+chunkSize)
		m.B = append(m.B, r.in.data...)
		r.in.consume(n)
		return false, nil
	}
	r.grow(m, chunkSize)
	from := len(m.B)
	n, err := r.in.read(m.B[from:cap(m.B)])
	if errors.Is(err, io.EOF) {
		return true, r.complete(m)
	}
	if err != nil {
		return false, err
	}
	piece := m.B[from : from+n]
	i := bytes.IndexByte(piece, '\n')
	if i < 0 {
		m.B = m.B[:from+n]
		return false, nil
	}
	r.in.keep(piece[i+1:])
	m.B = m.B[:from+i]
	return true, r.complete(m)
}

// complete checks the whole line in m.B.
func (r *lines) complete(m *mcp.Buffer) error {
	if line := trimCR(m.B); len(line) <= r.max {
		m.B = line
		return nil
	}
	e := &LineTooLong{Max: r.max}
	e.add(m.B)
	m.B = m.B[:0]
	return e
}

// skip drops the rest of a line whose beginning is in m.B.
func (r *lines) skip(m *mcp.Buffer) error {
	e := &LineTooLong{Max: r.max}
	e.add(m.B)
	m.B = m.B[:0]
	for {
		err := r.in.fill()
		if errors.Is(err, io.EOF) {
			return e
		}
		if err != nil {
			return err
		}
		i := bytes.IndexByte(r.in.data, '\n')
		if i >= 0 {
			e.add(r.in.data[:i])
			r.in.consume(i + 1)
			return e
		}
		e.add(r.in.data)
		r.in.consume(len(r.in.data))
	}
}

// add counts the next piece of the line and keeps what belongs to its ends.
func (e *LineTooLong) add(b []byte) {
	e.Size += len(b)
	e.Head = append(e.Head, b[:min(len(b), edge-len(e.Head))]...)
	if len(b) >= edge {
		e.Tail = append(e.Tail[:0], b[len(b)-edge:]...)
		return
	}
	if over := len(e.Tail) + len(b) - edge; over > 0 {
		e.Tail = e.Tail[:copy(e.Tail, e.Tail[over:])]
	}
	e.Tail = append(e.Tail, b...)
}

// grow makes room for n more bytes. It at least doubles what it grows, so that a line of any size is
// copied twice at most on the way, but goes no further than the longest line, and there at once when
// little is missing: what is allocated last is touched only as far as it is used.
func (r *lines) grow(m *mcp.Buffer, n int) {
	if cap(m.B)-len(m.B) >= n {
		return
	}
	size, longest := max(len(m.B)+n, 2*cap(m.B)), r.max+chunkSize
	if 4*size > longest {
		size = max(len(m.B)+n, longest)
	}
	larger := mcp.GetBuffer(size)
	larger.B = append(larger.B[:0], m.B...)
	m.B, larger.B = larger.B, m.B
	larger.Free()
}

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' {
			return false
		}
	}
	return true
}
