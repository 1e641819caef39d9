package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/policy"
)

// policyCmd are the commands about policies.
type policyCmd struct {
	Test policyTestCmd `cmd:"" help:"Test what policies decide, by cases in a file."`
	Diff policyDiffCmd `cmd:"" help:"Show who gains and who loses which tools by a change of policies."`
	Show policyShowCmd `cmd:"" help:"Show all policies in the Cedar language."`
}

// readPolicies reads a configuration and compiles its policies.
func readPolicies(file string) (*plan.Plan, error) {
	config, err := readConfig(file)
	if err != nil {
		return nil, err
	}
	p, err := plan.Compile(config)
	if err != nil {
		return nil, policyError(file, err)
	}
	return p, nil
}

// policyError tells what is wrong with the policies of a file.
func policyError(file string, err error) error {
	if problems, ok := errors.AsType[policy.Problems](err); ok {
		return failf("the policies of %s have %s:\n%w", file, count(len(problems), "problem"), err)
	}
	return failf("%s: %w", file, err)
}

type policyTestCmd struct {
	File    string `arg:"" help:"Cases, in YAML."`
	Config  string `short:"c" placeholder:"FILE" help:"Configuration to test (default: that which the file names as config)."`
	Verbose bool   `short:"v" help:"Show the cases that pass too, with what decided."`
}

func (*policyTestCmd) Help() string {
	return `No server is started. Each case says who calls what with which arguments, and
what is expected: allow, deny, or step-up where a token with further scopes would
be allowed. See docs/policies.md for all keys.

    config: toolcrib.yaml
    principals:
      ann: {subject: ann, groups: [analysts]}
    tools:
      search__find: {readOnly: true}
    cases:
    - {principal: ann, tool: search__find, expect: allow}
    - {principal: ann, tool: pay__transfer, arguments: {amount: 5000}, expect: deny, rule: amount-limit}

Exit codes: 0 all cases pass, 1 some do not or a file has problems, 2 a file cannot be read.
`
}

func (c *policyTestCmd) Run(sys *system) error {
	data, err := os.ReadFile(c.File)
	if err != nil {
		return usagef("%w", err)
	}
	cases, err := policy.ParseCases(data)
	if problems, ok := errors.AsType[v1.Problems](err); ok {
		return failf("%s has %s:\n%w", c.File, count(len(problems), "problem"), err)
	} else if err != nil {
		return failf("%s: %w", c.File, err)
	}
	config := c.Config
	if config == "" && cases.Config == "" {
		return usagef("%s names no configuration; write config: FILE into it, or give --config", c.File)
	} else if config == "" {
		config = filepath.Join(filepath.Dir(c.File), cases.Config)
	}
	p, err := readPolicies(config)
	if err != nil {
		return err
	}
	failed := 0
	results := cases.Run(func(q *policy.Question) (*policy.Explanation, error) { return gateway.Explain(p, q) })
	for _, r := range results {
		switch {
		case r.Problem != "":
			failed++
			_, _ = fmt.Fprintf(sys.stdout, "FAIL  %s: %s\n", printable(r.Name), printable(r.Problem))
		case c.Verbose:
			_, _ = fmt.Fprintf(sys.stdout, "ok    %s: %s\n", printable(r.Name), printable(r.Explanation.Rule))
		}
	}
	_, _ = fmt.Fprintf(sys.stdout, "%s, %d passed, %d failed\n", count(len(results), "case"), len(results)-failed, failed)
	if failed > 0 {
		return &exitError{code: ExitFailed}
	}
	return nil
}

