// Package identity says who calls: it turns the credentials of a request into a Principal. Sessions and
// every other sealed token are bound to it.
package identity

import (
	"net/url"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Principal is who a request acts for.
type Principal struct {
	// Subject names the caller inside its tenant.
	Subject string
	// Tenant is whose data the call may touch.
	Tenant string
	// Groups are what policies bind roles to.
	Groups []string

	key         string
	credentials map[string]v1.Secret
}

// Credential is a secret of the principal that servers may be given.
func (p *Principal) Credential(name string) (v1.Secret, bool) {
	secret, ok := p.credentials[name]
	return secret, ok
}

// Anonymous is every caller of a gateway without configured credentials. Its Key has no slash, so no
// other principal shares it, also after credentials are configured.
var Anonymous = &Principal{Subject: "anonymous", Tenant: "default", key: "anonymous"}

// Key names the principal in the whole installation: tenant and subject, each escaped, with a slash between.
func (p *Principal) Key() string {
	if p.key != "" {
		return p.key
	}
	return keyOf(p.Tenant, p.Subject)
}

func keyOf(tenant, subject string) string {
	return url.PathEscape(tenant) + "/" + url.PathEscape(subject)
}
