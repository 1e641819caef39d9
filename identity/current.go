package identity

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

// Current is the principal as it is now: p itself where nothing of it changed, another one where something did, or an
// errs.Unauthenticated error when its credential is not good any more: expired, revoked, or gone from the configuration. It
// waits for nothing, and is meant to be asked for everything that stays open, twice in each auth.revocation.
func (v *Verifier) Current(p *Principal) (*Principal, error) {
	now := v.a.now()
	switch {
	case p == Anonymous:
		if v.required {
			return nil, ended("callers need a credential now")
		}
		return p, nil
	case p.over(now):
		return nil, ended("the credential has expired")
	case p.Method == MethodAPIKey:
		return v.currentKey(p, now)
	case p.Method == MethodToken:
		return v.currentToken(p, now)
	case p.Method == MethodCertificate && v.certificates != nil:
		return v.currentCertificate(p)
	case p.Method == MethodProxy && v.proxy != nil:
		return p, nil // the proxy says of each request who sends it, and of nothing that stays open
	}
	return nil, ended("callers of this kind are not served any more")
}

func ended(why string) error { return errs.E(op, errs.Unauthenticated, "%s", why) }

func (v *Verifier) currentKey(p *Principal, now time.Time) (*Principal, error) {
	var is *Principal
	switch {
	case p.proof == nil:
		is = v.named(p.Key())
	case p.proof.managed == "":
		is = v.keys.find(p.proof.digest, now)
	case v.a.managed != nil:
		if k := v.a.managed.keys.Load().ids[p.proof.managed]; k != nil {
			is = v.a.managed.good(k, p.proof.digest)
		}
	}
	if is == nil {
		return nil, ended("the API key has expired, was revoked, or is gone from the configuration")
	}
	return is.unless(p), nil
}

func (v *Verifier) currentCertificate(p *Principal) (*Principal, error) {
	if p.proof == nil { // the connection is another replica's
		return p, nil
	}
	is, err := v.certificates.identify(p.proof.connection)
	if err != nil {
		return nil, err
	}
	if same(is, p) {
		return p, nil
	}
	return is, nil
}

func (v *Verifier) currentToken(p *Principal, now time.Time) (*Principal, error) {
	if p.proof == nil { // another replica has the token
		for _, is := range v.issuers {
			if is.Name == p.Issuer {
				return p, nil
			}
		}
		return nil, ended("the issuer of the access token is gone from the configuration")
	}
	k := p.proof.known
	if !slices.Contains(v.issuers, k.issuer) {
		var err error
		if k, err = v.renewed(k); err != nil {
			return nil, ended("the access token is not accepted any more: " + err.Error())
		}
	}
	if k.key != nil {
		k.issuer.source.refresh()
	}
	st := k.standing.Load()
	switch {
	case k.key != nil && k.key.gone.Load():
		return nil, ended("the key that the access token is signed with is not the issuer's any more")
	case st.err != nil:
		return nil, ended("the access token is not accepted any more: " + st.err.Error())
	case st.principal.over(now):
		return nil, ended("the access token has expired")
	case st.lacks != nil:
		return nil, Lacking(st.lacks...)
	}
	if !st.until.IsZero() && now.Sub(st.asked) >= st.until.Sub(st.asked)/2 {
		v.askBehind(k)
		if now.After(st.until.Add(awayMost)) {
			return nil, ended("the issuer of the access token has not answered for too long")
		}
	}
	if same(st.principal, p) {
		return p, nil
	}
	return st.principal, nil
}

// awayMost is how long something stays open whose token's issuer cannot be asked.
const awayMost = time.Minute

