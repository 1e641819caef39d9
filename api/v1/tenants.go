package v1

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// visible tells whether something that is kept to some tenants exists for one.
func visible(tenants []string, tenant string) bool {
	return tenants == nil || slices.Contains(tenants, tenant)
}

const (
	maxTenants = 10_000
	maxVars    = 100
)

// allTenants checks what is particular to tenants. No message shows a value.
func (k *checker) allTenants(all map[string]*Tenant) {
	if n := len(all); n > maxTenants {
		k.fail("tenants", "has %d tenants; at most %d are allowed", n, maxTenants)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		path := childPath("tenants", name)
		k.tenant(path, name)
		if all[name] == nil {
			continue
		}
		vars := all[name].Vars
		if n := len(vars); n > maxVars {
			k.fail(path+".vars", "has %d values; at most %d are allowed", n, maxVars)
			continue
		}
		for _, v := range slices.Sorted(maps.Keys(vars)) {
			child := childPath(path+".vars", v)
			switch {
			case !isCallerRef(refVar + v):
				k.fail(child, "is no name that ${tenant:NAME} can have: 1 to 64 of A-Z a-z 0-9 _ . -")
			case vars[v] == "":
				k.fail(child, "is empty; give the value, or remove the key")
			case strings.ContainsFunc(string(vars[v]), isControl):
				k.fail(child, "holds a control character, which neither urls nor headers can carry")
			}
		}
	}
}

// tenant checks the name of a tenant.
func (k *checker) tenant(path, name string) {
	if name == "" {
		k.fail(path, `is the empty name; tenants have one, and "default" is that of callers without a tenant`)
	}
	k.label(path, name)
}

// tenants checks whose a server is, and how it is told for whom requests are.
func (k *checker) tenants(path string, s *Server) {
	for i, name := range s.Tenants {
		k.tenant(path+".tenants["+strconv.Itoa(i)+"]", name)
	}
	if s.Identity != nil {
		k.assertion(path, s)
	}
	given := func(header string) bool {
		for name := range s.Headers {
			if strings.EqualFold(name, header) {
				return true
			}
		}
		return false
	}
	switch {
	case !s.ForwardToken:
	case s.URL == "":
		k.fail(path+".forwardToken", "is for servers with a url; a command has no headers")
	case given("Authorization"):
		k.fail(path+".forwardToken", "sends Authorization, which headers has too; keep one")
	}
	if s.Identity != nil && s.URL != "" && given(s.Identity.Header) {
		k.fail(path+".identity.header", "is %q, which headers has too; keep one", clip(s.Identity.Header))
	}
}

// claimsOfIdentity are the facts that a statement may hold.
var claimsOfIdentity = []string{"groups", "roles", "attributes", "client", "issuer"}

// assertion checks how a server is told for whom requests are.
func (k *checker) assertion(path string, s *Server) {
	a := s.Identity
	path += ".identity"
	if s.URL == "" && !a.Meta {
		k.fail(path+".meta", "is false, but a server with a command has no headers; write true")
	}
	k.header(path+".header", a.Header, "")
	if strings.EqualFold(a.Header, "Authorization") {
		k.fail(path+".header", "is Authorization, which is for tokens of callers; take another one")
	}
	for i, claim := range a.Claims {
		if !slices.Contains(claimsOfIdentity, claim) {
			k.fail(path+".claims["+strconv.Itoa(i)+"]", "%q is not one of %s", clip(claim), strings.Join(claimsOfIdentity, ", "))
		}
	}
	k.label(path+".audience", a.Audience)
}

// fits checks what the tenants' values make of the servers that refer to them.
// Who calls is not known yet, so that only their values are looked at.
func (k *checker) fits(c *Config) {
	if len(k.problems) > 0 {
		return // of which these would be consequences
	}
	for _, name := range c.ServerNames() {
		s := c.MCPServers[name]
		if s.Personal() == "" {
			continue
		}
		for _, tenant := range slices.Sorted(maps.Keys(c.Tenants)) {
			t := c.Tenants[tenant]
			if t == nil || !visible(s.Tenants, tenant) || len(lacks(s, t.Vars)) > 0 {
				continue
			}
			who := &Caller{Subject: "x", Tenant: "x", Vars: t.Vars, Credential: func(string) (Secret, bool) { return "x", true }}
			if _, err := s.For(who); err != nil {
				k.fail(childPath("mcpServers", name), "cannot be used by the tenant %q: %v", clip(tenant), err)
			}
		}
	}
}

