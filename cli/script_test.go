package cli_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/toolcrib/toolcrib/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"toolcrib": func() {
		code := cli.Main(cli.UntilSignal(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
		if os.Getenv("GORACE") == "" { // a server, whose environment is the program's choice: it should not sleep either
			syscall.Exit(code)
		}
		os.Exit(code)
	}})
}

// noSleep, in GORACE, has a program under the race detector end at once: else it sleeps for a second before.
const noSleep = "atexit_sleep_ms=0"

// TestScripts runs the conversations of testdata. Each has a directory and a
// home of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		Setup:               setup,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start":  start,
			"halt":   halt,
			"status": status,
			"grab":   grab,
		},
	})
}

// status runs a command and wants the exit code given first: status 2 toolcrib.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		got = strings.TrimPrefix(exit.Error(), "exit status ")
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// grab sets a variable to what a pattern finds in a file: grab KEY output 'tck_[a-z0-9_]+'.
func grab(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: grab VARIABLE FILE PATTERN")
	}
	found := regexp.MustCompile(args[2]).FindString(ts.ReadFile(args[1]))
	if found == "" {
		ts.Fatalf("%s is not in %s", args[2], args[1])
	}
	ts.Setenv(args[0], found)
}

// serving is the gateway or server that start started.
type serving struct {
	cmd    *exec.Cmd
	output string // complete once read is closed
	read   chan struct{}
}

type servingKey struct{}

func current(ts *testscript.TestScript) *serving {
	s, ok := ts.Value(servingKey{}).(*serving)
	if !ok {
		ts.Fatalf("no setup")
	}
	return s
}

// setup gives each conversation a home of its own.
func setup(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, "home")
	env.Setenv("HOME", home)
	env.Setenv("GORACE", noSleep)
	env.Values[servingKey{}] = &serving{}
	return os.Mkdir(home, 0o700)
}

const startTimeout = 20 * time.Second

// start runs a toolcrib command that serves, waits until it says where, and
// sets the variable URL: start serve mcp.json.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: start COMMAND…")
	}
	s := current(ts)
	s.cmd, s.read = exec.Command("toolcrib", args...), make(chan struct{})
	s.cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GORACE"} {
		s.cmd.Env = append(s.cmd.Env, name+"="+ts.Getenv(name))
	}
	out, in, err := os.Pipe()
	ts.Check(err)
	s.cmd.Stdout, s.cmd.Stderr = in, in
	ts.Check(s.cmd.Start())
	_ = in.Close()
	ts.Defer(func() { _ = s.cmd.Process.Kill(); _, _ = s.cmd.Process.Wait(); <-s.read })
	url := make(chan string, 1)
	go s.watch(out, url)
	select {
	case u := <-url:
		ts.Setenv("URL", u)
		ts.Setenv("ADDRESS", strings.TrimSuffix(strings.TrimPrefix(u, "http://"), "/mcp"))
	case <-s.read:
		ts.Fatalf("ended before it served:\n%s", s.output)
	case <-time.After(startTimeout):
		ts.Fatalf("does not serve after %s", startTimeout)
	}
}

// watch reads the output to its end and sends the first URL in it.
func (s *serving) watch(out io.ReadCloser, url chan<- string) {
	defer close(s.read)
	defer out.Close()
	var text strings.Builder
	sent := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if _, at, ok := strings.Cut(lines.Text(), " at http://"); ok && !sent {
			url <- "http://" + strings.Fields(at)[0]
			sent = true
		}
	}
	s.output = text.String()
}

// halt ends what start started with SIGTERM and wants exit code 0. The output
// is then in the file output.
func halt(ts *testscript.TestScript, neg bool, args []string) {
	s := current(ts)
	if neg || len(args) > 0 || s.cmd == nil {
		ts.Fatalf("usage: halt, after start")
	}
	ts.Check(s.cmd.Process.Signal(syscall.SIGTERM))
	state, err := s.cmd.Process.Wait()
	ts.Check(err)
	<-s.read
	ts.Check(os.WriteFile(ts.MkAbs("output"), []byte(s.output), 0o600))
	if state.ExitCode() != 0 {
		ts.Fatalf("%s, output:\n%s", state, s.output)
	}
}
