package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Dirs say which folders an instance gets for itself. They are removed with all in them when it ended.
type Dirs struct {
	Temp bool // temporary files: TMPDIR, TMP and TEMP, unless the configuration names others
	Work bool // working directory, when Command.Dir is empty
}

// folders is the directory of one program that has those of its instances. Who holds the lock on it lives.
type folders struct {
	path string
	lock *os.File
	uid  int // of the program
}

// foldersPrefix begins the names of the directories of all programs of a user.
func foldersPrefix(uid int) string { return groupPrefix + strconv.Itoa(uid) + "-" }

// groupPrefix begins the names of what programs make for themselves in places that others use too.
const groupPrefix = "toolcrib-"

// makeFolders makes and locks the directory of this program, and removes those of programs that are gone.
func makeFolders() (*folders, error) {
	uid := os.Geteuid()
	sweepFolders(os.TempDir(), uid)
	for range 10 { // a sweep of another program may come between making and locking
		path, err := os.MkdirTemp("", foldersPrefix(uid))
		if err != nil {
			return nil, err
		}
		lock, err := lockDir(path, 0)
		if err != nil {
			return nil, errors.Join(err, os.Remove(path))
		}
		if lock != nil {
			return &folders{path: path, lock: lock, uid: uid}, nil
		}
	}
	return nil, errors.New("the directory for temporary files of servers is removed again and again")
}

// lockDir locks a directory; nil when it is not at path any more. how is 0 or LOCK_NB.
func lockDir(path string, how int) (*os.File, error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // a directory that is gone is no error
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|how); err != nil {
		_ = dir.Close()
		return nil, err
	}
	mine, err1 := dir.Stat()
	there, err2 := os.Lstat(path)
	if err1 != nil || err2 != nil || !os.SameFile(mine, there) {
		_ = dir.Close()
		return nil, nil //nolint:nilnil,nilerr // as above
	}
	return dir, nil
}

// sweepFolders removes the directories of programs of this user that ended without doing so.
func sweepFolders(in string, uid int) {
	entries, _ := os.ReadDir(in)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), foldersPrefix(uid)) || !e.IsDir() {
			continue
		}
		path := filepath.Join(in, e.Name())
		if info, err := os.Lstat(path); err != nil || owner(info) != uid {
			continue
		}
		if lock, err := lockDir(path, syscall.LOCK_NB); err == nil && lock != nil {
			_ = removeTree(path)
			_ = lock.Close()
		}
	}
}

// remove removes the directory and everything in it.
func (f *folders) remove() error {
	return errors.Join(removeTree(f.path), f.lock.Close())
}

// removeTree removes a directory with all in it, also what its owner may not enter. Others may change
// what is in it meanwhile: nothing beyond it is touched.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if err == nil {
		return nil
	}
	_ = os.Chmod(path, 0o700) //nolint:gosec // G302: a directory, about to be removed
	openUp(path)
	return os.RemoveAll(path)
}

// openUp gives the owner of the directories in a tree all rights to them. The path of one may lead out of
// the tree by the time it is changed, which a root does not follow.
func openUp(path string) {
	top, err := os.OpenRoot(path)
	if err != nil {
		return
	}
	defer func() { _ = top.Close() }()
	_ = fs.WalkDir(top.FS(), ".", func(p string, d fs.DirEntry, _ error) error {
		if d != nil && d.IsDir() {
			_ = top.Chmod(p, 0o700)
		}
		return nil
	})
}

// owner is the id of the user a file belongs to.
func owner(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return -1
}

// give makes the directories of an instance and has the command use them. It returns the one that
// holds them.
func (f *folders) give(name string, d Dirs, c *Command, as *account) (string, error) {
	top := filepath.Join(f.path, name)
	made := []string{top}
	if d.Temp {
		temp := filepath.Join(top, "tmp")
		made = append(made, temp)
		c.Env = withTemp(c.Env, temp)
	}
	if d.Work {
		c.Dir = filepath.Join(top, "work")
		made = append(made, c.Dir)
	}
	if as != nil {
		if err := os.Chmod(f.path, 0o711); err != nil { //nolint:gosec // G302: others may pass through, to what is theirs, but not look
			return "", err
		}
	}
	for _, dir := range made {
		err := os.Mkdir(dir, 0o700)
		if err == nil && as != nil {
			err = os.Chown(dir, as.UID, as.GID)
		}
		if err != nil {
			return top, fmt.Errorf("directory of the instance: %w", err)
		}
	}
	return top, nil
}

// withTemp sets the variables for temporary files, but for those that the configuration gave another
// value than the program's own.
func withTemp(env []string, dir string) []string {
	names := []string{"TMPDIR", "TMP", "TEMP"}
	kept := make([]string, 0, len(env)+len(names))
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		i := slices.Index(names, name)
		if i >= 0 && value == os.Getenv(name) {
			continue
		}
		if i >= 0 {
			names = slices.Delete(names, i, i+1)
		}
		kept = append(kept, e)
	}
	for _, name := range names {
		kept = append(kept, name+"="+dir)
	}
	return kept
}
