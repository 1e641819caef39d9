package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/control"
)

type logsCmd struct {
	Server   string `arg:"" help:"Name of the server, as \"toolcrib ps\" shows it."`
	File     string `arg:"" optional:"" help:"Configuration that the gateway serves; it names the state directory."`
	Follow   bool   `short:"f" help:"Go on with what the server prints from now on, until Ctrl-C."`
	Lines    int    `short:"n" default:"100" help:"How many of the last lines to show."`
	Gateway  int    `placeholder:"PID" help:"Which gateway, where several run that have such a server."`
	Output   string `short:"o" enum:"text,json" default:"text" help:"text, or json: one object a line."`
	gateways `embed:""`
}

func (*logsCmd) Help() string {
	return `Shows what the processes of a stdio server printed to standard error, each line
with its time and process. A line marked with ! stood on standard output, where
only messages belong. The gateway keeps the last 2,000 lines of each server.

Examples:

    toolcrib logs files
    toolcrib logs files -f -n 0
    toolcrib logs files toolcrib.yaml -o json

Exit codes: 0 shown, 1 no such server, 2 the command line is wrong, 3 no gateway
runs there.
`
}

func (c *logsCmd) Run(ctx context.Context, sys *system) error {
	if c.Lines < 0 {
		return usagef("--lines must not be less than 0")
	}
	all, err := c.find(ctx, sys.stderr, c.File)
	if err != nil {
		return err
	}
	defer closeAll(all)
	client, err := c.choose(all)
	if err != nil {
		return err
	}
	show := logText
	if c.Output == "json" {
		show = logJSON
	}
	for line, err := range client.Logs(ctx, c.Server, c.Lines, c.Follow) {
		if e, ok := errors.AsType[*control.UnknownServer](err); ok {
			return unknownServer(e.Name, e.Servers)
		}
		if err == nil {
			err = show(sys.stdout, line)
		}
		if err != nil {
			return err
		}
	}
	return nil // Ctrl-C is how following ends
}

// choose finds the gateway that has the server.
func (c *logsCmd) choose(all []*control.Client) (*control.Client, error) {
	var fit []*control.Client
	var names, pids []string
	for _, client := range all {
		r := client.Report
		if c.Gateway != 0 && c.Gateway != r.PID {
			continue
		}
		for _, s := range r.Servers {
			names = append(names, s.Name)
			if s.Name == c.Server {
				fit = append(fit, client)
				pids = append(pids, strconv.Itoa(r.PID))
			}
		}
	}
	switch {
	case len(fit) > 1:
		return nil, usagef("%d gateways run a server %q: choose one with --gateway %s", len(fit), c.Server, strings.Join(pids, " or --gateway "))
	case len(fit) == 0:
		return nil, unknownServer(c.Server, names)
	}
	return fit[0], nil
}

// unknownServer names the server that was probably meant, or those that there are.
func unknownServer(name string, names []string) error {
	slices.Sort(names)
	names = slices.Compact(names)
	if near := v1.Nearest(name, names); near != "" {
		return failf("no stdio server %q runs here; did you mean %q?", printable(name), near)
	}
	if len(names) == 0 {
		return failf("no stdio server %q runs here, nor any other: servers with a url have logs of their own", printable(name))
	}
	return failf("no stdio server %q runs here; there is %s", printable(name), strings.Join(names, ", "))
}

// logTime is the time of day as it was where the gateway runs, which is this machine.
const logTime = "Jan _2 15:04:05.000"

func logText(w io.Writer, l control.Line) error {
	if l.Lost > 0 {
		if _, err := fmt.Fprintf(w, "… %s lost\n", count(l.Lost, "line")); err != nil {
			return err
		}
	}
	mark := ""
	if l.Fault {
		mark = "! "
	}
	_, err := fmt.Fprintf(w, "%s [%d] %s%s\n", l.Time.Format(logTime), l.PID, mark, oneLine(l.Text))
	return err
}

// oneLine has no control characters but tabs: what a server prints must neither steer the terminal nor pass for other lines.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return -1
		}
		return r
	}, text)
}

func logJSON(w io.Writer, l control.Line) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(l)
}
