package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/errs"
)

// Among replicas, the instance of an isolation key runs where its lease is held: whoever is asked for it hands the exchange on
// to that replica, so that nothing has to be sticky. The lease is held as long as the instance lives and a little before.

const (
	leaseTTL    = 9 * time.Second
	leaseRenew  = leaseTTL / 3
	leaseTime   = time.Second             // for one request to the backend
	seenFresh   = time.Second             // how long it is believed where an instance was seen
	seenMost    = 10_000                  // keys whose replica is known
	leaseAgain  = 200 * time.Millisecond  // how often it is looked whether the lease of a replica that is gone has expired
	settleTime  = 1500 * time.Millisecond // after the backend was away, others have renewed their leases
	opMoved     = "moved"                 // the operation of errors by which a replica says that it has not the instance
	leasePrefix = "instance "
)

// owners are the leases of this replica, and where others were seen.
type owners struct {
	g *Gateway

	mu       sync.Mutex
	held     map[string]*claim
	joined   bool      // the backend was reached once
	back     time.Time // when the backend came back after it was away: others may still have to renew their leases
	seen     map[string]seen
	renewing bool
}

// claim is a lease of this replica, or the attempt to get it.
type claim struct {
	name  string
	users int // exchanges that go to the instance, and the instance itself; guarded by owners.mu
	k     *kin
	lost  bool
	done  chan struct{} // closed when it was found out who has it, which the rest tells
	lease *cluster.Lease
	at    string // the replica that has it; empty for this one
	err   error
	ended chan struct{} // closed when it was given back
}

type seen struct {
	replica string
	at      time.Time
}

// leaseOf names the lease of an instance. Keys may be names of sessions and callers, which are nobody's business.
func (f *family) leaseOf(key string) string {
	sum := sha256.Sum256([]byte(f.plan.Name + "\x00" + key))
	return leasePrefix + base64.RawURLEncoding.EncodeToString(sum[:18])
}

// claim finds out where an instance is to run: here, by a claim that drop gives back, or at another replica.
func (o *owners) claim(ctx context.Context, name string) (c *claim, replica string, err error) {
	for {
		o.mu.Lock()
		if s, ok := o.seen[name]; ok && o.held[name] == nil && time.Since(s.at) < seenFresh {
			o.mu.Unlock()
			return nil, s.replica, nil
		}
		c = o.held[name]
		if c == nil {
			c = o.begin(ctx, name)
		}
		over := c.users == 0
		if !over {
			c.users++
		}
		o.mu.Unlock()
		wait := c.done
		if over {
			wait = c.ended
		}
		select {
		case <-wait:
		case <-ctx.Done():
			o.drop(c, !over)
			return nil, "", context.Cause(ctx)
		}
		if over {
			continue // another one is begun
		}
		if c.lease == nil {
			o.drop(c, true)
			return nil, c.at, c.err
		}
		return c, "", nil
	}
}

// begin asks for a lease. The caller holds the lock.
func (o *owners) begin(ctx context.Context, name string) *claim {
	c := &claim{name: name, users: 1, done: make(chan struct{}), ended: make(chan struct{})}
	if o.held == nil {
		o.held, o.seen = map[string]*claim{}, map[string]seen{}
	}
	o.held[name] = c
	if !o.renewing {
		o.renewing = true
		o.g.retired.Go(o.renew)
	}
	ctx = context.WithoutCancel(ctx) // others wait for it too
	o.g.retired.Go(func() {
		o.ask(ctx, c)
		close(c.done)
		o.drop(c, true)
	})
	return c
}

// ask gets the lease, or finds who has it.
func (o *owners) ask(ctx context.Context, c *claim) {
	ctx, cancel := context.WithTimeout(ctx, 2*leaseTime)
	defer cancel()
	node := o.g.o.Node
	c.lease, c.err = node.Acquire(ctx, c.name, leaseTTL)
	if !errors.Is(c.err, cluster.ErrHeld) {
		return
	}
	if c.at, c.err = node.Holder(ctx, c.name); c.err != nil {
		return
	}
	if c.at == "" || c.at == node.ID() {
		c.at, c.err = "", errVacant
		return
	}
	o.saw(c.name, c.at)
}

// errVacant: the lease is on its way from one to the next.
var errVacant = errors.New("the lease is free soon")

func (o *owners) saw(name, replica string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.seen) >= seenMost {
		clear(o.seen)
	}
	o.seen[name] = seen{replica, time.Now()}
}

func (o *owners) forget(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.seen, name)
}

// retain has an instance keep a claim that there is, until it is closed; nil where there is none.
func (o *owners) retain(name string, k *kin) *claim {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := o.held[name]
	if c == nil || c.users == 0 {
		return nil
	}
	c.users++
	c.k = k
	return c
}

// drop takes back one use of a claim; with the last one, the lease is given back.
func (o *owners) drop(c *claim, used bool) {
	if c == nil || !used {
		return
	}
	o.mu.Lock()
	c.users--
	last, lost := c.users == 0, c.lost
	o.mu.Unlock()
	if !last {
		return
	}
	if c.lease != nil && !lost {
		ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
		if err := c.lease.Release(ctx); err != nil {
			o.g.o.Log.Debug("lease of an instance not given back, it expires", "error", err)
		}
		cancel()
	}
	o.mu.Lock()
	if o.held[c.name] == c {
		delete(o.held, c.name)
	}
	o.mu.Unlock()
	close(c.ended)
}

// renew keeps the leases of this replica until the gateway is closed.
func (o *owners) renew() {
	tick := time.NewTicker(leaseRenew)
	defer tick.Stop()
	for {
		select {
		case <-o.g.closing:
			return
		case <-tick.C:
		}
		o.mu.Lock()
		all := slices.Collect(maps.Values(o.held))
		o.mu.Unlock()
		for _, c := range all {
			if !o.renewOne(c) {
				break // the backend is away
			}
		}
	}
}

// reconnected renews all leases at once: the backend may have forgotten them.
func (o *owners) reconnected() {
	o.mu.Lock()
	if o.joined {
		o.back = time.Now()
	}
	o.joined = true
	all := slices.Collect(maps.Values(o.held))
	o.mu.Unlock()
	for _, c := range all {
		o.renewOne(c)
	}
}

// settling tells whether a replica that holds a lease may not have renewed it since the backend came back.
func (o *owners) settling() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Since(o.back) < settleTime
}

// renewOne renews one lease. When another replica has taken it, the instance here goes as soon as nobody uses it.
func (o *owners) renewOne(c *claim) (reached bool) {
	select {
	case <-c.done:
	default:
		return true
	}
	if c.lease == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
	defer cancel()
	err := c.lease.Renew(ctx)
	if !errors.Is(err, cluster.ErrHeld) {
		return err == nil
	}
	o.mu.Lock()
	over := c.users == 0
	if c.lost = !over; c.lost && o.held[c.name] == c {
		delete(o.held, c.name)
	}
	k := c.k
	o.mu.Unlock()
	if k != nil && !over {
		k.disown()
	}
	return true
}

// disown has the instance end as soon as nobody uses it: another replica has one in its place.
func (k *kin) disown() {
	if !k.foreign.Swap(true) {
		k.f.g.hub.scatter(k.watched) // to the other one
	}
	if key := k.key.Load(); key != nil {
		k.f.pool.Leave(*key)
	}
}

// moved is what a replica says that was handed an exchange whose instance it has not.
func moved() error {
	return errs.E(opMoved, errs.Unavailable, "the caller's instance runs at another replica by now; call again")
}

func isMoved(err error) bool {
	e := errs.Of(err)
	return e != nil && e.Op == opMoved
}
