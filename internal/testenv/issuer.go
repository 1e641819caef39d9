package testenv

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Claims are those of a token.
type Claims = map[string]any

// IssuerKey is a key that an Issuer signs with.
type IssuerKey struct {
	ID      string
	Alg     jose.SignatureAlgorithm
	Private crypto.Signer
}

// NewIssuerKey makes a key for an algorithm.
func NewIssuerKey(id, alg string) *IssuerKey {
	k := &IssuerKey{ID: id, Alg: jose.SignatureAlgorithm(alg)}
	var err error
	switch alg[:2] {
	case "RS", "PS":
		k.Private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES":
		curve := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[alg]
		k.Private, err = ecdsa.GenerateKey(curve, rand.Reader)
	default:
		_, k.Private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		panic(err)
	}
	return k
}

// Issuer is an authorization server that gives out tokens to the test: its metadata, keys and introspection are those of a real
// one, its tokens what the test wants.
type Issuer struct {
	// URL is its identifier.
	URL string
	// ClientID and ClientSecret are what it is to be asked about tokens with.
	ClientID, ClientSecret string

	server  *httptest.Server
	mu      sync.Mutex
	keys    []*IssuerKey
	opaque  map[string]Claims
	ended   map[string]bool
	asked   map[string]int
	instead func(http.ResponseWriter, *http.Request) bool
}

// The paths of an Issuer, behind its URL.
const (
	IssuerKeys       = "/keys"
	IssuerIntrospect = "/introspect"
)

// NewIssuer starts an issuer with one key for an algorithm; path is that of its identifier, and may be empty.
func NewIssuer(t testing.TB, alg, path string) *Issuer {
	t.Helper()
	i := &Issuer{ //nolint:gosec // the secret is that of tests
		ClientID: "gate:way", ClientSecret: "s%cret of the gateway",
		opaque: map[string]Claims{}, ended: map[string]bool{}, asked: map[string]int{},
		keys: []*IssuerKey{NewIssuerKey("first", alg)},
	}
	i.server = httptest.NewServer(i)
	i.URL = i.server.URL + path
	t.Cleanup(i.Close)
	return i
}

// Close has the issuer be away from now on.
func (i *Issuer) Close() {
	i.server.CloseClientConnections()
	i.server.Close()
}

// Instead has requests be answered by f, when it returns true; nil for as always.
func (i *Issuer) Instead(f func(http.ResponseWriter, *http.Request) bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.instead = f
}

// Asked is how often a path was asked for.
func (i *Issuer) Asked(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked[path]
}

// Key is the key that it signs with now.
func (i *Issuer) Key() *IssuerKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[0]
}

// Rotate has it sign with another key; those before it stay known.
func (i *Issuer) Rotate(k *IssuerKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = slices.Insert(i.keys, 0, k)
}

// Withdraw has it know only the key that it signs with now.
func (i *Issuer) Withdraw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = i.keys[:1]
}

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(i.URL, i.server.URL)
	i.mu.Lock()
	i.asked[strings.TrimPrefix(r.URL.Path, path)]++
	instead := i.instead
	i.mu.Unlock()
	if instead != nil && instead(w, r) {
		return
	}
	switch r.URL.Path {
	case "/.well-known/oauth-authorization-server" + path:
		i.write(w, Claims{
			"issuer": i.URL, "jwks_uri": i.URL + IssuerKeys, "introspection_endpoint": i.URL + IssuerIntrospect,
			"authorization_endpoint": i.URL + "/auth", "token_endpoint": i.URL + "/token", "response_types_supported": []string{"code"},
		})
	case path + IssuerKeys:
		i.mu.Lock()
		defer i.mu.Unlock()
		var set jose.JSONWebKeySet
		for _, k := range i.keys {
			set.Keys = append(set.Keys, k.JWK())
		}
		i.write(w, set)
	case path + IssuerIntrospect:
		i.introspect(w, r)
	default:
		http.NotFound(w, r)
	}
}

// JWK is the public key.
func (k *IssuerKey) JWK() jose.JSONWebKey {
	return jose.JSONWebKey{Key: k.Private.Public(), KeyID: k.ID, Algorithm: string(k.Alg), Use: "sig"}
}

func (i *Issuer) write(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err)
	}
}

// introspect answers as RFC 7662 has it.
func (i *Issuer) introspect(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	if id != url.QueryEscape(i.ClientID) || secret != url.QueryEscape(i.ClientSecret) { // as RFC 6749, section 2.3.1, has it
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	token := r.PostFormValue("token")
	i.mu.Lock()
	defer i.mu.Unlock()
	c, ok := i.opaque[token]
	if i.ended[token] || !ok && strings.Count(token, ".") != 2 {
		i.write(w, Claims{"active": false})
		return
	}
	answer := Claims{"active": true, "token_type": "Bearer"}
	maps.Copy(answer, c)
	i.write(w, answer)
}

// Opaque gives out a token that only the issuer can read, or changes what it says of one.
func (i *Issuer) Opaque(token string, c Claims) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.opaque[token] = c
	return token
}

// End has the issuer say that a token is not good any more.
func (i *Issuer) End(token string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.ended[token] = true
}

// Claims are those of an access token of a subject for a resource, with more, which replaces what is there; nil leaves out.
func (i *Issuer) Claims(subject, resource string, more Claims) Claims {
	now := time.Now()
	c := Claims{
		"iss": i.URL, "sub": subject, "aud": resource, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"client_id": "some-client", "jti": rand.Text(),
	}
	for name, value := range more {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	return c
}

// Token gives out an access token.
func (i *Issuer) Token(subject, resource string, more Claims) string {
	return i.Key().Sign(i.Claims(subject, resource, more), nil)
}

// Sign signs claims; header replaces what is in the header of an access token, nil leaves out.
func (k *IssuerKey) Sign(c Claims, header map[string]any) string {
	o := (&jose.SignerOptions{}).WithType("at+jwt")
	key := jose.SigningKey{Algorithm: k.Alg, Key: jose.JSONWebKey{Key: k.Private, KeyID: k.ID}}
	for name, value := range header {
		switch {
		case name == "kid" && value == nil:
			key.Key = k.Private
		case name == "kid":
			key.Key = jose.JSONWebKey{Key: k.Private, KeyID: fmt.Sprint(value)}
		case value == nil:
			delete(o.ExtraHeaders, jose.HeaderKey(name))
		default:
			o.WithHeader(jose.HeaderKey(name), value)
		}
	}
	s, err := jose.NewSigner(key, o)
	if err != nil {
		panic(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		panic(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return text
}

// Entry is the issuer in auth.issuers, with more keys.
func (i *Issuer) Entry(more map[string]any) map[string]any {
	e := map[string]any{"issuer": i.URL}
	maps.Copy(e, more)
	return e
}
