package upstream

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

// backoff spaces the starts of what fails again and again: the first one after a failure is immediate, the following ones wait
// longer and longer. What failed more often than it may is given up for a time, and then tried once.
type backoff struct {
	most   int           // failures within window; 0 for any number
	window time.Duration // see most

	mu        sync.Mutex
	failures  int         // in a row
	last      time.Time   // of them
	recent    []time.Time // those within window, oldest first
	givenUp   bool        // too many were: the next start is a trial
	notBefore time.Time   // of the next start
	lastErr   error
}

// pause waits until the next start may be made, unless that is too long to wait for: then the error says so with these words.
func (b *backoff) pause(ctx context.Context, s *Server, again string) error {
	b.mu.Lock()
	wait, at, last, givenUp := time.Until(b.notBefore), b.notBefore, b.lastErr, b.givenUp
	b.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	if givenUp {
		e := s.errorf(errs.Unavailable, "crashed or failed to start more than %d times within %s (restarts.max, restarts.window) and is given up; "+
			"it %s at %s, or when its configuration changes; last: %w", b.most, b.window, again, at.Format(time.TimeOnly), last)
		e.RetryAfter, e.Detail = wait, errs.Detail(last)
		return e
	}
	if wait > waitForPark {
		e := s.errorf(errs.Unavailable, "%s in %s; %w", again, wait.Round(time.Second), last)
		e.Detail = errs.Detail(last)
		return e
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
	if b.exhausted(now) {
		b.givenUp, b.recent, b.failures = true, nil, 0
		b.notBefore = now.Add(b.window)
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

// exhausted notes a failure and tells whether it is one too many. Called with mu held.
func (b *backoff) exhausted(now time.Time) bool {
	if b.most <= 0 {
		return false
	}
	b.recent = slices.DeleteFunc(b.recent, func(t time.Time) bool { return now.Sub(t) > b.window })
	b.recent = append(b.recent, now)
	return b.givenUp || len(b.recent) > b.most
}

// explain replaces what is said of the last failure by what became known of it since.
func (b *backoff) explain(err error) {
	b.mu.Lock()
	b.lastErr = err
	b.mu.Unlock()
}

// over ends a row of failures; a trial has succeeded.
func (b *backoff) over() {
	b.mu.Lock()
	b.failures, b.givenUp = 0, false
	b.mu.Unlock()
}
