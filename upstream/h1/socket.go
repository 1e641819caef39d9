package h1

import (
	"net"
	"syscall"
)

// socket reads a kernel socket without waiting.
type socket struct {
	raw syscall.RawConn
	fn  func(fd uintptr) // bound once: a closure a call would be an allocation a call
	b   []byte
	n   int
	err error
	one [1]byte // what a probe reads into
}

// newSocket returns nil for connections that are not plain sockets, which cannot be probed.
func newSocket(nc net.Conn) *socket {
	var sc syscall.Conn
	switch c := nc.(type) {
	case *net.TCPConn:
		sc = c
	case *net.UnixConn:
		sc = c
	default:
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	s := &socket{raw: raw}
	s.fn = func(fd uintptr) { s.n, s.err = readNow(fd, s.b) }
	return s
}

// readNow returns os.ErrDeadlineExceeded when nothing is there, io.EOF when the peer has closed.
// Control is used, not Read, because the latter fails when a deadline has passed.
func (s *socket) readNow(b []byte) (int, error) {
	s.b = b
	err := s.raw.Control(s.fn)
	s.b = nil
	if err != nil {
		return 0, err
	}
	return s.n, s.err
}

// readable reports, without taking anything, whether a read would return at once.
func (s *socket) readable() (ok bool) {
	err := s.raw.Control(func(fd uintptr) { ok = readable(fd, make([]byte, 1)) })
	return ok || err != nil
}
