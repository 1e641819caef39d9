package cluster

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrGone says that no replica of that id listens: it has ended, and with it what it held.
	ErrGone = errors.New("replica is gone")
	// ErrUnsent says that a call was not even begun: no replica of that id listened, or, with ErrDown, nothing was sent at all.
	ErrUnsent = errors.New("replica never got it")
	// ErrDown says that the backend cannot be reached at the moment.
	ErrDown = errors.New("cluster backend is not reachable")
	// ErrHeld says that another holds the lease.
	ErrHeld = errors.New("lease is held by another")
	// ErrFull says that the backend keeps no more of what was to be kept.
	ErrFull = errors.New("cluster backend keeps no more of these")
)

// Backend is a store and bus that replicas have in common. It is safe for concurrent use. What it carries and keeps is
// sealed by the Node. No method waits longer than about a second for a backend that does not answer; one that is known to be
// away fails at once with ErrDown.
type Backend interface {
	Bus
	Store

	// Name tells the kind: memory or redis.
	Name() string
	// Status tells how the backend is reached.
	Status() Status
	// Tried is closed when the first attempt to reach the backend has ended, well or not.
	Tried() <-chan struct{}
	// Close ends the backend, after all have left.
	Close()
}

// Bus carries messages between replicas.
type Bus interface {
	// Join makes a replica reachable until hide was called: from then on Send fails with ErrGone, and when hide returns, all that
	// was sent before has been delivered, if the backend is reached. The replica itself can send until it has called leave, which
	// waits until no callback runs any more.
	Join(replica string, c Callbacks) (hide, leave func())
	// Send puts a message into the inbox of a replica; it fails with ErrGone when none of that id listens.
	Send(ctx context.Context, replica string, message []byte) error
	// Broadcast puts a message into the inboxes of all replicas, the sender's too, and tells how many there are.
	Broadcast(ctx context.Context, message []byte) (int, error)
	// Alone tells whether no other replica can be there.
	Alone() bool
}

// Store keeps facts and leases.
type Store interface {
	// Put keeps a field of a key, and the key at least until expires; with ErrFull when there are MaxFields already.
	Put(ctx context.Context, key, field, value string, expires time.Time) error
	// Drop forgets a field of a key.
	Drop(ctx context.Context, key, field string) error
	// Facts are all fields of a key.
	Facts(ctx context.Context, key string) (map[string]string, error)
	// Lock takes a lease that is free, or prolongs one that owner holds; else it fails with ErrHeld.
	Lock(ctx context.Context, name, owner string, ttl time.Duration) error
	// Unlock gives a lease back if owner holds it.
	Unlock(ctx context.Context, name, owner string) error
	// Owner tells who holds a lease; it is empty when nobody does.
	Owner(ctx context.Context, name string) (string, error)
}

// Callbacks are what a backend tells a replica that joined.
type Callbacks struct {
	// Deliver takes a message of the inbox, in the order they were sent. It owns the bytes, and may block while its queue is full.
	Deliver func(broadcast bool, message []byte)
	// Connected tells that messages arrive from now on (true), or that they may have been lost (false).
	Connected func(up bool)
}

// Status is how the backend is reached.
type Status struct {
	Backend   string    `json:"backend"` // memory or redis
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"` // why it is not reached; or, while it is, what it refused a moment ago
}

// The bounds of what is sent and kept.
const (
	// MaxMessage is the longest request, answer or note in bytes.
	MaxMessage = 16 << 20
	// MaxFields is how many fields a key has at most.
	MaxFields = 1024
	// MaxValue is the longest value of a field in bytes.
	MaxValue = 64 << 10

	maxName    = 4 << 10 // of a kind, key, field or lease
	maxReplica = 128
)
