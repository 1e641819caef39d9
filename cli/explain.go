package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/policy"
)

// askTimeout bounds how long a server is waited for that is asked for its tools.
const askTimeout = time.Minute

type explainCmd struct {
	File      string            `arg:"" optional:"" help:"Configuration; or --url."`
	URL       string            `placeholder:"URL" help:"Ask this gateway, by the policies that count there now."`
	Principal string            `placeholder:"TENANT/SUBJECT" help:"Who calls, in short."`
	Subject   string            `help:"Subject of who calls."`
	Tenant    string            `help:"Tenant of who calls."`
	Group     []string          `help:"Group of who calls. May be repeated." sep:"none"`
	Role      []string          `help:"Role that the caller has without a binding. May be repeated." sep:"none"`
	Scope     []string          `help:"Scope of the caller's token. May be repeated." sep:"none"`
	Issuer    string            `help:"Name of the issuer of the caller's token (default: the first of auth.issuers)."`
	Attribute map[string]string `help:"Attribute of who calls. May be repeated." placeholder:"NAME=VALUE"`
	Method    string            `help:"How the caller was identified: api_key, token, client_certificate, trusted_proxy or anonymous."`

	Tool     string `help:"The tool, by its name at /mcp, or with --toolset there."`
	Prompt   string `help:"The prompt, by its name at /mcp."`
	Resource string `help:"The resource, by its URI."`
	Manage   string `help:"What is managed, as keys:write."`
	Server   string `help:"The server of the resource."`
	Toolset  string `help:"The toolset at whose endpoint it is asked for; arguments that it fixes are among those decided by."`

	ReadOnly    *bool `help:"Annotation readOnlyHint of the tool." negatable:""`
	Destructive *bool `help:"Annotation destructiveHint of the tool." negatable:""`
	Idempotent  *bool `help:"Annotation idempotentHint of the tool." negatable:""`
	OpenWorld   *bool `help:"Annotation openWorldHint of the tool." negatable:""`
	Ask         bool  `help:"Start or connect to the tool's server and ask for the annotations; not of a server that knows who calls."`

	Args    string    `help:"Arguments as a JSON object, @FILE, or - for standard input. Without any argument: whether some are permitted." placeholder:"JSON"`
	Arg     []string  `help:"One argument; VALUE is JSON or else text. May be repeated." placeholder:"NAME=VALUE" sep:"none"`
	NoArgs  bool      `help:"The call has no arguments."`
	At      time.Time `help:"When, as 2026-11-20T10:00:00Z (default: now)."`
	Client  string    `help:"Name of the client program."`
	Address string    `help:"IP address of who calls."`
	Output  string    `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

func (*explainCmd) Help() string {
	return `Decides as serve would with FILE, and tells which rule decided, by which facts,
and what else was considered. A subject that is a static key of FILE has what the
key says.

Examples:

    toolcrib explain toolcrib.yaml --group analysts --tool search__find --read-only
    toolcrib explain toolcrib.yaml --principal acme/ann --tool pay__transfer --arg amount=5000
    toolcrib explain toolcrib.yaml --role auditor --manage audit:read
    toolcrib explain --url https://tools.example.com --group analysts --tool search__find

Exit codes: 0 permitted, 1 not, or FILE has problems.
`
}

func (c *explainCmd) Run(ctx context.Context, sys *system) error {
	if (c.File == "") == (c.URL == "") {
		return usagef("name FILE or --url URL")
	}
	if c.URL != "" {
		return c.elsewhere(ctx, sys)
	}
	p, err := readPolicies(c.File)
	if err != nil {
		return err
	}
	q, err := c.question(sys)
	if err != nil {
		return err
	}
	if c.Ask && c.Tool != "" {
		if q.Hints, err = c.hints(ctx, sys, p); err != nil {
			return err
		}
	}
	e, err := gateway.Explain(p, q)
	if err != nil {
		return usagef("%w", err)
	}
	return c.show(sys, e)
}

func (c *explainCmd) show(sys *system, e *policy.Explanation) (err error) {
	if c.Output == "json" {
		err = writeJSON(sys.stdout, e)
	} else {
		err = explained(sys.stdout, e)
	}
	if err == nil && !e.Allowed {
		return &exitError{code: ExitFailed} // the answer says it all
	}
	return err
}

// elsewhere asks a gateway.
func (c *explainCmd) elsewhere(ctx context.Context, sys *system) error {
	if c.Ask {
		return usagef("--ask goes with FILE; with --url say --read-only and so on")
	}
	q, err := c.question(sys)
	if err != nil {
		return err
	}
	e := new(policy.Explanation)
	g := gatewayFlags{URL: c.URL}
	if err := g.asking(ctx, func(ctx context.Context, r *control.Remote) error { return r.Post(ctx, "explain", q, e) }); err != nil {
		return err
	}
	return c.show(sys, e)
}

func (c *explainCmd) question(sys *system) (*policy.Question, error) {
	q := &policy.Question{
		Who:  policy.Who{Subject: c.Subject, Tenant: c.Tenant, Groups: c.Group, Roles: c.Role, Scopes: c.Scope, Issuer: c.Issuer, Method: c.Method},
		What: policy.What{Tool: c.Tool, Prompt: c.Prompt, Resource: c.Resource, Manage: c.Manage, Server: c.Server, Toolset: c.Toolset},
		At:   c.At, Program: c.Client, Address: c.Address,
	}
	q.Hints = policy.Hinted{ReadOnly: c.ReadOnly, Destructive: c.Destructive, Idempotent: c.Idempotent, OpenWorld: c.OpenWorld}
	if tenant, subject, ok := strings.Cut(c.Principal, "/"); ok {
		q.Tenant, q.Subject = tenant, subject
	} else if c.Principal != "" {
		q.Subject = c.Principal
	}
	for name, value := range c.Attribute {
		if q.Attributes == nil {
			q.Attributes = map[string]any{}
		}
		q.Attributes[name] = value
	}
	if c.Args == "" && len(c.Arg) == 0 {
		if c.NoArgs {
			q.Arguments = policy.NoArgs
		}
		return q, nil
	}
	object, err := readArguments(sys, c.Args)
	if err == nil {
		q.Arguments, err = arguments(object, c.Arg, nil)
	}
	return q, err
}

// knowsCallers tells whether a server may show each caller other tools, so that what it shows nobody says little.
func knowsCallers(s *v1.Server) bool {
	return s != nil && (s.ForwardToken || s.Identity != nil || s.Personal() != "")
}

// hints asks the server of the tool for its annotations.
func (c *explainCmd) hints(ctx context.Context, sys *system, p *plan.Plan) (policy.Hinted, error) {
	server, own := p.Config.OwnerOf(c.Tool)
	if t := p.Toolset(c.Toolset); t != nil {
		s, name, _ := t.FindTool([]byte(c.Tool))
		if s == nil {
			return policy.Hinted{}, nil // which the answer says
		}
		server, own = s.Name, string(name)
	}
	if knowsCallers(p.Config.MCPServers[server]) {
		return policy.Hinted{}, usagef("--ask asks as nobody, but %s may show each caller other tools: %s; say --read-only and so on instead",
			server, p.Config.Impersonal(server))
	}
	tools, err := askTools(ctx, sys, c.File, server)
	if err != nil {
		return policy.Hinted{}, fmt.Errorf("--ask cannot ask %s; say --read-only and so on instead: %w", server, err)
	}
	for _, t := range tools {
		if t.Name == own {
			return t.Annotations, nil
		}
	}
	return policy.Hinted{}, failf("the server %s has no tool %s", server, own)
}

// explained writes an explanation for people.
func explained(out io.Writer, e *policy.Explanation) error {
	verdict := "denied"
	switch {
	case e.Allowed:
		verdict = "allowed"
	case len(e.Scopes) > 0:
		verdict = "denied, but allowed with the scopes " + strings.Join(e.Scopes, " ")
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s: %s", verdict, e.Rule)
	line("")
	p, o := e.Principal, e.Object
	line("principal  %s (%s)", p.Key, p.Method)
	if e.Assumed != "" {
		line("  assumed  %s; say --method or --issuer if it is otherwise", e.Assumed)
	}
	for _, list := range [...]struct {
		name string
		of   []string
	}{{"groups", p.Groups}, {"roles", p.Roles}, {"scopes", p.Scopes}} {
		if len(list.of) > 0 {
			line("  %-8s %s", list.name, strings.Join(list.of, ", "))
		}
	}
	line("%-10s %s", o.Kind, cmp.Or(o.Shown, o.Name))
	if o.Toolset != "" {
		line("  toolset  %s", o.Toolset)
	}
	if o.Kind == "tool" {
		line("  server   %s", o.Server)
		line("  hints    readOnly=%v destructive=%v idempotent=%v openWorld=%v", o.ReadOnly, o.Destructive, o.Idempotent, o.OpenWorld)
	}
	if e.Call.Arguments != "" {
		line("arguments  %s", e.Call.Arguments)
	}
	if len(e.Considered) > 0 {
		line("\nconsidered:")
	}
	for _, c := range e.Considered {
		why := ""
		if c.Why != "" {
			why = ": " + c.Why
		}
		line("  %s %s: %s%s", c.Effect, c.Rule, c.Result, why)
	}
	if e.Others > 0 {
		line("%s for others or for other things", count(e.Others, "rule"))
	}
	for text := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(out, printable(strings.TrimSuffix(text, "\n"))); err != nil {
			return err
		}
	}
	return nil
}
