package upstream

import (
	"context"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

// backoff spaces the starts of what fails again and again: the first one after a failure is immediate, the following ones wait
// longer and longer.
type backoff struct {
	mu        sync.Mutex
	failures  int       // in a row
	last      time.Time // of them
	notBefore time.Time // of the next start
	lastErr   error
}

// pause waits until the next start may be made, unless that is too long to wait for: then the error says so with these words.
func (b *backoff) pause(ctx context.Context, s *Server, again string) error {
	b.mu.Lock()
	wait, last := time.Until(b.notBefore), b.lastErr
	b.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	if wait > waitForPark {
		return s.errorf(errs.Unavailable, "%s in %s; %w", again, wait.Round(time.Second), last)
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failed counts a failure; several starts that failed side by side are one.
func (b *backoff) failed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastErr = err
	now := time.Now()
	if now.Before(b.notBefore) {
		return
	}
	if now.Sub(b.last) > 2*retryMost {
		b.failures = 0 // nothing was wrong for a while
	}
	b.last = now
	b.failures++
	if b.failures > 1 {
		b.notBefore = now.Add(min(retryFirst<<min(b.failures-2, 10), retryMost))
	}
}

// over ends a row of failures.
func (b *backoff) over() {
	b.mu.Lock()
	b.failures = 0
	b.mu.Unlock()
}
