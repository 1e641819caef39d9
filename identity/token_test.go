package identity_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

const resource = "https://tools.example.com/mcp"

// clock is a time that tests move.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) move(d time.Duration) { c.ahead.Add(int64(d)) }

// gate identifies callers at https://tools.example.com.
type gate struct {
	*identity.Verifier
	t     testing.TB
	a     *identity.Authenticator
	clock clock
	log   testenv.Log
}

func newGate(t testing.TB, issuers ...v1.Issuer) *gate {
	t.Helper()
	g := &gate{t: t}
	g.a = identity.New(identity.Options{Log: slog.New(slog.NewTextHandler(&g.log, nil)), Now: g.clock.now})
	t.Cleanup(g.a.Close)
	g.configure(v1.Auth{Issuers: issuers, Revocation: v1.Duration(30 * time.Second)})
	return g
}

func (g *gate) configure(auth v1.Auth) {
	g.t.Helper()
	v, err := g.a.Configure(&v1.Config{PublicURL: "https://tools.example.com", Auth: auth})
	if err != nil {
		g.t.Fatal(err)
	}
	g.Verifier = v
}

// of is an issuer in the configuration, with what is set by default.
func of(i *testenv.Issuer) v1.Issuer {
	return v1.Issuer{
		Issuer: i.URL, Algorithms: []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"}, Skew: v1.Duration(30 * time.Second),
		Claims: v1.Claims{Subject: "sub"},
	}
}

func asking(token, path string) *identity.Request {
	return &identity.Request{Header: http.Header{"Authorization": {"Bearer " + token}}, Host: "tools.example.com", Path: path}
}

func (g *gate) who(token string) (*identity.Principal, error) {
	return g.Identify(g.t.Context(), asking(token, "/mcp"))
}

// takes demands that a token is accepted.
func (g *gate) takes(token string) *identity.Principal {
	g.t.Helper()
	p, err := g.who(token)
	if err != nil {
		g.t.Fatalf("refused: %v", err)
	}
	return p
}

// refuses demands that it is not, and why; the error shows nothing of the token.
func (g *gate) refuses(what, token, want string) {
	g.t.Helper()
	p, err := g.who(token)
	if err == nil {
		g.t.Errorf("%s: accepted as %s", what, p.Key())
		return
	}
	if !strings.Contains(err.Error(), want) {
		g.t.Errorf("%s: got %v, want %q", what, err, want)
	}
	g.silent(what, token, err)
}

// silent demands that neither an error nor the log shows a part of a token.
func (g *gate) silent(what, token string, err error) {
	g.t.Helper()
	said := g.log.String()
	if err != nil {
		said += err.Error()
		said += strings.Join(g.Challenge(err, asking(token, "/mcp")), "")
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 16 && strings.Contains(said, part) {
			g.t.Errorf("%s: a part of the token was shown: %s", what, said)
		}
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"RS256", "PS256", "ES256", "ES384", "EdDSA"} {
		i := testenv.NewIssuer(t, alg, "/realms/one")
		g := newGate(t, of(i))
		p := g.takes(i.Token("alice", resource, testenv.Claims{"scope": "mcp read", "iss": i.URL}))
		if p.Subject != "alice" || p.Tenant != "default" || p.Method != identity.MethodToken || p.Client != "some-client" || len(p.Scopes) != 2 {
			t.Errorf("%s: got %+v", alg, p)
		}
		if want := "default/alice/" + strings.ReplaceAll(strings.TrimPrefix(i.URL, "http://"), "/realms/one", ""); p.Key() != want {
			t.Errorf("%s: key %q, want %q", alg, p.Key(), want)
		}
		if g.takes(i.Token("alice", "https://TOOLS.example.com:443/mcp/", nil)).Key() != p.Key() {
			t.Errorf("%s: another token of the caller makes another principal", alg)
		}
	}
}

