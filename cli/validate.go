package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 16 << 20

type validateCmd struct {
	File   string `arg:"" type:"path" help:"Configuration in YAML or JSON."`
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

func (validateCmd) Help() string {
	return `Reports all problems at once, each with line and path, and shows the servers
when there is none. Nothing is started or connected to. Variables that FILE
refers to must be set, as for serve.

Examples:

    toolcrib validate mcp.json
    toolcrib validate toolcrib.yaml -o json

Exit codes: 0 valid, 1 problems found, 2 the file cannot be read.
`
}

func (c *validateCmd) Run(sys *system) error {
	config, err := readConfig(c.File)
	problems, ok := errors.AsType[v1.Problems](err)
	if err != nil && !ok {
		return err
	}
	if c.Output == "json" {
		if err := validationJSON(sys.stdout, config, problems); err != nil {
			return err
		}
		if len(problems) > 0 {
			return &exitError{code: ExitFailed}
		}
		return nil
	}
	if len(problems) > 0 {
		return &exitError{ExitFailed, problemsError(c.File, problems)}
	}
	return validationText(sys.stdout, c.File, config)
}

// readConfig reads and parses a file. Problems with what it holds are
// [v1.Problems] in an error that lists them.
func readConfig(file string) (*v1.Config, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, usagef("%w", err)
	}
	config, problems := v1.Parse(data, v1.Options{Dir: filepath.Dir(file)})
	if len(problems) > 0 {
		return nil, &exitError{ExitFailed, problemsError(file, problems)}
	}
	return config, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		err = fmt.Errorf("%s holds more than %d bytes", name, maxConfig)
	}
	return data, err
}

// fileProblems is the problems of a file, in the form that editors can jump to.
type fileProblems struct {
	file string
	v1.Problems
}

func problemsError(file string, problems v1.Problems) error {
	return &fileProblems{file, problems}
}

func (p *fileProblems) Unwrap() error { return p.Problems }

func (p *fileProblems) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", shown(p.file), count(len(p.Problems), "problem"))
	for _, q := range p.Problems {
		b.WriteString("\n" + shown(p.file) + ":")
		if q.Line > 0 {
			b.WriteString(strconv.Itoa(q.Line) + ":")
		}
		if q.Path != "" {
			b.WriteString(" " + q.Path + ":")
		}
		b.WriteString(" " + q.Message)
	}
	return b.String()
}

// shown is a path as the user probably wrote it: relative when it is below the
// working directory.
func shown(file string) string {
	dir, err := os.Getwd()
	if err != nil {
		return file
	}
	if rel, err := filepath.Rel(dir, file); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return file
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func validationText(out io.Writer, file string, c *v1.Config) error {
	names := c.ServerNames()
	_, _ = fmt.Fprintf(out, "%s is valid: %s at %s\n", shown(file), count(len(names), "server"), c.Listen)
	for _, warning := range c.Warnings {
		_, _ = fmt.Fprintln(out, "warning: "+warning)
	}
	if len(names) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "\nSERVER\tTYPE\tTOOLS ARE NAMED\tTARGET")
	for _, name := range names {
		s := c.MCPServers[name]
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", name, s.Type, c.PrefixOf(name)+"*", where(s))
	}
	return w.Flush()
}

// where names the command or the host of a server, and nothing that could hold
// a secret: arguments, paths and queries may.
func where(s *v1.Server) string {
	if s.Command != "" {
		return s.Command
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// validation is the answer of validate --output json.
type validation struct {
	Valid    bool              `json:"valid"`
	Problems v1.Problems       `json:"problems"`
	Warnings []string          `json:"warnings"`
	Listen   string            `json:"listen,omitempty"`
	Servers  []validatedServer `json:"servers"`
}

type validatedServer struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Prefix string `json:"prefix"`
	Target string `json:"target"`
}

func validationJSON(w io.Writer, c *v1.Config, problems v1.Problems) error {
	// Lists are [] when they are empty, never null.
	v := validation{Valid: c != nil, Problems: v1.Problems{}, Warnings: []string{}, Servers: []validatedServer{}}
	v.Problems = append(v.Problems, problems...)
	if c != nil {
		v.Warnings = append(v.Warnings, c.Warnings...)
		v.Listen = c.Listen
		for _, name := range c.ServerNames() {
			s := c.MCPServers[name]
			v.Servers = append(v.Servers, validatedServer{name, s.Type, c.PrefixOf(name), where(s)})
		}
	}
	return writeJSON(w, v)
}

// writeJSON writes v indented, for people and programs alike.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
