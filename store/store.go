package store

import (
	"context"
	"errors"
	"time"
)

// The errors that callers tell apart; they are wrapped.
var (
	// ErrNotFound: there is no key with that id.
	ErrNotFound = errors.New("no such key")
	// ErrTaken: a key that is not revoked has that name in that tenant.
	ErrTaken = errors.New("a key of that name exists")
	// ErrFull: there are KeysMost keys that are not revoked.
	ErrFull = errors.New("there are as many keys as can be")
)

// KeysMost is how many keys that are not revoked there can be: who keeps them has room for so many.
const KeysMost = 100_000

// KeyStore is what identity reads of a store. Its methods may be called from any goroutine.
type KeyStore interface {
	// KeysRevision is a number that is another after every change of a key, but of when it was used. It costs little: who
	// keeps keys asks for it before it reads them again.
	KeysRevision(ctx context.Context) (int64, error)
	// Keys are all keys that are not revoked, by tenant and name. Expired ones are among them.
	Keys(ctx context.Context) ([]*Key, error)
	// Key is the key with an id, also when it is revoked or expired; ErrNotFound when there is none.
	Key(ctx context.Context, id string) (*Key, error)
	// KeysUsed notes when keys, by id, were last seen. It may be some time behind.
	KeysUsed(ctx context.Context, at map[string]time.Time) error
}

// Store is a database. Its methods may be called from any goroutine, and what one replica wrote the others read at once.
type Store interface {
	KeyStore
	// AddKey keeps a new key; ErrTaken when another has its name, ErrFull when there is no room for it.
	AddKey(ctx context.Context, k *Key) error
	// AddFirstKey keeps the key when the store has never had any, and reports whether it did. Of several replicas that try
	// at once one does.
	AddFirstKey(ctx context.Context, k *Key) (bool, error)
	// RotateKey gives a key another secret; the present one stays good until a time, which may be past. ErrNotFound when there
	// is none, or it is revoked.
	RotateKey(ctx context.Context, id string, d Digest, now, previousUntil time.Time) (*Key, error)
	// RevokeKey ends a key; ErrNotFound when there is none, or it is revoked.
	RevokeKey(ctx context.Context, id string, now time.Time) (*Key, error)
	// Close lets go of the database.
	Close() error
}
