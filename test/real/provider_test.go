package real_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// identities are the authorization servers that npm/idp.mjs runs in one process: each signs another way.
type identities struct {
	rsa, edwards, opaque string // their identifiers; opaque gives out tokens that only it can read

	cert, key string // files of a certificate for loopback addresses, which all trust
	document  string // a client id metadata document, by its address
	person    string // where clients in other processes have their user log in: the address goes in, where the user ends comes out
}

// callback is where logins end that clients of a test take part in. Nothing needs to listen there.
const callback = "http://127.0.0.1:9/callback"

func startIdentities(t *testing.T, p *parts) *identities {
	t.Helper()
	i := &identities{}
	type issuer struct {
		Address string `json:"address"`
		Alg     string `json:"alg"`
		Format  string `json:"format"`
	}
	var all []issuer
	for _, each := range []struct {
		url         *string
		alg, format string
	}{{&i.rsa, "RS256", "jwt"}, {&i.edwards, "EdDSA", "jwt"}, {&i.opaque, "ES256", "opaque"}} {
		address := freeAddr(t)
		*each.url = "http://" + address
		all = append(all, issuer{address, each.alg, each.format})
	}
	argument, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	i.certificate(t)
	i.host(t)
	start(t, "env", "NODE_EXTRA_CA_CERTS="+i.cert, p.node, filepath.Join(p.modules, "idp.mjs"), string(argument))
	for _, each := range all {
		waitFor(t, "http://"+each.Address+"/jwks", 300)
	}
	return i
}

func (i *identities) certificate(t *testing.T) {
	t.Helper()
	i.cert, i.key = testenv.WriteCertificate(t, t.TempDir(), "loopback", testenv.Certificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "of a test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}, nil))
}

// host serves the document of a client, and logs in users of clients in other processes.
func (i *identities) host(t *testing.T) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(i.cert, i.key)
	if err != nil {
		t.Fatal(err)
	}
	documents := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"client_id":%q,"client_name":"of a test","redirect_uris":[%q],"response_types":["code"],`+
			`"grant_types":["authorization_code"],"token_endpoint_auth_method":"none"}`, i.document, callback)
	}))
	documents.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	documents.StartTLS()
	t.Cleanup(documents.Close)
	i.document = documents.URL + "/client.json"
	person := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		end, err := logIn(r.Context(), string(address), "alice", callback)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = io.WriteString(w, end)
	}))
	t.Cleanup(person.Close)
	i.person = person.URL
}

// groups sets what groups somebody has, at all of the authorization servers.
func (i *identities) groups(t *testing.T, name string, groups ...string) {
	t.Helper()
	body, err := json.Marshal(append([]string{}, groups...))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, i.rsa+"/test/groups/"+name, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if status, answer := exchange(t, http.DefaultClient, req); status != http.StatusNoContent {
		t.Fatalf("HTTP %d %s", status, answer)
	}
}

func exchange(t *testing.T, c *http.Client, req *http.Request) (int, string) {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

var (
	pageForm   = regexp.MustCompile(`(?s)<form.*?</form>`) // the first one goes on, others go back
	formAction = regexp.MustCompile(`<form[^>]*\saction="([^"]*)"`)
	formHidden = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)"`)
)

// logIn does what a person does in a browser, without one: it logs in, consents, and ends where the address begins with end. It
// knows the pages of oidc-provider and of Dex.
func logIn(ctx context.Context, address, name, end string) (string, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	errEnd := errors.New("the end")
	var last string
	c := &http.Client{Jar: jar, Timeout: startTimeout, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if last = r.URL.String(); strings.HasPrefix(last, end) {
			return errEnd
		}
		return nil
	}}
	var form url.Values
	for range 8 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if form != nil {
			req, err = http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
		}
		if err != nil {
			return "", err
		}
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := c.Do(req)
		if errors.Is(err, errEnd) {
			if !strings.Contains(last, "code=") {
				return "", fmt.Errorf("the login failed: %s", last)
			}
			return last, nil
		}
		if err != nil {
			return "", err
		}
		page, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil {
			return "", err
		}
		next, fields, err := submission(res.Request.URL, page)
		if res.StatusCode != http.StatusOK || err != nil {
			return "", fmt.Errorf("%s: HTTP %d: no page with a form: %s", res.Request.URL, res.StatusCode, clip(string(page)))
		}
		address, form = next, fields
		form.Set("login", name)
		form.Set("password", "password")
	}
	return "", errors.New("the login does not end")
}

// submission is where the form of a page goes, and what it sends besides what a person types.
func submission(at *url.URL, page []byte) (address string, fields url.Values, err error) {
	form := pageForm.Find(page)
	if form == nil {
		return "", nil, errors.New("no form")
	}
	next := at
	if action := formAction.FindSubmatch(form); action != nil {
		if next, err = at.Parse(html.UnescapeString(string(action[1]))); err != nil {
			return "", nil, err
		}
	}
	fields = url.Values{}
	for _, hidden := range formHidden.FindAllSubmatch(form, -1) {
		fields.Set(string(hidden[1]), html.UnescapeString(string(hidden[2])))
	}
	return next.String(), fields, nil
}

// tokens are what somebody holds after a login.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Scope   string `json:"scope"`
}

// login gets tokens for somebody, for a resource, at one of identities: as its client test.
func login(t *testing.T, issuer, name, resource string) tokens {
	t.Helper()
	return loginAs(t, issuer, name, url.Values{"client_id": {"test"}, "resource": {resource}, "scope": {"openid offline_access tools"}, "prompt": {"consent"}})
}

// loginAs gets tokens for somebody as the client that asks.
func loginAs(t *testing.T, issuer, name string, asks url.Values) tokens {
	t.Helper()
	verifier := rand.Text() + rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"response_type": {"code"}, "redirect_uri": {callback}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	maps.Copy(q, asks)
	end, err := logIn(t.Context(), issuer+"/auth?"+q.Encode(), name, callback)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(end)
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": u.Query()["code"], "redirect_uri": {callback}, "code_verifier": {verifier}}
	for _, name := range []string{"client_id", "resource"} {
		form[name] = asks[name]
	}
	return tokensFor(t, issuer, form)
}

// refresh gets tokens in place of those that somebody holds.
func (k tokens) refresh(t *testing.T, issuer string) tokens {
	t.Helper()
	return tokensFor(t, issuer, url.Values{"client_id": {"test"}, "grant_type": {"refresh_token"}, "refresh_token": {k.Refresh}})
}

func tokensFor(t *testing.T, issuer string, form url.Values) (k tokens) {
	t.Helper()
	status, body := submit(t, issuer+"/token", form)
	if err := json.Unmarshal([]byte(body), &k); err != nil || status != http.StatusOK || k.Access == "" {
		t.Fatalf("no token: HTTP %d %s", status, body)
	}
	return k
}

// revoke has an authorization server end a token.
func (k tokens) revoke(t *testing.T, issuer string) {
	t.Helper()
	if status, body := submit(t, issuer+"/token/revocation", url.Values{"client_id": {"test"}, "token": {k.Access}}); status != http.StatusOK {
		t.Fatalf("not revoked: HTTP %d %s", status, body)
	}
}

func submit(t *testing.T, address string, form url.Values) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return exchange(t, http.DefaultClient, req)
}
