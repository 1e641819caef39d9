package identity

import (
	"context"
	"strings"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/store"
)

const (
	op            = "identify"
	maxToken      = 16 << 10
	defaultTenant = "default"
)

// Verifier identifies callers by one configuration. It is immutable and safe for concurrent use.
type Verifier struct {
	a        *Authenticator
	required bool
	keys     *keys
	issuers  []*issuer
	tokens   *tokens
	public   publicURL

	certificates *certificates // nil where none is taken
	proxy        *proxy        // nil where none is trusted
	decoded      decoded
}

// Required reports whether callers need a credential; else those without one are Anonymous.
func (v *Verifier) Required() bool { return v.required }

// Identify returns the principal that a request acts for, or an error that says what is wrong with its credential:
// errs.Unauthenticated; errs.InsufficientScope where a token lacks a scope that all have; errs.Unavailable where an issuer cannot be
// asked; errs.Forbidden for who speaks like the proxy. What the trusted proxy says counts before Authorization, and that before a
// client certificate.
func (v *Verifier) Identify(ctx context.Context, r *Request) (*Principal, error) {
	values := r.Header["Authorization"]
	if len(values) > 1 {
		return nil, errs.E(op, errs.Unauthenticated, "%d Authorization headers; send one", len(values))
	}
	if v.proxy != nil && v.proxy.speaks(r.Header) {
		if p, err := v.proxy.identify(r); p != nil || err != nil {
			return p, err
		}
	}
	if len(values) == 1 {
		if k := v.tokens.shown(values[0]); k != nil {
			return v.token(ctx, k, r)
		}
		token, ok := bearer(values[0])
		if !ok && len(values[0]) > maxToken {
			return v.stranger("the Authorization header is too large: %d bytes, where tokens have at most %d", len(values[0]), maxToken)
		}
		if !ok {
			return v.stranger("the Authorization header is not a bearer token; %s", v.remedy())
		}
		return v.bearer(ctx, token, r)
	}
	if v.certificates != nil && shown(r.TLS) {
		return v.certificates.identify(r.TLS)
	}
	if v.required {
		return nil, errs.E(op, errs.Unauthenticated, "no Authorization header; %s", v.remedy())
	}
	return Anonymous, nil
}

// bearer finds whose token it is (RFC 6750 section 2.1).
func (v *Verifier) bearer(ctx context.Context, token string, r *Request) (*Principal, error) {
	if k := v.tokens.find(token); k != nil { // the header was not as it mostly is
		return v.token(ctx, k, r)
	}
	digest := digestOf(token)
	if p := v.keys.find(digest, v.a.now()); p != nil {
		return p, nil
	}
	if id, ok := store.IDOf(token); ok && v.a.managed != nil {
		if p := v.a.managed.find(ctx, id, digest); p != nil {
			return p, nil
		}
		return nil, errs.E(op, errs.Unauthenticated, "the API key is unknown, expired or revoked; %s", v.remedy())
	}
	if len(v.issuers) > 0 {
		return v.newToken(ctx, token, digest, r)
	}
	return v.stranger("unknown API key; %s", v.remedy())
}

// stranger is the caller with a credential that says nothing here: where nobody is told to have any, it does not matter.
func (v *Verifier) stranger(format string, args ...any) (*Principal, error) {
	if v.keys.any() || v.required || len(v.issuers) > 0 {
		return nil, errs.E(op, errs.Unauthenticated, format, args...)
	}
	return Anonymous, nil
}

func (v *Verifier) remedy() string {
	if len(v.issuers) > 0 {
		return `send "Authorization: Bearer TOKEN" with an access token; the metadata of the endpoint tell who gives them out`
	}
	return `send "Authorization: Bearer KEY" with a key that is configured under auth.apiKeys or made with toolcrib keys`
}

// bearer takes the token out of a header value. The scheme is case-insensitive (RFC 9110 section 11.1).
func bearer(value string) (string, bool) {
	scheme, token, found := strings.Cut(strings.Trim(value, " \t"), " ")
	token = strings.TrimLeft(token, " ")
	ok := found && strings.EqualFold(scheme, "bearer") && token != "" && len(token) <= maxToken && sendable(token)
	return token, ok
}

// sendable is stricter than a header value and wider than RFC 6750: visible ASCII, but no comma, which
// is how a proxy joins two headers into one.
func sendable(token string) bool {
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c > '~' || c == ',' {
			return false
		}
	}
	return true
}
