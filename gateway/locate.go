package gateway

import (
	"context"
	"errors"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/runner/pool"
)

// remote says that the instance of a caller runs at another replica.
type remote struct{ replica string }

func (r *remote) Error() string { return "the caller's instance runs at another replica" }

// hold takes the instance of a caller into use, and starts one where there is none. A *remote error tells that it is at another
// replica.
func (f *family) hold(ctx context.Context, c caller) (hold, error) {
	if c.handed && f.g.handing.Load() {
		return hold{}, moved()
	}
	key := f.keyOf(c)
	k, up := f.pool.Peek(key)
	if !up {
		if err := f.lacks(key); err != nil {
			return hold{}, err
		}
	}
	if f.lone() {
		return f.holdHere(ctx, key)
	}
	if up && (c.stays || !k.foreign.Load() && k.claim.Load() != nil) {
		return f.holdHere(ctx, key)
	}
	if !up && f.plan.Isolation == v1.IsolationSession && f.g.owners.settling() {
		return hold{}, errVacant // else it could be begun anew here although it goes on elsewhere
	}
	cl, replica, err := f.g.owners.claim(ctx, f.leaseOf(key.Name))
	switch {
	case err != nil && f.doesWithout(err) && !f.g.o.Node.Status().Connected:
		return f.holdHere(ctx, key)
	case err != nil:
		return hold{}, err
	case replica != "":
		if up {
			k.disown() // it was started while nobody could be asked
		}
		return hold{}, c.awayAt(replica)
	}
	return f.holdClaimed(ctx, c, key, cl)
}

// awayAt is the error for a caller whose instance is at another replica.
func (c *caller) awayAt(replica string) error {
	if c.handed || c.stays {
		return moved()
	}
	return &remote{replica}
}

// lone tells whether no other replica can have the instance of a key in place of this one.
func (f *family) lone() bool { return f.remote() || f.g.o.Node.Alone() }

// holdClaimed is holdHere for a key whose lease was claimed, which the instance keeps from then on.
func (f *family) holdClaimed(ctx context.Context, c caller, key pool.Key, cl *claim) (hold, error) {
	o := &f.g.owners
	defer o.drop(cl, true)
	h, err := f.holdHere(ctx, key)
	switch {
	case err == nil && h.k.claim.Load() == nil:
		h.k.keep(o.retain(cl.name, h.k))
	case c.handed && errors.Is(err, pool.ErrClosed):
		return hold{}, moved() // this replica is stopping, others are not
	}
	return h, err
}

// keep has an instance keep a claim until it is closed, unless it has one.
func (k *kin) keep(c *claim) {
	if !k.claim.CompareAndSwap(nil, c) {
		k.f.g.owners.drop(c, true)
	}
}

// secure has an instance that is about to start keep the lease of its key.
func (f *family) secure(ctx context.Context, k *kin, key pool.Key) error {
	if key.Name == "" || f.lone() {
		return nil
	}
	o := &f.g.owners
	cl, replica, err := o.claim(ctx, f.leaseOf(key.Name)) // that who asks for the instance has most likely
	switch {
	case err != nil && f.doesWithout(err):
		return nil
	case err != nil:
		return err
	case replica != "":
		return moved()
	}
	k.claim.Store(o.retain(cl.name, k))
	o.drop(cl, true)
	return nil
}

// doesWithout tells whether an instance is started although nobody can say whether another replica has one. That of a session
// is not: it would know nothing of the session.
func (f *family) doesWithout(err error) bool {
	away := errors.Is(err, cluster.ErrDown) || errors.Is(err, cluster.ErrFull)
	return away && f.plan.Isolation != v1.IsolationSession
}

const (
	// awayMost is how long the cluster's backend may be away before a call is told, blinkMost how long it may not answer although
	// it is connected: whether it still is shows within that.
	awayMost  = time.Second
	blinkMost = 3 * time.Second
)

