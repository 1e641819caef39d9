package runner

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

const (
	defaultWriteTimeout = 30 * time.Second
	exitWait            = 250 * time.Millisecond // for the reason, after a write found the pipe closed
)

// Write writes one message, given in segments, as one line: raw CR and LF, which in JSON stand only
// between tokens, become spaces, and a newline is added. Lines of concurrent callers never mix.
// A write that is not done after timeout (0: 30 s) leaves half a line behind, so it kills the process,
// unless it only waited for others: the error then is ErrWriteTimeout all the same, and nothing was written.
func (p *Process) Write(segments [][]byte, timeout time.Duration) error {
	if timeout <= 0 {
		timeout = defaultWriteTimeout
	}
	err := p.write(segments, time.Now().Add(timeout))
	if err == nil {
		return nil
	}
	return p.unwritten(err)
}

func (p *Process) write(segments [][]byte, deadline time.Time) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if err := p.Err(); err != nil {
		return err
	}
	if !time.Now().Before(deadline) {
		return ErrWriteTimeout
	}
	_ = p.stdin.SetWriteDeadline(deadline)
	w := lineWriter{to: p.stdin}
	err := w.line(segments)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		p.kill(ErrWriteTimeout)
		return ErrWriteTimeout
	}
	return err
}

// unwritten names the reason behind a failed write: most often the end of the process, which may
// show a moment later than the closed pipe.
func (p *Process) unwritten(err error) error {
	if _, ended := errors.AsType[*ExitError](err); ended {
		return err
	}
	if errors.Is(err, ErrWriteTimeout) {
		return fmt.Errorf("%s: %w", p.name(), err)
	}
	timer := time.NewTimer(exitWait)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.err
	case <-timer.C:
	}
	return fmt.Errorf("%s: stdin of the process is closed: %w", p.name(), err)
}

// lineWriter gathers small segments into one chunk, so that most messages are one system call, and
// writes large ones from where they are.
type lineWriter struct {
	to    *os.File
	chunk *mcp.Buffer
}

func (w *lineWriter) line(segments [][]byte) error {
	w.chunk = mcp.GetBuffer(min(chunkSize, size(segments)+1))
	defer func() { w.chunk.Free() }()
	w.chunk.B = w.chunk.B[:0]
	for _, s := range segments {
		if err := w.segment(s); err != nil {
			return err
		}
	}
	if err := w.small(newline); err != nil {
		return err
	}
	return w.flush()
}

var newline = []byte{'\n'}

func (w *lineWriter) segment(s []byte) error {
	if len(s) >= chunkSize/2 && bytes.IndexByte(s, '\n') < 0 && bytes.IndexByte(s, '\r') < 0 {
		if err := w.flush(); err != nil {
			return err
		}
		_, err := w.to.Write(s)
		return err
	}
	for len(s) > 0 {
		n := min(len(s), chunkSize/2)
		if err := w.small(s[:n]); err != nil {
			return err
		}
		flatten(w.chunk.B[len(w.chunk.B)-n:])
		s = s[n:]
	}
	return nil
}

// small adds b, which is no larger than a chunk, to the chunk.
func (w *lineWriter) small(b []byte) error {
	if len(w.chunk.B)+len(b) > chunkSize {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.chunk.B = append(w.chunk.B, b...)
	return nil
}

func (w *lineWriter) flush() error {
	if len(w.chunk.B) == 0 {
		return nil
	}
	_, err := w.to.Write(w.chunk.B)
	w.chunk.B = w.chunk.B[:0]
	return err
}

// flatten turns CR and LF into spaces.
func flatten(b []byte) {
	for _, c := range [...]byte{'\n', '\r'} {
		for rest := b; ; {
			i := bytes.IndexByte(rest, c)
			if i < 0 {
				break
			}
			rest[i] = ' '
			rest = rest[i+1:]
		}
	}
}

func size(segments [][]byte) (n int) {
	for _, s := range segments {
		n += len(s)
	}
	return n
}
