package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/runner/launch"
)

type approveCmd struct {
	File    string        `arg:"" help:"Configuration in YAML or JSON."`
	Servers []string      `arg:"" optional:"" help:"Only these servers."`
	Tools   bool          `help:"Approve what the servers say of their tools now, instead of what is started for them."`
	Tool    []string      `help:"With --tools: only this tool, by the server's own name for it. May be repeated." placeholder:"NAME" sep:"none"`
	DryRun  bool          `short:"n" help:"Show what is not approved as it stands, and write nothing."`
	Timeout time.Duration `help:"With --tools: give up after this time." default:"5m"`
}

func (*approveCmd) Help() string {
	return `Shows what each server that has a command or a package would start, and writes
its approval into the lock file. With launch.approval: required, a server starts
only as it was approved: with that command, arguments, names of environment
variables, working directory, user, sandbox, and content of its package. A change
of any of them needs an approval anew; the other servers go on.

Run it with the environment that serve has: what ${env:…} and ${file:…} stand for
in arguments is part of what is approved, and is shown. References to the caller,
such as ${principal.subject}, are approved as they are written.

With --tools it starts or connects to the servers, shows each tool whose definition
(name, description, schemas, annotations) is new, changed or gone, as toolcrib drift
does, and approves it as it is. With pin: strict only approved tools are offered.
Read what it shows: a description is what models are told.

Examples:

    toolcrib approve toolcrib.yaml
    toolcrib approve toolcrib.yaml files
    toolcrib approve toolcrib.yaml --dry-run
    toolcrib approve toolcrib.yaml files --tools --tool read_file

Exit codes: 0 all approved, 1 something is not (with --dry-run) or cannot be.
`
}

func (c *approveCmd) Run(ctx context.Context, sys *system) error {
	switch {
	case c.Tools:
		return c.approveTools(ctx, sys)
	case len(c.Tool) > 0:
		return usagef("--tool goes with --tools")
	}
	config, err := readConfig(c.File)
	if err != nil {
		return err
	}
	names, err := choose(config, c.File, c.Servers, func(s *v1.Server) bool { return s.Type == v1.TypeStdio }, "has a url: nothing is started for it")
	if err != nil {
		return err
	}
	path := config.LockFile()
	if c.DryRun {
		lock, err := launch.ReadLock(path)
		if err != nil {
			return failf("%w", err)
		}
		open, err := c.approve(sys.stdout, config, lock, names)
		if err == nil && open > 0 {
			err = failf("%s not approved", count(open, "server"))
		}
		return err
	}
	done := 0
	err = launch.UpdateLock(ctx, path, func(lock *launch.Lock) (err error) {
		done, err = c.approve(sys.stdout, config, lock, names)
		return err
	})
	if err != nil {
		return failf("%w", err)
	}
	if done == 0 {
		_, _ = fmt.Fprintf(sys.stdout, "nothing to approve: %s in %s are as they were approved\n", count(len(names), "server"), path)
		return nil
	}
	_, _ = fmt.Fprintf(sys.stdout, "approved %s in %s\n", count(done, "server"), path)
	return nil
}

// approve shows what is not approved as it stands, and has the lock approve it.
func (*approveCmd) approve(w io.Writer, config *v1.Config, lock *launch.Lock, names []string) (open int, err error) {
	for _, name := range names {
		s := config.MCPServers[name]
		ok, why, err := lock.Approved(name, s)
		if err != nil {
			return 0, failf("%s: %w", name, err)
		}
		if ok {
			continue
		}
		a, err := lock.Approve(s)
		if err != nil {
			return 0, failf("%s: %w", name, err)
		}
		open++
		show(w, name, why, s, a)
		lock.Approvals[name] = a
	}
	return open, nil
}

// show tells all that an approval is about.
func show(w io.Writer, name, why string, s *v1.Server, a *launch.Approval) {
	_, _ = fmt.Fprintf(w, "%s %s\n", name, why)
	line := func(key, value string) {
		if value != "" {
			_, _ = fmt.Fprintf(w, "  %-8s %s\n", key, value)
		}
	}
	line("command", worded(s.Command))
	if s.Package != "" {
		line("package", worded(s.Package, a.Digest))
	}
	line("args", worded(s.Args...))
	line("env", worded(a.Env...))
	line("cwd", worded(s.Cwd))
	line("user", worded(s.User))
	if s.Sandbox != nil {
		line("sandbox", sandboxed(s.Sandbox))
	}
}

// sandboxed tells what a confined server may reach.
func sandboxed(s *v1.Sandbox) string {
	all := []string{"network", cmp.Or(s.Network, v1.NetworkNone)}
	for _, list := range []struct {
		key   string
		paths []string
	}{{"read", s.Read}, {"write", s.Write}} {
		if len(list.paths) > 0 {
			all = append(append(all, list.key), list.paths...)
		}
	}
	return worded(all...)
}

// worded joins words, and quotes what could be taken for several or for something else. One empty word is nothing.
func worded(words ...string) string {
	if len(words) == 1 && words[0] == "" {
		return ""
	}
	quoted := make([]string, len(words))
	for i, word := range words {
		if quoted[i] = strconv.QuoteToGraphic(word); len(quoted[i]) == len(word)+2 && word != "" && !strings.Contains(word, " ") {
			quoted[i] = word
		}
	}
	return strings.Join(quoted, " ")
}
