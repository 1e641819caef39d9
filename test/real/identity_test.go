package real_test

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// revocation is auth.revocation of these tests, and within how long after it must be seen what it promises: the machine may be busy.
const (
	revocation = 2 * time.Second
	slack      = 8 * time.Second
)

// TestIdentity runs the gateway with authorization servers that others wrote, and with clients that find them by themselves.
func TestIdentity(t *testing.T) {
	buildDex(t)
	t.Parallel()
	p := needParts(t)
	i := startIdentities(t, p)
	i.groups(t, "alice", "staff")
	upstream := everythingServer(t, p, true)
	for name, test := range map[string]func(*testing.T, *parts, *identities, string){
		"clean": testCleanClients, "step-up": testStepUp, "issuers": testIssuers, "revoked": testRevoked, "group": testGroupLost, "login": testLogin,
		"dex": testDex, "path": testUnderPath,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, p, i, upstream)
		})
	}
}

// guarded starts a gateway whose callers are those of issuers; members of staff may do what the role says.
func guarded(t *testing.T, upstream string, more map[string]any, issuers ...map[string]any) string {
	t.Helper()
	base, _ := startWith(t, guards(upstream, more, issuers...))
	return base
}

func guards(upstream string, more map[string]any, issuers ...map[string]any) map[string]any {
	config := map[string]any{
		"mcpServers": map[string]any{"everything": map[string]any{"url": upstream}},
		"auth":       map[string]any{"issuers": issuers, "revocation": revocation.String()},
		"policies":   map[string]any{"bindings": []any{map[string]any{"group": "staff", "role": "user"}}},
	}
	maps.Copy(config, more)
	return config
}

// issuer is one of identities, which give no token without any scope.
func issuer(url string) map[string]any {
	return map[string]any{"issuer": url, "claims": map[string]any{"groups": "groups"}, "scopes": []string{"tools"}}
}

// introspected is an issuer that is asked about tokens; two opaque ones cannot be told apart.
func introspected(url string) map[string]any {
	m := issuer(url)
	m["introspection"] = map[string]any{"clientID": "gateway", "clientSecret": "a secret of the gateway", "cache": "30s"}
	return m
}

const (
	plainTool = "everything__test_simple_text"
	otherTool = "everything__test_error_handling"
)

// outcome of a client that had nothing but an URL.
type cleanly struct {
	Tools  []string `json:"tools"`
	Calls  []bool   `json:"calls"`
	Logins int      `json:"logins"`
	Client string   `json:"client"`
	Scope  string   `json:"scope"`
}

// journey is what a client is told: the URL, the address of its own document or its id if it has one, and what to call.
type journey struct {
	URL      string           `json:"url"`
	Era      string           `json:"era"`
	Redirect string           `json:"redirect"`
	Document string           `json:"document,omitempty"`
	Known    string           `json:"known,omitempty"`
	Person   string           `json:"browser"`
	Calls    []map[string]any `json:"calls"`
}

// followers are the official clients that follow the metadata by themselves.
var followers = map[string]func(*testing.T, *parts, journey) cleanly{
	"typescript-1":        follow("oauth1.mjs", "legacy"),
	"typescript-2-legacy": follow("oauth2.mjs", "legacy"),
	"typescript-2-auto":   follow("oauth2.mjs", "auto"),
	"typescript-2-modern": follow("oauth2.mjs", "modern"),
	"go-legacy":           followGo(legacy),
	"go-modern":           followGo(modern),
}

func follow(script, era string) func(*testing.T, *parts, journey) cleanly {
	return func(t *testing.T, p *parts, j journey) (c cleanly) {
		t.Helper()
		j.Era = era
		argument, err := json.Marshal(j)
		if err != nil {
			t.Fatal(err)
		}
		stdout, _, err := runNode(t, p, filepath.Join(p.modules, script), string(argument))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(stdout, &c); err != nil {
			t.Fatalf("%v\n%s", err, stdout)
		}
		return c
	}
}

