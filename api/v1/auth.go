package v1

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tls checks that the files of TLS are named together.
func (k *checker) tls(c *Config) {
	t := &c.TLS
	switch {
	case t.Cert == "" && t.Key == "" && t.ClientCA == "":
	case t.Cert == "":
		k.fail("tls.cert", "is missing; name the file with the certificate of this gateway")
	case t.Key == "":
		k.fail("tls.key", "is missing; name the file with the private key of tls.cert")
	}
	if c.Auth.ClientCertificates != nil && t.ClientCA == "" {
		k.fail("auth.clientCertificates", "needs tls.clientCA, which says who signs the certificates of clients")
	}
}

// auth checks who may call.
func (k *checker) auth(c *Config) {
	k.apiKeys(c.Auth.APIKeys)
	k.issuers(c)
	if p := c.Auth.TrustedProxy; p != nil {
		k.trustedProxy(p)
	}
	if cc := c.Auth.ClientCertificates; cc != nil {
		k.label("auth.clientCertificates.tenant", cc.Tenant)
	}
}

func (k *checker) apiKeys(keys []APIKey) {
	if len(keys) > MaxAPIKeys {
		k.fail("auth.apiKeys", "has %d keys; at most %d are allowed", len(keys), MaxAPIKeys)
		return
	}
	names, secrets := map[string]int{}, map[[sha256.Size]byte]int{}
	for i := range keys {
		key, path := &keys[i], "auth.apiKeys["+strconv.Itoa(i)+"]"
		k.label(path+".name", key.Name)
		if key.Name == "" {
			k.fail(path+".name", "is missing; name who calls with the key")
		} else if first, ok := names[key.Name]; ok {
			k.fail(path+".name", "%q is the name of auth.apiKeys[%d] too; names are unique", clip(key.Name), first)
		} else {
			names[key.Name] = i
		}
		k.keyFacts(path, key)
		k.keyTimes(path, key)
		k.keySecret(path+".key", string(key.Key), i, secrets)
		if key.Previous != "" {
			k.keySecret(path+".previous", string(key.Previous), i, secrets)
		}
	}
}

// keyFacts checks what a key says of its principal.
func (k *checker) keyFacts(path string, key *APIKey) {
	if key.Tenant == "" {
		k.fail(path+".tenant", `is empty; leave it out for the tenant "default"`)
	}
	k.label(path+".tenant", key.Tenant)
	k.credentials(path+".credentials", key.Credentials)
	for j, group := range key.Groups {
		k.label(path+".groups["+strconv.Itoa(j)+"]", group)
	}
	k.scopes(path+".scopes", key.Scopes)
}

func (k *checker) keyTimes(path string, key *APIKey) {
	for name, text := range map[string]string{"expires": key.Expires, "previousUntil": key.PreviousUntil} {
		if text == "" {
			continue
		}
		if _, err := time.Parse(time.RFC3339, text); err != nil {
			k.fail(path+"."+name, "%q is not a time; write it as 2026-12-31T00:00:00Z", clip(text))
		}
	}
	switch {
	case key.Previous != "" && key.PreviousUntil == "":
		k.fail(path+".previousUntil", "is missing; say when the previous key ends")
	case key.Previous == "" && key.PreviousUntil != "":
		k.fail(path+".previous", "is missing, but previousUntil is given; give the key before this one, or remove previousUntil")
	}
}

// keySecret checks a key, which no other may be the same as.
func (k *checker) keySecret(path, secret string, i int, seen map[[sha256.Size]byte]int) {
	digest := sha256.Sum256([]byte(secret))
	if text, ok := strings.CutPrefix(secret, "sha256:"); ok {
		if n, err := hex.Decode(digest[:], []byte(text)[:min(len(text), 2*sha256.Size)]); err != nil || n != sha256.Size || len(text) != 2*sha256.Size {
			k.fail(path, "begins with sha256: but has not the 64 hexadecimal digits of a hash behind it; toolcrib keys hash prints one")
			return
		}
	} else if secret != "" {
		k.apiKey(path, secret)
	}
	first, taken := seen[digest]
	switch {
	case secret == "":
		k.apiKey(path, secret)
	case taken && first == i:
		k.fail(path, "is the other key of this entry too; keys are unique")
	case taken:
		k.fail(path, "is the key of auth.apiKeys[%d] too; keys are unique", first)
	default:
		seen[digest] = i
	}
}

const minAPIKey, maxAPIKey = 16, 4096

