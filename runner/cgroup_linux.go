package runner

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tree is the part of the control groups that the program made for its instances: one group for each
// in the tree of version 2, or in those of version 1 whose controllers are needed.
type tree struct {
	mu     sync.Mutex
	name   string               // of the program's group in each hierarchy
	all    map[string]hierarchy // "": version 2, others by controller of version 1
	bases  map[string]string    // the program's groups that exist, by the same key
	locks  map[string]*os.File  // of those: a group without is nobody's any more
	limits map[string]error     // controllers asked for in version 2: nil where there, else why not
}

func newTree() *tree {
	t := &tree{all: hierarchies(), bases: map[string]string{}, locks: map[string]*os.File{}, limits: map[string]error{}}
	if _, err := readStat(os.Getpid()); err != nil {
		t.all = nil // without /proc nothing could be cleaned up
	}
	t.name = fmt.Sprintf("%s%d-%s", groupPrefix, os.Getpid(), rand.Text())
	for _, h := range t.all {
		sweep(h.own)
	}
	return t
}

// sweep removes the groups of programs that are gone. A program that lives is told by its lock: the number of one in another
// namespace says nothing here.
func sweep(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), groupPrefix) || !e.IsDir() {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if lock, err := lockDir(path, syscall.LOCK_NB); err == nil && lock != nil {
			_ = removeGroup(path) // fails, and does no harm, while processes are in it
			_ = lock.Close()
		}
	}
}

// base returns the program's group in a hierarchy.
func (t *tree) base(key string) (string, error) {
	h, ok := t.all[key]
	if !ok {
		return "", fs.ErrNotExist
	}
	if dir, ok := t.bases[key]; ok {
		return dir, nil
	}
	dir := filepath.Join(h.own, t.name)
	for range 10 {
		// Others may pass through, but not open it: who can, could hold the lock on it.
		if err := os.Mkdir(dir, 0o711); err == nil && h.unified { //nolint:gosec // G301: see above
			clear(t.limits)
		} else if err != nil && !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		lock, err := lockDir(dir, 0)
		if err != nil {
			return "", err
		}
		if lock != nil {
			t.bases[key], t.locks[key] = dir, lock
			return dir, nil
		}
	}
	return "", fmt.Errorf("the control group %s is removed again and again", dir)
}

// controls reports whether groups of version 2 can be given limits of this controller, which it sees to.
func (t *tree) controls(controller string) error {
	h, ok := t.all[""]
	if !ok {
		return fs.ErrNotExist
	}
	if err, asked := t.limits[controller]; asked && err == nil {
		return nil
	}
	base, err := t.base("")
	if err == nil {
		err = h.enable(controller, base)
	}
	t.limits[controller] = err
	return err
}

// enable turns a controller on for the groups below base. A group other than the root must not hold
// processes then, so the program steps into a group of its own below base when it is the only one there.
func (h hierarchy) enable(controller, base string) error {
	if !listed(filepath.Join(h.own, "cgroup.controllers"), controller) {
		return fmt.Errorf("the controller %s is not there for the control group %s", controller, h.own)
	}
	if !listed(filepath.Join(h.own, "cgroup.subtree_control"), controller) {
		err := put(h.own, "cgroup.subtree_control", "+"+controller)
		if errors.Is(err, syscall.EBUSY) && !h.root {
			if err = h.stepAside(base); err == nil {
				err = put(h.own, "cgroup.subtree_control", "+"+controller)
			}
		}
		if err != nil {
			return err
		}
	}
	return put(base, "cgroup.subtree_control", "+"+controller)
}

// aside is the group the program itself moves into.
const aside = "self"

// stepAside moves the program and its children out of its group. Processes of others stay, and keep
// the group from having limits below it.
func (h hierarchy) stepAside(base string) error {
	dir := filepath.Join(base, aside)
	if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	self := os.Getpid()
	for _, pid := range members(h.own) {
		if s, err := readStat(pid); pid == self || err == nil && s.parent == self {
			if err := put(dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
				return err
			}
		}
	}
	return nil
}

func listed(file, word string) bool {
	data, _ := os.ReadFile(file)
	return slices.Contains(strings.Fields(string(data)), word)
}

func put(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// members are the processes in a group, without those in groups below it.
func members(dir string) (pids []int) {
	data, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	for field := range strings.FieldsSeq(string(data)) {
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// subgroups are the groups below a group, deepest first, and the group itself.
func subgroups(dir string) (dirs []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, subgroups(filepath.Join(dir, e.Name()))...)
		}
	}
	return append(dirs, dir)
}

func removeGroup(dir string) error {
	var err error
	for _, d := range subgroups(dir) {
		err = os.Remove(d)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// killGroup kills all processes in a group and below, once.
func killGroup(dir string) {
	if put(dir, "cgroup.kill", "1") == nil {
		return
	}
	for _, d := range subgroups(dir) {
		_ = put(d, "pids.max", "0") // nothing more is forked, where that can be had
		for _, pid := range members(d) {
			if pid != os.Getpid() {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}
}

// clearGroup kills what is in a group until it is empty and removes it.
func clearGroup(dir string, deadline time.Time) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		killGroup(dir)
		err := removeGroup(dir)
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(pause)
	}
}

// clear removes the program's groups, which have no instances any more.
func (t *tree) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, dir := range t.bases {
		if removeGroup(dir) == nil {
			_ = t.locks[key].Close()
			delete(t.bases, key)
			delete(t.locks, key)
		}
	}
}

// made are the program's groups that exist.
func (t *tree) made() (dirs []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, dir := range t.bases {
		dirs = append(dirs, dir)
	}
	return dirs
}

// clearTree ends what is in the groups of a program that has ended, and removes them. The one that the
// guard may be in itself stays.
func clearTree(dir string, deadline time.Time) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() && e.Name() != aside {
			_ = clearGroup(filepath.Join(dir, e.Name()), deadline)
		}
	}
	_ = removeGroup(dir)
}
