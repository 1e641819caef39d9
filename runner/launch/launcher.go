package launch

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Program is what is started for a server.
type Program struct {
	// Path and Args are the command line.
	Path string
	Args []string
	// Env is set for the program unless the server sets it.
	Env map[string]string
	// Dir is the folder of a pulled package, which the program must be able to read; empty for others.
	Dir string
}

// Environ is what is added to the environment of the program: own, which wins, and what the program needs.
func (p Program) Environ(own map[string]string) map[string]string {
	if len(p.Env) == 0 {
		return own
	}
	env := maps.Clone(p.Env)
	maps.Copy(env, own)
	return env
}

// Launcher finds what is started for servers. A nil Launcher knows no lock file: packages are left to their
// launchers. Its methods may be called from any goroutine.
type Launcher struct {
	log      *slog.Logger
	stateDir string
	policy   atomic.Pointer[policy]
	lock     lockCache
	trees    *trees
	mu       sync.Mutex
	warned   map[string]bool
}

type policy struct {
	lock     string
	approval bool
}

// New returns a launcher that goes by a configuration.
func New(c *v1.Config, log *slog.Logger) *Launcher {
	l := &Launcher{log: log, stateDir: c.StateDir, trees: newTrees(), warned: map[string]bool{}}
	l.Configure(c)
	return l
}

// Configure has the next starts go by another configuration, but for its state directory.
func (l *Launcher) Configure(c *v1.Config) {
	l.policy.Store(&policy{lock: c.LockFile(), approval: c.Launch.Approval == v1.ApprovalRequired})
}

// Program is what to start for the server of that name. spec is the server as it is configured, which is what was
// approved; actual has the references to the caller replaced. An error says why nothing may be started, and what to do.
func (l *Launcher) Program(name string, spec, actual *v1.Server) (Program, error) {
	var p policy
	if l != nil {
		p = *l.policy.Load()
	}
	if spec.Package == "" && !p.approval {
		return Program{Path: actual.Command, Args: actual.Args}, nil
	}
	lock := &Lock{}
	if p.lock != "" {
		var err error
		if lock, err = l.lock.read(p.lock); err != nil {
			return Program{}, err
		}
	}
	if p.approval {
		if err := lock.approved(name, spec, p.lock); err != nil {
			return Program{}, err
		}
	}
	if spec.Package == "" {
		return Program{Path: actual.Command, Args: actual.Args}, nil
	}
	switch entry, err := lock.entry(spec.Package); {
	case errors.Is(err, errUnpinned):
		return l.unpinned(name, spec, actual)
	case err != nil:
		return Program{}, err
	default:
		return l.pinned(p, spec.Package, entry, actual)
	}
}

// pinned is the program of a package that was pulled, if it is still the same.
func (l *Launcher) pinned(p policy, reference string, e *Entry, actual *v1.Server) (Program, error) {
	pkg, err := v1.ParsePackage(reference)
	if err != nil {
		return Program{}, fmt.Errorf("package %q %w", reference, err)
	}
	dir := folderOf(l.stateDir, p.lock, pkg, e)
	digest := e.Trees[platform()]
	if digest == "" {
		return Program{}, fmt.Errorf("package %s is pinned in %s, but not for %s: run toolcrib pull", reference, p.lock, platform())
	}
	if err := l.trees.check(dir, digest); err != nil {
		if errors.Is(err, errIncomplete) {
			return Program{}, fmt.Errorf("package %s is pinned in %s, but was not fetched to %s: run toolcrib pull", reference, p.lock, dir)
		}
		return Program{}, fmt.Errorf("package %s in %s %w: find out why, then run toolcrib pull, which fetches it anew", reference, dir, err)
	}
	program := Program{Dir: dir}
	var own []string
	switch pkg.Launcher {
	case v1.LauncherNPX:
		program.Path, own, err = npm{}.command(dir, e)
	case v1.LauncherUVX:
		program.Env = map[string]string{"PYTHONDONTWRITEBYTECODE": "1"} // else the first start would change the package
		fallthrough
	default:
		program.Path = filepath.Join(dir, filepath.FromSlash(e.Bin))
	}
	program.Args = slices.Concat(own, actual.Args)
	return program, err
}

// unpinned leaves a package to its launcher, which fetches it when it starts.
func (l *Launcher) unpinned(name string, spec, actual *v1.Server) (Program, error) {
	pkg, err := v1.ParsePackage(spec.Package)
	if err != nil {
		return Program{}, fmt.Errorf("package %q %w", spec.Package, err)
	}
	l.warn(name, spec.Package)
	path, args := launching(pkg)
	return Program{Path: path, Args: append(args, actual.Args...)}, nil
}

// launching is the command line that has a launcher fetch and start a package.
func launching(p v1.Package) (path string, args []string) {
	switch p.Launcher {
	case v1.LauncherNPX:
		return "npx", []string{"-y", p.Spec()}
	case v1.LauncherUVX:
		return "uvx", []string{"--from", p.Spec(), canonical(p.Name)}
	}
	return "go", []string{"run", p.Spec()}
}

const warnedMost = 10_000

// warn says once of each server that nobody knows what it will run.
func (l *Launcher) warn(name, reference string) {
	if l == nil || l.log == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := name + "\x00" + reference
	if l.warned[key] || len(l.warned) >= warnedMost {
		return
	}
	l.warned[key] = true
	l.log.Warn("package is neither pinned nor here: each start asks its registry; run toolcrib pull", "server", name, "package", reference)
}

// Needs is the program that must be installed for a server to start, if any: its command, what runs the package that
// was pulled, or the launcher of one that was not. The problem says what is wrong with the package; empty for nothing.
func (l *Launcher) Needs(spec *v1.Server) (command, problem string) {
	p := l.policy.Load()
	pkg, err := v1.ParsePackage(spec.Package)
	if err != nil {
		return spec.Command, ""
	}
	lock, err := l.lock.read(p.lock)
	if err != nil {
		return "", err.Error()
	}
	e, err := lock.entry(spec.Package)
	switch {
	case err != nil && !errors.Is(err, errUnpinned):
		return "", err.Error()
	case err != nil:
		command, _ := launching(pkg)
		if !pkg.Exact() {
			return command, "is not pulled and names no exact version: each start asks its registry, and may get another; run toolcrib pull"
		}
		return command, "is not pulled: each start asks its registry for it; run toolcrib pull"
	}
	dir := folderOf(l.stateDir, p.lock, pkg, e)
	if _, err := os.Stat(filepath.Join(dir, listName)); err != nil || e.Trees[platform()] == "" {
		return "", "is pinned in " + p.lock + ", but was not fetched to " + dir + ": run toolcrib pull"
	}
	if pkg.Launcher == v1.LauncherNPX {
		if path, _, err := (npm{}).command(dir, e); err == nil && !filepath.IsAbs(path) {
			return path, ""
		}
	}
	return "", ""
}

// Changed tells why the package that was pulled for a server would be refused as it lies here. It reads all of it.
func (l *Launcher) Changed(spec *v1.Server) error {
	p := l.policy.Load()
	lock, err := l.lock.read(p.lock)
	if err != nil || spec.Package == "" {
		return err
	}
	e, err := lock.entry(spec.Package)
	if errors.Is(err, errUnpinned) {
		return nil
	}
	if err == nil {
		_, err = l.pinned(*p, spec.Package, e, spec)
	}
	return err
}
