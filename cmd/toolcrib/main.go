// Command toolcrib puts one MCP endpoint in front of many MCP servers.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/toolcrib/toolcrib/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends a program that takes too long to end by itself.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
