package control_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/control"
)

// subject is a gateway with one server that printed three lines and prints what more sends.
type subject struct {
	started time.Time
	more    chan string
}

func (s *subject) Report() *control.Report {
	return &control.Report{
		PID: os.Getpid(), Version: "test", Started: s.started,
		Servers:   []control.Server{{Name: "a/b", Isolation: "shared", State: "ready"}},
		Instances: []control.Instance{{Server: "a/b", PID: 7, RSS: 1 << 40, CPU: 0.25}},
	}
}

func (s *subject) Lines(ctx context.Context, server string, last int, follow bool) iter.Seq[control.Line] {
	if server != "a/b" {
		return nil
	}
	return func(yield func(control.Line) bool) {
		for i := max(0, 3-last); i < 3; i++ {
			if !yield(control.Line{PID: 7, Text: fmt.Sprint("<line> ", i)}) {
				return
			}
		}
		for follow {
			select {
			case <-ctx.Done():
				return
			case text := <-s.more:
				if !yield(control.Line{Text: text}) {
					return
				}
			}
		}
	}
}

func serve(t *testing.T, dir string, started time.Time) (*control.Serving, *subject) {
	t.Helper()
	sub := &subject{started: started, more: make(chan string)}
	s, err := control.Serve(t.Context(), dir, sub, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, sub
}

func find(t *testing.T, dir string, want int) []*control.Client {
	t.Helper()
	all, err := control.Find(t.Context(), dir)
	if err != nil || len(all) != want {
		t.Fatalf("found %d gateways, want %d: %v", len(all), want, err)
	}
	t.Cleanup(func() {
		for _, c := range all {
			c.Close()
		}
	})
	return all
}

// state is a directory whose sockets have paths that are short, or longer than a socket's may be.
func state(t *testing.T, long bool) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tc") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if long {
		dir = filepath.Join(dir, strings.Repeat("long", 20), strings.Repeat("long", 20))
	}
	return dir
}

func TestReport(t *testing.T) {
	for _, long := range []bool{false, true} {
		t.Run(fmt.Sprint("long path ", long), func(t *testing.T) {
			dir := state(t, long)
			find(t, dir, 0)
			s, sub := serve(t, dir, time.Now().Truncate(time.Second))
			c := find(t, dir, 1)[0]
			if d := cmp.Diff(sub.Report(), c.Report); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			for path, want := range map[string]fs.FileMode{filepath.Dir(s.Path()): 0o700, s.Path(): 0o600} {
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
					t.Errorf("%s: mode %v, want %v: %v", path, info.Mode(), want, err)
				}
			}
			s.Close()
			find(t, dir, 0)
			if _, err := os.Lstat(s.Path()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the socket is left: %v", err)
			}
		})
	}
}

func lines(t *testing.T, seq iter.Seq2[control.Line, error]) []string {
	t.Helper()
	var all []string
	for line, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, line.Text)
	}
	return all
}

func TestLogs(t *testing.T) {
	dir := state(t, false)
	s, sub := serve(t, dir, time.Now())
	c := find(t, dir, 1)[0]
	if got := lines(t, c.Logs(t.Context(), "a/b", 2, false)); !cmp.Equal(got, []string{"<line> 1", "<line> 2"}) {
		t.Errorf("the last two: %q", got)
	}
	for _, err := range c.Logs(t.Context(), "b", 1, true) {
		if e, ok := errors.AsType[*control.UnknownServer](err); !ok || !cmp.Equal(e.Servers, []string{"a/b"}) {
			t.Errorf("unknown server: %v", err)
		}
	}
	for _, err := range c.Logs(t.Context(), "a/b", -1, true) {
		if err == nil || !strings.Contains(err.Error(), "lines: is not a number") {
			t.Errorf("-1 lines: %v", err)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	next, stop := iter.Pull2(c.Logs(ctx, "a/b", 0, true))
	defer stop()
	go func() { sub.more <- "fresh" }()
	if line, err, _ := next(); line.Text != "fresh" || err != nil {
		t.Errorf("%q, %v", line.Text, err)
	}
	cancel()
	if line, err, ok := next(); ok {
		t.Errorf("after the end: %v %v", line, err)
	}

	next, stop = iter.Pull2(c.Logs(t.Context(), "a/b", 1, true))
	defer stop()
	if _, err, ok := next(); err != nil || !ok {
		t.Errorf("the last line: %v", err)
	}
	s.Close()
	if line, err, ok := next(); ok && err == nil {
		t.Errorf("after the gateway's end: %v", line)
	}
}

// TestSeveral gateways share a state directory, also two with the same process id.
func TestSeveral(t *testing.T) {
	dir := state(t, false)
	now := time.Now()
	serve(t, dir, now)
	serve(t, dir, now.Add(-time.Hour))
	if all := find(t, dir, 2); !all[0].Report.Started.Before(all[1].Report.Started) {
		t.Error("the oldest is not first")
	}
}

// TestLeftovers of killed gateways are removed; what is no socket, or of a process that lives, is not.
func TestLeftovers(t *testing.T) {
	dir := state(t, false)
	run := filepath.Join(dir, "run")
	if err := os.MkdirAll(run, 0o755); err != nil {
		t.Fatal(err)
	}
	gone := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{gone.Process.Pid, os.Getpid(), os.Getppid()} {
		ln, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(run, fmt.Sprint(pid, ".sock")))
		if err != nil {
			t.Fatal(err)
		}
		ln.(*net.UnixListener).SetUnlinkOnClose(false)
		_ = ln.Close()
	}
	file := filepath.Join(run, fmt.Sprint(gone.Process.Pid, "-1.sock"))
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	reused := filepath.Join(run, fmt.Sprint(os.Getppid(), "-1.sock")) // for long without an answer: the process is another
	ln, err := new(net.ListenConfig).Listen(t.Context(), "unix", reused)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = ln.Close()
	if err := os.Chtimes(reused, time.Time{}, time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	s, _ := serve(t, dir, time.Now())
	if want := filepath.Join(run, fmt.Sprint(os.Getpid(), ".sock")); s.Path() != want {
		t.Errorf("socket %s, want %s", s.Path(), want)
	}
	left, err := os.ReadDir(run)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	for name, want := range map[string]bool{
		fmt.Sprint(gone.Process.Pid, ".sock"): false, fmt.Sprint(os.Getppid(), ".sock"): true, filepath.Base(file): true,
		filepath.Base(reused): false,
	} {
		if got := strings.Contains(strings.Join(names, " ")+" ", name+" "); got != want {
			t.Errorf("%s is there: %v, want %v", name, got, want)
		}
	}
	if info, err := os.Stat(run); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode of the folder: %v %v", info.Mode(), err)
	}
	find(t, dir, 1)
}

// TestNoRoom: a state directory that cannot be written to is an error that names it.
func TestNoRoom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := control.Serve(t.Context(), file, &subject{}, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
	if _, err := control.Find(t.Context(), file); err == nil {
		t.Error("found in a file")
	}
}

// A folder that somebody else made for the sockets is not used.
func TestFolderOfAnother(t *testing.T) {
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	if err := os.Mkdir(run, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(run, 65534, 65534); err != nil {
		t.Skip(err)
	}
	_, err := control.Serve(t.Context(), dir, &subject{}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("%v", err)
	}
}
