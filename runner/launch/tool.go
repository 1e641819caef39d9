package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// tool is a program of a package registry: npm, go or uv.
type tool struct {
	env []string
	dir string
}

const (
	outputMost = 4 << 10 // bytes of a tool's complaints that are shown
	toolGrace  = 5 * time.Second
)

// run runs a program and returns what it printed. Its error holds the end of what it complained.
func (t tool) run(ctx context.Context, name string, args ...string) ([]byte, error) {
	path, err := lookPath(name, t.env)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	var stdout, stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = t.dir, t.env, &stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = toolGrace
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s was stopped: %w", name, context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w%s", name, args[0], err, complaint(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

func complaint(stderr []byte) string {
	text := strings.TrimSpace(string(stderr))
	switch {
	case text == "":
		return ""
	case len(text) > outputMost:
		text = "…" + strings.ToValidUTF8(text[len(text)-outputMost:], "")
	}
	return "\n" + text
}

var remedies = map[string]string{
	"npm": "install Node.js, which brings npm", "node": "install Node.js", "npx": "install Node.js, which brings npx",
	"uv": "install uv (https://docs.astral.sh/uv)", "uvx": "install uv, which brings uvx", "go": "install Go (https://go.dev/dl)",
}

// lookPath finds a program in the PATH of an environment.
func lookPath(name string, env []string) (string, error) {
	for dir := range strings.SplitSeq(variable(env, "PATH"), string(os.PathListSeparator)) {
		if dir == "" || dir[0] != '/' {
			continue
		}
		if info, err := os.Stat(dir + "/" + name); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return dir + "/" + name, nil
		}
	}
	return "", fmt.Errorf("%s is needed and not to be found: %s", name, remedies[name])
}

func variable(env []string, name string) string {
	value := ""
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = v
		}
	}
	return value
}

// without takes variables out of an environment.
func without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.Contains(names, name)
	})
}

// registryVariables are how a server's own environment names its registry.
var registryVariables = []string{
	"npm_config_", "NPM_CONFIG_", "UV_", "PIP_", "GOPROXY", "GONOSUMDB", "GOPRIVATE", "GOINSECURE", "GOSUMDB", "GOAUTH", "NETRC", "PATH",
}

// environment is that of the person who pulls, with what a server says of its registry.
func environment(base []string, server map[string]string) []string {
	env := slices.Clone(base)
	for name, value := range server {
		if slices.ContainsFunc(registryVariables, func(p string) bool { return strings.HasPrefix(name, p) }) {
			env = append(env, name+"="+value)
		}
	}
	slices.Sort(env[len(base):])
	return env
}

// public: packages are read by servers that run as other users.
const public = 0o755

// put writes a file of a package.
func put(path string, data []byte) error {
	return os.WriteFile(path, data, public&^0o111)
}

// fetcher gets packages of one kind. Its methods are called with an empty folder, which is that of the package.
type fetcher interface {
	// resolve finds out the exact version of p, and all that an installation of it needs to be the same anywhere.
	// What it leaves in the folder is thrown away.
	resolve(ctx context.Context, t tool, p v1.Package) (*Entry, error)
	// install fills the folder with what the entry says, and sets the program when it is not known yet.
	install(ctx context.Context, t tool, p v1.Package, e *Entry) error
}

var fetchers = map[string]fetcher{v1.LauncherNPX: npm{}, v1.LauncherUVX: uv{}, v1.LauncherGo: golang{}}

var errNoProgram = errors.New("holds no program that can be started; is it a server?")

// only is the one program of a package, or the one that bears its name.
func only(programs []string, name string) (string, error) {
	switch {
	case len(programs) == 0:
		return "", errNoProgram
	case len(programs) == 1:
		return programs[0], nil
	case slices.Contains(programs, name):
		return name, nil
	}
	slices.Sort(programs)
	return "", fmt.Errorf("holds several programs and none is named %s, so that it cannot be told which one is meant: %s", name, strings.Join(programs, ", "))
}
