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
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/toolcrib/toolcrib/cli"
)

// Patience is how long anything is waited for before a test fails.
const Patience = 20 * time.Second

const childCommand = "testenv-child"

// Main runs the tests and checks that no goroutine is left, or plays the part that the binary was started for: a stdio server's
// child, the guard of children, or the program.
func Main(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case childCommand:
			child(os.Args[2])
			return
		case "serve", "guard", "confine":
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			code := cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
			stop()
			os.Exit(code)
		}
	}
	clean := goleak.Cleanup(func(code int) {
		unbuild()
		os.Exit(code)
	})
	goleak.VerifyTestMain(m, append(redisSleeps(), clean)...)
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
