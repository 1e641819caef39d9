package upstream

import (
	"context"
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
	a.val, a.err = f(ctx)
	h.mu.Lock()
	if a.err == nil {
		h.val.Store(a.val)
	}
	h.cur = nil
	h.mu.Unlock()
	close(a.done)
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
