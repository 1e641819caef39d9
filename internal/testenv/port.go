package testenv

import (
	"context"
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// shared has a socket share its port with others of the same user that want that, too.
func shared(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	return errors.Join(err, failed)
}

// Reserve is an address at which nobody is until the test ends, unless by ListenAt. A port that was only free a moment ago may be
// another's by now, or that of a connection which was tried to it itself.
func Reserve(t testing.TB) string {
	t.Helper()
	return "127.0.0.1:" + strconv.Itoa(keepPort(t, 0))
}

// ListenAt listens at an address that was reserved; the caller closes the listener.
func ListenAt(t testing.TB, addr string) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{Control: shared}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// keepPort keeps a port, or any when it is 0, by a socket that does not listen, until the test ends.
func keepPort(t testing.TB, port int) int {
	t.Helper()
	syscall.ForkLock.RLock()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return at.(*unix.SockaddrInet4).Port
}
