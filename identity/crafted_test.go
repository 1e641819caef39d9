package identity_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// crafted is a token with any header and any payload, signed by a key with RS256, whatever the header says.
func crafted(t *testing.T, k *testenv.IssuerKey, header map[string]any, payload string) string {
	t.Helper()
	all := map[string]any{"alg": "RS256", "typ": "at+jwt", "kid": k.ID}
	maps.Copy(all, header)
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	signed := base64.RawURLEncoding.EncodeToString(text) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(signed))
	signature, err := k.Private.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// sealed is a token that is encrypted to a key, as nobody here can read it.
func sealed(t *testing.T, k *testenv.IssuerKey, payload string) string {
	t.Helper()
	e, err := jose.NewEncrypter(jose.A128GCM, jose.Recipient{Algorithm: jose.RSA_OAEP_256, Key: k.Private.Public()}, (&jose.EncrypterOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	box, err := e.Encrypt([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := box.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestCrafted: nothing that a header says makes a token good: not what it declares critical, no key that it brings or names, no other
// algorithm; and nothing is a token but claims that are signed once.
func TestCrafted(t *testing.T) {
	t.Parallel()
	i, thief := testenv.NewIssuer(t, "RS256", ""), testenv.NewIssuerKey("first", "RS256")
	var asked atomic.Int32
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer trap.Close()
	g := newGate(t, of(i))
	text, err := json.Marshal(i.Claims("alice", resource, nil))
	if err != nil {
		t.Fatal(err)
	}
	claims := string(text)
	g.takes(crafted(t, i.Key(), nil, claims))
	own := func(header map[string]any) string { return crafted(t, i.Key(), header, claims) }
	others := func(header map[string]any) string { return crafted(t, thief, header, claims) }
	for what, token := range map[string]string{
		"critical, and unknown":        own(map[string]any{"crit": []string{"http://example.com/x"}, "http://example.com/x": true}),
		"critical, and missing":        own(map[string]any{"crit": []string{"x"}}),
		"critical, and a claim":        own(map[string]any{"crit": []string{"exp"}, "exp": 1}),
		"critical, and no list":        own(map[string]any{"crit": "exp"}),
		"payload not encoded":          own(map[string]any{"crit": []string{"b64"}, "b64": false}),
		"no algorithm":                 own(map[string]any{"alg": nil}),
		"algorithm is a list":          own(map[string]any{"alg": []string{"RS256"}}),
		"None":                         own(map[string]any{"alg": "None"}),
		"lower case":                   own(map[string]any{"alg": "rs256"}),
		"HS256":                        own(map[string]any{"alg": "HS256"}),
		"RS512 that is RS256":          own(map[string]any{"alg": "RS512"}),
		"ES256 with an RSA key":        own(map[string]any{"alg": "ES256"}),
		"brings its key":               others(map[string]any{"jwk": map[string]any{"kty": "RSA", "n": modulus(t, thief), "e": "AQAB"}}),
		"brings its key, names no key": others(map[string]any{"kid": nil, "jwk": map[string]any{"kty": "RSA", "n": modulus(t, thief), "e": "AQAB"}}),
		"names where its key is":       others(map[string]any{"jku": trap.URL, "x5u": trap.URL, "kid": trap.URL}),
		"key is a path":                others(map[string]any{"kid": "../../../../dev/null"}),
		"encrypted":                    sealed(t, i.Key(), claims),
		"encrypted, nested":            sealed(t, i.Key(), own(nil)),
		"nested":                       crafted(t, i.Key(), map[string]any{"cty": "JWT"}, own(nil)),
		"payload is a list":            crafted(t, i.Key(), nil, "["+claims+"]"),
		"two payloads":                 crafted(t, i.Key(), nil, claims+claims),
		"payload is deep":              crafted(t, i.Key(), nil, `{"x":`+strings.Repeat("[", 11_000)),
		"no payload":                   crafted(t, i.Key(), nil, ""),
	} {
		if p, err := g.who(token); err == nil {
			t.Errorf("%s: accepted as %s", what, p.Key())
		} else {
			g.silent(what, token, err)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("what a token names was asked %d times", n)
	}
}

func modulus(t *testing.T, k *testenv.IssuerKey) string {
	t.Helper()
	var jwk struct{ N string }
	if err := json.Unmarshal(jwkOf(k), &jwk); err != nil || jwk.N == "" {
		t.Fatalf("no modulus: %v", err)
	}
	return jwk.N
}

// TestManyBadTokens: nothing is kept of tokens that are no good but what is bounded, and the issuer is not asked about each.
func TestManyBadTokens(t *testing.T) { //nolint:paralleltest // it measures what is in use
	const many = 10_000
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, of(i))
	stranger := testenv.NewIssuerKey("first", "ES256")
	filler := strings.Repeat("x", 1000)
	kinds := map[string]func(n string) string{
		"by another key": func(n string) string {
			return stranger.Sign(i.Claims("alice", resource, testenv.Claims{"n": n, "x": filler}), nil)
		},
		"by an unknown key": func(n string) string {
			return stranger.Sign(i.Claims("alice", resource, testenv.Claims{"x": filler}), map[string]any{"kid": n})
		},
		"of another issuer": func(n string) string {
			return stranger.Sign(testenv.Claims{"iss": "https://idp.invalid/" + n, "x": filler}, nil)
		},
		"expired": func(n string) string {
			return i.Token("alice", resource, testenv.Claims{"n": n, "x": filler, "exp": 1000})
		},
		"no token": func(n string) string { return filler + n },
	}
	token := i.Token("alice", resource, nil)
	g.takes(token)
	asked, before := i.Asked(testenv.IssuerKeys), inUse()
	for n := range many / len(kinds) {
		for what, made := range kinds {
			if _, err := g.who(made(strconv.Itoa(n))); err == nil {
				t.Fatalf("a token %s is accepted", what)
			}
		}
	}
	if n := i.Asked(testenv.IssuerKeys) - asked; n > 10 {
		t.Errorf("keys were fetched %d times", n)
	}
	if more := inUse() - before; more > 1<<20 {
		t.Errorf("%d bytes are kept of %d tokens", more, many)
	}
	g.takes(token)
}

// inUse are the bytes on the heap that something refers to.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
