package audit

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
)

// position is how far a sink has got: it has everything up to Sequence.
type position struct {
	Log      string `json:"log"`
	Sequence uint64 `json:"sequence"`
	First    uint64 `json:"first"`  // names the file: its first line
	Offset   int64  `json:"offset"` // in it, behind that line
}

// reader reads the lines of a log, over its files, as they are written.
type reader struct {
	path string // of the present file
	pos  position
	last uint64 // the last line that is written
	odd  bool   // next has passed something over
	f    *os.File
	buf  []byte
}

func (r *reader) close() {
	if r.f != nil {
		_ = r.f.Close()
		r.f = nil
	}
}

var (
	errNoLine = errors.New("no file of the log holds the next line")
	errShort  = errors.New("the file of the log holds less than was written to it")
	errGap    = errors.New("lines are missing before the next one")
)

// open finds the file that holds the line after the position, or is going to.
func (r *reader) open() error {
	for range 10 { // files may be put aside while they are looked at
		files, err := filesOf(r.path)
		if err != nil {
			return err
		}
		if ok, err := r.among(files); ok || err != nil {
			return err
		}
	}
	return errNoLine
}

// among opens the file if it is one of these. A directory that is read while files are put aside may leave one of them out, and
// another may have the present one's name by now: lines between would be passed over, so a file is taken only where the next line
// is in it, or where all stayed as it was.
func (r *reader) among(files []logFile) (bool, error) {
	for i, file := range files {
		if i+1 < len(files) && files[i+1].path != r.path && files[i+1].first <= r.pos.First {
			continue // it ends before that of the position
		}
		was := r.pos
		ok, err := r.try(file.path)
		if err != nil {
			return false, err
		}
		if !ok {
			continue
		}
		if file.path != r.path && r.pos.First <= r.pos.Sequence+1 {
			return true, nil
		}
		if again, err := filesOf(r.path); err != nil || !slices.Equal(files, again) {
			r.close()
			r.pos = was
			return false, err
		}
		return true, nil
	}
	return false, nil
}

// try opens a file if it is the first, in their order, from which there is more to come.
func (r *reader) try(path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	head, err := readHeadLine(f)
	info, e := f.Stat()
	if err = errors.Join(err, e); err != nil {
		_ = f.Close()
		return false, err
	}
	first, empty := head.seq, info.Size() == 0
	switch {
	case empty && path == r.path:
		r.pos.First, r.pos.Offset = r.pos.Sequence+1, 0
	case first == r.pos.First && (r.pos.Offset < info.Size() || path == r.path):
	case first > r.pos.First:
		r.pos.First, r.pos.Offset = first, 0
	default:
		_ = f.Close()
		return false, nil
	}
	r.f = f
	return true, nil
}

const (
	readMost  = 512 << 10 // bytes that a sink gets at once, unless a line is longer
	linesMost = 1000
)

// next reads lines, of at most limit bytes; none when there are none yet. They are valid until it is called again. The position
// is moved by the caller, once they are delivered.
func (r *reader) next(limit int64) (lines []Line, size int64, err error) {
	for range 2 {
		if r.f == nil {
			if err := r.open(); err != nil {
				return nil, 0, err
			}
		}
		want := min(limit, max(readMost, int64(len(r.buf))))
		if int64(cap(r.buf)) < want {
			r.buf = make([]byte, want)
		}
		n, err := r.f.ReadAt(r.buf[:want], r.pos.Offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		if n > 0 {
			lines, size = r.split(r.buf[:n])
			if size == 0 && int64(n) == limit { // whole lines are written
				err = errShort
			} else {
				err = nil
			}
			return lines, size, err
		}
		r.close() // it was put aside, and the next has begun
	}
	return nil, 0, errShort
}

// split finds the log's lines in what was read. What somebody else wrote between them is passed over.
func (r *reader) split(b []byte) (lines []Line, size int64) {
	seq := r.pos.Sequence
	r.odd = false
	for len(lines) < linesMost {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			break
		}
		line := apart(b[:end])
		c, err := readChain(line)
		if err == nil && r.own(&c, seq) {
			lines = append(lines, Line{Raw: line, Sequence: c.seq})
			seq = c.seq
		} else {
			line = nil
		}
		r.odd = r.odd || len(line) < end
		size += int64(end) + 1
		b = b[end+1:]
	}
	switch {
	case size > 0:
	case len(b) >= lineMost:
		r.odd, size = true, int64(skippable(b))
	default:
		r.buf = make([]byte, min(2*max(len(b), readMost), lineMost)) // a longer line
	}
	return lines, size
}

// own tells whether a line, behind that with the number seq, is to be handed on: it was written by the log, and not handed on before.
func (r *reader) own(c *chained, seq uint64) bool {
	return c.seq == seq+1 && c.seq <= r.last || c.seq > seq && c.seq <= r.last && c.sound()
}

// skippable is how much of what is longer than any line can be passed over, so that a line that may begin in it is not.
func skippable(b []byte) int {
	if at := bytes.LastIndex(b[1:], []byte(lineHead)); at >= 0 {
		return 1 + at
	}
	return len(b) - len(lineHead)
}

// delivered moves the position behind what next gave.
func (r *reader) delivered(lines []Line, size int64) {
	r.pos.Offset += size
	if len(lines) > 0 {
		r.pos.Sequence = lines[len(lines)-1].Sequence
	}
}

// behind is how many bytes of lines there are after the position.
func (r *reader) behind() (int64, error) {
	files, err := filesOf(r.path)
	if err != nil {
		return 0, err
	}
	var all int64
	for _, file := range files {
		f, err := os.Open(file.path)
		if err != nil {
			return 0, err
		}
		head, err := readHeadLine(f)
		info, e := f.Stat()
		_ = f.Close()
		if err = errors.Join(err, e); err != nil {
			return 0, err
		}
		switch {
		case head.seq == r.pos.First:
			all += max(0, info.Size()-r.pos.Offset)
		case head.seq > r.pos.First: // also one that was begun when nothing was in it
			all += info.Size()
		}
	}
	return all, nil
}
