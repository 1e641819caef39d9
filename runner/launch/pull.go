package launch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Puller fetches packages and pins them in a lock file.
type Puller struct {
	StateDir string // packages go below it
	Lock     string // the lock file
	// Environ is the environment that npm, go and uv run with.
	Environ []string
	// Update resolves anew what is pinned already. Frozen refuses whatever would change the lock file. Scripts has the
	// install scripts of npm packages run.
	Update, Frozen, Scripts bool
}

// Outcome is what became of a pull.
type Outcome string

// The outcomes of a pull.
const (
	Kept    Outcome = "kept"    // it was there, as it should be
	Fetched Outcome = "fetched" // it was not there
	Mended  Outcome = "mended"  // it was there, but changed
)

// Pulled is a package that was pulled.
type Pulled struct {
	Entry   *Entry
	Outcome Outcome
	// Was is the version that the lock file had before; empty for none.
	Was string
	// Data are the files of servers that were carried over from what was there before, by path in the package.
	Data []string
}

// packagesDir holds the packages below the state directory.
const packagesDir = "packages"

// folderOf is where a package lies. What was resolved at another time, and may so have other dependencies, has another;
// so has a program that was built here for another lock file, for builds differ with the version of Go.
func folderOf(stateDir, lock string, p v1.Package, e *Entry) string {
	name := strings.NewReplacer("/", "+", "[", "+", "]", "", ",", "+").Replace(p.Name)
	kind := ""
	if e.Scripts {
		kind = "-scripts"
	}
	if abs, err := filepath.Abs(lock); err == nil && p.Launcher == v1.LauncherGo {
		kind = "-" + strings.TrimPrefix(digestOf([]byte(abs)), digestKind)[:8]
	}
	digest := strings.TrimPrefix(e.Digest, digestKind)
	if abs, err := filepath.Abs(stateDir); err == nil { // servers have working directories of their own
		stateDir = abs
	}
	return filepath.Join(stateDir, packagesDir, p.Launcher, name+"@"+e.Version+"-"+digest[:min(12, len(digest))]+kind)
}

// Pull fetches one package. env is that of the server, which may name its registry.
func (l *Puller) Pull(ctx context.Context, p v1.Package, env map[string]string) (*Pulled, error) {
	done, err := l.pull(ctx, p, env)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	return done, nil
}

func (l *Puller) pull(ctx context.Context, p v1.Package, env map[string]string) (*Pulled, error) {
	home, err := filepath.Abs(filepath.Join(l.StateDir, packagesDir, p.Launcher))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(home, public); err != nil {
		return nil, err
	}
	l.letThrough(home)
	// One pull at a time of this state directory and kind: what two servers share is then fetched once.
	unlock, err := exclusive(ctx, home)
	if err != nil {
		return nil, err
	}
	defer unlock()
	lock, err := ReadLock(l.Lock)
	if err != nil {
		return nil, err
	}
	known, err := lock.entry(p.String())
	if err != nil && !errors.Is(err, errUnpinned) && !l.Update {
		return nil, err
	}
	t := tool{env: environment(l.Environ, env)}
	entry, err := l.entry(ctx, t, home, p, known, lock)
	if err != nil {
		return nil, err
	}
	done := &Pulled{Entry: entry}
	if known != nil {
		done.Was = known.Version
	}
	if err = l.place(ctx, t, p, known, done); err != nil {
		return nil, err
	}
	if l.Frozen && (known == nil || known.Trees[platform()] != "" && known.Trees[platform()] != entry.Trees[platform()]) {
		return nil, fmt.Errorf("the files are not those that %s pins; pull without --frozen", l.Lock)
	}
	if l.Frozen && known.Trees[platform()] != "" {
		return done, nil
	}
	return done, UpdateLock(ctx, l.Lock, func(lock *Lock) error {
		lock.Packages[p.String()] = entry
		return nil
	})
}

// letThrough lets other users pass through the folders above the packages, for servers that run as them. What else is in the
// state directory they can neither list nor, for its own modes, read. Somebody else's folders stay as they are.
func (l *Puller) letThrough(home string) {
	for _, dir := range []string{l.StateDir, filepath.Dir(home), home} {
		if info, err := os.Stat(dir); err == nil {
			_ = os.Chmod(dir, info.Mode().Perm()|passing)
		}
	}
}

const passing = 0o011

