package login

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const answerMost = 1 << 20

// resource is what a gateway says of itself (RFC 9728 section 2).
type resource struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`
	Scopes   []string `json:"scopes_supported"`
}

// server is what an authorization server says of itself (RFC 8414 section 2).
type server struct {
	Issuer           string   `json:"issuer"`
	Authorization    string   `json:"authorization_endpoint"`
	Token            string   `json:"token_endpoint"`
	Registration     string   `json:"registration_endpoint"`
	Revocation       string   `json:"revocation_endpoint"`
	Scopes           []string `json:"scopes_supported"`
	ResponseTypes    []string `json:"response_types_supported"`
	Challenges       []string `json:"code_challenge_methods_supported"`
	ClientDocuments  bool     `json:"client_id_metadata_document_supported"`
	TellsIssuer      bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	TokenAuthMethods []string `json:"token_endpoint_auth_methods_supported"`
}

// errNoDocument is a place where no document is; another place may have it.
var errNoDocument = errors.New("there is no such document")

// get reads a JSON document.
func (f *Flow) get(ctx context.Context, address string, into any) error {
	if _, err := safe(address); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	resp, err := f.HTTP.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: HTTP %d: %w", address, resp.StatusCode, errNoDocument)
	}
	return document(resp, address, into)
}

func document(resp *http.Response, address string, into any) error {
	if ct, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || ct != "application/json" {
		return fmt.Errorf("%s: Content-Type is %.80q and not application/json: %w", address, resp.Header.Get("Content-Type"), errNoDocument)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerMost+1))
	if err != nil {
		return err
	}
	if len(b) > answerMost {
		return fmt.Errorf("%s: the document has more than %d bytes", address, answerMost)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: the document is not what it should be: %w", address, err)
	}
	return nil
}

// wellKnown is where a document about a URL is: its path goes behind the well-known one (RFC 8414 section 3.1).
func wellKnown(u *url.URL, name string) string {
	return origin(u) + "/.well-known/" + name + strings.TrimSuffix(u.EscapedPath(), "/")
}

// resource finds what the gateway says of itself: as a whole, else at the endpoint.
func (f *Flow) resource(ctx context.Context, gateway *url.URL) (*resource, error) {
	whole := origin(gateway)
	path := strings.TrimSuffix(gateway.EscapedPath(), "/")
	if path == "" {
		path = "/mcp"
	}
	var failed error
	for _, want := range []string{whole, whole + path} {
		u, err := url.Parse(want)
		if err != nil {
			return nil, err
		}
		r := new(resource)
		err = f.get(ctx, wellKnown(u, "oauth-protected-resource"), r)
		switch {
		case errors.Is(err, errNoDocument):
			if failed == nil {
				failed = err
			}
			continue
		case err != nil:
			return nil, err
		case strings.TrimSuffix(r.Resource, "/") != want:
			return nil, fmt.Errorf("%s says that it is %q: a token for that would be of no use here, or of use to somebody else; "+
				"is publicURL of the gateway its address?", want, r.Resource)
		case len(r.Servers) == 0:
			return nil, fmt.Errorf("%s names no authorization server", want)
		}
		return r, nil
	}
	return nil, fmt.Errorf("%s has no authorization server (auth.issuers) to log in at, or is no gateway: %w; with an API key: --key", whole, failed)
}

// issuer picks the authorization server.
func (f *Flow) issuer(r *resource) (string, error) {
	if f.Issuer == "" {
		if len(r.Servers) > 1 {
			return "", fmt.Errorf("there are several authorization servers; choose one with --issuer: %s", printable(strings.Join(r.Servers, ", ")))
		}
		return r.Servers[0], nil
	}
	if !slices.Contains(r.Servers, f.Issuer) {
		return "", fmt.Errorf("the gateway does not take tokens of %s; it takes those of %s", f.Issuer, printable(strings.Join(r.Servers, ", ")))
	}
	return f.Issuer, nil
}

// server finds what the authorization server says of itself, and refuses what cannot be trusted.
func (f *Flow) server(ctx context.Context, issuer string) (*server, error) {
	u, err := safe(issuer)
	if err != nil {
		return nil, fmt.Errorf("authorization server: %w", err)
	}
	if u.RawQuery != "" || u.ForceQuery {
		return nil, fmt.Errorf("authorization server: %q has a query", issuer)
	}
	var failed error
	for _, address := range serverDocuments(u) {
		s := new(server)
		err := f.get(ctx, address, s)
		switch {
		case errors.Is(err, errNoDocument):
			failed = errors.Join(failed, err)
		case err != nil:
			return nil, fmt.Errorf("authorization server: %w", err)
		default:
			return s, s.check(issuer)
		}
	}
	return nil, fmt.Errorf("authorization server %s: %w", issuer, failed)
}

func serverDocuments(u *url.URL) []string {
	all := []string{wellKnown(u, "oauth-authorization-server"), wellKnown(u, "openid-configuration")}
	if path := strings.TrimSuffix(u.EscapedPath(), "/"); path != "" {
		all = append(all, origin(u)+path+"/.well-known/openid-configuration")
	}
	return all
}

// check demands that the document is of the issuer that was asked for (RFC 8414 section 3.3), that PKCE is done, and that no
// address in it leads where no browser and no code may go.
func (s *server) check(issuer string) error {
	if s.Issuer != issuer {
		return fmt.Errorf("authorization server %s says that it is %q", issuer, s.Issuer)
	}
	if !slices.Contains(s.Challenges, "S256") {
		return fmt.Errorf("authorization server %s does not say that it does PKCE with S256, without which a code can be stolen", issuer)
	}
	if len(s.ResponseTypes) > 0 && !slices.Contains(s.ResponseTypes, "code") {
		return fmt.Errorf("authorization server %s gives no codes", issuer)
	}
	for _, e := range []struct {
		name, address string
		may           bool // be missing
	}{
		{"authorization_endpoint", s.Authorization, false},
		{"token_endpoint", s.Token, false},
		{"registration_endpoint", s.Registration, true},
		{"revocation_endpoint", s.Revocation, true},
	} {
		if e.address == "" && e.may {
			continue
		}
		if _, err := safe(e.address); err != nil {
			return fmt.Errorf("authorization server %s: %s: %w", issuer, e.name, err)
		}
	}
	return nil
}

// printable keeps what others say from doing things to a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e {
			return '?'
		}
		return r
	}, s)
}
