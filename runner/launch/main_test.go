package launch_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/runner/launch"
)

// fakeNPM does what npm does for one package, @scope/server with one dependency, without a registry: VERSION is the
// newest there is. Each run is noted in RUNS.
const fakeNPM = `#!/bin/sh
set -e
echo "$@" >> "$RUNS"
case "$1" in
install)
	cat > package-lock.json <<END
{"name": "toolcrib-package", "version": "0.0.0", "lockfileVersion": 3, "requires": true, "packages": {
  "": {"name": "toolcrib-package", "version": "0.0.0", "dependencies": {"@scope/server": "latest"}},
  "node_modules/@scope/server": {"version": "$VERSION", "integrity": "sha512-$VERSION", "license": "MIT", "engines": {"node": ">=18"}, "dependencies": {"dep": "<2"}},
  "node_modules/dep": {"version": "1.0.0"$DEP}}}
END
	;;
ci)
	grep -q '"@scope/server":"'"$VERSION" package.json
	mkdir -p node_modules/@scope/server/dist node_modules/.bin node_modules/dep
	echo '{"name": "@scope/server", "bin": {"other": "other.js", "server": "./dist/index.js"}}' > node_modules/@scope/server/package.json
	printf '#!/usr/bin/env node\nconsole.log(1)\n' > node_modules/@scope/server/dist/index.js
	chmod +x node_modules/@scope/server/dist/index.js
	ln -s ../@scope/server/dist/index.js node_modules/.bin/server
	echo 'module.exports = 1' > node_modules/dep/index.js
	echo "$$" > node_modules/.package-lock.json
	;;
esac
`

// fakeUV does what uv does for one package, mcp-server-git.
const fakeUV = `#!/bin/sh
set -e
echo "$@" >> "$RUNS"
case "$1 $2" in
"pip compile")
	grep -q '^Mcp_Server.git' "$3"
	printf 'mcp-server-git==%s \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n' "$VERSION"
	printf 'idna==3.1 ; python_version < "4"%s\n' "$HASH"
	;;
"venv --no-project")
	mkdir -p venv/bin venv/lib/python3.11/site-packages
	ln -s /bin/sh venv/bin/python
	;;
"pip install")
	grep -q -- --hash=sha256:aa requirements.txt
	mkdir venv/lib/python3.11/site-packages/mcp_server_git-$VERSION.dist-info
	printf '[other]\nx = y:z\n\n[console_scripts]\nmcp-server-git = mcp:main\nhelper = mcp:help\n' > venv/lib/python3.11/site-packages/mcp_server_git-$VERSION.dist-info/entry_points.txt
	printf '#!/bin/sh\n' > venv/bin/mcp-server-git
	chmod +x venv/bin/mcp-server-git
	;;
esac
`

// bench is a state directory with a lock file and false tools.
type bench struct {
	t    *testing.T
	dir  string
	runs string
	p    launch.Puller
}

func newBench(t *testing.T, env ...string) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, dir: dir, runs: filepath.Join(dir, "runs")}
	write(t, filepath.Join(dir, "bin", "npm"), fakeNPM, 0o755)
	write(t, filepath.Join(dir, "bin", "uv"), fakeUV, 0o755)
	b.p = launch.Puller{
		StateDir: filepath.Join(dir, "state"), Lock: filepath.Join(dir, "toolcrib.lock"),
		Environ: append([]string{
			"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "HOME=" + dir, "RUNS=" + b.runs, "VERSION=1.2.3", `DEP=, "integrity": "sha512-dep"`,
			"HASH= --hash=sha256:cc",
		}, env...),
	}
	return b
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

const server = "npx:@scope/server@latest"

func (b *bench) pull(reference string) (*launch.Pulled, error) {
	b.t.Helper()
	p, err := v1.ParsePackage(reference)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	return b.p.Pull(ctx, p, nil)
}

func (b *bench) pulled(reference string) *launch.Pulled {
	b.t.Helper()
	done, err := b.pull(reference)
	if err != nil {
		b.t.Fatal(err)
	}
	return done
}

// count is how often a tool was run with arguments that begin so.
func (b *bench) count(args string) int {
	data, err := os.ReadFile(b.runs)
	if err != nil {
		return 0
	}
	n := 0
	for line := range strings.Lines(string(data)) {
		if strings.HasPrefix(line, args) {
			n++
		}
	}
	return n
}

func (b *bench) config() *v1.Config {
	c := v1.New()
	c.StateDir, c.Launch.Lock = b.p.StateDir, b.p.Lock
	return c
}

// find returns the one file below the state directory whose path ends so.
func (b *bench) find(ending string) string {
	b.t.Helper()
	found := ""
	err := filepath.WalkDir(b.p.StateDir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ending) {
			found = path
		}
		return err
	})
	if err != nil || found == "" {
		b.t.Fatalf("no %s: %v", ending, err)
	}
	return found
}

// proxy is a Go module proxy in a folder, with one module.
func proxy(t *testing.T, version string, files map[string]string) string {
	t.Helper()
	const module = "example.com/tools"
	dir := t.TempDir()
	at := filepath.Join(dir, module, "@v")
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for name, text := range files {
		w, err := z.Create(module + "@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, text)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(at, "list"), version+"\n", 0o644)
	write(t, filepath.Join(at, version+".info"), `{"Version":"`+version+`","Time":"2026-01-01T00:00:00Z"}`, 0o644)
	write(t, filepath.Join(at, version+".mod"), files["go.mod"], 0o644)
	write(t, filepath.Join(at, version+".zip"), archive.String(), 0o644)
	return "file://" + dir
}
