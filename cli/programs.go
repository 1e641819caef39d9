package cli

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/runner"
	"github.com/toolcrib/toolcrib/runner/launch"
)

// unready warns of servers that could not be started here as the file is: programs that are not installed, packages
// that were not pulled, and what was not approved.
func unready(c *v1.Config) []string {
	l := launch.New(c, nil)
	lock, err := launch.ReadLock(c.LockFile())
	if err != nil {
		return []string{"launch.lock: " + err.Error()}
	}
	var all []string
	for _, name := range c.ServerNames() {
		s := c.MCPServers[name]
		if s.Type != v1.TypeStdio {
			continue
		}
		warn := func(key, text string) { all = append(all, "mcpServers."+name+"."+key+": "+text) }
		command, problem := l.Needs(s)
		if command != "" {
			if err := findable(name, s, command); err != nil {
				warn(program(s), strings.TrimPrefix(err.Error(), "server "+strconv.Quote(name)+": "))
			}
		}
		if problem != "" {
			warn("package", problem)
		} else if err := l.Changed(s); err != nil {
			warn("package", err.Error())
		}
		if c.Launch.Approval != v1.ApprovalRequired {
			continue
		}
		if ok, why, err := lock.Approved(name, s); err != nil {
			warn(program(s), err.Error())
		} else if !ok {
			warn(program(s), why+", so that it will not be started: run toolcrib approve")
		}
	}
	return all
}

// program is the key that says what is started.
func program(s *v1.Server) string {
	if s.Package != "" {
		return "package"
	}
	return "command"
}

// findable tells why a program cannot be started for a server.
func findable(name string, s *v1.Server, command string) error {
	dir := s.Cwd
	if !filepath.IsAbs(dir) || strings.Contains(dir, "${") { // it depends on where the gateway is started, or on the caller
		if strings.Contains(command, "/") && !filepath.IsAbs(command) {
			return nil
		}
		dir = ""
	}
	_, err := runner.Command{Server: name, Path: command, Dir: dir, Env: runner.Environ(os.LookupEnv, s.Env)}.Find()
	return err
}
