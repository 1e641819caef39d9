package cluster

import (
	"context"
	"time"
)

// Counter keeps amounts that replicas use up together. Backends of replicas that are processes of their own have it.
type Counter interface {
	// Draw takes of an amount.
	Draw(ctx context.Context, d *Draw) (Drawn, error)
	// Hold has a replica hold places of a name: as many as are free, up to want, but least in any case, which are in use already.
	// They are free again after ttl, or as soon as it holds none. It tells how many it holds then.
	Hold(ctx context.Context, name, replica string, least, want, most int, ttl time.Duration) (int, error)
	// Present says that a replica is there for ttl, or is not any more where that is 0, and tells how many are.
	Present(ctx context.Context, replica string, ttl time.Duration) (int, error)
}

// Draw takes of an amount, of which there is Most at first, and Micro comes back each microsecond.
type Draw struct {
	Name        string
	Most, Micro float64
	// Want is taken if there is Need, or without a condition where All is set; what is negative is given back. Where it is taken
	// and something is left, more is: Batch, or a part of the rest, Share, where that is more.
	Need, Want   float64
	All          bool
	Batch, Share float64
	// TTL is how long the amount is kept when nobody draws.
	TTL time.Duration
}

// Drawn is what came of it.
type Drawn struct {
	// Got is what was taken, and Left what is left then.
	Got, Left float64
}

// Counter is that of the backend; nil where it has none, because no other process is there.
func (n *Node) Counter() Counter {
	c, _ := n.o.Backend.(Counter)
	return c
}

// CounterName stands for a name in the backend: names may say who somebody is.
func CounterName(name string) string { return hashed(name) }
