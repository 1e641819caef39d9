package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/toolcrib/toolcrib/control"
)

type profileCmd struct {
	Name         string `arg:"" enum:"cpu,heap,allocs,goroutine,block,mutex,threadcreate,execution" help:"Which profile."`
	Seconds      *int   `short:"s" help:"How long to look at cpu, block and mutex (default: 10, at most 60), or execution (1, at most 10)."`
	File         string `short:"f" placeholder:"FILE" help:"Write to FILE, or - for standard output (default: NAME.pprof, execution.trace)."`
	gatewayFlags `embed:""`
}

func (*profileCmd) Help() string {
	return `Which: cpu, heap, allocs, goroutine, block, mutex, threadcreate, or execution, which
is for "go tool trace".

Takes a profile of a gateway while it serves: where its time goes, what its memory
holds, what waits for what. Of several replicas it is the one that answers. It takes
profiles:read, which no role but admin has by itself.
` + gatewayHelp + `
Examples:

    toolcrib profile cpu --seconds 30
    go tool pprof -http 127.0.0.1:8081 cpu.pprof
    toolcrib profile heap --url https://tools.example.com -f heap.pprof
    toolcrib profile execution && go tool trace execution.trace
`
}

// Run takes the profile and writes it to a file.
func (c *profileCmd) Run(ctx context.Context, sys *system) error {
	seconds := 0
	if c.Seconds != nil {
		if seconds = *c.Seconds; seconds < 1 {
			return usagef("--seconds %d must not be less than 1", seconds)
		}
	}
	file, tool := c.File, "pprof"
	if c.Name == control.ProfileExecution {
		tool = "trace"
	}
	if file == "" {
		file = c.Name + "." + tool
	}
	return c.asking(ctx, func(ctx context.Context, r *control.Remote) error {
		in, err := r.Profile(ctx, c.Name, seconds)
		if err != nil {
			return err
		}
		defer in.Close()
		if file == "-" {
			_, err = io.Copy(sys.stdout, in)
			return err
		}
		if err := writeFile(file, in); err != nil {
			return failf("%w", err)
		}
		_, err = fmt.Fprintf(sys.stdout, "written to %s: go tool %s %s\n", file, tool, file)
		return err
	})
}

// writeFile makes a file that only its owner can read, and leaves none that is not whole.
func writeFile(name string, in io.Reader) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(name)
	}
	return err
}
