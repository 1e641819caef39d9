package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/mcp"
)

type toolsCmd struct {
	Output string `short:"o" enum:"table,json" default:"table" help:"table, or json: the tools as the server sent them."`
	target `embed:""`
}

func (*toolsCmd) Help() string {
	return `The table names the arguments of each tool; those in brackets may be left out.
` + targetHelp + `
Examples:

    toolcrib tools
    toolcrib tools --url https://tools.example.com/mcp
    toolcrib tools --config mcp.json --server files
    toolcrib tools -o json -- npx -y @modelcontextprotocol/server-everything
`
}

func (c *toolsCmd) Run(ctx context.Context, sys *system) error {
	return c.with(ctx, sys, func(ctx context.Context, conn *app.Conn) error {
		tools, err := conn.List(ctx, mcp.MethodToolsList)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return writeTools(sys.stdout, tools)
		}
		return tableTools(sys.stdout, tools)
	})
}

// writeTools joins the servers' own bytes, a tool a line.
func writeTools(w io.Writer, tools []json.RawMessage) error {
	var b bytes.Buffer
	b.WriteString(`{"tools":[`)
	for i, tool := range tools {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		b.Write(tool)
	}
	b.WriteString("\n]}\n")
	_, err := w.Write(b.Bytes())
	return err
}

// tool is what the table shows of one.
type tool struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	InputSchema struct {
		Properties names    `json:"properties"`
		Required   []string `json:"required"`
	} `json:"inputSchema"`
}

func tableTools(out io.Writer, tools []json.RawMessage) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "TOOL\tARGUMENTS\tDESCRIPTION")
	for _, raw := range tools {
		var t tool
		// An odd schema is the server's business; what was readable is shown.
		_ = json.Unmarshal(raw, &t)
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", printable(t.Name), printable(t.arguments()), summary(t.Description))
	}
	return w.Flush()
}

// arguments names the properties in the order of the schema, those that may be
// left out in brackets.
func (t *tool) arguments() string {
	required := make(map[string]bool, len(t.InputSchema.Required))
	for _, name := range t.InputSchema.Required {
		required[name] = true
	}
	shown := make([]string, 0, len(t.InputSchema.Properties))
	for _, name := range t.InputSchema.Properties {
		if !required[name] {
			name = "[" + name + "]"
		}
		shown = append(shown, name)
	}
	return strings.Join(shown, " ")
}

// summary is the first line of a description, cut to fit a table.
func summary(description string) string {
	const most = 80
	line, _, _ := strings.Cut(strings.TrimSpace(description), "\n")
	if runes := []rune(line); len(runes) > most {
		line = strings.TrimSpace(string(runes[:most-1])) + "…"
	}
	return printable(line)
}

// names are the member names of an object, in its order.
type names []string

// UnmarshalJSON reads the names and skips the values.
func (n *names) UnmarshalJSON(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return err // anything but an object has no names
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		name, _ := key.(string) // the key of an object always is one
		*n = append(*n, name)
	}
	return nil
}
