package plan

import (
	"maps"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/mcp"
)

// Toolset is a named selection over servers. One function decides what is listed and what can be called: an element is shown
// under the name that leads back to it.
type Toolset struct {
	// Name is the toolset's key in the configuration.
	Name string
	// Spec is the toolset's configuration.
	Spec *v1.Toolset
	// Servers are the enabled ones of its servers, sorted by name.
	Servers []*Server

	plan     *Plan
	holds    map[*Server]bool
	exact    map[string]*ToolsetTool // by name at /mcp
	aliases  map[string]*ToolsetTool // by name here, of those that have another than at /mcp
	patterns []*ToolsetTool          // those that say more before those that say less
}

// ToolsetTool is what is different of a tool in a toolset, or of those that fit a pattern.
type ToolsetTool struct {
	// Spec is the entry of the configuration.
	Spec v1.ToolsetTool
	// Fixed are the names of the arguments that every call is made with, and Members those arguments as raw members of an object;
	// Hidden are those that are refused.
	Fixed   []string
	Members []byte
	Hidden  []string

	key    string // of the entry
	server *Server
	own    []byte // the server's own name
}

// as it is: a tool that is selected, and nothing else said of it.
var asIs = &ToolsetTool{}

// Shapes tells whether calls of the tool do not have the arguments that the client sends.
func (t *ToolsetTool) Shapes() bool { return t != nil && len(t.Fixed)+len(t.Hidden) > 0 }

// Retitles tells whether the definition of the tool differs, but for its name.
func (t *ToolsetTool) Retitles() bool {
	return t != nil && (t.Spec.Title != "" || t.Spec.Description != "" || t.Shapes())
}

// Toolset finds a toolset by name; nil when the plan has none of that name.
func (p *Plan) Toolset(name string) *Toolset { return p.toolsets[name] }

// compileToolsets makes the toolsets of a plan that has its servers.
func (p *Plan) compileToolsets() {
	p.toolsets = make(map[string]*Toolset, len(p.Config.Toolsets))
	for _, name := range slices.Sorted(maps.Keys(p.Config.Toolsets)) {
		t := &Toolset{
			Name: name, Spec: p.Config.Toolsets[name], plan: p,
			holds: map[*Server]bool{}, exact: map[string]*ToolsetTool{}, aliases: map[string]*ToolsetTool{},
		}
		for _, s := range p.Servers {
			if slices.Contains(t.Spec.Servers, s.Name) {
				t.Servers = append(t.Servers, s)
				t.holds[s] = true
			}
		}
		for _, key := range slices.Sorted(maps.Keys(t.Spec.Tools)) {
			t.add(key, t.Spec.Tools[key])
		}
		slices.SortStableFunc(t.patterns, func(a, b *ToolsetTool) int { return literals(b.key) - literals(a.key) })
		p.toolsets[name], p.Toolsets = t, append(p.Toolsets, t)
	}
}

// literals is how many characters a pattern fixes.
func literals(pattern string) int { return len(pattern) - strings.Count(pattern, "*") }

// add takes in an entry of tools.
func (t *Toolset) add(key string, spec v1.ToolsetTool) {
	tool := &ToolsetTool{Spec: spec, Hidden: spec.Hide, key: key}
	for i, name := range slices.Sorted(maps.Keys(spec.Fix)) {
		if i > 0 {
			tool.Members = append(tool.Members, ',')
		}
		tool.Members = append(append(mcp.AppendString(tool.Members, name), ':'), spec.Fix[name]...)
		tool.Fixed = append(tool.Fixed, name)
	}
	if v1.IsPattern(key) {
		t.patterns = append(t.patterns, tool)
		return
	}
	owner, own := t.plan.Config.OwnerOf(key)
	s := t.plan.Server(owner)
	if s == nil {
		return // it is disabled
	}
	tool.server, tool.own = s, []byte(own)
	t.exact[key] = tool
	if spec.As != "" && spec.As != key {
		t.aliases[spec.As] = tool
	}
}

// For tells whether the toolset exists for the principals of a tenant. For all others it is as if there were none of its name.
func (t *Toolset) For(tenant string) bool { return Visible(t.Spec.Tenants, tenant) }

// entry is what is said of the tool that has a name at /mcp; nil when the toolset does not hold it.
func (t *Toolset) entry(name string) *ToolsetTool {
	if tool := t.exact[name]; tool != nil {
		return tool
	}
	if t.Spec.Tools == nil {
		return asIs
	}
	for _, p := range t.patterns {
		if v1.Like(p.key, name) {
			return p
		}
	}
	return nil
}