func followGo(version string) func(*testing.T, *parts, journey) cleanly {
	return func(t *testing.T, _ *parts, j journey) (c cleanly) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
		defer cancel()
		session, err := mcp.NewClient(&mcp.Implementation{Name: "toolcrib-real-test", Version: "1.0.0"}, nil).
			Connect(ctx, &mcp.StreamableClientTransport{Endpoint: j.URL, OAuthHandler: goHandler(t, j, &c)}, &mcp.ClientSessionOptions{ProtocolVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := session.Close(); err != nil {
				t.Errorf("closing the session: %v", err)
			}
		}()
		for tool, err := range session.Tools(ctx, nil) {
			if err != nil {
				t.Fatal(err)
			}
			c.Tools = append(c.Tools, tool.Name)
		}
		for _, call := range j.Calls {
			r, err := session.CallTool(ctx, &mcp.CallToolParams{Name: call["name"].(string), Arguments: call["arguments"]})
			if err != nil {
				t.Fatal(err)
			}
			c.Calls = append(c.Calls, !r.IsError)
		}
		return c
	}
}

// goHandler logs in for a client of the Go SDK.
func goHandler(t *testing.T, j journey, c *cleanly) auth.OAuthHandler {
	t.Helper()
	config := &auth.AuthorizationCodeHandlerConfig{
		RedirectURL: j.Redirect,
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			c.Logins++
			end, err := logIn(ctx, args.URL, "alice", j.Redirect)
			if err != nil {
				return nil, err
			}
			asked, err := url.Parse(args.URL)
			if err != nil {
				return nil, err
			}
			c.Client, c.Scope = asked.Query().Get("client_id"), asked.Query().Get("scope")
			u, err := url.Parse(end)
			if err != nil {
				return nil, err
			}
			q := u.Query()
			return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
		},
	}
	switch {
	case j.Document != "":
		config.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: j.Document}
	case j.Known != "":
		config.PreregisteredClient = &oauthex.ClientCredentials{ClientID: j.Known}
	default:
		config.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
			ClientName: "toolcrib-real-test", RedirectURIs: []string{j.Redirect}, TokenEndpointAuthMethod: "none", GrantTypes: []string{"authorization_code", "refresh_token"},
		}}
	}
	h, err := auth.NewAuthorizationCodeHandler(config)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// testCleanClients: from 401 to a tool, with nothing but the URL: as clients that have a document, and as clients that register.
func testCleanClients(t *testing.T, p *parts, i *identities, upstream string) {
	base := guarded(t, upstream, nil, issuer(i.rsa))
	for name, client := range followers {
		for way, document := range map[string]string{"document": i.document, "registration": ""} {
			t.Run(name+"/"+way, func(t *testing.T) {
				t.Parallel()
				c := client(t, p, journey{
					URL: base + "/mcp", Redirect: callback, Document: document, Person: i.person, Calls: []map[string]any{{"name": plainTool, "arguments": map[string]any{}}},
				})
				if !slices.Contains(c.Tools, plainTool) || !slices.Equal(c.Calls, []bool{true}) || c.Logins != 1 {
					t.Errorf("%+v; wanted the tools, a call, and one login", c)
				}
				if document != "" && c.Client != document || document == "" && (c.Client == "" || strings.Contains(c.Client, "/")) {
					t.Errorf("the client is known as %q", c.Client)
				}
			})
		}
	}
}

// testUnderPath: the same where a proxy serves the gateway under a path.
func testUnderPath(t *testing.T, p *parts, i *identities, upstream string) {
	var gateway atomic.Pointer[url.URL]
	proxy := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(gateway.Load()) }}
	front := httptest.NewServer(http.StripPrefix("/tools", proxy))
	t.Cleanup(front.Close)
	u, err := url.Parse(guarded(t, upstream, map[string]any{"publicURL": front.URL + "/tools"}, issuer(i.rsa)))
	if err != nil {
		t.Fatal(err)
	}
	gateway.Store(u)
	for _, name := range []string{"typescript-1", "typescript-2-auto", "go-modern"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := followers[name](t, p, journey{URL: front.URL + "/tools/mcp", Redirect: callback, Document: i.document, Person: i.person})
			if !slices.Contains(c.Tools, plainTool) || c.Logins != 1 {
				t.Errorf("%+v; wanted the tools and one login", c)
			}
		})
	}
}

