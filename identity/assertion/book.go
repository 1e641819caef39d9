package assertion

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
)

const (
	hash   = crypto.SHA256
	idSize = 9 // bytes of a key's thumbprint that name it

	// mostKept bounds the statements that are kept towards one server.
	mostKept = 4096
	// backdated is how much older than it is a statement says to be, for clocks that differ.
	backdated = 5 * time.Second
)

var encoding = base64.RawURLEncoding

// Terms are what is the same for all statements towards one server.
type Terms struct {
	v1.Assertion
	// Issuer is iss: the URL of the gateway, under which its keys are.
	Issuer string
	// HTTP tells whether the server is sent headers.
	HTTP bool
	Log  *slog.Logger
	// Now is the clock; time.Now when nil.
	Now func() time.Time
}

// Book makes and keeps the statements towards one server. It is safe for concurrent use.
type Book struct {
	n *Notary
	t Terms

	mu     sync.RWMutex
	of     map[*identity.Principal]*Statement
	claims map[string]*Statement // the same, by what they say
}

// Book opens one. The audience is not empty.
func (n *Notary) Book(t Terms) *Book {
	if t.Now == nil {
		t.Now = time.Now
	}
	return &Book{n: n, t: t, of: map[*identity.Principal]*Statement{}, claims: map[string]*Statement{}}
}

// Of is the statement of a principal. That of a known one is a lookup.
func (b *Book) Of(p *identity.Principal) *Statement {
	b.mu.RLock()
	s := b.of[p]
	b.mu.RUnlock()
	if s != nil {
		return s
	}
	said := b.say(p)
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.of) >= mostKept {
		clear(b.of)
		clear(b.claims)
	}
	if s = b.claims[said]; s == nil {
		s = &Statement{b: b, said: said}
		b.claims[said] = s
	}
	b.of[p] = s
	return s
}

// Nobody is the statement of the gateway itself, at an instance of a tenant unless that is empty.
func (b *Book) Nobody(tenant string) *Statement {
	return &Statement{b: b, said: b.write(claims{Tenant: tenant})}
}

// claims are what a statement says, but for its times.
type claims struct {
	Issuer     string         `json:"iss"`
	Audience   string         `json:"aud"`
	Subject    string         `json:"sub,omitempty"`
	Tenant     string         `json:"tenant,omitempty"`
	Principal  string         `json:"principal,omitempty"`
	Groups     []string       `json:"groups,omitzero"`
	Roles      []string       `json:"roles,omitzero"`
	Attributes map[string]any `json:"attributes,omitzero"`
	Client     string         `json:"client,omitempty"`
	Origin     string         `json:"issuer,omitempty"`
}

func (b *Book) say(p *identity.Principal) string {
	c := claims{Subject: p.Subject, Tenant: p.Tenant, Principal: p.Key()}
	if b.tells("groups") {
		c.Groups = append([]string{}, p.Groups...)
	}
	if b.tells("roles") {
		c.Roles = append([]string{}, p.Roles...)
	}
	if b.tells("attributes") {
		c.Attributes = p.Attributes
	}
	if b.tells("client") {
		c.Client = p.Client
	}
	if b.tells("issuer") {
		c.Origin = p.Issuer
	}
	return b.write(c)
}

func (b *Book) tells(claim string) bool { return slices.Contains(b.t.Claims, claim) }

// write writes claims as an object that lacks its end.
func (b *Book) write(c claims) string {
	c.Issuer, c.Audience = b.t.Issuer, b.t.Audience
	text, err := json.Marshal(c)
	if err != nil { // of an attribute that no JSON was read into
		b.t.Log.Warn("attributes left out of a statement", "error", err)
		c.Attributes = nil
		return b.write(c)
	}
	return string(text[:len(text)-1])
}

// Statement says for whom requests are. It is safe for concurrent use.
type Statement struct {
	b    *Book
	said string

	signing sync.Mutex
	last    atomic.Pointer[signed]
}

// signed is a statement as it is sent.
type signed struct {
	header, meta []byte
	keys         *keys
	renew        time.Time
}

// AppendHeader appends the line of the header that carries the statement.
func (s *Statement) AppendHeader(dst []byte) []byte {
	if !s.b.t.HTTP {
		return dst
	}
	return append(dst, s.present().header...)
}

// AppendMeta appends the member of params._meta that carries the statement, with a comma behind; nothing where none does.
func (s *Statement) AppendMeta(dst []byte) []byte {
	if !s.b.t.Meta {
		return dst
	}
	return append(dst, s.present().meta...)
}

// none is sent where nothing can be signed: the server then knows nobody.
var none signed

// present is the statement as it is sent now: it holds for at least half of the time that statements do.
func (s *Statement) present() *signed {
	now := s.b.t.Now()
	if last := s.last.Load(); s.good(last, now) {
		return last
	}
	s.signing.Lock()
	defer s.signing.Unlock()
	if last := s.last.Load(); s.good(last, now) {
		return last // another one was faster
	}
	next, err := s.sign(now)
	if err != nil {
		s.b.t.Log.Error("a request goes to its server without saying for whom it is", "error", err)
		return &none
	}
	s.last.Store(next)
	return next
}

func (s *Statement) good(last *signed, now time.Time) bool {
	return last != nil && now.Before(last.renew) && s.b.n.keys.Load() == last.keys && last.keys.ring == s.b.n.ring()
}

func (s *Statement) sign(now time.Time) (*signed, error) {
	t := &s.b.t
	ttl := time.Duration(t.TTL)
	b := append([]byte(s.said), `,"iat":`...)
	b = strconv.AppendInt(b, now.Add(-min(backdated, ttl)).Unix(), 10)
	b = strconv.AppendInt(append(b, `,"exp":`...), now.Add(ttl).Unix()+1, 10)
	jwt, err := s.b.n.sign(append(b, '}'))
	if err != nil {
		return nil, err
	}
	return &signed{
		header: []byte(t.Header + ": " + jwt + "\r\n"), meta: []byte(`"` + mcp.MetaIdentity.String() + `":"` + jwt + `",`),
		keys: s.b.n.keys.Load(), renew: now.Add(ttl / 2),
	}, nil
}
