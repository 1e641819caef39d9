package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	fetchTime = 5 * time.Second // for an issuer to answer
	fetchMost = 1 << 20         // bytes of an answer
)

// fetcher asks an issuer.
type fetcher struct{ http *http.Client }

// newFetcher makes a fetcher that takes certificates signed by those in the file ca too.
func newFetcher(ca string) (*fetcher, error) {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: fetchTime}).DialContext,
		TLSHandshakeTimeout: fetchTime, ResponseHeaderTimeout: fetchTime, IdleConnTimeout: 30 * time.Second,
		MaxIdleConnsPerHost: 4, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true,
	}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no certificate in PEM", ca)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &fetcher{&http.Client{Transport: t, Timeout: fetchTime, CheckRedirect: func(*http.Request, []*http.Request) error {
		return errors.New("it redirects, which an issuer must not")
	}}}, nil
}

// get reads a JSON document.
func (f *fetcher) get(ctx context.Context, from string, into any) (http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	return f.do(r, into)
}

func (f *fetcher) do(r *http.Request, into any) (http.Header, error) {
	resp, err := f.http.Do(r)
	if err != nil {
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err // without the URL, which is named once
		}
		return nil, fmt.Errorf("%s: %w", r.URL.Redacted(), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, fetchMost+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", r.URL.Redacted(), err)
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answers %s", r.URL.Redacted(), resp.Status)
	case len(body) > fetchMost:
		return nil, fmt.Errorf("%s answers more than %d bytes", r.URL.Redacted(), fetchMost)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return nil, fmt.Errorf("%s answers no such JSON document", r.URL.Redacted()) // whose text is not for logs
	}
	return resp.Header, nil
}

// secure tells whether a URL may be asked: https, or an address of this machine.
func secure(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return errors.New("is not a URL; write https://host/path")
	}
	if u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Host) {
		return nil
	}
	return errors.New("is not https; only a loopback address may do without")
}

// provider is what of an issuer's metadata matters here (RFC 8414 section 2, OpenID Connect Discovery 1.0 section 3).
type provider struct {
	Issuer        string   `json:"issuer"`
	JWKS          string   `json:"jwks_uri"`
	Introspection string   `json:"introspection_endpoint"`
	Methods       []string `json:"introspection_endpoint_auth_methods_supported"`
}

// places are where the metadata of an issuer may be, the likeliest first (MCP authorization, "Authorization Server Metadata
// Discovery").
func places(issuer string) []string {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil
	}
	root, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	all := []string{root + "/.well-known/oauth-authorization-server" + path, root + "/.well-known/openid-configuration" + path}
	if path != "" {
		all = append(all, root+path+"/.well-known/openid-configuration")
	}
	return all
}

// discover finds the metadata of an issuer. A document that names another issuer is none of its (RFC 8414 section 3.3).
func (f *fetcher) discover(ctx context.Context, issuer string) (*provider, error) {
	var failed []error
	for _, from := range places(issuer) {
		var p provider
		_, err := f.get(ctx, from, &p)
		switch {
		case err != nil:
			failed = append(failed, err)
			continue
		case p.Issuer != issuer:
			failed = append(failed, fmt.Errorf("%s names the issuer %.200q, not %q", from, p.Issuer, issuer))
			continue
		}
		for what, at := range map[string]string{"jwks_uri": p.JWKS, "introspection_endpoint": p.Introspection} {
			if at != "" && secure(at) != nil {
				return nil, fmt.Errorf("%s: %s %w", from, what, secure(at))
			}
		}
		return &p, nil
	}
	return nil, fmt.Errorf("its metadata cannot be had: %w", errors.Join(failed...))
}
