package launch_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/runner/launch"
)

func TestPullPins(t *testing.T) {
	b := newBench(t)
	first := b.pulled(server)
	if first.Outcome != launch.Fetched || first.Entry.Version != "1.2.3" || first.Entry.Integrity != "sha512-1.2.3" || first.Was != "" {
		t.Errorf("first pull: %+v %+v", first, first.Entry)
	}
	if first.Entry.Bin != "node_modules/@scope/server/dist/index.js" {
		t.Errorf("program %s", first.Entry.Bin)
	}
	before := read(t, b.p.Lock)
	if strings.Contains(before, "license") || !strings.Contains(before, `"dep": "<2"`) {
		t.Errorf("lock file:\n%s", before)
	}
	b.p.Environ = append(b.p.Environ, "VERSION=1.3.0") // a newer one appears, which changes nothing
	if again := b.pulled(server); again.Outcome != launch.Kept || again.Entry.Version != "1.2.3" {
		t.Errorf("second pull: %+v", again)
	}
	if after := read(t, b.p.Lock); after != before {
		t.Errorf("the lock file changed:\n%s", cmp.Diff(before, after))
	}
	b.p.Update = true
	if newer := b.pulled(server); newer.Outcome != launch.Fetched || newer.Entry.Version != "1.3.0" || newer.Was != "1.2.3" {
		t.Errorf("with --update: %+v %+v", newer, newer.Entry)
	}
	if got := b.count("ci"); got != 2 {
		t.Errorf("npm ci ran %d times", got)
	}
	if b.count("install --package-lock-only --ignore-scripts") != 2 || b.count("ci --ignore-scripts") != 2 {
		t.Errorf("install scripts are not kept from running: %s", read(t, b.runs))
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestPullLetsThrough: servers that run as other users reach their packages, also where serve made the state directory.
func TestPullLetsThrough(t *testing.T) {
	b := newBench(t)
	if err := os.Mkdir(b.p.StateDir, 0o700); err != nil {
		t.Fatal(err)
	}
	b.pulled(server)
	for dir := b.find("dist"); dir != filepath.Dir(b.p.StateDir); dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o011 != 0o011 {
			t.Errorf("%s: %v, %v", dir, info.Mode(), err)
		}
	}
	if info, err := os.Stat(b.p.StateDir); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("the state directory is open: %v, %v", info.Mode(), err)
	}
}

// TestPullElsewhere has another machine fetch what the lock file of the first pins.
func TestPullElsewhere(t *testing.T) {
	here, there := newBench(t), newBench(t)
	was := here.pulled(server).Entry
	write(t, there.p.Lock, read(t, here.p.Lock), 0o644)
	there.p.Frozen = true
	is := there.pulled(server)
	if is.Outcome != launch.Fetched || there.count("install") != 0 {
		t.Errorf("%+v, runs %s", is, read(t, there.runs))
	}
	if diff := cmp.Diff(was.Trees, is.Entry.Trees); diff != "" {
		t.Errorf("other files: %s", diff)
	}
	if read(t, there.p.Lock) != read(t, here.p.Lock) {
		t.Error("the lock file changed")
	}
	there.p.Environ = append(there.p.Environ, "VERSION=1.2.3-rc.1")
	if _, err := there.pull("npx:@scope/server@1.2.3-rc.1"); err == nil || !strings.Contains(err.Error(), "not pinned in") {
		t.Errorf("frozen pull of something new: %v", err)
	}
}

func TestPullMends(t *testing.T) {
	b := newBench(t)
	b.pulled(server)
	before := read(t, b.p.Lock)
	write(t, b.find("dep/index.js"), "module.exports = 2\n", 0o644)
	if mended := b.pulled(server); mended.Outcome != launch.Mended {
		t.Errorf("%+v", mended)
	}
	if text := read(t, b.find("dep/index.js")); text != "module.exports = 1\n" || read(t, b.p.Lock) != before {
		t.Errorf("file %q, lock file:\n%s", text, read(t, b.p.Lock))
	}
}

