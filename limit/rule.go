package limit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Subject is what a request is judged by. Who fills it in leaves out what is not known yet.
type Subject struct {
	Address netip.Addr
	// Tenant, Principal and Groups are of the caller; Key names its credential, where that is asked for.
	Tenant, Principal string
	Key               []byte
	Groups            []string
	Method            string
	// Server is that which the request goes to, by its name, and Tool what it calls there, by the server's own name. Prefix is what
	// stands before it at /mcp. Tool is nil for all but calls of tools.
	Server, Prefix string
	Tool           []byte
}

// phase is when a rule can be judged.
type phase uint8

const (
	edgePhase   phase = iota // by the address
	callerPhase              // by who asks
	targetPhase              // by what is asked for
)

// rule is a limit of the configuration.
type rule struct {
	*v1.Limit

	anybody bool // it is for whoever asks, and whatever
	phase   phase
	per     []byte // v1.Limit.Per, by dimensions
	table   *table
	seed    maphash.Seed // of the table
	meters  []meter
	name    string
}

// dimensions are what limits are per, in an order that nothing depends on.
var dimensions = []string{v1.PerTenant, v1.PerPrincipal, v1.PerKey, v1.PerAddress, v1.PerServer, v1.PerTool}

const (
	perTenant byte = iota
	perPrincipal
	perKey
	perAddress
	perServer
	perTool
)

func dimensionsOf(per []string) []byte {
	all := make([]byte, len(per))
	for i, name := range per {
		all[i] = byte(slices.Index(dimensions, name))
	}
	return all
}

// phaseOf is the first phase in which all is known that a limit depends on.
func phaseOf(l *v1.Limit) phase {
	switch {
	case l.Servers != nil, l.Tools != nil, slices.Contains(l.Per, v1.PerServer), slices.Contains(l.Per, v1.PerTool):
		return targetPhase
	case len(l.Per) == 1 && l.Per[0] == v1.PerAddress && l.Tenants == nil && l.Groups == nil && l.Methods == nil:
		return edgePhase
	}
	return callerPhase
}

// concerns tells whether a rule is for a caller and method. Which servers and tools it is for is asked of targets.
func (r *rule) concerns(s *Subject) bool {
	return r.anybody || (r.Tenants == nil || likeAny(r.Tenants, s.Tenant)) &&
		(r.Methods == nil || likeAny(r.Methods, s.Method)) &&
		(r.Groups == nil || slices.ContainsFunc(s.Groups, func(g string) bool { return slices.Contains(r.Groups, g) }))
}

// concernsTarget tells whether a rule is for a tool of a server; name is that of the tool at /mcp, empty where no tool is called.
func (r *rule) concernsTarget(server, name string) bool {
	return (r.Servers == nil || likeAny(r.Servers, server)) &&
		(name != "" || r.Tools == nil && !slices.Contains(r.Per, v1.PerTool)) &&
		(r.Tools == nil || likeAny(r.Tools, name))
}

func likeAny(patterns []string, text string) bool {
	for _, p := range patterns {
		if v1.Like(p, text) {
			return true
		}
	}
	return false
}

// appendKey is what tells those apart who have an amount of the limit of their own. Each value has its length before it, so that
// no two keys are the same, whatever bytes are in them.
func (r *rule) appendKey(b []byte, s *Subject) []byte {
	for _, per := range r.per {
		switch per {
		case perTenant:
			b = appendText(b, s.Tenant)
		case perPrincipal:
			b = appendText(b, s.Principal)
		case perKey:
			b = appendText(b, s.Key)
		case perAddress:
			b = appendAddress(b, s.Address)
		case perServer:
			b = appendText(b, s.Server)
		case perTool:
			b = appendText(b, s.Server)
			b = appendText(b, s.Tool)
		}
	}
	return b
}

// valueMost is how long values are kept as they are: the name of a tool may be as long as a message.
const valueMost = 128

func appendText[T string | []byte](b []byte, s T) []byte {
	if len(s) > valueMost {
		sum := sha256.Sum256([]byte(s))
		return appendText(b, "…"+hex.EncodeToString(sum[:]))
	}
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// networkBytes are the bytes of an IPv6 address that are its network's: who has one address has all of them.
const networkBytes = 8

func appendAddress(b []byte, a netip.Addr) []byte {
	switch {
	case a.Is4() || a.Is4In6():
		v4 := a.As4()
		return append(append(b, 4), v4[:]...)
	case a.Is6():
		v6 := a.As16()
		return append(append(b, networkBytes), v6[:networkBytes]...)
	}
	return append(b, 0)
}

// kind is what a meter measures.
type kind uint8

const (
	kindRate        kind = iota // requests in a time
	kindBytes                   // bytes in a time, counted when they have passed
	kindQuota                   // requests in a day or month
	kindConcurrency             // requests at once
	kinds
)

var kindNames = [kinds]string{"rate", "bytes", "quota", "concurrency"}

// meter is one amount that a limit sets.
type meter struct {
	kind    kind
	month   bool    // the quota is of a month, not a day
	told    bool    // clients are told of it
	most    float64 // that can be had at once
	nano    float64 // how much comes back in a nanosecond
	rule    *rule
	limiter *Limiter

	policy []string // the header RateLimit-Policy
	remain string   // what the header RateLimit begins with
	text   string   // as the configuration has it
}

// metersOf makes the meters of a limit, which was validated.
func metersOf(r *rule) (all []meter) {
	l := r.Limit
	if l.Rate != "" {
		n, per, _ := v1.ParseRate(l.Rate)
		m := meter{rule: r, kind: kindRate, most: float64(n), nano: float64(n) / float64(per), text: l.Rate}
		if l.Burst != nil {
			m.most = float64(*l.Burst)
		}
		m.describe(int64(m.most), time.Duration(min(m.most/m.nano, 1<<62)))
		all = append(all, m)
	}
	if l.Bytes != "" {
		n, per, _ := v1.ParseByteRate(l.Bytes)
		all = append(all, meter{rule: r, kind: kindBytes, most: float64(n), nano: float64(n) / float64(per), text: l.Bytes})
	}
	if l.Quota != "" {
		n, month, _ := v1.ParseQuota(l.Quota)
		m := meter{rule: r, kind: kindQuota, most: float64(n), month: month, text: l.Quota}
		window := 24 * time.Hour
		if month {
			window *= 30
		}
		m.describe(n, window)
		all = append(all, m)
	}
	if l.Concurrency != nil {
		all = append(all, meter{rule: r, kind: kindConcurrency, most: float64(*l.Concurrency)})
	}
	return all
}

// need is how much must be there for a request of some cost: one that costs more than can ever be there is let in when all is,
// and what it lacks is paid off before the next.
func (m *meter) need(cost float64) float64 {
	if m.kind == kindBytes {
		return 1
	}
	return min(cost, m.most)
}
