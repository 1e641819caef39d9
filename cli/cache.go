package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"

	"github.com/toolcrib/toolcrib/control"
)

type cacheCmd struct {
	Show  cacheShowCmd  `cmd:"" help:"Show what a gateway keeps of servers' answers, and what it is good for."`
	Purge cachePurgeCmd `cmd:"" help:"Have a gateway keep something no more."`
}

type cacheShowCmd struct {
	Output       string `short:"o" enum:"table,json" default:"table" help:"table or json."`
	gatewayFlags `embed:""`
}

func (*cacheShowCmd) Help() string {
	return `Shows for each server how many answers are kept, what they take, and how requests
for what may be kept were answered since the gateway started or what is kept of the
server was configured anew: HITS from the cache, MISSES by the server, SHARED together
with another one under way, STALE with what was not fresh any more. RATE is the part
that the server was spared. Of several replicas it is the one that answers. It takes
cache:read.
` + gatewayHelp + `
Examples:

    toolcrib cache show
    toolcrib cache show --url https://tools.example.com -o json
`
}

func (c *cacheShowCmd) Run(ctx context.Context, sys *system) error {
	return c.asking(ctx, func(ctx context.Context, r *control.Remote) error {
		report, err := r.Cache(ctx)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return writeJSON(sys.stdout, report)
		}
		return cacheText(sys.stdout, report)
	})
}

func cacheText(out io.Writer, r *control.CacheReport) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SERVER\tRESOURCES\tPROMPTS\tTOOLS\tBYTES\tHITS\tMISSES\tSHARED\tSTALE\tRATE")
	for _, s := range r.Servers {
		stale := s.Stale + s.StaleOnError
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", printable(s.Name), s.Resources, s.Prompts, s.Tools, s.Bytes,
			s.Hits, s.Misses, s.Shared, stale, rate(s.Hits+s.Shared+stale, s.Misses))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%s, %d of %d bytes; %d made room for others\n", count(r.Entries, "answer"), r.Bytes, r.Size, r.Evicted)
	return err
}

// rate is a part of a whole as people read it.
func rate(part, rest int64) string {
	if part+rest == 0 {
		return "-"
	}
	return strconv.FormatInt(part*100/(part+rest), 10) + "%"
}

type cachePurgeCmd struct {
	Server       string `arg:"" optional:"" help:"Only what is kept of this server."`
	All          bool   `help:"Purge what is kept of all servers."`
	Tool         string `placeholder:"NAME" xor:"what" help:"Only results of this tool, by the server's own name for it."`
	Prompt       string `placeholder:"NAME" xor:"what" help:"Only this prompt, likewise."`
	URI          string `name:"uri" placeholder:"URI" xor:"what" help:"Only this resource."`
	gatewayFlags `embed:""`
}

func (*cachePurgeCmd) Help() string {
	return `What is kept goes, at all replicas, and the server is asked anew; with a whole
server its lists are too. It takes cache:write.
` + gatewayHelp + `
Examples:

    toolcrib cache purge files
    toolcrib cache purge files --uri file:///data/report.md
    toolcrib cache purge search --tool find
    toolcrib cache purge --all

Exit codes: 0 purged, 1 not at all replicas or refused, 2 the command line is wrong, 3 no
gateway answers.
`
}

func (c *cachePurgeCmd) Run(ctx context.Context, sys *system) error {
	switch named := c.Tool + c.Prompt + c.URI; {
	case c.Server == "" && named != "":
		return usagef("name the server that it is of: toolcrib cache purge SERVER")
	case c.Server == "" && !c.All:
		return usagef("name a server, or write --all")
	case c.Server != "" && c.All:
		return usagef("a server is named, and --all given; keep one")
	}
	return c.asking(ctx, func(ctx context.Context, r *control.Remote) error {
		done, err := r.Purge(ctx, control.Purge{Server: c.Server, Tool: c.Tool, Prompt: c.Prompt, URI: c.URI})
		if err != nil {
			return err
		}
		if _, err = fmt.Fprintf(sys.stdout, "%d dropped\n", done.Dropped); err == nil && done.Notice != "" {
			return failf("not purged everywhere: %s; purge again once all replicas answer and Redis is there (toolcrib doctor tells)", printable(done.Notice))
		}
		return err
	})
}
