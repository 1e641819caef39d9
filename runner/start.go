package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// resolve checks the command and finds its program.
func (c Command) resolve() (string, error) {
	if c.Path == "" {
		return "", c.refused("no command given: name a program to start")
	}
	if strings.ContainsRune(strings.Join(append([]string{c.Path, c.Dir}, append(c.Args, c.Env...)...), ""), 0) {
		return "", c.refused("command, arguments, environment or working directory contain a NUL byte: remove it")
	}
	if err := c.checkDir(); err != nil {
		return "", err
	}
	if strings.Contains(c.Path, "/") {
		return c.direct()
	}
	return c.search()
}

func (c Command) checkDir() error {
	if c.Dir == "" {
		return nil
	}
	info, err := os.Stat(c.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c.refused("working directory %q does not exist: create it or change cwd", c.Dir)
	case err != nil:
		return c.refused("working directory %q cannot be used: %w", c.Dir, err)
	case !info.IsDir():
		return c.refused("working directory %q is not a directory: change cwd", c.Dir)
	}
	return nil
}

// direct checks a program given as a path. A relative one starts at the working directory.
func (c Command) direct() (string, error) {
	path := c.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.Dir, path)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", c.refused("command %q: %w", c.Path, err)
	}
	err = executable(path)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, fs.ErrNotExist):
		return "", c.refused("command %q does not exist: %s", path, c.remedy())
	case errors.Is(err, errDirectory):
		return "", c.refused("command %q is a directory: give the path of a program", path)
	}
	return "", c.refused("command %q is not executable: chmod +x it, or check the rights of its directories (%w)", path, err)
}

// search looks a program up in the PATH the child will have, or else in the program's own.
func (c Command) search() (string, error) {
	denied := ""
	for _, dir := range filepath.SplitList(c.searched()) {
		if !filepath.IsAbs(dir) {
			continue // a program that lies in the current directory by chance is not the one meant
		}
		path := filepath.Join(dir, c.Path)
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			denied = path
		}
	}
	if denied != "" {
		return "", c.refused("command %q is not executable: chmod +x it", denied)
	}
	return "", c.refused("command %q not found: %s", c.Path, c.remedy())
}

// searched is the list of directories in which the program is looked up.
func (c Command) searched() string {
	if list, ok := c.lookup("PATH"); ok {
		return list
	}
	return os.Getenv("PATH")
}

func (c Command) lookup(name string) (value string, ok bool) {
	for _, e := range c.Env {
		if k, v, _ := strings.Cut(e, "="); k == name {
			value, ok = v, true
		}
	}
	return value, ok
}

var errDirectory = errors.New("is a directory")

// executable reports why the file cannot be executed, nil when it can.
func executable(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return errDirectory
	}
	if info.Mode()&0o111 == 0 {
		return fs.ErrPermission
	}
	if err := syscall.Access(path, 1); errors.Is(err, syscall.EACCES) {
		return fs.ErrPermission
	}
	return nil
}

// remedies tell how to come by the launchers most servers are started with.
var remedies = map[string]string{
	"node": "install Node.js", "npx": "install Node.js, which brings npx", "npm": "install Node.js, which brings npm",
	"uv": "install uv", "uvx": "install uv, which brings uvx",
	"python": "install Python 3, or use python3 as the command", "python3": "install Python 3", "pipx": "install pipx",
	"bun": "install Bun", "bunx": "install Bun, which brings bunx", "deno": "install Deno",
	"docker": "install Docker", "podman": "install Podman", "go": "install Go", "java": "install a Java runtime", "dotnet": "install .NET",
}

func (c Command) remedy() string {
	if r, ok := remedies[filepath.Base(c.Path)]; ok {
		return r + ", or give the full path of the command"
	}
	return "install it, or give the full path of the command"
}

// failed explains an error of the system on starting path.
func (c Command) failed(path string, err error) error {
	switch {
	case errors.Is(err, errLauncher):
		return c.refused("command %q cannot start: %w", path, err)
	case errors.Is(err, syscall.ENOENT):
		return c.refused("command %q cannot start: the interpreter in its first line, or its loader, does not exist: install it (%w)", path, err)
	case errors.Is(err, syscall.ENOEXEC):
		return c.refused("command %q cannot start: it is neither a program of this machine nor a script with a #! line (%w)", path, err)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return c.refused("command %q may not be executed: check its rights, its interpreter's, and whether its file system is mounted noexec (%w)", path, err)
	case errors.Is(err, syscall.E2BIG):
		return c.refused("command %q: arguments and environment are too long: shorten them (%w)", path, err)
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM):
		return c.refused("command %q cannot start: no process or memory left: raise the limits or stop other servers (%w)", path, err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return c.refused("command %q cannot start: no file descriptor left: raise the limit on open files (%w)", path, err)
	}
	return c.refused("command %q cannot start: %w", path, err)
}

func (c Command) refused(format string, args ...any) error {
	return fmt.Errorf("%s: "+format, append([]any{nameOf(c.Server)}, args...)...)
}