// testStepUp: a call that needs one scope more is answered so that clients get it and go on. They have a document: this authorization
// server gives clients that registered no other scopes than those they registered with.
func testStepUp(t *testing.T, p *parts, i *identities, upstream string) {
	base := guarded(t, upstream, map[string]any{"policies": map[string]any{
		"roles": map[string]any{"look": map[string]any{"allow": []string{plainTool}}, "work": map[string]any{"allow": []string{otherTool}}},
		"bindings": []map[string]any{
			{"group": "staff", "role": "look"},
			{"group": "staff", "role": "work", "scopes": []string{"write"}},
		},
	}}, issuer(i.rsa))
	for _, name := range []string{"typescript-1", "typescript-2-legacy", "typescript-2-modern", "go-legacy", "go-modern"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := followers[name](t, p, journey{URL: base + "/mcp", Redirect: callback, Document: i.document, Person: i.person, Calls: []map[string]any{
				{"name": plainTool, "arguments": map[string]any{}}, {"name": otherTool, "arguments": map[string]any{}},
			}})
			slices.Sort(c.Tools)
			if diff := cmp.Diff([]string{otherTool, plainTool}, c.Tools); diff != "" {
				t.Errorf("tools: %s", diff)
			}
			if !slices.Equal(c.Calls, []bool{true, false}) { // the other one is a tool that fails
				t.Errorf("calls: %v", c.Calls)
			}
			if c.Logins != 2 || !slices.Contains(strings.Fields(c.Scope), "write") {
				t.Errorf("%d logins, at last with the scope %q; wanted one login for the call", c.Logins, c.Scope)
			}
		})
	}
}

// speak is a raw client with a token, in an era.
func speak(t *testing.T, url string, era testenv.Era, token string) *testenv.Client {
	t.Helper()
	c := testenv.NewClient(t, url, era)
	c.Key = token
	if era == testenv.Legacy {
		if r := c.Initialize(testenv.LegacyVersion); r.Status != http.StatusOK {
			t.Fatalf("initialize: %v", r)
		}
	}
	return c
}

// testIssuers: three issuers at once, each with another algorithm, one with tokens that only it can read. Tokens for something else
// are refused, and so is each that claims to be of another issuer.
func testIssuers(t *testing.T, _ *parts, i *identities, upstream string) {
	only := func(url, alg string) map[string]any {
		m := issuer(url)
		m["algorithms"] = []string{alg}
		return m
	}
	base := guarded(t, upstream, nil, only(i.rsa, "RS256"), only(i.edwards, "EdDSA"), introspected(i.opaque))
	sessions := map[string]*testenv.Client{}
	for name, url := range map[string]string{"rsa": i.rsa, "edwards": i.edwards, "opaque": i.opaque} {
		good := login(t, url, "alice", base+"/mcp")
		if jwt := strings.Count(good.Access, ".") == 2; jwt != (name != "opaque") {
			t.Fatalf("%s: not the kind of token that was wanted", name)
		}
		for _, era := range []testenv.Era{testenv.Modern, testenv.Legacy} { // the legacy one is kept
			c := speak(t, base+"/mcp", era, good.Access)
			if names := c.Call("tools/list", "").Names("tools"); !slices.Contains(names, plainTool) {
				t.Errorf("%s: tools are %v", name, names)
			}
			if r := c.Tool(plainTool, "{}"); r.Result() == nil {
				t.Errorf("%s: %v", name, r)
			}
			sessions[name] = c
		}
		for what, token := range map[string]string{
			"another resource": login(t, url, "alice", "http://127.0.0.1:9/mcp").Access,
			"another endpoint": login(t, url, "alice", base+"/servers/everything/mcp").Access,
			"changed":          changed(good.Access),
		} {
			c := testenv.NewClient(t, base+"/mcp", testenv.Modern)
			c.Key = token
			r := c.Call("tools/list", "")
			if challenge := r.Header.Get("Www-Authenticate"); r.Status != http.StatusUnauthorized || !strings.Contains(challenge, `error="invalid_token"`) {
				t.Errorf("%s, a token for %s: %v, challenge %q", name, what, r, challenge)
			}
		}
	}
	stolen := testenv.NewClient(t, base+"/mcp", testenv.Legacy)
	stolen.Version, stolen.Session, stolen.Key = testenv.LegacyVersion, sessions["rsa"].Session, sessions["edwards"].Key
	if r := stolen.Call("tools/list", ""); r.Status != http.StatusNotFound {
		t.Errorf("the alice of one issuer in a session of the alice of another: %v", r)
	}
}

