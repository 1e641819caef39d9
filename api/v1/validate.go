package v1

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"reflect"
	"slices"
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
	k.apiKeys(c.Auth.APIKeys)
	k.policies(c)
	k.audit(&c.Audit)
	k.cluster(c.Cluster)
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

func (k *checker) apiKeys(keys []APIKey) {
	if len(keys) > MaxAPIKeys {
		k.fail("auth.apiKeys", "has %d keys; at most %d are allowed", len(keys), MaxAPIKeys)
		return
	}
	names, secrets := map[string]int{}, map[Secret]int{}
	for i, key := range keys {
		path := "auth.apiKeys[" + strconv.Itoa(i) + "]"
		k.label(path+".name", key.Name)
		if key.Name == "" {
			k.fail(path+".name", "is missing; name who calls with the key")
		} else if first, ok := names[key.Name]; ok {
			k.fail(path+".name", "%q is the name of auth.apiKeys[%d] too; names are unique", clip(key.Name), first)
		} else {
			names[key.Name] = i
		}
		if key.Tenant == "" {
			k.fail(path+".tenant", `is empty; leave it out for the tenant "default"`)
		}
		k.label(path+".tenant", key.Tenant)
		k.credentials(path+".credentials", key.Credentials)
		for j, group := range key.Groups {
			k.label(path+".groups["+strconv.Itoa(j)+"]", group)
		}
		if first, ok := secrets[key.Key]; ok && key.Key != "" {
			k.fail(path+".key", "is the key of auth.apiKeys[%d] too; keys are unique", first)
			continue
		}
		secrets[key.Key] = i
		k.apiKey(path+".key", string(key.Key))
	}
}

// label checks a name that appears in logs and metrics.
func (k *checker) label(path, text string) {
	if n := utf8.RuneCountInString(text); n > 256 || !printable(text) {
		k.fail(path, "%q is not a name; names are printable and have at most 256 characters", clip(text))
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

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
