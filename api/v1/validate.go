package v1

import (
	"net"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/toolcrib/toolcrib/seal"
)

// The bounds of what a configuration may hold.
const (
	MaxServers = 1000
	MaxAPIKeys = 10_000
	MaxIssuers = 100
)

// Validate returns everything that is wrong with a configuration that has its
// defaults, by path, without lines.
func (c *Config) Validate() Problems {
	k := &checker{}
	if n := len(c.MCPServers); n > MaxServers {
		k.fail("mcpServers", tooManyServers, n, MaxServers)
		return k.problems
	}
	k.tags(reflect.ValueOf(c).Elem(), "")
	k.listen(c.Listen)
	k.publicURL(c.PublicURL)
	for i, host := range c.AllowedHosts {
		k.host("allowedHosts["+strconv.Itoa(i)+"]", host)
	}
	for i, origin := range c.AllowedOrigins {
		k.origin("allowedOrigins["+strconv.Itoa(i)+"]", origin)
	}
	k.servers(c)
	k.toolsets(c)
	k.allTenants(c.Tenants)
	k.fits(c)
	k.templates(&c.Launch)
	k.tls(c)
	k.auth(c)
	k.policies(c)
	k.limits(c)
	k.audit(&c.Audit)
	k.log(&c.Log)
	k.cluster(c.Cluster)
	k.label("zone", c.Zone)
	k.store(c.Store)
	k.overload(&c.Overload)
	k.telemetry(&c.Telemetry)
	for i, entry := range c.Seal.Keys {
		if keys, err := seal.ParseKeys([]byte(entry)); err != nil || len(keys) == 0 {
			k.fail("seal.keys["+strconv.Itoa(i)+"]", "is not base64 of 32 bytes; make one with: openssl rand -base64 32")
		}
	}
	if c.StateDir == "" || strings.ContainsRune(c.StateDir, 0) {
		k.fail("stateDir", "is not a directory's path")
	}
	if c.DrainTimeout < 0 {
		k.fail("drainTimeout", "%v is negative; write 0s to wait for no call", c.DrainTimeout)
	}
	return k.problems.sorted()
}

func (k *checker) listen(listen string) {
	host, port, err := net.SplitHostPort(listen)
	switch n, numErr := strconv.ParseUint(port, 10, 16); {
	case err != nil:
		k.fail("listen", "%q is not host:port; write 127.0.0.1:8080, for example", clip(listen))
	case numErr != nil || strconv.FormatUint(n, 10) != port:
		k.fail("listen", "%q has no port from 0 to 65535", clip(listen))
	case strings.ContainsAny(host, "/ @"):
		k.fail("listen", "%q is not host:port; write it without scheme and path", clip(listen))
	}
}

func (k *checker) publicURL(text string) {
	if text == "" {
		return
	}
	if u := k.httpURL("publicURL", text); u != nil && (u.RawQuery != "" || u.ForceQuery) {
		k.fail("publicURL", "has a query; write scheme, host and perhaps a path")
	}
}

// httpURL checks an absolute http or https URL. No message shows it, for its
// query may hold a secret.
func (k *checker) httpURL(path, text string) *url.URL {
	u, err := url.Parse(text)
	switch {
	case err != nil || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		k.fail(path, "is not a URL; write https://host/path")
	case u.Scheme != "http" && u.Scheme != "https":
		k.fail(path, "has not the scheme http or https; write https://host/path")
	case u.Hostname() == "" || !validPort(u.Port()) || strings.HasSuffix(u.Host, ":"):
		k.fail(path, "has no valid host and port; write https://host/path")
	case u.User != nil:
		k.fail(path, "holds a user or password; send credentials under headers instead")
	case u.Fragment != "" || strings.Contains(text, "#"):
		k.fail(path, "has a fragment (#…), which is never sent; remove it")
	default:
		return u
	}
	return nil
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

func (k *checker) host(path, text string) {
	u, err := url.Parse("//" + text)
	switch {
	case strings.Contains(text, "*"):
		k.fail(path, "%q has a wildcard; name each host, or the guard against DNS rebinding has a hole", clip(text))
	case err != nil || text == "" || u.Host != text || u.Hostname() == "" || !validPort(u.Port()) || strings.HasSuffix(text, ":"):
		k.fail(path, "%q is not a host or host:port; write it without scheme and path", clip(text))
	}
}

func (k *checker) origin(path, text string) {
	u, err := url.Parse(text)
	switch {
	case strings.Contains(text, "*"):
		k.fail(path, "%q has a wildcard; name each origin, or the guard against DNS rebinding has a hole", clip(text))
	case err != nil || u.Scheme == "" || u.Hostname() == "" || !validPort(u.Port()) || !strings.EqualFold(text, u.Scheme+"://"+u.Host):
		k.fail(path, "%q is not an origin; write scheme://host or scheme://host:port, without a path", clip(text))
	}
}

// label checks a name that appears in logs and metrics.
func (k *checker) label(path, text string) {
	if n := utf8.RuneCountInString(text); n > 256 || !printable(text) {
		k.fail(path, "%q is not a name; names are printable and have at most 256 characters", clip(text))
	}
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
