package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
)

type policyDiffCmd struct {
	Old    string `arg:"" help:"Configuration before."`
	New    string `arg:"" help:"Configuration after."`
	Tools  string `placeholder:"FILE" help:"Tools to compare, as \"toolcrib tools -o json\" prints them, by the names that they have at /mcp."`
	Ask    bool   `help:"Start or connect to the servers of both files and compare all of their tools, prompts and resources."`
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

func (*policyDiffCmd) Help() string {
	return `Compares for everybody of whom either file speaks: in bindings, keys, roles and
whom Cedar policies name. Compared are tools, prompts and resources (templates are
resources), at /mcp and at the endpoint of each toolset that holds them. A toolset
is gained with the first thing at its endpoint, and lost with the last. Arguments
that toolsets fix are not compared.

With --ask they are those that the servers have. Without it they are those that
the files themselves name, and the tools those of --tools if given. Tools are
without annotations then, or where that makes no difference readOnly, which is
said. Where the files name no single thing a pattern is compared: search__* stands
for whatever the server search has, and a note names what could not be compared
one by one.

Examples:

    toolcrib policy diff toolcrib.yaml next.yaml --ask
    toolcrib tools -o json > tools.json
    toolcrib policy diff toolcrib.yaml next.yaml --tools tools.json

Exit codes: 0 compared, 1 a file has problems, 3 servers cannot be asked: what the others have is compared.
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
	all, patterns, err := c.compared(ctx, sys, before.Config, after.Config)
	_, partly := errors.AsType[unaskedError](err)
	if err != nil && !partly {
		return err
	}
	if len(patterns) > 0 {
		what := "they were compared as a whole and tools without annotations; give --ask to compare one by one, or --tools FILE for tools"
		if c.Tools != "" {
			what = "prompts and resources were compared by them as a whole; give --ask to compare one by one"
		}
		_, _ = fmt.Fprintf(sys.stderr, "note: what these stand for only the servers know, so %s: %s\n", what, printable(strings.Join(patterns, ", ")))
	}
	changes := gateway.Compare(before, after, all, !c.Ask && c.Tools == "")
	if c.Output == "json" {
		return cmp.Or(writeJSON(sys.stdout, append([]policy.Change{}, changes...)), err)
	}
	return cmp.Or(changesText(sys.stdout, changes, counted(all, len(patterns) > 0)), err)
}

// counted says of how many things it is said that nobody gains or loses any.
func counted(all []policy.What, patterns bool) string {
	var tools, prompts, resources int
	for _, w := range all {
		switch {
		case w.Tool != "":
			tools++
		case w.Prompt != "":
			prompts++
		default:
			resources++
		}
	}
	text := count(tools, "tool") + ", " + count(prompts, "prompt") + " and " + count(resources, "resource")
	if patterns {
		text += ", patterns among them"
	}
	return text
}

func changesText(out io.Writer, changes []policy.Change, compared string) error {
	if len(changes) == 0 {
		_, err := fmt.Fprintf(out, "nobody gains or loses any of %s\n", compared)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "WHO\tCHANGE\tKIND\tOBJECT\tBEFORE\tAFTER")
	for _, f := range folded(changes) {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n",
			printable(f.Who), f.Change.Change, f.Kind, printable(f.object()), printable(f.Before), printable(f.After))
	}
	return w.Flush()
}

// foldedChange is a change that is the same at several places, and of resources that several servers have.
type foldedChange struct {
	policy.Change // without its places
	servers       []string
	toolsets      []string
}

// folded joins changes that differ in nothing but where they are.
func folded(changes []policy.Change) (all []*foldedChange) {
	known := map[policy.Change]*foldedChange{}
	for _, c := range changes {
		same := c
		same.Server, same.Toolset = "", ""
		f := known[same]
		if f == nil {
			f = &foldedChange{Change: same}
			known[same], all = f, append(all, f)
		}
		if c.Server != "" && !slices.Contains(f.servers, c.Server) {
			f.servers = append(f.servers, c.Server)
		}
		if !slices.Contains(f.toolsets, c.Toolset) {
			f.toolsets = append(f.toolsets, c.Toolset)
		}
	}
	return all
}

func (f *foldedChange) object() string {
	text := f.Object
	if len(f.servers) > 0 {
		text += " of " + few(f.servers)
	}
	if f.ReadOnly {
		text += " (readOnly)"
	}
	slices.Sort(f.toolsets) // /mcp is the first
	switch {
	case len(f.toolsets) == 1 && f.toolsets[0] == "":
		return text
	case f.toolsets[0] == "":
		return text + ", also at " + few(f.toolsets[1:])
	}
	return text + " at " + few(f.toolsets)
}

// few names at most three.
func few(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// compared is what is compared, and the patterns of which nobody asked what they stand for.
func (c *policyDiffCmd) compared(ctx context.Context, sys *system, configs ...*v1.Config) (all []policy.What, patterns []string, err error) {
	if c.Ask {
		all, err = c.asked(ctx, sys, configs)
		return all, nil, err
	}
	all, patterns = policy.Mentioned(c.Tools != "", configs...)
	if c.Tools == "" {
		return all, patterns, nil
	}
	data, err := os.ReadFile(c.Tools)
	if err != nil {
		return nil, nil, usagef("%w", err)
	}
	tools, err := toolsOf(data, configs)
	all = slices.DeleteFunc(all, func(w policy.What) bool { return w.Tool != "" })
	return append(tools, all...), patterns, err
}

// unaskedError is of servers that could not be asked, while others could.
type unaskedError struct{ error }

func (e unaskedError) Unwrap() error { return e.error }

// asked is what the servers of both files have. Its error may be unaskedError: then it is what the others have.
func (c *policyDiffCmd) asked(ctx context.Context, sys *system, configs []*v1.Config) (all []policy.What, err error) {
	type name struct{ tool, prompt, resource, server string }
	seen, servers, failed := map[name]bool{}, 0, []error(nil)
	for i, file := range []string{c.Old, c.New} {
		for _, server := range configs[i].ServerNames() {
			servers++
			var has []policy.What
			err := errors.New("--ask asks as nobody, and it may show each caller other tools")
			if !knowsCallers(configs[i].MCPServers[server]) {
				has, err = askAll(ctx, sys, file, server, configs[i].PrefixOf(server))
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("what %s in %s has was not compared: %w", server, file, err))
				continue
			}
			for _, w := range has {
				if n := (name{w.Tool, w.Prompt, w.Resource, w.Server}); !seen[n] {
					seen[n] = true
					all = append(all, w)
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
	return all, unaskedError{fmt.Errorf("%w;\nto compare their tools give --tools FILE", errors.Join(failed...))}
}

// listed is what of a definition policies can ask for.
type listed struct {
	Name        string        `json:"name"`
	URI         string        `json:"uri"`
	Template    string        `json:"uriTemplate"`
	Annotations policy.Hinted `json:"annotations"`
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

// askAll asks a server of a file for its tools, prompts, resources and templates.
func askAll(ctx context.Context, sys *system, file, server, prefix string) (all []policy.What, err error) {
	t := target{Config: file, Server: server, Timeout: askTimeout}
	return all, t.with(ctx, sys, func(ctx context.Context, conn *app.Conn) error {
		for _, list := range [...]struct {
			capability string
			method     mcp.Method
			what       func(*listed) policy.What
		}{
			{"tools", mcp.MethodToolsList, func(l *listed) policy.What { return policy.What{Tool: prefix + l.Name, Hints: l.Annotations} }},
			{"prompts", mcp.MethodPromptsList, func(l *listed) policy.What { return policy.What{Prompt: prefix + l.Name} }},
			{"resources", mcp.MethodResourcesList, func(l *listed) policy.What { return policy.What{Resource: l.URI, Server: server} }},
			{"resources", mcp.MethodResourcesTemplatesList, func(l *listed) policy.What { return policy.What{Resource: l.Template, Server: server} }},
		} {
			if !conn.Offers(list.capability) {
				continue
			}
			raw, err := conn.List(ctx, list.method)
			if answer := new(mcp.Error); errors.As(err, &answer) && answer.Code == mcp.CodeMethodNotFound {
				continue // of resources without templates
			} else if err != nil {
				return err
			}
			for _, text := range raw {
				var one listed
				if json.Unmarshal(text, &one) == nil { // else it is nothing that could be called
					all = append(all, list.what(&one))
				}
			}
		}
		return nil
	})
}

// toolsOf reads a list of tools by the names that they have at /mcp in one of the configurations.
func toolsOf(data []byte, configs []*v1.Config) (all []policy.What, err error) {
	var list struct {
		Tools []listed `json:"tools"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, failf("the tools cannot be read: %w", err)
	}
	for _, t := range list.Tools {
		w := policy.What{Tool: t.Name, Hints: t.Annotations}
		_, before := w.Object(configs[0])
		_, after := w.Object(configs[1])
		if before != nil && after != nil {
			return nil, failf("%w", after)
		}
		all = append(all, w)
	}
	return all, nil
}