func (k *checker) apiKey(path, key string) {
	if err := CheckAPIKey(key); err != nil {
		k.fail(path, "%v", err)
	}
}

// CheckAPIKey tells what is wrong with the secret of a static key, without telling the secret; nil for a good one.
func CheckAPIKey(key string) error {
	const remedy = "; make one with: openssl rand -hex 32"
	visible := !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' })
	switch {
	case key == "":
		return errors.New("is missing" + remedy)
	case !visible:
		return errors.New("has characters that a header cannot carry; use visible ASCII without spaces and commas")
	case len(key) < minAPIKey:
		return fmt.Errorf("is shorter than %d characters"+remedy, minAPIKey)
	case len(key) > maxAPIKey:
		return fmt.Errorf("is longer than %d characters", maxAPIKey)
	case placeholder(key):
		return errors.New("is a placeholder, not a key" + remedy)
	}
	return nil
}

var placeholders = []string{
	"changeme", "replaceme", "placeholder", "yourkey", "yourapikey", "yoursecret", "yourtoken", "apikeyhere",
	"insertkey", "examplekey", "secretkeyhere", "mysecretkey", "xxxxxxxx", "12345678901", "password",
}

// placeholder tells whether a key was copied from an example.
func placeholder(key string) bool {
	plain := strings.NewReplacer("-", "", "_", "", ".", "", " ", "").Replace(strings.ToLower(key))
	if strings.HasPrefix(key, "<") || distinct(key) < 4 {
		return true
	}
	return slices.ContainsFunc(placeholders, func(p string) bool { return strings.HasPrefix(plain, p) })
}

func distinct(s string) int {
	var seen [256]bool
	n := 0
	for i := range len(s) {
		if !seen[s[i]] {
			seen[s[i]] = true
			n++
		}
	}
	return n
}

// issuers checks the authorization servers.
func (k *checker) issuers(c *Config) {
	if n := len(c.Auth.Issuers); n > MaxIssuers {
		k.fail("auth.issuers", "has %d issuers; at most %d are allowed", n, MaxIssuers)
		return
	}
	urls, names, opaque := map[string]int{}, map[string]int{}, -1
	for i := range c.Auth.Issuers {
		is, path := &c.Auth.Issuers[i], "auth.issuers["+strconv.Itoa(i)+"]"
		if first, ok := urls[is.Issuer]; ok && is.Issuer != "" {
			k.fail(path+".issuer", "is that of auth.issuers[%d] too; name each issuer once", first)
		} else {
			urls[is.Issuer] = i
			k.secureURL(path+".issuer", is.Issuer)
		}
		name := is.DisplayName()
		k.label(path+".name", name)
		if first, ok := names[name]; ok && name != "" {
			k.fail(path+".name", "%q is the name of auth.issuers[%d] too; give each a name of its own", clip(name), first)
		} else {
			names[name] = i
		}
		if is.Introspection != nil && !is.Introspection.Always {
			if opaque >= 0 {
				k.fail(path+".introspection", "is asked about tokens that do not tell whose they are, as that of auth.issuers[%d] is already: "+
					"one issuer must not see the tokens of another; set always for one that gives out JWTs", opaque)
			}
			opaque = i
		}
		k.issuer(path, is)
		if is.Audience == nil && c.PublicURL == "" && !loopback(c.Listen) {
			k.fail(path+".audience", "is missing; without publicURL nothing else says which tokens are for a gateway at an address that is not loopback: set either")
		}
	}
}

// DisplayName is name, or the host of the issuer where there is none.
func (is *Issuer) DisplayName() string {
	if is.Name != "" {
		return is.Name
	}
	u, err := url.Parse(is.Issuer)
	if err != nil {
		return is.Issuer
	}
	return u.Host
}

// signatures are the algorithms that an issuer's tokens may be signed by.
var signatures = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

