package identity

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

const maxKey = 4096

// digest is the SHA-256 of a credential: all that is kept of it. Keys are random, so that a slow hash would add nothing, and
// the maps of this process hash digests with a seed of their own, so that the time of a look-up tells nothing of a key.
type digest = [sha256.Size]byte

// digestOf is the digest of a credential, most often without anything on the heap.
func digestOf(token string) digest {
	var scratch [512]byte
	return sha256.Sum256(append(scratch[:0], token...))
}

// keys are the static keys of a configuration.
type keys struct {
	entries map[digest]*Principal
	named   map[string]*Principal // by Key()
}

// newKeys indexes the configured keys. Errors name the entry, never the key.
func newKeys(configured []v1.APIKey) (*keys, error) {
	k := &keys{entries: make(map[digest]*Principal, len(configured)), named: make(map[string]*Principal, len(configured))}
	for i := range configured {
		if err := k.add(&configured[i]); err != nil {
			return nil, fmt.Errorf("auth.apiKeys[%d]: %w", i, err)
		}
	}
	return k, nil
}

func (k *keys) add(c *v1.APIKey) error {
	p, err := keyPrincipal(c)
	if err != nil {
		return err
	}
	if k.named[p.key] != nil {
		return fmt.Errorf("name %q is used twice in tenant %q", p.Subject, p.Tenant)
	}
	k.named[p.key] = p
	if err := k.enter(p, "key", string(c.Key)); err != nil || c.Previous == "" {
		return err
	}
	before := *p
	until, err := timeOf("previousUntil", c.PreviousUntil)
	switch {
	case err != nil:
		return err
	case until.IsZero():
		return fmt.Errorf("previousUntil of %q is missing: say when the previous key ends", p.Subject)
	case p.Expires.IsZero() || until.Before(p.Expires):
		before.Expires = ending(until)
	}
	return k.enter(&before, "previous", string(c.Previous))
}

// keyPrincipal is the principal that a key stands for.
func keyPrincipal(c *v1.APIKey) (*Principal, error) {
	if c.Name == "" {
		return nil, fmt.Errorf("name is missing")
	}
	expires, err := timeOf("expires", c.Expires)
	if err != nil {
		return nil, err
	}
	p := &Principal{
		Subject: c.Name, Tenant: cmp.Or(c.Tenant, defaultTenant), Groups: slices.Clone(c.Groups), Roles: slices.Clone(c.Roles),
		Scopes: slices.Clone(c.Scopes), Method: MethodAPIKey, Expires: ending(expires), credentials: maps.Clone(c.Credentials),
	}
	for name, value := range c.Attributes {
		p.attribute(name, value)
	}
	p.key = keyOf(p.Tenant, p.Subject)
	return p, nil
}

func timeOf(key, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%s %.40q is not a time; write it as 2026-12-31T00:00:00Z", key, text)
	}
	return at, nil
}

// enter has a secret, or its hash, stand for a principal.
func (k *keys) enter(p *Principal, what, secret string) error {
	if secret == "" {
		return fmt.Errorf("%s of %q is empty", what, p.Subject)
	}
	d, hashed := hashOf(secret)
	if !hashed {
		if len(secret) > maxKey || !sendable(secret) {
			return fmt.Errorf("%s of %q cannot be sent as a bearer token: use at most %d visible ASCII characters, no space or comma", what, p.Subject, maxKey)
		}
		d = digestOf(secret)
	}
	if other := k.entries[d]; other != nil {
		return fmt.Errorf("%s of %q is the same as that of %q", what, p.Subject, other.Subject)
	}
	p.key, p.proof = keyOf(p.Tenant, p.Subject), &proof{digest: d}
	k.entries[d] = p
	return nil
}

// hashOf reads the hash of a key: sha256:HEX.
func hashOf(secret string) (d digest, ok bool) {
	text, ok := strings.CutPrefix(secret, "sha256:")
	if !ok || len(text) != 2*len(d) {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(text))
	return d, err == nil
}

func (k *keys) any() bool { return len(k.entries) > 0 }

// find is the principal of a key that is good now.
func (k *keys) find(d digest, now time.Time) *Principal {
	p := k.entries[d]
	if p == nil || subtle.ConstantTimeCompare(p.proof.digest[:], d[:]) != 1 || p.over(now) {
		return nil
	}
	return p
}
