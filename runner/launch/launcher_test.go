package launch_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/runner/launch"
)

func program(t *testing.T, l *launch.Launcher, s *v1.Server) launch.Program {
	t.Helper()
	p, err := l.Program("files", s, s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func refused(t *testing.T, l *launch.Launcher, s *v1.Server, want ...string) {
	t.Helper()
	p, err := l.Program("files", s, s)
	if err == nil {
		t.Errorf("not refused: %+v", p)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q is not in: %v", w, err)
		}
	}
}

func TestProgramOfCommand(t *testing.T) {
	s := &v1.Server{Command: "server", Args: []string{"a", "b"}}
	for _, l := range []*launch.Launcher{nil, launch.New(newBench(t).config(), nil)} {
		if diff := cmp.Diff(launch.Program{Path: "server", Args: []string{"a", "b"}}, program(t, l, s)); diff != "" {
			t.Error(diff)
		}
	}
}

// TestProgramUnpinned leaves packages that were not pulled to their launchers, and says so once.
func TestProgramUnpinned(t *testing.T) {
	var log bytes.Buffer
	l := launch.New(newBench(t).config(), slog.New(slog.NewTextHandler(&log, nil)))
	for reference, want := range map[string][]string{
		"npx:@scope/server@1.2.3":     {"npx", "-y", "@scope/server@1.2.3", "x"},
		"npx:server":                  {"npx", "-y", "server", "x"},
		"uvx:mcp[cli]==1.2":           {"uvx", "--from", "mcp[cli]==1.2", "mcp", "x"},
		"go:example.com/cmd/a@v1.0.0": {"go", "run", "example.com/cmd/a@v1.0.0", "x"},
		"go:example.com/cmd/b":        {"go", "run", "example.com/cmd/b@latest", "x"},
	} {
		s := &v1.Server{Package: reference, Args: []string{"x"}}
		for range 3 {
			p := program(t, l, s)
			if diff := cmp.Diff(want, append([]string{p.Path}, p.Args...)); diff != "" {
				t.Errorf("%s: %s", reference, diff)
			}
		}
		if n := strings.Count(log.String(), reference); n != 1 {
			t.Errorf("%s: %d warnings", reference, n)
		}
	}
	if !strings.Contains(log.String(), "toolcrib pull") {
		t.Error(log.String())
	}
}

func TestProgramPinned(t *testing.T) {
	b := newBench(t)
	b.pulled(server)
	b.pulled("uvx:Mcp_Server.git")
	l := launch.New(b.config(), nil)
	p := program(t, l, &v1.Server{Package: server, Args: []string{"x"}})
	script := b.find("dist/index.js")
	if want := (launch.Program{Path: "node", Args: []string{script, "x"}, Dir: p.Dir}); !cmp.Equal(want, p) || !strings.HasPrefix(script, p.Dir+"/") {
		t.Error(cmp.Diff(want, p))
	}
	p = program(t, l, &v1.Server{Package: "uvx:Mcp_Server.git"})
	if p.Path != b.find("bin/mcp-server-git") || len(p.Args) > 0 {
		t.Errorf("%+v", p)
	}
	if diff := cmp.Diff(map[string]string{"PYTHONDONTWRITEBYTECODE": "1", "A": "b"}, p.Environ(map[string]string{"A": "b"})); diff != "" {
		t.Error(diff)
	}
}

// TestTampering changes what was installed in every way, each of which is found at the next start of a gateway that
// looked before, and of one that did not.
func TestTampering(t *testing.T) {
	for name, tamper := range map[string]struct {
		do   func(t *testing.T, b *bench)
		want string
	}{
		"a byte": {func(t *testing.T, b *bench) {
			path := b.find("dep/index.js")
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			text := []byte(read(t, path))
			text[0] ^= 1
			write(t, path, string(text), 0o644)
			if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil { // as those who tamper do
				t.Fatal(err)
			}
		}, "node_modules/dep/index.js is not as it was"},
		"another file": {func(t *testing.T, b *bench) {
			write(t, filepath.Join(filepath.Dir(b.find("@scope/server")), "evil", "index.js"), "1", 0o644)
		}, "node_modules/@scope/evil/index.js was added"},
		"a data file that runs": {func(t *testing.T, b *bench) {
			write(t, filepath.Join(b.find("@scope/server"), "x.log"), "1", 0o755)
		}, "node_modules/@scope/server/x.log was added"},
		"a file less": {func(t *testing.T, b *bench) {
			if err := os.Remove(b.find("dep/index.js")); err != nil {
				t.Fatal(err)
			}
		}, "node_modules/dep/index.js is missing"},
		"a link elsewhere": {func(t *testing.T, b *bench) {
			path := b.find(".bin/server")
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/bin/sh", path); err != nil {
				t.Fatal(err)
			}
		}, "node_modules/.bin/server is not as it was"},
		"a link for a file": {func(t *testing.T, b *bench) {
			path := b.find("dep/index.js")
			if err := os.Rename(path, path+".log"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("index.js.log", path); err != nil {
				t.Fatal(err)
			}
		}, "node_modules/dep/index.js is not as it was"},
		"rights": {func(t *testing.T, b *bench) {
			if err := os.Chmod(b.find("dep/index.js"), 0o755); err != nil {
				t.Fatal(err)
			}
		}, "node_modules/dep/index.js is not as it was"},
		"the list too": {func(t *testing.T, b *bench) {
			path := b.find("toolcrib.files")
			write(t, path, strings.Replace(read(t, path), "dep/index.js", "dep/other.js", 1), 0o644)
		}, "is not what the lock file pins"},
		"no list": {func(t *testing.T, b *bench) {
			if err := os.Remove(b.find("toolcrib.files")); err != nil {
				t.Fatal(err)
			}
		}, "was not fetched"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.pulled(server)
			s := &v1.Server{Package: server}
			l := launch.New(b.config(), nil)
			now := time.Now()
			l.SetClock(func() time.Time { return now })
			program(t, l, s)
			tamper.do(t, b)
			now = now.Add(2 * time.Second) // a tree is looked at once a second
			refused(t, l, s, tamper.want, "toolcrib pull", server)
			refused(t, launch.New(b.config(), nil), s, tamper.want)
			b.pulled(server)
			now = now.Add(2 * time.Second)
			program(t, l, s)
		})
	}
}