type policyDiffCmd struct {
	Old    string `arg:"" help:"Configuration before."`
	New    string `arg:"" help:"Configuration after."`
	Tools  string `placeholder:"FILE" help:"Tools to compare, as \"toolcrib tools -o json\" prints them, by the names that they have at /mcp."`
	Ask    bool   `help:"Start or connect to the servers of both files and compare all of their tools."`
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

func (*policyDiffCmd) Help() string {
	return `Compares for everybody of whom either file speaks: in bindings, keys, roles and
whom Cedar policies name. Tools are those of --tools or --ask; without them those
that the policies themselves name, each without annotations, or where that makes
no difference as one that is readOnly, which is said. Where they name no single
tool a pattern is compared: search__* stands for whatever the server search has,
and a note names what could not be compared tool by tool. Prompts, resources and what
roles permit at toolsets are not compared.

Examples:

    toolcrib policy diff toolcrib.yaml next.yaml --ask
    toolcrib tools -o json > tools.json
    toolcrib policy diff toolcrib.yaml next.yaml --tools tools.json

Exit codes: 0 compared, 1 a file has problems, 3 servers cannot be asked: the tools of the others are compared.
`
}

func (c *policyDiffCmd) Run(ctx context.Context, sys *system) error {
	before, err := readPolicies(c.Old)
	if err != nil {
		return err
	}
	after, err := readPolicies(c.New)
	if err != nil {
		return err
	}
	objects, patterns, err := c.objects(ctx, sys, before.Config, after.Config)
	_, partly := errors.AsType[unaskedError](err)
	if err != nil && !partly {
		return err
	}
	if len(patterns) > 0 {
		_, _ = fmt.Fprintf(sys.stderr, "note: which tools these stand for only the servers know, so they were compared as a whole and without annotations;"+
			" give --ask or --tools FILE to compare each tool: %s\n", printable(strings.Join(patterns, ", ")))
	}
	changes := policy.Diff(before.Policies, after.Policies, policy.Subjects(before.Config, after.Config), objects, !c.Ask && c.Tools == "")
	if c.Output == "json" {
		return cmp.Or(writeJSON(sys.stdout, append([]policy.Change{}, changes...)), err)
	}
	compared := count(len(objects), "tool")
	if len(patterns) > 0 {
		compared += " and patterns"
	}
	return cmp.Or(changesText(sys.stdout, changes, compared), err)
}

func changesText(out io.Writer, changes []policy.Change, compared string) error {
	if len(changes) == 0 {
		_, err := fmt.Fprintf(out, "nobody gains or loses any of %s\n", compared)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "WHO\tCHANGE\tTOOL\tBEFORE\tAFTER")
	for _, c := range changes {
		object := printable(c.Object)
		if c.ReadOnly {
			object += " (readOnly)"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", printable(c.Who), c.Kind, object, printable(c.Before), printable(c.After))
	}
	return w.Flush()
}

// objects are the tools that are compared, and the patterns whose tools nobody asked for.
func (c *policyDiffCmd) objects(ctx context.Context, sys *system, configs ...*v1.Config) (all []*policy.Object, patterns []string, err error) {
	switch {
	case c.Tools != "":
		data, err := os.ReadFile(c.Tools)
		if err != nil {
			return nil, nil, usagef("%w", err)
		}
		all, err = toolObjects(configs[1], data)
		return all, nil, err
	case c.Ask:
		all, err = c.asked(ctx, sys, configs)
		return all, nil, err
	}
	all, patterns = policy.NamedTools(configs...)
	return all, patterns, nil
}

// unaskedError is of servers that could not be asked, while others could.
type unaskedError struct{ error }

func (e unaskedError) Unwrap() error { return e.error }

// asked are the tools of the servers of both files. Its error may be unaskedError: then there are those of the others.
func (c *policyDiffCmd) asked(ctx context.Context, sys *system, configs []*v1.Config) (all []*policy.Object, err error) {
	seen, servers, failed := map[string]bool{}, 0, []error(nil)
	for i, file := range []string{c.Old, c.New} {
		for _, name := range configs[i].ServerNames() {
			servers++
			var tools []listed
			err := errors.New("--ask asks as nobody, and it may show each caller other tools")
			if !knowsCallers(configs[i].MCPServers[name]) {
				tools, err = askTools(ctx, sys, file, name)
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("the tools of %s in %s were not compared: %w", name, file, err))
				continue
			}
			for _, t := range tools {
				if o := t.object(configs[i], name); !seen[o.Shown] {
					seen[o.Shown] = true
					all = append(all, o)
				}
			}
		}
	}
	switch {
	case len(failed) == 0:
		return all, nil
	case len(failed) == servers || ctx.Err() != nil:
		return nil, errors.Join(failed...)
	}
	return all, unaskedError{fmt.Errorf("%w;\nto compare them give --tools FILE", errors.Join(failed...))}
}

// listed is what of a tool's definition policies can ask for.
type listed struct {
	Name        string        `json:"name"`
	Annotations policy.Hinted `json:"annotations"`
}

func (t *listed) object(c *v1.Config, server string) *policy.Object {
	h := t.Annotations
	return &policy.Object{
		Kind: policy.KindTool, Server: server, Name: t.Name, Shown: c.PrefixOf(server) + t.Name, Labels: c.MCPServers[server].Labels,
		Hints: policy.HintsOf(h.ReadOnly, h.Destructive, h.Idempotent, h.OpenWorld),
	}
}

// askTools asks a server of a file for its tools.
func askTools(ctx context.Context, sys *system, file, server string) (tools []listed, err error) {
	t := target{Config: file, Server: server, Timeout: askTimeout}
	return tools, t.with(ctx, sys, func(ctx context.Context, conn *app.Conn) error {
		raw, err := conn.List(ctx, mcp.MethodToolsList)
		for _, text := range raw {
			var one listed
			if json.Unmarshal(text, &one) == nil { // else it is no tool that could be called
				tools = append(tools, one)
			}
		}
		return err
	})
}

// toolObjects reads a list of tools by the names that they have at /mcp.
func toolObjects(c *v1.Config, data []byte) (all []*policy.Object, err error) {
	var list struct {
		Tools []listed `json:"tools"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, failf("the tools cannot be read: %w", err)
	}
	for _, t := range list.Tools {
		o, err := (&policy.What{Tool: t.Name, Hints: t.Annotations}).Object(c)
		if err != nil {
			return nil, failf("%w", err)
		}
		all = append(all, o)
	}
	return all, nil
}

type policyShowCmd struct {
	File   string `arg:"" help:"Configuration."`
	Schema bool   `help:"Show the schema of policies instead: what they can ask for."`
}

func (*policyShowCmd) Help() string {
	return `Shows the Cedar policies that roles and bindings stand for, and those of the
Cedar files as they count: one that leaves its action open is about use.
`
}

func (c *policyShowCmd) Run(sys *system) error {
	p, err := readPolicies(c.File)
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(p.Policies.Cedar())) + "\n"
	if c.Schema {
		text = policy.Schema(p.Config)
	}
	_, err = io.WriteString(sys.stdout, text)
	return err
}
