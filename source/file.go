// Package source says where configuration comes from. A source always delivers
// whole configurations, never changes to one.
package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// DefaultInterval is how often Watch looks at the file unless told otherwise.
const DefaultInterval = 500 * time.Millisecond

// maxReferences bounds how many referenced files, and patterns of them, are looked at for changes.
const maxReferences = 2000

// File is a configuration file. Only Path need be set; a File must not be
// copied after its first use.
type File struct {
	// Path is the file. It is opened anew each time, so that a symbolic link may
	// be swapped and a file be replaced by another.
	Path string

	once   sync.Once
	reload chan struct{}

	mu   sync.Mutex
	last state
}

// state is what the last load was made from.
type state struct {
	print      fingerprint
	loaded     bool
	references []string // files that values of the configuration refer to
	globs      []string // patterns of file names in it
}

type fingerprint [sha256.Size]byte

// Error is why a file gives no configuration.
type Error struct {
	Path     string      // the file
	Problems v1.Problems // what is wrong in it; empty when it cannot be read
	Err      error       // why it cannot be read
}

// Error returns the problems, one a line, as "path:line: key: message".
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: cannot be read: %v", e.Path, e.Err)
	}
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		at := e.Path
		if p.Line > 0 {
			at = fmt.Sprintf("%s:%d", e.Path, p.Line)
			p.Line = 0
		}
		lines[i] = at + ": " + p.String()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns why the file cannot be read, or its problems.
func (e *Error) Unwrap() error {
	if e.Err != nil {
		return e.Err
	}
	return e.Problems.Err()
}

// Load reads the file; relative paths of files that it refers to start at its
// folder. Its error is an *[Error].
func (f *File) Load() (*v1.Config, error) {
	var next state
	data, err := readAll(f.Path)
	if err != nil {
		err = reason(err)
		next.print, next.loaded = f.print(nil, err, nil, &next, nil), true
		f.setLast(next)
		return nil, &Error{Path: f.Path, Err: err}
	}
	contents, globbed := map[string][]byte{}, map[string][]byte{}
	config, problems := v1.Parse(data, v1.Options{Dir: filepath.Dir(f.Path), JSON: filepath.Ext(f.Path) == ".json", ReadFile: func(name string) ([]byte, error) {
		content, err := readAll(name)
		if _, seen := contents[name]; !seen && len(contents) < maxReferences {
			next.references = append(next.references, name)
			contents[name] = digest(content, err)
		}
		return content, err
	}, Glob: func(pattern string) ([]string, error) {
		names, err := filepath.Glob(pattern)
		if len(next.globs) < maxReferences {
			next.globs = append(next.globs, pattern)
			globbed[pattern] = digest([]byte(strings.Join(names, "\x00")), err)
		}
		return names, err
	}})
	seen := func(name string) []byte { return contents[name] }
	next.print, next.loaded = f.print(data, nil, seen, &next, func(pattern string) []byte { return globbed[pattern] }), true
	f.setLast(next)
	if len(problems) > 0 {
		return nil, &Error{Path: f.Path, Problems: problems}
	}
	return config, nil
}

// StateDir reads the state directory alone, whatever problems the file has elsewhere. Its error is an *[Error].
func (f *File) StateDir() (string, error) {
	data, err := readAll(f.Path)
	if err != nil {
		return "", &Error{Path: f.Path, Err: reason(err)}
	}
	dir, problems := v1.StateDir(data, v1.Options{Dir: filepath.Dir(f.Path), JSON: filepath.Ext(f.Path) == ".json", ReadFile: readAll})
	if len(problems) > 0 {
		return "", &Error{Path: f.Path, Problems: problems}
	}
	return dir, nil
}

// References are the files that values of the configuration referred to when it was last loaded.
func (f *File) References() []string { return slices.Clone(f.lastState().references) }

func (f *File) setLast(s state) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = s
}

func (f *File) lastState() state {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// look returns the fingerprint of what is on the disk now.
func (f *File) look(last *state) fingerprint {
	data, err := readAll(f.Path)
	if err != nil {
		return f.print(nil, reason(err), nil, &state{}, nil)
	}
	return f.print(data, nil, func(name string) []byte { return digest(readAll(name)) }, last, func(pattern string) []byte {
		names, err := filepath.Glob(pattern)
		return digest([]byte(strings.Join(names, "\x00")), err)
	})
}

// print hashes the file's content, or why it has none, and what its references hold.
func (f *File) print(data []byte, err error, content func(name string) []byte, s *state, names func(pattern string) []byte) fingerprint {
	h := sha256.New()
	h.Write(digest(data, err))
	for _, name := range s.references {
		h.Write(content(name))
	}
	for _, pattern := range s.globs {
		h.Write(names(pattern))
	}
	return fingerprint(h.Sum(nil))
}

func digest(data []byte, err error) []byte {
	h := sha256.New()
	if err != nil {
		fmt.Fprintf(h, "error: %v", reason(err))
	} else {
		h.Write([]byte("data: "))
		h.Write(data)
	}
	return h.Sum(nil)
}

// reason drops operation and path, which the error's reader knows.
func reason(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

var errIrregular = errors.New("it is not a regular file")

// readAll reads a regular file, a byte more than a configuration may have at
// most. A pipe or a device could block for ever.
func readAll(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errIrregular
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, v1.MaxFile+1))
}

// Reload has a running Watch load the file at once, changed or not. Without a
// running Watch the next one does.
func (f *File) Reload() {
	select {
	case f.reloads() <- struct{}{}:
	default: // one is pending already
	}
}

func (f *File) reloads() chan struct{} {
	f.once.Do(func() { f.reload = make(chan struct{}, 1) })
	return f.reload
}

// Watch calls apply with the new configuration, or with why there is none, each
// time the file or a file that it refers to has changed since the last Load,
// and after each Reload. It returns when ctx ends. Calls of apply never overlap.
//
// The content is compared every interval (0: [DefaultInterval]). A change is
// taken up once it has settled for a fifth of that, so that a file that is half
// written is seldom read; one that is wrong is reported once, until it changes
// again.
func (f *File) Watch(ctx context.Context, interval time.Duration, apply func(*v1.Config, error)) {
	if interval <= 0 {
		interval = DefaultInterval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.reloads():
			apply(f.Load())
		case <-ticker.C:
			if f.settled(ctx, interval/5) {
				apply(f.Load())
			}
		}
	}
}

// settled tells whether the file has changed and has kept its new content for a
// while.
func (f *File) settled(ctx context.Context, quiet time.Duration) bool {
	last := f.lastState()
	now := f.look(&last)
	if last.loaded && now == last.print {
		return false
	}
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return now == f.look(&last)
	}
}