// TestRefused: what is wrong with a token is found, and told without it.
func TestRefused(t *testing.T) {
	t.Parallel()
	i, other := testenv.NewIssuer(t, "RS256", ""), testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, of(i))
	past, future := time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
	with := func(name string, value any) string { return i.Token("alice", resource, testenv.Claims{name: value}) }
	tests := []struct{ name, token, want string }{
		{"expired", with("exp", past), "it expired at"},
		{"no exp", with("exp", nil), "it has no exp"},
		{"exp is a text", with("exp", "tomorrow"), `"exp" is not a time`},
		{"exp beyond all time", with("exp", 1e300), `"exp" is not a time`},
		{"exp negative", with("exp", -1), `"exp" is not a time`},
		{"not yet valid", with("nbf", future), "it is not valid yet"},
		{"of the future", with("iat", future), "it is not valid yet"},
		{"other audience", i.Token("alice", "https://other.example/mcp", nil), "not for https://tools.example.com/mcp"},
		{"other endpoint", i.Token("alice", "https://tools.example.com/servers/files/mcp", nil), "not for https://tools.example.com/mcp"},
		{"audience within", i.Token("alice", "https://tools.example.com/mcpx", nil), "not for"},
		{"audience with dots", i.Token("alice", "https://tools.example.com/servers/../mcp", nil), "not for"},
		{"audience with a query", i.Token("alice", resource+"?x", nil), "not for"},
		{"no audience", with("aud", nil), "not for"},
		{"audience is a number", with("aud", 5), "not for"},
		{"other issuer", other.Token("alice", resource, nil), "not one of auth.issuers"},
		{"no issuer", with("iss", nil), "not one of auth.issuers"},
		{"issuer with a slash", with("iss", i.URL+"/"), "not one of auth.issuers"},
		{"signed by another", other.Key().Sign(i.Claims("alice", resource, nil), nil), "has no key"},
		{"signed by a namesake", testenv.NewIssuerKey("first", "RS256").Sign(i.Claims("alice", resource, nil), nil), "signature is wrong"},
		{"no subject", with("sub", nil), `claim "sub" is missing`},
		{"subject of control characters", with("sub", "a\nb"), "not a name"},
		{"subject too long", with("sub", strings.Repeat("a", 300)), "not a name"},
		{"subject is a number", with("sub", 5), `"sub" is a number`},
		{"subject is a list", with("sub", []string{"alice"}), "not a text"},
		{"ID token", with("nonce", "n"), "ID token"},
		{"bound to a key", with("cnf", testenv.Claims{"jkt": "x"}), "bound to a key"},
		{"alg none", none(i.Claims("alice", resource, nil)), "no JWT that is signed with an asymmetric algorithm"},
		{"HMAC with the public key", confused(t, i, pemOf), "no JWT that is signed with an asymmetric algorithm"},
		{"HMAC with the JWK", confused(t, i, jwkOf), "no JWT that is signed with an asymmetric algorithm"},
		{"empty signature", cut(i.Token("alice", resource, nil)), "signature is wrong"},
		{"signature with bits that say nothing", varied(i.Token("alice", resource, nil)), "not in the one form of base64url"},
		{"claims changed", forged(i.Token("alice", resource, nil)), "signature is wrong"},
		{"two tokens in one", i.Token("alice", resource, nil) + "." + i.Token("bob", resource, nil), "neither a JWT nor an API key"},
		{"no token at all", "nonsense", "neither a JWT nor an API key"},
		{"dots", "..", "neither a JWT nor an API key"},
		{"huge", i.Token("alice", resource, testenv.Claims{"x": strings.Repeat("y", 20_000)}), "is too large: "},
	}
	for _, typ := range []string{"JWT", "logout+jwt", "secevent+jwt", "dpop+jwt", "id_token"} {
		c := i.Claims("alice", resource, nil)
		want := "not an access token"
		if typ == "JWT" {
			c["nonce"], want = "n", "ID token"
		}
		tests = append(tests, struct{ name, token, want string }{"typ " + typ, i.Key().Sign(c, map[string]any{"typ": typ}), want})
	}
	for _, tt := range tests {
		if tt.name == "ID token" { // of the type at+jwt it is an access token, whatever is in it
			g.takes(tt.token)
			continue
		}
		g.refuses(tt.name, tt.token, tt.want)
	}
	g.takes(i.Token("alice", resource, nil))
	if p, err := g.Identify(t.Context(), asking(i.Token("alice", "https://tools.example.com", nil), "/servers/files/mcp")); err != nil {
		t.Errorf("a token for the gateway is refused at an endpoint: %v, %v", p, err)
	}
}

func none(c testenv.Claims) string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + base64.RawURLEncoding.EncodeToString(b) + "."
}

