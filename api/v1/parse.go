package v1

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// MaxFile is the size of the largest configuration that is read, in bytes.
const MaxFile = 4 << 20

// maxProblems bounds how many problems are reported at once.
const maxProblems = 100

// Options are what Parse takes from its surroundings.
type Options struct {
	// Env looks up an environment variable; nil is [os.LookupEnv].
	Env func(name string) (string, bool)
	// ReadFile reads a file that a value refers to; nil reads regular files. What
	// it returns may have at most 1 MiB.
	ReadFile func(name string) ([]byte, error)
	// Glob lists the files that a pattern fits; nil is [filepath.Glob].
	Glob func(pattern string) ([]string, error)
	// JSON says that the file is to be JSON, as its name does: what is wrong with
	// one that is neither JSON nor YAML is then told as of JSON.
	JSON bool
	// Dir is where relative paths of ${file:…} start; empty is the working
	// directory of the process.
	Dir string
}

// Parse reads a configuration in YAML or JSON (comments and trailing commas are
// allowed in both), resolves its references, applies the environment's
// overrides and validates it. It returns every problem that it finds, and the
// configuration only when there is none.
func Parse(data []byte, opts Options) (*Config, Problems) {
	d, c, p := read(data, opts)
	if p != nil {
		return nil, Problems{*p}
	}
	d.hollow(c)
	d.unbounded(c)
	d.validated(c.Validate())
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	d.idle(c)
	for _, w := range d.warnings.sorted() {
		c.Warnings = append(c.Warnings, w.String())
	}
	return c, nil
}

// hollow refuses the key tls where it says nothing: whoever wrote it does not mean to serve http.
func (d *decoder) hollow(c *Config) {
	if line, given := d.lines["tls"]; given && c.TLS == (TLS{}) {
		d.fail(line, "tls", "names neither cert nor key, so that the gateway would serve http; name both, or remove the key")
	}
}

// unbounded refuses a bound of 0 or less, which would stand for the default: whoever writes it means to refuse all, or to bound nothing.
func (d *decoder) unbounded(c *Config) {
	const path = "overload.concurrency"
	if line, given := d.lines[path]; given && c.Overload.Concurrency <= 0 && !slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Path == path }) {
		d.fail(line, path, "is %d; write 1 to 1000000, or leave it out for what overload.memory has room for", c.Overload.Concurrency)
	}
}

// StateDir returns the state directory of a configuration that may have problems elsewhere.
func StateDir(data []byte, opts Options) (string, Problems) {
	d, c, p := read(data, opts)
	if p != nil {
		return "", Problems{*p}
	}
	for _, p := range d.problems {
		if p.Path == "stateDir" {
			return "", Problems{p}
		}
	}
	return c.StateDir, nil
}

// read decodes a configuration; the problem is for what has no keys at all.
func read(data []byte, opts Options) (*decoder, *Config, *Problem) {
	if opts.Env == nil {
		opts.Env = os.LookupEnv
	}
	if opts.ReadFile == nil {
		opts.ReadFile = readFile
	}
	if opts.Glob == nil {
		opts.Glob = filepath.Glob
	}
	d := &decoder{opts: opts, lines: map[string]int{}, origins: map[string]string{}}
	c := &Config{}
	root, p := load(data, opts.JSON)
	if p == nil {
		p = unfit(root)
	}
	if p != nil {
		return nil, nil, p
	}
	d.document(root, c)
	d.override(c)
	d.openTelemetry(&c.Telemetry)
	d.normalise(c)
	d.policyFiles(c)
	return d, c, nil
}

// Document reads a file in YAML or JSON, as Parse does, without looking at what it holds. The node is nil for an empty one.
func Document(data []byte) (*yaml.Node, *Problem) { return load(data, false) }

