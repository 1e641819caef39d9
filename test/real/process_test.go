package real_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

const (
	startTimeout = 30 * time.Second // until a started part answers
	stopTimeout  = 15 * time.Second // until a part that was asked to stop is gone
	runTimeout   = 90 * time.Second // for one run of a client or of the suite
)

// tail keeps the last of what a process printed, for the report of a failure.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 16 << 10

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	if over := len(l.b) - tailSize; over > 0 {
		l.b = append(l.b[:0], l.b[over:]...)
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

// start runs a part until the test ends, then stops it by its process id.
// What it printed is shown when the test failed.
func start(t *testing.T, name string, args ...string) *os.Process {
	t.Helper()
	cmd := exec.Command(name, args...)
	log := &tail{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails when it is gone already
		select {
		case <-done:
		case <-time.After(stopTimeout):
			_ = cmd.Process.Kill()
			<-done
			t.Errorf("%s was still running %v after SIGTERM", filepath.Base(name), stopTimeout)
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", filepath.Base(name), log)
		}
	})
	return cmd.Process
}

// freeAddr is a loopback address that nothing listens on and that no other test was given.
func freeAddr(t *testing.T) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(testenv.FreePort(t)))
}

// waitFor waits until url answers an HTTP request with a status below limit.
func waitFor(t *testing.T, url string, limit int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode < limit {
				return
			}
			err = fmt.Errorf("HTTP %d", res.StatusCode)
		}
		last = err
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s did not come up within %v: %v", url, startTimeout, last)
		}
	}
}

// everythingServer starts the Go SDK's conformance server and gives its URL.
func everythingServer(t *testing.T, p *parts, stateless bool) string {
	t.Helper()
	addr := freeAddr(t)
	start(t, filepath.Join(p.goBin, "everything-server"), "-http="+addr, fmt.Sprintf("-stateless=%t", stateless))
	waitFor(t, "http://"+addr, 600)
	return "http://" + addr
}

var gatewayBinary = sync.OnceValues(func() (string, error) {
	if given := os.Getenv("TOOLCRIB_BIN"); given != "" {
		return filepath.Abs(given)
	}
	binary := filepath.Join(scratch, "toolcrib")
	_, err := output("", "go", "build", "-o", binary, "github.com/toolcrib/toolcrib/cmd/toolcrib")
	return binary, err
})

// server is an entry of a client's mcp.json, the form the gateway reads too.
type server struct {
	Command string            `json:"command,omitempty"`
	Args    []string          `json:"args,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Cwd     string            `json:"cwd,omitempty"`
	Prefix  *string           `json:"prefix,omitempty"`
	URL     string            `json:"url,omitempty"`

	Isolation string `json:"isolation,omitempty"`
	// Key is what a client of it sends as a bearer token.
	Key string `json:"-"`
}

// gateway starts the gateway in front of servers and gives its base URL.
func gateway(t *testing.T, servers map[string]server) string {
	t.Helper()
	base, _ := startGateway(t, servers)
	return base
}

func startGateway(t *testing.T, servers map[string]server) (base string, process *os.Process) {
	t.Helper()
	return startWith(t, map[string]any{"mcpServers": servers})
}

// startWith starts the gateway with these keys of its configuration.
func startWith(t *testing.T, config map[string]any) (base string, process *os.Process) {
	t.Helper()
	binary, err := gatewayBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	all := map[string]any{"stateDir": filepath.Join(dir, "state"), "log": map[string]string{"level": "debug"}}
	maps.Copy(all, config)
	file, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "mcp.json")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeAddr(t)
	process = start(t, binary, "serve", path, "--listen", addr)
	waitFor(t, "http://"+addr+"/health", 300)
	waitFor(t, "http://"+addr+"/health/ready", 300)
	return "http://" + addr, process
}

// runNode runs a script to its end and gives its exit error and what it printed.
func runNode(t *testing.T, p *parts, args ...string) (stdout, stderr []byte, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.node, args...)
	cmd.Dir = p.modules
	cmd.WaitDelay = 5 * time.Second
	// The Inspector starts further node processes by name.
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(p.node)+string(os.PathListSeparator)+os.Getenv("PATH"), "NO_COLOR=1")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if err != nil {
		err = fmt.Errorf("node %s: %w\n%s", clip(strings.Join(args, " ")), err, errs.Bytes())
	}
	return out.Bytes(), errs.Bytes(), err
}
