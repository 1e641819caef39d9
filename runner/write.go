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
// between tokens, become spaces, and a newline is added. Lines of concurrent callers never mix; short
// ones may go together in one system call, and then share the longest of their timeouts.
// A write that is not done after timeout (0: 30 s) leaves half a line behind, so it kills the process,
// unless it only waited for others: the error then is ErrWriteTimeout all the same, and nothing was written.
func (p *Process) Write(segments [][]byte, timeout time.Duration) error {
	if timeout <= 0 {
		timeout = defaultWriteTimeout
	}
	var err error
	if n := size(segments) + 1; n <= shortLine {
		err = p.together(segments, n, timeout)
	} else {
		err = p.alone(segments, timeout)
	}
	if err == nil {
		return nil
	}
	return p.unwritten(err)
}

// together writes a short line with those that others bring until it is its turn.
func (p *Process) together(segments [][]byte, n int, timeout time.Duration) error {
	b, first := p.out.join(segments, n, timeout)
	if !first {
		<-b.done
		return b.err
	}
	p.out.linger()
	err := p.turn(timeout)
	p.out.leave(b)
	if err == nil {
		p.out.timeout = b.timeout
		err = p.out.put(b.lines.B)
		err = p.overdue(err)
		p.out.turn.Unlock()
	}
	p.out.finish(b, err)
	return err
}

// alone writes a line that is long enough for system calls of its own.
func (p *Process) alone(segments [][]byte, timeout time.Duration) error {
	if err := p.turn(timeout); err != nil {
		return err
	}
	defer p.out.turn.Unlock()
	w := lineWriter{to: p.out}
	return p.overdue(w.line(segments))
}

// turn waits until the pipe is the caller's. Without an error it is, until out.turn is unlocked.
func (p *Process) turn(timeout time.Duration) error {
	var until time.Time
	if !p.out.turn.TryLock() {
		until = time.Now().Add(timeout)
		p.out.turn.Lock()
	}
	err := p.Err()
	if err == nil && !until.IsZero() && !time.Now().Before(until) {
		err = ErrWriteTimeout
	}
	if err != nil {
		p.out.turn.Unlock()
		return err
	}
	p.out.until, p.out.timeout = until, timeout
	return nil
}

// overdue ends the process when a write of its own time left half a line behind.
func (p *Process) overdue(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	p.kill(ErrWriteTimeout)
	return ErrWriteTimeout
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
	to    *outlet
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
		return w.to.put(s)
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
	err := w.to.put(w.chunk.B)
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
