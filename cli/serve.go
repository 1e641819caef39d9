package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/runner"
	"github.com/toolcrib/toolcrib/telemetry"
)

type serveCmd struct {
	File                 string `arg:"" help:"Configuration in YAML or JSON; the mcp.json of a client will do."`
	Listen               string `short:"l" placeholder:"HOST:PORT" help:"Listen here, whatever FILE says (port 0 picks a free port)."`
	AllowUnauthenticated bool   `help:"Serve on an address that others can reach although no API key is configured."`
}

func (*serveCmd) Help() string {
	return `Serves all servers of FILE at /mcp, where tools are named SERVER__TOOL, and each
one at /servers/NAME/mcp under its own names; toolsets are at /toolsets/NAME/mcp.
Changes to FILE are applied while it runs; a FILE with problems is reported and
the old configuration stays.

SIGTERM or Ctrl-C stops it: running calls may finish first. A second Ctrl-C ends
it at once. Commands of servers, and relative paths in them, start at the folder
that serve is started in.

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

// serve runs the gateway until the context ends, which is its normal end.
func serve(ctx context.Context, sys *system, o app.Options) error {
	if err := checkListen(o.Listen); err != nil {
		return err
	}
	defer runner.ReapOrphans()()
	defer outlivePipes()()
	o.Guard, o.Confine = guardCommand(), confineCommand()
	o.Version = version()
	o.Stdout, o.Stderr = sys.stdout, sys.stderr
	o.Ready = func(baseURL string, c *v1.Config) {
		out := sys.stdout
		if slices.ContainsFunc(c.Audit.Sinks, func(s v1.AuditSink) bool { return s.Stdout }) {
			out = sys.stderr // stdout is for records
			if !telemetry.ForPeople(out, c.Log.Format) {
				return
			}
		}
		welcome(out, sys.program, reachable(baseURL, c), !c.Auth.Open())
	}
	return fileError(app.Serve(ctx, o))
}

// outlivePipes has a write to standard output or error whose reader is gone fail, rather than end the program: the gateway goes on
// without its log, and the audit log keeps what the sink stdout cannot take. The signal is caught and not ignored, for what is
// ignored stays ignored in the commands of servers.
func outlivePipes() (undo func()) {
	gone := make(chan os.Signal, 1)
	signal.Notify(gone, syscall.SIGPIPE)
	return func() { signal.Stop(gone) }
}

// welcome tells how to use the gateway at baseURL; keyed says that it wants a
// key.
func welcome(w io.Writer, program, baseURL string, keyed bool) {
	endpoint := baseURL + "/mcp"
	variable, header, other := "", "", ""
	if keyed {
		variable, header, other = keyVariable+"=KEY ", ` --header "Authorization: Bearer KEY"`, ", with the header Authorization: Bearer KEY"
	}
	_, _ = fmt.Fprintf(w, `Toolcrib serves at %[1]s

  list the tools   %[4]s%[2]s tools --url %[1]s
  call a tool      %[4]s%[2]s call TOOL --arg NAME=VALUE --url %[1]s
  Claude Code      claude mcp add --transport http toolcrib %[1]s%[5]s
  other clients    add %[1]s as an HTTP server%[6]s
  is it well?      %[3]s/health/ready

`, endpoint, program, baseURL, variable, header, other)
}

// reachable turns the URL of a gateway that listens on every address into one
// that clients can use.
func reachable(baseURL string, c *v1.Config) string {
	u, err := url.Parse(baseURL)
	if err != nil {
		return baseURL
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsUnspecified() {
		return baseURL
	}
	if c.PublicURL != "" {
		return strings.TrimRight(c.PublicURL, "/")
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	if len(c.AllowedHosts) > 0 { // no other is let in
		host = (&url.URL{Host: c.AllowedHosts[0]}).Hostname()
	}
	u.Host = net.JoinHostPort(host, u.Port())
	return u.String()
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
