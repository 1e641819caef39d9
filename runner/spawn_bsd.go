//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package runner

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// child is a started process until it is reaped.
type child struct{ pid int }

// launch starts a process. There is no parent-death signal here: the guard process stands in for it.
func launch(s spawning, attr *syscall.ProcAttr) (child, error) {
	attr.Sys = &syscall.SysProcAttr{Setpgid: true}
	pid, err := syscall.ForkExec(s.path, s.argv, attr)
	return child{pid: pid}, err
}

// closeOnExec does nothing: these systems cannot mark all descriptors at once, and those of Go's own
// libraries are marked.
func closeOnExec() {}

// release has nothing to give back here.
func (child) release() {}

// awaitExit returns when the child has ended, and does not reap it. When the kernel cannot tell, it
// returns at once, and reaping does the waiting.
func (c child) awaitExit() {
	queue, err := unix.Kqueue()
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(queue) }()
	var event unix.Kevent_t
	unix.SetKevent(&event, c.pid, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT)
	event.Fflags = unix.NOTE_EXIT
	events := []unix.Kevent_t{event}
	for {
		_, err := unix.Kevent(queue, events, events, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// widen does nothing: these systems make pipes larger by themselves.
func widen(uintptr, int) {}
