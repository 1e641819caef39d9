package app

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

// inheritedSocket is the first descriptor behind those that every process has.
const inheritedSocket = 3

// inherited is the listening socket that whoever started the process opened for it, as systemd does (sd_listen_fds(3)); nil when
// there is none. What one process does not accept any more the next one does, so that none is refused in between.
func inherited() (net.Listener, error) {
	mine := os.Getenv("LISTEN_PID") == strconv.Itoa(os.Getpid())
	n := os.Getenv("LISTEN_FDS")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil { // they are not for children
			return nil, err
		}
	}
	if !mine || n == "" {
		return nil, nil //nolint:nilnil // most processes have none
	}
	if n != "1" {
		return nil, fmt.Errorf("cannot listen: LISTEN_FDS is %.20q: pass one socket, with one ListenStream in the socket unit", n)
	}
	file := os.NewFile(inheritedSocket, "LISTEN_FDS")
	defer file.Close()
	ln, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("cannot listen: the socket of LISTEN_FDS: %w; pass a listening TCP socket", err)
	}
	if _, ok := ln.(*net.TCPListener); !ok {
		ln.Close()
		return nil, fmt.Errorf("cannot listen: the socket of LISTEN_FDS is at %s: pass a listening TCP socket", ln.Addr())
	}
	return ln, nil
}
