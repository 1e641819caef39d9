package v1

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The values of Server.Isolation, the weakest first.
const (
	IsolationShared    = "shared"
	IsolationTenant    = "tenant"
	IsolationPrincipal = "principal"
	IsolationSession   = "session"
)

var isolations = []string{IsolationShared, IsolationTenant, IsolationPrincipal, IsolationSession}

const (
	// maxIsolated is the default of pool.max for a server that is not shared,
	// maxRemote that of one with a url, of which each instance is but connections.
	maxIsolated = 20
	maxRemote   = 1000
)

// Personal tells what the references of env, args, cwd, url and headers to the
// caller need to be right: IsolationTenant, IsolationPrincipal, or "" when there
// are none.
func (s *Server) Personal() string {
	if at := s.strongest(); at != nil {
		return at.needs()
	}
	return ""
}

// callerAt is a reference to the caller, with the key that holds it.
type callerAt struct{ ref, key string }

func (at *callerAt) needs() string {
	if at.ref == refTenant || strings.HasPrefix(at.ref, refVar) {
		return IsolationTenant
	}
	return IsolationPrincipal
}

// callerRefs are the references to the caller.
func (s *Server) callerRefs() []callerAt {
	var refs []callerAt
	gather := func(key, value string) {
		if !strings.Contains(value, "${") {
			return
		}
		callerParts(value, func(_, ref string) {
			if ref != "" {
				refs = append(refs, callerAt{ref, key})
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		gather(childPath("env", name), s.Env[name])
	}
	for i, arg := range s.Args {
		gather("args["+strconv.Itoa(i)+"]", arg)
	}
	gather("cwd", s.Cwd)
	gather("url", s.URL)
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		gather(childPath("headers", name), s.Headers[name])
	}
	return refs
}

// CredentialsFor are the secrets that instances of a server may be given for one caller or another, each with the name by which the
// server refers to it.
func (c *Config) CredentialsFor(server string) map[string]string {
	s := c.MCPServers[server]
	if s == nil {
		return nil
	}
	all := map[string]string{}
	for _, at := range s.callerRefs() {
		name, ok := strings.CutPrefix(at.ref, refCredential)
		for i := range c.Auth.APIKeys {
			if secret, has := c.Auth.APIKeys[i].Credentials[name]; ok && has {
				all[string(secret)] = at.ref
			}
		}
		if name, ok = strings.CutPrefix(at.ref, refVar); ok {
			for _, tenant := range c.Tenants {
				if value, has := tenant.Vars[name]; has {
					all[string(value)] = at.ref
				}
			}
		}
	}
	return all
}

// strongest is the reference that needs the most isolation; nil when there is none.
func (s *Server) strongest() *callerAt {
	var most *callerAt
	for _, at := range s.callerRefs() {
		if most == nil || weaker(most.needs(), at.needs()) {
			most = &at
		}
	}
	return most
}

// IsolationOf tells which callers of a server share an instance of it: what its
// isolation says, else what its references to the caller need, else principal
// where it is sent the caller's token or where it is known who calls, and shared
// where it is not. A server with a url that is the same for all callers has no
// instances, so it is "".
func (c *Config) IsolationOf(name string) string {
	s := c.MCPServers[name]
	if s == nil {
		return ""
	}
	switch need := s.Personal(); {
	case s.Isolation == IsolationShared && s.URL != "":
		return ""
	case s.Isolation != "":
		return s.Isolation
	case need != "":
		return need
	case s.ForwardToken:
		return IsolationPrincipal
	case s.URL != "":
		return ""
	case c.Auth.Configured():
		return IsolationPrincipal
	}
	return IsolationShared
}

// PersonalOf tells by what the instances of a server differ, so that there can be
// none for nobody: IsolationTenant, IsolationPrincipal, or "" where one is like
// the other. Those of a server that is told who calls differ too.
func (c *Config) PersonalOf(name string) string {
	s, isolation := c.MCPServers[name], c.IsolationOf(name)
	switch {
	case isolation == "" || isolation == IsolationShared:
		return ""
	case s.Personal() != "" || s.Identity == nil && !s.ForwardToken:
		return s.Personal()
	case isolation == IsolationTenant:
		return IsolationTenant
	}
	return IsolationPrincipal
}

// PoolOf is the pool of a server, with the default of its maximum.
func (c *Config) PoolOf(name string) Pool {
	s := c.MCPServers[name]
	if s == nil {
		return Pool{}
	}
	p := s.Pool
	if p.Max == 0 {
		p.Max = max(p.Min, 1)
		switch {
		case s.URL != "":
			p.Max = maxRemote
		case c.IsolationOf(name) != IsolationShared:
			p.Max = max(p.Min, p.Spares, maxIsolated)
		}
	}
	return p
}

// standing is how many processes are started though nobody calls: of each
// server the one that gives its lists or is shared, and spares.
func (c *Config) standing() (n int) {
	for _, name := range c.ServerNames() {
		switch p := c.PoolOf(name); {
		case c.MCPServers[name].URL != "":
		case c.IsolationOf(name) == IsolationShared:
			n += max(p.Min, 1)
		case c.PersonalOf(name) == "":
			n += 1 + p.Spares
		}
	}
	return n
}

// isolation checks who shares an instance, and how many there are.
func (k *checker) isolation(c *Config, name string) {
	s, path := c.MCPServers[name], childPath("mcpServers", name)
	most := s.strongest()
	if most != nil && s.Isolation != "" && weaker(s.Isolation, most.needs()) {
		k.fail(path+".isolation", "is %s, but ${%s} in %s differs between callers who would share an instance; write %s, or leave isolation out",
			s.Isolation, most.ref, most.key, most.needs())
	}
	for _, at := range s.callerRefs() {
		k.reference(c, path, at)
	}
	if s.URL != "" {
		k.remotePool(c, name)
		return
	}
	switch p := c.PoolOf(name); {
	case p.Spares > 0 && c.IsolationOf(name) == IsolationShared:
		k.fail(path+".pool.spares", "are for isolated servers; a shared one keeps instances started with pool.min")
	case p.Spares > 0 && most != nil:
		k.fail(path+".pool.spares", "cannot be started before it is known for whom, which ${%s} in %s needs; write 0", most.ref, most.key)
	case p.Min > p.Max:
		k.fail(path+".pool.min", "%d is more than pool.max, which is %d", p.Min, p.Max)
	case p.Spares > p.Max:
		k.fail(path+".pool.spares", "%d are more than pool.max, which is %d", p.Spares, p.Max)
	}
}

// reference checks one reference to the caller.
func (k *checker) reference(c *Config, path string, at callerAt) {
	credential, isCredential := strings.CutPrefix(at.ref, refCredential)
	value, isVar := strings.CutPrefix(at.ref, refVar)
	carried := strings.HasPrefix(at.key, "env") || strings.HasPrefix(at.key, "headers")
	switch {
	case at.key == "url": // what may stand there is told where the url is checked
	case isCredential && !carried:
		k.fail(path+"."+at.key, "has ${%s}; a credential may stand under env and headers only, since every user of the machine sees arguments and folders", at.ref)
	case isVar && strings.HasPrefix(at.key, "args"):
		k.fail(path+"."+at.key, "has ${%s}; it may be a secret, and every user of the machine sees arguments; give it under env", at.ref)
	case isCredential && !slices.ContainsFunc(c.Auth.APIKeys, func(a APIKey) bool { return a.Credentials[credential] != "" }):
		k.fail(path+"."+at.key, "has ${%s}, but no entry of auth.apiKeys has a credential of that name", at.ref)
	}
	if isVar && !slices.ContainsFunc(slices.Collect(maps.Values(c.Tenants)), func(t *Tenant) bool { return t != nil && t.Vars[value] != "" }) {
		k.fail(path+"."+at.key, "has ${%s}, but no tenant under tenants has a value of that name in vars", at.ref)
	}
}

// remotePool checks the pool of a server with a url, of which an instance is a
// set of connections for one caller.
func (k *checker) remotePool(c *Config, name string) {
	s, path := c.MCPServers[name], childPath("mcpServers", name)+".pool"
	var none Server
	none.SetDefaults()
	only := none.Pool
	only.Max, only.Idle, only.Queue, only.Wait = s.Pool.Max, s.Pool.Idle, s.Pool.Queue, s.Pool.Wait
	switch isolation := c.IsolationOf(name); {
	case isolation == "" && s.Pool != none.Pool:
		k.fail(path, "is for servers that callers do not share; this one has a url that is the same for all")
	case s.Pool != only:
		k.fail(path, "may have max, idle, queue and wait only, since the server has a url")
	}
}

// weaker tells whether isolation a lets more callers share an instance than b.
func weaker(a, b string) bool { return slices.Index(isolations, a) < slices.Index(isolations, b) }

// maxCredentials bounds the credentials of one key.
const maxCredentials = 100

// credentials checks the secrets of a principal. No message shows one.
func (k *checker) credentials(path string, all map[string]Secret) {
	if n := len(all); n > maxCredentials {
		k.fail(path, "has %d credentials; at most %d are allowed", n, maxCredentials)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		child := childPath(path, name)
		switch {
		case !isCallerRef(refCredential + name):
			k.fail(child, "is no name that ${credential:NAME} can have: 1 to 64 of A-Z a-z 0-9 _ . -")
		case all[name] == "":
			k.fail(child, "is empty; give the secret, or remove the key")
		case strings.ContainsRune(string(all[name]), 0):
			k.fail(child, "holds a NUL character, which no process can be given")
		}
	}
}

// lacking warns of callers who lack a credential that a server needs.
func (d *decoder) lacking(c *Config) {
	for _, name := range c.ServerNames() {
		for _, at := range c.MCPServers[name].callerRefs() {
			credential, ok := strings.CutPrefix(at.ref, refCredential)
			if !ok {
				continue
			}
			path := childPath("mcpServers", name) + "." + at.key
			for _, key := range c.Auth.APIKeys {
				if _, has := key.Credentials[credential]; !has && visible(c.MCPServers[name].Tenants, key.Tenant) {
					d.warn(d.lineOf(path), path, fmt.Sprintf("has ${%s}, which %q of auth.apiKeys lacks, so that its calls of this server are refused",
						at.ref, clip(key.Name)))
				}
			}
		}
	}
}

// readable warns of servers whose processes can read the secrets of callers in the environments of others: the kernel lets
// processes of one user, unless they are confined.
func (d *decoder) readable(c *Config) {
	names := c.ServerNames()
	for _, name := range names {
		s := c.MCPServers[name]
		for _, at := range s.callerRefs() {
			if !strings.HasPrefix(at.key, "env") || !strings.HasPrefix(at.ref, refCredential) && !strings.HasPrefix(at.ref, refVar) {
				continue
			}
			open := slices.DeleteFunc(slices.Clone(names), func(other string) bool {
				o := c.MCPServers[other]
				return o.Type != TypeStdio || o.Sandbox != nil || o.User != "" && o.User != s.User
			})
			if len(open) > 0 {
				path := childPath("mcpServers", name) + "." + at.key
				d.warn(d.lineOf(path), path, fmt.Sprintf("gives each instance a secret of its caller or tenant, which whatever else runs as "+
					"the same user can read there: confine with sandbox what callers have read files or run code: %s", clip(strings.Join(open, ", "))))
			}
			break
		}
	}
}
