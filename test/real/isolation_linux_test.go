package real_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestMemoryOfTenants: the official server-memory, which knows no tenants, keeps a graph for each tenant.
func TestMemoryOfTenants(t *testing.T) {
	t.Parallel()
	p := needParts(t)
	dir := t.TempDir()
	var keys []any
	for name, tenant := range map[string]string{"alice": "acme", "bob": "acme", "carol": "other"} {
		keys = append(keys, map[string]any{"name": name, "tenant": tenant, "key": keyOf(name)})
	}
	base, _ := startWith(t, map[string]any{
		"mcpServers": map[string]any{"memory": server{
			Command: p.node, Args: []string{p.server("memory")},
			Env: map[string]string{"MEMORY_FILE_PATH": filepath.Join(dir, "${principal.tenant}.jsonl")},
		}},
		"auth":     map[string]any{"apiKeys": keys},
		"policies": map[string]any{"bindings": []any{map[string]any{"everyone": true, "role": "user"}}},
	})
	graph := func(name, era string, steps ...step) string {
		got := driveGo(t, p, target{URL: base + "/mcp", Key: keyOf(name)}, era, append(steps, call("memory__read_graph", nil)))
		last := got.Steps[len(got.Steps)-1]
		if last.Error != nil {
			t.Fatalf("%s: %+v", name, last.Error)
		}
		return textOf(last)
	}
	remember := func(what string) step {
		return call("memory__create_entities", map[string]any{"entities": []any{
			map[string]any{"name": what, "entityType": "secret", "observations": []any{"of " + what}},
		}})
	}
	graph("alice", "modern", remember("acme's"))
	graph("carol", "legacy", remember("other's"))
	for name, era := range map[string]string{"alice": "legacy", "bob": "modern", "carol": "modern"} {
		mine, theirs := "acme's", "other's"
		if name == "carol" {
			mine, theirs = theirs, mine
		}
		if got := graph(name, era); !strings.Contains(got, mine) || strings.Contains(got, theirs) {
			t.Errorf("%s sees %s", name, got)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if want := []string{filepath.Join(dir, "acme.jsonl"), filepath.Join(dir, "other.jsonl")}; err != nil || fmt.Sprint(files) != fmt.Sprint(want) {
		t.Errorf("files %v, want %v", files, want)
	}
}

func keyOf(name string) string { return "key-of-" + name + "-0123456789" }

// TestBrowserOfSessions: each session has a browser of its own, which ends with it.
func TestBrowserOfSessions(t *testing.T) { //nolint:tparallel // what follows the sessions waits for them
	t.Parallel()
	p := needParts(t)
	entry := browserServer(t, p)
	entry.Isolation = "session"
	base, process := startGateway(t, map[string]server{"web": entry})
	var seen atomic.Bool // while one asks for a page: it may end with its session before the test looks
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(browsers(process.Pid)) > 0 {
			seen.Store(true)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, "<h1>Page of %s</h1>", r.URL.Query().Get("of"))
	}))
	t.Cleanup(pages.Close)
	t.Run("sessions", func(t *testing.T) {
		for _, who := range []string{"one", "two"} {
			t.Run(who, func(t *testing.T) {
				t.Parallel()
				got := driveGo(t, p, target{URL: base + "/mcp"}, "legacy", []step{
					call("web__browser_navigate", map[string]any{"url": pages.URL + "?of=" + who}),
					call("web__browser_snapshot", map[string]any{}),
					call("web__browser_snapshot", map[string]any{}),
				})
				for i, s := range got.Steps[1:] {
					if text := textOf(s); s.Error != nil || !strings.Contains(text, "Page of "+who) {
						t.Errorf("step %d: %+v %s", i+1, s.Error, text)
					}
				}
				if !seen.Load() {
					t.Error("no process of a browser was found")
				}
			})
		}
	})
	waitUntil(t, "the end of the browsers", stopTimeout, func() bool { return len(browsers(process.Pid)) == 0 })
}

// browsers are the processes of browsers below a process.
func browsers(root int) (pids []int) {
	for _, d := range testenv.Descendants(root) {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", d.PID))
		if err == nil && bytes.Contains(line, []byte("chromium")) && bytes.Contains(line, []byte("--type=")) {
			pids = append(pids, d.PID)
		}
	}
	return pids
}
