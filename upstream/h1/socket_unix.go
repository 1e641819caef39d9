//go:build unix

package h1

import (
	"io"
	"os"
	"syscall"
)

// readNow reads from a socket that the runtime has put into non-blocking mode.
func readNow(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), b)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, os.ErrDeadlineExceeded
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// readable reports whether a read would return at once.
func readable(fd uintptr, b []byte) bool {
	n, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK)
	return n > 0 || err != syscall.EAGAIN && err != syscall.EINTR
}
