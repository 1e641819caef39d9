package identity_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
)

const (
	ciKey  = "ci-key-0123456789abcdef"
	ownKey = "own-key-0123456789abcdef"
)

// verifier identifies callers by a configuration.
func verifier(t testing.TB, auth v1.Auth) *identity.Verifier {
	t.Helper()
	a := identity.New(identity.Options{})
	t.Cleanup(a.Close)
	v, err := a.Configure(&v1.Config{Auth: auth})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func keys(t testing.TB, configured ...v1.APIKey) *identity.Verifier {
	t.Helper()
	return verifier(t, v1.Auth{APIKeys: configured})
}

// sent is a request with these Authorization headers.
func sent(values ...string) *identity.Request {
	return &identity.Request{Header: http.Header{"Authorization": values}, Host: "127.0.0.1:8080", Path: "/mcp"}
}

func two(t testing.TB) *identity.Verifier {
	return keys(t,
		v1.APIKey{Name: "ci", Key: ciKey, Tenant: "acme", Groups: []string{"analysts"}},
		v1.APIKey{Name: "own", Key: ownKey})
}

func TestIdentify(t *testing.T) {
	k := two(t)
	long := strings.Repeat("k", 20_000)
	tests := []struct {
		name   string
		values []string
		want   string // principal key, or part of the error
		ok     bool
	}{
		{"right", []string{"Bearer " + ciKey}, "acme/ci", true},
		{"default tenant", []string{"Bearer " + ownKey}, "default/own", true},
		{"lower-case scheme", []string{"bearer " + ciKey}, "acme/ci", true},
		{"upper-case scheme", []string{"BEARER " + ciKey}, "acme/ci", true},
		{"more spaces", []string{" Bearer   " + ciKey + "\t"}, "acme/ci", true},
		{"missing", nil, "no Authorization header", false},
		{"empty", []string{""}, "not a bearer token", false},
		{"no token", []string{"Bearer "}, "not a bearer token", false},
		{"no scheme", []string{ciKey}, "not a bearer token", false},
		{"other scheme", []string{"Basic " + ciKey}, "not a bearer token", false},
		{"scheme glued on", []string{"Bearer" + ciKey}, "not a bearer token", false},
		{"two", []string{"Bearer " + ciKey, "Bearer " + ciKey}, "2 Authorization headers", false},
		{"two joined by a proxy", []string{"Bearer " + ciKey + ", Bearer " + ciKey}, "not a bearer token", false},
		{"two joined without space", []string{"Bearer " + ciKey + "," + ciKey}, "not a bearer token", false},
		{"unknown", []string{"Bearer " + ciKey + "0"}, "unknown API key", false},
		{"prefix", []string{"Bearer " + ciKey[:10]}, "unknown API key", false},
		{"other case", []string{"Bearer " + strings.ToUpper(ciKey)}, "unknown API key", false},
		{"not ASCII", []string{"Bearer \u212Aey"}, "not a bearer token", false},
		{"control", []string{"Bearer a\x00b"}, "not a bearer token", false},
		{"huge", []string{"Bearer " + long}, "is too large: ", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := k.Identify(t.Context(), sent(tt.values...))
			if tt.ok {
				if err != nil || p.Key() != tt.want {
					t.Fatalf("got %v, %v, want %s", p, err, tt.want)
				}
				return
			}
			if p != nil || errs.Of(err).Kind != errs.Unauthenticated || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, %v, want unauthenticated, %q", p, err, tt.want)
			}
			for _, secret := range []string{ciKey, strings.ToUpper(ciKey), "kkkk"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error shows what was sent: %v", err)
				}
			}
		})
	}
}

func TestPrincipal(t *testing.T) {
	groups := []string{"analysts"}
	k := keys(t, v1.APIKey{Name: "ci", Key: ciKey, Tenant: "acme", Groups: groups})
	groups[0] = "admins"
	p, err := k.Identify(t.Context(), sent("Bearer "+ciKey))
	if err != nil {
		t.Fatal(err)
	}
	if p.Subject != "ci" || p.Tenant != "acme" || !slices.Equal(p.Groups, []string{"analysts"}) {
		t.Errorf("got %+v", p)
	}
}