// load returns the root node, nil for an empty document. What named says of the file is told of one that cannot be read.
func load(data []byte, named bool) (*yaml.Node, *Problem) {
	if len(data) > MaxFile {
		return nil, &Problem{Message: fmt.Sprintf("has %d bytes; at most %d are read", len(data), MaxFile)}
	}
	format := "YAML"
	if json, ok := fromJSON(data); ok {
		data, format = json, "JSON"
	} else if named {
		format = "" // which the problem finds out
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		return nil, &Problem{Message: err.Error()}
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, syntaxProblem(err, data, format)
	}
	switch err := loader.Load(&second); {
	case err == nil:
		return nil, &Problem{Line: second.Line, Message: "holds a second document; one file holds one"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxProblem(err, data, format)
	case doc.Kind == yaml.DocumentNode && len(doc.Content) == 1:
		return doc.Content[0], nil
	}
	return nil, nil
}

// unfit says why a document is no configuration at all. An empty one is refused,
// although every key has a default: a file that is being written, or that was
// emptied by mistake, must not take every server away.
func unfit(root *yaml.Node) *Problem {
	switch {
	case empty(root):
		return &Problem{Message: "the file is empty: name servers under mcpServers; to serve none, write mcpServers: {}"}
	case root.Kind == yaml.MappingNode:
		return stateFile(root)
	}
	return nil
}

// empty tells whether a document has no keys, as one has that is read while it is written.
func empty(root *yaml.Node) bool {
	return root == nil || root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" ||
		root.Kind == yaml.MappingNode && len(root.Content) == 0
}

// idle warns of what is valid but serves nobody.
func (d *decoder) idle(c *Config) {
	if len(c.ServerNames()) == 0 {
		reason := "holds no server, so that clients find nothing"
		if len(c.MCPServers) > 0 {
			reason = "holds no server that is not disabled, so that clients find nothing"
		}
		d.warn(d.lines["mcpServers"], "mcpServers", reason)
	}
	d.idleToolsets(c)
	d.idleLimits(c)
	d.idleBulk(c)
	d.contradictions(c)
	d.lacking(c)
	d.unvalued(c)
	d.namesakes(c)
	d.readable(c)
	if n := c.standing(); n > c.Runner.MaxInstances {
		d.warn(d.lineOf("runner"), "runner.maxInstances",
			fmt.Sprintf("is %d, but the servers have %d processes before anybody calls, so that some cannot start: raise it", c.Runner.MaxInstances, n))
	}
	if c.Cluster != "" && len(c.Seal.Keys) == 0 {
		d.warn(d.lineOf("cluster"), "cluster", "is set but seal.keys is not, so that each replica makes its own: give all the same, or they refuse each other")
	}
}

// yamlTerms puts the terms of the YAML specification in those of this package.
var yamlTerms = strings.NewReplacer("a flow mapping", "an object", "a block mapping", "an object", "a flow sequence", "a list",
	"a block collection", "a list", "a quoted scalar", "quoted text", "a plain scalar", "text", "scanning", "reading", "parsing", "reading")

func syntaxProblem(err error, data []byte, format string) *Problem {
	if format == "" {
		if p := jsonProblem(data); p != nil {
			return p
		}
		format = "JSON"
	}
	p := &Problem{Message: "is not valid " + format + ": " + err.Error()}
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		return p
	}
	p.Line = le.Mark.Line
	p.Message = "is not valid " + format + ": " + le.Message
	if format == "JSON" && le.Mark.Column > 0 {
		p.Message = fmt.Sprintf("is not valid JSON at column %d: %s", le.Mark.Column, le.Message)
	}
	if strings.HasPrefix(le.Message, "unknown anchor") {
		p.Message = "has an alias (*name) without its anchor (&name); put text that begins with * in quotes"
	}
	if le.ContextMsg != "" {
		p.Message += " " + yamlTerms.Replace(le.ContextMsg)
		if le.ContextMark.Line > 0 && le.ContextMark.Line != le.Mark.Line {
			p.Message += fmt.Sprintf(" that starts in line %d", le.ContextMark.Line)
		}
	}
	if lines := bytes.Split(data, []byte("\n")); p.Line > 0 && p.Line <= len(lines) {
		indent, _, _ := bytes.Cut(lines[p.Line-1], bytes.TrimLeft(lines[p.Line-1], " \t"))
		if format == "YAML" && bytes.ContainsRune(indent, '\t') {
			p.Message += "; indent with spaces, YAML allows no tabs there"
		}
	}
	return p
}

