package gateway

import (
	"net/url"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/identity/assertion"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/runner/pool"
	"github.com/toolcrib/toolcrib/upstream"
)

// issuerName is iss of the statements of a gateway without publicURL.
const issuerName = "toolcrib"

// JWKS are the public keys of the statements that servers are given.
func (g *Gateway) JWKS() ([]byte, error) { return g.notary.JWKS() }

// book opens the statements towards a server; nil where it is given none.
func (g *Gateway) book(s *v1.Server, name string, c *v1.Config) *assertion.Book {
	if s.Identity == nil {
		return nil
	}
	t := assertion.Terms{Assertion: *s.Identity, Issuer: c.PublicURL, HTTP: s.URL != "", Log: g.o.Log.With("server", name)}
	if t.Issuer == "" {
		t.Issuer = issuerName
	}
	if t.Audience == "" {
		t.Audience = audience(s, name)
	}
	return g.notary.Book(t)
}

// audience is the url of a server without its query, which may hold a secret; else its name.
func audience(s *v1.Server, name string) string {
	u, err := url.Parse(s.URL)
	if err != nil || s.URL == "" {
		return name
	}
	u.RawQuery, u.ForceQuery = "", false
	return u.String()
}

// bookFor opens the statements towards the instance of a key, whose audience may be its own.
func (f *family) bookFor(key pool.Key) *assertion.Book {
	s := f.plan.Spec
	if f.base.book == nil || s.Identity.Audience != "" || !strings.Contains(s.URL, "${") {
		return f.base.book
	}
	own, err := s.For(f.whoIs(key))
	if err != nil {
		return f.base.book // it does not start
	}
	return f.g.book(own, f.plan.Name, f.all.Config)
}

// statement tells a server for whom a request of a caller is; nil where it is not told.
func (m *member) statement(c caller) upstream.Statement {
	if c.principal == nil {
		return nil // on behalf of whoever watches there
	}
	var who upstream.Statement
	if m.book != nil {
		who = m.book.Of(c.principal)
	}
	if token := forwarded(m.Server, c); token != "" {
		who = &bearer{who, token}
	}
	return who
}

// forwarded is the caller's own token where a server is sent it; empty where there is none. Keys are for the gateway alone.
func forwarded(s *plan.Server, c caller) string {
	if !s.Spec.ForwardToken || c.principal.Method != identity.MethodToken && c.principal.Method != identity.MethodAnonymous {
		return ""
	}
	values := c.header["Authorization"]
	if len(values) != 1 {
		return ""
	}
	scheme, token, ok := strings.Cut(strings.TrimSpace(values[0]), " ")
	token = strings.TrimSpace(token)
	if !ok || !strings.EqualFold(scheme, "Bearer") || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return ""
	}
	return token
}

// bearer adds the caller's token to what a server is told.
type bearer struct {
	upstream.Statement
	token string
}

// AppendHeader implements upstream.Statement.
func (b *bearer) AppendHeader(dst []byte) []byte {
	if b.Statement != nil {
		dst = b.Statement.AppendHeader(dst)
	}
	return append(append(append(dst, "Authorization: Bearer "...), b.token...), "\r\n"...)
}

// AppendMeta implements upstream.Statement.
func (b *bearer) AppendMeta(dst []byte) []byte {
	if b.Statement == nil {
		return dst
	}
	return b.Statement.AppendMeta(dst)
}

// own is what the requests of nobody in particular tell a server that all callers share: that they are the gateway's.
func (m *member) own() upstream.Statement {
	if m.book == nil {
		return nil
	}
	return m.book.Nobody("")
}

// own is what the requests of nobody in particular tell the instance of a key: whose it is.
func (k *kin) own(key pool.Key) upstream.Statement {
	c, ok := callerOf(key)
	switch {
	case !ok:
		return k.member.own()
	case k.f.plan.Isolation == v1.IsolationTenant && k.book == nil:
		return nil
	case k.f.plan.Isolation == v1.IsolationTenant:
		return k.book.Nobody(key.Tenant)
	}
	return k.statement(c)
}

// callerOf is the caller that a key was first made for.
func callerOf(key pool.Key) (caller, bool) {
	switch c := key.For.(type) {
	case *identity.Principal:
		return caller{principal: c}, true
	case *caller:
		return *c, true
	}
	return caller{}, false
}
