package runner

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// children are those of the program that it reaps itself.
var children = struct {
	sync.Mutex
	m map[int]struct{}
}{m: map[int]struct{}{}}

func ownChild(pid int) {
	children.Lock()
	defer children.Unlock()
	children.m[pid] = struct{}{}
}

func disown(pid int) {
	children.Lock()
	defer children.Unlock()
	delete(children.m, pid)
}

func isOwn(pid int) bool {
	children.Lock()
	defer children.Unlock()
	_, ok := children.m[pid]
	return ok
}

// ReapOrphans reaps the processes that fall to the program when their parents end, as they do in a
// container where it is the first process, until the function that it returns is called. Where none
// fall to it, it does nothing. Children that the program waits for itself are left to it.
func ReapOrphans() (stop func()) {
	if os.Getpid() != 1 && !isSubreaper() {
		return func() {}
	}
	ended := make(chan os.Signal, 1)
	quit, done := make(chan struct{}), make(chan struct{})
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		defer close(done)
		reapOrphans(ended, quit)
	}()
	return sync.OnceFunc(func() {
		signal.Stop(ended)
		close(quit)
		<-done
	})
}

func isSubreaper() bool {
	var adopts int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&adopts)), 0, 0, 0) //nolint:gosec // G103: the kernel takes an address
	return err == nil && adopts != 0
}

// reapPause is how long an ended child is left to whoever may be waiting for it.
const reapPause = time.Second

func reapOrphans(ended <-chan os.Signal, quit <-chan struct{}) {
	var look <-chan time.Time
	var seen map[int]uint64
	for {
		select {
		case <-quit:
			return
		case <-ended:
			if look == nil {
				look = time.After(reapPause)
			}
		case <-look:
			if look, seen = nil, reapSeen(seen); len(seen) > 0 {
				look = time.After(reapPause)
			}
		}
	}
}

// reapSeen reaps the ended children of nobody that were there at the last look, and returns those that
// are there for the first time.
func reapSeen(before map[int]uint64) map[int]uint64 {
	now := map[int]uint64{}
	self := os.Getpid()
	processes(func(pid int) {
		s, err := readStat(pid)
		if err != nil || s.parent != self || s.state != 'Z' || isOwn(pid) {
			return
		}
		if before[pid] != s.start {
			now[pid] = s.start
			return
		}
		_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
	})
	return now
}