// entry is what is to be installed: what the lock file pins, or else what the registry has.
func (l *Puller) entry(ctx context.Context, t tool, home string, p v1.Package, known *Entry, lock *Lock) (*Entry, error) {
	if known != nil && !l.Update && (known.Scripts || !l.Scripts) {
		return known.clone(), nil
	}
	if l.Frozen {
		return nil, fmt.Errorf("is not pinned in %s as it is wanted; pull without --frozen", l.Lock)
	}
	var err error
	if t.dir, err = os.MkdirTemp(home, ".resolve-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(t.dir)
	e, err := fetchers[p.Launcher].resolve(ctx, t, p)
	if err != nil {
		return nil, err
	}
	e.Scripts = l.Scripts && p.Launcher == v1.LauncherNPX
	e.Trees = lock.trees(p.Launcher, e)
	if e.Bin == "" {
		e.Bin = "." // known once it is installed
	}
	if why := e.unfit(p.String()); why != "" {
		return nil, errors.New("what the registry gave " + why)
	}
	return e, nil
}

// trees are the digests that are known for a package already, perhaps under another reference to it.
func (l *Lock) trees(launcher string, e *Entry) map[string]string {
	trees := map[string]string{}
	for reference, other := range l.Packages {
		if strings.HasPrefix(reference, launcher+":") && other != nil && other.Digest == e.Digest && other.Scripts == e.Scripts {
			maps.Copy(trees, other.Trees)
		}
	}
	return trees
}

func (e *Entry) clone() *Entry {
	c := *e
	if c.Trees = maps.Clone(e.Trees); c.Trees == nil {
		c.Trees = map[string]string{}
	}
	return &c
}

// place sees to it that the package lies in its folder as it should, with the data that servers wrote to it, also to the
// version that was known before.
func (l *Puller) place(ctx context.Context, t tool, p v1.Package, known *Entry, done *Pulled) error {
	e := done.Entry
	t.dir = folderOf(l.StateDir, l.Lock, p, e)
	if err := l.rescue(t.dir, done); err != nil {
		return err
	}
	done.Outcome = Fetched
	err := verify(t.dir, e.Trees[platform()])
	switch {
	case err == nil:
		done.Outcome = Kept
	case !errors.Is(err, errIncomplete) && e.Trees[platform()] != "":
		done.Outcome = Mended
	}
	if err != nil {
		if err := l.renew(ctx, t, p, done); err != nil {
			return err
		}
	}
	if known == nil {
		return nil
	}
	before := folderOf(l.StateDir, l.Lock, p, known)
	if before == t.dir {
		return nil
	}
	shipped, _ := readList(before, known.Trees[platform()]) // without it, all that looks like data is
	return done.carry(before, t.dir, shipped)
}

func (d *Pulled) carry(from, to string, shipped map[string]string) error {
	data, err := carry(from, to, shipped)
	for _, path := range data {
		if !slices.Contains(d.Data, path) {
			d.Data = append(d.Data, path)
		}
	}
	if err != nil {
		return fmt.Errorf("the data of servers in %s cannot be carried over: %w", from, err)
	}
	return nil
}

// oldOf is where a folder lies while it is fetched anew.
func oldOf(dir string) string { return filepath.Join(filepath.Dir(dir), ".old-"+filepath.Base(dir)) }

// rescue takes the data out of what a pull that was cut short left behind, and removes that.
func (l *Puller) rescue(dir string, done *Pulled) error {
	old := oldOf(dir)
	if _, err := os.Lstat(old); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.Mkdir(dir, public); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := done.carry(old, dir, nil); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// renew installs a package in its folder. What was there comes back when that fails: somebody may want to see what
// had become of it.
func (l *Puller) renew(ctx context.Context, t tool, p v1.Package, done *Pulled) error {
	old := oldOf(t.dir)
	if err := os.Rename(t.dir, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(t.dir, public); err != nil {
		return err
	}
	err := fetchers[p.Launcher].install(ctx, t, p, done.Entry)
	if err == nil {
		err = l.seal(t.dir, done.Entry)
	}
	if err == nil {
		err = done.carry(old, t.dir, nil)
	}
	if err == nil {
		return os.RemoveAll(old)
	}
	err = errors.Join(err, os.RemoveAll(t.dir))
	if back := os.Rename(old, t.dir); back != nil && !errors.Is(back, fs.ErrNotExist) {
		err = errors.Join(err, back)
	}
	return err
}

func (l *Puller) seal(dir string, e *Entry) error {
	if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(e.Bin))); err != nil || !info.Mode().IsRegular() {
		return errNoProgram
	}
	digest, err := sealTree(dir)
	e.Trees[platform()] = digest
	return err
}