func (k *checker) issuer(path string, is *Issuer) {
	if is.JWKS != "" {
		k.secureURL(path+".jwks", is.JWKS)
	}
	if is.Audience != nil && len(is.Audience) == 0 {
		k.fail(path+".audience", "is empty, so that no token would be accepted; leave it out for the URL of this gateway")
	}
	if is.Algorithms != nil && len(is.Algorithms) == 0 {
		k.fail(path+".algorithms", "is empty, so that no token would be accepted")
	}
	for i, aud := range is.Audience {
		k.filled(fmt.Sprintf("%s.audience[%d]", path, i), aud)
	}
	for i, alg := range is.Algorithms {
		if !slices.Contains(signatures, alg) {
			k.fail(fmt.Sprintf("%s.algorithms[%d]", path, i), "%q is not one of %s", clip(alg), strings.Join(signatures, ", "))
		}
	}
	k.scopes(path+".scopes", is.Scopes)
	k.scopes(path+".requestScopes", is.RequestScopes)
	k.label(path+".tenant", is.Tenant)
	for i, tenant := range is.Tenants {
		k.filled(fmt.Sprintf("%s.tenants[%d]", path, i), tenant)
		k.label(fmt.Sprintf("%s.tenants[%d]", path, i), tenant)
	}
	for i, client := range is.Clients {
		k.filled(fmt.Sprintf("%s.clients[%d]", path, i), client)
	}
	if is.Tenant != "" && is.Claims.Tenant != "" {
		k.fail(path+".tenant", "is given next to claims.tenant; keep one")
	}
	for name, claim := range is.Claims.Attributes {
		k.filled(childPath(path+".claims.attributes", name), claim)
	}
	if in := is.Introspection; in != nil {
		if in.URL != "" {
			k.secureURL(path+".introspection.url", in.URL)
		}
		k.filled(path+".introspection.clientID", in.ClientID)
		k.filled(path+".introspection.clientSecret", string(in.ClientSecret))
	}
}

// filled checks what must not be empty.
func (k *checker) filled(path, text string) {
	if text == "" {
		k.fail(path, "is missing or empty")
	}
}

// secureURL checks an address that is asked for what decides who callers are.
func (k *checker) secureURL(path, text string) {
	if text == "" {
		k.fail(path, "is missing or empty")
		return
	}
	u := k.httpURL(path, text)
	switch {
	case u == nil:
	case u.RawQuery != "" || u.ForceQuery:
		k.fail(path, "has a query; write scheme, host and path")
	case u.Scheme != "https" && !LoopbackHost(u.Hostname()):
		k.fail(path, "is not https; only a loopback address may do without")
	}
}

// loopback tells whether an address to listen at is reachable from this machine only.
func loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	return err == nil && LoopbackHost(host)
}

// LoopbackHost tells whether a host, without a port, is this machine to itself.
func LoopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// scopes checks names of OAuth scopes (RFC 6749 section 3.3).
func (k *checker) scopes(path string, all []string) {
	for i, scope := range all {
		if scope == "" || strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			k.fail(path+"["+strconv.Itoa(i)+"]", "%q is not the name of a scope; write each as an element of its own", clip(scope))
		}
	}
}

func (k *checker) trustedProxy(p *TrustedProxy) {
	const path = "auth.trustedProxy"
	if len(p.Addresses) == 0 {
		k.fail(path+".addresses", "is missing or empty; name the addresses of the proxy, or everybody could say that they are anybody")
	}
	for i, text := range p.Addresses {
		_, err := netip.ParseAddr(text)
		if _, wrong := netip.ParsePrefix(text); err != nil && wrong != nil {
			k.fail(fmt.Sprintf("%s.addresses[%d]", path, i), "%q is neither an IP address nor a network as 10.0.0.0/8", clip(text))
		}
	}
	k.filled(path+".subject", p.Subject)
	k.filled(path+".secretHeader", p.SecretHeader)
	seen := map[string]string{}
	for _, h := range []struct{ key, name string }{
		{"subject", p.Subject}, {"tenant", p.Tenant}, {"groups", p.Groups}, {"secretHeader", p.SecretHeader},
	} {
		name := http.CanonicalHeaderKey(h.name)
		switch other, taken := seen[name]; {
		case h.name == "":
			continue
		case strings.ContainsFunc(h.name, notToken):
			k.fail(path+"."+h.key, "%q is not the name of a header", clip(h.name))
		case slices.Contains(protocolHeaders, name) || strings.HasPrefix(name, "Mcp-"):
			k.fail(path+"."+h.key, "%s is a header of the protocol; name one that the proxy makes", name)
		case taken:
			k.fail(path+"."+h.key, "%s is the header of %s too", name, other)
		}
		seen[name] = h.key
	}
	if p.Secret != "" && len(p.Secret) < minAPIKey {
		k.fail(path+".secret", "is shorter than %d characters; make one with: openssl rand -hex 32", minAPIKey)
	}
}

// protocolHeaders are headers of which every client sends some.
var protocolHeaders = []string{
	"Authorization", "Accept", "Connection", "Content-Length", "Content-Type", "Cookie", "Host", "Last-Event-Id", "Origin", "User-Agent",
}

func notToken(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}
