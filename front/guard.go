package front

import (
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
)

// CheckOrigin refuses requests that a browser was tricked into (DNS rebinding, cross-site requests): a Host that this
// gateway does not go by, and an Origin that is not allowed. On an address that is not loopback, Host is checked once
// publicURL or allowedHosts say what it should be; what is no host at all is refused everywhere.
func CheckOrigin(r *http.Request, c *v1.Config, loopback bool) error {
	name := hostName(r.Host)
	switch {
	case name == "" && r.Host != "":
		return errs.E("front", errs.BadRequest, "Host %.100q is not host or host:port", r.Host)
	case (loopback || c.PublicURL != "" || len(c.AllowedHosts) > 0) && !hostAllowed(r.Host, name, c):
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

// hostName is the name or address in a Host header, taken for what a client takes an authority for, so that localhost:80@example.com
// is not localhost; empty for what is not just a host, with a port or without.
func hostName(host string) string {
	if name, port, _ := strings.Cut(host, ":"); plain(name) && digits(port) {
		return name
	}
	u, err := url.Parse("//" + host)
	if err != nil || u.Host != host {
		return ""
	}
	name, literal := u.Hostname(), strings.HasPrefix(host, "[")
	if _, err := netip.ParseAddr(name); literal && err != nil || literal != strings.Contains(name, ":") {
		return ""
	}
	return name
}

// plain tells of a name that needs no parser, as most are.
func plain(name string) bool {
	return strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-'
	}) < 0
}

func digits(port string) bool {
	return strings.IndexFunc(port, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// hostAllowed tells whether a host, of which name is the name, is one that this gateway goes by.
func hostAllowed(host, name string, c *v1.Config) bool {
	if name == "" {
		return false
	}
	if v1.LoopbackHost(name) || slices.ContainsFunc(c.AllowedHosts, func(allowed string) bool {
		return strings.EqualFold(allowed, host) || strings.EqualFold(strings.Trim(allowed, "[]"), name)
	}) {
		return true
	}
	u, err := url.Parse(c.PublicURL)
	return err == nil && u.Host != "" && strings.EqualFold(u.Hostname(), name)
}

func originAllowed(origin string, c *v1.Config) bool {
	if slices.Contains(c.AllowedOrigins, origin) {
		return true
	}
	u, err := url.Parse(origin)
	if err != nil || hostName(u.Host) == "" || u.Scheme != "http" && u.Scheme != "https" || !strings.EqualFold(origin, u.Scheme+"://"+u.Host) {
		return false
	}
	if v1.LoopbackHost(u.Hostname()) {
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
