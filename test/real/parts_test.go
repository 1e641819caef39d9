package real_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// installTimeout bounds one installation; npm fetches some 200 MB, and Dex takes
// some four minutes of a processor to compile.
const installTimeout = 15 * time.Minute

// minNode is the oldest Node.js that the conformance suite and the Inspector run on.
const minNode = 22

// parts says where the installed parts are.
type parts struct {
	node    string // a Node.js of at least minNode
	modules string // folder that holds node_modules and the client scripts
	goBin   string // folder of what is built from the module in fixtures
}

// server is the script of an official npm server.
func (p *parts) server(name string) string {
	return filepath.Join(p.modules, "node_modules", "@modelcontextprotocol", "server-"+name, "dist", "index.js")
}

var installed = sync.OnceValues(install)

// needParts installs the parts on first use. A part that cannot be had fails
// the test: a run without it would prove nothing.
func needParts(t *testing.T) *parts {
	t.Helper()
	p, err := installed()
	if err != nil {
		t.Fatalf("the parts that this test needs are not there: %v", err)
	}
	return p
}

func install() (*parts, error) {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return nil, errors.New("npm was not found in PATH; install Node.js 20 or newer, which brings npm (Debian: apt-get install nodejs npm; others: https://nodejs.org)")
	}
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	unlock, err := lock(filepath.Join(cache, "lock"))
	if err != nil {
		return nil, err
	}
	defer unlock()
	p := &parts{}
	if p.modules, err = installModules(npm, cache, "npm"); err != nil {
		return nil, err
	}
	if err := copyScripts(p.modules); err != nil {
		return nil, err
	}
	if p.node, err = findNode(npm, cache); err != nil {
		return nil, err
	}
	p.goBin, err = buildServers(cache)
	return p, err
}

func cacheDir() (string, error) {
	dir := os.Getenv("TOOLCRIB_TEST_CACHE")
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("no cache folder: %w; set TOOLCRIB_TEST_CACHE to a folder that may be filled", err)
		}
		dir = filepath.Join(user, "toolcrib-test")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// lock keeps parallel runs from installing into one folder at a time.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing releases the lock
}

// once fills a folder named after its pins with fill, unless an earlier run did.
func once(cache, kind string, pins []string, fill func(dir string) error) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s/%s\n", kind, runtime.GOOS, runtime.GOARCH)
	for _, pin := range pins {
		data, err := os.ReadFile(pin)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", filepath.Base(pin), len(data))
		h.Write(data)
	}
	dir := filepath.Join(cache, kind+"-"+hex.EncodeToString(h.Sum(nil))[:16])
	done := filepath.Join(dir, ".complete")
	if _, err := os.Stat(done); err == nil {
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil { // left by an installation that broke off
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := fill(dir); err != nil {
		return "", err
	}
	return dir, os.WriteFile(done, nil, 0o644)
}

// installModules installs what from/package.json pins, without running any
// package's scripts.
func installModules(npm, cache, from string) (string, error) {
	pins := []string{filepath.Join(from, "package.json"), filepath.Join(from, "package-lock.json")}
	return once(cache, filepath.Base(from), pins, func(dir string) error {
		for _, pin := range pins {
			if err := copyFile(pin, filepath.Join(dir, filepath.Base(pin))); err != nil {
				return err
			}
		}
		_, err := output(dir, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
		return err
	})
}

// copyScripts puts the client scripts beside node_modules, where their imports
// resolve. Each is replaced as a whole, since another run may be reading it.
func copyScripts(dir string) error {
	scripts, err := filepath.Glob("npm/*.mjs")
	if err != nil {
		return err
	}
	for _, script := range scripts {
		if err := copyFile(script, filepath.Join(dir, filepath.Base(script))); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(to); err == nil && bytes.Equal(old, data) {
		return nil
	}
	next := to + ".next"
	if err := os.WriteFile(next, data, 0o644); err != nil {
		return err
	}
	return os.Rename(next, to)
}

// findNode takes the machine's Node.js if it is new enough, else one from npm.
func findNode(npm, cache string) (string, error) {
	if node, err := exec.LookPath("node"); err == nil {
		if version, err := output("", node, "--version"); err == nil && major(version) >= minNode {
			return node, nil
		}
	}
	dir, err := installModules(npm, cache, filepath.Join("npm", "node"))
	if err != nil {
		return "", err
	}
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	node := filepath.Join(dir, "node_modules", "node-"+runtime.GOOS+"-"+arch, "bin", "node")
	if _, err := os.Stat(node); err != nil {
		return "", fmt.Errorf("npm has no Node.js for %s/%s among its packages; install Node.js %d or newer", runtime.GOOS, runtime.GOARCH, minNode)
	}
	return node, nil
}

func major(version string) int {
	first, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(version), "v"), ".")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	return n
}

// buildServers builds the module in fixtures: the Go SDK's servers, and own programs made with others' parts.
func buildServers(cache string) (string, error) {
	pins := []string{"fixtures/go.mod", "fixtures/go.sum", "fixtures/interactive/main.go", "fixtures/mark3labs/main.go", "fixtures/old/main.go"}
	return once(cache, "go", pins, func(dir string) error {
		_, err := output("fixtures", "go", "build", "-mod=readonly", "-o", dir+string(filepath.Separator), "tool", "./...")
		return err
	})
}

// buildApart builds a program of a module of its own in fixtures on first use, so that only the tests that need it wait for it. pins
// are the module's own files besides go.mod and go.sum. It is built as the gateway is: what they have in common is compiled once.
// So cgo is "1", but "0" for what would compile much C.
func buildApart(name, cgo, what string, pins ...string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		cache, err := cacheDir()
		if err != nil {
			return "", err
		}
		unlock, err := lock(filepath.Join(cache, "lock-"+name))
		if err != nil {
			return "", err
		}
		defer unlock()
		folder := filepath.Join("fixtures", name)
		files := []string{filepath.Join(folder, "go.mod"), filepath.Join(folder, "go.sum")}
		for _, pin := range pins {
			files = append(files, filepath.Join(folder, pin))
		}
		dir, err := once(cache, name, files, func(dir string) error {
			_, err := output(folder, "env", "CGO_ENABLED="+cgo, "go", "build", "-mod=readonly", "-o", dir+string(filepath.Separator), what)
			return err
		})
		return filepath.Join(dir, name), err
	})
}

// output runs a command to its end. Its error quotes what the command printed.
func output(dir, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), installTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, errs.Bytes(), out.Bytes())
	}
	return out.String(), nil
}
