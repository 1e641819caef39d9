package runner_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/toolcrib/toolcrib/runner"
)

// A command that fails to start for want of descriptors leaves none behind.
func TestStartWithoutDescriptors(t *testing.T) {
	fds := descriptors(t)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	for extra := range 8 {
		low := old
		low.Cur = uint64(fds + extra)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
			t.Fatal(err)
		}
		p, err := runner.Start(command("echo"), runner.Options{})
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			stop(t, p)
		} else if !strings.Contains(err.Error(), "no file descriptor left: raise the limit on open files") {
			t.Errorf("%d: %v", extra, err)
		}
		if now := descriptors(t); now > fds {
			t.Fatalf("%d descriptors, %d before", now, fds)
		}
	}
}
