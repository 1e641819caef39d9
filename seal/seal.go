// Package seal makes and opens tokens that only this installation can make: session ids, cursors, task
// ids, request state. A token carries its payload, so that any replica with the same keys can open it and
// none has to remember it.
//
//	version 1 | key id 4 | expiry 6 | nonce 24 | ciphertext and tag (XChaCha20-Poly1305)
//
// in unpadded base64url, which is safe in headers, URLs and JSON. Kind and binding are associated data: a
// token of one kind, or made for one principal and server, does not open as another. No key is derived
// per request; the random 24-byte nonce needs no counter shared between replicas.
package seal

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	// KeySize is the length of a key in bytes.
	KeySize = chacha20poly1305.KeySize
	// MaxToken is the length in characters over which Open does not look at a token.
	MaxToken = 64 << 10
	// MaxPayload is the largest payload in bytes whose token still opens.
	MaxPayload = MaxToken/4*3 - overhead

	version    = 1
	idSize     = 4
	expirySize = 6 // Unix milliseconds, big endian: good for 8,900 years
	headerSize = 1 + idSize + expirySize
	nonceSize  = chacha20poly1305.NonceSizeX
	overhead   = headerSize + nonceSize + chacha20poly1305.Overhead
)

var (
	// ErrInvalid is a token that was forged or changed, made under a key that is not in the ring, or for
	// another kind or binding. It does not say which.
	ErrInvalid = errors.New("token is not valid")
	// ErrExpired is a genuine token whose time is over.
	ErrExpired = errors.New("token has expired")
)

var encoding = base64.RawURLEncoding.Strict()

// Ring is a set of keys: the newest seals, all of them open. It is immutable and safe for concurrent use.
type Ring struct {
	keys []key
}

type key struct {
	id   [idSize]byte
	aead cipher.AEAD
	raw  [KeySize]byte
}

// NewRing makes a ring from 32-byte keys, newest first.
func NewRing(keys ...[]byte) (*Ring, error) {
	if len(keys) == 0 {
		return nil, errors.New("seal: no key; give at least one of 32 random bytes")
	}
	r := &Ring{keys: make([]key, 0, len(keys))}
	for i, raw := range keys {
		k, err := newKey(raw)
		if err != nil {
			return nil, fmt.Errorf("seal: key %d: %w", i+1, err)
		}
		if r.find(k.id[:]) != nil {
			return nil, fmt.Errorf("seal: key %d is in the ring twice; remove one", i+1)
		}
		r.keys = append(r.keys, k)
	}
	return r, nil
}

func newKey(raw []byte) (key, error) {
	if len(raw) == KeySize && weak(raw) {
		return key{}, errors.New("not random; make one with `openssl rand -base64 32`")
	}
	aead, err := chacha20poly1305.NewX(raw)
	if err != nil {
		return key{}, fmt.Errorf("%d bytes long, must be %d", len(raw), KeySize)
	}
	sum := sha256.Sum256(append([]byte("toolcrib seal key id\x00"), raw...))
	return key{id: [idSize]byte(sum[:]), aead: aead, raw: [KeySize]byte(raw)}, nil
}

// weak tells placeholders such as all zeros from random bytes, of which 32 practically never share so few values.
func weak(raw []byte) bool {
	var seen [256]bool
	distinct := 0
	for _, b := range raw {
		if !seen[b] {
			seen[b] = true
			distinct++
		}
	}
	return distinct < 8
}

// Newest names the key that seals now. The name tells nothing of the key, and is in all that it seals.
func (r *Ring) Newest() string { return hex.EncodeToString(r.keys[0].id[:]) }

// Derive returns a secret of 32 bytes for another purpose from each key, newest first (HKDF-SHA256, RFC 5869): replicas with the
// same keys have the same, and it changes with them. It is not for the hot path.
func (r *Ring) Derive(purpose string) ([][]byte, error) {
	all := make([][]byte, 0, len(r.keys))
	for i := range r.keys {
		secret, err := hkdf.Key(sha256.New, r.keys[i].raw[:], nil, "toolcrib "+purpose, KeySize)
		if err != nil {
			return nil, fmt.Errorf("seal: derive a key: %w", err)
		}
		all = append(all, secret)
	}
	return all, nil
}

