package login_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/toolcrib/toolcrib/cli/login"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a gateway and an authorization server, of which tests bend what they say.
type world struct {
	*httptest.Server
	t *testing.T
	// prm and meta change the documents; nil values take a member out.
	prm, meta map[string]any
	// answer changes what comes back to the loopback address; token what the token endpoint says.
	answer, token map[string]any
	// tokenStatus is that of the token endpoint.
	tokenStatus int

	mu         sync.Mutex
	challenge  string
	registered string
	asked      []string // paths
	forms      []url.Values
	live       int // number of the access token
}

func newWorld(t *testing.T) *world {
	w := &world{t: t}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	return w
}

func bent(doc, with map[string]any) map[string]any {
	for k, v := range with {
		if v == nil {
			delete(doc, k)
		} else {
			doc[k] = v
		}
	}
	return doc
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, r.URL.Path)
	if r.Header.Get("Authorization") != "" && r.URL.Path != control.Prefix+"whoami" {
		w.t.Errorf("%s gets a credential", r.URL.Path)
	}
	reply := func(status int, doc any) {
		rw.Header().Set("Content-Type", "application/json")
		rw.WriteHeader(status)
		if err := json.NewEncoder(rw).Encode(doc); err != nil {
			w.t.Error(err)
		}
	}
	switch r.URL.Path {
	case "/.well-known/oauth-protected-resource":
		reply(200, bent(map[string]any{"resource": w.URL, "authorization_servers": []string{w.URL + "/as"}, "scopes_supported": []string{"mcp"}}, w.prm))
	case "/.well-known/oauth-authorization-server/as":
		reply(200, bent(map[string]any{
			"issuer": w.URL + "/as", "authorization_endpoint": w.URL + "/auth?tenant=1", "token_endpoint": w.URL + "/token", "registration_endpoint": w.URL + "/reg",
			"revocation_endpoint": w.URL + "/revoke", "response_types_supported": []string{"code"}, "code_challenge_methods_supported": []string{"S256"},
			"scopes_supported": []string{"mcp", "offline_access"}, "authorization_response_iss_parameter_supported": true,
		}, w.meta))
	case "/reg":
		var c control.OAuthClient
		_ = json.NewDecoder(r.Body).Decode(&c)
		w.registered = strings.Join(c.RedirectURIs, " ")
		reply(201, map[string]any{"client_id": "c1", "token_endpoint_auth_method": "none"})
	case "/token":
		w.exchange(r, reply)
	case "/revoke":
		_ = r.ParseForm()
		w.forms = append(w.forms, r.PostForm)
	default:
		http.NotFound(rw, r)
	}
}

func (w *world) exchange(r *http.Request, reply func(int, any)) {
	_ = r.ParseForm()
	w.forms = append(w.forms, r.PostForm)
	sum := sha256.Sum256([]byte(r.PostForm.Get("code_verifier")))
	switch {
	case w.tokenStatus != 0:
		reply(w.tokenStatus, w.token)
		return
	case r.PostForm.Get("resource") != w.URL || r.PostForm.Get("client_id") != "c1":
		reply(400, map[string]any{"error": "invalid_target"})
		return
	case r.PostForm.Get("grant_type") == "authorization_code" && (r.PostForm.Get("code") != "good" || base64.RawURLEncoding.EncodeToString(sum[:]) != w.challenge ||
		r.PostForm.Get("redirect_uri") != w.registered):
		reply(400, map[string]any{"error": "invalid_grant"})
		return
	case r.PostForm.Get("grant_type") == "refresh_token" && r.PostForm.Get("refresh_token") != fmt.Sprint("r", w.live):
		reply(400, map[string]any{"error": "invalid_grant", "error_description": "used \x1b[31mtwice"})
		return
	}
	w.live++
	reply(200, bent(map[string]any{
		"access_token": fmt.Sprint("t", w.live), "token_type": "Bearer", "expires_in": 3600, "refresh_token": fmt.Sprint("r", w.live),
	}, w.token))
}

