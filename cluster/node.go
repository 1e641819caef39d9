// Package cluster is what the replicas of a gateway share: a bus between them, small facts of sessions, and leases.
package cluster

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/toolcrib/toolcrib/seal"
)

// ErrGone says that no replica of that id listens: it has ended, and with it what it held.
var ErrGone = errors.New("replica is gone")

// ErrDown says that the backend cannot be reached at the moment.
var ErrDown = errors.New("cluster backend is not reachable")

// Backend is a store and bus that replicas have in common.
type Backend interface {
	Close()
}

// Options are what a Node needs.
type Options struct {
	Backend Backend
	// Ring gives the keys that messages between replicas are sealed with.
	Ring func() *seal.Ring
	Log  *slog.Logger
	// ID names the replica; empty makes a random one.
	ID string
}

// Node is this replica among the others. It is safe for concurrent use.
type Node struct{ o Options }

// Status is how the backend is reached.
type Status struct {
	Backend   string    `json:"backend"` // memory or redis
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"`
}

// New joins the replicas.
func New(o Options) *Node { return &Node{o} }

// ID names this replica.
func (n *Node) ID() string { return n.o.ID }

// Close leaves.
func (n *Node) Close() { n.o.Backend.Close() }

// Handle registers what serves calls of a kind; before any can come. An *errs.Error arrives at the caller as it is.
func (n *Node) Handle(kind string, f func(ctx context.Context, request []byte, note func([]byte)) ([]byte, error)) {
}

// Call has a replica, which may be this one, serve a request. note gets what comes before the answer.
// It fails with ErrGone as soon as the replica is gone, with ErrDown when it cannot be reached now.
func (n *Node) Call(ctx context.Context, replica, kind string, request []byte, note func([]byte)) ([]byte, error) {
	return nil, ErrGone
}

// OnBroadcast registers what is told of broadcasts of a kind.
func (n *Node) OnBroadcast(kind string, f func(body []byte)) {}

// Broadcast tells all other replicas.
func (n *Node) Broadcast(ctx context.Context, kind string, body []byte) error { return nil }

// Put keeps a field of a key until it expires.
func (n *Node) Put(ctx context.Context, key, field, value string, expires time.Time) error {
	return nil
}

// Drop forgets a field of a key.
func (n *Node) Drop(ctx context.Context, key, field string) error { return nil }

// Facts are all fields of a key.
func (n *Node) Facts(ctx context.Context, key string) (map[string]string, error) { return nil, nil }

// Alone tells whether there can be no other replica.
func (n *Node) Alone() bool { return true }

// Status tells how the backend is reached.
func (n *Node) Status() Status { return Status{} }

// OnReconnect registers what is called after the backend was away: what it told meanwhile was missed.
func (n *Node) OnReconnect(f func()) {}
