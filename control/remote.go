package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Remote asks the management interface of a gateway.
type Remote struct {
	// Base is the URL of the gateway, without a path.
	Base string
	// Token is what the caller shows.
	Token string
	// HTTP is the client; the zero value is one of its own.
	HTTP *http.Client
}

const (
	remoteTime = 30 * time.Second
	remoteMost = 64 << 20
)

// NewClient is an HTTP client for credentials: it follows no redirect, which could lead them elsewhere.
func NewClient() *http.Client {
	return &http.Client{Timeout: remoteTime, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// Whoami is who the gateway takes the caller for.
func (r *Remote) Whoami(ctx context.Context) (*Whoami, error) {
	me := new(Whoami)
	return me, r.do(ctx, http.MethodGet, "whoami", nil, me)
}

// Keys are the keys that the caller may see.
func (r *Remote) Keys(ctx context.Context) ([]Key, error) {
	var list Keys
	err := r.do(ctx, http.MethodGet, "keys", nil, &list)
	return list.Keys, err
}

// CreateKey makes a key.
func (r *Remote) CreateKey(ctx context.Context, k *NewKey) (*MadeKey, error) {
	made := new(MadeKey)
	return made, r.do(ctx, http.MethodPost, "keys", k, made)
}

// RotateKey gives a key another secret; the one it has is good for overlap besides.
func (r *Remote) RotateKey(ctx context.Context, id string, overlap time.Duration) (*MadeKey, error) {
	made := new(MadeKey)
	return made, r.do(ctx, http.MethodPost, "keys/"+url.PathEscape(id)+"/rotate", Rotation{int64(overlap / time.Second)}, made)
}

// RevokeKey ends a key.
func (r *Remote) RevokeKey(ctx context.Context, id string) (*Key, error) {
	k := new(Key)
	return k, r.do(ctx, http.MethodDelete, "keys/"+url.PathEscape(id), nil, k)
}

// Report is what runs at the gateway.
func (r *Remote) Report(ctx context.Context) (*Report, error) {
	report := new(Report)
	return report, r.do(ctx, http.MethodGet, "instances", nil, report)
}

// Post sends a question whose answer is read by the caller.
func (r *Remote) Post(ctx context.Context, path string, in, out any) error {
	return r.do(ctx, http.MethodPost, path, in, out)
}

// Stream returns the answer to a question as it comes; it is to be closed.
func (r *Remote) Stream(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	resp, err := r.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

func (r *Remote) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	resp, err := r.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, remoteMost)).Decode(out); err != nil {
		return fmt.Errorf("the answer of %s is not that of a gateway: %w", r.Base, err)
	}
	return nil
}

// send returns a good answer. Others are errors, most often a [Problem].
func (r *Remote) send(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.Base+Prefix+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	client := r.HTTP
	if client == nil {
		client = NewClient()
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, problemIn(resp, r.Base)
}

func problemIn(resp *http.Response, base string) error {
	p := new(Problem)
	ct := resp.Header.Get("Content-Type")
	if !strings.HasPrefix(ct, "application/problem+json") || json.NewDecoder(io.LimitReader(resp.Body, bodyMost)).Decode(p) != nil {
		return fmt.Errorf("%s answers HTTP %d to what a gateway knows: is it one, and is this its address?", base, resp.StatusCode)
	}
	p.Status = resp.StatusCode
	return p
}
