package cli

import (
	"strconv"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
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
			if err := launch.Findable(name, s, command); err != nil {
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
