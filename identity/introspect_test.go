package identity_test

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// asked is an issuer that is asked about tokens.
func asked(i *testenv.Issuer, always bool) v1.Issuer {
	c := of(i)
	c.Claims.Groups = "groups"
	c.Introspection = &v1.Introspection{
		ClientID: i.ClientID, ClientSecret: v1.Secret(i.ClientSecret), Cache: v1.Duration(10 * time.Second), Always: always,
	}
	return c
}

func TestIntrospection(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, asked(i, false))
	token := i.Opaque("opaque-token-0123456789", i.Claims("alice", resource, testenv.Claims{"groups": []string{"a"}, "exp": nil}))
	p := g.takes(token)
	if p.Key() != "default/alice/"+strings.TrimPrefix(i.URL, "http://") || len(p.Groups) != 1 {
		t.Errorf("got %+v", p)
	}
	for range 20 {
		if g.takes(token) != p {
			t.Fatal("the same token is another principal")
		}
	}
	if n := i.Asked(testenv.IssuerIntrospect); n != 1 {
		t.Errorf("asked %d times", n)
	}
	i.Opaque(token, i.Claims("alice", resource, testenv.Claims{"groups": []string{"b"}}))
	g.clock.move(11 * time.Second)
	if q := g.takes(token); q == p || q.Groups[0] != "b" || q.Key() != p.Key() {
		t.Errorf("what changed is not seen: %+v", q)
	}
	i.End(token)
	g.takes(token) // its answer is not old
	g.clock.move(11 * time.Second)
	g.refuses("revoked", token, "not active")
	for range 20 {
		g.refuses("revoked", token, "not active")
	}
	if n := i.Asked(testenv.IssuerIntrospect); n != 3 {
		t.Errorf("asked %d times", n)
	}
}

// TestIntrospectionRefuses: what an issuer says of a token is held against the same rules as a JWT.
func TestIntrospectionRefuses(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, asked(i, false))
	for want, c := range map[string]testenv.Claims{
		"not for https://tools.example.com/mcp": i.Claims("alice", "https://other.example", nil),
		"not for https":                         i.Claims("alice", resource, testenv.Claims{"aud": nil}),
		"it is of another one":                  i.Claims("alice", resource, testenv.Claims{"iss": "https://other.example"}),
		"not a bearer token":                    i.Claims("alice", resource, testenv.Claims{"token_type": "DPoP"}),
		"it expired at":                         i.Claims("alice", resource, testenv.Claims{"exp": time.Now().Add(-time.Hour).Unix()}),
		"not active":                            i.Claims("alice", resource, testenv.Claims{"active": false}),
		"bound to a key":                        i.Claims("alice", resource, testenv.Claims{"cnf": testenv.Claims{"x5t#S256": "x"}}),
		`claim "sub" is missing`:                i.Claims("alice", resource, testenv.Claims{"sub": nil}),
	} {
		token := i.Opaque("opaque "+want, c)
		g.refuses(want, i.Opaque(strings.ReplaceAll(token, " ", "-"), c), want)
	}
	g.refuses("unknown", "never-given-out-0123456789", "not active")
}

// TestAlwaysAsked: a JWT of such an issuer is no longer good than its issuer says, and is not asked about before its signature is
// found to be right.
func TestAlwaysAsked(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, asked(i, true))
	token := i.Token("alice", resource, testenv.Claims{"groups": []string{"a", "b"}})
	p := g.takes(token)
	g.refuses("forged", forged(token), "signature is wrong")
	if n := i.Asked(testenv.IssuerIntrospect); n != 1 {
		t.Errorf("asked %d times", n)
	}
	i.Opaque(token, testenv.Claims{"groups": []string{"a"}, "exp": time.Now().Add(99 * time.Hour).Unix(), "aud": "https://other.example"})
	g.clock.move(11 * time.Second)
	q := g.takes(token)
	if len(q.Groups) != 1 || !q.Expires.Equal(p.Expires) {
		t.Errorf("the issuer took a group away: %+v", q)
	}
	i.Opaque(token, testenv.Claims{"sub": "admin"})
	g.clock.move(11 * time.Second)
	g.refuses("another's", token, "another caller's")
	i.Opaque(token, testenv.Claims{})
	g.clock.move(11 * time.Second)
	p = g.takes(token)
	i.End(token)
	g.clock.move(6 * time.Second)
	testenv.Eventually(t, "what stays open hears of it", func() bool {
		_, err := g.Current(p)
		return errs.Of(err) != nil && errs.Of(err).Kind == errs.Unauthenticated
	})
}

// TestIntrospectionAway: without an answer there is no access, but for as long as the last one may be kept.
func TestIntrospectionAway(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, asked(i, false))
	token := i.Opaque("opaque-token-0123456789", i.Claims("alice", resource, nil))
	p := g.takes(token)
	i.Instead(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	g.clock.move(9 * time.Second)
	g.takes(token)
	g.clock.move(2 * time.Second)
	if _, err := g.who(token); errs.Of(err).Kind != errs.Unavailable {
		t.Errorf("got %v", err)
	}
	if _, err := g.Current(p); err != nil {
		t.Errorf("what is open ends at once: %v", err)
	}
	g.clock.move(2 * time.Minute)
	if _, err := g.Current(p); err == nil {
		t.Error("what is open never ends")
	}
	i.Instead(nil)
	g.takes(token)
	if strings.Contains(g.log.String(), i.ClientSecret) {
		t.Error("the log shows the secret")
	}
}

