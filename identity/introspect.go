package identity

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	refusedKept = 10 * time.Second // that a token is not active
	refusedMost = 4096             // such tokens, of which twice as many are known at most
	awayTold    = 10 * time.Second // between two lines of the log that say that the issuer is away
	askedMost   = 32               // questions to an issuer at one time, and as many about tokens that were seen before
	waitingMost = 1024             // questions about tokens that nobody has seen, with those that wait for their turn
)

var errInactive = errors.New("its issuer says that it is not active: it has expired, was revoked, or was never given out")

// introspector asks an issuer about tokens (RFC 7662).
type introspector struct {
	a      *Authenticator
	source *source
	url    string // where the configuration says it
	id     string
	secret string
	keep   time.Duration // an answer
	// Strangers wait for each other, and nobody for them.
	unseen, seen chan struct{}

	mu           sync.Mutex
	asked        map[digest]*question
	refused, old map[digest]time.Time // until when
	told         time.Time            // that the issuer is away
}

// question is one that is under way.
type question struct {
	done   chan struct{}
	answer claims
	err    error
}

func (a *Authenticator) newIntrospector(is *issuer, revocation time.Duration) (*introspector, error) {
	c := is.Introspection
	if c.URL != "" && secure(c.URL) != nil {
		return nil, fmt.Errorf("introspection.url %w", secure(c.URL))
	}
	keep := time.Duration(c.Cache)
	if revocation > 0 {
		keep = min(keep, revocation)
	}
	return &introspector{
		a: a, source: is.source, url: c.URL, id: c.ClientID, secret: string(c.ClientSecret), keep: keep,
		unseen: make(chan struct{}, askedMost), seen: make(chan struct{}, askedMost), asked: map[digest]*question{}, refused: map[digest]time.Time{},
	}, nil
}

// ask is what the issuer says of a token that is active. Those who ask about the same token at once share one question.
func (i *introspector) ask(ctx context.Context, k *known) (claims, error) {
	i.mu.Lock()
	if i.isRefused(k.digest) {
		i.mu.Unlock()
		return nil, errInactive
	}
	q := i.asked[k.digest]
	if q == nil {
		if q = i.begin(k); q == nil {
			i.mu.Unlock()
			return nil, &awayError{i.source.issuer}
		}
	}
	i.mu.Unlock()
	select {
	case <-q.done:
		return q.answer, q.err
	case <-ctx.Done():
		return nil, &awayError{i.source.issuer} // as far as this caller had the time to hear
	}
}

// begin asks about a token; nil when that cannot be now. A question goes on when those who asked it are gone, so that strangers
// have no more than some of them. The caller holds the lock.
func (i *introspector) begin(k *known) *question {
	gate := i.seen
	if k.standing.Load() == nil {
		if gate = i.unseen; len(i.asked) >= waitingMost {
			return nil
		}
	}
	q := &question{done: make(chan struct{})}
	if !i.a.background(func() { i.settle(k, q, gate) }) {
		return nil
	}
	i.asked[k.digest] = q
	return q
}

// settle answers a question when its turn has come.
func (i *introspector) settle(k *known, q *question, gate chan struct{}) {
	ctx, cancel := context.WithTimeout(i.a.ctx, 2*fetchTime)
	defer cancel()
	select {
	case gate <- struct{}{}:
		q.answer, q.err = i.post(ctx, k)
		<-gate
	case <-ctx.Done():
		q.err = &awayError{i.source.issuer}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.asked, k.digest)
	if errors.Is(q.err, errInactive) {
		i.refuse(k.digest)
	}
	close(q.done)
}

// isRefused tells whether the issuer said not long ago that a token is not active. The caller holds the lock, as for refuse.
func (i *introspector) isRefused(d digest) bool {
	until, ok := i.refused[d]
	if !ok {
		until = i.old[d]
	}
	return i.a.now().Before(until)
}

func (i *introspector) refuse(d digest) {
	if len(i.refused) >= refusedMost {
		i.old, i.refused = i.refused, map[digest]time.Time{}
	}
	i.refused[d] = i.a.now().Add(min(refusedKept, i.keep))
}

// post asks the issuer.
func (i *introspector) post(ctx context.Context, k *known) (claims, error) {
	at, inBody, err := i.endpoint(ctx)
	if err != nil {
		return nil, i.away(err)
	}
	form := url.Values{"token": {k.token}, "token_type_hint": {"access_token"}}
	if inBody {
		form.Set("client_id", i.id)
		form.Set("client_secret", i.secret)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, at, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, i.away(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if !inBody { // RFC 6749 section 2.3.1
		r.SetBasicAuth(url.QueryEscape(i.id), url.QueryEscape(i.secret))
	}
	answer := jsonClaims{}
	if _, err := i.source.fetch.do(r, &answer); err != nil {
		return nil, i.away(err)
	}
	return answer.claims, i.judge(k, answer.claims)
}

// away logs why the issuer cannot be asked, which callers are not told.
func (i *introspector) away(err error) error {
	i.mu.Lock()
	now := i.a.now()
	tell := i.a.ctx.Err() == nil && (i.told.IsZero() || now.Sub(i.told) >= awayTold)
	if tell {
		i.told = now
	}
	i.mu.Unlock()
	if tell {
		i.a.log.Warn("an issuer cannot be asked about tokens", "issuer", i.source.issuer, "error", err)
	}
	return &awayError{i.source.issuer}
}

// judge tells what is wrong with what the issuer says of a token.
func (i *introspector) judge(k *known, c claims) error {
	if active, _ := c["active"].(bool); !active {
		return errInactive
	}
	if iss, ok := c["iss"]; ok && iss != i.source.issuer {
		return fmt.Errorf("its issuer says that it is of another one, %.200q", iss)
	}
	if kind, ok := c["token_type"].(string); ok && !strings.EqualFold(kind, "bearer") && !strings.EqualFold(kind, "access_token") {
		return fmt.Errorf("it is of the type %.40q, not a bearer token", kind)
	}
	if sub, ok := c["sub"]; ok && k.key != nil && sub != k.claims["sub"] {
		return errors.New("its issuer says that it is another caller's")
	}
	return nil
}

// endpoint is where the issuer is asked, and whether the credential goes into the body.
func (i *introspector) endpoint(ctx context.Context) (at string, inBody bool, err error) {
	var p *provider
	if i.url == "" {
		p, err = i.source.metadata(ctx)
	} else {
		p = i.source.anyMetadata(ctx) // it need not have any
	}
	if err != nil {
		return "", false, err
	}
	p = cmp.Or(p, &provider{})
	if at = cmp.Or(i.url, p.Introspection); at == "" {
		return "", false, errors.New("its metadata name no introspection_endpoint; set introspection.url")
	}
	inBody = slices.Contains(p.Methods, "client_secret_post") && !slices.Contains(p.Methods, "client_secret_basic")
	return at, inBody, nil
}

// jsonClaims are claims in a JSON document.
type jsonClaims struct{ claims }

// UnmarshalJSON implements json.Unmarshaler.
func (j *jsonClaims) UnmarshalJSON(b []byte) (err error) {
	j.claims, err = readClaims(b)
	return err
}
