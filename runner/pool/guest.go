package pool

import (
	"context"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

// Guest asks for room under the ceilings for an instance that is in no pool.
type Guest struct {
	// Op names who asks in errors, Tenant the one whose ceiling counts too; that may be empty.
	Op, Tenant string
	// Wait is how long room is waited for.
	Wait time.Duration
}

// Take counts one more instance, until give is called, once. Where there is no room, what is idle in the pools makes some.
func (s *Share) Take(ctx context.Context, g Guest) (give func(), err error) {
	give = func() { s.give(g.Tenant) }
	why := s.take(g.Tenant)
	if why == lackNothing {
		return give, nil
	}
	v := visitor(make(chan struct{}, 1))
	s.enter(v)
	defer s.leave(v)
	s.want(v, true) // before spares
	limit, again := time.NewTimer(g.Wait), time.NewTicker(lookAgain)
	defer limit.Stop()
	defer again.Stop()
	for ; why != lackNothing; why = s.take(g.Tenant) {
		if why == lackTenant {
			s.makeRoom(g.Tenant)
		} else {
			s.makeRoom("")
		}
		select {
		case <-v:
		case <-again.C:
		case <-limit.C:
			return nil, s.full(g.Op, why, g.Wait)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return give, nil
}

// full says which ceiling left no room in time.
func (s *Share) full(op string, why lack, wait time.Duration) error {
	what, most := "all %d that this replica may run are in use; raise runner.maxInstances", s.most()
	if why == lackTenant {
		what, most = "all %d that the tenant may have at this replica are in use; raise runner.maxPerTenant", s.mostOfTenant()
	}
	return overloaded(op, what, wait, most)
}

func overloaded(op, what string, wait time.Duration, most int) error {
	e := errs.E(op, errs.Overloaded, "no instance became free within %s: "+what, wait, most)
	e.RetryAfter = retryAfter
	return e
}

// visitor is a guest that waits, as its share sees it: it has no instances.
type visitor chan struct{}

func (v visitor) poke() {
	select {
	case v <- struct{}{}:
	default:
	}
}

func (v visitor) idlest(string) (since time.Time, ok, ending bool) { return since, false, false }

func (v visitor) makeRoom(string) {}