// browse is the person: it goes to the address and comes back from it.
func (w *world) browse(address string) {
	u, err := url.Parse(address)
	if err != nil {
		w.t.Errorf("%v", err)
		return
	}
	q := u.Query()
	w.mu.Lock()
	w.challenge = q.Get("code_challenge")
	answer := map[string]any{"code": "good", "state": q.Get("state"), "iss": w.URL + "/as"}
	bent(answer, w.answer)
	w.mu.Unlock()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": "c1", "resource": w.URL, "code_challenge_method": "S256", "tenant": "1", "scope": "mcp offline_access",
	} {
		if q.Get(name) != want {
			w.t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || back.Hostname() != "127.0.0.1" {
		w.t.Errorf("redirect to %s: %v", back, err)
		return
	}
	come := func(values url.Values) string {
		at := *back
		at.RawQuery = values.Encode()
		resp, err := http.Get(at.String())
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	// Others, who do not know the state, change nothing.
	for _, stranger := range []url.Values{{}, {"code": {"evil"}}, {"code": {"evil"}, "state": {"guess"}}, {"error": {"access_denied"}, "state": {"", ""}}} {
		if body := come(stranger); !strings.Contains(body, "not the end of a login") {
			w.t.Errorf("%v: %s", stranger, body)
		}
	}
	values := url.Values{}
	for k, v := range answer {
		values.Set(k, fmt.Sprint(v))
	}
	come(values)
	http.DefaultClient.CloseIdleConnections()
}

func (w *world) run(flow login.Flow) (*login.Credential, error) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	flow.HTTP = control.NewClient()
	defer flow.HTTP.CloseIdleConnections()
	var browser sync.WaitGroup
	defer browser.Wait()
	flow.Show = func(address string) { browser.Go(func() { w.browse(address) }) }
	return flow.Run(ctx, w.URL)
}

func TestLogin(t *testing.T) {
	w := newWorld(t)
	c, err := w.run(login.Flow{})
	if err != nil || c.Token() != "t1" || c.RefreshToken != "r1" || c.Expires.Before(time.Now().Add(50*time.Minute)) || c.Resource != w.URL {
		t.Fatalf("%+v, %v", c, err)
	}
}

// TestHostile: what a gateway or an authorization server says is refused before anything is opened or sent.
func TestHostile(t *testing.T) {
	s := func(v ...string) []string { return v }
	type bend struct {
		name string
		w    func(*world)
		want string
	}
	var tests []bend
	for _, address := range hostile(t) {
		for _, name := range s("authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint") {
			tests = append(tests, bend{name + " " + address, func(w *world) { w.meta = map[string]any{name: address} }, name})
		}
		tests = append(tests, bend{"server " + address, func(w *world) { w.prm = map[string]any{"authorization_servers": s(address)} }, "authorization server"})
	}
	tests = append(tests, []bend{
		{"another resource", func(w *world) { w.prm = map[string]any{"resource": "https://bank.example"} }, "of use to somebody else"},
		{"no servers", func(w *world) { w.prm = map[string]any{"authorization_servers": s()} }, "names no authorization server"},
		{"several servers", func(w *world) {
			w.prm = map[string]any{"authorization_servers": s("https://a.example", "https://b.example")}
		}, "--issuer"},
		{"another issuer", func(w *world) { w.meta = map[string]any{"issuer": "https://bank.example"} }, "says that it is"},
		{"issuer with a slash", func(w *world) { w.meta = map[string]any{"issuer": w.URL + "/as/"} }, "says that it is"},
		{"no PKCE", func(w *world) { w.meta = map[string]any{"code_challenge_methods_supported": nil} }, "PKCE"},
		{"plain PKCE", func(w *world) { w.meta = map[string]any{"code_challenge_methods_supported": s("plain")} }, "PKCE"},
		{"no code", func(w *world) { w.meta = map[string]any{"response_types_supported": s("token")} }, "gives no codes"},
		{"no registration", func(w *world) { w.meta = map[string]any{"registration_endpoint": nil} }, "--client-id"},
		{"huge document", func(w *world) { w.meta = map[string]any{"x": strings.Repeat("x", 2<<20)} }, "more than"},
		{"iss of another", func(w *world) { w.answer = map[string]any{"iss": "https://bank.example"} }, "another authorization server answered"},
		{"no iss", func(w *world) { w.answer = map[string]any{"iss": nil} }, "does not say which authorization server"},
		{"iss of another where none is promised", func(w *world) {
			w.meta = map[string]any{"authorization_response_iss_parameter_supported": nil}
			w.answer = map[string]any{"iss": "https://bank.example"}
		}, "another authorization server answered"},
		{"error of another", func(w *world) {
			w.answer = map[string]any{"iss": "https://bank.example", "error": "x", "error_description": "call 555-0100"}
		}, "nothing of its answer is used"},
		{"denied", func(w *world) {
			w.answer = map[string]any{"error": "access_denied", "error_description": "no \x1b[2Jway"}
		}, "access_denied no ?[2Jway"},
		{"no code in the answer", func(w *world) { w.answer = map[string]any{"code": nil} }, "has no code"},
		{"another code", func(w *world) { w.answer = map[string]any{"code": "evil"} }, "invalid_grant"},
		{"token of another type", func(w *world) { w.token = map[string]any{"token_type": "DPoP"} }, "none that can be sent"},
		{"token with a line break", func(w *world) { w.token = map[string]any{"access_token": "a\r\nX-Evil: 1"} }, "none that can be sent"},
		{"token is an object", func(w *world) { w.token = map[string]any{"access_token": map[string]any{}} }, "not what it should be"},
		{"token endpoint fails", func(w *world) { w.tokenStatus = 500 }, "HTTP 500"},
		{"token endpoint leads elsewhere", func(w *world) { w.tokenStatus = 307 }, "HTTP 307"},
	}...)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			tt.w(w)
			c, err := w.run(login.Flow{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%+v, %v, want %q", c, err, tt.want)
			}
			if strings.ContainsAny(err.Error(), "\x1b\r\x00") || strings.Contains(err.Error(), "555-0100") || len(err.Error()) > 4000 {
				t.Errorf("the error tells what it should not: %q", err)
			}
		})
	}
}

