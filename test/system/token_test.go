package system_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"maps"
	mathbig "math/big"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// tokened is a gateway of two servers that takes the tokens of an issuer.
func tokened(t *testing.T, i *testenv.Issuer, more map[string]any) (*testenv.Gateway, *testenv.Server) {
	t.Helper()
	one := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	auth := map[string]any{"issuers": []any{i.Entry(map[string]any{"scopes": []string{"mcp"}, "name": "test"})}, "revocation": "1s"}
	maps.Copy(auth, more)
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": one, "two": testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})},
		More:    map[string]any{"auth": auth},
	})
	return g, one
}

var metadataParam = regexp.MustCompile(`resource_metadata="([^"]*)"`)

// TestTokenJourney: from 401 through the metadata to a listed tool, at each kind of endpoint and in both eras.
func TestTokenJourney(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "/realm")
	g, _ := tokened(t, i, nil)
	for _, path := range []string{"/mcp", "/servers/one/mcp"} {
		for _, era := range []testenv.Era{testenv.Modern, testenv.Legacy} {
			c := speaks(g, era, path, holder{})
			refused := c.Do(testenv.Request{Method: "tools/list"})
			challenge := refused.Header.Get("WWW-Authenticate")
			at := metadataParam.FindStringSubmatch(challenge)
			if refused.Status != 401 || at == nil || strings.Contains(challenge, "error=") || !strings.Contains(challenge, `scope="mcp"`) {
				t.Fatalf("%s: %v, challenge %q", path, refused, challenge)
			}
			if want := g.URL + "/.well-known/oauth-protected-resource" + path; at[1] != want {
				t.Errorf("metadata at %s, want %s", at[1], want)
			}
			status, body := g.Get(strings.TrimPrefix(at[1], g.URL), http.Header{"Origin": {"http://localhost:6274"}})
			var doc struct {
				Resource string   `json:"resource"`
				Servers  []string `json:"authorization_servers"`
			}
			if err := json.Unmarshal([]byte(body), &doc); err != nil || status != 200 || doc.Resource != g.URL+path || doc.Servers[0] != i.URL {
				t.Fatalf("metadata: %d %s", status, body)
			}
			c.Key = i.Token("alice", doc.Resource, testenv.Claims{"scope": "mcp"})
			if r := opens(c); r != nil {
				t.Fatalf("initialize: %v", r)
			}
			if r := c.Do(testenv.Request{Method: "tools/list"}); len(r.Names("tools")) == 0 {
				t.Errorf("%s: %v", path, r)
			}
		}
	}
}

// TestTokenRefusals: what clients are told of tokens that are no good, at any endpoint.
func TestTokenRefusals(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g, one := tokened(t, i, nil)
	for name, tt := range map[string]struct {
		token  string
		status int
		want   string
	}{
		"of the other server": {i.Token("alice", g.URL+"/servers/two/mcp", testenv.Claims{"scope": "mcp"}), 401, `error="invalid_token"`},
		"without the scope":   {i.Token("alice", g.URL+"/servers/one/mcp", nil), 403, `error="insufficient_scope"`},
		"expired":             {i.Token("alice", g.URL, testenv.Claims{"exp": 1000}), 401, "it expired at 1970"},
		"nonsense":            {"nonsense", 401, `error="invalid_token"`},
	} {
		for _, era := range []testenv.Era{testenv.Modern, testenv.Legacy} {
			r := speaks(g, era, "/servers/one/mcp", holder{key: tt.token}).Do(testenv.Request{Method: "tools/list"})
			challenge := r.Header.Get("WWW-Authenticate")
			if r.Status != tt.status || !strings.Contains(challenge, tt.want) || !strings.Contains(challenge, "resource_metadata=") {
				t.Errorf("%s: %v, challenge %q", name, r, challenge)
			}
		}
		if strings.Contains(g.Log(), tt.token) && len(tt.token) > 10 {
			t.Errorf("%s: the log shows the token", name)
		}
	}
	if len(one.Received("tools/list")) > 1 {
		t.Errorf("the server was asked %d times", len(one.Received("tools/list")))
	}
	if code, body := g.Get("/.well-known/oauth-protected-resource/servers/nobody/mcp", nil); code != 200 || !strings.Contains(body, "nobody") {
		t.Errorf("the metadata tell which servers there are: %d %s", code, body)
	}
}

// TestIssuerAway: a token that cannot be checked is no reason to get another one.
func TestIssuerAway(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	i.Close() // before the gateway starts, which fetches the keys at once
	g, _ := tokened(t, i, nil)
	for _, era := range []testenv.Era{testenv.Modern, testenv.Legacy} {
		r := speaks(g, era, "/mcp", holder{key: i.Token("alice", g.URL, testenv.Claims{"scope": "mcp"})}).Do(testenv.Request{Method: "tools/list"})
		if r.Status != 503 || r.Header.Get("Retry-After") == "" || r.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%v, header %v", r, r.Header)
		}
	}
}

