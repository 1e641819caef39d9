package runner_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
)

// childEnv makes the test binary play a server: its value is the name of a role and its argument.
const childEnv = "TOOLCRIB_TEST_CHILD"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "guard-for-test" {
		runner.Guard(os.Stdin)
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "confine-for-test" {
		fmt.Fprintln(os.Stderr, runner.Confine())
		os.Exit(126)
	}
	if role, ok := os.LookupEnv(childEnv); ok {
		name, arg, _ := strings.Cut(role, " ")
		play := roles[name]
		if play == nil {
			play = systemRoles[name]
		}
		if play == nil {
			fmt.Fprintln(os.Stderr, "no such role:", name)
			os.Exit(99)
		}
		play(arg)
		return
	}
	goleak.VerifyTestMain(m)
}

func guardArgv() []string { return []string{os.Args[0], "guard-for-test"} }

func confineArgv() []string { return []string{os.Args[0], "confine-for-test"} }

// command is the test binary in a role.
func command(role string) runner.Command {
	extra := map[string]string{childEnv: role, "GORACE": "atexit_sleep_ms=0"}
	if testing.CoverMode() != "" {
		extra["GOCOVERDIR"] = os.TempDir() // or the child complains on stderr
	}
	return runner.Command{Server: "test", Path: os.Args[0], Env: runner.Environ(os.LookupEnv, extra)}
}

// start runs a role until the end of the test.
func start(tb testing.TB, role string, o runner.Options) *runner.Process {
	tb.Helper()
	p, err := runner.Start(command(role), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { stop(tb, p) })
	return p
}

// stop ends a process without patience.
func stop(tb testing.TB, p *runner.Process) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.Stop(ctx); err != nil {
		tb.Error(err)
	}
}

// write writes one message.
func write(tb testing.TB, p *runner.Process, segments ...string) {
	tb.Helper()
	var all [][]byte
	for _, s := range segments {
		all = append(all, []byte(s))
	}
	if err := p.Write(all, 10*time.Second); err != nil {
		tb.Fatal(err)
	}
}

// read reads one line.
func read(tb testing.TB, p *runner.Process) string {
	tb.Helper()
	m := mcp.GetBuffer(0)
	defer m.Free()
	if err := p.Read(m); err != nil {
		select {
		case <-p.Done():
		case <-time.After(time.Second):
		}
		tb.Fatalf("Read: %v (%v)", err, p.Err())
	}
	return string(m.B)
}

// wantEOF reads the end of the output.
func wantEOF(tb testing.TB, p *runner.Process) {
	tb.Helper()
	var m mcp.Buffer
	if err := p.Read(&m); !errors.Is(err, io.EOF) {
		tb.Fatalf("Read = %q, %v; want EOF", m.B, err)
	}
}

// ended waits for the end of the process and returns why it ended.
func ended(tb testing.TB, p *runner.Process) *runner.ExitError {
	tb.Helper()
	select {
	case <-p.Done():
	case <-time.After(20 * time.Second):
		tb.Fatal("the process does not end")
	}
	var e *runner.ExitError
	if !errors.As(p.Err(), &e) {
		tb.Fatalf("Err() = %v, not an ExitError", p.Err())
	}
	return e
}

// eventually waits for a condition.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			tb.Fatal("never happened: " + what)
		}
	}
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

func descriptors(tb testing.TB) int {
	tb.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Skip("no /proc here")
	}
	return len(entries)
}