// changed is a token with one character of its middle replaced.
func changed(token string) string {
	b := []byte(token)
	at := len(b) * 2 / 3
	if b[at]++; !regexp.MustCompile(`^[A-Za-z0-9]$`).Match(b[at : at+1]) {
		b[at] = 'A'
	}
	return string(b)
}

// testRevoked: a token that its issuer revokes is refused within auth.revocation, and what it opened ends.
func testRevoked(t *testing.T, _ *parts, i *identities, upstream string) {
	base := guarded(t, upstream, nil, issuer(i.rsa), introspected(i.opaque))
	k := login(t, i.opaque, "alice", base+"/mcp")
	c := speak(t, base+"/mcp", testenv.Legacy, k.Access)
	ear := c.Hear()
	if r := c.Tool(plainTool, "{}"); r.Result() == nil {
		t.Fatalf("%v", r)
	}
	k.revoke(t, i.opaque)
	since := time.Now()
	refused := when(t, func() bool { return c.Call("tools/list", "").Status == http.StatusUnauthorized })
	ear.Ended()
	t.Logf("refused after %v, the stream ended after %v", refused, time.Since(since).Round(time.Millisecond))
	if c.Key = login(t, i.opaque, "alice", base+"/mcp").Access; c.Call("tools/list", "").Status != http.StatusOK {
		t.Error("the session does not go on with another token of the same caller")
	}
}

// when waits until what is asked for is so, and fails when that takes longer than auth.revocation promises.
func when(t *testing.T, is func() bool) time.Duration {
	t.Helper()
	since := time.Now()
	testenv.Eventually(t, "that the change counts", is)
	took := time.Since(since).Round(time.Millisecond)
	if took > revocation+slack {
		t.Errorf("after %v; promised are %v", took, revocation)
	}
	return took
}

// testGroupLost: who is taken out of a group at the issuer loses what the group may do, in a session that goes on: with a token that is
// asked about within auth.revocation, with one that is not as soon as it is refreshed.
func testGroupLost(t *testing.T, _ *parts, i *identities, upstream string) {
	base := guarded(t, upstream, nil, issuer(i.edwards), introspected(i.opaque))
	i.groups(t, "bob", "staff")
	asked, signed := login(t, i.opaque, "bob", base+"/mcp"), login(t, i.edwards, "bob", base+"/mcp")
	a, s := speak(t, base+"/mcp", testenv.Legacy, asked.Access), speak(t, base+"/mcp", testenv.Legacy, signed.Access)
	for _, c := range []*testenv.Client{a, s} {
		if r := c.Tool(plainTool, "{}"); r.Result() == nil {
			t.Fatalf("%v", r)
		}
	}
	ear, modernEar := a.Hear(), speak(t, base+"/mcp", testenv.Modern, asked.Access).Listen("1", `{"toolsListChanged":true}`)
	i.groups(t, "bob")
	t.Logf("asked about: after %v", when(t, func() bool { return !may(a) }))
	ear.Ended()
	modernEar.Ended()
	if r := s.Tool(plainTool, "{}"); r.Result() == nil {
		t.Errorf("a token that says staff is good until it ends: %v", r)
	}
	signed = signed.refresh(t, i.edwards)
	if s.Key = signed.Access; may(s) {
		t.Error("the token that was refreshed still stands for the group")
	}
	i.groups(t, "bob", "staff")
	t.Logf("and back: after %v", when(t, func() bool { return may(a) }))
	if s.Key = signed.refresh(t, i.edwards).Access; !may(s) {
		t.Error("the session does not have the group again")
	}
}

