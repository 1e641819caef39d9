package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/toolcrib/toolcrib/control"
)

type psCmd struct {
	File     string `arg:"" optional:"" help:"Configuration that the gateway serves; it names the state directory."`
	URL      string `placeholder:"URL" help:"Ask this gateway over the network, with a credential that may do servers:read."`
	Output   string `short:"o" enum:"text,wide,json" default:"text" help:"text, wide or json."`
	gateways `embed:""`
}

func (*psCmd) Help() string {
	return `Shows the processes of the stdio servers of the gateways that run on this machine
with one state directory: which callers share each (KEY is a hash, empty where
all do), how long it runs, its calls so far and those in flight, and what it and
its descendants use. A server without a process is shown with its state. Below are
the instances of servers that are reached by url, with their addresses.

On the same machine only the user that runs the gateway can ask it. From elsewhere
--url asks one, with the credential of "toolcrib login" or of TOOLCRIB_API_KEY.

Examples:

    toolcrib ps
    toolcrib ps toolcrib.yaml -o wide
    toolcrib ps --state-dir /var/lib/toolcrib -o json
    toolcrib ps --url https://tools.example.com

Exit codes: 0 shown, 2 the file cannot be read, 3 no gateway runs there.
`
}

func (c *psCmd) Run(ctx context.Context, sys *system) error {
	reports, err := c.reports(ctx, sys)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return writeJSON(sys.stdout, map[string]any{"gateways": reports})
	}
	wide, now := c.Output == "wide", time.Now()
	others := slices.ContainsFunc(reports, func(r *control.Report) bool { return len(r.Reached) > 0 })
	if processes := slices.ContainsFunc(reports, func(r *control.Report) bool { return len(r.Servers) > 0 }); !others || processes {
		if err := psText(sys.stdout, reports, wide, now); err != nil || !others {
			return err
		}
		_, _ = fmt.Fprintln(sys.stdout)
	}
	return reachedText(sys.stdout, reports, wide, now)
}

// reports are those of the gateway at --url, or of those on this machine.
func (c *psCmd) reports(ctx context.Context, sys *system) ([]*control.Report, error) {
	if c.URL != "" {
		var report *control.Report
		g := gatewayFlags{URL: c.URL}
		err := g.asking(ctx, func(ctx context.Context, r *control.Remote) (err error) {
			report, err = r.Report(ctx)
			return err
		})
		return []*control.Report{report}, err
	}
	all, err := c.find(ctx, sys.stderr, c.File)
	if err != nil {
		return nil, err
	}
	defer closeAll(all)
	reports := make([]*control.Report, len(all))
	for i := range all {
		reports[i] = all[i].Report
	}
	return reports, nil
}

// psText shows a row for each instance, and one for each server without any. Which gateway it is of is shown where there
// are several.
func psText(out io.Writer, reports []*control.Report, wide bool, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head := []string{"SERVER", "ISOLATION", "KEY", "TENANT", "PID", "STATE", "AGE", "CALLS", "IN FLIGHT", "RSS", "CPU", "RESTARTS", "ERA"}
	if wide {
		head = append(head, "FILES", "PROCESSES", "REASON")
	}
	several := wide || len(reports) > 1
	if several {
		head = slices.Insert(head, 0, "GATEWAY")
	}
	_, _ = fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, r := range reports {
		for _, row := range psRows(r, wide, now) {
			if several {
				row = slices.Insert(row, 0, strconv.Itoa(r.PID))
			}
			_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
		}
	}
	return w.Flush()
}

// reachedText shows a row for each instance that somebody else runs.
func reachedText(out io.Writer, reports []*control.Report, wide bool, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head := []string{"SERVER", "ADDRESS", "STATE", "AGE", "CALLS", "IN FLIGHT", "ERA"}
	if wide {
		head = append(head, "REASON")
	}
	several := wide || len(reports) > 1
	if several {
		head = slices.Insert(head, 0, "GATEWAY")
	}
	_, _ = fmt.Fprintln(w, strings.Join(head, "\t"))
	for _, r := range reports {
		for _, in := range r.Reached {
			row := []string{in.Server, printable(in.Address), in.State, age(now.Sub(in.Since)), orDash(in.Calls), orDash(in.InFlight), orDash(in.Era)}
			if wide {
				reason, _, _ := strings.Cut(printable(in.Reason), "\n")
				row = append(row, orDash(reason))
			}
			if several {
				row = slices.Insert(row, 0, strconv.Itoa(r.PID))
			}
			_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
		}
	}
	return w.Flush()
}

func psRows(r *control.Report, wide bool, now time.Time) [][]string {
	var rows [][]string
	for _, s := range r.Servers {
		none := true
		for _, in := range r.Instances {
			if in.Server == s.Name {
				none = false
				rows = append(rows, instanceRow(in, wide, now))
			}
		}
		if none {
			rows = append(rows, serverRow(s, wide, now))
		}
	}
	return rows
}

func instanceRow(in control.Instance, wide bool, now time.Time) []string {
	row := []string{
		in.Server, in.Isolation, orDash(in.Key), orDash(in.Tenant), orDash(in.PID), in.State, age(now.Sub(in.Since)), strconv.FormatInt(in.Calls, 10),
		strconv.Itoa(in.InFlight), size(in.RSS), cpuTime(in.CPU), strconv.Itoa(in.Restarts), orDash(in.Era),
	}
	if wide {
		row = append(row, strconv.Itoa(in.Files), strconv.Itoa(in.Processes), "-")
	}
	return row
}

// serverRow shows a server that has no process now.
func serverRow(s control.Server, wide bool, now time.Time) []string {
	row := []string{s.Name, s.Isolation, "-", "-", "-", s.State, age(now.Sub(s.Since)), "-", "-", "-", "-", "-", orDash(s.Era)}
	if wide {
		reason, _, _ := strings.Cut(printable(s.Reason), "\n")
		row = append(row, "-", "-", orDash(reason))
	}
	return row
}

// orDash shows a value, and a dash in place of none: a cell is never empty.
func orDash[T comparable](v T) string {
	if v == *new(T) {
		return "-"
	}
	return fmt.Sprint(v)
}

// age is a time in its largest unit and the next.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	switch d = max(0, d); {
	case d < time.Minute:
		return strconv.Itoa(int(d/time.Second)) + "s"
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
}

// size is a number of bytes in Mi or, beyond that, Gi.
func size(b uint64) string {
	const mi = 1 << 20
	if b < 1024*mi {
		return strconv.FormatFloat(float64(b)/mi, 'f', 1, 64) + "Mi"
	}
	return strconv.FormatFloat(float64(b)/(1024*mi), 'f', 1, 64) + "Gi"
}

func cpuTime(seconds float64) string {
	if seconds < 60 {
		return strconv.FormatFloat(seconds, 'f', 2, 64) + "s"
	}
	return age(time.Duration(seconds * float64(time.Second)))
}
