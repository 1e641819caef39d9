package identity

import (
	"encoding/json"
	"net"
	"net/url"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// metadata are those of a protected resource (RFC 9728 section 2).
type metadata struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`
	Scopes   []string `json:"scopes_supported,omitempty"`
	Methods  []string `json:"bearer_methods_supported"`
	Name     string   `json:"resource_name"`
}

func (m *metadata) encode() []byte {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err) // there is nothing in it that JSON has not
	}
	return b
}

// publicURL is the configured one, in its canonical form; empty when there is none.
type publicURL string

func (p publicURL) path() string {
	u, err := url.Parse(string(p))
	if err != nil {
		return ""
	}
	return u.EscapedPath()
}

// base is the URL of the gateway as the sender of a request knows it, without a slash at its end. sure says that it is no
// other's: anybody can send any Host, so that without publicURL only an address of this machine is, to callers on it.
func (v *Verifier) base(r *Request) (base string, sure bool) {
	if v.public != "" {
		return string(v.public), true
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return canonical(scheme + "://" + r.Host), isLoopback(r.Host) && r.near()
}

// isLoopback is v1.LoopbackHost for a host that may have a port.
func isLoopback(host string) bool {
	if name, port, err := net.SplitHostPort(host); err == nil {
		if strings.Trim(port, "0123456789") != "" {
			return false // localhost:80@example.com is an address of example.com
		}
		host = name
	}
	return v1.LoopbackHost(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
}

// canonical is the one spelling of a URL (MCP authorization, "Canonical Server URI"): scheme and host in lower case, no port that
// goes without saying, no slash at the end, nothing escaped that need not be. What is no URL stays as it is.
func canonical(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return text
	}
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := map[string]string{"http": ":80", "https": ":443"}[scheme]; port != "" {
		host = strings.TrimSuffix(host, port)
	}
	parts := strings.Split(strings.TrimRight(u.EscapedPath(), "/"), "/")
	for i, part := range parts {
		plain, err := url.PathUnescape(part)
		if err != nil || plain == "." || plain == ".." {
			return text
		}
		parts[i] = url.PathEscape(plain)
	}
	return scheme + "://" + host + strings.Join(parts, "/")
}
