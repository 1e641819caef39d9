package cli

import (
	"fmt"
	"net"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/app"
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

// checkStart finds out what keeps a server from ever starting here. What depends on the caller is left to the start.
func checkStart(c *v1.Config, name string, s *v1.Server) error {
	if s.Personal() != "" {
		return nil
	}
	if err := app.Check(name, s, app.DialOptions{Confine: confineCommand(), Launch: launch.New(c, nil)}); err != nil {
		return fmt.Errorf("cannot start %w", err)
	}
	return nil
}

// exposed tells whether serve refuses this configuration unless it is told that
// anyone may call.
func exposed(c *v1.Config) bool {
	host, _, err := net.SplitHostPort(c.Listen)
	return err == nil && c.Unguarded() && !v1.LoopbackHost(host)
}
