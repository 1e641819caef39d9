package runner

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

// pipes are the three pipes of a child: our ends, and the child's in the order of its descriptors.
// All are close-on-exec from the start, so that no child holds an end of another's.
type pipes struct {
	stdin, stdout, stderr *os.File
	child                 [3]*os.File
}

func newPipes() (p pipes, err error) {
	defer func() {
		if err != nil {
			p.closeChild()
			p.closeParent()
		}
	}()
	if p.child[0], p.stdin, err = os.Pipe(); err != nil {
		return p, err
	}
	if p.stdout, p.child[1], err = os.Pipe(); err != nil {
		return p, err
	}
	p.stderr, p.child[2], err = os.Pipe()
	return p, err
}

func (p *pipes) closeChild()  { closeAll(p.child[:]...) }
func (p *pipes) closeParent() { closeAll(p.stdin, p.stdout, p.stderr) }

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// afterEnd bounds what is taken from a pipe after its process has ended. All that the process wrote
// is in the pipe by then, and no pipe holds more than this unless it was asked for as root.
const afterEnd = 1 << 20

const (
	// chunkSize is how much is read at once. A pipe holds 64 KiB.
	chunkSize = 64 << 10
	// widePipe is how much is read at once from a child that has once filled its pipe, and what its pipe
	// then holds, where the system allows: else both wake one another several times for each large message.
	widePipe = 256 << 10
)

// inlet is our end of a pipe a child writes to. One goroutine reads it at a time. It holds a buffer
// only while there is unread data, so that an idle child costs none. After the child's end it yields
// what is left in the pipe and then io.EOF, even if a stray descendant holds the other end open.
type inlet struct {
	file *os.File
	raw  syscall.RawConn
	data []byte // read and not yet consumed
	over atomic.Bool
	left int // bytes still taken after the end
	gone bool
	size int // of a chunk

	// The read in progress; poll is try, kept so that a read allocates no closure.
	poll  func(fd uintptr) bool
	dst   []byte // nil: read into a chunk
	chunk *mcp.Buffer
	n     int
	err   error
}

func newInlet(f *os.File) *inlet {
	in := &inlet{file: f, left: afterEnd, size: chunkSize}
	in.poll = in.try
	in.raw, in.err = f.SyscallConn()
	in.gone = in.err != nil // only of a closed file
	return in
}

// fill waits for data when there is none.
func (in *inlet) fill() error {
	if len(in.data) > 0 {
		return nil
	}
	n, err := in.read(nil)
	if n > 0 {
		in.data = in.chunk.B[:n]
		return nil
	}
	return err
}

// consume drops the first n bytes of data; they must not be used afterwards.
func (in *inlet) consume(n int) {
	in.data = in.data[n:]
	if len(in.data) == 0 && cap(in.chunk.B) < chunkSize {
		in.drop()
	}
}

// keep makes b, the rest of a read into other memory, the data. There must be none.
func (in *inlet) keep(b []byte) {
	if len(b) == 0 {
		return
	}
	in.drop()
	in.chunk = mcp.GetBuffer(len(b))
	in.chunk.B = append(in.chunk.B[:0], b...)
	in.data = in.chunk.B
}

// drop gives the chunk back, and the data in it.
func (in *inlet) drop() {
	in.data = nil
	if in.chunk != nil {
		in.chunk.Free()
		in.chunk = nil
	}
}

// read reads past data: into dst, or into a chunk when dst is nil. It returns n > 0 or an error.
func (in *inlet) read(dst []byte) (int, error) {
	for !in.gone {
		in.dst, in.n, in.err = dst, 0, nil
		if in.over.Load() {
			in.rest()
			break
		}
		err := in.raw.Read(in.poll)
		if errors.Is(err, os.ErrDeadlineExceeded) && in.over.Load() {
			continue // the process has ended: what it wrote is in the pipe
		}
		if err != nil {
			return 0, err
		}
		break
	}
	if in.gone {
		return 0, io.EOF
	}
	in.dst = nil
	if in.n == 0 && in.err == nil {
		in.close()
		return 0, io.EOF
	}
	return in.n, in.err
}

// rest reads what is left in the pipe of an ended process; nothing left is the end of file.
func (in *inlet) rest() {
	if in.left <= 0 {
		return
	}
	if err := in.raw.Control(func(fd uintptr) { in.try(fd) }); err != nil {
		in.err = err
	}
	in.left -= in.n
}

// try reads once without blocking and reports false when there is nothing to read yet.
func (in *inlet) try(fd uintptr) bool {
	dst := in.dst
	if dst == nil {
		if in.chunk == nil {
			in.chunk = mcp.GetBuffer(in.size)
		}
		dst = in.chunk.B[:cap(in.chunk.B)]
	}
	n, err := syscall.Read(int(fd), dst)
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(int(fd), dst)
	}
	if n > 0 {
		in.n = n
		if n >= chunkSize && in.size < widePipe { // it was full
			in.size = widePipe
			widen(fd, widePipe)
		}
		return true
	}
	in.drop()
	if errors.Is(err, syscall.EAGAIN) {
		return false
	}
	in.err = err
	return true
}

// wake makes a blocked read return os.ErrDeadlineExceeded at t; the zero time never. It is for the
// reading goroutine; end tells the same goroutine from outside.
func (in *inlet) wake(t time.Time) {
	_ = in.file.SetReadDeadline(t)
	if in.over.Load() {
		_ = in.file.SetReadDeadline(past)
	}
}

var past = time.Unix(1, 0)

// end says that the process has ended.
func (in *inlet) end() {
	in.over.Store(true)
	_ = in.file.SetReadDeadline(past)
}

// settle takes what is left in the pipe of an ended process into memory and closes the pipe, so that
// an ended process holds no descriptor, whether it is read to the end or not.
func (in *inlet) settle() {
	if in.gone {
		return
	}
	rest := &mcp.Buffer{B: append([]byte(nil), in.data...)}
	in.drop()
	for {
		n, err := in.read(nil)
		if n == 0 || err != nil {
			break
		}
		rest.B = append(rest.B, in.chunk.B[:n]...)
	}
	in.close()
	in.chunk, in.data = rest, rest.B
}

func (in *inlet) close() {
	in.gone = true
	in.drop()
	_ = in.file.Close()
}
