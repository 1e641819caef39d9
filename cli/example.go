package cli

import (
	"context"
	"fmt"

	"github.com/toolcrib/toolcrib/internal/example"
)

type exampleCmd struct {
	Listen string `short:"l" placeholder:"HOST:PORT" help:"Serve over HTTP at this loopback address, at /mcp, instead of over standard input and output."`
}

func (*exampleCmd) Help() string {
	return `A real MCP server of both protocol eras with harmless tools (echo, add, slow,
time), a prompt and two resources. It needs nothing else to be installed.

Examples:

    toolcrib call echo --arg message=hello -- toolcrib example
    toolcrib example --listen 127.0.0.1:9000
`
}

func (c *exampleCmd) Run(ctx context.Context, sys *system) error {
	if c.Listen == "" {
		return example.ServeStdio(ctx, sys.stdin, sys.stdout, version())
	}
	if err := checkListen(c.Listen); err != nil {
		return err
	}
	return example.Serve(ctx, c.Listen, version(), func(url string) {
		_, _ = fmt.Fprintf(sys.stderr, "The example server listens at %s\n", url)
	})
}