// fingerprintSize is long enough that two keys practically never share one.
const fingerprintSize = 8

// Fingerprints tell keys from others without telling anything of them, newest first: a keyed hash of each.
func (r *Ring) Fingerprints() []string {
	all := make([]string, len(r.keys))
	for i := range r.keys {
		h := hmac.New(sha256.New, r.keys[i].raw[:])
		h.Write([]byte("toolcrib fingerprint"))
		all[i] = hex.EncodeToString(h.Sum(nil)[:fingerprintSize])
	}
	return all
}

func (r *Ring) find(id []byte) cipher.AEAD {
	for i := range r.keys {
		if bytes.Equal(r.keys[i].id[:], id) {
			return r.keys[i].aead
		}
	}
	return nil
}

// Seal makes a token that Open turns back into payload, under the same kind and binding, until ttl is
// over. A ttl of zero or less makes a token that has expired already. A payload over MaxPayload makes one
// that does not open.
func (r *Ring) Seal(kind string, binding, payload []byte, ttl time.Duration) string {
	return encoding.EncodeToString(r.SealBytes(kind, binding, payload, ttl))
}

// SealBytes is Seal without the base64, for what does not travel as text, and of any length.
func (r *Ring) SealBytes(kind string, binding, payload []byte, ttl time.Duration) []byte {
	k := &r.keys[0]
	raw := make([]byte, headerSize+nonceSize, overhead+len(payload))
	raw[0] = version
	copy(raw[1:], k.id[:])
	putExpiry(raw[1+idSize:], time.Now().Add(ttl))
	nonce := raw[headerSize:]
	rand.Read(nonce) // never fails: crypto/rand ends the program instead

	var scratch [128]byte
	return k.aead.Seal(raw, nonce, payload, associated(scratch[:0], raw[:headerSize], kind, binding))
}

// Open returns the payload of a token that Seal made under the same kind and binding. The error is
// ErrInvalid or, for a genuine token that is no longer good at now, ErrExpired.
func (r *Ring) Open(kind string, binding []byte, token string, now time.Time) ([]byte, error) {
	// The decoder skips line breaks, which would give one token many spellings.
	if len(token) > MaxToken || strings.ContainsAny(token, "\r\n") {
		return nil, ErrInvalid
	}
	raw, err := encoding.DecodeString(token)
	if err != nil {
		return nil, ErrInvalid
	}
	return r.OpenBytes(kind, binding, raw, now)
}

// OpenBytes is Open for what SealBytes made. The payload is decrypted in place: it lies within raw, which is spent.
func (r *Ring) OpenBytes(kind string, binding, raw []byte, now time.Time) ([]byte, error) {
	if len(raw) < overhead || raw[0] != version {
		return nil, ErrInvalid
	}
	header, nonce, sealed := raw[:headerSize], raw[headerSize:headerSize+nonceSize], raw[headerSize+nonceSize:]
	aead := r.find(header[1 : 1+idSize])
	if aead == nil {
		return nil, ErrInvalid
	}
	var scratch [128]byte
	payload, err := aead.Open(sealed[:0], nonce, sealed, associated(scratch[:0], header, kind, binding))
	if err != nil {
		return nil, ErrInvalid
	}
	if expiry(header[1+idSize:]) <= now.UnixMilli() {
		return nil, ErrExpired
	}
	return payload, nil
}

// associated joins what a token is tied to; the length keeps kind and binding apart.
func associated(dst, header []byte, kind string, binding []byte) []byte {
	dst = append(dst, header...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(len(kind)))
	dst = append(dst, kind...)
	return append(dst, binding...)
}

const maxExpiry = 1<<(8*expirySize) - 1

func putExpiry(dst []byte, at time.Time) {
	ms := min(max(at.UnixMilli(), 0), maxExpiry)
	var wide [8]byte
	binary.BigEndian.PutUint64(wide[:], uint64(ms))
	copy(dst, wide[8-expirySize:])
}

func expiry(src []byte) int64 {
	var wide [8]byte
	copy(wide[8-expirySize:], src)
	return int64(min(binary.BigEndian.Uint64(wide[:]), math.MaxInt64))
}
