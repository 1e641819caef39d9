package real_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// packages are servers from npm and from the Go module proxy.
const packages = `stateDir: state
launch: {approval: required}
mcpServers:
  everything: {package: "npx:@modelcontextprotocol/server-everything@2026.8.31"}
  again: {package: "npx:@modelcontextprotocol/server-everything@2026.8.31", args: [stdio]}
  memory: {package: "npx:@modelcontextprotocol/server-memory"}
  hello: {package: "go:github.com/modelcontextprotocol/go-sdk/examples/server/hello@v1.8.0"}
`

// shop is a folder with a configuration of packages.
type shop struct {
	t      *testing.T
	binary string
	dir    string
	env    []string
}

// run runs the program in the folder, and gives all that it printed.
func (s *shop) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, args...)
	var out bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.WaitDelay = s.dir, append(os.Environ(), s.env...), &out, &out, 5*time.Second
	err := cmd.Run()
	return out.String(), err
}

func (s *shop) must(want string, args ...string) {
	s.t.Helper()
	if out, err := s.run(args...); err != nil || !strings.Contains(out, want) {
		s.t.Fatalf("%s: %v, without %q:\n%s", strings.Join(args, " "), err, want, out)
	}
}

// TestPackages pulls packages from npm and from the Go module proxy, takes the network away and starts them; then one
// byte of a dependency changes.
func TestPackages(t *testing.T) {
	if _, err := exec.LookPath("npm"); err != nil {
		t.Fatal("npm was not found in PATH; install Node.js 20 or newer, which brings npm")
	}
	binary, err := gatewayBinary()
	if err != nil {
		t.Fatal(err)
	}
	s := &shop{t: t, binary: binary, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(s.dir, "tools.yaml"), []byte(packages), 0o600); err != nil {
		t.Fatal(err)
	}
	var together sync.WaitGroup
	for range 2 { // as two deployments at once
		together.Go(func() {
			if out, err := s.run("pull", "tools.yaml"); err != nil {
				t.Errorf("pull: %v\n%s", err, out)
			}
		})
	}
	together.Wait()
	s.must("approved 4 servers", "approve", "tools.yaml")
	lock, err := os.ReadFile(filepath.Join(s.dir, "toolcrib.lock"))
	if err != nil {
		t.Fatal(err)
	}
	s.must("2026.8.31  kept  for again, everything", "pull", "tools.yaml", "--frozen")

	s.env = []string{"npm_config_registry=http://127.0.0.1:9", "npm_config_cache=" + t.TempDir(), "GOPROXY=off", "GOMODCACHE=" + t.TempDir()}
	all := func() {
		t.Helper()
		s.must("hi", "call", "echo", "--arg", "message=hi", "--config", "tools.yaml", "--server", "everything")
		s.must("create_entities", "tools", "--config", "tools.yaml", "--server", "memory")
		s.must("greet", "tools", "--config", "tools.yaml", "--server", "hello")
	}
	all()
	if out, err := s.run("call", "echo", "--timeout", "10s", "--", "npx:@modelcontextprotocol/server-everything@2026.8.30"); err == nil {
		t.Errorf("something that was never pulled started without a network:\n%s", out)
	}

	path := s.dependency()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"everything", "again"} {
		out, err := s.run("tools", "--config", "tools.yaml", "--server", name)
		if err == nil || !strings.Contains(out, "has changed since it was pulled") || !strings.Contains(out, "toolcrib pull") {
			t.Errorf("%s with a changed dependency: %v\n%s", name, err, out)
		}
	}
	s.must("greet", "tools", "--config", "tools.yaml", "--server", "hello")

	s.env = nil
	s.must("mended: its files had changed", "pull", "tools.yaml", "--frozen")
	now, err := os.ReadFile(filepath.Join(s.dir, "toolcrib.lock"))
	pins, _, found := bytes.Cut(lock, []byte(`"approvals"`))
	if err != nil || !found || !bytes.HasPrefix(now, pins) {
		t.Errorf("the lock file changed: %v", err)
	}
	all()
}

// dependency is a file of a package that server-everything depends on.
func (s *shop) dependency() string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "state", "packages", "npx", "*server-everything*", "node_modules", "express", "lib", "*.js"))
	if err != nil || len(found) == 0 {
		s.t.Fatalf("no file of express: %v", err)
	}
	return found[0]
}