// TestDataOfServers: what a server writes beside its own files is no change of the package.
func TestDataOfServers(t *testing.T) {
	b := newBench(t)
	b.pulled(server)
	write(t, filepath.Join(b.find("@scope/server"), "dist", "memory.jsonl"), "{}\n", 0o644)
	program(t, launch.New(b.config(), nil), &v1.Server{Package: server})
}

func TestLockThatDoesNotFit(t *testing.T) {
	for name, test := range map[string]struct{ reference, old, new, want string }{
		"version":   {"npx:@scope/server@1.2.3", `"version": "1.2.3",` + "\n      \"integrity", `"version": "1.2.4",` + "\n      \"integrity", "is of version 1.2.4"},
		"inexact":   {server, `"version": "1.2.3",` + "\n      \"integrity", `"version": "latest",` + "\n      \"integrity", "no exact version"},
		"program":   {server, `"bin": "node_modules`, `"bin": "../../node_modules`, "not within the package"},
		"digest":    {server, `"digest": "sha256:`, `"digest": "sha256:../../`, "has no digest"},
		"platform":  {server, `-`, `.`, ""},
		"not JSON":  {server, `{`, `[`, "is not valid"},
		"new":       {server, `"version": 1,`, `"version": 2,`, "has version 2"},
		"unknown":   {server, `"packages": {`, `"trust": true, "packages": {`, "unknown field"},
		"null":      {server, `"packages": {`, `"approvals": {"x": null}, "packages": {`, `approval of "x" is null`},
		"no folder": {server, `"digest": "sha256:`, `"digest": "sha256:000000000000`, "has no digest"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.pulled(test.reference)
			text := read(t, b.p.Lock)
			if name == "platform" {
				test.old, test.new, test.want = `"trees": {`, `"trees": {}, "requirements": [], "x": {`, "unknown field"
			}
			changed := strings.Replace(text, test.old, test.new, 1)
			if changed == text {
				t.Fatalf("%q is not in the lock file:\n%s", test.old, text)
			}
			write(t, b.p.Lock, changed, 0o644)
			refused(t, launch.New(b.config(), nil), &v1.Server{Package: test.reference}, test.want)
			// Servers without a package go on.
			program(t, launch.New(b.config(), nil), &v1.Server{Command: "x"})
		})
	}
}

// TestLockChanges: a running gateway goes by the lock file as it is.
func TestLockChanges(t *testing.T) {
	b := newBench(t)
	l := launch.New(b.config(), nil)
	s := &v1.Server{Package: server}
	if p := program(t, l, s); p.Path != "npx" {
		t.Errorf("%+v", p)
	}
	b.pulled(server)
	if p := program(t, l, s); p.Path != "node" {
		t.Errorf("%+v", p)
	}
}

func TestNeeds(t *testing.T) {
	b := newBench(t)
	l := launch.New(b.config(), nil)
	s := &v1.Server{Package: server}
	if command, problem := l.Needs(s); command != "npx" || !strings.Contains(problem, "no exact version") {
		t.Errorf("%q, %q", command, problem)
	}
	b.pulled(server)
	if command, problem := l.Needs(s); command != "node" || problem != "" {
		t.Errorf("%q, %q", command, problem)
	}
	if err := os.RemoveAll(b.p.StateDir); err != nil {
		t.Fatal(err)
	}
	if command, problem := l.Needs(s); command != "" || !strings.Contains(problem, "was not fetched") {
		t.Errorf("%q, %q", command, problem)
	}
	if command, problem := l.Needs(&v1.Server{Command: "x"}); command != "x" || problem != "" {
		t.Errorf("%q, %q", command, problem)
	}
}