// may tells whether a client may call the tool; list and call must agree.
func may(c *testenv.Client) bool { return c.Tool(plainTool, "{}").Result() != nil }

// testLogin: toolcrib login finds its way too, as a client that registers, and as the one that the gateway has a document of; what it
// keeps opens the gateway to other commands, and logging out revokes it.
func testLogin(t *testing.T, _ *parts, i *identities, upstream string) {
	t.Run("registration", func(t *testing.T) {
		t.Parallel()
		loginAndOut(t, i, guarded(t, upstream, nil, issuer(i.rsa)), "alice")
	})
	t.Run("document", func(t *testing.T) {
		t.Parallel()
		loginAndOut(t, i, guardedTLS(t, i, upstream), "alice")
	})
}

// guardedTLS starts a gateway that serves https.
func guardedTLS(t *testing.T, i *identities, upstream string) string {
	t.Helper()
	binary, err := gatewayBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, err := json.Marshal(guards(upstream, map[string]any{
		"stateDir": filepath.Join(dir, "state"), "tls": map[string]any{"cert": i.cert, "key": i.key}, "log": map[string]any{"level": "debug"},
	}, issuer(i.rsa)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "toolcrib.json")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddr(t)
	start(t, binary, "serve", path, "--listen", address)
	testenv.Eventually(t, "the gateway to listen", func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return "https://" + address
}

var shownAddress = regexp.MustCompile(`(?m)^ +(https?://\S+)$`)

// loginAndOut logs alice in on a terminal, uses it, and logs out.
func loginAndOut(t *testing.T, i *identities, base, subject string, flags ...string) {
	t.Helper()
	env := append(os.Environ(), "XDG_CONFIG_HOME="+t.TempDir(), "SSL_CERT_FILE="+i.cert)
	out := command(t, env, append([]string{"login", base, "--no-browser"}, flags...)...)
	if !strings.Contains(out, " as "+subject+" ") {
		t.Errorf("login: %s", out)
	}
	if out := command(t, env, "whoami", "--url", base); !strings.Contains(out, "staff") ||
		strings.HasPrefix(base, "https:") != strings.Contains(out, base+"/.well-known/toolcrib-client.json") {
		t.Errorf("whoami: %s", out)
	}
	if out := command(t, env, "tools", "--url", base+"/mcp"); !strings.Contains(out, plainTool) {
		t.Errorf("tools: %s", out)
	}
	if out := command(t, env, "logout", base); !strings.Contains(out, "Logged out") {
		t.Errorf("logout: %s", out)
	}
}

// command runs the binary; where it shows an address, alice logs in there, and goes where she is sent.
func command(t *testing.T, env []string, args ...string) string {
	t.Helper()
	binary, err := gatewayBinary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = env
	shown := &watcher{found: make(chan string, 1)}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, shown
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case address := <-shown.found:
			goThere(ctx, t, address)
		case err := <-done:
			if err != nil {
				t.Errorf("toolcrib %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), shown)
			}
			return out.String()
		}
	}
}

// goThere has alice log in at an address, and go where she is sent.
func goThere(ctx context.Context, t *testing.T, address string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	end, err := logIn(ctx, address, "alice", u.Query().Get("redirect_uri"))
	if err != nil {
		t.Error(err)
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, end, nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, page := exchange(t, http.DefaultClient, req); status != http.StatusOK {
		t.Errorf("the end of the login: HTTP %d %s", status, page)
	}
}

// watcher keeps what a command prints, and hands on the first address.
type watcher struct {
	tail

	once  sync.Once
	found chan string
}

func (w *watcher) Write(p []byte) (int, error) {
	n, err := w.tail.Write(p)
	if m := shownAddress.FindStringSubmatch(w.String()); m != nil {
		w.once.Do(func() { w.found <- m[1] })
	}
	return n, err
}
