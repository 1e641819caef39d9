package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Exit codes of every command.
const (
	ExitOK          = 0   // done
	ExitFailed      = 1   // the server answered with an error, or a file has problems
	ExitUsage       = 2   // the command line is wrong
	ExitUnreachable = 3   // cannot connect, start or serve, or close the audit log
	ExitInterrupted = 130 // stopped by the user before it was done, as shells count SIGINT
)

const description = `Toolcrib puts one fast MCP endpoint in front of many MCP servers.

Start with "toolcrib serve FILE", where FILE is the mcp.json of any MCP client
or a YAML file, and connect clients to http://127.0.0.1:8080/mcp.`

// commands is the command tree. Help texts are sentences; examples stand in
// the Help methods of the commands.
type commands struct {
	Serve    serveCmd    `cmd:"" help:"Serve the MCP servers of a file at one endpoint."`
	Run      runCmd      `cmd:"" help:"Serve one stdio MCP server over HTTP."`
	Validate validateCmd `cmd:"" help:"Check a configuration file and report every problem."`
	Doctor   doctorCmd   `cmd:"" help:"Check an installation and say what to mend."`
	PS       psCmd       `cmd:"" name:"ps" help:"Show the processes of stdio servers that run now."`
	Logs     logsCmd     `cmd:"" help:"Show what a stdio server prints."`
	Log      logCmd      `cmd:"" help:"Show and change what a gateway logs."`
	Profile  profileCmd  `cmd:"" help:"Take a profile of a gateway while it serves."`
	Pull     pullCmd     `cmd:"" help:"Fetch the packages of servers and pin them in the lock file."`
	Approve  approveCmd  `cmd:"" help:"Approve what the servers of a file start, or their tools."`
	Drift    driftCmd    `cmd:"" help:"Show tools that are not as they were approved."`
	Limits   limitsCmd   `cmd:"" help:"Show what is used of the limits of a gateway, and by whom."`
	Cache    cacheCmd    `cmd:"" help:"Show and purge what a gateway keeps of servers' answers."`
	Audit    auditCmd    `cmd:"" help:"Verify and search the audit log."`
	Alerts   alertsCmd   `cmd:"" help:"Print the rules by which Prometheus tells what is wrong."`
	Login    loginCmd    `cmd:"" help:"Get a credential for a gateway, and keep it."`
	Logout   logoutCmd   `cmd:"" help:"Forget the credential for a gateway."`
	Whoami   whoamiCmd   `cmd:"" help:"Show who a gateway takes you for."`
	Keys     keysCmd     `cmd:"" help:"Make, list, rotate and revoke the API keys of a gateway."`
	Tools    toolsCmd    `cmd:"" help:"List the tools of a server."`
	Call     callCmd     `cmd:"" help:"Call a tool and show its result."`
	Bench    benchCmd    `cmd:"" help:"Put load on a gateway or server and tell how long its callers wait."`
	Trace    traceCmd    `cmd:"" help:"Call a tool and show where the time goes."`
	Example  exampleCmd  `cmd:"" help:"Be a small MCP server to try things with."`
	Explain  explainCmd  `cmd:"" help:"Tell whether a caller may do something, and why."`
	Policy   policyCmd   `cmd:"" help:"Test, compare and show policies."`
	Version  versionCmd  `cmd:"" help:"Show the version."`
	Guard    guardCmd    `cmd:"" hidden:"" help:"Kill the process groups named on standard input when it ends. Used by serve and run."`
	Confine  confineCmd  `cmd:"" hidden:"" help:"Confine this process and become the command of a server. Used by serve and run."`
}

// system is what a command may touch of the world outside.
type system struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	// program is how the user called this program, for commands shown to copy.
	program string
	// command is what stood after "--".
	command []string
}

// Main runs the command line args, without the program's name, and returns the
// exit code. It returns when the command is done or soon after ctx ends.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	args = conventional(args)
	sys := &system{stdin: stdin, stdout: stdout, stderr: stderr, program: os.Args[0]}
	if i := slices.Index(args, "--"); i >= 0 {
		sys.command = args[i+1:]
	}
	helped := false
	parser, err := newParser(stdout, stderr, func(int) { helped = true })
	if err != nil {
		return report(stderr, err)
	}
	parsed, err := parser.Parse(args)
	switch {
	case helped: // parsing went on after the help was printed, to no purpose
		return ExitOK
	case err != nil:
		return reportUsage(stderr, args, err)
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	return report(stderr, parsed.Run(sys))
}

// newParser builds the command tree. exit is called after help was printed.
func newParser(stdout, stderr io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(&commands{},
		kong.Name("toolcrib"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100, NoAppDescFormat: true}),
		kong.Vars{"url": defaultURL},
	)
}

// conventional turns what people try first into commands of the tree.
func conventional(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "help":
		return append(slices.Clone(args[1:]), "--help")
	case args[0] == "--version":
		return append([]string{"version"}, args[1:]...)
	}
	return args
}

// exitError is an error that decides the exit code. Its err may be nil when
// everything was said already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{ExitUsage, fmt.Errorf(format, args...)}
}

func failf(format string, args ...any) error {
	return &exitError{ExitFailed, fmt.Errorf(format, args...)}
}

// report prints err and returns its exit code. An error without one is about
// something that could not be reached, started or served.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return ExitOK
	}
	code := ExitUnreachable
	if e, ok := errors.AsType[*exitError](err); ok {
		code = e.code
	} else if errors.Is(err, context.Canceled) {
		code, err = ExitInterrupted, errors.New("interrupted")
	}
	if text := err.Error(); text != "" {
		_, _ = fmt.Fprintf(stderr, "toolcrib: %s\n", text)
	}
	return code
}

// reportUsage prints what is wrong with the command line and where to read on.
func reportUsage(stderr io.Writer, args []string, err error) int {
	help := "toolcrib --help"
	if e, ok := errors.AsType[*kong.ParseError](err); ok && e.Context != nil {
		if node := e.Context.Selected(); node != nil {
			help = node.FullPath() + " --help"
		}
		if hasCommand(e.Context) && !slices.Contains(args, "--") {
			what, _, _ := strings.Cut(err.Error(), ", did you mean")
			err = fmt.Errorf("%s; put -- before the command, so that its flags are its own: %s", what, dashed(args))
		}
	}
	_, _ = fmt.Fprintf(stderr, "toolcrib: %s\nRun %q for help.\n", err, help)
	return ExitUsage
}

// hasCommand tells whether a command to start was read before the fault.
func hasCommand(c *kong.Context) bool {
	return slices.ContainsFunc(c.Path, func(p *kong.Path) bool { return p.Positional != nil && p.Positional.Name == "command" })
}

// dashed is the command line with the -- that it lacks, where it is plain where
// that goes.
func dashed(args []string) string {
	if len(args) > 1 && args[0] != "call" && !strings.HasPrefix(args[1], "-") {
		return "toolcrib " + args[0] + " -- " + strings.Join(args[1:], " ")
	}
	return "toolcrib " + args[0] + " … -- COMMAND"
}
