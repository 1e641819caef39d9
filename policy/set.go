package policy

import (
	"slices"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

// Set is all policies of one configuration. It never changes.
type Set struct {
	enforced bool
	roles    []*role
	byName   map[string]int // into roles
	bindings []binding
	servers  map[string][]string // the tenants of servers that are not for all
	toolsets map[string][]string
}

// Options are what Compile takes besides the configuration.
type Options struct{}

// binding is a binding of the configuration.
type binding struct {
	v1.Binding
	role int
}

// Compile makes the set of a validated configuration.
func Compile(c *v1.Config, _ Options) (*Set, error) {
	s := &Set{byName: map[string]int{}, servers: map[string][]string{}, toolsets: map[string][]string{}}
	for name, server := range c.MCPServers {
		if server.Tenants != nil {
			s.servers[name] = server.Tenants
		}
	}
	for name, toolset := range c.Toolsets {
		if toolset.Tenants != nil {
			s.toolsets[name] = toolset.Tenants
		}
	}
	s.enforced = enforced(c)
	for _, r := range rolesOf(&c.Policies) {
		s.byName[r.name] = len(s.roles)
		s.roles = append(s.roles, r)
	}
	for _, b := range c.Policies.Bindings {
		if i, ok := s.byName[b.Role]; ok {
			s.bindings = append(s.bindings, binding{Binding: b, role: i})
		}
	}
	return s, nil
}

// enforced tells whether what nothing permits is denied.
func enforced(c *v1.Config) bool {
	a, p := &c.Auth, &c.Policies
	return len(a.APIKeys)+len(a.Issuers) > 0 || a.ClientCertificates != nil || a.TrustedProxy != nil || a.Anonymous == "deny" ||
		len(p.Roles)+len(p.Bindings)+len(p.Cedar) > 0
}

// Enforced tells whether what nothing permits is denied. Without authentication and policies everything is permitted.
func (s *Set) Enforced() bool { return s.enforced }

// HasRole tells whether there is a role of that name.
func (s *Set) HasRole(name string) bool {
	_, ok := s.byName[name]
	return ok
}

// visible tells whether the server and the toolset of an object exist for a tenant.
func (s *Set) visible(o *Object, tenant string) bool {
	server, bound := s.servers[o.Server]
	if bound && !slices.Contains(server, tenant) {
		return false
	}
	toolset, bound := s.toolsets[o.Toolset]
	return !bound || slices.Contains(toolset, tenant)
}

// Shadow is the set that decides nothing, to be compared with; nil where there is none.
func (s *Set) Shadow() *Set { return nil }

// View returns what of the set concerns a principal. Principals with the same rights may share it.
func (s *Set) View(p *identity.Principal) *View {
	v := &View{set: s, anonymous: p.Method == identity.MethodAnonymous, tenant: p.Tenant}
	for i := range s.bindings {
		b := &s.bindings[i]
		switch {
		case !b.fits(p):
		case b.permitted(p):
			v.held = append(v.held, held{role: s.roles[b.role], via: b})
		case p.Method == identity.MethodToken:
			v.lacking = append(v.lacking, held{role: s.roles[b.role], via: b})
		}
	}
	for _, name := range p.Roles {
		if i, ok := s.byName[name]; ok {
			v.held = append(v.held, held{role: s.roles[i]})
		}
	}
	return v
}

// fits tells whether the binding is about a principal, scopes aside.
func (b *binding) fits(p *identity.Principal) bool {
	says := func(want, have string) bool { return want == "" || want == have }
	return (b.Group == "" || slices.Contains(p.Groups, b.Group)) &&
		says(b.Subject, p.Subject) && says(b.Tenant, p.Tenant) && says(b.Issuer, p.Issuer)
}

// permitted tells whether a principal has all scopes that the binding asks for.
func (b *binding) permitted(p *identity.Principal) bool {
	for _, scope := range b.Scopes {
		if !slices.Contains(p.Scopes, scope) {
			return false
		}
	}
	return true
}
