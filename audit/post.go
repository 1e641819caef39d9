package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

const (
	answerMost = 64 << 10        // bytes of an answer that are looked at
	afterMost  = 5 * time.Minute // the longest Retry-After that is kept to
	idleTime   = time.Minute     // of a connection that nothing is sent over
)

// poster sends records in the bodies of POST requests.
type poster struct {
	client *http.Client
	url    string
	header http.Header
	host   string // for messages: paths and queries may hold secrets
}

func newPoster(spec *v1.AuditSink, o *Options, address, contentType string) (*poster, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the address is not a URL")
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, IdleConnTimeout: idleTime, MaxIdleConns: 1, ForceAttemptHTTP2: true,
		MaxResponseHeaderBytes: answerMost, TLSClientConfig: o.tls(""),
	}
	p := &poster{
		client: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		url:    address, header: http.Header{"Content-Type": {contentType}, "User-Agent": {"toolcrib/" + o.Version}}, host: u.Host,
	}
	for name, value := range spec.Headers {
		p.header.Set(name, string(value))
	}
	return p, nil
}

// answer is an answer other than 2xx.
type answer struct {
	host  string
	code  int
	after time.Duration
}

func (a *answer) Error() string {
	text := fmt.Sprintf("%s answered %d %s", a.host, a.code, http.StatusText(a.code))
	switch {
	case a.code >= 300 && a.code < 400:
		text += "; redirects are not followed: configure the address that it leads to"
	case a.code == http.StatusUnauthorized || a.code == http.StatusForbidden:
		text += "; look at the sink's headers"
	}
	return text
}

// patience is how long it wants to be left alone.
func (a *answer) patience() time.Duration { return a.after }

// post sends a body, and returns the beginning of the answer.
func (p *poster) post(ctx context.Context, body []byte, more http.Header) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return nil, unreached(p.host, err)
	}
	r.Header = p.header.Clone()
	maps.Copy(r.Header, more)
	if host := r.Header.Get("Host"); host != "" {
		r.Host = host
		r.Header.Del("Host")
	}
	w, err := p.client.Do(r)
	if err != nil {
		return nil, unreached(p.host, err)
	}
	defer w.Body.Close()
	head, err := io.ReadAll(io.LimitReader(w.Body, answerMost))
	if w.StatusCode < 200 || w.StatusCode > 299 {
		return nil, &answer{p.host, w.StatusCode, after(w.Header.Get("Retry-After"))}
	}
	if err != nil {
		return nil, unreached(p.host, err)
	}
	return head, nil
}

// after reads Retry-After (RFC 9110 §10.2.3).
func after(text string) time.Duration {
	if n, err := strconv.Atoi(strings.TrimSpace(text)); err == nil {
		return min(max(0, time.Duration(min(n, int(afterMost/time.Second)))*time.Second), afterMost)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(0, time.Until(at)), afterMost)
	}
	return 0
}

func (p *poster) close() { p.client.CloseIdleConnections() }

// halved sends lines, in two parts where they are too much at once.
func halved(lines []Line, send func([]Line) error) error {
	err := send(lines)
	a, ok := errors.AsType[*answer](err)
	if !ok || a.code != http.StatusRequestEntityTooLarge || len(lines) < 2 {
		return err
	}
	if err := halved(lines[:len(lines)/2], send); err != nil {
		return err
	}
	return halved(lines[len(lines)/2:], send)
}

// webhook is a sink that takes JSON lines over HTTP.
type webhook struct {
	*poster
	log string
}

func newWebhook(spec *v1.AuditSink, o *Options, _ string) (Follower, error) {
	p, err := newPoster(spec, o, spec.Webhook, "application/x-ndjson")
	if err != nil {
		return nil, err
	}
	return &webhook{p, o.id}, nil
}

// Send implements Follower.
func (w *webhook) Send(ctx context.Context, lines []Line) error {
	return halved(lines, func(lines []Line) error {
		_, err := w.post(ctx, joined(lines), http.Header{
			"Toolcrib-Log":      {w.log},
			"Toolcrib-Sequence": {fmt.Sprintf("%d-%d", lines[0].Sequence, lines[len(lines)-1].Sequence)},
		})
		return err
	})
}

// Close implements Follower.
func (w *webhook) Close() error {
	w.close()
	return nil
}
