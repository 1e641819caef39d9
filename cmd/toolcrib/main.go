// Command toolcrib puts one MCP endpoint in front of many MCP servers.
package main

import (
	"os"

	"github.com/toolcrib/toolcrib/cli"
)

func main() {
	os.Exit(cli.Main(cli.UntilSignal(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
