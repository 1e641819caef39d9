package front

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
)

// CheckOrigin refuses requests that a browser was tricked into (DNS rebinding, cross-site requests): a Host that this
// gateway does not go by, and an Origin that is not allowed. On an address that is not loopback, Host is checked once
// publicURL or allowedHosts say what it should be.
func CheckOrigin(r *http.Request, c *v1.Config, loopback bool) error {
	if (loopback || c.PublicURL != "" || len(c.AllowedHosts) > 0) && !hostAllowed(r.Host, c) {
		return errs.E("front", errs.Forbidden, "Host %.100q is not one of this gateway; add it to allowedHosts or set publicURL", r.Host)
	}
	origins := r.Header["Origin"]
	if len(origins) > 1 {
		return errs.E("front", errs.Forbidden, "more than one Origin header")
	}
	if len(origins) == 1 && !originAllowed(origins[0], c) {
		return errs.E("front", errs.Forbidden, "Origin %.100q is not allowed; add it to allowedOrigins", origins[0])
	}
	return nil
}

func hostAllowed(host string, c *v1.Config) bool {
	name := hostname(host)
	if isLoopback(name) || slices.Contains(c.AllowedHosts, host) || slices.Contains(c.AllowedHosts, name) {
		return true
	}
	u, err := url.Parse(c.PublicURL)
	return err == nil && u.Host != "" && (strings.EqualFold(u.Host, host) || strings.EqualFold(u.Hostname(), name))
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
}

func isLoopback(name string) bool {
	if name == "localhost" || name == "127.0.0.1" {
		return true
	}
	ip := net.ParseIP(name)
	return ip != nil && ip.IsLoopback()
}

func originAllowed(origin string, c *v1.Config) bool {
	if slices.Contains(c.AllowedOrigins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return false
	}
	if isLoopback(u.Hostname()) {
		return true
	}
	p, err := url.Parse(c.PublicURL)
	return err == nil && p.Host != "" && p.Scheme == u.Scheme && strings.EqualFold(p.Host, u.Host)
}

// allowBrowser tells a browser on an allowed origin that it may read the answer.
func allowBrowser(w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", "Mcp-Session-Id, WWW-Authenticate")
	h.Add("Vary", "Origin")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "POST, DELETE")
		h.Set("Access-Control-Allow-Headers", r.Header.Get("Access-Control-Request-Headers"))
		h.Set("Access-Control-Max-Age", "600")
	}
}
