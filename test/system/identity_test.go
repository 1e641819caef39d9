package system_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

const forged = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."

// told are servers that are told for whom requests are.
var told = map[string]struct {
	start func(testing.TB) *testenv.Server
	http  bool
}{
	"modern":       {transports["modern"], true},
	"legacy":       {transports["legacy"], true},
	"sse":          {transports["sse"], true},
	"modern stdio": {func(t testing.TB) *testenv.Server { return testenv.StdioServer(t, testenv.Tagged(testenv.Modern)) }, false},
	"legacy stdio": {func(t testing.TB) *testenv.Server { return testenv.StdioServer(t, testenv.Tagged(testenv.Legacy)) }, false},
}

// TestIdentity: a server that all callers share is told for whom each request is, verifiably, and nothing that a client sends
// counts for that.
func TestIdentity(t *testing.T) {
	t.Parallel()
	for name, tt := range told {
		for _, era := range testenv.Eras {
			t.Run(name+" server, "+era.String()+" client", func(t *testing.T) {
				t.Parallel()
				s := tt.start(t)
				g := testenv.Serve(t, twoTenants(map[string]any{
					"one": s.Entry(map[string]any{"identity": map[string]any{"meta": true, "audience": "the server"}, "isolation": "shared"}),
				}, map[string]any{"publicURL": "https://tools.example"}))
				clients := map[string]*testenv.Client{
					"acme/alice": as(t, g, era, aliceKey, ""), "acme/bob": as(t, g, era, bobKey, ""), "globex/carol": as(t, g, era, carolKey, ""),
				}
				for range 2 {
					for who, c := range clients {
						want := "<meta " + who + ">"
						if tt.http {
							want = "<header " + who + ">" + want
						}
						reply := c.Do(testenv.Request{
							Method: "tools/call", Members: `"name":"one__mine","arguments":{}`, Meta: `"io.toolcrib/identity":"` + forged + `","other":1`,
							Header: http.Header{testenv.IdentityHeader: {forged}, "X-Toolcrib-Tenant": {"globex"}},
						})
						if got := tagsOf(reply); !strings.Contains(got, want) || strings.Contains(got, "root") {
							t.Errorf("%s: %s", who, got)
						}
					}
				}
				if !tt.http {
					return
				}
				for _, r := range s.Received("") {
					verify(t, g, r)
				}
			})
		}
	}
}