// validated takes over the problems of Validate, with the lines of the file,
// but for those that follow from a problem that is known already.
func (d *decoder) validated(ps Problems) {
	known := d.problems
	for _, p := range ps {
		if slices.ContainsFunc(known, func(k Problem) bool { return related(k.Path, p.Path) }) {
			continue
		}
		if name, ok := d.origins[p.Path]; ok {
			p.Message += " (set by " + name + ")"
		} else {
			p.Line = d.lineOf(p.Path)
		}
		d.problems = append(d.problems, p)
	}
}

// related tells whether one path is, or holds, the other.
func related(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	rest, ok := strings.CutPrefix(b, a)
	return ok && (rest == "" || a == "" || rest[0] == '.' || rest[0] == '[')
}

// lineOf returns the line of the key at path, or of the nearest that holds it.
func (d *decoder) lineOf(path string) int {
	for {
		if line, ok := d.lines[path]; ok || path == "" {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

// sorted orders problems by line and path, drops repetitions, and bounds their
// number.
func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return strings.Compare(a.Path, b.Path)
	})
	ps = slices.Compact(ps)
	if more := len(ps) - maxProblems; more > 0 {
		ps = append(ps[:maxProblems:maxProblems], Problem{Message: fmt.Sprintf("and %d more problems", more)})
	}
	return ps
}

// normalise gives values that have several spellings the one that is used.
func (d *decoder) normalise(c *Config) {
	c.Log.normalise()
	if c.StateDir == "" {
		c.StateDir = defaultStateDir(d.opts.Env)
	}
	c.StateDir = d.home(c.StateDir)
	for _, file := range []*string{&c.TLS.Cert, &c.TLS.Key, &c.TLS.ClientCA} {
		*file = d.nearby(*file)
	}
	for i := range c.Auth.Issuers {
		c.Auth.Issuers[i].CA = d.nearby(c.Auth.Issuers[i].CA)
	}
	c.Launch.Lock = d.beside(d.home(c.Launch.Lock))
	for name, s := range c.MCPServers {
		s.Type = normalType(s.Type)
		s.deriveType()
		s.Cwd = d.home(s.Cwd)
		d.dropHeaders(childPath("mcpServers", name), s)
	}
}

// nearby resolves the name of a file, if it is given, that starts at the folder of the configuration file.
func (d *decoder) nearby(path string) string {
	if path == "" {
		return ""
	}
	return d.near(path)
}

// home resolves a leading ~/.
func (d *decoder) home(path string) string {
	rest, ok := strings.CutPrefix(path, "~")
	if home, _ := d.opts.Env("HOME"); ok && home != "" && (rest == "" || rest[0] == '/') {
		return home + rest
	}
	return path
}

// beside resolves a path that starts at the folder of the configuration file.
func (d *decoder) beside(path string) string {
	if d.opts.Dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.opts.Dir, cmp.Or(path, lockName))
}

var typeSigns = strings.NewReplacer("-", "", "_", "")

// normalType maps the spellings of the clients to the three that are used.
func normalType(s string) string {
	switch typeSigns.Replace(strings.ToLower(s)) {
	case "stdio":
		return TypeStdio
	case "http", "streamablehttp":
		return TypeHTTP
	case "sse":
		return TypeSSE
	}
	return s
}

// dropHeaders removes headers that files of clients often repeat although the
// protocol sets them: they are right as they are sent anyway.
func (d *decoder) dropHeaders(path string, s *Server) {
	for name := range s.Headers {
		switch strings.ToLower(name) {
		case "accept", "content-type":
			delete(s.Headers, name)
			p := childPath(path+".headers", name)
			d.warn(d.lineOf(p), p, "is set by the protocol and not taken from here")
		}
	}
}