func TestAnonymous(t *testing.T) {
	k := keys(t)
	if k.Required() {
		t.Error("requires a key that nobody configured")
	}
	for _, values := range [][]string{nil, {""}, {"Bearer whatever"}} {
		if p, err := k.Identify(t.Context(), sent(values...)); err != nil || p != identity.Anonymous {
			t.Errorf("%q: got %v, %v", values, p, err)
		}
	}
	if _, err := k.Identify(t.Context(), sent("Bearer a", "Bearer b")); errs.Of(err).Kind != errs.Unauthenticated {
		t.Errorf("two headers: %v", err)
	}
	if !two(t).Required() {
		t.Error("configured keys are not required")
	}
	named := keys(t, v1.APIKey{Name: "anonymous", Key: ciKey})
	p, err := named.Identify(t.Context(), sent("Bearer "+ciKey))
	if err != nil || p.Key() == identity.Anonymous.Key() {
		t.Errorf("a key can be named so that it is Anonymous: %v, %v", p, err)
	}
}

func TestKeyIsUnambiguous(t *testing.T) {
	seen := map[string]string{identity.Anonymous.Key(): "anonymous"}
	for _, tenant := range []string{"", "a", "a/b", "a%2Fb", "a%", "/", "ä"} {
		for _, subject := range []string{"", "a", "b", "b/c", "/b", "%2Fb", "a b"} {
			p := identity.Principal{Tenant: tenant, Subject: subject}
			if other, taken := seen[p.Key()]; taken {
				t.Errorf("%q of %q has the key of %s: %s", subject, tenant, other, p.Key())
			}
			seen[p.Key()] = subject + " of " + tenant
		}
	}
}

func TestNewKeysRefuses(t *testing.T) {
	tests := []struct {
		name string
		keys []v1.APIKey
		want string
	}{
		{"no name", []v1.APIKey{{Key: ciKey}}, "auth.apiKeys[0]: name is missing"},
		{"no key", []v1.APIKey{{Name: "ci"}}, `auth.apiKeys[0]: key of "ci" is empty`},
		{"space in key", []v1.APIKey{{Name: "ci", Key: ciKey + " x"}}, "cannot be sent"},
		{"comma in key", []v1.APIKey{{Name: "ci", Key: ciKey + ",x"}}, "cannot be sent"},
		{"line break in key", []v1.APIKey{{Name: "ci", Key: ciKey + "\n"}}, "cannot be sent"},
		{"same name", []v1.APIKey{{Name: "ci", Key: ciKey}, {Name: "ci", Key: ownKey, Tenant: "default"}}, `auth.apiKeys[1]: name "ci" is used twice`},
		{"same key", []v1.APIKey{{Name: "ci", Key: ciKey}, {Name: "own", Key: ciKey}}, `auth.apiKeys[1]: key of "own" is the same as that of "ci"`},
	}
	a := identity.New(identity.Options{})
	defer a.Close()
	for _, tt := range tests {
		_, err := a.Configure(&v1.Config{Auth: v1.Auth{APIKeys: tt.keys}})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		} else if strings.Contains(err.Error(), ciKey) {
			t.Errorf("%s: the error shows the key: %v", tt.name, err)
		}
	}
	keys(t, v1.APIKey{Name: "ci", Key: ciKey, Tenant: "a"}, v1.APIKey{Name: "ci", Key: ownKey, Tenant: "b"})
}

func TestAllocations(t *testing.T) {
	k := two(t)
	r, ctx := sent("Bearer "+ciKey), context.Background()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := k.Identify(ctx, r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Identify allocates %v times", n)
	}
}

func FuzzIdentify(f *testing.F) {
	k := two(f)
	for _, seed := range []string{"", "Bearer ", "bearer x", "Bearer a b", "Basic x", "Bearer\x00x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		p, err := k.Identify(t.Context(), sent(value))
		known := strings.HasSuffix(strings.Trim(value, " \t"), ciKey) || strings.HasSuffix(strings.Trim(value, " \t"), ownKey)
		if (p == nil) == (err == nil) || p == identity.Anonymous || (p != nil && !known) {
			t.Fatalf("%q: %v, %v", value, p, err)
		}
	})
}

func BenchmarkIdentify(b *testing.B) {
	k := two(b)
	r, ctx := sent("Bearer "+ciKey), context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Identify(ctx, r); err != nil {
			b.Fatal(err)
		}
	}
}

// TestCredential: a principal has its own secrets, and the one who stands for everybody has none.
func TestCredential(t *testing.T) {
	k := keys(t, v1.APIKey{Name: "ci", Key: ciKey, Credentials: map[string]v1.Secret{"github": "theirs"}}, v1.APIKey{Name: "own", Key: ownKey})
	for key, want := range map[string]v1.Secret{ciKey: "theirs", ownKey: ""} {
		p, err := k.Identify(t.Context(), sent("Bearer "+key))
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := p.Credential("github"); got != want || ok != (want != "") {
			t.Errorf("%s: %t", p.Subject, ok)
		}
	}
	if _, ok := identity.Anonymous.Credential("github"); ok {
		t.Error("nobody in particular has a credential")
	}
}