func pemOf(k *testenv.IssuerKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Private.Public())
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func jwkOf(k *testenv.IssuerKey) []byte {
	b, err := k.JWK().MarshalJSON()
	if err != nil {
		panic(err)
	}
	return b
}

// confused is a token that is signed with the public key as a shared secret.
func confused(t *testing.T, i *testenv.Issuer, secret func(*testenv.IssuerKey) []byte) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: secret(i.Key()), KeyID: i.Key().ID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(i.Claims("alice", resource, nil))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := signed.CompactSerialize()
	return text
}

func cut(token string) string { return token[:strings.LastIndexByte(token, '.')+1] }

// varied is the token with a signature of the same bytes, written otherwise.
func varied(token string) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := len(token) - 1
	return token[:last] + string(digits[strings.IndexByte(digits, token[last])+1])
}

func forged(token string) string {
	parts := strings.Split(token, ".")
	b, _ := base64.RawURLEncoding.DecodeString(parts[1])
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(b), "alice", "admin", 1)))
	return strings.Join(parts, ".")
}

// TestAlgorithms: only those that the issuer is configured with, whatever its keys could do.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	weak := testenv.NewIssuerKey("weak", "RS256")
	i.Rotate(weak)
	c := of(i)
	c.Algorithms = []string{"ES256"}
	g := newGate(t, c)
	g.refuses("RS256", i.Token("alice", resource, nil), "not one of auth.issuers.algorithms")
	i.Rotate(testenv.NewIssuerKey("more", "ES256"))
	g.takes(i.Token("alice", resource, nil))
}

// TestExpiry: a token that is known is not known for longer than it lives.
func TestExpiry(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, of(i))
	token := i.Token("alice", resource, nil)
	p := g.takes(token)
	if g.takes(token) != p {
		t.Error("the same token is another principal")
	}
	if now, err := g.Current(p); now != p || err != nil {
		t.Errorf("current: %v, %v", now, err)
	}
	g.clock.move(time.Hour + 20*time.Second)
	g.takes(token) // within the skew
	g.clock.move(20 * time.Second)
	g.refuses("expired", token, "expired")
	if _, err := g.Current(p); errs.Of(err).Kind != errs.Unauthenticated {
		t.Errorf("current: %v", err)
	}
}

// TestRotation: a new key is found when it is first seen, and one that was withdrawn stops being good, also for known tokens.
func TestRotation(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, of(i))
	old := i.Token("alice", resource, nil)
	p := g.takes(old)
	i.Rotate(testenv.NewIssuerKey("second", "ES256"))
	g.clock.move(time.Minute)
	g.takes(i.Token("alice", resource, nil))
	g.takes(old)
	i.Withdraw()
	g.clock.move(10 * time.Minute)
	testenv.Eventually(t, "the old key is gone", func() bool {
		_, err := g.who(old)
		return err != nil
	})
	if _, err := g.Current(p); err == nil {
		t.Error("what was opened with a token of a withdrawn key stays")
	}
	g.takes(i.Token("alice", resource, nil))
}

// TestUnknownKeys: tokens that name keys which nobody has do not have the issuer asked for each.
func TestUnknownKeys(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, of(i))
	g.takes(i.Token("alice", resource, nil))
	g.clock.move(time.Minute)
	asked := i.Asked(testenv.IssuerKeys)
	stranger := testenv.NewIssuerKey("x", "ES256")
	var wg sync.WaitGroup
	for n := range 200 {
		wg.Go(func() {
			token := stranger.Sign(i.Claims("alice", resource, nil), map[string]any{"kid": strings.Repeat("k", n+1)})
			if _, err := g.who(token); err == nil {
				t.Error("accepted")
			}
		})
	}
	wg.Wait()
	if n := i.Asked(testenv.IssuerKeys) - asked; n > 2 {
		t.Errorf("keys were fetched %d times", n)
	}
}