// renewed is a token of an earlier configuration by this one. What its issuer said last of it counts until it is asked again.
func (v *Verifier) renewed(was *known) (*known, error) {
	if k := v.tokens.find(was.token); k != nil {
		return k, nil
	}
	is := v.issuerOf(was.issuer.Issuer.Issuer)
	if is == nil {
		return nil, errors.New("its issuer is gone from the configuration")
	}
	k := &known{token: was.token, digest: was.digest, issuer: is, key: was.key, typ: was.typ, alg: was.alg, claims: was.claims}
	if k.key == nil && is.introspect == nil {
		return nil, errors.New("its issuer is not asked about tokens any more")
	}
	if err := is.takes(k); err != nil {
		return nil, err
	}
	st := v.stand(k, k.claims)
	if st.err != nil {
		return nil, st.err
	}
	if passed := was.passed.Load(); passed != nil && is.audience == nil {
		if err := v.stillMeant(k, st, *passed); err != nil {
			return nil, err
		}
	}
	st.until = st.asked // nobody asked yet
	k.standing.Store(st)
	v.tokens.add(k)
	return k, nil
}

// stillMeant tells whether a token is for one of the places where it was used.
func (v *Verifier) stillMeant(k *known, st *standing, used []place) error {
	var failed error
	for _, at := range used {
		r := &Request{Host: at.host, Path: at.path}
		if at.secure {
			r.TLS = &tls.ConnectionState{}
		}
		if at.near {
			r.Remote = netip.AddrPortFrom(netip.IPv6Loopback(), 0)
		}
		if failed = v.meant(k.issuer, st.audience, r); failed == nil {
			return nil
		}
	}
	return failed
}

// named is the principal of a key, by its Key(); nil when there is none that is good now.
func (v *Verifier) named(key string) *Principal {
	if p := v.keys.named[key]; p != nil && !p.over(v.a.now()) {
		return p
	}
	if v.a.managed != nil {
		return v.a.managed.named(key)
	}
	return nil
}

// letter is a principal on its way to another replica, over a bus that is sealed. It holds no credential.
type letter struct {
	Key        string         `json:"key"`
	Subject    string         `json:"subject"`
	Tenant     string         `json:"tenant"`
	Groups     []string       `json:"groups,omitempty"`
	Roles      []string       `json:"roles,omitempty"`
	Scopes     []string       `json:"scopes,omitempty"`
	Attributes map[string]any `json:"attributes,omitempty"`
	Issuer     string         `json:"issuer,omitempty"`
	Client     string         `json:"client,omitempty"`
	Method     Method         `json:"method"`
	Expires    time.Time      `json:"expires,omitzero"`
}

func (p *Principal) letter() *letter {
	return &letter{
		Key: p.Key(), Subject: p.Subject, Tenant: p.Tenant, Groups: p.Groups, Roles: p.Roles, Scopes: p.Scopes, Attributes: p.Attributes,
		Issuer: p.Issuer, Client: p.Client, Method: p.Method, Expires: p.Expires,
	}
}

// Encode is the principal for another replica of the gateway, which trusts this one, without its credential.
func (p *Principal) Encode() []byte {
	b, err := json.Marshal(p.letter())
	if err != nil {
		panic(err) // there is nothing in it that JSON has not
	}
	return b
}

// Decode is the principal that another replica encoded, as this configuration has it: the holder of a key has the groups and
// credentials that the key has here. One that is not served here is refused.
func (v *Verifier) Decode(b []byte) (*Principal, error) {
	var l letter
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, errs.E(op, errs.Internal, "principal of another replica: %w", err)
	}
	if l.Method == MethodAnonymous {
		return v.Current(Anonymous)
	}
	return v.Current(v.decoded.keep(&Principal{
		Subject: l.Subject, Tenant: l.Tenant, Groups: l.Groups, Roles: l.Roles, Scopes: l.Scopes, Attributes: l.Attributes,
		Issuer: l.Issuer, Client: l.Client, Method: l.Method, Expires: l.Expires, key: l.Key,
	}))
}

// decoded are principals of other replicas, so that one that comes again is the same.
type decoded struct {
	mu   sync.Mutex
	kept map[string]*Principal
}

// decodedMost are how many are kept.
const decodedMost = 4096

// keep is the principal as it is kept.
func (d *decoded) keep(p *Principal) *Principal {
	d.mu.Lock()
	defer d.mu.Unlock()
	if was := d.kept[p.key]; was != nil && same(was, p) {
		return was
	}
	if d.kept == nil || len(d.kept) >= decodedMost {
		d.kept = map[string]*Principal{}
	}
	d.kept[p.key] = p
	return p
}
