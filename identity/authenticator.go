package identity

import (
	"context"
	"log/slog"
	"sync"
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

	mu sync.Mutex // one Configure at a time
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
	a.end()
	a.tasks.Wait()
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
	v := &Verifier{a: a, required: !c.Auth.Open()}
	var err error
	if v.keys, err = newKeys(c.Auth.APIKeys); err != nil {
		return nil, err
	}
	if a.managed != nil {
		a.managed.pace(time.Duration(c.Auth.Revocation))
	}
	return v, nil
}
