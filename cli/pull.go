package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/runner/launch"
)

type pullCmd struct {
	Target       string        `arg:"" help:"Configuration in YAML or JSON, or the reference of a package."`
	Servers      []string      `arg:"" optional:"" help:"Only these servers of FILE, or further references."`
	Update       bool          `help:"Resolve versions anew, also of what is pinned already." xor:"mode"`
	Frozen       bool          `help:"Fetch what the lock file pins, and fail rather than change it." xor:"mode"`
	AllowScripts bool          `help:"Run the install scripts of npm packages and of all their dependencies."`
	StateDir     string        `placeholder:"DIR" env:"TOOLCRIB_STATE_DIR" help:"Keep packages here, whatever FILE says."`
	Timeout      time.Duration `help:"Give up after this time." default:"10m"`
}

func (*pullCmd) Help() string {
	return `Fetches the packages of the servers of FILE (key package), finds out their exact
versions, and pins both in the lock file: versions, and digests of what was
installed. A start of a pulled package needs no network, and is refused when the
package is not as it was pulled. Keep the lock file, toolcrib.lock beside FILE,
in version control; packages lie below stateDir and are fetched on each machine.

With references in place of FILE, packages are pulled for toolcrib run and call;
their lock file is in the state directory.

It takes npm for npx:, uv for uvx: and Go for go:. Install scripts of npm packages
are not run: they could do anything, and few servers need them.

Examples:

    toolcrib pull toolcrib.yaml
    toolcrib pull toolcrib.yaml files --update
    toolcrib pull npx:@modelcontextprotocol/server-everything@2026.8.31
    toolcrib pull toolcrib.yaml --frozen      in an image or in CI
`
}

// wish is a package to pull, and the servers that want it.
type wish struct {
	pkg     v1.Package
	env     map[string]string
	servers []string
}

func (c *pullCmd) Run(ctx context.Context, sys *system) error {
	config, wishes, err := c.wishes()
	if err != nil {
		return err
	}
	if len(wishes) == 0 {
		_, _ = fmt.Fprintf(sys.stdout, "%s has no servers with a package: nothing to pull\n", c.Target)
		return nil
	}
	config.StateDir = cmp.Or(c.StateDir, config.StateDir)
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	p := launch.Puller{
		StateDir: config.StateDir, Lock: config.LockFile(), Environ: os.Environ(), Update: c.Update, Frozen: c.Frozen, Scripts: c.AllowScripts,
	}
	failed := 0
	for _, w := range wishes {
		_, _ = fmt.Fprintf(sys.stderr, "pulling %s\n", w.pkg)
		done, err := p.Pull(ctx, w.pkg, w.env)
		if err != nil {
			if ctx.Err() != nil {
				return failf("%w", err)
			}
			_, _ = fmt.Fprintf(sys.stderr, "toolcrib: %s\n", err)
			failed++
			continue
		}
		_, _ = fmt.Fprintln(sys.stdout, pulled(w, done))
	}
	if failed > 0 {
		return failf("%s not pulled", count(failed, "package"))
	}
	return nil
}

// shownData is how many files of servers are named.
const shownData = 5

func pulled(w wish, done *launch.Pulled) string {
	line := fmt.Sprintf("%s  %s  %s", w.pkg, done.Entry.Version, done.Outcome)
	if done.Was != "" && done.Was != done.Entry.Version {
		line += " (was " + done.Was + ")"
	}
	if done.Outcome == launch.Mended {
		line += ": its files had changed"
	}
	if n := len(done.Data); n > 0 {
		line += "; carried over what servers wrote: " + strings.Join(done.Data[:min(n, shownData)], ", ")
		if n > shownData {
			line += fmt.Sprintf(" and %d more", n-shownData)
		}
	}
	if len(w.servers) > 0 {
		line += "  for " + strings.Join(w.servers, ", ")
	}
	return line
}

// wishes are the packages to pull, each once.
func (c *pullCmd) wishes() (*v1.Config, []wish, error) {
	if v1.IsPackage(c.Target) {
		w, err := references(append([]string{c.Target}, c.Servers...))
		return unconfigured(), w, err
	}
	config, err := readConfig(c.Target)
	if err != nil {
		return nil, nil, err
	}
	names, err := choose(config, c.Target, c.Servers, func(s *v1.Server) bool { return s.Package != "" }, "has no package")
	if err != nil {
		return nil, nil, err
	}
	var all []wish
	for _, name := range names {
		s := config.MCPServers[name]
		p, err := v1.ParsePackage(s.Package)
		if err != nil {
			return nil, nil, usagef("%s: %w", name, err) // which a valid configuration does not have
		}
		if i := slices.IndexFunc(all, func(w wish) bool { return w.pkg == p }); i >= 0 {
			all[i].servers = append(all[i].servers, name)
			continue
		}
		all = append(all, wish{pkg: p, env: maps.Clone(s.Env), servers: []string{name}})
	}
	return config, all, nil
}

func references(texts []string) ([]wish, error) {
	all := make([]wish, 0, len(texts))
	for _, text := range texts {
		p, err := v1.ParsePackage(text)
		if err != nil {
			return nil, usagef("%q %w", text, err)
		}
		all = append(all, wish{pkg: p})
	}
	return all, nil
}

// choose returns the servers of a file that are named, or all that fit. A named one that does not fit is an error.
func choose(c *v1.Config, file string, named []string, fits func(*v1.Server) bool, why string) ([]string, error) {
	names := c.ServerNames()
	for _, name := range named {
		switch {
		case !slices.Contains(names, name):
			return nil, usagef("%s has no server %q; it has: %s", file, name, strings.Join(names, ", "))
		case !fits(c.MCPServers[name]):
			return nil, usagef("the server %q of %s %s", name, file, why)
		}
	}
	if len(named) > 0 {
		return named, nil
	}
	return slices.DeleteFunc(names, func(name string) bool { return !fits(c.MCPServers[name]) }), nil
}
