package login

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/control"
)

// Flow logs in at a gateway.
type Flow struct {
	// HTTP asks; it must not follow redirects.
	HTTP *http.Client
	// Issuer chooses among several authorization servers; ClientID is the id of a client that is registered there already.
	Issuer, ClientID string
	// Scopes are asked for in place of those that the gateway names.
	Scopes []string
	// Show tells the person the address to go to, and opens it where it can.
	Show func(address string)
}

// Run logs in at the gateway and returns the credential.
func (f *Flow) Run(ctx context.Context, gateway string) (*Credential, error) {
	u, err := safe(gateway)
	if err != nil {
		return nil, err
	}
	r, err := f.resource(ctx, u)
	if err != nil {
		return nil, err
	}
	issuer, err := f.issuer(r)
	if err != nil {
		return nil, err
	}
	s, err := f.server(ctx, issuer)
	if err != nil {
		return nil, err
	}
	catcher, err := catch(ctx, s)
	if err != nil {
		return nil, err
	}
	defer catcher.close()
	c := &Credential{Issuer: issuer, Resource: r.Resource, TokenEndpoint: s.Token, RevocationEndpoint: s.Revocation}
	if err := f.client(ctx, c, s, u, catcher.redirect); err != nil {
		return nil, err
	}
	c.Scopes = f.scopes(r, s)
	verifier := random()
	f.Show(authorization(s, c, catcher, verifier))
	code, err := catcher.code(ctx)
	if err != nil {
		return nil, err
	}
	return c, c.exchange(ctx, f.HTTP, url.Values{
		"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {catcher.redirect}, "code_verifier": {verifier},
	})
}

func random() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

// client finds the id to go by: the one that was given, that of a document at the gateway, or one that is registered now.
func (f *Flow) client(ctx context.Context, c *Credential, s *server, gateway *url.URL, redirect string) error {
	switch {
	case f.ClientID != "":
		c.ClientID = f.ClientID
	case s.ClientDocuments && gateway.Scheme == "https" && f.hasDocument(ctx, gateway):
		c.ClientID = origin(gateway) + control.ClientDocument
	case s.Registration != "":
		return f.register(ctx, c, s, redirect)
	default:
		return fmt.Errorf("authorization server %s registers no clients by itself; have one registered there as a public client with the "+
			"redirect address http://127.0.0.1%s (any port), and give its id: --client-id ID", s.Issuer, control.RedirectPath)
	}
	return nil
}

func (f *Flow) hasDocument(ctx context.Context, gateway *url.URL) bool {
	var d struct {
		ClientID string `json:"client_id"`
	}
	address := origin(gateway) + control.ClientDocument
	return f.get(ctx, address, &d) == nil && d.ClientID == address
}

// scopes are those that were asked for, else those that the gateway names; and the one for a token that lasts, where there is one.
func (f *Flow) scopes(r *resource, s *server) []string {
	scopes := slices.Clone(f.Scopes)
	if len(scopes) == 0 {
		scopes = slices.Clone(r.Scopes)
	}
	const offline = "offline_access"
	if slices.Contains(s.Scopes, offline) && !slices.Contains(scopes, offline) {
		scopes = append(scopes, offline)
	}
	return scopes
}

// authorization is the address that the person goes to.
func authorization(s *server, c *Credential, at *catcher, verifier string) string {
	u, err := url.Parse(s.Authorization)
	if err != nil {
		return "" // it was checked
	}
	challenge := sha256.Sum256([]byte(verifier))
	q := u.Query()
	for name, value := range map[string]string{
		"response_type": "code", "client_id": c.ClientID, "redirect_uri": at.redirect, "state": at.state, "resource": c.Resource,
		"code_challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "code_challenge_method": "S256",
	} {
		q.Set(name, value)
	}
	if len(c.Scopes) > 0 {
		q.Set("scope", strings.Join(c.Scopes, " "))
	}
	if slices.Contains(c.Scopes, "offline_access") {
		q.Set("prompt", "consent") // OpenID Connect Core section 11
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// catcher waits at a loopback address for the browser to come back.
type catcher struct {
	server   *server
	redirect string
	state    string
	result   chan caught
	http     *http.Server
	done     chan struct{}
}

type caught struct {
	code string
	err  error
}

const (
	catcherHeaders = 5 * time.Second
	catcherEnd     = time.Second
)

func catch(ctx context.Context, s *server) (*catcher, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("no loopback address for the browser to come back to: %w", err)
	}
	c := &catcher{
		server: s, redirect: "http://" + ln.Addr().String() + control.RedirectPath, state: random(),
		result: make(chan caught, 1), done: make(chan struct{}),
	}
	c.http = &http.Server{Handler: http.HandlerFunc(c.serve), ReadHeaderTimeout: catcherHeaders, MaxHeaderBytes: 64 << 10}
	go func() {
		defer close(c.done)
		_ = c.http.Serve(ln) // closed
	}()
	return c, nil
}

func (c *catcher) close() {
	ctx, cancel := context.WithTimeout(context.Background(), catcherEnd) // the page that tells the person may still be on its way
	defer cancel()
	if c.http.Shutdown(ctx) != nil {
		_ = c.http.Close()
	}
	<-c.done
}

// code waits for the code.
func (c *catcher) code(ctx context.Context) (string, error) {
	select {
	case r := <-c.result:
		return r.code, r.err
	case <-ctx.Done():
		return "", fmt.Errorf("nobody logged in: %w", ctx.Err())
	}
}

// serve takes what comes with the state of this login, once; all else it leaves alone, so that no page can end the login.
func (c *catcher) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	q := r.URL.Query()
	if r.Method != http.MethodGet || r.URL.Path != control.RedirectPath || "http://"+r.Host+control.RedirectPath != c.redirect || one(q, "state") != c.state {
		http.Error(w, "This is not the end of a login that toolcrib waits for.", http.StatusBadRequest)
		return
	}
	code, err := c.check(q)
	select {
	case c.result <- caught{code, err}:
	default: // it came twice
	}
	text := "You are logged in. This page may be closed.\n"
	if err != nil {
		text = "The login failed. The terminal says why. This page may be closed.\n"
	}
	_, _ = w.Write([]byte(text))
}

// one is the value of a parameter that is there once.
func one(q url.Values, name string) string {
	if len(q[name]) != 1 {
		return ""
	}
	return q[name][0]
}

// check compares who answers with who was asked, before anything else of the answer is believed (RFC 9207 section 2.4).
func (c *catcher) check(q url.Values) (string, error) {
	iss, told := one(q, "iss"), len(q["iss"]) > 0
	switch {
	case told && iss != c.server.Issuer:
		return "", errors.New("another authorization server answered than was asked: nothing of its answer is used")
	case !told && c.server.TellsIssuer:
		return "", errors.New("the answer does not say which authorization server it is of, though that one always does: it is not used")
	case len(q["error"]) > 0:
		return "", fmt.Errorf("%s refuses: %.100s %.300s", c.server.Issuer, printable(one(q, "error")), printable(one(q, "error_description")))
	case one(q, "code") == "":
		return "", errors.New("the answer of the authorization server has no code")
	}
	return one(q, "code"), nil
}
