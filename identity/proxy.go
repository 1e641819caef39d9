package identity

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
)

// proxy takes callers from the headers of a proxy.
type proxy struct {
	networks                              []netip.Prefix
	subject, tenant, groups, secretHeader string // canonical; empty for none
	secret                                []byte

	mu   sync.Mutex
	seen map[vouched]*Principal
}

// vouched is what the headers say.
type vouched struct{ subject, tenant, groups string }

// vouchedMost are how many principals are kept.
const vouchedMost = 4096

func newProxy(c *v1.TrustedProxy) (*proxy, error) {
	canonical := http.CanonicalHeaderKey
	p := &proxy{
		subject: canonical(c.Subject), tenant: canonical(c.Tenant), groups: canonical(c.Groups), secretHeader: canonical(c.SecretHeader),
		secret: []byte(c.Secret),
	}
	if len(p.secret) == 0 {
		p.secretHeader = ""
	}
	for i, text := range c.Addresses {
		network, err := networkOf(text)
		if err != nil {
			return nil, fmt.Errorf("auth.trustedProxy.addresses[%d]: %w", i, err)
		}
		p.networks = append(p.networks, network)
	}
	return p, nil
}

// networkOf reads an address or a network.
func networkOf(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return network, fmt.Errorf("%.60q is neither an IP address nor a network as 10.0.0.0/8", text)
	}
	return network.Masked(), nil
}

// speaks tells whether a request has a header that only the proxy may send.
func (p *proxy) speaks(h http.Header) bool {
	for _, name := range [...]string{p.subject, p.tenant, p.groups, p.secretHeader} {
		if name != "" && h[name] != nil {
			return true
		}
	}
	return false
}

// Address is where a request comes from: behind the trusted proxy, the last address of X-Forwarded-For that is not the proxy's.
func (v *Verifier) Address(r *Request) netip.Addr {
	if v.proxy == nil || !v.proxy.at(r.Remote.Addr()) || !v.proxy.proves(r.Header) {
		return r.Remote.Addr()
	}
	return v.proxy.forwarded(r)
}

// forwarded reads X-Forwarded-For from its end, as far as proxies wrote it.
func (p *proxy) forwarded(r *Request) netip.Addr {
	last := r.Remote.Addr()
	for _, value := range slices.Backward(r.Header["X-Forwarded-For"]) {
		for rest, more := value, true; more; {
			text := rest
			at := strings.LastIndexByte(rest, ',')
			if more = at >= 0; more {
				rest, text = rest[:at], rest[at+1:]
			}
			addr, ok := addressOf(strings.TrimSpace(text))
			if !ok {
				return last
			}
			if last = addr; !p.at(addr) {
				return last
			}
		}
	}
	return last
}

// addressOf reads an address, perhaps with a port.
func addressOf(text string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Unmap(), true
	}
	both, err := netip.ParseAddrPort(text)
	return both.Addr().Unmap(), err == nil
}

// at tells whether an address is the proxy's.
func (p *proxy) at(addr netip.Addr) bool {
	return slices.ContainsFunc(p.networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// proves tells whether a request has the secret of the proxy, where it has one.
func (p *proxy) proves(h http.Header) bool {
	if len(p.secret) == 0 {
		return true
	}
	secret := h[p.secretHeader]
	return len(secret) == 1 && subtle.ConstantTimeCompare([]byte(secret[0]), p.secret) == 1
}

// identify is the principal that the proxy vouches for; nil when it names nobody.
func (p *proxy) identify(r *Request) (*Principal, error) {
	if !p.at(r.Remote.Addr()) {
		return nil, errs.E(op, errs.Forbidden, "only the proxy of auth.trustedProxy may say who the caller is; leave out the header %s", p.sent(r.Header))
	}
	if !p.proves(r.Header) {
		return nil, errs.E(op, errs.Forbidden, "the header %s does not hold the secret of auth.trustedProxy", p.secretHeader)
	}
	if r.Header[p.subject] == nil && r.Header[p.tenant] == nil && r.Header[p.groups] == nil {
		return nil, nil //nolint:nilnil // the proxy proved itself, and names nobody
	}
	who, err := p.read(r.Header)
	if err == nil {
		var found *Principal
		if found, err = p.principal(who); err == nil {
			return found, nil
		}
	}
	return nil, errs.E(op, errs.Unauthenticated, "what the proxy says of the caller is not accepted: %w", err)
}

// sent is the first of its headers that a request has.
func (p *proxy) sent(h http.Header) string {
	for _, name := range [...]string{p.subject, p.tenant, p.groups, p.secretHeader} {
		if name != "" && h[name] != nil {
			return name
		}
	}
	return ""
}

// read takes the headers, each of which comes once.
func (p *proxy) read(h http.Header) (who vouched, err error) {
	for name, to := range map[string]*string{p.subject: &who.subject, p.tenant: &who.tenant, p.groups: &who.groups} {
		values := h[name]
		switch {
		case name == "":
		case len(values) > 1:
			return who, fmt.Errorf("it has %d headers %s", len(values), name)
		case len(values) == 1:
			*to = strings.TrimSpace(values[0])
		}
	}
	switch {
	case who.subject == "":
		return who, fmt.Errorf("the header %s is missing or empty", p.subject)
	case p.tenant != "" && who.tenant == "":
		return who, fmt.Errorf("the header %s is missing or empty", p.tenant)
	case strings.ContainsRune(who.subject+who.tenant, ','):
		return who, errors.New("it names several callers or tenants")
	}
	return who, nil
}

func (p *proxy) principal(who vouched) (*Principal, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.seen[who]; found != nil {
		return found, nil
	}
	made := &Principal{Subject: who.subject, Tenant: who.tenant, Method: MethodProxy}
	if made.Tenant == "" {
		made.Tenant = defaultTenant
	}
	for group := range strings.SplitSeq(who.groups, ",") {
		if group = strings.TrimSpace(group); group != "" {
			made.Groups = append(made.Groups, group)
		}
	}
	for what, name := range map[string]string{p.subject: made.Subject, p.tenant: made.Tenant} {
		if err := nameable(what, name); err != nil {
			return nil, err
		}
	}
	if len(made.Groups) > namesMost {
		return nil, fmt.Errorf("the header %s names more than %d groups", p.groups, namesMost)
	}
	for _, group := range made.Groups {
		if err := nameable(p.groups, group); err != nil {
			return nil, err
		}
	}
	made.key = keyOf(made.Tenant, made.Subject) + "//proxy"
	if p.seen == nil || len(p.seen) >= vouchedMost {
		p.seen = map[vouched]*Principal{}
	}
	p.seen[vouched{strings.Clone(who.subject), strings.Clone(who.tenant), strings.Clone(who.groups)}] = made
	return made, nil
}
