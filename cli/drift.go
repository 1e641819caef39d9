package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/pinning"
	"github.com/toolcrib/toolcrib/runner/launch"
)

type driftCmd struct {
	File    string        `arg:"" help:"Configuration in YAML or JSON."`
	Servers []string      `arg:"" optional:"" help:"Only these servers."`
	JSON    bool          `name:"json" help:"Write JSON."`
	Timeout time.Duration `help:"Give up after this time." default:"5m"`
}

func (*driftCmd) Help() string {
	return `Starts or connects to the servers, and compares what they say of each tool now (name,
description, schemas, annotations) with what is approved in the lock file. It looks
at all servers, also where nothing is pinned yet, but for servers and tools with
pin: off. Text of servers is shown so that it neither steers a terminal nor hides.

The tools of a server that refers to its caller, as with ${principal.subject}, may
differ by caller: ask a running gateway for them, with GET /api/v1/drift.

Examples:

    toolcrib drift toolcrib.yaml
    toolcrib drift toolcrib.yaml files --json

Exit codes: 0 all are as approved, 1 some are not, 3 a server could not be asked.
`
}

func (c *driftCmd) Run(ctx context.Context, sys *system) error {
	found, err := look(ctx, sys, c.File, c.Servers, c.Timeout)
	if err != nil {
		return err
	}
	if c.JSON {
		err = writeJSON(sys.stdout, found.Survey)
	} else {
		err = found.text(sys.stdout)
	}
	if err != nil {
		return err
	}
	found.notes(sys.stderr)
	if n := len(found.Drifts); n > 0 {
		return failf("%s not as approved: look at what changed, and run toolcrib approve %s --tools", count(n, "tool"), c.File)
	}
	return found.failed()
}

// looked is what was found of the servers of a file.
type looked struct {
	*app.Survey
	config *v1.Config
	lock   string
}

// look asks servers of a file for their tools.
func look(ctx context.Context, sys *system, file string, servers []string, most time.Duration) (*looked, error) {
	if most <= 0 {
		return nil, usagef("--timeout must be longer than 0s")
	}
	config, err := readConfig(file)
	if err != nil {
		return nil, err
	}
	names, err := choose(config, file, servers, func(s *v1.Server) bool { return !s.Disabled && s.Pin != v1.PinOff }, "is disabled, or has pin: off")
	if err != nil {
		return nil, err
	}
	if _, err := launch.ReadLock(config.LockFile()); err != nil {
		return nil, failf("%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	survey, err := app.Look(ctx, config, names, app.DialOptions{
		Guard: guardCommand(), Confine: confineCommand(), Version: version(), Log: faults(sys), Launch: launch.New(config, warnings(sys)),
	})
	if err != nil {
		return nil, err
	}
	return &looked{survey, config, config.LockFile()}, nil
}

// text shows what is not as approved.
func (l *looked) text(w io.Writer) error {
	var b strings.Builder
	tools := 0
	for _, s := range l.Servers {
		tools += s.Tools
	}
	for i := range l.Drifts {
		drifted(&b, &l.Drifts[i])
	}
	if len(l.Drifts) == 0 {
		fmt.Fprintf(&b, "%s of %s: all as approved in %s\n", count(tools, "tool"), count(len(l.Servers), "server"), l.lock)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// drifted shows one tool, member by member.
func drifted(b *strings.Builder, d *app.Drift) {
	fmt.Fprintf(b, "%s %s is %s", d.Server, pinning.Inert(d.Tool), d.Verdict)
	if d.Hash != "" {
		fmt.Fprintf(b, " (%s)", d.Hash)
	}
	if d.Why != "" {
		fmt.Fprintf(b, ": %s", pinning.Inert(d.Why))
	}
	b.WriteByte('\n')
	if d.Verdict == pinning.Removed {
		return
	}
	for _, diff := range d.Differences {
		fmt.Fprintf(b, "  %s\n", pinning.Inert(diff.Member))
		if diff.Was != "" {
			fmt.Fprintf(b, "    - %s\n", diff.Was)
		}
		if diff.Is != "" {
			fmt.Fprintf(b, "    + %s\n", diff.Is)
		}
	}
}

// notes tells of servers that were not looked at.
func (l *looked) notes(w io.Writer) {
	for _, s := range l.Servers {
		switch {
		case s.PerCaller:
			_, _ = fmt.Fprintf(w, "note: the tools of %s may differ by caller and were not looked at; a running gateway knows them: GET /api/v1/drift\n", s.Name)
		case s.Error != "":
			_, _ = fmt.Fprintf(w, "note: %s was not looked at: %s\n", s.Name, printable(s.Error))
		}
	}
}

// failed is the error when some server could not be asked.
func (l *looked) failed() error {
	n := 0
	for _, s := range l.Servers {
		if s.Error != "" {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return &exitError{ExitUnreachable, fmt.Errorf("%s could not be asked", count(n, "server"))}
}

// approveTools approves definitions of tools as they are now.
func (c *approveCmd) approveTools(ctx context.Context, sys *system) error {
	found, err := look(ctx, sys, c.File, c.Servers, c.Timeout)
	if err != nil {
		return err
	}
	found.notes(sys.stderr)
	chosen, err := c.chosen(found.Drifts)
	if err != nil {
		return err
	}
	var b strings.Builder
	unfit := 0
	for i := range chosen {
		drifted(&b, &chosen[i])
		if chosen[i].Verdict == pinning.Unfit {
			unfit++
		}
	}
	if _, err := io.WriteString(sys.stdout, b.String()); err != nil {
		return err
	}
	switch {
	case c.DryRun && len(chosen) > 0:
		return failf("%s not approved", count(len(chosen), "tool"))
	case !c.DryRun:
		err = launch.UpdateLock(ctx, found.lock, func(l *launch.Lock) error {
			enter(l.Definitions, chosen)
			return nil
		})
	}
	if err != nil {
		return failf("%w", err)
	}
	if n := len(chosen) - unfit; n == 0 {
		_, _ = fmt.Fprintf(sys.stdout, "nothing to approve in %s\n", found.lock)
	} else {
		_, _ = fmt.Fprintf(sys.stdout, "approved %s in %s\n", count(n, "tool"), found.lock)
	}
	if unfit > 0 {
		return failf("%s cannot be approved", count(unfit, "tool"))
	}
	return found.failed()
}

// enter has a book approve what was found.
func enter(book pinning.Book, found []app.Drift) {
	for i := range found {
		switch d := &found[i]; {
		case d.Verdict == pinning.Removed:
			book.Forget(d.Server, d.Tool)
		case d.Definition() != nil:
			book.Approve(d.Server, d.Tool, d.Definition())
		}
	}
}

// chosen are the tools that the flags name; all without any.
func (c *approveCmd) chosen(all []app.Drift) ([]app.Drift, error) {
	if len(c.Tool) == 0 {
		return all, nil
	}
	for _, name := range c.Tool {
		if !slices.ContainsFunc(all, func(d app.Drift) bool { return d.Tool == name }) {
			return nil, failf("no tool %q is there that is not as approved; toolcrib drift %s shows those that are not", name, c.File)
		}
	}
	return slices.DeleteFunc(all, func(d app.Drift) bool { return !slices.Contains(c.Tool, d.Tool) }), nil
}
