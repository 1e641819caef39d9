package plan

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/mcp"
)

const (
	bodyMost  = 256 << 10 // longer ones are not shown
	minSecret = 8         // shorter values are words that occur by themselves
)

// Bodies says of which calls the log shows what was sent and answered.
type Bodies struct {
	rules    []v1.LogBodies
	redactor *audit.Redactor
	secrets  map[string]*strings.Replacer // by server
}

// compileBodies is nil where nothing is shown.
func compileBodies(c *v1.Config) *Bodies {
	if len(c.Log.Bodies) == 0 {
		return nil
	}
	b := &Bodies{rules: c.Log.Bodies, redactor: audit.NewRedactor(c), secrets: map[string]*strings.Replacer{}}
	for _, name := range c.ServerNames() {
		b.secrets[name] = secretsOf(c, name)
	}
	return b
}

// secretsOf replaces what a server is given as a credential, or may be, by its name.
func secretsOf(c *v1.Config, server string) *strings.Replacer {
	found := map[string]string{}
	add := func(name, value string) {
		if _, last, spaced := strings.Cut(value, " "); spaced { // behind Bearer or the like
			value = last
		}
		if len(value) < minSecret {
			return
		}
		for _, way := range spellings(value) {
			found[way] = "[" + name + "]"
		}
	}
	s := c.MCPServers[server]
	for name, value := range s.Env {
		add(name, value)
	}
	for name, value := range s.Headers {
		add(name, value)
	}
	for value, name := range c.CredentialsFor(server) {
		add(name, value)
	}
	values := make([]string, 0, len(found))
	for value := range found {
		values = append(values, value)
	}
	slices.SortFunc(values, func(a, b string) int { return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b)) })
	pairs := make([]string, 0, 2*len(found))
	for _, value := range values {
		pairs = append(pairs, value, found[value])
	}
	return strings.NewReplacer(pairs...)
}

// For is the rule for a tool, by its name at /mcp, of a server; nil where there is none.
func (b *Bodies) For(server, tool string) *v1.LogBodies {
	if b == nil {
		return nil
	}
	for i := range b.rules {
		if b.rules[i].Fits(server, tool) {
			return &b.rules[i]
		}
	}
	return nil
}

// Show is what the log shows of well-formed JSON by a rule; own is a secret of the caller.
func (b *Bodies) Show(rule *v1.LogBodies, server, own string, body []byte) string {
	if len(body) > bodyMost {
		return fmt.Sprintf("[%d bytes]", len(body))
	}
	text := string(b.redactor.Append(nil, plain(body)))
	if len(own) >= minSecret {
		for _, way := range spellings(own) {
			text = strings.ReplaceAll(text, way, "[credential]")
		}
	}
	if r := b.secrets[server]; r != nil {
		text = r.Replace(text)
	}
	if most := int(rule.Most); len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// escapes are those that writers of JSON make beyond what they must: none, those of PHP, and those of Go.
var escapes = [...]*strings.Replacer{strings.NewReplacer(), strings.NewReplacer("/", `\/`), strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`)}

// spellings are the ways in which a value stands in JSON that is plain: by itself, in a string, and in JSON within a string.
func spellings(value string) []string {
	once := spelled(value)
	all := []string{value, once}
	for _, e := range escapes {
		all = append(all, spelled(e.Replace(once)))
	}
	slices.Sort(all)
	all = slices.Compact(all)
	slices.SortStableFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

func spelled(text string) string {
	quoted := mcp.AppendString(nil, text)
	return string(quoted[1 : len(quoted)-1])
}

// plain is well-formed JSON whose strings have no more escapes than they need, so that what is looked for in them is found.
func plain(body []byte) []byte {
	if !bytes.Contains(body, []byte{'\\'}) {
		return body
	}
	out := make([]byte, 0, len(body))
	for i := 0; i < len(body); i++ {
		if body[i] != '"' {
			out = append(out, body[i])
			continue
		}
		start := i
		for i++; i < len(body)-1 && body[i] != '"'; i++ {
			if body[i] == '\\' {
				i++
			}
		}
		raw := body[start:min(i+1, len(body))]
		if text, ok := mcp.Text(raw, mcp.Span{End: int32(len(raw))}, nil); ok {
			out = mcp.AppendString(out, string(text))
		} else {
			out = append(out, raw...)
		}
	}
	return out
}