// lacks are the values that a server refers to and vars lack, as references.
func lacks(s *Server, vars map[string]Secret) (missing []string) {
	for _, at := range s.callerRefs() {
		if name, ok := strings.CutPrefix(at.ref, refVar); ok && vars[name] == "" && !slices.Contains(missing, at.ref) {
			missing = append(missing, at.ref)
		}
	}
	return missing
}

// KnownTenants are the tenants that the configuration names, sorted. Tokens,
// certificates and proxies may name others.
func (c *Config) KnownTenants() []string {
	all := map[string]bool{}
	for name := range c.Tenants {
		all[name] = true
	}
	for i := range c.Auth.APIKeys {
		all[c.Auth.APIKeys[i].Tenant] = true
	}
	for i := range c.Auth.Issuers {
		all[c.Auth.Issuers[i].Tenant] = true
		for _, name := range c.Auth.Issuers[i].Tenants {
			all[name] = true
		}
	}
	for _, s := range c.MCPServers {
		if s != nil {
			for _, name := range s.Tenants {
				all[name] = true
			}
		}
	}
	delete(all, "")
	return slices.Sorted(maps.Keys(all))
}

// unvalued warns of tenants that lack a value that a server refers to.
func (d *decoder) unvalued(c *Config) {
	tenants := c.KnownTenants()
	for _, name := range c.ServerNames() {
		s := c.MCPServers[name]
		for _, tenant := range tenants {
			var vars map[string]Secret
			if t := c.Tenants[tenant]; t != nil {
				vars = t.Vars
			}
			if !visible(s.Tenants, tenant) {
				continue
			}
			if missing := lacks(s, vars); len(missing) > 0 {
				path := childPath("mcpServers", name)
				d.warn(d.lineOf(path), path, fmt.Sprintf("has ${%s}, which the tenant %q lacks under tenants, so that its calls of this server are refused",
					strings.Join(missing, "} and ${"), clip(tenant)))
			}
		}
	}
}

// namesakes warns of servers that cannot tell callers of one name in two tenants
// apart.
func (d *decoder) namesakes(c *Config) {
	if !c.hasNamesakes() {
		return
	}
	for _, name := range c.ServerNames() {
		refs := c.MCPServers[name].callerRefs()
		subject := slices.IndexFunc(refs, func(at callerAt) bool { return at.ref == refSubject })
		apart := slices.ContainsFunc(refs, func(at callerAt) bool { return at.ref == refTenant })
		if subject >= 0 && !apart {
			path := childPath("mcpServers", name) + "." + refs[subject].key
			d.warn(d.lineOf(path), path, "has ${principal.subject} without ${principal.tenant}: two callers may have one name in two tenants, and are one here")
		}
	}
}

// hasNamesakes tells whether two tenants can have callers of one name. Those of
// keys are unique.
func (c *Config) hasNamesakes() bool {
	tenants := map[string]bool{}
	for i := range c.Auth.Issuers {
		switch is := &c.Auth.Issuers[i]; {
		case is.Tenant != "":
			tenants[is.Tenant] = true
		case is.Claims.Tenant != "":
			return true
		default:
			tenants["default"] = true
		}
	}
	if cert := c.Auth.ClientCertificates; cert != nil {
		if tenants[cert.Tenant] = true; cert.TenantFrom != "" {
			return true
		}
	}
	if proxy := c.Auth.TrustedProxy; proxy != nil {
		if tenants["default"] = true; proxy.Tenant != "" {
			return true
		}
	}
	if len(tenants) == 0 {
		return false
	}
	for i := range c.Auth.APIKeys {
		tenants[c.Auth.APIKeys[i].Tenant] = true
	}
	return len(tenants) > 1
}