// TestTokenSessions: a session survives its caller's next token, is of no use to anybody else, also of the same name, and no
// server sees a token.
func TestTokenSessions(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g, one := tokened(t, i, map[string]any{"apiKeys": []any{map[string]any{"name": "alice", "key": keyOf("alice")}}})
	token := func(name string) string { return i.Token(name, g.URL, testenv.Claims{"scope": "mcp"}) }
	alice := g.LegacyOf("/mcp", testenv.LegacyVersion, token("alice"))
	if r := alice.Tool("one__t0", "{}"); r.Status != 200 {
		t.Fatal(r)
	}
	for name, key := range map[string]string{"bob": token("bob"), "a key of the same name": keyOf("alice")} {
		thief := g.Takes(alice, "/mcp")
		thief.Key = key
		if r := thief.Call("tools/list", ""); r.Status != 404 {
			t.Errorf("%s: %v", name, r)
		}
	}
	used := []string{alice.Key, token("alice")}
	alice.Key = used[1]
	if r := alice.Tool("one__t0", "{}"); r.Status != 200 {
		t.Errorf("after a refresh: %v", r)
	}
	for _, r := range one.Received("") {
		for _, values := range r.Header {
			for _, value := range values {
				if strings.Contains(value, used[0]) || strings.Contains(value, used[1]) {
					t.Errorf("the server was sent the token: %s", r.Method)
				}
			}
		}
	}
	if strings.Contains(g.Log(), used[0]) || strings.Contains(g.Log(), used[1]) {
		t.Error("the log shows a token")
	}
}

