package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/app"
)

type runCmd struct {
	Listen               string   `short:"l" placeholder:"HOST:PORT" help:"Listen here (127.0.0.1:8080; port 0 picks a free one, :8080 is all addresses)."`
	Name                 string   `placeholder:"NAME" help:"Name of the server in logs and metrics (default: the package's or the command's)."`
	Env                  []string `placeholder:"K=V" sep:"none" help:"Set a variable for COMMAND; K alone passes on your own. May be repeated."`
	Cwd                  string   `placeholder:"DIR" help:"Start COMMAND in this folder."`
	APIKey               string   `name:"api-key" env:"TOOLCRIB_API_KEY" placeholder:"KEY" help:"Let in only who sends this bearer token; @FILE reads it."`
	AllowUnauthenticated bool     `help:"Serve on an address that others can reach although no API key is configured."`
	StateDir             string   `placeholder:"DIR" env:"TOOLCRIB_STATE_DIR" help:"Keep here what outlives the process, and the socket of ps and logs."`

	Isolation   string `placeholder:"WHO" help:"Which callers share an instance: shared, tenant, principal or session."`
	Concurrency string `placeholder:"N" help:"How many requests an instance is sent at once: serial or a number (default 64)."`
	Min         int    `placeholder:"N" help:"How many instances run even if nobody calls."`
	Max         int    `placeholder:"N" help:"How many instances there may be (default: 1 when shared, else 20)."`
	Spares      int    `placeholder:"N" help:"How many instances are kept started for callers to come."`
	Idle        string `placeholder:"TIME" help:"Stop an instance without calls after this time (default 10m; 0s keeps it)."`
	Queue       *int   `placeholder:"N" help:"How many calls may wait for an instance (default 1000)."`
	Wait        string `placeholder:"TIME" help:"How long a call waits for an instance (default 30s)."`
	Start       string `placeholder:"TIME" help:"How long COMMAND may take until it answers (default 60s)."`

	Memory         string   `placeholder:"SIZE" help:"Memory that an instance may have, as 512Mi."`
	Pids           int      `placeholder:"N" help:"Processes and threads that an instance may have."`
	CPU            string   `name:"cpu" placeholder:"CPUS" help:"CPUs that an instance may use, as 0.5."`
	Files          int      `placeholder:"N" help:"File descriptors that each process of an instance may have."`
	User           string   `placeholder:"USER" help:"Run COMMAND as this user, perhaps with a group: nobody, 1000:1000. Takes root."`
	SandboxRead    []string `placeholder:"PATH" sep:"none" help:"Confine COMMAND, and let it read this. May be repeated."`
	SandboxWrite   []string `placeholder:"PATH" sep:"none" help:"Confine COMMAND, and let it read and write this. May be repeated."`
	SandboxNetwork string   `placeholder:"WHAT" help:"Confine COMMAND, and let it reach none, loopback or any."`

	ExecProbe bool     `help:"Start nothing; exit with 0 when the one that runs already is ready, else with 1."`
	Command   []string `arg:"" optional:"" name:"command" help:"After --: the stdio server to start, with its arguments, or a package, as npx:NAME@VERSION."`
}

func (*runCmd) Help() string {
	return `Serves one stdio MCP server at /mcp over Streamable HTTP, and at /sse for old
clients, to clients of all protocol versions; with /health, /health/ready and
/metrics. Tools keep their names. COMMAND gets only a short list of variables of
your environment (PATH, HOME and the like); --env adds others. SIGTERM lets
running calls finish first. It can be the first process of a container.

Other keys of a configuration are set by their variables, such as LOG_LEVEL,
TOOLCRIB_LISTEN, TOOLCRIB_LOG_CALLS and TOOLCRIB_DRAIN_TIMEOUT.

Examples:

    toolcrib run -- npx -y @modelcontextprotocol/server-everything
    toolcrib run --env GITHUB_TOKEN -- github-mcp-server stdio
    toolcrib run -- npx:@modelcontextprotocol/server-everything@2026.8.31
    toolcrib run --isolation session --max 50 --memory 256Mi -- my-server
    toolcrib run --listen :8080 --api-key @/run/secrets/key -- my-server

As a probe of a container that runs it, without a shell or curl:

    toolcrib run --exec-probe
`
}

