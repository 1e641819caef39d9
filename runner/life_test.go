package runner_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/runner"
)

func TestExitReasons(t *testing.T) {
	for _, tc := range []struct {
		role   string
		code   int
		signal syscall.Signal
		text   string
	}{
		{"exit 0", 0, 0, `server "test": process ended: exit status 0`},
		{"exit 3", 3, 0, `server "test": process ended: exit status 3`},
		{"suicide 9", -1, syscall.SIGKILL, `server "test": process ended: signal: killed`},
		{"suicide 15", -1, syscall.SIGTERM, `server "test": process ended: signal: terminated`},
		{`complain one\n\ntwo \x1b[31mred\n`, 7, 0, `server "test": process ended: exit status 7; last stderr: one | two [31mred`},
		{`complain no newline`, 7, 0, `server "test": process ended: exit status 7; last stderr: no newline`},
	} {
		p := start(t, tc.role, runner.Options{})
		e := ended(t, p)
		if e.Code != tc.code || e.Signal != tc.signal || e.Cause != nil {
			t.Errorf("%s: %+v", tc.role, e)
		}
		if e.Error() != tc.text {
			t.Errorf("%s: %q, want %q", tc.role, e, tc.text)
		}
		wantEOF(t, p)
		if err := p.Write([][]byte{[]byte("x")}, 0); !errors.As(err, &e) {
			t.Errorf("%s: Write after the end: %v", tc.role, err)
		}
	}
}

func TestErrorIsBounded(t *testing.T) {
	p := start(t, `complain `+strings.Repeat(strings.Repeat("x", 3000)+`\n`, 15), runner.Options{})
	if n := len(ended(t, p).Error()); n > 2000 {
		t.Errorf("error text of %d bytes", n)
	}
}

func TestStopGraceful(t *testing.T) {
	p := start(t, "echo", runner.Options{Grace: time.Minute})
	if p.Err() != nil {
		t.Errorf("Err() = %v while it runs", p.Err())
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := ended(t, p); e.Code != 0 || !errors.Is(e, runner.ErrStopped) {
		t.Errorf("%+v", e)
	}
}

func TestStopTerminates(t *testing.T) {
	p := start(t, "polite", runner.Options{Grace: 3 * time.Second}) // in which a busy machine runs its handler
	read(t, p)
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := ended(t, p); e.Code != 3 {
		t.Errorf("%+v, want the status of its SIGTERM handler", e)
	}
}

func TestStopKills(t *testing.T) {
	p := start(t, "stubborn", runner.Options{Grace: 100 * time.Millisecond})
	read(t, p)
	began := time.Now()
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := ended(t, p); e.Signal != syscall.SIGKILL || time.Since(began) < 200*time.Millisecond {
		t.Errorf("%+v after %v", e, time.Since(began))
	}
}

func TestStopHurries(t *testing.T) {
	p := start(t, "stubborn", runner.Options{Grace: time.Hour})
	read(t, p)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	ended(t, p)
}

// A stopped process (SIGSTOP) ends too, and many may stop one process at once.
func TestStopSuspended(t *testing.T) {
	p := start(t, "echo", runner.Options{Grace: 50 * time.Millisecond})
	if err := syscall.Kill(p.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if err := p.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	ended(t, p)
}

func TestWriteTimeout(t *testing.T) {
	p := start(t, "deaf", runner.Options{})
	read(t, p)
	err := p.Write([][]byte{make([]byte, 1<<20)}, 100*time.Millisecond)
	if !errors.Is(err, runner.ErrWriteTimeout) {
		t.Fatalf("Write = %v", err)
	}
	e := ended(t, p)
	if e.Signal != syscall.SIGKILL || !errors.Is(e, runner.ErrWriteTimeout) {
		t.Errorf("%+v", e)
	}
	if err := p.Write([][]byte{[]byte("x")}, 0); !errors.Is(err, runner.ErrWriteTimeout) {
		t.Errorf("next Write = %v", err)
	}
}

// Writers that queue behind one that is stuck are let go as soon as that one has failed.
func TestWriteTimeoutFreesOthers(t *testing.T) {
	p := start(t, "deaf", runner.Options{})
	read(t, p)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := p.Write([][]byte{make([]byte, 1<<20)}, 200*time.Millisecond); err == nil {
				t.Error("a write to a server that does not read came through")
			}
		})
	}
	began := time.Now()
	wg.Wait()
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
	ended(t, p)
}

// A stdout that ends before the process is told apart from its end.
func TestClosedStdout(t *testing.T) {
	p := start(t, "closeout", runner.Options{})
	wantEOF(t, p)
	if p.Err() != nil {
		t.Fatalf("Err() = %v while it runs", p.Err())
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e := ended(t, p); e.Code != 0 {
		t.Errorf("%+v", e)
	}
}

// A killed process in mid-write fails that write with its end.
func TestKilledWhileWriting(t *testing.T) {
	p := start(t, "deaf", runner.Options{})
	read(t, p)
	go func() { _ = syscall.Kill(p.PID(), syscall.SIGKILL) }()
	err := p.Write([][]byte{make([]byte, 8<<20)}, time.Minute)
	var e *runner.ExitError
	if !errors.As(err, &e) || e.Signal != syscall.SIGKILL || e.Cause != nil {
		t.Fatalf("Write = %v", err)
	}
}

// The program comes back to its descriptors, goroutines and threads after many lives.
func TestNoLeaks(t *testing.T) {
	live := func() {
		p, err := runner.Start(command("echo"), runner.Options{Guard: guardArgv()})
		if err != nil {
			t.Error(err)
			return
		}
		write(t, p, "hello")
		read(t, p)
		write(t, p, "unread")
		if err := p.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	live()
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	for range 20 {
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(live)
		}
		wg.Wait()
	}
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= goroutines })
	if now := descriptors(t); now > fds {
		t.Errorf("%d descriptors, %d before", now, fds)
	}
}

// A child holds its own three pipe ends, and no end of a sibling's or of the guard's, nor anything
// else the program has open, not even what was opened to be inherited.
func TestChildDescriptors(t *testing.T) {
	descriptors(t)
	var open [2]int
	if err := syscall.Pipe(open[:]); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = syscall.Close(open[0]), syscall.Close(open[1]) }()
	for range 3 {
		start(t, "echo", runner.Options{Guard: guardArgv()})
	}
	p := start(t, "fds", runner.Options{Guard: guardArgv()})
	var numbers []string
	for f := range strings.FieldsSeq(read(t, p)) {
		n, target, _ := strings.Cut(f, "=")
		numbers = append(numbers, n)
		if !strings.HasPrefix(target, "pipe:") {
			t.Errorf("descriptor %s is %s", n, target)
		}
	}
	if diff := cmp.Diff([]string{"0", "1", "2"}, numbers); diff != "" {
		t.Error(diff)
	}
}
