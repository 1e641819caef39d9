package upstream

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/runner"
)

// confine has a command run as the user, within the limits and in the sandbox of its server.
func confine(c *runner.Command, spec *v1.Server) {
	r := spec.Resources
	c.User = spec.User
	c.Limits = runner.Limits{Memory: uint64(max(0, r.Memory)), Pids: r.Pids, CPU: float64(r.CPU) / 1000, Files: r.Files}
	if s := spec.Sandbox; s != nil {
		c.Sandbox = &runner.Sandbox{Read: atHome(s.Read), Write: atHome(s.Write), Network: s.Network}
	}
}

// atHome replaces a leading ~ with the home directory.
func atHome(paths []string) []string {
	home, err := os.UserHomeDir()
	if err != nil {
		return paths
	}
	full := make([]string, len(paths))
	for i, p := range paths {
		if full[i] = p; p == "~" || strings.HasPrefix(p, "~/") {
			full[i] = filepath.Join(home, p[1:])
		}
	}
	return full
}

// folders are those an instance gets for itself: one for temporary files, and one to work in where
// none is given and it must not meet what others left in the program's own.
func (s *Server) folders(spec *v1.Server, args []string) runner.Dirs {
	apart := spec.Sandbox != nil || s.opts.Isolation != "" && s.opts.Isolation != v1.IsolationShared
	return runner.Dirs{Temp: true, Work: apart && spec.Cwd == "" && !slices.ContainsFunc(args, isHere)}
}

// isHere reports whether an argument is a path into the program's own working directory.
func isHere(arg string) bool {
	if filepath.IsAbs(arg) {
		return false
	}
	_, err := os.Lstat(arg)
	return err == nil
}
