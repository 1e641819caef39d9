package identity

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// issuer is an authorization server as a configuration has it.
type issuer struct {
	*v1.Issuer
	source     *source
	introspect *introspector // nil where the issuer is not asked about tokens
	audience   []string      // nil for the URL of what is asked
}

// newIssuer makes an issuer of a configuration that was validated.
func (a *Authenticator) newIssuer(c *v1.Issuer, revocation time.Duration, was map[origin]*source) (*issuer, error) {
	if err := secure(c.Issuer); err != nil {
		return nil, fmt.Errorf("issuer %w", err)
	}
	if c.JWKS != "" && secure(c.JWKS) != nil {
		return nil, fmt.Errorf("jwks %w", secure(c.JWKS))
	}
	spec := *c
	spec.Name = spec.DisplayName()
	spec.Claims.Subject = cmp.Or(spec.Claims.Subject, "sub")
	is := &issuer{Issuer: &spec}
	if spec.Audience != nil {
		is.audience = []string{}
	}
	for _, aud := range spec.Audience {
		is.audience = append(is.audience, canonical(aud))
	}
	var err error
	if is.source, err = a.sourceOf(origin{c.Issuer, c.JWKS, c.CA}, was); err != nil {
		return nil, err
	}
	if c.Introspection != nil {
		is.introspect, err = a.newIntrospector(is, revocation)
	}
	return is, err
}

// requested are the scopes that clients ask the issuer for, to get a token that is accepted.
func (is *issuer) requested() []string {
	if is.RequestScopes != nil {
		return is.RequestScopes
	}
	return is.Scopes
}

// check tells what is wrong with the claims of a token besides its signature and its audience, and makes its principal.
func (is *issuer) check(c claims, now time.Time) (*Principal, error) {
	expires, err := is.times(c, now)
	if err != nil {
		return nil, err
	}
	if err := bound(c); err != nil {
		return nil, err
	}
	p, err := c.principal(&is.Claims)
	if err != nil {
		return nil, err
	}
	if is.Clients != nil && !slices.Contains(is.Clients, p.Client) {
		return nil, fmt.Errorf("it was given to the client %.100q, which is not one of auth.issuers.clients", p.Client)
	}
	p.Tenant = cmp.Or(is.Tenant, p.Tenant, defaultTenant)
	if is.Tenants != nil && !slices.Contains(is.Tenants, p.Tenant) {
		return nil, fmt.Errorf("its tenant %.100q is not one of auth.issuers.tenants", p.Tenant)
	}
	p.Issuer, p.Expires = is.Name, expires
	p.key = keyOf(p.Tenant, p.Subject) + "/" + url.PathEscape(p.Issuer)
	return p, nil
}

// times checks exp, nbf and iat, with the skew of the clocks; it returns when the token ends.
func (is *issuer) times(c claims, now time.Time) (expires time.Time, err error) {
	skew := time.Duration(is.Skew)
	exp, err := c.time("exp")
	if err != nil {
		return exp, err
	}
	if !exp.IsZero() {
		expires = ending(exp.Add(skew))
	}
	for _, name := range []string{"nbf", "iat"} {
		at, err := c.time(name)
		if err != nil {
			return exp, err
		}
		if now.Before(at.Add(-skew)) {
			return exp, fmt.Errorf("it is not valid yet (%s is %s)", name, at.UTC().Format(time.RFC3339))
		}
	}
	if !expires.IsZero() && !now.Before(expires) {
		return exp, fmt.Errorf("it expired at %s", exp.UTC().Format(time.RFC3339))
	}
	return expires, nil
}

// bound refuses tokens that only count together with a key of their client's (RFC 7800), which nobody here looks at.
func bound(c claims) error {
	if c["cnf"] != nil {
		return errors.New("it is bound to a key of its client (cnf), which this gateway does not check; ask for a bearer token")
	}
	return nil
}

// notAccess refuses JWTs that can be told not to be access tokens. typ is that of the header (RFC 9068 section 2.1).
func (is *issuer) notAccess(typ string, c claims) error {
	switch strings.TrimPrefix(strings.ToLower(typ), "application/") {
	case "at+jwt":
		return nil
	case "", "jwt":
	default:
		return fmt.Errorf("it is a JWT of the type %.40q, not an access token", typ)
	}
	for name, access := range map[string]string{"typ": "Bearer", "token_use": "access"} { // as Keycloak and Cognito write them
		if kind, ok := c[name].(string); ok && !strings.EqualFold(kind, access) {
			return fmt.Errorf("it is no access token: claim %s is %.40q", name, kind)
		}
	}
	if c["events"] != nil {
		return errors.New("it is a security event, no access token")
	}
	if is.audience != nil {
		return nil // some issuers' tokens all look alike; whom they are for was said in the configuration
	}
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash"} {
		if c[name] != nil {
			return fmt.Errorf("it is an ID token (it has %s), no access token", name)
		}
	}
	return nil
}

// meant tells whether a token is for what a request asks (RFC 8707 section 2, RFC 9068 section 4).
func (v *Verifier) meant(is *issuer, audience []string, r *Request) error {
	if is.audience != nil {
		for _, aud := range audience {
			if slices.Contains(is.audience, canonical(aud)) {
				return nil
			}
		}
		return fmt.Errorf("it is for %.200q, and not for this gateway (auth.issuers.audience)", audience)
	}
	base, sure := v.base(r)
	if !sure {
		return errors.New("whether it is for this gateway cannot be told: set publicURL, or audience of the issuer")
	}
	endpoint := canonical(base + r.Path)
	for _, aud := range audience {
		if aud = canonical(aud); aud == endpoint || aud == base {
			return nil
		}
	}
	return fmt.Errorf("it is for %.200q, and not for %s; ask the authorization server for a token with that resource (RFC 8707)", audience, endpoint)
}
