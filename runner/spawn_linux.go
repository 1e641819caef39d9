package runner

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// starter runs functions on one locked OS thread, which lives as long as anyone holds it: the kernel
// sends the parent-death signal when the thread that forked a child ends, not the process.
type starter struct {
	mu    sync.Mutex
	held  int
	tasks chan func()
}

// hold keeps the thread; each hold needs a release.
func (s *starter) hold() chan<- func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == 0 {
		s.tasks = make(chan func())
		go thread(s.tasks)
	}
	s.held++
	return s.tasks
}

func (s *starter) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	if s.held == 0 {
		close(s.tasks)
	}
}

var starts starter

// thread runs tasks on an OS thread of its own.
func thread(tasks <-chan func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread() // no child is left that would notice
	for f := range tasks {
		f()
	}
}

// child is a started process until it is reaped.
type child struct {
	pid int
	fd  *os.File // pidfd, nil where the kernel has none
}

// launch forks on the starter's thread, so that the child dies with the program, right into the control
// group of its instance. A kernel that refuses that has the child moved there at once.
func launch(s spawning, attr *syscall.ProcAttr) (child, error) {
	fd := -1
	attr.Sys = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: &fd}
	if s.namespaces {
		attr.Sys.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN} // for its loopback
		attr.Sys.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET
		attr.Sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.Sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
	}
	group := s.group.open()
	defer closeAll(group)
	if group != nil {
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(group.Fd())
	}
	pid, err := fork(s, attr)
	if err != nil && group != nil {
		attr.Sys.UseCgroupFD = false
		pid, err = fork(s, attr)
	}
	if err != nil {
		return child{}, err
	}
	c := child{pid: pid, fd: pollable(fd)}
	s.group.began(pid)
	if err := s.group.join(pid, attr.Sys.UseCgroupFD); err != nil {
		signalGroup(pid, syscall.SIGKILL)
		c.awaitExit()
		reap(pid)
		c.release()
		return child{}, fmt.Errorf("control group: %w", err)
	}
	return c, nil
}

func fork(s spawning, attr *syscall.ProcAttr) (pid int, err error) {
	forked := make(chan struct{})
	starts.hold() <- func() {
		defer close(forked)
		closeOnExec()
		pid, err = syscall.ForkExec(s.path, s.argv, attr)
	}
	<-forked
	if err != nil {
		starts.release()
		return 0, err
	}
	ownChild(pid)
	return pid, nil
}

// closeOnExec marks all descriptors above stderr, so that a child gets none that the program was
// started with or that a library opened without care. Kernels before 5.11 cannot, and nothing is lost
// there but this precaution.
func closeOnExec() { _ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) }

// release tells that the child was reaped.
func (c child) release() { starts.release() }

// widen has a pipe hold more. A system that has none to spare leaves it as it is.
func widen(fd uintptr, size int) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size) }

// pollable wraps a pidfd for the runtime's poller, so that waiting for a child takes no OS thread.
func pollable(fd int) *os.File {
	if fd < 0 {
		return nil
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), "pidfd")
}

// awaitExit returns when the child has ended. It does not reap it: until that is done, the numbers of
// the process and its group are not given to others.
func (c child) awaitExit() {
	if c.fd != nil {
		defer func() { _ = c.fd.Close() }()
		raw, err := c.fd.SyscallConn()
		if err == nil && raw.Read(func(uintptr) bool { return c.exited(unix.WNOHANG) }) == nil {
			return
		}
	}
	c.exited(0)
}

// exited reports whether the child has ended; without WNOHANG it waits for that.
func (c child) exited(flags int) bool {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, c.pid, &info, unix.WEXITED|unix.WNOWAIT|flags, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err != nil || info.Signo != 0
	}
}
