package runner_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/runner"
)

// own makes the place for temporary files one of the test's, and returns it.
func own(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return dir
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%s has %v, %v", dir, entries, err)
	}
}

// Each instance has directories of its own, which nobody else may enter and which go with it.
func TestDirs(t *testing.T) {
	top := own(t)
	seen := map[string]bool{}
	for range 3 {
		p, err := runner.Start(command("dirs"), runner.Options{Dirs: runner.Dirs{Temp: true, Work: true}})
		if err != nil {
			t.Fatal(err)
		}
		temp, work, _ := strings.Cut(read(t, p), " ")
		for _, dir := range []string{temp, work} {
			info, err := os.Stat(dir)
			if seen[dir] || err != nil || info.Mode().Perm() != 0o700 || !strings.HasPrefix(dir, top) {
				t.Errorf("%s: %v, %v", dir, info, err)
			}
			seen[dir] = true
		}
		stop(t, p)
		for _, dir := range []string{temp, work} {
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is left: %v", dir, err)
			}
		}
	}
	wantEmpty(t, top)
}

// What the configuration says of directories holds.
func TestDirsAsConfigured(t *testing.T) {
	top, other := own(t), t.TempDir()
	c := command("dirs")
	c.Env, c.Dir = append(c.Env, "TMPDIR="+other), other
	p, err := runner.Start(c, runner.Options{Dirs: runner.Dirs{Temp: true, Work: true}})
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, p); got != other+" "+other {
		t.Errorf("got %q", got)
	}
	stop(t, p)
	wantEmpty(t, top)
	_ = os.Chmod(filepath.Join(other, "closed"), 0o700)
}

// Directories of programs that died without removing them go when the next one starts, those of living
// programs and of others stay.
func TestDirsOfTheDead(t *testing.T) {
	top := own(t)
	uid := os.Getuid()
	dead, alien := filepath.Join(top, "toolcrib-"+strconv.Itoa(uid)+"-dead"), filepath.Join(top, "toolcrib-x-dead")
	for _, dir := range []string{dead + "/1/tmp", alien} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	living := start(t, "dirs", runner.Options{Dirs: runner.Dirs{Temp: true, Work: true}})
	temp, _, _ := strings.Cut(read(t, living), " ")
	for dir, there := range map[string]bool{dead: false, alien: true, temp: true} {
		if _, err := os.Stat(dir); (err == nil) != there {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
