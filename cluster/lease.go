package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

const (
	holdTTL    = 9 * time.Second
	maxTTL     = time.Hour
	giveBackIn = time.Second
)

// Lease is the right to do alone what only one replica should do.
type Lease struct {
	n           *Node
	name, owner string
	ttl         time.Duration
}

// Acquire takes a lease, for ttl unless it is renewed; with ErrHeld when another has it. Each lease has an owner of its own:
// what was lost cannot be renewed or released over the head of the next one, not even by the same replica.
func (n *Node) Acquire(ctx context.Context, name string, ttl time.Duration) (*Lease, error) {
	if name == "" || len(name) > maxName || ttl < time.Millisecond || ttl > maxTTL {
		return nil, errs.E("cluster", errs.Internal, "a lease has a name and a time of up to %v", maxTTL)
	}
	var nonce [8]byte
	rand.Read(nonce[:])
	l := &Lease{n: n, name: name, owner: n.o.ID + "." + hex.EncodeToString(nonce[:]), ttl: ttl}
	if err := l.Renew(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// Holder is the replica that holds a lease; it is empty when none does.
func (n *Node) Holder(ctx context.Context, name string) (replica string, err error) {
	owner, err := n.o.Backend.Owner(ctx, name)
	if i := strings.LastIndexByte(owner, '.'); i >= 0 {
		owner = owner[:i]
	}
	return owner, said(err, "")
}

// Renew prolongs the lease by its time from now; with ErrHeld when another has taken it since.
func (l *Lease) Renew(ctx context.Context) error {
	err := l.n.o.Backend.Lock(ctx, l.name, l.owner, l.ttl)
	if errors.Is(err, ErrHeld) {
		return errs.E("cluster", errs.Unavailable, "%w: %.64q", ErrHeld, l.name)
	}
	return said(err, "")
}

// Release gives the lease back.
func (l *Lease) Release(ctx context.Context) error {
	return said(l.n.o.Backend.Unlock(ctx, l.name, l.owner), "")
}

// Hold waits for a lease and runs f while it is held, again whenever it was lost and taken back, until ctx ends or f returns
// by itself. The context of f ends before another replica can have the lease, if the clocks of both run equally fast.
func (n *Node) Hold(ctx context.Context, name string, f func(ctx context.Context)) error {
	return n.hold(ctx, name, holdTTL, f)
}

func (n *Node) hold(ctx context.Context, name string, ttl time.Duration, f func(ctx context.Context)) error {
	tick := time.NewTicker(ttl / 3)
	defer tick.Stop()
	for ctx.Err() == nil {
		asked := time.Now()
		l, err := n.Acquire(ctx, name, ttl)
		if err == nil {
			if l.run(ctx, asked, f) {
				return nil
			}
			continue
		}
		if !errors.Is(err, ErrHeld) && !errors.Is(err, ErrDown) && !errors.Is(err, ErrFull) && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return context.Cause(ctx)
}

// run runs f and renews the lease; true when f returned by itself.
func (l *Lease) run(ctx context.Context, asked time.Time, f func(ctx context.Context)) bool {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f(inner)
	}()
	defer func() {
		<-ended
		back, done := context.WithTimeout(context.WithoutCancel(ctx), giveBackIn)
		defer done()
		if err := l.Release(back); err != nil {
			l.n.o.Log.Debug("cluster: lease not given back, it expires", "lease", l.name, "error", err)
		}
	}()
	tick := time.NewTicker(l.ttl / 3)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return ctx.Err() == nil
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
		now := time.Now()
		switch err := l.Renew(ctx); {
		case err == nil:
			asked = now
		case errors.Is(err, ErrHeld) || now.Sub(asked) >= l.ttl/2:
			cancel()
			<-ended
			return false
		}
	}
}
