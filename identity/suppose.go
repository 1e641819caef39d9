package identity

import "net/url"

// Suppose returns a principal that has the key of one of its method, for decisions about callers that are not there.
func Suppose(p Principal) *Principal {
	p.key, p.proof, p.credentials = keyOf(p.Tenant, p.Subject), nil, nil
	switch p.Method {
	case MethodAnonymous:
		return Anonymous
	case MethodToken:
		p.key += "/" + url.PathEscape(p.Issuer)
	case MethodCertificate:
		p.key += "//certificate"
	case MethodProxy:
		p.key += "//proxy"
	}
	return &p
}
