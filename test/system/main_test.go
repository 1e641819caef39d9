// Package system_test holds the gateway as a whole to what it promises, from outside: raw clients before it, scripted servers
// behind it, everything between as it is served.
package system_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// canary is in the environment of every gateway of these tests, as a secret of its own would be.
const canary = "TOOLCRIB_SYSTEM_CANARY"

func TestMain(m *testing.M) {
	if err := os.Setenv(canary, strconv.Itoa(os.Getpid())); err != nil { // another one in each child
		panic(err)
	}
	testenv.Main(m)
}

// kind is one sort of server.
type kind struct {
	name    string
	era     testenv.Era
	stdio   bool
	streams bool
	old     bool // HTTP+SSE
}

var kinds = []kind{
	{name: "modern-json", era: testenv.Modern},
	{name: "modern-sse", era: testenv.Modern, streams: true},
	{name: "modern-stdio", era: testenv.Modern, stdio: true},
	{name: "legacy-json", era: testenv.Legacy},
	{name: "legacy-sse", era: testenv.Legacy, streams: true},
	{name: "legacy-stdio", era: testenv.Legacy, stdio: true},
	{name: "legacy-old", era: testenv.Legacy, old: true},
}

// server starts a server of the kind.
func (k kind) server(t *testing.T, script testenv.Script) *testenv.Server {
	t.Helper()
	script.Era, script.Streams = k.era, k.streams
	switch {
	case k.stdio:
		return testenv.StdioServer(t, script)
	case k.old:
		return testenv.StreamServer(t, script)
	}
	return testenv.HTTPServer(t, script)
}

// eachKind runs a test on every kind of server.
func eachKind(t *testing.T, f func(*testing.T, kind)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			f(t, k)
		})
	}
}

// eachPair runs a test on every kind of server with clients of both eras.
func eachPair(t *testing.T, f func(*testing.T, testenv.Era, kind)) {
	t.Helper()
	for _, era := range testenv.Eras {
		t.Run(era.String()+" client", func(t *testing.T) {
			t.Parallel()
			eachKind(t, func(t *testing.T, k kind) { f(t, era, k) })
		})
	}
}