// blinks tells whether a call that could not be handed over, nor begun, waits for the cluster's backend.
func (g *Gateway) blinks(err error, waited time.Duration) bool {
	if !errors.Is(err, cluster.ErrDown) || errs.Of(err).Op != "cluster" {
		return false
	}
	return waited < awayMost || waited < blinkMost && g.o.Node.Status().Connected
}

// unsure says of a call that was not begun what keeps it from that.
func (f *family) unsure(err error) error {
	if !errors.Is(err, cluster.ErrDown) || errs.Of(err).Op != "cluster" {
		return err
	}
	return errs.E(`server "`+f.plan.Name+`"`, errs.Unavailable,
		"the caller's instance is not at this replica, and no other one can be asked for it: %w; the call was not begun", err)
}

// enter makes the instance of the caller the one that the request goes to, until the exchange ends; or another replica, which has
// the instance, serves it.
func (g *Gateway) enter(ctx context.Context, x *Exchange) (done bool, err error) {
	f := x.member.family
	if x.held.k != nil && x.held.k.f == f {
		x.member = &x.held.k.member // the request is made again
		return false, nil
	}
	x.held.release()
	began := time.Now()
	limit := began.Add(time.Duration(f.plan.Pool.Wait))
	for {
		h, err := f.holdTelling(ctx, x)
		if err == nil {
			if h.waited != (pool.Waited{}) {
				x.call.Timing.Queue += h.waited.Queue
				x.call.Timing.Start += time.Since(began) - h.waited.Queue
			}
			x.held, x.member = h, &h.k.member
			return false, nil
		}
		if at, there := errors.AsType[*remote](err); there {
			if err = g.handOver(ctx, x, f, at.replica); err == nil {
				return true, nil
			}
		}
		if !g.blinks(err, time.Since(began)) && !again(err) || x.handed || x.stays || time.Now().After(limit) {
			return false, f.unsure(err)
		}
		if err := pause(ctx, leaseAgain); err != nil {
			return false, err
		}
	}
}

// tellAfter is how often a call that waits for its instance tells its client so.
const tellAfter = time.Second

// holdTelling is hold for an exchange, whose client is told that it waits if it wants to hear of progress.
func (f *family) holdTelling(ctx context.Context, x *Exchange) (hold, error) {
	x.call.In, x.call.Client, x.call.Notify = &x.In, &x.Client, x.Notify
	if _, up := f.pool.Peek(f.keyOf(x.who())); up || !x.call.WantsProgress() {
		return f.hold(ctx, x.who())
	}
	var h hold
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		h, err = f.hold(ctx, x.who())
	}()
	tick := time.NewTicker(tellAfter)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return h, err
		case <-tick.C:
			x.call.Waited("waiting for an instance of server " + f.plan.Name)
		}
	}
}

// again tells whether an instance is found soon that was not there: nothing was done yet.
func again(err error) bool {
	return isMoved(err) || errors.Is(err, cluster.ErrUnsent) && !errors.Is(err, cluster.ErrDown) || errors.Is(err, errVacant)
}

// handOver has the replica serve the exchange that has the instance of its caller.
func (g *Gateway) handOver(ctx context.Context, x *Exchange, f *family, replica string) error {
	err := g.send(ctx, x, replica, true)
	if err != nil && !again(err) && !errors.Is(err, cluster.ErrUnsent) {
		x.call.Away()
	}
	switch {
	case err == nil:
		return nil
	case again(err) || errors.Is(err, cluster.ErrUnsent):
		g.owners.forget(f.leaseOf(f.keyOf(x.who()).Name))
		return err
	case errors.Is(err, cluster.ErrGone):
		lost := errs.E(`server "`+f.plan.Name+`"`, errs.Lost, "the replica that ran the caller's instance is gone, and with it what the instance kept. "+
			"The call may have been carried out; call again for a new instance")
		lost.Err = err
		return lost
	case errors.Is(err, cluster.ErrDown):
		return errs.E(`server "`+f.plan.Name+`"`, errs.Unavailable, "the replica that runs the caller's instance cannot be reached now: %w; call again later", err)
	}
	return err
}