// TestPullCarriesData: what a server wrote beside its own files outlasts a mend, an update, and a pull that was cut short.
func TestPullCarriesData(t *testing.T) {
	b := newBench(t)
	b.pulled(server)
	dist := b.find("dist")
	folder, _, _ := strings.Cut(dist, "/node_modules/")
	outside := filepath.Join(b.dir, "outside.db")
	write(t, outside, "theirs", 0o600)
	write(t, filepath.Join(dist, "memory.jsonl"), "{}", 0o640)
	write(t, filepath.Join(dist, "own", "deep", "x.db"), "x", 0o600)
	write(t, filepath.Join(dist, "run.log"), "no data: executable", 0o755)
	write(t, filepath.Join(dist, "added.js"), "no data", 0o644)
	if err := os.Symlink(outside, filepath.Join(dist, "link.db")); err != nil {
		t.Fatal(err)
	}
	want := []string{"node_modules/@scope/server/dist/memory.jsonl", "node_modules/@scope/server/dist/own/deep/x.db"}
	mended := b.pulled(server)
	if diff := cmp.Diff(want, mended.Data); diff != "" || mended.Outcome != launch.Mended {
		t.Errorf("%+v: %s", mended, diff)
	}
	if info, err := os.Stat(b.find("memory.jsonl")); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	for _, gone := range []string{"run.log", "added.js", "link.db"} {
		if _, err := os.Lstat(filepath.Join(dist, gone)); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	if kept := b.pulled(server); kept.Outcome != launch.Kept || len(kept.Data) > 0 {
		t.Errorf("then %+v", kept)
	}
	if err := os.Rename(folder, filepath.Join(filepath.Dir(folder), ".old-"+filepath.Base(folder))); err != nil {
		t.Fatal(err)
	}
	if again := b.pulled(server); again.Outcome != launch.Fetched || read(t, filepath.Join(dist, "memory.jsonl")) != "{}" {
		t.Errorf("after a pull that was cut short: %+v", again)
	}
	b.p.Update, b.p.Environ = true, append(b.p.Environ, "VERSION=1.3.0")
	if newer := b.pulled(server); newer.Outcome != launch.Fetched || !slices.Equal(newer.Data, want) {
		t.Errorf("with --update: %+v", newer)
	}
	if read(t, filepath.Join(dist, "memory.jsonl")) != "{}" {
		t.Error("the old version lost it")
	}
}

// TestPullTogether has many processes' worth of pulls at once: the package is fetched once and nothing is lost.
func TestPullTogether(t *testing.T) {
	b := newBench(t)
	references := []string{server, "npx:@scope/server@1.2.3", "npx:@scope/server", "uvx:Mcp_Server.git", "uvx:Mcp_Server.git==1.2.3"}
	var wg sync.WaitGroup
	for range 4 {
		for _, r := range references {
			wg.Go(func() {
				if _, err := b.pull(r); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	lock, err := launch.ReadLock(b.p.Lock)
	if err != nil || len(lock.Packages) != len(references) {
		t.Errorf("%d packages in the lock file, %v", len(lock.Packages), err)
	}
	if n := b.count("ci"); n != 1 {
		t.Errorf("npm ci ran %d times", n)
	}
}

func TestPullRefuses(t *testing.T) {
	for _, test := range []struct{ name, reference, env, want string }{
		{"no hash of a dependency", server, "DEP=", "node_modules/dep has no integrity"},
		{"no hash of a requirement", "uvx:Mcp_Server.git", "HASH=", "needs idna, for which the index gives no hash"},
		{"another version", "npx:@scope/server@1.2.4", "A=b", "is of version 1.2.3"},
		{"no tool", "npx:@scope/server@1.2.3", "PATH=/nowhere", "npm is needed and not to be found: install Node.js"},
		{"a tool that fails", "npx:@scope/server@1.2.3", "RUNS=/nowhere/x", "npm install: exit status"},
	} {
		b := newBench(t, test.env)
		if _, err := b.pull(test.reference); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
		if _, err := os.Stat(b.p.Lock); err == nil {
			t.Errorf("%s: a lock file was written", test.name)
		}
		left, err := filepath.Glob(filepath.Join(b.p.StateDir, "packages", "*", "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: left behind: %v %v", test.name, left, err)
		}
	}
}

func TestPullPython(t *testing.T) {
	b := newBench(t)
	done := b.pulled("uvx:Mcp_Server.git")
	if done.Entry.Version != "1.2.3" || done.Entry.Bin != "venv/bin/mcp-server-git" || len(done.Entry.Requirements) != 4 {
		t.Errorf("%+v", done.Entry)
	}
	if b.count("pip install --python venv/bin/python --require-hashes --link-mode copy --compile-bytecode") != 1 {
		t.Errorf("runs: %s", read(t, b.runs))
	}
}

// TestPullGo builds a program with the Go command, from a module proxy in a folder.
func TestPullGo(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the Go command")
	}
	files := map[string]string{
		"go.mod": "module example.com/tools\n\ngo 1.24\n", "cmd/server/main.go": "package main\n\nfunc main() { println(1) }\n", "lib.go": "package tools\n",
	}
	b := newBench(t)
	cache := filepath.Join(b.dir, "gocache")
	if dir, err := os.UserCacheDir(); err == nil {
		cache = filepath.Join(dir, "go-build")
	}
	b.p.Environ = append(b.p.Environ, "GOPROXY="+proxy(t, "v1.2.3", files), "GONOSUMDB=*", "GOSUMDB=off", "GOCACHE="+cache, "GOMODCACHE="+filepath.Join(b.dir, "mod"),
		"GOFLAGS=-modcacherw", "GOOS=plan9")
	t.Cleanup(func() { clean(filepath.Join(b.dir, "mod")) })
	done := b.pulled("go:example.com/tools/cmd/server")
	if done.Entry.Version != "v1.2.3" || !strings.HasPrefix(done.Entry.Integrity, "h1:") || done.Entry.Bin != "bin/server" {
		t.Errorf("%+v", done.Entry)
	}
	// Another lock file of the same state directory pins what another Go built.
	mine, c := b.p, b.config()
	b.p.Lock, b.p.Environ = filepath.Join(b.dir, "other.lock"), append(slices.Clone(b.p.Environ), "CGO_ENABLED=0", "GOAMD64=v2", "GOARM64=v8.1")
	if other := b.pulled("go:example.com/tools/cmd/server"); maps.Equal(other.Entry.Trees, done.Entry.Trees) {
		t.Errorf("built alike: %v", done.Entry.Trees)
	}
	b.p = mine
	if p := program(t, launch.New(c, nil), &v1.Server{Package: "go:example.com/tools/cmd/server"}); !strings.HasSuffix(p.Path, "/bin/server") {
		t.Errorf("%+v", p)
	}
	// The same version with other content, as a proxy that was broken into has it.
	files["cmd/server/main.go"] = "package main\n\nfunc main() { println(2) }\n"
	b.p.Environ = append(b.p.Environ, "GOPROXY="+proxy(t, "v1.2.3", files), "GOMODCACHE="+filepath.Join(b.dir, "mod", "other"))
	b.p.StateDir = filepath.Join(b.dir, "other")
	if _, err := b.pull("go:example.com/tools/cmd/server"); err == nil || !strings.Contains(err.Error(), "is another at the proxy") {
		t.Errorf("another module under the same version: %v", err)
	}
	if _, err := b.pull("go:example.com/tools"); err == nil {
		t.Error("a module without a program was pulled")
	}
}

// clean makes the module cache one that can be removed.
func clean(dir string) {
	_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			_ = os.Chmod(path, 0o755)
		}
		return nil
	})
}
