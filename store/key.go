package store

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"strings"
	"time"
)

// KeyPrefix is how every managed key begins: tck_ID_SECRET.
const KeyPrefix = "tck_"

const (
	idBytes     = 10 // 80 bits: no two keys have the same id
	secretBytes = 32
)

// letters are those of ids and secrets: lower case, so that a key survives what people do to it.
var letters = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Digest is the SHA-256 of a whole key, as it is sent. Keys have 256 random bits, so that a slow hash would add nothing.
type Digest [sha256.Size]byte

// DigestOf is the digest of a key.
func DigestOf(token string) Digest { return sha256.Sum256([]byte(token)) }

// Key is a managed key and the principal that it stands for. It is not changed after it was handed out.
type Key struct {
	// ID tells the key from all others, also from those that are gone. It is no secret.
	ID string
	// Name is the subject of the principal, unique in its tenant among the keys that are not revoked.
	Name string
	// Tenant is the tenant of the principal.
	Tenant string
	// Groups, Roles, Scopes and Attributes are those of the principal.
	Groups, Roles, Scopes []string
	Attributes            map[string]string

	// Digest is what is known of the secret.
	Digest Digest
	// Previous is the digest of the secret before it, which is as good until PreviousUntil; zero where there is none.
	Previous      Digest
	PreviousUntil time.Time

	// Created is when it was made, and Creator who made it: the key of a principal, or what the gateway calls itself.
	Created time.Time
	Creator string
	// Rotated is when it got its present secret, Expires when it ends, and Revoked when it was revoked: zero for never.
	Rotated, Expires, Revoked time.Time
	// Used is when it was last seen, to about a minute; zero for never.
	Used time.Time
}

// Good reports whether a secret with this digest opens the key now: it is the present one, or the previous one in its time, and
// the key is neither expired nor revoked.
func (k *Key) Good(d Digest, now time.Time) bool {
	present := subtle.ConstantTimeCompare(k.Digest[:], d[:]) == 1
	previous := subtle.ConstantTimeCompare(k.Previous[:], d[:]) == 1 && k.Previous != Digest{} && now.Before(k.PreviousUntil)
	return (present || previous) && k.Live(now)
}

// Live reports whether the key is neither expired nor revoked.
func (k *Key) Live(now time.Time) bool {
	return k.Revoked.IsZero() && (k.Expires.IsZero() || now.Before(k.Expires))
}

// Ends is when a secret with this digest stops being good; zero when that is not known yet.
func (k *Key) Ends(d Digest) time.Time {
	if d == k.Digest || k.PreviousUntil.IsZero() || (!k.Expires.IsZero() && k.Expires.Before(k.PreviousUntil)) {
		return k.Expires
	}
	return k.PreviousUntil
}

// NewID makes the id of a key.
func NewID() string { return random(idBytes) }

// NewToken makes a key for an id: what its owner is shown once.
func NewToken(id string) string { return KeyPrefix + id + "_" + random(secretBytes) }

func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return letters.EncodeToString(b)
}

// IDOf is the id in a token that has the form of a managed key, which says nothing of whether there is such a key.
func IDOf(token string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(token, KeyPrefix)
	if !ok {
		return "", false
	}
	id, secret, ok := strings.Cut(rest, "_")
	if !ok || !isLetters(id, idBytes) || !isLetters(secret, secretBytes) {
		return "", false
	}
	return id, true
}

func isLetters(s string, n int) bool {
	if len(s) != letters.EncodedLen(n) {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '2' || c > '7') {
			return false
		}
	}
	return true
}
