package real_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestNoOrphans starts a server the way client configurations do, by npx, which
// puts a shell and a second node between the gateway and the server. None of
// them may outlive the gateway, however it ends.
func TestNoOrphans(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  syscall.Signal
	}{
		{"stopped", syscall.SIGTERM},
		{"killed", syscall.SIGKILL},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := needParts(t)
			mark := rand.Text()
			base, process := startGateway(t, map[string]server{"everything": {
				Command: "npx",
				Args:    []string{"--no-install", "mcp-server-everything", "stdio"},
				Cwd:     p.modules,
				Env:     map[string]string{"TOOLCRIB_TEST_MARK": mark},
			}})
			steps := []step{call("echo", map[string]any{"message": "hi"})}
			if got := driveGo(t, p, target{URL: base + "/mcp"}, "modern", []step{prefixed(steps[0], "everything")}); got.Steps[0].Error != nil {
				t.Fatalf("calling through npx: %+v", got.Steps[0].Error)
			}
			if len(marked(t, mark)) < 2 {
				t.Fatalf("processes of the server: %v, want the launcher and the server", marked(t, mark))
			}
			if err := process.Signal(c.end); err != nil {
				t.Fatal(err)
			}
			waitGone(t, mark)
		})
	}
}

// TestNoOrphansOfMany kills a gateway with fifty servers, each behind npx.
func TestNoOrphansOfMany(t *testing.T) {
	t.Parallel()
	p := needParts(t)
	const many = herd
	mark := rand.Text()
	servers := map[string]server{}
	for i := range many {
		servers[fmt.Sprintf("s%02d", i)] = server{
			Command: "npx", Args: []string{"--no-install", "mcp-server-memory"}, Cwd: p.modules,
			Env: map[string]string{"TOOLCRIB_TEST_MARK": mark, "MEMORY_FILE_PATH": filepath.Join(t.TempDir(), "graph.jsonl")},
		}
	}
	base, process := startGateway(t, servers)
	up := func() int { return ready(t, base) }
	waitUntil(t, "all servers are ready", 3*runTimeout, func() bool { return up() == many })
	if got := len(marked(t, mark)); got < 2*many {
		t.Fatalf("%d processes, want a launcher and a server %d times", got, many)
	}
	all := len(marked(t, mark))
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	watch := testenv.StartWatch(t)
	waitGone(t, mark)
	took := watch.Took()
	t.Logf("%d processes were gone %v after the gateway", all, took.Round(time.Millisecond))
	if took > time.Second {
		t.Errorf("the last one of %d processes ended %v after the gateway", all, took)
	}
}

// ready counts the servers that the gateway calls ready.
func ready(t *testing.T, base string) int {
	t.Helper()
	var r struct {
		Servers map[string]struct{ State string }
	}
	fetch(t, base+"/health/ready", &r)
	n := 0
	for _, s := range r.Servers {
		if s.State == "ready" {
			n++
		}
	}
	return n
}

// fetch reads the JSON that a URL answers with.
func fetch(t *testing.T, url string, into any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// marked gives the processes that inherited the mark in their environment.
func marked(t *testing.T, mark string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, file := range files {
		environ, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(environ, []byte("TOOLCRIB_TEST_MARK="+mark)) {
			continue // ended meanwhile, or another's
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func waitGone(t *testing.T, mark string) {
	t.Helper()
	var left []int
	if happens(t, stopTimeout, func() bool { left = marked(t, mark); return len(left) == 0 }) {
		return
	}
	for _, pid := range left {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	t.Fatalf("processes %v were still there %v after the gateway ended", left, stopTimeout)
}

// waitUntil waits for a condition.
func waitUntil(t *testing.T, what string, limit time.Duration, ok func() bool) {
	t.Helper()
	if !happens(t, limit, ok) {
		t.Fatalf("did not come within %v: %s", limit, what)
	}
}

// happens waits for a condition and tells whether it came.
func happens(t *testing.T, limit time.Duration, ok func() bool) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
