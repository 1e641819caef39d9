package identity

import (
	"sync/atomic"
	"time"
)

// Source is where knowledge of callers comes from, the store or an issuer.
type Source struct {
	// Error is why it cannot be read now, since Since; empty while it can be. What was read before counts on.
	Error string     `json:"error,omitempty"`
	Since *time.Time `json:"since,omitempty"`
}

// trouble is what is wrong with a source.
type trouble struct{ now atomic.Pointer[Source] }

// note keeps how the last reading went, and since when it goes wrong.
func (t *trouble) note(err error) {
	if err == nil {
		if t.now.Load() != nil {
			t.now.Store(nil)
		}
		return
	}
	since := time.Now()
	if was := t.now.Load(); was != nil {
		since = *was.Since
	}
	t.now.Store(&Source{Error: err.Error(), Since: &since})
}

func (t *trouble) source() Source {
	if now := t.now.Load(); now != nil {
		return *now
	}
	return Source{}
}

// Sources tells how the store can be read, and the keys of each issuer, as far as that was tried.
func (a *Authenticator) Sources() (store Source, issuers map[string]Source) {
	if a.managed != nil {
		store = a.managed.trouble.source()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	issuers = make(map[string]Source, len(a.sources))
	for o, s := range a.sources {
		issuers[o.issuer] = s.trouble.source()
	}
	return store, issuers
}
