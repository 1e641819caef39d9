package identity_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/store"
)

// TestKeysInTime: hashes stand for keys, keys end, and the one before is good in its time.
func TestKeysInTime(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	sum := sha256.Sum256([]byte(ciKey))
	soon := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	key := v1.APIKey{
		Name: "ci", Key: v1.Secret("sha256:" + hex.EncodeToString(sum[:])), Previous: ownKey, PreviousUntil: soon, Roles: []string{"user"},
		Scopes: []string{"read"}, Attributes: map[string]string{"team": "blue"},
	}
	g.configure(v1.Auth{APIKeys: []v1.APIKey{key}})
	p, before := g.takes(ciKey), g.takes(ownKey)
	if p.Key() != before.Key() || p.Roles[0] != "user" || p.Scopes[0] != "read" || p.Attributes["team"] != "blue" || !p.Expires.IsZero() {
		t.Errorf("got %+v and %+v", p, before)
	}
	g.refuses("the hash itself", string(key.Key), "unknown API key")
	g.clock.move(2 * time.Hour)
	g.takes(ciKey)
	g.refuses("previous", ownKey, "unknown API key")
	if _, err := g.Current(before); err == nil {
		t.Error("what was opened with the previous key stays")
	}
	key.Expires = soon
	g.configure(v1.Auth{APIKeys: []v1.APIKey{key}})
	g.refuses("expired", ciKey, "unknown API key")
	if _, err := g.Current(p); errs.Of(err).Kind != errs.Unauthenticated {
		t.Errorf("current: %v", err)
	}
	key.Expires, key.Groups = "", []string{"new"}
	g.configure(v1.Auth{APIKeys: []v1.APIKey{key}})
	if now, err := g.Current(p); err != nil || now == p || len(now.Groups) != 1 {
		t.Errorf("current: %+v, %v", now, err)
	}
}

// shelf is a store of keys in memory.
type shelf struct {
	mu       sync.Mutex
	revision int64
	keys     map[string]*store.Key
	used     map[string]time.Time
	read     int
	broken   bool
}

func (s *shelf) put(k store.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	s.keys[k.ID] = &k
}

func (s *shelf) KeysRevision(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.read++
	if s.broken {
		return 0, errors.New("broken")
	}
	return s.revision, nil
}

func (s *shelf) Keys(context.Context) ([]*store.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*store.Key
	for _, k := range s.keys {
		if k.Revoked.IsZero() {
			all = append(all, k)
		}
	}
	return all, nil
}

func (s *shelf) Key(_ context.Context, id string) (*store.Key, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.keys[id]; k != nil {
		return k, nil
	}
	return nil, store.ErrNotFound
}

func (s *shelf) KeysUsed(_ context.Context, at map[string]time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.used, at)
	return nil
}

// TestManagedKeys: keys of the store count as soon as they are there, and no longer than they are.
func TestManagedKeys(t *testing.T) {
	t.Parallel()
	s := &shelf{keys: map[string]*store.Key{}, used: map[string]time.Time{}}
	a := identity.New(identity.Options{Keys: s})
	g := &gate{t: t, a: a}
	g.configure(v1.Auth{APIKeys: []v1.APIKey{{Name: "ci", Key: ciKey, Tenant: "acme"}}, Revocation: v1.Duration(time.Second)})
	id := store.NewID()
	token := store.NewToken(id)
	g.refuses("not made yet", token, "unknown, expired or revoked")
	key := store.Key{ID: id, Name: "ci", Tenant: "acme", Groups: []string{"x"}, Digest: store.DigestOf(token)}
	s.put(key)
	p := g.takes(token)
	if p.Key() == g.takes(ciKey).Key() || p.Tenant != "acme" || p.Subject != "ci" || p.Method != identity.MethodAPIKey {
		t.Errorf("got %+v", p)
	}
	g.refuses("another secret of the key", store.NewToken(id), "unknown, expired or revoked")
	if now, err := g.Decode(p.Encode()); err != nil || now != p {
		t.Errorf("at another replica: %v, %v", now, err)
	}
	key.Groups = []string{"y"}
	s.put(key)
	if err := a.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, err := g.Current(p); err != nil || now == p || now.Groups[0] != "y" {
		t.Errorf("current: %+v, %v", now, err)
	}
	key.Revoked = time.Now()
	s.put(key)
	if err := a.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.refuses("revoked", token, "unknown, expired or revoked")
	if _, err := g.Current(p); err == nil {
		t.Error("what was opened with a revoked key stays")
	}
	if _, err := g.Decode(p.Encode()); err == nil {
		t.Error("another replica serves a revoked key")
	}
	open := &gate{t: t, a: a}
	open.configure(v1.Auth{})
	open.refuses("where nobody needs a key", token, "unknown, expired or revoked")
	a.Close()
	if s.used[id].IsZero() {
		t.Error("when it was used is not kept")
	}
}

