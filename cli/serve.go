package cli

import (
	"context"
	"fmt"
	"io"
	"os"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/runner"
)

type serveCmd struct {
	File                 string `arg:"" help:"Configuration in YAML or JSON; the mcp.json of a client will do."`
	Listen               string `short:"l" placeholder:"HOST:PORT" help:"Listen here, whatever FILE says (port 0 picks a free port)."`
	AllowUnauthenticated bool   `help:"Serve on an address that others can reach although no API key is configured."`
}

func (*serveCmd) Help() string {
	return `Serves all servers of FILE at /mcp, where tools are named SERVER__TOOL, and each
one at /servers/NAME/mcp under its own names. Changes to FILE are applied while
it runs; a FILE with problems is reported and the old configuration stays.

SIGTERM or Ctrl-C stops it: running calls may finish first.

Examples:

    toolcrib serve mcp.json
    toolcrib serve toolcrib.yaml --listen 127.0.0.1:9000
`
}

func (c *serveCmd) Run(ctx context.Context, sys *system) error {
	return serve(ctx, sys, app.Options{
		File:                 c.File,
		Listen:               c.Listen,
		AllowUnauthenticated: c.AllowUnauthenticated,
	})
}

type runCmd struct {
	Listen               string   `short:"l" placeholder:"HOST:PORT" help:"Listen here (default 127.0.0.1:8080; port 0 picks a free port)."`
	Name                 string   `placeholder:"NAME" help:"Name of the server in logs and metrics (default: the command's)."`
	Env                  []string `placeholder:"K=V" sep:"none" help:"Set a variable for COMMAND; K alone passes on your own. May be repeated."`
	AllowUnauthenticated bool     `help:"Serve on an address that others can reach although no API key is configured."`
	Command              []string `arg:"" name:"command" help:"After --: the stdio server to start, with its arguments."`
}

func (*runCmd) Help() string {
	return `Serves one stdio MCP server at /mcp over Streamable HTTP, to clients of both
protocol eras. Tools keep their names. COMMAND gets only a short list of
variables of your environment (PATH, HOME and the like); --env adds others.

Examples:

    toolcrib run -- npx -y @modelcontextprotocol/server-everything
    toolcrib run --env GITHUB_TOKEN -- github-mcp-server stdio
`
}

func (c *runCmd) Run(ctx context.Context, sys *system) error {
	if len(c.Command) != len(sys.command) {
		return usagef("unexpected argument %q (the command to serve stands after --: toolcrib run -- COMMAND)", c.Command[0])
	}
	name, server, err := commandServer(c.Command, c.Env)
	if err != nil {
		return err
	}
	if c.Name != "" {
		name = c.Name
	}
	server.Prefix = new(string) // the only server needs none
	config := &v1.Config{MCPServers: map[string]*v1.Server{name: server}}
	config.SetDefaults()
	return serve(ctx, sys, app.Options{
		Config:               config,
		Listen:               c.Listen,
		AllowUnauthenticated: c.AllowUnauthenticated,
	})
}

// serve runs the gateway until the context ends, which is its normal end.
func serve(ctx context.Context, sys *system, o app.Options) error {
	o.Guard = guardCommand()
	o.Version = version()
	o.Stderr = sys.stderr
	o.Ready = func(baseURL string) { welcome(sys.stdout, sys.program, baseURL) }
	return fileError(app.Serve(ctx, o))
}

// welcome tells how to use the gateway that listens at baseURL.
func welcome(w io.Writer, program, baseURL string) {
	url := baseURL + "/mcp"
	_, _ = fmt.Fprintf(w, `Toolcrib serves at %[1]s

  list the tools   %[2]s tools --url %[1]s
  call a tool      %[2]s call TOOL --arg NAME=VALUE --url %[1]s
  Claude Code      claude mcp add --transport http toolcrib %[1]s
  other clients    add %[1]s as an HTTP server
  is it well?      %[3]s/health/ready

`, url, program, baseURL)
}

// guardCommand is how the program starts its own guard. Without a path to
// itself there is none: children then die with the program's signals only.
func guardCommand() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, "guard"}
}

type guardCmd struct{}

func (guardCmd) Run(sys *system) error {
	runner.Guard(sys.stdin)
	return nil
}
