package limit

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Use is how much of one amount is used.
type Use struct {
	Limit, Kind string
	// Amount is what the configuration gives, Most how much can be had at once.
	Amount string
	Most   float64
	// Keys is how many something is used for, Crowded how often a key met no room and shared an amount with others.
	Keys    int
	Crowded int64
	// Top are those that have used up most.
	Top []KeyUse
}

// KeyUse is how much of an amount is used for one key.
type KeyUse struct {
	// Of are the values of what the limit is per, by their dimensions.
	Of map[string]string
	// Left is how much is left, and Reset when nothing is used any more, if nothing is asked meanwhile.
	Left  float64
	Reset time.Duration
}

// View bounds what is told of limits to what is of one tenant, or counts for it too.
type View struct {
	Tenant string
	// Server tells whether the tenant has a server of that name.
	Server func(name string) bool
}

// Report tells how much of each limit is used, with at most so many keys of each, of the view or, where it is nil, of all.
func (l *Limiter) Report(most int, v *View) (all []Use) {
	t, rules := l.moment(time.Now()), l.Rules()
	for m := range rules.meters {
		if v == nil || v.concerns(m.rule, rules.config) {
			all = append(all, m.use(t, most, v))
		}
	}
	return all
}

// concerns tells whether a limit is for the tenant, and for a server that it has or any: a name may tell of others.
func (v *View) concerns(r *rule, c *v1.Config) bool {
	if r.Tenants != nil && !likeAny(r.Tenants, v.Tenant) {
		return false
	}
	return r.Servers == nil && r.Tools == nil || slices.ContainsFunc(c.ServerNames(), func(server string) bool {
		return v.Server(server) && (r.Servers == nil || likeAny(r.Servers, server)) &&
			(r.Tools == nil || slices.ContainsFunc(r.Tools, func(tool string) bool { return mayHave(c, server, tool) }))
	})
}

// mayHave tells whether a tool of a server may have a name at /mcp, or one that fits a pattern.
func mayHave(c *v1.Config, server, tool string) bool {
	head, _, pattern := strings.Cut(tool, "*")
	owner, _ := c.OwnerOf(head)
	return owner == server || pattern && strings.HasPrefix(c.PrefixOf(server), head)
}

func (m *meter) use(t moment, most int, v *View) Use {
	u := Use{Limit: m.rule.name, Kind: kindNames[m.kind], Amount: m.text, Most: m.most, Top: []KeyUse{}}
	if v == nil {
		u.Crowded = m.rule.table.shared.Load()
	}
	m.each(func(key string, c *cell) {
		left := m.remaining(c, t)
		if left >= m.most {
			return
		}
		of := m.rule.readKey(key)
		if v != nil && !v.shows(m.rule, of) {
			return
		}
		u.Keys++
		if len(u.Top) == most && left >= u.Top[most-1].Left {
			return
		}
		k := KeyUse{Of: of, Left: left, Reset: m.reset(left, t)}
		at, _ := slices.BinarySearchFunc(u.Top, k, func(a, b KeyUse) int { return cmp.Compare(a.Left, b.Left) })
		u.Top = slices.Insert(u.Top, at, k)
		u.Top = u.Top[:min(len(u.Top), most)]
	})
	return u
}

// shows tells whether an amount is of the tenant, or of all who have the server. Of a credential or an address alone it is not known
// whose it is, unless the limit is for the one tenant.
func (v *View) shows(r *rule, of map[string]string) bool {
	if server, is := of[v1.PerServer]; is && !v.Server(server) {
		return false
	}
	tenant, perTenant := of[v1.PerTenant]
	principal, perPrincipal := of[v1.PerPrincipal]
	credential, perKey := of[v1.PerKey]
	_, perAddress := of[v1.PerAddress]
	switch {
	case perTenant:
		return tenant == v.Tenant
	case perPrincipal:
		return v.has(principal)
	case len(r.Tenants) == 1 && r.Tenants[0] == v.Tenant:
		return true
	case perKey:
		principal, is := strings.CutPrefix(credential, "principal/")
		return is && v.has(principal)
	}
	return !perAddress
}

// has tells whether a principal, as limits name it, is of the tenant.
func (v *View) has(principal string) bool {
	return strings.HasPrefix(principal, url.PathEscape(v.Tenant)+"/")
}

// remaining is what is left of a cell, as far as this replica knows. The caller holds its lock.
func (m *meter) remaining(c *cell, t moment) float64 {
	switch {
	case c.lease == nil || m.kind == kindConcurrency:
		return m.available(c, t)
	case c.lease.local:
		return c.left
	case m.kind == kindQuota && c.window != m.window(t):
		return m.most
	case m.kind == kindQuota:
		return c.lease.left + c.left
	}
	return min(c.lease.left+c.left+float64(t.mono-c.lease.touched)*m.nano, m.most)
}

// readKey undoes appendKey. Of a key that is none, as a file may have, it reads what there is: who reads holds locks.
func (r *rule) readKey(key string) map[string]string {
	of, rest := map[string]string{}, []byte(key)
	next := func() string {
		n, w := binary.Uvarint(rest)
		if w <= 0 || n > uint64(len(rest)-w) {
			rest = nil
			return ""
		}
		value := string(rest[w : w+int(n)])
		rest = rest[w+int(n):]
		return value
	}
	for _, per := range r.Per {
		switch value := next(); per {
		case v1.PerAddress:
			of[per] = readAddress(value)
		case v1.PerTool:
			of[v1.PerServer], of[per] = value, next()
		case v1.PerKey:
			of[per] = readCredential(value)
		default:
			of[per] = value
		}
	}
	return of
}

func readAddress(value string) string {
	if len(value) == networkBytes {
		addr, _ := netip.AddrFromSlice(append([]byte(value), make([]byte, networkBytes)...))
		return netip.PrefixFrom(addr, 8*networkBytes).String()
	}
	addr, _ := netip.AddrFromSlice([]byte(value))
	return addr.String()
}

// readCredential shows of the digest of a token only as much as tells two of them apart.
func readCredential(value string) string {
	const token, shownBytes = "token/", 4
	if len(value) > len(token)+shownBytes && value[:len(token)] == token {
		return token + hex.EncodeToString([]byte(value[len(token):len(token)+shownBytes]))
	}
	return value
}
