package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/runner/launch"
	"github.com/toolcrib/toolcrib/source"
)

type validateCmd struct {
	File   string `arg:"" help:"Configuration in YAML or JSON."`
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

func (*validateCmd) Help() string {
	return `Reports all problems at once, each with line and path, and shows the servers
and toolsets when there is none, with warnings of what has no effect, will be refused or
could not be started here: programs that are not installed, packages that were
not pulled, commands that were not approved. Nothing is started or connected to. Variables that FILE refers to must be set,
as for serve.

Examples:

    toolcrib validate mcp.json
    toolcrib validate toolcrib.yaml -o json

Exit codes: 0 valid, 1 problems found, 2 the file cannot be read.
`
}

func (c *validateCmd) Run(sys *system) error {
	config, err := readConfig(c.File)
	if err == nil {
		err = lockProblem(c.File, config)
	}
	if err == nil {
		err = policyProblems(c.File, config)
	}
	if err == nil && exposed(config) {
		config.Warnings = append(config.Warnings, "listen: others can reach "+config.Listen+
			" and no API key is configured; serve refuses this without --allow-unauthenticated")
	}
	if err == nil {
		config.Warnings = append(config.Warnings, unready(config)...)
	}
	problems, ok := errors.AsType[v1.Problems](err)
	switch {
	case c.Output == "json" && ok:
		if err := validationJSON(sys.stdout, nil, problems); err != nil {
			return err
		}
		return &exitError{code: ExitFailed} // the answer says it all
	case err != nil:
		return err
	case c.Output == "json":
		return validationJSON(sys.stdout, config, nil)
	}
	return validationText(sys.stdout, c.File, config)
}

// lockProblem tells what is wrong with the lock file of a configuration: no package or approval counts then.
func lockProblem(file string, c *v1.Config) error {
	_, err := launch.ReadLock(c.LockFile())
	if err == nil {
		return nil
	}
	return failf("%s has 1 problem:\n%w", file, v1.Problems{{Path: "launch.lock", Message: err.Error()}})
}

// policyProblems tells what is wrong with the policies of a configuration, and adds what is only odd to its warnings.
func policyProblems(file string, c *v1.Config) error {
	set, err := policy.Compile(c, policy.Options{})
	if err != nil {
		var all v1.Problems
		for line := range strings.Lines(err.Error()) {
			all = append(all, v1.Problem{Path: "policies.cedar", Message: strings.TrimSuffix(line, "\n")})
		}
		return failf("%s has %s:\n%w", file, count(len(all), "problem"), all)
	}
	c.Warnings = append(append(c.Warnings, set.Warnings()...), policy.Suspects(c)...)
	return nil
}

// readConfig reads and parses a file, as serve does.
func readConfig(file string) (*v1.Config, error) {
	config, err := (&source.File{Path: file}).Load()
	return config, fileError(err)
}

// fileError gives what is wrong with a configuration file its exit code. Other
// errors stay as they are.
func fileError(err error) error {
	e, ok := errors.AsType[*source.Error](err)
	switch {
	case !ok:
		return err
	case e.Err != nil:
		return usagef("%w", err)
	default:
		return failf("%s has %s:\n%w", e.Path, count(len(e.Problems), "problem"), err)
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func validationText(out io.Writer, file string, c *v1.Config) error {
	names := c.ServerNames()
	_, _ = fmt.Fprintf(out, "%s is valid: %s at %s\n", file, count(len(names), "server"), c.Listen)
	for _, warning := range c.Warnings {
		_, _ = fmt.Fprintln(out, "warning: "+warning)
	}
	if len(names) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "\nSERVER\tTYPE\tTOOLS ARE NAMED\tISOLATION\tAT ONCE\tINSTANCES\tTARGET")
	for _, name := range names {
		s := c.MCPServers[name]
		isolation, concurrency, pool := instancesOf(c, name)
		target := where(s)
		if n := len(s.URLs); n > 1 {
			target += fmt.Sprintf(" and %d more", n-1)
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, s.Type, c.PrefixOf(name)+"*", isolation, concurrency, pool, target)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return toolsetsText(out, c)
}

// instancesOf tells in words who shares an instance of a server, what one is sent at once, and how many there are.
func instancesOf(c *v1.Config, name string) (isolation, concurrency, pool string) {
	isolation = isolationOf(c, name)
	if c.MCPServers[name].Isolation == "" {
		isolation += " (derived)"
	}
	if c.IsolationOf(name) == "" {
		return isolation, "-", elsewhere(c.MCPServers[name])
	}
	p := c.PoolOf(name)
	pool = fmt.Sprintf("%d to %d", p.Min, p.Max)
	if p.Min == p.Max {
		pool = strconv.Itoa(p.Max)
	}
	if p.Spares > 0 {
		pool += fmt.Sprintf(", %d spare", p.Spares)
	}
	if c.MCPServers[name].URL != "" {
		return isolation, "-", pool // of connections
	}
	return isolation, p.Concurrency.String(), pool
}

// elsewhere tells how many instances there are of a server that runs elsewhere, and is the same for all.
func elsewhere(s *v1.Server) string {
	switch {
	case len(s.URLs) > 0:
		return strconv.Itoa(len(s.URLs))
	case s.DNS != nil:
		return "by DNS"
	case s.URL != "":
		return "1"
	}
	return "-"
}

// isolationOf tells which callers share an instance of a server, or its connections where it runs elsewhere.
func isolationOf(c *v1.Config, name string) string {
	if isolation := c.IsolationOf(name); isolation != "" {
		return isolation
	}
	return v1.IsolationShared
}

// validation is the answer of validate --output json.
type validation struct {
	Valid    bool              `json:"valid"`
	Problems v1.Problems       `json:"problems"`
	Warnings []string          `json:"warnings"`
	Listen   string            `json:"listen,omitempty"`
	Servers  []validatedServer `json:"servers"`
	// Toolsets are missing where there are none.
	Toolsets []validatedToolset `json:"toolsets,omitempty"`
}

type validatedServer struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Prefix    string `json:"prefix"`
	Target    string `json:"target"`
	Isolation string `json:"isolation"`
	Derived   bool   `json:"isolationDerived,omitempty"`
	// What follows is of servers that the gateway starts or reaches for each caller apart.
	Concurrency string   `json:"concurrency,omitempty"`
	Pool        *v1.Pool `json:"pool,omitempty"`
}

func validationJSON(w io.Writer, c *v1.Config, problems v1.Problems) error {
	// Lists are [] when they are empty, never null.
	v := validation{Valid: c != nil, Problems: v1.Problems{}, Warnings: []string{}, Servers: []validatedServer{}}
	v.Problems = append(v.Problems, problems...)
	if c != nil {
		v.Warnings = append(v.Warnings, c.Warnings...)
		v.Listen = c.Listen
		for _, name := range c.ServerNames() {
			v.Servers = append(v.Servers, validated(c, name))
		}
		v.Toolsets = validatedToolsets(c)
	}
	return writeJSON(w, v)
}

func validated(c *v1.Config, name string) validatedServer {
	s := c.MCPServers[name]
	v := validatedServer{Name: name, Type: s.Type, Prefix: c.PrefixOf(name), Target: where(s), Isolation: isolationOf(c, name), Derived: s.Isolation == ""}
	if c.IsolationOf(name) != "" {
		p := c.PoolOf(name)
		v.Concurrency, v.Pool = p.Concurrency.String(), &p
	}
	return v
}

// writeJSON writes v indented, for people and programs alike.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