func (c *runCmd) Run(ctx context.Context, sys *system) error {
	switch {
	case c.ExecProbe && len(c.Command) > 0:
		return usagef("--exec-probe starts nothing: leave the command out")
	case c.ExecProbe:
		return c.probe(ctx, sys)
	case len(c.Command) == 0:
		return usagef(`expected "<command> ...": toolcrib run -- COMMAND`)
	case len(c.Command) != len(sys.command):
		return usagef("put -- before the command: toolcrib run -- %s", strings.Join(c.Command, " "))
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	for name, s := range config.MCPServers {
		if err := checkStart(config, name, s); err != nil {
			return err
		}
	}
	if exposed(config) && !c.AllowUnauthenticated {
		return fmt.Errorf("listen: anyone who reaches %s could call every tool: set %s, listen on 127.0.0.1, or pass --allow-unauthenticated",
			config.Listen, keyVariable)
	}
	return serve(ctx, sys, app.Options{Config: config, Listen: c.Listen, AllowUnauthenticated: c.AllowUnauthenticated})
}

// config is the configuration that the flags and the variables of the environment make.
func (c *runCmd) config() (*v1.Config, error) {
	if err := checkListen(c.Listen); err != nil {
		return nil, err
	}
	name, server, err := commandServer(c.Command, c.Env)
	if err != nil {
		return nil, err
	}
	name = cmp.Or(c.Name, name)
	key, err := c.key()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(c.document(name, key))
	if err != nil {
		return nil, err
	}
	config, problems := v1.Parse(text, v1.Options{})
	if len(problems) > 0 {
		return nil, c.explain(name, problems)
	}
	s := config.MCPServers[name]
	s.Command, s.Package, s.Args, s.Env = server.Command, server.Package, server.Args, server.Env // as they are, whatever they hold
	// Who typed the command may as well have it run code.
	config.Launch.Inline = v1.InlineOf(s)
	if c.Isolation == "" && key != "" && s.Personal() == "" {
		s.Isolation = v1.IsolationShared // all callers have the one key
	}
	config.Listen = cmp.Or(c.Listen, config.Listen)
	config.StateDir = cmp.Or(c.StateDir, config.StateDir)
	if problems := config.Validate(); len(problems) > 0 {
		return nil, c.explain(name, problems)
	}
	return config, nil
}

// key is the API key that callers need; empty for none.
func (c *runCmd) key() (string, error) {
	file, ok := strings.CutPrefix(c.APIKey, "@")
	if !ok {
		return c.APIKey, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", usagef("--api-key: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// document is what a configuration file would say in place of the flags, but for the command itself.
func (c *runCmd) document(name, key string) map[string]any {
	server := map[string]any{"command": "-", "prefix": ""} // the only server needs no prefix
	set(server, "isolation", c.Isolation)
	set(server, "cwd", literal(c.Cwd))
	set(server, "user", literal(c.User))
	pool := map[string]any{}
	set(pool, "concurrency", c.Concurrency)
	set(pool, "min", c.Min)
	set(pool, "max", c.Max)
	set(pool, "spares", c.Spares)
	set(pool, "idle", c.Idle)
	set(pool, "queue", c.Queue)
	set(pool, "wait", c.Wait)
	resources := map[string]any{}
	set(resources, "memory", c.Memory)
	set(resources, "pids", c.Pids)
	set(resources, "cpu", c.CPU)
	set(resources, "files", c.Files)
	timeouts := map[string]any{}
	set(timeouts, "start", c.Start)
	server["pool"], server["resources"], server["timeouts"] = pool, resources, timeouts
	if c.SandboxRead != nil || c.SandboxWrite != nil || c.SandboxNetwork != "" {
		sandbox := map[string]any{"read": literals(c.SandboxRead), "write": literals(c.SandboxWrite)}
		set(sandbox, "network", c.SandboxNetwork)
		server["sandbox"] = sandbox
	}
	all := map[string]any{"mcpServers": map[string]any{name: server}}
	if key != "" {
		// Whoever has the one key may call all that there is, and see how it goes.
		all["auth"] = map[string]any{"apiKeys": []any{map[string]any{"name": "key", "key": literal(key), "roles": []string{"user", "auditor"}}}}
	}
	return all
}

// set enters a value that was given.
func set[T comparable](m map[string]any, key string, value T) {
	if value != *new(T) {
		m[key] = value
	}
}

// literal keeps text from being read as a reference.
func literal(text string) string { return strings.ReplaceAll(text, "${", "$${") }

func literals(all []string) []string {
	out := make([]string, len(all))
	for i := range all {
		out[i] = literal(all[i])
	}
	return out
}

// runFlags are the flags that set the keys of a server, and others.
var runFlags = map[string]string{
	"listen": "--listen", "stateDir": "--state-dir", "auth.apiKeys[0].key": "--api-key (" + keyVariable + ")",
	"isolation": "--isolation", "cwd": "--cwd", "user": "--user", "timeouts.start": "--start",
	"pool.concurrency": "--concurrency", "pool.min": "--min", "pool.max": "--max", "pool.spares": "--spares", "pool.idle": "--idle",
	"pool.queue": "--queue", "pool.wait": "--wait",
	"resources.memory": "--memory", "resources.pids": "--pids", "resources.cpu": "--cpu", "resources.files": "--files",
	"sandbox.read": "--sandbox-read", "sandbox.write": "--sandbox-write", "sandbox.network": "--sandbox-network",
	"command": "the command", "package": "the package",
}

// explain says what is wrong with the flags.
func (c *runCmd) explain(name string, problems v1.Problems) error {
	lines := make([]string, 0, len(problems))
	for _, p := range problems {
		path := strings.TrimPrefix(p.Path, "mcpServers."+name+".")
		base, _, _ := strings.Cut(path, "[")
		flag := cmp.Or(runFlags[path], runFlags[base], p.Path)
		lines = append(lines, strings.TrimSpace(flag+" "+p.Message))
	}
	return usagef("%s", strings.Join(lines, "\n"))
}
