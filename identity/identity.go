package identity

import (
	"crypto/tls"
	"maps"
	"net/url"
	"reflect"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Principal is who a request acts for.
type Principal struct {
	// Subject names the caller inside its tenant.
	Subject string
	// Tenant is whose data the call may touch.
	Tenant string
	// Groups are what policies bind roles to; Roles are roles that the principal has by itself.
	Groups, Roles []string
	// Scopes are the OAuth scopes of its token, of which bindings may ask for some.
	Scopes []string
	// Attributes are further facts for policies: texts, numbers, booleans and lists of texts.
	Attributes map[string]any
	// Issuer is the name of the issuer of its token; empty for every other credential.
	Issuer string
	// Client is the id of the OAuth client that the token was given to; empty where there is none.
	Client string
	// Method is how it was identified.
	Method Method
	// Expires is when its credential ends; zero where it does not.
	Expires time.Time

	key         string
	credentials map[string]v1.Secret
	// proof is a pointer, so that nothing that prints a principal shows it.
	proof *proof
}

// proof is what the principal was identified by.
type proof struct {
	digest  digest // of the key or token
	managed string // id of the managed key
	known   *known // the token

	// connection is one on which the certificate was shown.
	connection *tls.ConnectionState
}

// Credential is a secret of the principal that servers may be given.
func (p *Principal) Credential(name string) (v1.Secret, bool) {
	secret, ok := p.credentials[name]
	return secret, ok
}

// Anonymous is every caller of a gateway without configured credentials. Its Key has no slash, so no
// other principal shares it, also after credentials are configured.
var Anonymous = &Principal{Subject: "anonymous", Tenant: "default", Method: MethodAnonymous, key: "anonymous"}

// Method is how a principal was identified.
type Method string

// The methods.
const (
	MethodAnonymous   Method = "anonymous"
	MethodAPIKey      Method = "api_key"
	MethodToken       Method = "token"
	MethodCertificate Method = "client_certificate"
	MethodProxy       Method = "trusted_proxy"
)

// Key names the principal in the whole installation. It stays the same when a caller comes with another token. Whoever vouches
// for a caller names only its own: the same tenant and subject are another principal for each kind of credential, and for each
// issuer.
//
//	TENANT/SUBJECT                 a key of the configuration
//	TENANT/SUBJECT//managed        a key of toolcrib keys
//	TENANT/SUBJECT//certificate    a client certificate
//	TENANT/SUBJECT//proxy          a header of the trusted proxy
//	TENANT/SUBJECT/ISSUER          a token, by the name of its issuer, which is never empty
//	anonymous                      everybody without a credential
//
// Tenant, subject and issuer are escaped, so that a slash only separates.
func (p *Principal) Key() string {
	if p.key != "" {
		return p.key
	}
	return keyOf(p.Tenant, p.Subject)
}

// AppendCredential appends what names the credential of the principal: that of an API key is the same when it is rotated. A
// caller without one is named as a principal.
func (p *Principal) AppendCredential(b []byte) []byte {
	switch {
	case p.proof != nil && p.proof.managed != "":
		return append(append(b, "managed/"...), p.proof.managed...)
	case p.proof != nil && p.proof.known != nil:
		return append(append(b, "token/"...), p.proof.digest[:]...)
	}
	return append(append(b, "principal/"...), p.Key()...)
}

func keyOf(tenant, subject string) string {
	return url.PathEscape(tenant) + "/" + url.PathEscape(subject)
}

// ending is the end of a credential as principals have it: in UTC, and no later than JSON can write. Certificates without an end
// have the last second that there is (RFC 5280 section 4.1.2.5).
func ending(t time.Time) time.Time {
	last := time.Unix(farthestAt, 0)
	if t.After(last) {
		t = last
	}
	return t.UTC()
}

// over reports whether the credential has ended.
func (p *Principal) over(now time.Time) bool { return !p.Expires.IsZero() && !now.Before(p.Expires) }

// attribute adds a fact for policies.
func (p *Principal) attribute(name string, value any) {
	if p.Attributes == nil {
		p.Attributes = map[string]any{}
	}
	p.Attributes[name] = value
}

// unless is was where nothing of it changed, so that what is kept by the pointer stays good; else p.
func (p *Principal) unless(was *Principal) *Principal {
	if p != nil && was != nil && p.proof.same(was.proof) && same(p, was) {
		return was
	}
	return p
}

// same tells whether two principals are alike, whatever they were identified by.
func same(p, q *Principal) bool {
	return maps.Equal(p.credentials, q.credentials) && reflect.DeepEqual(p.letter(), q.letter())
}

func (p *proof) same(q *proof) bool { return p == q || p != nil && q != nil && *p == *q }

// AppendContext appends what tells this principal, with this credential, apart from all others: answers that servers gave within
// one of two contexts are not for the other.
func (p *Principal) AppendContext(b []byte) []byte {
	b = append(append(b, p.Key()...), 0)
	switch {
	case p.proof != nil && p.proof.digest != (digest{}):
		return append(b, p.proof.digest[:]...)
	case p.Method == MethodAnonymous:
		return b
	}
	return append(b, p.Encode()...)
}
