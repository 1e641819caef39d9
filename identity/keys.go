package identity

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
)

const (
	op            = "identify"
	maxKey        = 4096
	saltSize      = 32
	defaultTenant = "default"
	remedy        = `send "Authorization: Bearer KEY" with a key that is configured under auth.apiKeys`
)

// Keys identifies callers by static API keys. It is immutable and safe for concurrent use.
type Keys struct {
	salt    [saltSize]byte
	entries map[uint64]entry // by the first bytes of the digest
	named   map[string]*Principal
}

// entry keeps the digest only: the key itself is nowhere in memory after start.
type entry struct {
	digest    [sha256.Size]byte
	principal *Principal
}

// NewKeys indexes the configured keys. Errors name the entry, never the key.
func NewKeys(configured []v1.APIKey) (*Keys, error) {
	k := &Keys{entries: make(map[uint64]entry, len(configured)), named: make(map[string]*Principal, len(configured))}
	// A salt of this process keeps the time of the look-up from telling anything about a key.
	rand.Read(k.salt[:])
	for i, c := range configured {
		p := &Principal{Subject: c.Name, Tenant: cmp.Or(c.Tenant, defaultTenant), Groups: slices.Clone(c.Groups), Method: MethodAPIKey, credentials: maps.Clone(c.Credentials)}
		p.key = keyOf(p.Tenant, p.Subject)
		if err := k.add(p, string(c.Key), k.named[p.key] != nil); err != nil {
			return nil, fmt.Errorf("auth.apiKeys[%d]: %w", i, err)
		}
		k.named[p.key] = p
	}
	return k, nil
}

func (k *Keys) add(p *Principal, secret string, taken bool) error {
	switch {
	case p.Subject == "":
		return fmt.Errorf("name is missing")
	case taken:
		return fmt.Errorf("name %q is used twice in tenant %q", p.Subject, p.Tenant)
	case secret == "":
		return fmt.Errorf("key of %q is empty", p.Subject)
	case len(secret) > maxKey || !sendable(secret):
		return fmt.Errorf("key of %q cannot be sent as a bearer token: use at most %d visible ASCII characters, no space or comma", p.Subject, maxKey)
	}
	digest := k.digest(secret)
	at := binary.LittleEndian.Uint64(digest[:])
	if other, ok := k.entries[at]; ok {
		return fmt.Errorf("key of %q is the same as that of %q", p.Subject, other.principal.Subject)
	}
	k.entries[at] = entry{digest, p}
	return nil
}

// Named is the principal of a configured key, by its tenant and subject; nil when there is none.
func (k *Keys) Named(tenant, subject string) *Principal { return k.named[keyOf(tenant, subject)] }

// Required reports whether a request needs a key.
func (k *Keys) Required() bool { return len(k.entries) > 0 }

// Identify returns the principal whose key the Authorization header carries (RFC 6750 section 2.1), or an
// errs.Unauthenticated error that says what is wrong with it. Without configured keys it is Anonymous.
func (k *Keys) Identify(h http.Header) (*Principal, error) {
	values := h["Authorization"]
	switch {
	case len(values) > 1:
		return nil, errs.E(op, errs.Unauthenticated, "%d Authorization headers; send one", len(values))
	case !k.Required():
		return Anonymous, nil
	case len(values) == 0:
		return nil, errs.E(op, errs.Unauthenticated, "no Authorization header; %s", remedy)
	}
	token, ok := bearer(values[0])
	if !ok {
		return nil, errs.E(op, errs.Unauthenticated, "the Authorization header is not a bearer token; %s", remedy)
	}
	p := k.find(token)
	if p == nil {
		return nil, errs.E(op, errs.Unauthenticated, "unknown API key; %s", remedy)
	}
	return p, nil
}

func (k *Keys) find(token string) *Principal {
	digest := k.digest(token)
	// An unknown key is compared too, with the zero digest that no key has.
	e := k.entries[binary.LittleEndian.Uint64(digest[:])]
	if subtle.ConstantTimeCompare(e.digest[:], digest[:]) != 1 {
		return nil
	}
	return e.principal
}

func (k *Keys) digest(token string) [sha256.Size]byte {
	var scratch [saltSize + 256]byte
	return sha256.Sum256(append(append(scratch[:0], k.salt[:]...), token...))
}

// bearer takes the token out of a header value. The scheme is case-insensitive (RFC 9110 section 11.1).
func bearer(value string) (string, bool) {
	scheme, token, found := strings.Cut(strings.Trim(value, " \t"), " ")
	token = strings.TrimLeft(token, " ")
	ok := found && strings.EqualFold(scheme, "bearer") && token != "" && len(token) <= maxKey && sendable(token)
	return token, ok
}

// sendable is stricter than a header value and wider than RFC 6750: visible ASCII, but no comma, which
// is how a proxy joins two headers into one.
func sendable(token string) bool {
	for i := range len(token) {
		if c := token[i]; c <= ' ' || c > '~' || c == ',' {
			return false
		}
	}
	return true
}