// TestMetadataAway: many tokens of an issuer whose metadata cannot be had share one search for them, and its failure for a while.
func TestMetadataAway(t *testing.T) {
	t.Parallel()
	const at = "/.well-known/oauth-authorization-server"
	i := testenv.NewIssuer(t, "ES256", "")
	hold := make(chan struct{})
	i.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/.well-known/") {
			<-hold
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	})
	g := newGate(t, asked(i, false))
	c := asked(i, false)
	c.Introspection.URL = i.URL + testenv.IssuerIntrospect
	direct := newGate(t, c) // seeks for itself, and can do without
	var wg sync.WaitGroup
	for n := range 40 {
		token := i.Opaque("opaque-token-0123456789-"+strconv.Itoa(n), i.Claims("alice", resource, nil))
		wg.Go(func() {
			if _, err := g.who(token); errs.Of(err) == nil || errs.Of(err).Kind != errs.Unavailable {
				t.Errorf("without metadata: got %v", err)
			}
		})
		wg.Go(func() {
			if _, err := direct.who(token); err != nil {
				t.Errorf("introspection.url is enough: %v", err)
			}
		})
	}
	testenv.Eventually(t, "both seek", func() bool { return i.Asked(at) == 2 })
	close(hold)
	wg.Wait()
	failed := time.Now()
	for n := range 20 {
		g.refuses("not sought again at once", i.Opaque("later-token-0123456789-"+strconv.Itoa(n), i.Claims("alice", resource, nil)), "cannot be reached")
	}
	if n, most := i.Asked(at), 2+int(time.Since(failed)/time.Second); n > most {
		t.Errorf("sought %d times by two, want at most %d", n, most)
	}
	if n := strings.Count(g.log.String(), "an issuer cannot be asked about tokens"); n != 1 {
		t.Errorf("told %d times", n)
	}
	i.Instead(nil)
	g.clock.move(3 * time.Second)
	g.takes(i.Opaque("last-token-0123456789", i.Claims("alice", resource, nil)))
}

// TestAskedOnce: many who come with the same new token share one question.
func TestAskedOnce(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, asked(i, false))
	token := i.Opaque("opaque-token-0123456789", i.Claims("alice", resource, nil))
	hold := make(chan struct{})
	i.Instead(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == testenv.IssuerIntrospect {
			<-hold
		}
		return false
	})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := g.who(token); err != nil {
				t.Error(err)
			}
		})
	}
	testenv.Eventually(t, "somebody asks", func() bool { return i.Asked(testenv.IssuerIntrospect) > 0 })
	close(hold)
	wg.Wait()
	if n := i.Asked(testenv.IssuerIntrospect); n > 2 {
		t.Errorf("asked %d times", n)
	}
}

// TestOpaqueOfSeveral: a token that does not tell whose it is goes to one issuer at most.
func TestOpaqueOfSeveral(t *testing.T) {
	t.Parallel()
	one, two := testenv.NewIssuer(t, "ES256", ""), testenv.NewIssuer(t, "ES256", "")
	a, b := asked(one, true), asked(two, true)
	g := newGate(t, a, b)
	g.refuses("whose is it", two.Opaque("opaque-token-0123456789", two.Claims("alice", resource, nil)), "neither a JWT nor an API key")
	if one.Asked(testenv.IssuerIntrospect)+two.Asked(testenv.IssuerIntrospect) > 0 {
		t.Error("somebody was shown the token")
	}
	b.Introspection.Always = false
	g = newGate(t, a, b)
	g.takes("opaque-token-0123456789")
	if one.Asked(testenv.IssuerIntrospect) > 0 {
		t.Error("the other issuer was shown the token")
	}
}

// TestAskedBeforeFirstUse: a JWT of an issuer that is asked about all of them is not good before it answered, whether it is away or
// the caller did not wait for it.
func TestAskedBeforeFirstUse(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, asked(i, true))
	g.takes(i.Token("bob", resource, nil)) // the issuer's keys are known
	token := i.Token("alice", resource, nil)
	i.End(token)
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	i.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != testenv.IssuerIntrospect {
			return false
		}
		<-hold
		w.WriteHeader(http.StatusBadGateway)
		return true
	})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if p, err := g.Identify(gone, asking(token, "/mcp")); err == nil {
		t.Errorf("nobody was asked, and it is %s", p.Key())
	}
	release()
	if _, err := g.who(token); errs.Of(err) == nil || errs.Of(err).Kind != errs.Unavailable {
		t.Errorf("without an answer: got %v", err)
	}
	i.Instead(nil)
	g.refuses("revoked", token, "not active")
}

// TestStrangersWait: tokens that nobody has seen leave room for those that are known, and what is asked about them is bounded.
func TestStrangersWait(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g := newGate(t, asked(i, false))
	token := i.Opaque("opaque-token-0123456789", i.Claims("alice", resource, nil))
	g.takes(token)
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	var holding atomic.Int32
	i.Instead(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == testenv.IssuerIntrospect && r.FormValue("token") != token {
			holding.Add(1)
			<-hold
		}
		return false
	})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	before := runtime.NumGoroutine()
	for n := range 5000 {
		if _, err := g.Identify(gone, asking("nobodys-"+strconv.Itoa(n), "/mcp")); err == nil {
			t.Fatal("a stranger is somebody")
		}
	}
	if n := runtime.NumGoroutine() - before; n > 2500 {
		t.Errorf("%d goroutines of strangers who are gone", n)
	}
	testenv.Eventually(t, "strangers are asked about", func() bool { return holding.Load() >= 4 })
	g.clock.move(11 * time.Second)
	g.takes(token)
}