// hostile are addresses of testdata/hostile.txt, one a line, in the syntax of Go's strings.
func hostile(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/hostile.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		var address string
		if err := json.Unmarshal([]byte(line), &address); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, address)
	}
	return all
}

// TestOpen: no program is started for a hostile address.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	trap := filepath.Join(dir, "opened")
	for _, name := range []string{"xdg-open", "open", "rundll32", "sh", "cmd"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\necho \"$@\" >> "+trap+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, address := range hostile(t) {
		if err := login.Open(t.Context(), address); err == nil {
			t.Errorf("%q was opened", address)
		}
	}
	if b, err := os.ReadFile(trap); err == nil {
		t.Errorf("opened %s", b)
	}
	const good = "https://idp.example/auth?a=b&c=$(touch%20x)"
	if err := login.Open(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the address is opened, as it is", func() bool {
		b, err := os.ReadFile(trap)
		return err == nil && string(b) == good+"\n"
	})
}

// TestKept: tokens are kept for their owner only, replaced before they end, by one process for all, and revoked in the end.
func TestKept(t *testing.T) {
	w := newWorld(t)
	c, err := w.run(login.Flow{})
	if err != nil {
		t.Fatal(err)
	}
	c.Expires = time.Now().Add(10 * time.Second)
	f := &login.File{Path: filepath.Join(t.TempDir(), "toolcrib", "credentials.json")}
	client := control.NewClient()
	defer client.CloseIdleConnections()
	if err := f.Put(t.Context(), w.URL, c); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{f.Path: 0o600, filepath.Dir(f.Path): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if c, err := f.Get(t.Context(), client, w.URL); err != nil || c.Token() != "t2" {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
	wg.Wait()
	if none, err := f.Get(t.Context(), client, "https://other.example"); none != nil || err != nil {
		t.Errorf("another gateway gets %+v, %v", none, err)
	}
	if was, err := f.Remove(t.Context(), client, w.URL); !was || err != nil {
		t.Errorf("%v, %v", was, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if last := w.forms[len(w.forms)-1]; last.Get("token") != "r2" || last.Get("client_id") != "c1" {
		t.Errorf("revoked %v", last)
	}
	if b, err := os.ReadFile(f.Path); err != nil || strings.Contains(string(b), "r2") || strings.Contains(string(b), "t2") {
		t.Errorf("left behind: %s %v", b, err)
	}
}

// TestEnds: a refresh token that is not taken any more is a login to be done again; an authorization server that is away costs
// nothing as long as the token is good.
func TestEnds(t *testing.T) {
	w := newWorld(t)
	c, err := w.run(login.Flow{})
	if err != nil {
		t.Fatal(err)
	}
	client := control.NewClient()
	defer client.CloseIdleConnections()
	f := &login.File{Path: filepath.Join(t.TempDir(), "credentials.json")}
	get := func(change func(*login.Credential)) error {
		next := *c
		change(&next)
		if err := f.Put(t.Context(), w.URL, &next); err != nil {
			t.Fatal(err)
		}
		_, err := f.Get(t.Context(), client, w.URL)
		return err
	}
	past := time.Now().Add(-time.Hour)
	if err := get(func(c *login.Credential) { c.Expires, c.RefreshToken = past, "r0" }); err == nil || !strings.Contains(err.Error(), "log in again") {
		t.Errorf("a used refresh token: %v", err)
	} else if strings.Contains(err.Error(), "\x1b") || strings.Contains(err.Error(), "r0") {
		t.Errorf("the error tells what it should not: %q", err)
	}
	if err := get(func(c *login.Credential) { c.Expires, c.RefreshToken = past, "" }); err == nil || !strings.Contains(err.Error(), "log in again") {
		t.Errorf("no refresh token: %v", err)
	}
	away := "http://127.0.0.1:1/token"
	if err := get(func(c *login.Credential) { c.Expires, c.TokenEndpoint = time.Now().Add(30*time.Second), away }); err != nil {
		t.Errorf("good for half a minute, and nobody to ask: %v", err)
	}
	if err := get(func(c *login.Credential) { c.Expires, c.TokenEndpoint = past, away }); err == nil {
		t.Error("a token that ended is used")
	}
}

func TestOrigin(t *testing.T) {
	for text, want := range map[string]string{
		"https://Tools.Example.com/mcp": "https://tools.example.com", "https://a:443": "https://a", "https://a:8443/x?y": "https://a:8443",
		"http://127.0.0.1:8080/mcp": "http://127.0.0.1:8080", "http://localhost:80": "http://localhost", "http://[::1]:8080": "http://[::1]:8080",
		"http://tools.example.com": "", "https://u@a": "", "ftp://a": "", "a": "", "": "", "https://": "", "https://a/#x": "",
	} {
		got, err := login.Origin(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
}

func FuzzOrigin(f *testing.F) {
	f.Add("https://a.example/b")
	f.Add("http://127.0.0.1:1")
	f.Add("https://-a")
	f.Fuzz(func(t *testing.T, text string) {
		origin, err := login.Origin(text)
		if err != nil {
			return
		}
		if again, err := login.Origin(origin); err != nil || again != origin {
			t.Errorf("%q: %q, then %q, %v", text, origin, again, err)
		}
		if !strings.HasPrefix(origin, "https://") && !slices.ContainsFunc([]string{"http://127.", "http://localhost", "http://[", "http://0"}, func(p string) bool { return strings.HasPrefix(origin, p) }) {
			t.Errorf("%q is taken for %q", text, origin)
		}
	})
}
