package launch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/internal/files"
	"github.com/toolcrib/toolcrib/pinning"
)

const (
	lockVersion = 1
	lockMost    = 64 << 20 // bytes of a lock file that are read
)

// Lock is the content of a lock file.
type Lock struct {
	Version int `json:"version"`
	// Packages are the pinned packages, by reference as the configuration has it.
	Packages map[string]*Entry `json:"packages"`
	// Approvals are the servers that may be started, by name.
	Approvals map[string]*Approval `json:"approvals,omitempty"`
	// Definitions are the approved definitions of tools, by server and tool.
	Definitions pinning.Book `json:"definitions,omitempty"`
}

// Entry is a pinned package.
type Entry struct {
	// Version is exact.
	Version string `json:"version"`
	// Integrity is the hash that the registry gives for the package: of the archive (npm), of the module (go).
	Integrity string `json:"integrity,omitempty"`
	// Digest is over all that was resolved, and the same on every platform.
	Digest string `json:"digest"`
	// Bin is the program to start, below the folder of the package.
	Bin string `json:"bin"`
	// Scripts: the install scripts of the package were run.
	Scripts bool `json:"scripts,omitempty"`
	// Trees are the digests over the installed files, by platform.
	Trees map[string]string `json:"trees"`
	// NPM is the package-lock.json of the package and its dependencies.
	NPM json.RawMessage `json:"npm,omitempty"`
	// Requirements are the Python packages with their hashes, as uv takes them.
	Requirements []string `json:"requirements,omitempty"`
}

// Approval says what was approved of a server. The hash decides; the rest is for people to read.
type Approval struct {
	Hash    string   `json:"hash"`
	Command string   `json:"command,omitempty"`
	Package string   `json:"package,omitempty"`
	Digest  string   `json:"digest,omitempty"`
	Env     []string `json:"env,omitempty"`
}

// platform is what installed files depend on.
func platform() string { return runtime.GOOS + "-" + runtime.GOARCH }

// ReadLock reads a lock file; one that does not exist is empty.
func ReadLock(path string) (*Lock, error) {
	lock := &Lock{Version: lockVersion, Packages: map[string]*Entry{}, Approvals: map[string]*Approval{}, Definitions: pinning.Book{}}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return lock, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock file %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, lockMost+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock file %w", err)
	case len(data) > lockMost:
		return nil, fmt.Errorf("lock file %s is larger than %s", path, v1.Size(lockMost))
	}
	return lock, lock.parse(path, data)
}

func (l *Lock) parse(path string, data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(l); err != nil {
		return fmt.Errorf("lock file %s is not valid: %w; take it from version control, or remove it and run toolcrib pull and approve", path, err)
	}
	if l.Version != lockVersion {
		return fmt.Errorf("lock file %s has version %d; this program knows %d", path, l.Version, lockVersion)
	}
	if l.Packages == nil { // null
		l.Packages = map[string]*Entry{}
	}
	if l.Approvals == nil {
		l.Approvals = map[string]*Approval{}
	}
	if l.Definitions == nil {
		l.Definitions = pinning.Book{}
	}
	if err := l.Definitions.Valid(); err != nil {
		return fmt.Errorf("lock file %s: %w", path, err)
	}
	for name, a := range l.Approvals {
		if a == nil {
			return fmt.Errorf("lock file %s: the approval of %q is null; remove it", path, name)
		}
	}
	return nil
}

var errUnpinned = errors.New("is not pinned")

// entry is what is pinned for a reference; the error is errUnpinned when nothing is.
func (l *Lock) entry(reference string) (*Entry, error) {
	e, ok := l.Packages[reference]
	if !ok {
		return nil, errUnpinned
	}
	if why := e.unfit(reference); why != "" {
		return nil, fmt.Errorf("the lock file's entry of %s %s: run toolcrib pull --update", reference, why)
	}
	return e, nil
}

// unfit says why the entry cannot be that of the reference; empty when it can.
func (e *Entry) unfit(text string) string {
	p, err := v1.ParsePackage(text)
	switch {
	case err != nil:
		return err.Error()
	case e == nil:
		return "is null"
	}
	exact := p
	exact.Version = e.Version
	switch {
	case !exact.Exact():
		return fmt.Sprintf("has %q, which is no exact version", e.Version)
	case p.Exact() && !sameVersion(p, e.Version):
		return fmt.Sprintf("is of version %s", e.Version)
	case !filepath.IsLocal(e.Bin):
		return fmt.Sprintf("has %q as its program, which is not within the package", e.Bin)
	case !aDigest.MatchString(e.Digest):
		return "has no digest"
	}
	return ""
}

var aDigest = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// sameVersion compares versions as their registries do.
func sameVersion(p v1.Package, version string) bool {
	if p.Launcher == v1.LauncherNPX { // what follows + does not tell versions apart
		was, _, _ := strings.Cut(p.Version, "+")
		is, _, _ := strings.Cut(version, "+")
		return was == is
	}
	return p.Version == version
}

// UpdateLock changes a lock file, one change at a time over all processes: what others wrote meanwhile stays.
func UpdateLock(ctx context.Context, path string, change func(*Lock) error) error {
	unlock, err := exclusive(ctx, filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("lock file %s: %w", path, err)
	}
	defer unlock()
	lock, err := ReadLock(path)
	if err != nil {
		return err
	}
	before, err := lock.encode()
	if err != nil {
		return err
	}
	if err := change(lock); err != nil {
		return err
	}
	after, err := lock.encode()
	if err != nil || bytes.Equal(before, after) {
		return err
	}
	if err := files.Replace(path, after, fileMode); err != nil {
		return fmt.Errorf("lock file %s cannot be written: %w", path, err)
	}
	return nil
}

// encode is the one form that a content has: sorted and indented.
func (l *Lock) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(l)
	return b.Bytes(), err
}

// fileMode is that of what others may read.
const fileMode = 0o644

// exclusive locks a folder or file against other processes, and waits until ctx ends.
func exclusive(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return files.Lock(ctx, f)
}

// lockCache reads a lock file again only when it has changed.
type lockCache struct {
	mu   sync.Mutex
	path string
	is   string
	lock *Lock
	err  error
}

func (c *lockCache) read(path string) (*Lock, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	is := "none"
	if info, err := os.Stat(path); err == nil {
		is = stamp(info)
	}
	if c.lock == nil && c.err == nil || c.path != path || c.is != is {
		c.lock, c.err = ReadLock(path)
		c.path, c.is = path, is
	}
	return c.lock, c.err
}
