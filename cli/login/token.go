package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/control"
)

func (f *Flow) register(ctx context.Context, c *Credential, s *server, redirect string) error {
	body, err := json.Marshal(control.LoginClient("", redirect))
	if err != nil {
		return err
	}
	var client struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
		Method string `json:"token_endpoint_auth_method"`
	}
	if err := post(ctx, f.HTTP, s.Registration, "application/json", body, nil, &client); err != nil {
		return fmt.Errorf("registration at %s: %w", s.Issuer, err)
	}
	if client.ID == "" || !visible(client.ID+client.Secret) {
		return fmt.Errorf("registration at %s gave no client id", s.Issuer)
	}
	c.ClientID = client.ID
	if client.Method != "none" {
		c.ClientSecret, c.AuthMethod = client.Secret, client.Method
	}
	return nil
}

// refused is an error that a token endpoint gave (RFC 6749 section 5.2).
type refused struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
}

func (e *refused) Error() string {
	return strings.TrimSpace(fmt.Sprintf("it refuses: %.100s %.300s", printable(e.Code), printable(e.Description)))
}

// post sends a body, and reads the JSON document of a good answer.
func post(ctx context.Context, client *http.Client, address, contentType string, body []byte, change func(*http.Request), into any) error {
	if _, err := safe(address); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "application/json")
	if change != nil {
		change(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK, http.StatusCreated:
		return document(resp, address, into)
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		var e refused
		if b, err := io.ReadAll(io.LimitReader(resp.Body, answerMost)); err == nil && json.Unmarshal(b, &e) == nil && e.Code != "" {
			return &e
		}
	}
	return fmt.Errorf("%s answers HTTP %d", address, resp.StatusCode)
}

// tokens are the answer of a token endpoint (RFC 6749 section 5.1).
type tokens struct {
	Access  string      `json:"access_token"`
	Type    string      `json:"token_type"`
	Expires json.Number `json:"expires_in"`
	Refresh string      `json:"refresh_token"`
	Scope   string      `json:"scope"`
}

// exchange gets tokens for what form says, and takes them into the credential.
func (c *Credential) exchange(ctx context.Context, client *http.Client, form url.Values) error {
	form.Set("client_id", c.ClientID)
	form.Set("resource", c.Resource)
	var basic func(*http.Request)
	switch c.AuthMethod {
	case "":
	case "client_secret_post":
		form.Set("client_secret", c.ClientSecret)
	default: // client_secret_basic (RFC 6749 section 2.3.1)
		basic = func(r *http.Request) { r.SetBasicAuth(url.QueryEscape(c.ClientID), url.QueryEscape(c.ClientSecret)) }
	}
	var t tokens
	if err := post(ctx, client, c.TokenEndpoint, "application/x-www-form-urlencoded", []byte(form.Encode()), basic, &t); err != nil {
		return fmt.Errorf("token of %s: %w", c.Issuer, err)
	}
	if !strings.EqualFold(t.Type, "bearer") || t.Access == "" || !visible(t.Access) || !visible(t.Refresh) {
		return fmt.Errorf("token of %s: it is none that can be sent as Authorization: Bearer", c.Issuer)
	}
	c.AccessToken, c.Expires = t.Access, time.Time{}
	if seconds, err := t.Expires.Int64(); err == nil && seconds > 0 {
		c.Expires = time.Now().Add(time.Duration(min(seconds, secondsMost)) * time.Second).UTC().Truncate(time.Second)
	}
	if t.Refresh != "" {
		c.RefreshToken = t.Refresh
	}
	if t.Scope != "" {
		c.Scopes = strings.Fields(t.Scope)
	}
	return nil
}

const secondsMost = 10 * 365 * 24 * 3600

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' })
}

// errLogin is a credential that has come to its end.
var errLogin = errors.New("log in again: toolcrib login")

// refresh gets another access token.
func (c *Credential) refresh(ctx context.Context, client *http.Client) error {
	if c.RefreshToken == "" {
		return fmt.Errorf("the token for this gateway has expired; %w", errLogin)
	}
	err := c.exchange(ctx, client, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {c.RefreshToken}})
	if e, ok := errors.AsType[*refused](err); ok && slices.Contains([]string{"invalid_grant", "invalid_client"}, e.Code) {
		return fmt.Errorf("%w; %w", err, errLogin)
	}
	return err
}

// revoke tells the authorization server that the tokens are not needed any more (RFC 7009), as far as it wants to know.
func (c *Credential) revoke(ctx context.Context, client *http.Client) error {
	token, hint := c.RefreshToken, "refresh_token"
	if token == "" {
		token, hint = c.AccessToken, "access_token"
	}
	if c.RevocationEndpoint == "" || token == "" || c.AuthMethod != "" {
		return nil
	}
	form := url.Values{"token": {token}, "token_type_hint": {hint}, "client_id": {c.ClientID}}
	if _, err := safe(c.RevocationEndpoint); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.RevocationEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers HTTP %d", c.RevocationEndpoint, resp.StatusCode)
	}
	return nil
}
