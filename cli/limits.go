package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/toolcrib/toolcrib/control"
)

type limitsCmd struct {
	Output       string `short:"o" enum:"table,json" default:"table" help:"table or json."`
	gatewayFlags `embed:""`
}

func (*limitsCmd) Help() string {
	return `Shows for each limit who has the least of it left, how much that is, and in how long
nothing is used any more. Of several replicas it is what the one knows that answers. It
takes limits:read, and shows the callers of your tenant; those of all tenants to who may
do everything.
` + gatewayHelp + `
Examples:

    toolcrib limits
    toolcrib limits --url https://tools.example.com -o json
`
}

// Run shows what is used of limits.
func (c *limitsCmd) Run(ctx context.Context, sys *system) error {
	return c.asking(ctx, func(ctx context.Context, r *control.Remote) error {
		report, err := r.Limits(ctx)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return writeJSON(sys.stdout, report)
		}
		return limitsText(sys.stdout, report)
	})
}

func limitsText(out io.Writer, r *control.LimitsReport) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "LIMIT\tKIND\tAMOUNT\tOF\tLEFT\tRESET")
	for _, u := range r.Limits {
		amount := u.Amount
		if amount == "" {
			amount = strconv.Itoa(int(u.Most))
		}
		if len(u.Top) == 0 {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t-\t-\t-\n", u.Name, u.Kind, amount)
		}
		for _, k := range u.Top {
			reset := time.Duration(k.ResetSeconds) * time.Second
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.0f\t%v\n", u.Name, u.Kind, amount, valuesOf(k.Of), max(0, k.Left), reset)
		}
	}
	if err := w.Flush(); err != nil || !r.Local {
		return err
	}
	_, err := fmt.Fprintf(out, "other replicas cannot be asked: 1 of %d parts of each limit counts here\n", r.Replicas)
	return err
}

// valuesOf shows what an amount is of.
func valuesOf(of map[string]string) string {
	if len(of) == 0 {
		return "all"
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		all = append(all, name+"="+printable(of[name]))
	}
	return strings.Join(all, " ")
}
