package store

import (
	"context"
	"errors"
	"time"
)

// retryTime is for how long a database that could not be opened is not tried again.
const retryTime = time.Second

// Lazy is a store that is opened when it is first used, so that a gateway that needs none of it starts without, and one whose
// database is away serves all else. What could not be opened is tried again later.
type Lazy struct {
	open   func(context.Context) (Store, error)
	turn   chan struct{} // held by who reads or changes what follows
	store  Store
	err    error
	until  time.Time // err stands
	closed bool
}

// NewLazy returns a store that open opens.
func NewLazy(open func(context.Context) (Store, error)) *Lazy {
	return &Lazy{open: open, turn: make(chan struct{}, 1)}
}

var errClosed = errors.New("store: closed")

// get opens the store. Those who come meanwhile wait for it.
func (l *Lazy) get(ctx context.Context) (Store, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	switch {
	case l.closed:
		return nil, errClosed
	case l.store != nil:
		return l.store, nil
	case l.err != nil && time.Now().Before(l.until):
		return nil, l.err
	}
	s, err := l.open(ctx)
	if ctx.Err() != nil && err != nil {
		return nil, err // it says nothing of the database
	}
	l.store, l.err, l.until = s, err, time.Now().Add(retryTime)
	return s, err
}

// Opened reports whether somebody used the store, or why it could not be opened when it was last tried.
func (l *Lazy) Opened() (bool, error) {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	return l.store != nil, l.err
}

// Close implements Store. A store that was never used is not opened for it.
func (l *Lazy) Close() error {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.closed = true
	if l.store == nil {
		return nil
	}
	s := l.store
	l.store = nil
	return s.Close()
}

// KeysRevision implements KeyStore.
func (l *Lazy) KeysRevision(ctx context.Context) (int64, error) {
	s, err := l.get(ctx)
	if err != nil {
		return 0, err
	}
	return s.KeysRevision(ctx)
}

// Keys implements KeyStore.
func (l *Lazy) Keys(ctx context.Context) ([]*Key, error) {
	s, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return s.Keys(ctx)
}

// Key implements KeyStore.
func (l *Lazy) Key(ctx context.Context, id string) (*Key, error) {
	s, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return s.Key(ctx, id)
}

// KeysUsed implements KeyStore.
func (l *Lazy) KeysUsed(ctx context.Context, at map[string]time.Time) error {
	s, err := l.get(ctx)
	if err != nil {
		return err
	}
	return s.KeysUsed(ctx, at)
}

// AddKey implements Store.
func (l *Lazy) AddKey(ctx context.Context, k *Key) error {
	s, err := l.get(ctx)
	if err != nil {
		return err
	}
	return s.AddKey(ctx, k)
}

// AddFirstKey implements Store.
func (l *Lazy) AddFirstKey(ctx context.Context, k *Key) (bool, error) {
	s, err := l.get(ctx)
	if err != nil {
		return false, err
	}
	return s.AddFirstKey(ctx, k)
}

// RotateKey implements Store.
func (l *Lazy) RotateKey(ctx context.Context, id string, d Digest, now, previousUntil time.Time) (*Key, error) {
	s, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return s.RotateKey(ctx, id, d, now, previousUntil)
}

// RevokeKey implements Store.
func (l *Lazy) RevokeKey(ctx context.Context, id string, now time.Time) (*Key, error) {
	s, err := l.get(ctx)
	if err != nil {
		return nil, err
	}
	return s.RevokeKey(ctx, id, now)
}