// TestManyStrangers: unknown keys do not wear out the store.
func TestManyStrangers(t *testing.T) {
	t.Parallel()
	s := &shelf{keys: map[string]*store.Key{}, used: map[string]time.Time{}}
	g := &gate{t: t, a: identity.New(identity.Options{Keys: s})}
	defer g.a.Close()
	g.configure(v1.Auth{Anonymous: v1.AnonymousDeny, Revocation: v1.Duration(time.Hour)})
	began := time.Now()
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() { g.refuses("unknown", store.NewToken(store.NewID()), "unknown") })
	}
	wg.Wait()
	if most := int(time.Since(began)/(200*time.Millisecond)) + 5; s.read > most {
		t.Errorf("read %d times, at most %d are due", s.read, most)
	}
}

// authority signs certificates.
type authority struct {
	ca   tls.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.ca = testenv.Certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil)
	a.pool.AddCert(a.ca.Leaf)
	return a
}

// shows is a request on a connection with the certificate.
func (a *authority) shows(t testing.TB, c *x509.Certificate) *identity.Request {
	t.Helper()
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	made := testenv.Certificate(t, c, &a.ca).Leaf
	state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{made}, VerifiedChains: [][]*x509.Certificate{{made, a.ca.Leaf}}}
	return &identity.Request{Header: http.Header{}, Host: "tools.example.com", Path: "/mcp", TLS: state}
}

func TestCertificates(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	g := newGate(t)
	g.configure(v1.Auth{
		ClientCertificates: &v1.ClientCertificates{Subject: "cn", Tenant: "default", TenantFrom: "o", GroupsFrom: "ou"},
		APIKeys:            []v1.APIKey{{Name: "alice", Key: ciKey, Tenant: "acme"}},
	})
	g.a.TrustClients(ca.pool)
	name := pkix.Name{CommonName: "alice", Organization: []string{"acme"}, OrganizationalUnit: []string{"ops", "dev"}}
	r := ca.shows(t, &x509.Certificate{Subject: name})
	p, err := g.Identify(t.Context(), r)
	if err != nil || p.Subject != "alice" || p.Tenant != "acme" || len(p.Groups) != 2 || p.Method != identity.MethodCertificate {
		t.Fatalf("got %+v, %v", p, err)
	}
	if p.Key() == g.takes(ciKey).Key() {
		t.Error("a key of the same name is the same principal")
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = g.Identify(context.Background(), r) }); n != 0 {
		t.Errorf("a known certificate allocates %v times", n)
	}
	for want, c := range map[string]*x509.Certificate{
		"it has no cn":        {Subject: pkix.Name{Organization: []string{"acme"}}},
		"it has no o":         {Subject: pkix.Name{CommonName: "alice"}},
		"it has 2 o":          {Subject: pkix.Name{CommonName: "alice", Organization: []string{"a", "b"}}},
		"is not a name":       {Subject: pkix.Name{CommonName: "al\nice", Organization: []string{"acme"}}},
		"it is not valid now": {Subject: name, NotAfter: time.Now().Add(-time.Second)},
	} {
		if _, err := g.Identify(t.Context(), ca.shows(t, c)); errs.Of(err) == nil || errs.Of(err).Kind != errs.Unauthenticated || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := g.Identify(t.Context(), other.shows(t, &x509.Certificate{Subject: name})); err == nil {
		t.Error("a certificate of another authority is accepted")
	}
	r.TLS.VerifiedChains = nil
	if _, err := g.Identify(t.Context(), r); err == nil {
		t.Error("a certificate that nobody verified is accepted")
	}
	g.a.TrustClients(other.pool)
	if _, err := g.Current(p); err == nil {
		t.Error("the authority is not trusted any more, its certificate is")
	}
}

