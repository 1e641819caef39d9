package system_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// limitsPage is the first block of docs/limits.md in a language.
func limitsPage(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "```"+language+"\n")
	block, _, ended := strings.Cut(block, "\n```")
	if !found || !ended {
		t.Fatalf("docs/limits.md has no block of %s", language)
	}
	return block + "\n"
}

// toolcrib is an environment in which that is the gateway's program, and which has nothing of who runs the test.
func toolcrib(t *testing.T) (dir string, env []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "toolcrib")); err != nil {
		t.Fatal(err)
	}
	return dir, append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "NO_PROXY=127.0.0.1", "HOME="+t.TempDir(), "XDG_STATE_HOME="+t.TempDir())
}

// TestLimitsPageShell: the commands of the page show what it says that they do.
func TestLimitsPageShell(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"sh", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	address := "127.0.0.1:" + strconv.Itoa(testenv.FreePort(t))
	script := strings.ReplaceAll(limitsPage(t, "sh"), "127.0.0.1:8080", address)
	script = strings.Replace(script, "toolcrib serve", "TOOLCRIB_LISTEN="+address+" toolcrib serve", 1) + "wait\n"
	cmd := exec.CommandContext(testenv.Within(t, 2*testenv.Patience), "sh", "-c", script)
	cmd.Dir, cmd.Env = toolcrib(t)
	out, err := cmd.CombinedOutput()
	text := string(out)
	if strings.Count(text, "HTTP/1.1 200") != 2 || strings.Count(text, "HTTP/1.1 429") != 1 || !regexp.MustCompile(`(?i)retry-after: \d`).MatchString(text) ||
		strings.Index(text, "429") < strings.LastIndex(text, "HTTP/1.1 200") {
		t.Errorf("%v\n%s", err, text)
	}
}

// TestLimitsPage: the configuration of the page is right, and its limits on requests bite as it says.
func TestLimitsPage(t *testing.T) {
	t.Parallel()
	block := limitsPage(t, "yaml")
	dir, env := toolcrib(t)
	if err := os.WriteFile(filepath.Join(dir, "page.yaml"), []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "toolcrib"), "validate", "page.yaml")
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("validate: %v: %s", err, out)
	}
	var config map[string]any
	if err := yaml.Unmarshal([]byte(block), &config); err != nil {
		t.Fatal(err)
	}
	calls, release := make(chan struct{}, 100), make(chan struct{})
	s := testenv.HTTPServer(t, testenv.Script{
		Tools: []string{testenv.Tool("find"), testenv.Tool("reindex"), testenv.Tool("ping"), testenv.Tool("hold")},
		On: map[string]func(*testenv.Call){"tools/call hold": func(c *testenv.Call) {
			calls <- struct{}{}
			<-release
			c.Text("done")
		}},
	})
	search := config["mcpServers"].(map[string]any)["search"].(map[string]any)
	search["url"] = s.URL
	const root = "root-0123456789abcdef"
	auth := authOf(holder{name: "ana", key: aliceKey}, holder{name: "bob", key: bobKey}, holder{"root", root, []string{"admins"}})
	g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"search": search}, More: map[string]any{
		"limits": config["limits"], "auth": auth,
		"policies": map[string]any{"bindings": []any{map[string]any{"everyone": true, "role": "user"}, map[string]any{"group": "admins", "role": "admin"}}},
	}})
	as := func(key string) *testenv.Client {
		c := g.Modern("/mcp")
		c.Key = key
		return c
	}
	limited := func(r *testenv.Reply, limit, kind string) {
		t.Helper()
		if r.Status != http.StatusTooManyRequests || !strings.Contains(r.Data(), `"limit":"`+limit+`","kind":"`+kind+`"`) {
			t.Errorf("%v is not refused by the %s of %s", r, kind, limit)
		}
	}

	// tools count as what they cost
	ana := as(aliceKey)
	for tool, cost := range map[string]int{"find": 1, "reindex": 20, "ping": 0} {
		before := leftOf(t, g, root, "searches", "quota")
		if r := ana.Tool("search__"+tool, "{}"); r.Texts() != "done" {
			t.Fatalf("%v", r)
		}
		if used := before - leftOf(t, g, root, "searches", "quota"); used != cost {
			t.Errorf("%s used %d of the quota, want %d", tool, used, cost)
		}
	}

	// a principal, by rate
	began := time.Now()
	var in atomic.Int64
	var refused atomic.Pointer[testenv.Reply]
	each(8, func(int) {
		for bob := as(bobKey); refused.Load() == nil && in.Load() < 10_000; {
			n, r := let(bob, "search__find", 1)
			in.Add(int64(n))
			if r != nil {
				refused.Store(r)
			}
		}
	})
	if most := 100 + 50*time.Since(began).Seconds() + 1; in.Load() < 100 || float64(in.Load()) > most {
		t.Fatalf("%d were let in, want 100 to %.0f", in.Load(), most)
	}
	limited(refused.Load(), "principal", "rate")
	if r := ana.Tool("search__find", "{}"); r.Texts() != "done" {
		t.Errorf("another principal: %v", r)
	}

	// an address, by what is under way
	over := time.Now()
	testenv.Eventually(t, "the rate of the address has come back", func() bool { return time.Since(over) > time.Second })
	var all sync.WaitGroup
	defer all.Wait()
	defer close(release)
	for range 100 {
		all.Go(func() {
			if r, err := as(root).Try(testenv.Within(t, 2*testenv.Patience), testenv.Request{Method: "tools/call", Members: `"name":"search__hold"`}); err != nil || r.Texts() != "done" {
				t.Errorf("%v %v", r, err)
			}
		})
	}
	testenv.Eventually(t, "a hundred calls are under way", func() bool { return len(calls) == 100 })
	limited(ana.Call("tools/list", ""), "address", "concurrency")
}

// leftOf is the least that anybody has left of an amount of a limit.
func leftOf(t *testing.T, g *testenv.Gateway, key, limit, kind string) int {
	t.Helper()
	report, err := (&control.Remote{Base: g.URL, Token: key}).Limits(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(report.Limits, func(l control.LimitUse) bool { return l.Name == limit && l.Kind == kind })
	if at < 0 {
		t.Fatalf("no %s of %s among %+v", kind, limit, report.Limits)
	}
	left := report.Limits[at].Most
	for _, k := range report.Limits[at].Top {
		left = min(left, k.Left)
	}
	return int(left)
}
