package runner

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

const (
	shortLine = chunkSize / 2 // up to here a line may go together with others
	shares    = 16            // batches for which it is remembered that lines went together, and between tries
)

// outlet is our end of the pipe a child reads from. Who holds turn writes to it; short lines gather in a
// batch meanwhile, so that many concurrent callers cost few system calls.
type outlet struct {
	file *os.File
	raw  syscall.RawConn

	turn sync.Mutex
	// The write in progress, for the holder of turn; poll is try, kept so that a write allocates no closure.
	until   time.Time // when the pipe must have taken it; zero: timeout from when it turned out to be full
	timeout time.Duration
	poll    func(fd uintptr) bool
	src     []byte
	n       int
	err     error

	mu      sync.Mutex
	open    *batch // that gathers lines
	spare   *batch
	crowded int // above 0: lines went together not long ago
	batches int
}

// batch is short lines on their way in one system call. The first caller writes it, the others wait for done.
type batch struct {
	lines   *mcp.Buffer
	timeout time.Duration // the longest of its callers
	done    chan struct{} // nil while there is but one caller
	err     error
}

func newOutlet(f *os.File) *outlet {
	o := &outlet{file: f}
	o.poll = o.try
	o.raw, o.err = f.SyscallConn() // an error is that of a closed file, as put will find
	return o
}

// join adds a line of n bytes, its newline counted, to the batch that gathers; first: the caller has to write it.
func (o *outlet) join(segments [][]byte, n int, timeout time.Duration) (b *batch, first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b = o.open
	switch {
	case b == nil || len(b.lines.B)+n > chunkSize: // a full one is with its first caller
		b, first = o.spare, true
		if o.spare = nil; b == nil {
			b = &batch{}
		}
		b.lines, b.timeout = mcp.GetBuffer(n), timeout
		o.open = b
	case b.done == nil:
		b.done = make(chan struct{})
	}
	b.add(segments, n)
	b.timeout = max(b.timeout, timeout)
	return b, first
}

func (b *batch) add(segments [][]byte, n int) {
	if room := cap(b.lines.B); len(b.lines.B)+n > room {
		larger := mcp.GetBuffer(chunkSize)
		larger.B = append(larger.B, b.lines.B...)
		b.lines.Free()
		b.lines = larger
	}
	from := len(b.lines.B)
	for _, s := range segments {
		b.lines.B = append(b.lines.B, s...)
	}
	flatten(b.lines.B[from:])
	b.lines.B = append(b.lines.B, '\n')
}

// linger lets callers who are ready to run join the batch, where experience says that there are any. A
// caller who is alone loses nothing: nobody else runs.
func (o *outlet) linger() {
	o.mu.Lock()
	o.batches++
	likely := o.crowded > 0 || o.batches%shares == 0
	o.mu.Unlock()
	if likely {
		runtime.Gosched()
	}
}

// leave closes a batch: nobody joins it any more.
func (o *outlet) leave(b *batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open == b {
		o.open = nil
	}
	if b.done != nil {
		o.crowded = shares
	} else if o.crowded > 0 {
		o.crowded--
	}
}

// finish tells all callers of a batch what came of it.
func (o *outlet) finish(b *batch, err error) {
	b.lines.Free()
	b.lines = nil
	if b.done != nil {
		b.err = err
		close(b.done)
		return
	}
	o.mu.Lock()
	o.spare = b
	o.mu.Unlock()
}

// put writes all of b: at once where the pipe has room, else until the deadline.
func (o *outlet) put(b []byte) error {
	if o.raw == nil {
		return o.err
	}
	o.src, o.n, o.err = b, 0, nil
	err := o.raw.Write(o.poll)
	o.src = nil
	if err == nil {
		err = o.err
	}
	if err != nil || o.n == len(b) {
		return err
	}
	if o.until.IsZero() {
		o.until = time.Now().Add(o.timeout)
	}
	_ = o.file.SetWriteDeadline(o.until)
	_, err = o.file.Write(b[o.n:])
	_ = o.file.SetWriteDeadline(time.Time{})
	return err
}

// try writes once without blocking; what the pipe does not take is left to the caller.
func (o *outlet) try(fd uintptr) bool {
	for {
		n, err := syscall.Write(int(fd), o.src)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
		case err != nil:
			o.err = os.NewSyscallError("write", err)
		default:
			o.n = n
		}
		return true
	}
}