func TestCertificateSubjects(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	g := newGate(t)
	spiffe, _ := url.Parse("spiffe://example.org/ci")
	c := x509.Certificate{DNSNames: []string{"ci.example.org"}, URIs: []*url.URL{spiffe}, EmailAddresses: []string{"ci@example.org"}}
	for subject, want := range map[string]string{"uri": "spiffe://example.org/ci", "dns": "ci.example.org", "email": "ci@example.org"} {
		g.configure(v1.Auth{ClientCertificates: &v1.ClientCertificates{Subject: subject, Tenant: "ops"}})
		one := c
		p, err := g.Identify(t.Context(), ca.shows(t, &one))
		if err != nil || p.Subject != want || p.Tenant != "ops" {
			t.Errorf("%s: got %+v, %v", subject, p, err)
		}
	}
}

// TestFarEnds: credentials that end when no calendar goes on are credentials, also for other replicas.
func TestFarEnds(t *testing.T) {
	t.Parallel()
	ca, i := newAuthority(t), testenv.NewIssuer(t, "ES256", "")
	last := time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	auth := v1.Auth{
		ClientCertificates: &v1.ClientCertificates{Subject: "cn", Tenant: "default"}, Issuers: []v1.Issuer{of(i)},
		APIKeys: []v1.APIKey{{Name: "ci", Key: ciKey, Expires: "9999-12-31T23:59:59-10:00"}},
	}
	here, there := newGate(t), newGate(t)
	here.configure(auth)
	there.configure(auth)
	here.a.TrustClients(ca.pool)
	there.a.TrustClients(ca.pool)
	certified, err := here.Identify(t.Context(), ca.shows(t, &x509.Certificate{Subject: pkix.Name{CommonName: "alice"}, NotAfter: last}))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*identity.Principal{certified, here.takes(ciKey), here.takes(i.Token("alice", resource, testenv.Claims{"exp": last.Unix()}))} {
		if q, err := there.Decode(p.Encode()); err != nil || q.Key() != p.Key() || !q.Expires.Equal(last) {
			t.Errorf("%s: got %+v, %v", p.Method, q, err)
		}
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	g.configure(v1.Auth{
		TrustedProxy: &v1.TrustedProxy{
			Addresses: []string{"10.1.0.0/16", "fd00::1"}, Subject: "x-forwarded-user", Tenant: "X-Tenant", Groups: "X-Groups",
			Secret: "proxy-secret-0123", SecretHeader: "X-Proxy-Secret",
		},
		APIKeys: []v1.APIKey{{Name: "alice", Key: ciKey, Tenant: "acme"}},
	})
	good := map[string]string{"X-Forwarded-User": "alice", "X-Tenant": "acme", "X-Groups": "a, b", "X-Proxy-Secret": "proxy-secret-0123"}
	ask := func(from string, change map[string]string) (*identity.Principal, error) {
		r := &identity.Request{Header: http.Header{}, Host: "tools.example.com", Path: "/mcp", Remote: netip.AddrPortFrom(netip.MustParseAddr(from), 1)}
		for name, value := range good {
			r.Header.Set(name, value)
		}
		for name, value := range change {
			r.Header.Del(name)
			for v := range strings.SplitSeq(value, "|") {
				if v != "" {
					r.Header.Add(name, v)
				}
			}
		}
		return g.Identify(t.Context(), r)
	}
	p, err := ask("10.1.2.3", nil)
	if err != nil || p.Subject != "alice" || p.Tenant != "acme" || strings.Join(p.Groups, "+") != "a+b" || p.Key() == g.takes(ciKey).Key() {
		t.Fatalf("got %+v, %v", p, err)
	}
	if q, err := ask("fd00::1", map[string]string{"Authorization": "Basic x"}); q != p || err != nil {
		t.Errorf("got %v, %v", q, err)
	}
	only := map[string]string{"X-Forwarded-User": "", "X-Tenant": "", "X-Groups": ""}
	if _, err := ask("10.1.2.3", only); errs.Of(err) == nil || errs.Of(err).Kind != errs.Unauthenticated {
		t.Errorf("it names nobody: %v", err)
	}
	for _, tt := range []struct {
		from   string
		change map[string]string
		kind   errs.Kind
	}{
		{"10.2.0.1", nil, errs.Forbidden},
		{"127.0.0.1", map[string]string{"X-Tenant": "", "X-Groups": ""}, errs.Forbidden},
		{"127.0.0.1", map[string]string{"X-Forwarded-User": "", "X-Groups": ""}, errs.Forbidden},
		{"127.0.0.1", map[string]string{"Authorization": "Bearer " + ciKey}, errs.Forbidden},
		{"10.1.2.3", map[string]string{"X-Proxy-Secret": ""}, errs.Forbidden},
		{"10.1.2.3", map[string]string{"X-Proxy-Secret": "proxy-secret-0124"}, errs.Forbidden},
		{"10.1.2.3", map[string]string{"X-Proxy-Secret": "proxy-secret-0123|proxy-secret-0123"}, errs.Forbidden},
		{"10.1.2.3", map[string]string{"X-Forwarded-User": "alice|bob"}, errs.Unauthenticated},
		{"10.1.2.3", map[string]string{"X-Forwarded-User": "alice, bob"}, errs.Unauthenticated},
		{"10.1.2.3", map[string]string{"X-Forwarded-User": " "}, errs.Unauthenticated},
		{"10.1.2.3", map[string]string{"X-Tenant": ""}, errs.Unauthenticated},
		{"10.1.2.3", map[string]string{"X-Groups": "a\x01b"}, errs.Unauthenticated},
	} {
		if p, err := ask(tt.from, tt.change); err == nil || errs.Of(err).Kind != tt.kind {
			t.Errorf("%s %v: got %v, %v", tt.from, tt.change, p, err)
		} else if strings.Contains(err.Error(), "proxy-secret-01") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

// TestAnonymousBesideOthers: where callers without a credential are served, one with a bad credential is still told so.
func TestAnonymousBesideOthers(t *testing.T) {
	t.Parallel()
	v := verifier(t, v1.Auth{Anonymous: v1.AnonymousAllow, APIKeys: []v1.APIKey{{Name: "ci", Key: ciKey}}})
	if p, err := v.Identify(t.Context(), sent()); p != identity.Anonymous || err != nil {
		t.Errorf("got %v, %v", p, err)
	}
	if _, err := v.Identify(t.Context(), sent("Bearer wrong")); errs.Of(err).Kind != errs.Unauthenticated {
		t.Errorf("got %v", err)
	}
	closed := verifier(t, v1.Auth{Anonymous: v1.AnonymousDeny})
	if _, err := closed.Identify(t.Context(), sent()); errs.Of(err).Kind != errs.Unauthenticated || !closed.Required() {
		t.Errorf("got %v", err)
	}
	if _, err := closed.Current(identity.Anonymous); err == nil {
		t.Error("anonymous callers go on")
	}
}

// TestMetadata: the document of each endpoint, with the path of publicURL on either side of the well-known part.
func TestMetadata(t *testing.T) {
	t.Parallel()
	a := identity.New(identity.Options{})
	defer a.Close()
	v, err := a.Configure(&v1.Config{PublicURL: "https://Example.com/tools/", Auth: v1.Auth{Issuers: []v1.Issuer{
		{Issuer: "https://one.invalid", Scopes: []string{"mcp", "one"}}, {Issuer: "https://two.invalid", Scopes: []string{"two", "mcp"}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/.well-known/oauth-protected-resource":                       "",
		"/.well-known/oauth-protected-resource/":                      "",
		"/.well-known/oauth-protected-resource/mcp":                   "/mcp",
		"/.well-known/oauth-protected-resource/tools/mcp":             "/mcp",
		"/.well-known/oauth-protected-resource/toolsets/x/mcp":        "/toolsets/x/mcp",
		"/.well-known/oauth-protected-resource/tools":                 "",
		"/.well-known/oauth-protected-resource/servers/a%2Fb/mcp":     "/servers/a%2Fb/mcp",
		"/.well-known/oauth-protected-resource/tools/servers/one/sse": "/servers/one/sse",
	} {
		endpoint, ok := v.IsMetadata(path)
		if !ok || endpoint != want {
			t.Errorf("%s: got %q, %t", path, endpoint, ok)
		}
		got := string(v.Metadata(&identity.Request{Host: "evil.example", Path: endpoint}))
		for _, part := range []string{
			`"resource":"https://example.com/tools` + want + `"`, `"authorization_servers":["https://one.invalid","https://two.invalid"]`,
			`"scopes_supported":["mcp"]`, `"bearer_methods_supported":["header"]`,
		} {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %s lacks %s", path, got, part)
			}
		}
	}
	for _, path := range []string{"/.well-known/oauth-protected-resourcex", "/mcp", "/x/.well-known/oauth-protected-resource"} {
		if _, ok := v.IsMetadata(path); ok {
			t.Errorf("%s is a document", path)
		}
	}
	hostile := errs.E("x", errs.Unauthenticated, "a \"quoted\"\r\nX-Evil: 1 \\ ä %s", strings.Repeat("x", 5000))
	for _, c := range v.Challenge(hostile, sent("Bearer x")) {
		if strings.ContainsAny(c, "\r\n\\ä") || strings.Count(c, `"`)%2 != 0 || len(c) > 1000 {
			t.Errorf("challenge %q", c)
		}
	}
	if v.Challenge(errs.E("x", errs.NotFound, "x"), sent()) != nil {
		t.Error("an answer that is about no credential has a challenge")
	}
}

func FuzzToken(f *testing.F) {
	for _, seed := range []string{"a.b.c", "eyJhbGciOiJub25lIn0.e30.", "..", "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.AAAA", "tck_x_y"} {
		f.Add(seed)
	}
	v := verifier(f, v1.Auth{Issuers: []v1.Issuer{{Issuer: "https://idp.invalid", Algorithms: []string{"ES256"}}}})
	f.Fuzz(func(t *testing.T, token string) {
		p, err := v.Identify(t.Context(), sent("Bearer "+token))
		if p != nil || err == nil {
			t.Fatalf("%q: %v, %v", token, p, err)
		}
		for _, c := range v.Challenge(err, sent("Bearer "+token)) {
			if strings.ContainsAny(c, "\r\n") {
				t.Fatalf("%q: challenge %q", token, c)
			}
		}
	})
}

func FuzzProxy(f *testing.F) {
	f.Add("alice", "acme", "a,b")
	v := verifier(f, v1.Auth{TrustedProxy: &v1.TrustedProxy{Addresses: []string{"127.0.0.1"}, Subject: "X-User", Tenant: "X-Tenant", Groups: "X-Groups"}})
	f.Fuzz(func(t *testing.T, subject, tenant, groups string) {
		r := sent()
		r.Remote = netip.MustParseAddrPort("127.0.0.1:1")
		r.Header = http.Header{"X-User": {subject}, "X-Tenant": {tenant}, "X-Groups": {groups}}
		p, err := v.Identify(t.Context(), r)
		if (p == nil) == (err == nil) || p != nil && (p == identity.Anonymous || p.Subject == "" || p.Tenant == "" || strings.ContainsAny(p.Key(), "\r\n\x00")) {
			t.Fatalf("%q %q %q: %v, %v", subject, tenant, groups, p, err)
		}
	})
}