// FindTool resolves the name of a tool here into its server, the server's own name, and what is different of it. The server is
// nil when the toolset holds nothing of that name.
func (t *Toolset) FindTool(shown []byte) (*Server, []byte, *ToolsetTool) {
	if tool := t.aliases[string(shown)]; tool != nil {
		return tool.server, tool.own, tool
	}
	s, own := t.plan.Split(shown)
	if !t.holds[s] {
		return nil, nil, nil
	}
	tool := t.entry(string(shown))
	if tool == nil || tool.Spec.As != "" && tool.Spec.As != string(shown) {
		return nil, nil, nil
	}
	return s, own, tool
}

// Tool tells under which name a tool of one of the toolset's servers is shown, and what is different of it; nil when it is not
// shown. why says so where its name is the hindrance.
func (t *Toolset) Tool(s *Server, own string) (shown string, tool *ToolsetTool, why string) {
	shown = s.Prefix + own
	if !t.plan.Owns(s, own) {
		return "", nil, "it reads like a name of another server; give this server a prefix"
	}
	if tool = t.entry(shown); tool == nil {
		return "", nil, ""
	}
	if tool.Spec.As != "" {
		return tool.Spec.As, tool, ""
	}
	if other := t.aliases[shown]; other != nil {
		return "", nil, "tool " + other.key + " has the same name here"
	}
	return shown, tool, ""
}

// HoldsPrompt tells whether the toolset holds the prompt that has a name at /mcp.
func (t *Toolset) HoldsPrompt(name string) bool { return selects(t.Spec.Prompts, name, v1.Like) }

// FindPrompt resolves the name of a prompt into its server and the server's own name. The server is nil when the toolset does
// not hold it.
func (t *Toolset) FindPrompt(name []byte) (*Server, []byte) {
	s, own := t.plan.Split(name)
	if !t.holds[s] || !t.HoldsPrompt(string(name)) {
		return nil, nil
	}
	return s, own
}

// HoldsResource tells whether the toolset holds a resource, or a resource template, by its URI. A pattern does not hold what
// leads out of the place that it names.
func (t *Toolset) HoldsResource(uri string) bool {
	return selects(t.Spec.Resources, uri, func(pattern, uri string) bool { return v1.Like(pattern, uri) && !climbs(uri) })
}

// HoldsExpansion tells whether the toolset holds the resources of a template, one of which has this URI.
func (t *Toolset) HoldsExpansion(template, uri string) bool {
	return t.HoldsResource(template) && !climbs(uri)
}

// Changed tells which lists of a server show in the toolset when they change.
func (t *Toolset) Changed(s *Server) (tools, prompts, resources bool) {
	may := func(name string) bool {
		if v1.IsPattern(name) {
			return v1.LikeBehind(name, s.Prefix)
		}
		owner, _ := t.plan.Split([]byte(name))
		return owner == s
	}
	tools = t.Spec.Tools == nil || slices.ContainsFunc(slices.Collect(maps.Keys(t.Spec.Tools)), may)
	prompts = t.Spec.Prompts == nil || slices.ContainsFunc(t.Spec.Prompts, may)
	return tools, prompts, t.Spec.Resources == nil || len(t.Spec.Resources) > 0
}

// selects tells whether a selection holds a name; one that was left out holds all.
func selects(selection []string, name string, like func(pattern, name string) bool) bool {
	return selection == nil || slices.Contains(selection, name) ||
		slices.ContainsFunc(selection, func(pattern string) bool { return v1.IsPattern(pattern) && like(pattern, name) })
}

// climbs tells whether a URI has a segment . or .. in its path, in any spelling, or what servers may take for one.
func climbs(uri string) bool {
	plain := uri
	for range 3 { // what was encoded more than once is decoded more than once by some
		if !strings.Contains(plain, "%") {
			break
		}
		plain = unescape(plain)
	}
	for segment := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '/' || r == '\\' || r == '?' || r == '#' || r == ':' }) {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// unescape decodes what is percent-encoded right (RFC 3986 section 2.1), and leaves all else.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := hex(s[i+1]), hex(s[i+2]); hi >= 0 && lo >= 0 {
				b.WriteByte(byte(hi<<4 | lo))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
