package real_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
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
	ctx, cancel := context.WithTimeout(t.Context(), stopTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		left := marked(t, mark)
		if len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			for _, pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			t.Fatalf("processes %v were still there %v after the gateway ended", left, stopTimeout)
		}
	}
}