// TestAway: while the issuer is away, what is known of it counts, and what is not known is no reason to throw a token away.
func TestAway(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, of(i))
	g.takes(i.Token("alice", resource, nil))
	i.Instead(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	g.clock.move(10 * time.Minute)
	g.takes(i.Token("bob", resource, nil))
	g.clock.move(10 * time.Hour)
	g.takes(i.Token("carol", resource, testenv.Claims{"exp": time.Now().Add(20 * time.Hour).Unix()}))

	var asked atomic.Int64
	i.Instead(func(w http.ResponseWriter, _ *http.Request) bool {
		asked.Add(1)
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	later := testenv.NewIssuerKey("later", "ES256").Sign(i.Claims("dave", resource, testenv.Claims{"exp": time.Now().Add(20 * time.Hour).Unix()}), nil)
	g.clock.move(time.Minute)
	for range 50 {
		if _, err := g.who(later); errs.Of(err).Kind != errs.Unavailable || errs.Of(err).RetryAfter == 0 || g.Challenge(err, asking("", "/mcp")) != nil {
			t.Fatalf("a key that is not known: %v, want unavailable", err)
		}
	}
	if n := asked.Load(); n > 10 {
		t.Errorf("an issuer that is away is asked %d times at once", n)
	}
	i.Instead(nil)
	g.clock.move(time.Minute)
	if _, err := g.who(later); errs.Of(err).Kind != errs.Unauthenticated || !strings.Contains(err.Error(), "has no key") {
		t.Errorf("a key that the issuer has not: %v", err)
	}

	i.Instead(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	never := newGate(t, of(i))
	_, err := never.who(i.Token("alice", resource, nil))
	if e := errs.Of(err); e.Kind != errs.Unavailable || e.RetryAfter == 0 {
		t.Errorf("got %v, want unavailable", err)
	}
	if never.Challenge(err, asking("", "/mcp")) != nil {
		t.Error("a client is told to get another token")
	}
	i.Instead(nil)
	never.clock.move(3 * time.Second)
	never.takes(i.Token("alice", resource, nil))
}

// TestHostile: whatever an issuer sends, it costs bounded time and memory, and no token is accepted for it.
func TestHostile(t *testing.T) {
	t.Parallel()
	answers := map[string]func(i *testenv.Issuer, w http.ResponseWriter, r *http.Request) bool{
		"endless":       func(_ *testenv.Issuer, w http.ResponseWriter, _ *http.Request) bool { return endless(w) },
		"no JSON":       say("<html>"),
		"other issuer":  say(`{"issuer":"https://evil.example","jwks_uri":"https://evil.example/keys"}`),
		"no keys":       keysSay(`{"keys":[]}`),
		"null":          keysSay(`null`),
		"secret keys":   keysSay(`{"keys":[{"kty":"oct","kid":"first","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlYw"}]}`),
		"nonsense keys": keysSay(`{"keys":[{"kty":"RSA","kid":"first","n":"AQAB","e":"AQAB"},{"kty":"EC"},5,null,{}]}`),
		"redirect": func(_ *testenv.Issuer, w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
			return true
		},
		"keys elsewhere, in the clear": func(i *testenv.Issuer, w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte(`{"issuer":"` + i.URL + `","jwks_uri":"http://keys.example/"}`))
			return true
		},
	}
	for name, answer := range answers {
		i := testenv.NewIssuer(t, "ES256", "")
		i.Instead(func(w http.ResponseWriter, r *http.Request) bool { return answer(i, w, r) })
		g := newGate(t, of(i))
		if _, err := g.who(i.Token("alice", resource, nil)); errs.Of(err).Kind != errs.Unavailable {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func endless(w http.ResponseWriter) bool {
	for chunk := []byte(strings.Repeat(" ", 1<<16)); ; {
		if _, err := w.Write(chunk); err != nil {
			return true
		}
	}
}

func say(text string) func(*testenv.Issuer, http.ResponseWriter, *http.Request) bool {
	return func(_ *testenv.Issuer, w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte(text))
		return true
	}
}

func keysSay(text string) func(*testenv.Issuer, http.ResponseWriter, *http.Request) bool {
	return func(i *testenv.Issuer, w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != testenv.IssuerKeys {
			return false
		}
		return say(text)(i, w, r)
	}
}

// TestSlow: a request does not wait for a slow issuer beyond its own time.
func TestSlow(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	release := make(chan struct{})
	defer close(release)
	i.Instead(func(_ http.ResponseWriter, r *http.Request) bool {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	})
	g := newGate(t, of(i))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := g.Identify(ctx, asking(i.Token("alice", resource, nil), "/mcp")); errs.Of(err).Kind != errs.Unavailable {
		t.Errorf("got %v", err)
	}
}

// TestIssuers: several at once, each with its own algorithms, claims and tenants; a namesake at another is another.
func TestIssuers(t *testing.T) {
	t.Parallel()
	one, two := testenv.NewIssuer(t, "RS256", ""), testenv.NewIssuer(t, "EdDSA", "/two")
	a, b := of(one), of(two)
	a.Name, a.Claims = "corporate", v1.Claims{
		Subject: "email", Tenant: "org.id", Groups: "groups", Roles: "realm_access.roles",
		Attributes: map[string]string{"level": "clearance.level", "site": "https://acme.example/site", "staff": "staff", "none": "absent"},
	}
	a.Tenants, a.Clients, a.Algorithms = []string{"acme", "umbra"}, []string{"cli"}, []string{"RS256"}
	b.Name, b.Tenant, b.Claims.Groups, b.Algorithms = "partners", "acme", "team", []string{"EdDSA"}
	g := newGate(t, a, b)
	claims := testenv.Claims{
		"email": "alice", "org": testenv.Claims{"id": "acme"}, "groups": []string{"x", "y"}, "realm_access": testenv.Claims{"roles": []string{"user"}},
		"clearance": testenv.Claims{"level": 3}, "https://acme.example/site": "north", "staff": true, "azp": "cli", "client_id": nil,
	}
	p := g.takes(one.Token("4711", resource, claims))
	if p.Key() != "acme/alice/corporate" || strings.Join(p.Groups, ",") != "x,y" || strings.Join(p.Roles, ",") != "user" || p.Client != "cli" {
		t.Errorf("got %+v", p)
	}
	if p.Attributes["level"] != int64(3) || p.Attributes["site"] != "north" || p.Attributes["staff"] != true || len(p.Attributes) != 3 {
		t.Errorf("attributes %v", p.Attributes)
	}
	q := g.takes(two.Token("alice", resource, testenv.Claims{"team": "z"}))
	if q.Key() != "acme/alice/partners" || strings.Join(q.Groups, ",") != "z" {
		t.Errorf("got %+v", q)
	}
	for want, change := range map[string]testenv.Claims{
		"not one of auth.issuers.tenants": {"org": testenv.Claims{"id": "other"}},
		`claim "org.id" is missing`:       {"org": nil},
		"not one of auth.issuers.clients": {"azp": "other"},
		`claim "groups" is not a list`:    {"groups": []any{"a", 5}},
		`claim "groups" is not a name`:    {"groups": "a\x00b"},
		`claim "email" is missing`:        {"email": ""},
	} {
		broken := maps.Clone(claims)
		maps.Copy(broken, change)
		g.refuses(want, one.Token("4711", resource, broken), want)
	}
	g.refuses("signed by the other", two.Key().Sign(one.Claims("alice", resource, claims), nil), "not one of auth.issuers.algorithms")
}

// TestScopes: a token without what every token needs is told what to get, by 403.
func TestScopes(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	c := of(i)
	c.Scopes = []string{"mcp"}
	g := newGate(t, c)
	token := i.Token("alice", resource, testenv.Claims{"scp": []string{"read"}})
	for range 2 {
		_, err := g.who(token)
		if errs.Of(err).Kind != errs.InsufficientScope {
			t.Fatalf("got %v", err)
		}
		got := strings.Join(g.Challenge(err, asking(token, "/mcp")), "|")
		for _, want := range []string{`error="insufficient_scope"`, `scope="mcp"`, `resource_metadata="https://tools.example.com/.well-known/oauth-protected-resource/mcp"`} {
			if !strings.Contains(got, want) {
				t.Errorf("challenge %s lacks %s", got, want)
			}
		}
	}
	g.takes(i.Token("alice", resource, testenv.Claims{"scope": "read mcp"}))
	step := identity.Lacking("write", "mcp")
	if got := strings.Join(g.Challenge(step, asking(token, "/mcp")), "|"); !strings.Contains(got, `scope="mcp write"`) {
		t.Errorf("step-up: %s", got)
	}
}

// TestRequestedScopes: clients are told what to ask for, which need not be what tokens have; who has a token is told it of that
// token's issuer, and others what all issuers know.
func TestRequestedScopes(t *testing.T) {
	t.Parallel()
	one, two := testenv.NewIssuer(t, "ES256", ""), testenv.NewIssuer(t, "EdDSA", "")
	a, b := of(one), of(two)
	a.Scopes, a.RequestScopes = []string{"mcp"}, []string{"openid", "api://tools/mcp"}
	b.Scopes = []string{"openid", "tools"}
	g := newGate(t, a, b)
	told := func(err error, token, want string) {
		t.Helper()
		if got := strings.Join(g.Challenge(err, asking(token, "/mcp")), "|"); !strings.Contains(got, ` scope="`+want+`"`) {
			t.Errorf("challenge %s, want the scopes %s", got, want)
		}
	}
	told(errs.E("x", errs.Unauthenticated, "no token"), "nonsense", "openid")
	if got := string(g.Metadata(asking("", "/mcp"))); !strings.Contains(got, `"scopes_supported":["openid"]`) {
		t.Errorf("metadata %s", got)
	}
	without, with := one.Token("alice", resource, nil), one.Token("alice", resource, testenv.Claims{"scp": "mcp"})
	_, err := g.who(without)
	told(err, without, "openid api://tools/mcp")
	g.takes(with)
	told(identity.Lacking("write"), with, "openid api://tools/mcp write")
	other := two.Token("alice", resource, testenv.Claims{"scope": "openid tools"})
	g.takes(other)
	told(identity.Lacking("write"), other, "openid tools write")
}

// TestAudience: configured values stand in place of the URL; then tokens of issuers whose tokens all look alike pass.
func TestAudience(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	c := of(i)
	c.Audience = []string{"our-client", "https://API.example.com/"}
	g := newGate(t, c)
	g.refuses("its own URL", i.Token("alice", resource, nil), "not for this gateway")
	g.takes(i.Token("alice", "our-client", nil))
	g.takes(i.Token("alice", "https://api.example.com", testenv.Claims{"aud": []string{"x", "https://api.example.com"}}))
	g.takes(i.Key().Sign(i.Claims("alice", "our-client", testenv.Claims{"nonce": "n", "at_hash": "h"}), map[string]any{"typ": nil}))
	g.refuses("Keycloak's ID token", i.Key().Sign(i.Claims("alice", "our-client", testenv.Claims{"typ": "ID"}), map[string]any{"typ": "JWT"}), "no access token")
}

// TestHostIsNoProof: without publicURL only a loopback address says which gateway it is, and only to callers on this machine, since
// anybody can send any Host.
func TestHostIsNoProof(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	v := verifier(t, v1.Auth{Issuers: []v1.Issuer{of(i)}})
	from := netip.MustParseAddrPort("127.0.0.1:1")
	local := i.Token("alice", "http://localhost:8080/mcp", nil)
	ask := func(host, aud string) error {
		r := asking(local, "/mcp")
		if aud != "http://localhost:8080/mcp" {
			r = asking(i.Token("alice", aud, nil), "/mcp")
		}
		r.Host, r.Remote = host, from
		_, err := v.Identify(t.Context(), r)
		return err
	}
	if err := ask("localhost:8080", "http://localhost:8080/mcp"); err != nil {
		t.Error(err)
	}
	if err := ask("localhost:80@evil.example", "http://localhost:80@evil.example/mcp"); err == nil {
		t.Error("a host with a user before it is taken for loopback")
	}
	from = netip.MustParseAddrPort("203.0.113.7:1")
	if err := ask("localhost:8080", "http://localhost:8080/mcp"); err == nil || !strings.Contains(err.Error(), "set publicURL") {
		t.Errorf("a token for another machine's localhost is taken from there: %v", err)
	}
	if err := ask("127.0.0.1:8080", "http://localhost:8080/mcp"); err == nil {
		t.Error("another name is the same gateway")
	}
	if err := ask("evil.example", "http://evil.example/mcp"); err == nil || !strings.Contains(err.Error(), "set publicURL") {
		t.Errorf("a token for another is taken for its Host: %v", err)
	}
}

// TestReconfigured: a token that is known counts by the configuration of now.
func TestReconfigured(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, of(i))
	token := i.Token("alice", resource, testenv.Claims{"org": "acme"})
	p := g.takes(token)
	change := func(f func(*v1.Issuer)) {
		c := of(i)
		f(&c)
		g.configure(v1.Auth{Issuers: []v1.Issuer{c}, Revocation: v1.Duration(30 * time.Second)})
	}
	change(func(*v1.Issuer) {})
	if now, err := g.Current(p); now != p || err != nil || g.takes(token) != p {
		t.Errorf("nothing changed: %v, %v", now, err)
	}
	change(func(c *v1.Issuer) { c.Skew++ })
	if now, err := g.Current(p); err != nil || now.Key() != p.Key() {
		t.Errorf("another skew: %v, %v", now, err)
	}
	change(func(c *v1.Issuer) { c.Claims.Tenant = "org" })
	if now, err := g.Current(p); err != nil || now.Tenant != "acme" || g.takes(token).Tenant != "acme" {
		t.Errorf("other claims: %v, %v", now, err)
	}
	for name, f := range map[string]func(*v1.Issuer){
		"algorithms": func(c *v1.Issuer) { c.Algorithms = []string{"RS256"} },
		"audience":   func(c *v1.Issuer) { c.Audience = []string{"other"} },
		"clients":    func(c *v1.Issuer) { c.Clients = []string{} },
		"tenants":    func(c *v1.Issuer) { c.Tenants = []string{} },
	} {
		change(f)
		if now, err := g.Current(p); err == nil {
			t.Errorf("%s: %v stays", name, now)
		}
		g.refuses(name, token, "not accepted")
	}
	g.configure(v1.Auth{Anonymous: v1.AnonymousDeny})
	if _, err := g.Current(p); err == nil {
		t.Error("the issuer is gone, its caller is not")
	}
}

// TestElsewhere: what another replica took in is served as its caller, as long as this one takes that issuer's tokens, and without
// the token.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	here, there := newGate(t, of(i)), newGate(t, of(i))
	token := i.Token("alice", resource, testenv.Claims{"scope": "a b"})
	p := there.takes(token)
	q, err := here.Decode(p.Encode())
	if err != nil || q.Key() != p.Key() || len(q.Scopes) != 2 || q.Method != p.Method || !q.Expires.Equal(p.Expires) {
		t.Fatalf("got %+v, %v", q, err)
	}
	if again, _ := here.Decode(p.Encode()); again != q {
		t.Error("the same principal is another one")
	}
	there.silent("letter", token, errs.E("x", errs.Internal, "%s", p.Encode()))
	here.clock.move(2 * time.Hour)
	if _, err := here.Decode(p.Encode()); err == nil {
		t.Error("its token has expired")
	}
	here.configure(v1.Auth{APIKeys: []v1.APIKey{{Name: "alice", Key: ciKey}}})
	here.clock.move(-2 * time.Hour)
	if _, err := here.Decode(p.Encode()); err == nil {
		t.Error("its issuer is not taken here")
	}
	if _, err := here.Decode(identity.Anonymous.Encode()); err == nil {
		t.Error("nobody in particular is not served here")
	}
	for _, bad := range []string{"", "null", "{}", `{"method":"token"}`, `{"method":"api_key","key":"default/x"}`} {
		if p, err := here.Decode([]byte(bad)); err == nil {
			t.Errorf("%q is %v", bad, p)
		}
	}
}

// TestKnownTokens: a token that was seen before costs a look-up.
func TestKnownTokens(t *testing.T) {
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, of(i))
	r, ctx := asking(i.Token("alice", resource, nil), "/mcp"), t.Context()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := g.Identify(ctx, r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Identify allocates %v times", n)
	}
}

// TestManyTokens: however many there are, what is kept of them is bounded, and what is used stays.
func TestManyTokens(t *testing.T) {
	t.Parallel()
	if n := identity.TokensKept(100_000, 16<<10); n > 2*16*1024/16 {
		t.Errorf("%d tokens of 16 KiB are kept", n)
	}
	if n := identity.TokensKept(100_000, 100); n < 10_000 || n > 2*16*1024 {
		t.Errorf("%d short tokens are kept", n)
	}
}

func BenchmarkToken(b *testing.B) {
	i := testenv.NewIssuer(b, "ES256", "")
	g := newGate(b, of(i))
	r, ctx := asking(i.Token("alice", resource, nil), "/mcp"), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Identify(ctx, r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewToken(b *testing.B) {
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		b.Run(alg, func(b *testing.B) {
			i := testenv.NewIssuer(b, alg, "")
			g := newGate(b, of(i))
			all := make([]*identity.Request, b.N)
			for n := range all {
				all[n] = asking(i.Token("alice", resource, testenv.Claims{"n": n}), "/mcp")
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := range b.N {
				if _, err := g.Identify(b.Context(), all[n]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
