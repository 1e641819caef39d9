package runner

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func withoutPidfd(c child, drop bool) child {
	if drop && c.fd != nil {
		_ = c.fd.Close()
		c.fd = nil
	}
	return c
}

// A process that swaps its directories for links while they are removed does not lead the program to others' files.
func TestRemovalStaysInTheTree(t *testing.T) {
	tree, other := t.TempDir(), t.TempDir()
	if err := os.Chmod(other, 0o711); err != nil {
		t.Fatal(err)
	}
	dir, link := filepath.Join(tree, "dir"), filepath.Join(tree, "link")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	quit, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case <-quit:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
			}
		}
	}()
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
		openUp(tree)
	}
	close(quit)
	<-over
	if info, err := os.Stat(other); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("another directory was changed: %v, %v", info.Mode(), err)
	}
}
