package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	folder   = "run"
	suffix   = ".sock"
	pathMost = 103 // bytes that every system takes in the path of a socket
	dialTime = 2 * time.Second
	// aboutToListen is how long a socket may be there before it answers.
	aboutToListen = 10 * time.Second
	sockets       = 64 // with the same process id, from containers that share the directory
)

// socketDir is the folder of the sockets, held open so that its sockets can be reached by short paths.
type socketDir struct {
	path string
	file *os.File
}

func openDir(stateDir string) (*socketDir, error) {
	path := filepath.Join(stateDir, folder)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &socketDir{path: path, file: f}, nil
}

func (d *socketDir) close() { _ = d.file.Close() }

// address is where the system finds a socket of the folder: its path or, where that is too long for a socket, one through
// the open folder.
func (d *socketDir) address(name string) (string, error) {
	path := filepath.Join(d.path, name)
	switch {
	case len(path) <= pathMost:
		return path, nil
	case runtime.GOOS == "linux":
		return "/proc/self/fd/" + strconv.Itoa(int(d.file.Fd())) + "/" + name, nil
	}
	return "", fmt.Errorf("%s has %d bytes, more than the %d that the path of a socket may have: set stateDir or TOOLCRIB_STATE_DIR to a shorter folder",
		path, len(path), pathMost)
}

func (d *socketDir) dial(ctx context.Context, name string) (net.Conn, error) {
	address, err := d.address(name)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTime}
	return dialer.DialContext(ctx, "unix", address)
}

// names are the sockets of the folder.
func (d *socketDir) names() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type() == fs.ModeSocket && strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// dead tells whether a socket was left by a gateway that is gone. One that does not answer although there is a process of
// its number may be about to. Not for long, though: then that process is another's, or the rest of a killed one that
// nobody reaped.
func (d *socketDir) dead(ctx context.Context, name string) bool {
	conn, err := d.dial(ctx, name)
	if err == nil {
		_ = conn.Close()
		return false
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	pid := pidOf(name)
	if pid == os.Getpid() || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	info, err := os.Lstat(filepath.Join(d.path, name))
	return err == nil && time.Since(info.ModTime()) > aboutToListen
}

// clean removes the sockets of gateways that were killed.
func (d *socketDir) clean(ctx context.Context) {
	names, err := d.names()
	if err != nil {
		return
	}
	for _, name := range names {
		if d.dead(ctx, name) {
			_ = os.Remove(filepath.Join(d.path, name))
		}
	}
}

// pidOf is the process that a socket is named after.
func pidOf(name string) int {
	digits, _, _ := strings.Cut(strings.TrimSuffix(name, suffix), "-")
	pid, err := strconv.Atoi(digits)
	if err != nil || pid <= 0 {
		return os.Getpid() // no gateway has such a name
	}
	return pid
}

// listener is a socket that is removed when it is closed.
type listener struct {
	net.Listener
	dir  *socketDir
	path string
}

// Close implements net.Listener.
func (l *listener) Close() error {
	err := l.Listener.Close()
	_ = os.Remove(l.path)
	l.dir.close()
	return err
}

// listen makes the socket of this process, which its owner alone can open.
func listen(ctx context.Context, stateDir string) (*listener, error) {
	d, err := makeDir(stateDir)
	if err != nil {
		return nil, err
	}
	d.clean(ctx)
	for i := range sockets {
		name := strconv.Itoa(os.Getpid()) + suffix
		if i > 0 {
			name = strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(i) + suffix
		}
		l, err := d.bind(ctx, name)
		if errors.Is(err, syscall.EADDRINUSE) {
			continue // of a process with the same number, in another container
		}
		if err != nil {
			d.close()
			return nil, err
		}
		return l, nil
	}
	d.close()
	return nil, fmt.Errorf("%s holds %d sockets of processes with the number %d: give each gateway a state directory of its own", d.path, sockets, os.Getpid())
}

// makeDir makes the folder of the sockets, or sees that the one there is this user's alone.
func makeDir(stateDir string) (*socketDir, error) {
	path := filepath.Join(stateDir, folder)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	d, err := openDir(stateDir)
	if err != nil {
		return nil, err
	}
	if err := d.keep(); err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

// keep sees to it that nobody else can get into the folder.
func (d *socketDir) keep() error {
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to another user: remove it, or give this gateway a state directory of its own", d.path)
	}
	if info.Mode().Perm() == 0o700 {
		return nil
	}
	return d.file.Chmod(0o700)
}

func (d *socketDir) bind(ctx context.Context, name string) (*listener, error) {
	address, err := d.address(name)
	if err != nil {
		return nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", address)
	if err != nil {
		return nil, err
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // its path may be one that only holds while the folder is open
	}
	l := &listener{Listener: ln, dir: d, path: filepath.Join(d.path, name)}
	if err := os.Chmod(l.path, 0o600); err != nil {
		_ = ln.Close()
		_ = os.Remove(l.path)
		return nil, err
	}
	return l, nil
}
