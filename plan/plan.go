// Package plan compiles a configuration into the immutable indexes that requests are routed by.
package plan

import (
	"bytes"
	"sort"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/policy"
)

// Plan is one compiled configuration. It never changes; a new configuration makes a new Plan.
type Plan struct {
	// Config is what the plan was compiled from. It must not be changed.
	Config *v1.Config
	// Servers are the enabled servers, sorted by name.
	Servers []*Server
	// Toolsets are the toolsets, sorted by name.
	Toolsets []*Toolset
	// Policies say who may do what.
	Policies *policy.Set
	// Bodies says what the log shows of bodies; nil for nothing.
	Bodies *Bodies

	toolsets map[string]*Toolset
	byName   map[string]*Server
	byPrefix map[string]*Server
	sep      []byte
}

// Server is one server of the plan.
type Server struct {
	// Name is the server's key in the configuration.
	Name string
	// Prefix stands before the server's names at the aggregated endpoint, separator included; it may be empty.
	Prefix string
	// Spec is the server's configuration.
	Spec *v1.Server
	// Isolation tells which callers share an instance, and Pool how many there are, both with what was left out derived.
	// They are empty for a server with a url that is the same for all callers.
	Isolation string
	Pool      v1.Pool
	// Personal is what Config.PersonalOf says: instances of the server differ by whom they are for.
	Personal string
	// Patience holds the time limits of single tools; nil where none has its own.
	Patience *Patience
}

// Isolated tells whether callers have instances of their own.
func (s *Server) Isolated() bool { return s.Isolation != "" && s.Isolation != v1.IsolationShared }

// Compile makes the plan of a validated configuration. It fails where policies cannot be compiled.
func Compile(c *v1.Config) (*Plan, error) {
	policies, err := policy.Compile(c, policy.Options{})
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Config: c, Policies: policies, Bodies: compileBodies(c),
		byName: map[string]*Server{}, byPrefix: map[string]*Server{}, sep: []byte(c.Names.Separator),
	}
	for _, name := range c.ServerNames() {
		s := &Server{Name: name, Prefix: c.PrefixOf(name), Spec: c.MCPServers[name], Patience: compilePatience(c.MCPServers[name])}
		if s.Isolation = c.IsolationOf(name); s.Isolation != "" {
			s.Pool, s.Personal = c.PoolOf(name), c.PersonalOf(name)
		}
		p.Servers = append(p.Servers, s)
		p.byName[name] = s
		p.byPrefix[s.Prefix] = s
	}
	sort.Slice(p.Servers, func(i, j int) bool { return p.Servers[i].Name < p.Servers[j].Name })
	p.compileToolsets()
	return p, nil
}

// Server finds a server by name; nil when the plan has none of that name.
func (p *Plan) Server(name string) *Server { return p.byName[name] }

// Split resolves a name of the aggregated endpoint into its server and the server's own name for it.
// The server is nil when no server's prefix fits. Validation keeps prefixes unambiguous, so the first that fits is the one.
func (p *Plan) Split(name []byte) (*Server, []byte) {
	if len(p.sep) > 0 {
		for at := 0; ; {
			i := bytes.Index(name[at:], p.sep)
			if i < 0 {
				break
			}
			end := at + i + len(p.sep)
			if s := p.byPrefix[string(name[:end])]; s != nil {
				return s, name[end:]
			}
			at += i + 1
		}
	}
	return p.byPrefix[""], name
}

// Owns tells whether a server's own name, shown with the server's prefix, leads back to that server.
// It does not when a server without a prefix has a name that looks like another server's.
func (p *Plan) Owns(s *Server, own string) bool {
	got, _ := p.Split([]byte(s.Prefix + own))
	return got == s
}
