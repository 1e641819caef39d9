package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// soon is how long before its end a certificate is to be replaced.
const soon = 14 * 24 * time.Hour

const renew = "renew it; the gateway reads the files again when they change"

// certificates looks at the certificates of the gateway, of those who sign others, and of servers.
func certificates(ctx context.Context, p *patient, n *notes) {
	t := &p.config.TLS
	if t.Cert != "" {
		p.serving(n, t)
	}
	authorities := map[string]string{"tls.clientCA": t.ClientCA}
	for i := range p.config.Auth.Issuers {
		is := &p.config.Auth.Issuers[i]
		authorities["auth.issuers ca of "+is.DisplayName()] = is.CA
	}
	for key, file := range authorities {
		if file != "" {
			p.authority(n, key, file)
		}
	}
	p.remoteEnds(ctx, n)
	if len(n.all) == 0 {
		n.skip("", "nothing here has one")
	}
}

// serving looks at the certificate that clients see.
func (p *patient) serving(n *notes, t *v1.TLS) {
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		n.fail("tls", "have tls.cert and tls.key name files in PEM that belong together", "%v", err)
		return
	}
	chain := make([]*x509.Certificate, len(pair.Certificate))
	for i, der := range pair.Certificate {
		if chain[i], err = x509.ParseCertificate(der); err != nil {
			n.fail(t.Cert, "have it made anew", "certificate %d of the file cannot be read: %v", i+1, err)
			return
		}
	}
	before := len(n.all)
	leaf := chain[0]
	p.ends(n, t.Cert, leaf)
	for i := 1; i < len(chain); i++ {
		if chain[i-1].CheckSignatureFrom(chain[i]) != nil {
			n.fail(t.Cert, "write the chain as: own certificate, then who signed it, then who signed that", "certificate %d is not signed by the one behind it", i)
		}
		p.ends(n, t.Cert, chain[i])
	}
	if !bytes.Equal(leaf.RawIssuer, leaf.RawSubject) && len(chain) == 1 && !trusted(leaf) {
		n.warn(t.Cert, "append the certificate of "+leaf.Issuer.CommonName+" to the file, unless all clients have it",
			"the file holds no certificate of who signed it, whom this machine does not know")
	}
	p.named(n, t.Cert, leaf)
	if len(n.all) == before {
		n.pass(t.Cert, "for %s, until %s", strings.Join(slices.Concat(leaf.DNSNames, texts(leaf.IPAddresses)), ", "), leaf.NotAfter.UTC().Format(time.DateOnly))
	}
}

func trusted(c *x509.Certificate) bool {
	_, err := c.Verify(x509.VerifyOptions{})
	return err == nil
}

func texts(all []net.IP) []string {
	out := make([]string, len(all))
	for i, ip := range all {
		out[i] = ip.String()
	}
	return out
}

// named looks whether the certificate is for the name that clients are told.
func (p *patient) named(n *notes, file string, leaf *x509.Certificate) {
	u, err := url.Parse(p.config.PublicURL)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" {
		return
	}
	if leaf.VerifyHostname(u.Hostname()) != nil {
		n.fail(file, "have it made for that name too, or correct publicURL", "is not for %s, the host of publicURL", u.Hostname())
	}
}

// ends notes a certificate that is over, or soon.
func (p *patient) ends(n *notes, about string, c *x509.Certificate) {
	now := p.now()
	switch left := c.NotAfter.Sub(now); {
	case left <= 0:
		n.fail(about, renew, "%s was good until %s", whose(c), c.NotAfter.UTC().Format(time.DateOnly))
	case now.Before(c.NotBefore):
		n.fail(about, "wait, or correct the clock of this machine", "%s is good only from %s on", whose(c), c.NotBefore.UTC().Format(time.RFC3339))
	case left < soon:
		n.warn(about, renew, "%s ends in %s, on %s", whose(c), count(int(left/(24*time.Hour)), "day"), c.NotAfter.UTC().Format(time.DateOnly))
	}
}

func whose(c *x509.Certificate) string {
	switch {
	case c.Subject.CommonName != "":
		return "the certificate of " + c.Subject.CommonName
	case len(c.DNSNames) > 0:
		return "the certificate of " + c.DNSNames[0]
	}
	return "the certificate"
}

// authority looks at a file with those who sign certificates.
func (p *patient) authority(n *notes, key, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		n.fail(key, "name a file that this user can read", "%v", err)
		return
	}
	some, before := 0, len(n.all)
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue
		}
		some++
		p.ends(n, key, c)
	}
	switch {
	case some == 0:
		n.fail(key, "name a file with certificates in PEM", "%s holds no certificate", file)
	case len(n.all) == before:
		n.pass(key, "%s in %s", count(some, "certificate"), file)
	}
}

// remoteEnds looks how long the certificates of servers and issuers are good still. Who signed them is no matter here: where a server
// or issuer is spoken to, a certificate that is not trusted is told of.
func (p *patient) remoteEnds(ctx context.Context, n *notes) {
	hosts := p.hosts()
	results := make([]notes, len(hosts))
	var all sync.WaitGroup
	for i, at := range hosts {
		all.Go(func() {
			results[i].check = n.check
			p.remoteEnd(ctx, &results[i], at)
		})
	}
	all.Wait()
	for i := range results {
		n.all = append(n.all, results[i].all...)
	}
}

func (p *patient) remoteEnd(ctx context.Context, n *notes, at string) {
	//nolint:gosec // nothing is sent, and nothing taken but the dates
	d := &tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}}
	conn, err := d.DialContext(ctx, "tcp", at)
	if err != nil {
		n.skip(at, "its certificate was not seen: %v", err)
		return
	}
	defer conn.Close()
	t, ok := conn.(*tls.Conn)
	if !ok {
		return
	}
	seen := t.ConnectionState().PeerCertificates
	for _, c := range seen {
		p.ends(n, at, c)
	}
	if n.well() && len(seen) > 0 {
		n.pass(at, "%s, until %s", whose(seen[0]), seen[0].NotAfter.UTC().Format(time.DateOnly))
	}
}

const hostsMost = 50

// hosts are those that are spoken to over https.
func (p *patient) hosts() (all []string) {
	add := func(text string) {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "https" || strings.Contains(u.Host, "${") {
			return
		}
		at := u.Host
		if u.Port() == "" {
			at = net.JoinHostPort(u.Hostname(), "443")
		}
		if !slices.Contains(all, at) && len(all) < hostsMost {
			all = append(all, at)
		}
	}
	for _, name := range p.config.ServerNames() {
		s := p.config.MCPServers[name]
		add(s.URL)
		for _, in := range s.URLs {
			add(in.URL)
		}
	}
	for i := range p.config.Auth.Issuers {
		add(p.config.Auth.Issuers[i].Issuer)
	}
	return all
}
