package real_test

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// browserServer is @playwright/mcp with Debian's chromium: a server whose tools run in a tree of heavy processes.
func browserServer(t *testing.T, p *parts) server {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium was not found in PATH; install it (Debian: apt-get install chromium)")
	}
	return server{
		Command: p.node,
		Args: []string{
			filepath.Join(p.modules, "node_modules", "@playwright", "mcp", "cli.js"),
			"--executable-path", chromium, "--headless", "--no-sandbox", "--isolated",
		},
		Cwd: t.TempDir(),
	}
}

// page serves a page and gives its URL.
func page(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<title>Größe</title><h1>It says: \u2603</h1><button>Press</button>"))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestBrowser: clients of both eras steer a real browser through the gateway, and none of its processes outlives it, however it
// ends.
func TestBrowser(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, era string
		end       syscall.Signal
	}{
		{"stopped", "modern", syscall.SIGTERM},
		{"killed", "legacy", syscall.SIGKILL},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := needParts(t)
			base, process := startGateway(t, map[string]server{"web": browserServer(t, p)})
			got := driveGo(t, p, target{URL: base + "/mcp"}, c.era, []step{
				call("web__browser_navigate", map[string]any{"url": page(t)}),
				call("web__browser_snapshot", map[string]any{}),
			})
			for i, s := range got.Steps {
				if text := textOf(s); s.Error != nil || !strings.Contains(text, "It says: \u2603") && i > 0 {
					t.Fatalf("step %d: %+v %s", i, s.Error, text)
				}
			}
			all := testenv.Descendants(process.Pid)
			if len(all) < 8 {
				t.Fatalf("processes %v, want a guard, a server and those of a browser", all)
			}
			if err := process.Signal(c.end); err != nil {
				t.Fatal(err)
			}
			from := time.Now()
			waitUntil(t, "the end of all processes", stopTimeout, func() bool {
				all = slices.DeleteFunc(all, func(d testenv.Descendant) bool { return !testenv.Alive(d.PID) })
				return len(all) == 0
			})
			t.Logf("they were gone %v after the signal", time.Since(from).Round(time.Millisecond))
		})
	}
}