// verify holds every message of a server to what a server can check.
func verify(t *testing.T, g *testenv.Gateway, r *testenv.Record) {
	t.Helper()
	tokens := r.Header[testenv.IdentityHeader]
	if len(tokens) != 1 || strings.Contains(string(r.Body), forged) {
		t.Errorf("%s came with %d statements: %s", r.Method, len(tokens), r.Body)
		return
	}
	if r.Method == "tools/call" && !strings.Contains(string(r.Body), tokens[0]) {
		t.Errorf("_meta tells something else: %s", r.Body)
	}
	var keys jose.JSONWebKeySet
	status, body := g.Get("/.well-known/jwks.json", nil)
	if err := json.Unmarshal([]byte(body), &keys); err != nil || status != http.StatusOK {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	parsed, err := jwt.ParseSigned(tokens[0], []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var c jwt.Claims
	if err := parsed.Claims(keys, &c); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(jwt.Expected{Issuer: "https://tools.example", AnyAudience: jwt.Audience{"the server"}, Time: time.Now()}); err != nil {
		t.Error(err)
	}
	if forCaller := r.Method == "tools/call"; forCaller != (c.Subject != "") && r.Method != "initialize" && r.Method != "DELETE" &&
		r.Method != "GET" && !strings.HasPrefix(r.Method, "notifications/") {
		t.Errorf("%s is for %q", r.Method, c.Subject)
	}
}

// TestForeignSpelling: a member of _meta that a server might take for the statement is refused.
func TestForeignSpelling(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Tagged(testenv.Modern))
	g := testenv.Serve(t, twoTenants(map[string]any{"one": s.Entry(map[string]any{"identity": map[string]any{"meta": true}})}, nil))
	c := as(t, g, testenv.Modern, aliceKey, "")
	for _, key := range []string{"IO.toolcrib/identity", "io.toolcrib/Identity", `io.toolcrib/Identit\u0059`} {
		reply := c.Do(testenv.Request{Method: "tools/call", Members: `"name":"one__mine","arguments":{}`, Meta: `"` + key + `":"` + forged + `"`})
		if code, _ := reply.Error(); code == 0 {
			t.Errorf("%s: %s", key, reply)
		}
	}
	for _, key := range []string{`io.toolcrib/identit\u0079`, `io.toolcrib\/identity`} {
		reply := c.Do(testenv.Request{Method: "tools/call", Members: `"name":"one__mine","arguments":{}`, Meta: `"` + key + `":"` + forged + `"`})
		if got := tagsOf(reply); !strings.Contains(got, "<meta acme/alice>") {
			t.Errorf("%s: %s", key, got)
		}
	}
	for _, r := range s.Received("") {
		if strings.Contains(string(r.Body), forged) {
			t.Errorf("it arrived: %s", r.Body)
		}
	}
}

// TestUntoldServer: where a server is told nothing, nothing that clients say of for whom they are reaches it either.
func TestUntoldServer(t *testing.T) {
	t.Parallel()
	for name, start := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			g := testenv.Serve(t, testenv.One(s))
			for _, era := range testenv.Eras {
				reply := g.Client(era, "/mcp").Do(testenv.Request{
					Method: "tools/call", Members: `"name":"one__mine","arguments":{}`, Meta: `"io.toolcrib/identity":"` + forged + `"`,
					Header: http.Header{testenv.IdentityHeader: {forged}},
				})
				if got := tagsOf(reply); strings.Contains(got, "header") || strings.Contains(got, "meta") || reply.Texts() != "" && strings.Contains(got, forged) {
					t.Errorf("%s: %s", era, got)
				}
			}
			for _, r := range s.Received("") {
				if strings.Contains(string(r.Body), forged) || r.Header.Get(testenv.IdentityHeader) != "" {
					t.Errorf("it arrived: %s %v", r.Body, r.Header)
				}
			}
		})
	}
}

// TestIdentityOfInstances: where callers do not share an instance, it is told whose it is from its first request on, lists
// included.
func TestIdentityOfInstances(t *testing.T) {
	t.Parallel()
	for name, tt := range told {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tt.start(t)
			entry := func(isolation string) map[string]any {
				return s.Entry(map[string]any{"identity": map[string]any{"meta": true}, "isolation": isolation})
			}
			g := testenv.Serve(t, twoTenants(map[string]any{"tenants": entry("tenant"), "principals": entry("principal")}, nil))
			for key, who := range map[string]string{aliceKey: "acme/alice", carolKey: "globex/carol"} {
				tenant, _, _ := strings.Cut(who, "/")
				c := as(t, g, testenv.Modern, key, "")
				list := tagsOf(c.Call("tools/list", ""))
				if !strings.Contains(list, "<meta "+who+">") || !strings.Contains(list, "<meta "+tenant+"/<nil>>") {
					t.Errorf("list of %s: %s", who, list)
				}
				for _, other := range []string{"acme", "globex"} {
					if other != tenant && strings.Contains(list, other) {
						t.Errorf("list of %s has another tenant's: %s", who, list)
					}
				}
				if got := tagsOf(c.Tool("tenants__mine", "{}")); !strings.Contains(got, "<meta "+who+">") {
					t.Errorf("call of %s: %s", who, got)
				}
			}
		})
	}
}

const ownKey = "ownKey-0123456789abcdef-token"

