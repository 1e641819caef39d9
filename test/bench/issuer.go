package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	issuerAudience = "bench"
	issuerMetadata = "/.well-known/oauth-authorization-server"
	issuerKeys     = "/keys"
)

// issuer is an authorization server that gives out tokens to the benchmark. A
// gateway asks it for its keys once.
type issuer struct {
	url    string
	key    ed25519.PrivateKey
	server *http.Server
}

func newIssuer() (*issuer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i := &issuer{url: "http://" + l.Addr().String(), key: key}
	i.server = &http.Server{Handler: i, ReadHeaderTimeout: time.Second}
	go func() { _ = i.server.Serve(l) }() // until it is closed
	return i, nil
}

func (i *issuer) close() { _ = i.server.Close() }

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var v any
	switch r.URL.Path {
	case issuerMetadata:
		v = map[string]any{
			"issuer": i.url, "jwks_uri": i.url + issuerKeys, "response_types_supported": []string{"code"},
			"authorization_endpoint": i.url + "/auth", "token_endpoint": i.url + "/token",
		}
	case issuerKeys:
		v = jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "bench", Algorithm: string(jose.EdDSA), Use: "sig"}}}
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	text, err := json.Marshal(v)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(text) // a gateway that went away asks again
}

// token gives out an access token to a subject that is in a group.
func (i *issuer) token(subject, group string) (string, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": i.url, "sub": subject, "aud": issuerAudience, "iat": now.Unix(), "exp": now.Add(12 * time.Hour).Unix(),
		"client_id": "bench", "jti": rand.Text(), "groups": []string{group, "callers"},
	})
	if err != nil {
		return "", err
	}
	o := (&jose.SignerOptions{}).WithType("at+jwt")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: i.key, KeyID: "bench"}}, o)
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// auth is the configuration of a gateway that trusts it.
func (i *issuer) auth() map[string]any {
	return map[string]any{"issuers": []any{map[string]any{
		"issuer": i.url, "audience": []string{issuerAudience}, "claims": map[string]any{"groups": "groups"},
	}}}
}

// groupOf is the group that a grant is for.
func groupOf(n int) string { return fmt.Sprint("g", n) }
