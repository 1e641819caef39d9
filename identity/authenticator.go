package identity

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/store"
)

// Options are what an Authenticator needs.
type Options struct {
	Log *slog.Logger
	// Keys has the managed keys; nil where there are none.
	Keys store.KeyStore
	// Now is the clock; time.Now when it is nil.
	Now func() time.Time
}

// Authenticator is what of identification outlives a configuration: managed keys, and what issuers told.
type Authenticator struct {
	log     *slog.Logger
	now     func() time.Time
	managed *managed

	ctx   context.Context //nolint:containedctx // the life of what runs in the background
	end   context.CancelFunc
	tasks sync.WaitGroup

	mu      sync.Mutex // one Configure at a time
	auth    *v1.Auth   // of the last one, with its publicURL
	public  string
	last    *Verifier
	sources map[origin]*source

	clientCAs atomic.Pointer[x509.CertPool]

	running sync.Mutex
	closed  bool
}

// New makes an Authenticator, which Close ends.
func New(o Options) *Authenticator {
	a := &Authenticator{log: o.Log, now: o.Now}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	a.ctx, a.end = context.WithCancel(context.Background())
	if o.Keys != nil {
		a.managed = newManaged(a, o.Keys)
	}
	return a
}

// Close ends what runs in the background.
func (a *Authenticator) Close() {
	a.running.Lock()
	a.closed = true
	a.running.Unlock()
	a.end()
	a.tasks.Wait()
}

// background runs f, which Close waits for; false when it is too late for that.
func (a *Authenticator) background(f func()) bool {
	a.running.Lock()
	defer a.running.Unlock()
	if !a.closed {
		a.tasks.Go(f)
	}
	return !a.closed
}

// Refresh reads the managed keys again, so that a change of them counts at once.
func (a *Authenticator) Refresh(ctx context.Context) error {
	if a.managed == nil {
		return nil
	}
	return a.managed.read(ctx)
}

// Configure makes what identifies callers by c. Verifiers made before stay as they are.
func (a *Authenticator) Configure(c *v1.Config) (*Verifier, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.managed != nil {
		a.managed.pace(time.Duration(c.Auth.Revocation))
	}
	if a.last != nil && a.public == c.PublicURL && reflect.DeepEqual(a.auth, &c.Auth) {
		return a.last, nil
	}
	v := &Verifier{a: a, required: !c.Auth.Open(), tokens: newTokens(), public: publicURL(canonical(c.PublicURL))}
	var err error
	if v.keys, err = newKeys(c.Auth.APIKeys); err != nil {
		return nil, err
	}
	if c.Auth.ClientCertificates != nil {
		v.certificates = &certificates{spec: c.Auth.ClientCertificates, a: a}
	}
	if c.Auth.TrustedProxy != nil {
		if v.proxy, err = newProxy(c.Auth.TrustedProxy); err != nil {
			return nil, err
		}
	}
	was := a.sources
	a.sources = make(map[origin]*source, len(c.Auth.Issuers))
	for i := range c.Auth.Issuers {
		is, err := a.newIssuer(&c.Auth.Issuers[i], time.Duration(c.Auth.Revocation), was)
		if err != nil {
			a.sources = was
			return nil, fmt.Errorf("auth.issuers[%d].%w", i, err)
		}
		v.issuers = append(v.issuers, is)
	}
	for _, is := range v.issuers {
		is.source.refresh()
	}
	auth := c.Auth
	a.auth, a.public, a.last = &auth, c.PublicURL, v
	return v, nil
}

// sourceOf is what is known of an issuer, or will be.
func (a *Authenticator) sourceOf(o origin, was map[origin]*source) (*source, error) {
	s := a.sources[o]
	if s == nil {
		s = was[o]
	}
	if s == nil {
		var err error
		if s, err = newSource(a, o); err != nil {
			return nil, err
		}
	}
	a.sources[o] = s
	return s, nil
}
