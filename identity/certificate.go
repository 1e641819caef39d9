package identity

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
)

// certificates takes callers by the certificate of their connection, which the listener has verified.
type certificates struct {
	spec *v1.ClientCertificates
	a    *Authenticator

	mu     sync.Mutex
	trust  *x509.CertPool // that what is kept was found good by
	seen   map[*x509.Certificate]*Principal
	byHash map[digest]*Principal
}

// certificatesMost are how many certificates are kept.
const certificatesMost = 4096

// TrustClients says which certificates sign those of clients from now on; those that none of them signs any more are refused,
// also on connections that are open.
func (a *Authenticator) TrustClients(pool *x509.CertPool) { a.clientCAs.Store(pool) }

// shown tells whether a certificate was shown on a connection, and verified.
func shown(state *tls.ConnectionState) bool {
	return state != nil && len(state.VerifiedChains) > 0 && len(state.PeerCertificates) > 0
}

// identify is the principal that a verified certificate stands for.
func (c *certificates) identify(state *tls.ConnectionState) (*Principal, error) {
	cert := state.PeerCertificates[0]
	p, err := c.find(cert, state)
	if err != nil {
		return nil, errs.E(op, errs.Unauthenticated, "the client certificate is not accepted: %w", err)
	}
	if now := c.a.now(); p.over(now) || now.Before(cert.NotBefore) {
		return nil, errs.E(op, errs.Unauthenticated, "the client certificate is not accepted: it is not valid now")
	}
	return p, nil
}

func (c *certificates) find(cert *x509.Certificate, state *tls.ConnectionState) (*Principal, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if pool := c.a.clientCAs.Load(); pool != c.trust || len(c.seen) > certificatesMost {
		c.trust, c.seen = pool, nil
	}
	if p := c.seen[cert]; p != nil {
		return p, nil
	}
	if err := c.verify(cert, state); err != nil {
		return nil, err
	}
	p, err := c.principal(cert)
	if err != nil {
		return nil, err
	}
	p.proof = &proof{connection: state}
	if c.seen == nil {
		c.seen = map[*x509.Certificate]*Principal{}
	}
	if c.byHash == nil || len(c.byHash) > certificatesMost {
		c.byHash = map[digest]*Principal{}
	}
	hash := sha256.Sum256(cert.Raw)
	if was := c.byHash[hash]; was != nil {
		p = was // on another connection
	}
	c.seen[cert], c.byHash[hash] = p, p
	return p, nil
}

// verify looks whether the certificate is still signed by one that is trusted now.
func (c *certificates) verify(cert *x509.Certificate, state *tls.ConnectionState) error {
	if c.trust == nil {
		return nil
	}
	between := x509.NewCertPool()
	for _, inner := range state.PeerCertificates[1:] {
		between.AddCert(inner)
	}
	_, err := cert.Verify(x509.VerifyOptions{
		Roots: c.trust, Intermediates: between, CurrentTime: c.a.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return errors.New("none of tls.clientCA signs it, or it is not valid now")
	}
	return nil
}

// principal reads a certificate.
func (c *certificates) principal(cert *x509.Certificate) (*Principal, error) {
	p := &Principal{Method: MethodCertificate, Tenant: c.spec.Tenant, Expires: ending(cert.NotAfter.Add(time.Second))}
	if p.Tenant == "" {
		p.Tenant = defaultTenant
	}
	var err error
	if p.Subject, err = one(c.spec.Subject, subjectsOf(cert, c.spec.Subject)); err != nil {
		return nil, err
	}
	if c.spec.TenantFrom != "" {
		names := unitsOf(cert, c.spec.TenantFrom)
		if len(names) > 1 {
			return nil, fmt.Errorf("it has %d %s, of which none is the tenant more than another", len(names), c.spec.TenantFrom)
		}
		if p.Tenant, err = one(c.spec.TenantFrom, names); err != nil {
			return nil, err
		}
	}
	for _, group := range unitsOf(cert, c.spec.GroupsFrom) {
		if err := nameable(c.spec.GroupsFrom, group); err != nil {
			return nil, err
		}
		p.Groups = append(p.Groups, group)
	}
	p.key = keyOf(p.Tenant, p.Subject) + "//certificate"
	return p, nil
}

// one is the first name of some.
func one(what string, names []string) (string, error) {
	if len(names) == 0 || names[0] == "" {
		return "", fmt.Errorf("it has no %s", what)
	}
	return names[0], nameable(what, names[0])
}

func subjectsOf(cert *x509.Certificate, what string) []string {
	switch what {
	case "uri":
		if len(cert.URIs) > 0 {
			return []string{cert.URIs[0].String()}
		}
		return nil
	case "dns":
		return cert.DNSNames
	case "email":
		return cert.EmailAddresses
	}
	return []string{cert.Subject.CommonName}
}

func unitsOf(cert *x509.Certificate, what string) []string {
	switch what {
	case "o":
		return cert.Subject.Organization
	case "ou":
		return cert.Subject.OrganizationalUnit
	}
	return nil
}
