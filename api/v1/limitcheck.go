package v1

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/toolcrib/toolcrib/mcp"
)

// counted tells whether requests of a method count against limits.
func counted(m mcp.Method) bool {
	f := m.Facts()
	return f.FromClient && !f.Notification && m != mcp.MethodPing
}

// methodsLike are the methods that a pattern fits: those that count, and whether there are others.
func methodsLike(pattern string) (count []string, others bool) {
	for m := mcp.MethodUnknown + 1; m.String() != ""; m++ {
		switch {
		case !Like(pattern, m.String()):
		case counted(m):
			count = append(count, m.String())
		default:
			others = true
		}
	}
	return count, others
}

// methods refuses names and patterns that no method has.
func (k *checker) methods(path string, patterns []string) {
	for i, p := range patterns {
		if count, others := methodsLike(p); p != "" && len(count) == 0 && !others {
			all, _ := methodsLike("*")
			k.fail(path+"["+strconv.Itoa(i)+"]", "%q is no method of MCP; there are: %s", clip(p), strings.Join(all, ", "))
		}
	}
}

// idleLimits warns of limits that can never count anything, as those with a slip in a name.
func (d *decoder) idleLimits(c *Config) {
	servers := slices.Sorted(maps.Keys(c.MCPServers))
	for i := range c.Limits {
		l, path := &c.Limits[i], "limits["+strconv.Itoa(i)+"]"
		d.unfitting(path+".servers", l.Servers, "fits no server of mcpServers", func(p string) bool {
			return slices.ContainsFunc(servers, func(name string) bool { return Like(p, name) })
		})
		const toolless = "fits no tool of the servers that the limit is for; names at /mcp begin with that of their server, like search__query"
		d.unfitting(path+".tools", l.Tools, toolless, func(p string) bool { return c.toolFits(p, l.Servers) })
		if known, ok := c.callerTenants(); ok {
			d.unfitting(path+".tenants", l.Tenants, "fits no tenant that the configuration names", func(p string) bool {
				return slices.ContainsFunc(known, func(name string) bool { return Like(p, name) })
			})
		}
		d.unfitting(path+".methods", l.Methods, "fits nothing that counts: pings, notifications and what servers ask do not", func(p string) bool {
			count, _ := methodsLike(p)
			return len(count) > 0
		})
		d.aimless(path, l)
	}
}

// unfitting warns of the patterns of a list that fit nothing.
func (d *decoder) unfitting(path string, patterns []string, reason string, fits func(pattern string) bool) {
	for i, p := range patterns {
		if !fits(p) {
			at := path + "[" + strconv.Itoa(i) + "]"
			d.warn(d.lineOf(at), at, strconv.Quote(clip(p))+" "+reason)
		}
	}
}

// aimless warns of limits for tools whose methods are none that calls them.
func (d *decoder) aimless(path string, l *Limit) {
	ofTools := "tools"
	if l.Tools == nil {
		ofTools = "per: [" + PerTool + "]"
	}
	if (l.Tools == nil && !slices.Contains(l.Per, PerTool)) || l.Methods == nil ||
		slices.ContainsFunc(l.Methods, func(p string) bool { return Like(p, mcp.MethodToolsCall.String()) }) {
		return
	}
	path += ".methods"
	d.warn(d.lineOf(path), path, "lacks tools/call, which alone asks for a tool, so that the limit with "+ofTools+" counts nothing: add it, or remove methods")
}

// toolFits tells whether a name at /mcp, or a pattern, can be that of a tool of the servers that patterns fit; nil fits all.
func (c *Config) toolFits(name string, servers []string) bool {
	among := func(server string) bool {
		return servers == nil || slices.ContainsFunc(servers, func(p string) bool { return Like(p, server) })
	}
	if !IsPattern(name) {
		owner, own := c.OwnerOf(name)
		return own != "" && among(owner)
	}
	for server := range c.MCPServers {
		if among(server) && LikeBehind(name, c.PrefixOf(server)) {
			return true
		}
	}
	return false
}

// idleBulk warns of callers and tools whose requests could wait, and that there are not.
func (d *decoder) idleBulk(c *Config) {
	b := &c.Overload.Bulk
	if known, ok := c.callerTenants(); ok {
		d.unfitting("overload.bulk.tenants", b.Tenants, "is no tenant that the configuration names", func(name string) bool { return slices.Contains(known, name) })
	}
	d.unfitting("overload.bulk.tools", b.Tools, "fits no tool of mcpServers; names at /mcp begin with that of their server, like search__query",
		func(p string) bool { return c.toolFits(p, nil) })
	if !c.Auth.Configured() {
		d.unfitting("overload.bulk.groups", b.Groups, "is a group that nobody is in, since auth does not say who callers are", func(string) bool { return false })
	}
}

// callerTenants are the tenants that callers can have; not ok where tokens, certificates or proxies may name any.
func (c *Config) callerTenants() (names []string, ok bool) {
	for i := range c.Auth.Issuers {
		if is := &c.Auth.Issuers[i]; is.Claims.Tenant != "" && len(is.Tenants) == 0 {
			return nil, false
		}
	}
	names = append(c.KnownTenants(), "default")
	if cert := c.Auth.ClientCertificates; cert != nil {
		names, ok = append(names, cert.Tenant), cert.TenantFrom == ""
	} else {
		ok = true
	}
	return names, ok && (c.Auth.TrustedProxy == nil || c.Auth.TrustedProxy.Tenant == "")
}
