package launch

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/internal/files"
)

const (
	digestKind = "sha256:"
	// listName is the list of a package's files. It is written last, so that a folder without it is not complete.
	listName = "toolcrib.files"
	listMost = 256 << 20
	// fresh is how long a tree that was looked at is not looked at again: many instances may start at once.
	fresh = time.Second
)

var errIncomplete = errors.New("is not there")

// file is one installed file: kind is x for a program, - for another file, l for a link.
type file struct {
	path, kind, content string
}

func (f file) line() string {
	return f.kind + " " + strconv.Quote(f.content) + " " + strconv.Quote(f.path) + "\n"
}

// walk calls f with each file of a folder, in the order of their paths, but not with the list of them.
func walk(dir string, f func(path string, info fs.FileInfo) error) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == listName {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		return f(filepath.ToSlash(rel), info)
	})
}

// describe reads one file. h is used for its content.
func describe(dir, path string, info fs.FileInfo, h hash.Hash) (file, error) {
	full := filepath.Join(dir, filepath.FromSlash(path))
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		to, err := os.Readlink(full)
		return file{path, "l", to}, err
	case !info.Mode().IsRegular():
		return file{}, fmt.Errorf("%s is neither a file nor a link", path)
	}
	in, err := os.Open(full)
	if err != nil {
		return file{}, err
	}
	defer in.Close()
	h.Reset()
	if _, err := io.Copy(h, in); err != nil {
		return file{}, err
	}
	kind := "-"
	if info.Mode()&0o111 != 0 {
		kind = "x"
	}
	return file{path, kind, hex.EncodeToString(h.Sum(nil))}, nil
}

// sealTree lists the files of a folder and returns the digest over the list.
func sealTree(dir string) (string, error) {
	var list bytes.Buffer
	h := sha256.New()
	err := walk(dir, func(path string, info fs.FileInfo) error {
		f, err := describe(dir, path, info, h)
		list.WriteString(f.line())
		return err
	})
	if err != nil {
		return "", err
	}
	if err := files.Replace(filepath.Join(dir, listName), list.Bytes(), fileMode); err != nil {
		return "", err
	}
	return digestOf(list.Bytes()), nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return digestKind + hex.EncodeToString(sum[:])
}

// readList reads the list of a folder's files, which must have the digest.
func readList(dir, digest string) (map[string]string, error) {
	f, err := os.Open(filepath.Join(dir, listName))
	if err != nil {
		return nil, errIncomplete
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, listMost))
	if err != nil {
		return nil, err
	}
	if digestOf(data) != digest {
		return nil, errors.New("is not what the lock file pins")
	}
	list := map[string]string{}
	for scan := bufio.NewScanner(bytes.NewReader(data)); scan.Scan(); {
		line := scan.Text()
		quoted, err := strconv.QuotedPrefix(line[min(len(line), 2):])
		if err != nil {
			return nil, err
		}
		path, err := strconv.Unquote(line[2+len(quoted)+1:])
		if err != nil {
			return nil, err
		}
		list[path] = line + "\n"
	}
	return list, nil
}

// verify compares each file of a folder with the list that has the digest.
func verify(dir, digest string) error {
	list, err := readList(dir, digest)
	if err != nil {
		return err
	}
	h := sha256.New()
	err = walk(dir, func(path string, info fs.FileInfo) error {
		want, known := list[path]
		if !known {
			if isData(path, info) {
				return nil
			}
			return fmt.Errorf("has changed since it was pulled: %s was added", path)
		}
		delete(list, path)
		f, err := describe(dir, path, info, h)
		if err == nil && f.line() != want {
			err = fmt.Errorf("has changed since it was pulled: %s is not as it was", path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for path := range list {
		return fmt.Errorf("has changed since it was pulled: %s is missing", path)
	}
	return nil
}

// dataEndings are those of files that no interpreter loads by itself. Some servers keep what they know beside their
// own files.
var dataEndings = []string{".jsonl", ".log", ".db", ".db-wal", ".db-shm", ".db-journal", ".sqlite", ".sqlite3", ".sqlite-wal", ".sqlite-shm"}

func isData(path string, info fs.FileInfo) bool {
	return info.Mode().IsRegular() && info.Mode()&0o111 == 0 && slices.Contains(dataEndings, filepath.Ext(path))
}

// trees remembers which folders were found as they should be, and how they looked then.
type trees struct {
	mu   sync.Mutex
	seen map[string]*tree // by folder: as many as there are packages
	now  func() time.Time
}

type tree struct {
	mu     sync.Mutex // one look at a time; others wait for it
	digest string
	looks  string
	at     time.Time
}

func newTrees() *trees { return &trees{seen: map[string]*tree{}, now: time.Now} }

const treesMost = 1000

func (t *trees) of(dir string) *tree {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[dir] == nil {
		if len(t.seen) >= treesMost {
			clear(t.seen)
		}
		t.seen[dir] = &tree{}
	}
	return t.seen[dir]
}

// check tells why the files of a folder are not those of the digest. They are all read the first time, and again when
// their size, time or kind has changed.
func (t *trees) check(dir, digest string) error {
	one := t.of(dir)
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.digest == digest && t.now().Sub(one.at) < fresh {
		return nil
	}
	looks, err := fingerprint(dir)
	if err != nil {
		return errIncomplete
	}
	if one.digest != digest || one.looks != looks {
		one.digest = ""
		if err := verify(dir, digest); err != nil {
			return err
		}
		one.digest, one.looks = digest, looks
	}
	one.at = t.now()
	return nil
}

// fingerprint is how the files of a folder look from outside.
func fingerprint(dir string) (string, error) {
	h := sha256.New()
	err := walk(dir, func(path string, info fs.FileInfo) error {
		_, err := fmt.Fprintf(h, "%q %s\n", path, stamp(info))
		return err
	})
	if info, statErr := os.Stat(filepath.Join(dir, listName)); statErr == nil {
		fmt.Fprint(h, stamp(info))
	}
	return hex.EncodeToString(h.Sum(nil)), err
}
