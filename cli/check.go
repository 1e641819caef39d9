package cli

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/runner/launch"
)

// checkListen judges the value of --listen as the key of a file is judged. It
// may be empty.
func checkListen(listen string) error {
	if listen == "" {
		return nil
	}
	c := v1.New()
	c.Listen = listen
	if p, ok := problemAt(c, "listen"); ok {
		return usagef("--listen: %s", p.Message)
	}
	return nil
}

// checkRemote judges what --url and --api-key made of a server. Neither is
// shown: both may hold a secret.
func checkRemote(s *v1.Server) error {
	c := v1.New()
	c.MCPServers = map[string]*v1.Server{"server": s}
	if p, ok := problemAt(c, "mcpServers.server.url"); ok {
		what, _, _ := strings.Cut(p.Message, ";")
		if strings.Contains(what, "password") {
			return usagef("--url %s; send a key with %s or --api-key", what, keyVariable)
		}
		return usagef("--url %s; write http://host:port/mcp", what)
	}
	if p, ok := problemAt(c, "mcpServers.server.headers.Authorization"); ok {
		return usagef("--api-key (%s) %s", keyVariable, p.Message)
	}
	return nil
}

func problemAt(c *v1.Config, path string) (v1.Problem, bool) {
	for _, p := range c.Validate() {
		if p.Path == path {
			return p, true
		}
	}
	return v1.Problem{}, false
}

// checkCommand finds out whether there is such a program. One that is looked up
// in a PATH of its own is left to the start.
func checkCommand(c *v1.Config, s *v1.Server) error {
	if _, own := s.Env["PATH"]; own {
		return nil
	}
	command := s.Command
	if s.Package != "" {
		command, _ = launch.New(c, nil).Needs(s)
	}
	if command == "" {
		return nil
	}
	_, err := exec.LookPath(command)
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*exec.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("cannot start %q: %w; install it, or give the path of a program", command, err)
}

// exposed tells whether serve refuses this configuration unless it is told that
// anyone may call.
func exposed(c *v1.Config) bool {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil || len(c.Auth.APIKeys) > 0 || host == "localhost" {
		return false
	}
	ip := net.ParseIP(host)
	return ip == nil || !ip.IsLoopback()
}