// reset tells whether a connection was ended with something of it unread.
func reset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// TestVerdictOfRawRequests: however the target, Host and Authorization are written, nobody gets in without a credential.
func TestVerdictOfRawRequests(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	g, _ := tokened(t, i, nil)
	address := strings.TrimPrefix(g.URL, "http://")
	good := "Authorization: Bearer " + i.Token("alice", g.URL, testenv.Claims{"scope": "mcp"})
	const body = `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",` +
		`"io.modelcontextprotocol/clientCapabilities":{}}}}`
	ask := func(target string, headers ...string) int {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(testenv.Patience))
		headers = append(headers, "Content-Type: application/json", "Accept: application/json, text/event-stream", "MCP-Protocol-Version: 2026-07-28",
			"Mcp-Method: tools/list", "Connection: close", "Content-Length: "+mathbig.NewInt(int64(len(body))).String())
		if _, err := conn.Write([]byte("POST " + target + " HTTP/1.1\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n" + body)); err != nil && !reset(err) {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if reset(err) {
			return http.StatusRequestHeaderFieldsTooLarge // what it did not read undoes what it answered
		}
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	host := "Host: " + address
	for name, tt := range map[string]struct {
		want    int
		target  string
		headers []string
	}{
		"right":                        {200, "/mcp", []string{host, good}},
		"no credential":                {401, "/mcp", []string{host}},
		"absolute form":                {401, g.URL + "/mcp", []string{host}},
		"absolute form, credential":    {200, g.URL + "/mcp", []string{host, good}},
		"absolute form, other host":    {403, "http://evil.example/mcp", []string{host}},
		"absolute form, hidden host":   {403, "http://evil.example/mcp", []string{host, good}},
		"two hosts":                    {400, "/mcp", []string{host, host, good}},
		"two different hosts":          {400, "/mcp", []string{host, "Host: evil.example"}},
		"malformed host":               {400, "/mcp", []string{"Host: a b", good}},
		"user in host":                 {400, "/mcp", []string{"Host: x@" + address, good}},
		"no host":                      {400, "/mcp", []string{good}},
		"empty host":                   {403, "/mcp", []string{"Host:", good}},
		"host with a path":             {400, "/mcp", []string{"Host: " + address + "/mcp", good}},
		"two credentials":              {401, "/mcp", []string{host, good, good}},
		"two credentials, one empty":   {401, "/mcp", []string{host, good, "Authorization:"}},
		"credential folded into one":   {401, "/mcp", []string{host, good + ", Bearer x"}},
		"two credentials, two cases":   {401, "/mcp", []string{host, good, "authorization: Bearer x"}},
		"another scheme":               {401, "/mcp", []string{host, strings.Replace(good, "Bearer", "Basic", 1)}},
		"scheme twice":                 {401, "/mcp", []string{host, strings.Replace(good, "Bearer ", strings.Repeat("Bearer ", 2), 1)}},
		"control character in it":      {400, "/mcp", []string{host, good + "\x00"}},
		"20 KB":                        {401, "/mcp", []string{host, good + strings.Repeat("x", 20_000)}},
		"100 KB":                       {431, "/mcp", []string{host, good + strings.Repeat("x", 100_000)}},
		"credential in the query":      {401, "/mcp?access_token=" + strings.TrimPrefix(good, "Authorization: Bearer "), []string{host}},
		"encoded path":                 {401, "/%6dcp", []string{host}},
		"encoded path of a server":     {401, "/servers/%6fne/mcp", []string{host}},
		"dots":                         {404, "/health/../mcp", []string{host}},
		"behind a public path":         {404, "/health/mcp", []string{host}},
		"metadata in front":            {405, "/.well-known/oauth-protected-resource/mcp", []string{host}},
		"encoded slash in the name":    {404, "/servers/one%2Fmcp/mcp", []string{host}},
		"another gateway's Host, good": {403, "/mcp", []string{"Host: evil.example", good}},
	} {
		if got := ask(tt.target, tt.headers...); got != tt.want {
			t.Errorf("%s: HTTP %d, want %d", name, got, tt.want)
		}
	}
}

// pair writes a certificate and its key as files; by signs it, else it signs itself.
func pair(t *testing.T, dir, name string, c *x509.Certificate, by *tls.Certificate) tls.Certificate {
	t.Helper()
	made := testenv.Certificate(t, c, by)
	testenv.WriteCertificate(t, dir, name, made)
	return made
}

// TestTLS: the gateway serves https, takes clients by their certificates, and reads its files again.
func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	serving := func() *x509.CertPool {
		made := pair(t, dir, "server", &x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil)
		pool := x509.NewCertPool()
		pool.AddCert(made.Leaf)
		return pool
	}
	authority := func() tls.Certificate {
		return pair(t, dir, "ca", &x509.Certificate{
			Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}, nil)
	}
	client := func(ca tls.Certificate) tls.Certificate {
		return pair(t, dir, "client", &x509.Certificate{
			Subject: pkix.Name{CommonName: "alice"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, &ca)
	}
	roots, ca := serving(), authority()
	c := testenv.One(testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)}))
	c.More = map[string]any{
		"tls":  map[string]any{"cert": dir + "/server.crt", "key": dir + "/server.key", "clientCA": dir + "/ca.crt"},
		"auth": map[string]any{"clientCertificates": map[string]any{}, "apiKeys": []any{map[string]any{"name": "bob", "key": keyOf("bob")}}},
	}
	g := testenv.Serve(t, c)
	if !strings.HasPrefix(g.URL, "https://127.0.0.1:") {
		t.Fatalf("serves at %s", g.URL)
	}
	get := func(roots *x509.CertPool, key string, shown ...tls.Certificate) (int, error) {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: shown}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+"/mcp", strings.NewReader(
			`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"x","version":"1"}}}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
		if key != "" {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		resp, err := (&http.Client{Transport: transport, Timeout: testenv.Patience}).Do(r)
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.TLS.Version < tls.VersionTLS12 {
			t.Errorf("%s over TLS %x", resp.Proto, resp.TLS.Version)
		}
		return resp.StatusCode, nil
	}
	alice := client(ca)
	if code, err := get(roots, "", alice); code != 200 {
		t.Errorf("with a certificate: %d, %v", code, err)
	}
	if code, err := get(roots, keyOf("bob")); code != 200 {
		t.Errorf("with a key: %d, %v", code, err)
	}
	if code, err := get(roots, ""); code != 401 {
		t.Errorf("with nothing: %d, %v", code, err)
	}
	if code, err := get(roots, "", client(pair(t, t.TempDir(), "other", &x509.Certificate{IsCA: true, BasicConstraintsValid: true}, nil))); err == nil && code != 401 {
		t.Errorf("with a certificate of another authority: %d", code)
	}
	next := serving()
	testenv.Eventually(t, "the new certificate is served", func() bool {
		code, err := get(next, "", alice)
		return err == nil && code == 200
	})
	newCA := authority()
	testenv.Eventually(t, "clients of the old authority are refused", func() bool {
		code, err := get(next, "", alice)
		return err != nil || code == 401
	})
	if code, err := get(next, "", client(newCA)); code != 200 {
		t.Errorf("of the new authority: %d, %v", code, err)
	}
	if err := os.WriteFile(dir+"/server.crt", []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the log tells", func() bool { return strings.Contains(g.Log(), "cannot be used") })
	if code, err := get(next, keyOf("bob")); code != 200 {
		t.Errorf("files that cannot be used replaced those that could: %d, %v", code, err)
	}
}
