// Package real_test runs the gateway between parts that others wrote: the
// official conformance suite, the reference servers from npm and from the Go
// SDK, the official clients in Go and TypeScript, the Inspector, the
// authorization servers oidc-provider and Dex, the receiver of the
// OpenTelemetry Collector, and Toxiproxy.
//
// The parts are pinned in npm/package.json and in each go.mod of fixtures. They
// are installed once into a folder outside the repository, keyed by those pins:
// $TOOLCRIB_TEST_CACHE, or toolcrib-test in the user's cache folder. Needed on
// the machine: Go, npm (with any Node.js from version 20 on; a Node.js that is
// too old for the suite is supplemented by one from npm), python3 and chromium.
package real_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// scratch holds what is made once for the whole run: the gateway's binary.
var scratch string

func TestMain(m *testing.M) {
	if testenv.Play() {
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "toolcrib-real-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	scratch = dir
	names.install()
	return m.Run()
}
