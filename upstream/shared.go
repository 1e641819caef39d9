package upstream

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// shared is a value that is made on first use, by one maker at a time whose outcome all who wait share.
type shared[T any] struct {
	val atomic.Pointer[T]
	mu  sync.Mutex
	cur *attempt[T]
}

type attempt[T any] struct {
	done chan struct{}
	val  *T
	err  error
}

// get returns the value, made by f when there is none. f runs under the server's own context, so that a caller who gives up
// does not end it for the others.
func (h *shared[T]) get(ctx context.Context, s *Server, f func(context.Context) (*T, error)) (*T, error) {
	if v := h.val.Load(); v != nil {
		return v, nil
	}
	h.mu.Lock()
	if v := h.val.Load(); v != nil {
		h.mu.Unlock()
		return v, nil
	}
	a := h.cur
	if a == nil {
		a = &attempt[T]{done: make(chan struct{})}
		if !s.spawn(func(ctx context.Context) { h.run(ctx, a, f) }) {
			h.mu.Unlock()
			return nil, s.closedError()
		}
		h.cur = a
	}
	h.mu.Unlock()
	select {
	case <-a.done:
		return a.val, a.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (h *shared[T]) run(ctx context.Context, a *attempt[T], f func(context.Context) (*T, error)) {
	if a.val, a.err = f(ctx); a.err != nil {
		a.err = &jointly{error: a.err}
	}
	h.mu.Lock()
	if a.err == nil {
		h.val.Store(a.val)
	}
	h.cur = nil
	h.mu.Unlock()
	close(a.done)
}

// jointly is how an attempt failed that many may have waited for, so that what it costs is counted once.
type jointly struct {
	error
	told  atomic.Bool
	once  sync.Once
	spare bool
}

func (j *jointly) Unwrap() error { return j.error }

// firstTold tells whether nobody was told before of the attempt that an error is of.
func firstTold(err error) bool {
	j, ok := errors.AsType[*jointly](err)
	return !ok || j.told.CompareAndSwap(false, true)
}

// spendFor takes a repetition for an attempt that failed, if there is one left: one for all who waited for it.
func (b *budget) spendFor(err error) bool {
	j, ok := errors.AsType[*jointly](err)
	if !ok {
		return b.spend()
	}
	j.once.Do(func() { j.spare = b.spend() })
	return j.spare
}

// drop forgets v if it is still the value; the next get makes a new one.
func (h *shared[T]) drop(v *T) {
	if v != nil {
		h.val.CompareAndSwap(v, nil)
	}
}

// making tells whether the value is being made.
func (h *shared[T]) making() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cur != nil
}

// peek is the value if there is one.
func (h *shared[T]) peek() *T { return h.val.Load() }
