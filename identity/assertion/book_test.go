package assertion_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/identity/assertion"
	"github.com/toolcrib/toolcrib/seal"
)

var start = time.Unix(1_800_000_000, 0)

// clock is one that tests set.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time       { return time.Unix(0, c.at.Load()) }
func (c *clock) pass(d time.Duration) { c.at.Add(int64(d)) }
func key(letter string) []byte        { return []byte(strings.Repeat(letter+"123456789abcdef", 2)) }
func ring(letters ...string) *seal.Ring {
	var keys [][]byte
	for _, letter := range letters {
		keys = append(keys, key(letter))
	}
	r, err := seal.NewRing(keys...)
	if err != nil {
		panic(err)
	}
	return r
}

// office is a notary with a clock and a ring that tests change.
type office struct {
	*assertion.Notary
	clock
	ring atomic.Pointer[seal.Ring]
}

func open(letters ...string) *office {
	o := &office{}
	o.at.Store(start.UnixNano())
	o.ring.Store(ring(letters...))
	o.Notary = assertion.New(o.ring.Load)
	return o
}

func (o *office) book(claims ...string) *assertion.Book {
	return o.Book(assertion.Terms{
		Assertion: v1.Assertion{Header: "X-Who", Meta: true, Audience: "https://a.example/mcp", TTL: v1.Duration(time.Minute), Claims: claims},
		Issuer:    "https://tools.example", HTTP: true, Log: slog.New(slog.DiscardHandler), Now: o.now,
	})
}

// read verifies a statement as a server does.
func (o *office) read(t *testing.T, s *assertion.Statement) map[string]any {
	t.Helper()
	header, meta := string(s.AppendHeader(nil)), string(s.AppendMeta(nil))
	token, ok := strings.CutPrefix(header, "X-Who: ")
	if token = strings.TrimSuffix(token, "\r\n"); !ok || strings.ContainsAny(token, "\r\n ") || meta != `"io.toolcrib/identity":"`+token+`",` {
		t.Fatalf("header %q, meta %q", header, meta)
	}
	var set jose.JSONWebKeySet
	jwks, err := o.JWKS()
	if err != nil || json.Unmarshal(jwks, &set) != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var standard jwt.Claims
	all := map[string]any{}
	if err := parsed.Claims(set, &standard, &all); err != nil {
		t.Fatal(err)
	}
	expected := jwt.Expected{Issuer: "https://tools.example", AnyAudience: jwt.Audience{"https://a.example/mcp"}, Time: o.now()}
	if err := standard.ValidateWithLeeway(expected, 0); err != nil {
		t.Fatal(err)
	}
	if left := standard.Expiry.Time().Sub(o.now()); left < 30*time.Second || left > 61*time.Second {
		t.Errorf("it holds for %v", left)
	}
	for _, name := range []string{"iss", "aud", "iat", "exp"} {
		delete(all, name)
	}
	return all
}

// TestClaims: a statement says what was configured, and whose it is always.
func TestClaims(t *testing.T) {
	o := open("k")
	alice := &identity.Principal{
		Subject: `al"ice`, Tenant: "acme", Groups: []string{"dev"}, Roles: []string{"user"}, Scopes: []string{"mcp"}, Issuer: "corp", Client: "app",
		Attributes: map[string]any{"level": 3},
	}
	for name, tt := range map[string]struct {
		s    *assertion.Statement
		want map[string]any
	}{
		"default": {o.book("groups").Of(alice), map[string]any{
			"sub": `al"ice`, "tenant": "acme", "principal": alice.Key(), "groups": []any{"dev"},
		}},
		"all": {o.book("groups", "roles", "attributes", "client", "issuer").Of(alice), map[string]any{
			"sub": `al"ice`, "tenant": "acme", "principal": alice.Key(), "groups": []any{"dev"}, "roles": []any{"user"},
			"attributes": map[string]any{"level": 3.0}, "client": "app", "issuer": "corp",
		}},
		"no groups": {o.book("groups").Of(&identity.Principal{Subject: "bob", Tenant: "b"}), map[string]any{
			"sub": "bob", "tenant": "b", "principal": "b/bob", "groups": []any{},
		}},
		"nobody":             {o.book("groups").Nobody(""), map[string]any{}},
		"nobody of a tenant": {o.book("groups").Nobody("acme"), map[string]any{"tenant": "acme"}},
	} {
		if diff := cmp.Diff(tt.want, o.read(t, tt.s)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestKept: nothing is signed twice while it is good, also for a principal that is made anew for each request.
func TestKept(t *testing.T) {
	o := open("k")
	b := o.book("groups")
	alice := &identity.Principal{Subject: "alice", Tenant: "acme"}
	first := b.Of(alice).AppendHeader(nil)
	o.pass(29 * time.Second)
	same := *alice
	if !bytes.Equal(first, b.Of(alice).AppendHeader(nil)) || b.Of(&same) != b.Of(alice) {
		t.Error("a good statement was made again")
	}
	if b.Of(&identity.Principal{Subject: "alice", Tenant: "acme", Groups: []string{"new"}}) == b.Of(alice) {
		t.Error("a changed principal has the old statement")
	}
	o.pass(time.Second)
	o.read(t, b.Of(alice))
	if bytes.Equal(first, b.Of(alice).AppendHeader(nil)) {
		t.Error("an old statement goes on")
	}
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { dst = b.Of(alice).AppendMeta(b.Of(alice).AppendHeader(dst[:0])) }); n != 0 {
		t.Errorf("a known statement allocates %v times", n)
	}
}

// TestRotation: the newest key of the ring signs, those before it still verify, and what is gone does not.
func TestRotation(t *testing.T) {
	o := open("k")
	s := o.book().Of(&identity.Principal{Subject: "alice", Tenant: "acme"})
	before := s.AppendHeader(nil)
	o.ring.Store(ring("n", "k"))
	o.read(t, s)
	if bytes.Equal(before, s.AppendHeader(nil)) {
		t.Error("the old key signs")
	}
	jwks, err := o.JWKS()
	if err != nil || bytes.Count(jwks, []byte(`"kid"`)) != 2 || bytes.Contains(jwks, []byte(`"d"`)) {
		t.Errorf("%s, %v", jwks, err)
	}
	other, _ := open("n", "k").JWKS()
	if !bytes.Equal(jwks, other) {
		t.Error("replicas with one ring have different keys")
	}
}

// TestMany: however many principals come, at once, what is kept is bounded and nobody gets another one's.
func TestMany(t *testing.T) {
	o := open("k")
	b := o.book()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 1200 {
				p := &identity.Principal{Subject: fmt.Sprint(i, "-", j%1000), Tenant: "t"}
				if s := b.Of(p); j%100 == 0 && o.read(t, s)["sub"] != p.Subject {
					t.Errorf("%s has another one's statement", p.Subject)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkKnown(b *testing.B) {
	o := open("k")
	book := o.book("groups")
	alice := &identity.Principal{Subject: "alice", Tenant: "acme"}
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = book.Of(alice).AppendHeader(dst[:0])
	}
}

func BenchmarkSign(b *testing.B) {
	o := open("k")
	book := o.book("groups")
	alice := &identity.Principal{Subject: "alice", Tenant: "acme"}
	for b.Loop() {
		o.pass(time.Minute)
		book.Of(alice).AppendHeader(nil)
	}
}
