package assertion

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/go-jose/go-jose/v4"

	"github.com/toolcrib/toolcrib/seal"
)

// purpose is what the signing keys are derived for from those of the seal ring.
const purpose = "identity statements, Ed25519"

// Notary signs statements with keys that follow from the seal ring: the newest signs, and all are published, so that rotating
// the ring rotates them.
type Notary struct {
	ring func() *seal.Ring
	keys atomic.Pointer[keys]
}

// keys are those of one ring.
type keys struct {
	ring   *seal.Ring
	signer jose.Signer
	jwks   []byte
}

// New makes a notary of the ring that is given at the time.
func New(ring func() *seal.Ring) *Notary { return &Notary{ring: ring} }

// JWKS is the set of public keys (RFC 7517 section 5), as servers fetch it.
func (n *Notary) JWKS() ([]byte, error) {
	k, err := n.present()
	if err != nil {
		return nil, err
	}
	return k.jwks, nil
}

// present are the keys of the present ring.
func (n *Notary) present() (*keys, error) {
	ring := n.ring()
	if k := n.keys.Load(); k != nil && k.ring == ring {
		return k, nil
	}
	k, err := newKeys(ring)
	if err != nil {
		return nil, err
	}
	n.keys.Store(k)
	return k, nil
}

func newKeys(ring *seal.Ring) (*keys, error) {
	secrets, err := ring.Derive(purpose)
	if err != nil {
		return nil, err
	}
	k := &keys{ring: ring}
	var set jose.JSONWebKeySet
	for i, secret := range secrets {
		private := jose.JSONWebKey{Key: ed25519.NewKeyFromSeed(secret), Algorithm: string(jose.EdDSA), Use: "sig"}
		thumb, err := private.Thumbprint(hash) // RFC 7638
		if err != nil {
			return nil, fmt.Errorf("assertion: name a key: %w", err)
		}
		private.KeyID = encoding.EncodeToString(thumb[:idSize])
		set.Keys = append(set.Keys, private.Public())
		if i > 0 {
			continue
		}
		options := (&jose.SignerOptions{}).WithType("JWT")
		if k.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: private}, options); err != nil {
			return nil, fmt.Errorf("assertion: use a key: %w", err)
		}
	}
	if k.jwks, err = json.Marshal(set); err != nil {
		return nil, fmt.Errorf("assertion: %w", err)
	}
	return k, nil
}

// sign makes a JWT of claims.
func (n *Notary) sign(claims []byte) (string, error) {
	k, err := n.present()
	if err != nil {
		return "", err
	}
	signed, err := k.signer.Sign(claims)
	if err != nil {
		return "", fmt.Errorf("assertion: sign: %w", err)
	}
	return signed.CompactSerialize()
}
