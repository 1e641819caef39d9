// Package testenv is the whole system in a test: the gateway as it is served, scripted MCP servers of both eras behind it
// over HTTP and stdio, and clients of both eras in front of it.
//
//	Client ──net/http──► Gateway (app.Serve, or the program itself) ──► Server (net/http handler)
//	                                                               └──► child ──socket──► Server
//
// Servers and clients are written by hand on raw bytes, so that they say whatever a test wants said and show exactly what
// arrived. They hold what reaches them to the rules of their era; a breach fails the test. A stdio server is the test binary
// started again, which hands its pipes on to the test: its script runs where the test can see it.
//
// A test binary that uses the package calls Main from TestMain.
package testenv

import (
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/toolcrib/toolcrib/cli"
)

// Patience is how long anything is waited for before a test fails.
const Patience = 20 * time.Second

const childCommand = "testenv-child"

// Main runs the tests and checks that no goroutine is left, or plays the part that the binary was started for: a stdio server's
// child, or the program with any of its commands, which refuses by itself those that it does not know.
func Main(m *testing.M) {
	if Play() {
		return
	}
	if len(os.Args) > 1 && !strings.HasPrefix(os.Args[1], "-") { // flags are those of tests
		os.Exit(cli.Main(cli.UntilSignal(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil { // else each program of a test sleeps for a second before it ends
		panic(err)
	}
	clean := goleak.Cleanup(func(code int) {
		unbuild()
		os.Exit(code)
	})
	goleak.VerifyTestMain(m, append(redisSleeps(), clean)...)
}

// Play plays a stdio server's child, if that is what the binary was started for. Tests with a main of their own call it first.
func Play() bool {
	if len(os.Args) < 3 || os.Args[1] != childCommand {
		return false
	}
	child(os.Args[2])
	return true
}

// Eventually waits for a condition.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !Happens(ok) {
		t.Fatalf("never happened: %s", what)
	}
}

// Happens waits for a condition and tells whether it came.
func Happens(ok func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(Patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}