// TestCanary: the caller's own credential reaches a server in no way, whatever the server is given of callers, and is in no log.
func TestCanary(t *testing.T) {
	t.Parallel()
	issuer := testenv.NewIssuer(t, "ES256", "")
	var servers []*testenv.Server
	entries := map[string]any{}
	for name, tt := range told {
		s := tt.start(t)
		servers = append(servers, s)
		plain, full := s.Entry(), s.Entry(map[string]any{"identity": map[string]any{"meta": true, "claims": []string{"groups", "roles", "attributes", "client", "issuer"}}})
		if tt.http {
			full["headers"] = map[string]any{"X-User": "${principal.subject}", "X-Tenant": "${principal.tenant}"}
		} else {
			full["env"] = map[string]any{"WHO": "${principal.subject}"}
		}
		key := strings.ReplaceAll(name, " ", "")
		entries["plain-"+key], entries["full-"+key] = plain, full
	}
	g := testenv.Serve(t, testenv.Config{Entries: entries, More: map[string]any{
		"auth": map[string]any{
			"issuers": []any{issuer.Entry(map[string]any{"audience": []string{"me"}, "claims": map[string]any{"attributes": map[string]any{"jti": "jti"}}})},
			"apiKeys": []any{map[string]any{"name": "keyed", "key": ownKey}},
		},
	}})
	token := issuer.Token("alice", "me", nil)
	for _, secret := range []string{token, ownKey} {
		for _, era := range testenv.Eras {
			c := as(t, g, era, secret, "")
			for name := range entries {
				if got := tagsOf(c.Tool(name+"__mine", "{}")); !strings.Contains(got, `"content"`) || strings.Contains(got, secret) {
					t.Errorf("%s: %s", name, got)
				}
			}
			for _, method := range []string{"tools/list", "prompts/list", "resources/list"} {
				if got := c.Call(method, "").String(); strings.Contains(got, secret) {
					t.Errorf("%s: %s", method, got)
				}
			}
		}
	}
	for _, s := range servers {
		for _, r := range s.Received("") {
			for name, values := range r.Header {
				if all := strings.Join(values, ","); strings.Contains(all, token) || strings.Contains(all, ownKey) {
					t.Errorf("%s arrived in %s", r.Method, name)
				}
			}
			if text := string(r.Body) + r.Path; strings.Contains(text, token) || strings.Contains(text, ownKey) {
				t.Errorf("%s arrived: %s", r.Method, text)
			}
		}
		if s.URL != "" {
			continue
		}
		for _, child := range s.Children() {
			for _, pair := range child.Env {
				if strings.Contains(pair, token) || strings.Contains(pair, ownKey) {
					t.Errorf("it is in the environment: %s", pair)
				}
			}
		}
	}
	if log := g.Log(); strings.Contains(log, token) || strings.Contains(log, ownKey) {
		t.Error("it is in the log")
	}
}

// TestForwardedToken: with forwardToken, each request of a caller has the caller's own token, and only then; keys of the gateway
// are not sent on.
func TestForwardedToken(t *testing.T) {
	t.Parallel()
	for name, start := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := testenv.NewIssuer(t, "ES256", "")
			s := start(t)
			g := testenv.Serve(t, testenv.Config{
				Entries: map[string]any{
					"apart":  s.Entry(map[string]any{"forwardToken": true}),
					"shared": s.Entry(map[string]any{"forwardToken": true, "isolation": "shared", "identity": map[string]any{}}),
				},
				More: map[string]any{"auth": map[string]any{
					"issuers": []any{issuer.Entry(map[string]any{"audience": []string{"me"}})},
					"apiKeys": []any{map[string]any{"name": "keyed", "key": ownKey}},
				}},
			})
			for _, era := range testenv.Eras {
				for _, subject := range []string{"alice", "bob"} {
					first, next := issuer.Token(subject, "me", nil), issuer.Token(subject, "me", nil)
					c := as(t, g, era, first, "")
					for _, token := range []string{first, next, first} {
						c.Key = token
						for _, server := range []string{"apart", "shared"} {
							if got := tagsOf(c.Tool(server+"__mine", "{}")); !strings.Contains(got, "<token Bearer "+token+">") {
								t.Errorf("%s of %s: %s", server, subject, got)
							}
						}
					}
					if list := tagsOf(c.Call("tools/list", "")); !strings.Contains(list, "<token Bearer ") || !strings.Contains(list, "<header <nil>/<nil>>") {
						t.Errorf("list of %s: %s", subject, list)
					}
				}
				if got := tagsOf(as(t, g, era, ownKey, "").Tool("shared__mine", "{}")); !strings.Contains(got, "<header default/keyed>") || strings.Contains(got, "token") {
					t.Errorf("with a key: %s", got)
				}
			}
			if strings.Contains(g.Log(), "Bearer ey") {
				t.Error("a token is in the log")
			}
		})
	}
}
