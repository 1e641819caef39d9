package cli

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// validatedToolset is what validate shows of a toolset.
type validatedToolset struct {
	Name     string   `json:"name"`
	Path     string   `json:"path"`
	Servers  []string `json:"servers"`
	Disabled []string `json:"disabledServers,omitempty"`
	// Tools, Prompts and Resources tell what it holds: all, none, or names and patterns.
	Tools     string `json:"tools"`
	Prompts   string `json:"prompts"`
	Resources string `json:"resources"`
}

func validatedToolsets(c *v1.Config) []validatedToolset {
	all := make([]validatedToolset, 0, len(c.Toolsets))
	for _, name := range slices.Sorted(maps.Keys(c.Toolsets)) {
		t := c.Toolsets[name]
		v := validatedToolset{
			Name: name, Path: "/toolsets/" + url.PathEscape(name) + "/mcp", Servers: []string{},
			Prompts: selection(t.Prompts), Resources: selection(t.Resources),
		}
		for _, s := range t.Servers {
			if c.MCPServers[s].Disabled {
				v.Disabled = append(v.Disabled, s)
			} else {
				v.Servers = append(v.Servers, s)
			}
		}
		var tools []string
		if t.Tools != nil {
			tools = make([]string, 0, len(t.Tools))
		}
		for _, tool := range slices.Sorted(maps.Keys(t.Tools)) {
			if as := t.Tools[tool].As; as != "" && as != tool {
				tool = as + " (" + tool + ")"
			}
			tools = append(tools, tool)
		}
		v.Tools = selection(tools)
		all = append(all, v)
	}
	return all
}

func selection(names []string) string {
	switch {
	case names == nil:
		return "all"
	case len(names) == 0:
		return "none"
	}
	return strings.Join(names, ", ")
}

func toolsetsText(out io.Writer, c *v1.Config) error {
	if len(c.Toolsets) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "\nTOOLSET\tSERVERS\tTOOLS\tPROMPTS\tRESOURCES")
	for _, t := range validatedToolsets(c) {
		servers := strings.Join(t.Servers, ", ")
		if len(t.Disabled) > 0 {
			servers += " (disabled: " + strings.Join(t.Disabled, ", ") + ")"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", t.Path, strings.TrimSpace(servers), clipped(t.Tools), clipped(t.Prompts), clipped(t.Resources))
	}
	return w.Flush()
}

// clipped keeps a cell of a table short.
func clipped(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
