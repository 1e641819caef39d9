package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/toolcrib/toolcrib/control"
)

type logCmd struct {
	Level logLevelCmd `cmd:"" help:"Show or change the levels that the components of a gateway log."`
}

type logLevelCmd struct {
	Levels       []string      `arg:"" optional:"" name:"component=level" help:"A component and its new level; a level alone is for all components."`
	For          time.Duration `placeholder:"DURATION" help:"How long it counts, such as 10m (default: until the gateway ends)."`
	Output       string        `short:"o" enum:"table,json" default:"table" help:"table or json."`
	gatewayFlags `embed:""`
}

func (*logLevelCmd) Help() string {
	return `Levels are debug, info, warn, error, and default for that of the configuration.
What is set here goes before log.level and log.levels of the configuration, also of
one that is applied later. Of several replicas it is the one that answers. Showing
takes log:read, changing log:write. The line of each call is of the component calls.
` + gatewayHelp + `
Examples:

    toolcrib log level
    toolcrib log level upstream=debug runner=debug --for 10m
    toolcrib log level default
`
}

// Run shows the levels, after they were changed.
func (c *logLevelCmd) Run(ctx context.Context, sys *system) error {
	changes, err := c.changes()
	if err != nil {
		return err
	}
	return c.asking(ctx, func(ctx context.Context, r *control.Remote) error {
		var report *control.LogReport
		if len(changes) == 0 {
			report, err = r.LogLevels(ctx)
		}
		for _, change := range changes {
			if report, err = r.SetLogLevel(ctx, change); err != nil {
				break
			}
		}
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return writeJSON(sys.stdout, report)
		}
		return logLevelsText(sys.stdout, report)
	})
}

func (c *logLevelCmd) changes() ([]control.LogChange, error) {
	if c.For != 0 && (c.For < time.Second || len(c.Levels) == 0) {
		return nil, usagef("--for is how long a level counts that is named: at least 1s, as in toolcrib log level upstream=debug --for 10m")
	}
	var all []control.LogChange
	for _, text := range c.Levels {
		component, level, named := strings.Cut(text, "=")
		if !named {
			component, level = "", component
		}
		if level == "" || named && component == "" {
			return nil, usagef("%q is no component and level; write upstream=debug", printable(text))
		}
		all = append(all, control.LogChange{Component: component, Level: level, Seconds: int64(c.For / time.Second)})
	}
	return all, nil
}

func logLevelsText(out io.Writer, r *control.LogReport) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "COMPONENT\tLEVEL\tCONFIGURED\tUNTIL")
	for _, l := range r.Components {
		until := "-"
		if l.Set && l.Until.IsZero() {
			until = "the gateway ends"
		} else if l.Set {
			until = l.Until.UTC().Format(time.DateTime + "Z")
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", printable(l.Component), printable(l.Level), printable(l.Configured), until)
	}
	return w.Flush()
}
