package pool

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

// Instance is what a pool keeps.
type Instance interface {
	// Busy tells whether ending it would lose something. It is quick, and does not call the pool.
	Busy() bool
	// Close ends it and waits for its end.
	Close()
}

// Key tells whose an instance is.
type Key struct {
	// Name tells keys apart; it is not empty.
	Name string
	// Tenant is the one whose ceiling the instance counts for; it may be empty.
	Tenant string
	// For is passed on to Start: the first who asks for the key decides it.
	For any
}

// Options are what a Pool is made of.
type Options[T Instance] struct {
	// Op names the pool in errors: server "files".
	Op string
	// Max bounds the instances, spares and those that are being started or closed among them.
	Max int
	// Min is how many are kept although they are idle.
	Min int
	// Spares is how many instances are kept started that belong to no key.
	Spares int
	// Idle is how long an instance without use is kept; 0 keeps it.
	Idle time.Duration
	// Hold is how long an instance is left to its key after it was used, before it may be ended for another key.
	Hold time.Duration
	// Queue bounds the calls that wait, Wait how long each waits for room. A start takes as long as it takes.
	Queue int
	Wait  time.Duration
	// Share are ceilings in common with other pools; nil for none.
	Share *Share
	// Start makes an instance; its context ends with the pool. A spare is made for the zero key.
	Start func(ctx context.Context, key Key) (T, error)
	// Adopt makes a spare the instance of a key. It is quick, and does not call the pool.
	Adopt func(spare T, key Key)
	// Evicted is told of an instance that is ended for another key. It is quick, and does not call the pool. It may be nil.
	Evicted func(inst T)
	// Alike says that instances differ in nothing but their key, so that one that cannot be started keeps the others from being
	// tried for a while as well.
	Alike bool
}

// Pool keeps an instance for each key. It is safe for concurrent use.
type Pool[T Instance] struct {
	o      Options[T]
	life   context.Context //nolint:containedctx // of all starts
	cancel context.CancelFunc
	kick   chan struct{} // has room for one
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	slots   map[string]*slot[T]
	spares  []T
	warming int // spares that are being started
	// spareFrom is when the next spare may be started.
	spareFrom time.Time
	total     int // of instances: of keys, spares, and those that start or end
	closing   int // of those: end
	queue     []*waiter[T]
	waiting   int       // in queue and for starts
	planned   time.Time // when keep looks next; zero for never
	pressing  bool      // somebody lacks room under the ceilings
	pressed   string    // of this tenant; empty where it is that of all
	failures  failures
}

type state byte

const (
	starting state = iota
	up
	ending
)

// slot is the place of a key.
type slot[T Instance] struct {
	key     Key
	state   state
	inst    T
	refs    int
	used    time.Time // last, when refs is 0
	leaving bool      // to be ended as soon as nobody uses it
	waiters []*waiter[T]
}

// New makes a pool, whose spares are started at once.
func New[T Instance](o Options[T]) *Pool[T] {
	p := &Pool[T]{o: o, kick: make(chan struct{}, 1), slots: map[string]*slot[T]{}, failures: failures{}}
	if p.o.Share == nil {
		p.o.Share = NewShare(o.Max, o.Max)
	}
	p.life, p.cancel = context.WithCancel(context.Background()) //nolint:gosec // Close calls it
	p.o.Share.enter(p)
	p.wg.Go(p.keep)
	p.poke()
	return p
}

// Waited is how long a call waited for its turn and for room, and then for the start of its instance.
type Waited struct{ Queue, Start time.Duration }

// Acquire returns the instance of a key, which nobody ends before Release: the one there is, a spare, or a new one. It fails
// when it would have to wait too long or with too many others, and with the error of the start.
func (p *Pool[T]) Acquire(ctx context.Context, key Key) (T, Waited, error) {
	p.mu.Lock()
	if s := p.slots[key.Name]; s != nil && s.state == up {
		s.refs++
		p.mu.Unlock()
		return s.inst, Waited{}, nil
	}
	w, err := p.enqueue(key)
	if err == nil {
		p.pump()
	}
	p.mu.Unlock()
	if err != nil {
		var none T
		return none, Waited{}, err
	}
	return p.await(ctx, w)
}

// Release gives back what Acquire returned for a key.
func (p *Pool[T]) Release(key Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release(key)
}

func (p *Pool[T]) release(key Key) {
	s := p.slots[key.Name]
	if s == nil {
		return // the pool was closed
	}
	if s.refs--; s.refs > 0 || s.state != up {
		return
	}
	s.used = time.Now()
	switch {
	case s.leaving && !s.inst.Busy():
		p.end(s)
	case len(p.queue) > 0:
		p.pump()
	}
	p.plan(p.o.Idle)
}

// Peek is the instance of a key, if there is one that is up; it may end at any time.
func (p *Pool[T]) Peek(key Key) (inst T, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.slots[key.Name]; s != nil && s.state == up {
		return s.inst, true
	}
	return inst, false
}

// Leave has the instance of a key ended as soon as nobody uses it: the key will not come again.
func (p *Pool[T]) Leave(key Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.slots[key.Name]
	if s == nil || s.state == ending {
		return
	}
	s.leaving = true
	if s.state == up && s.refs == 0 && !s.inst.Busy() {
		p.end(s)
		return
	}
	p.poke()
}

// All are the instances that are up, spares last.
func (p *Pool[T]) All() []T {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]T, 0, len(p.slots)+len(p.spares))
	for _, s := range p.slots {
		if s.state == up {
			all = append(all, s.inst)
		}
	}
	return append(all, p.spares...)
}

// Counts are the present numbers of a pool.
type Counts struct {
	// Instances are all that take room; Spares those of no key; Waiting the calls that wait.
	Instances, Spares, Waiting int
}

// Counts tells how many there are.
func (p *Pool[T]) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Counts{Instances: p.total, Spares: len(p.spares), Waiting: p.waiting}
}

// Close ends all instances, also those in use, and waits for their end. Calls that wait fail.
func (p *Pool[T]) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		p.cancel()
		for _, w := range p.queue {
			p.fail(w, p.removed())
		}
		p.queue = nil
		for _, s := range p.slots {
			if s.state == up {
				p.end(s)
			}
		}
		for _, spare := range p.spares {
			p.endSpare(spare)
		}
		p.spares = nil
	}
	p.mu.Unlock()
	p.wg.Wait()
	p.o.Share.leave(p)
}

// ErrClosed says that the pool was closed.
var ErrClosed = errors.New("is being removed")

func (p *Pool[T]) removed() error { return errs.E(p.o.Op, errs.Unavailable, "%w", ErrClosed) }

// begin starts an instance for a key; room was taken for it. The caller holds the lock, as for all below.
func (p *Pool[T]) begin(key Key) *slot[T] {
	s := &slot[T]{key: key, state: starting}
	p.slots[key.Name] = s
	p.total++
	p.wg.Go(func() {
		inst, err := p.o.Start(p.life, key)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.begun(s, inst, err)
	})
	return s
}

// begun takes in the outcome of a start, which all who wait for it share.
func (p *Pool[T]) begun(s *slot[T], inst T, err error) {
	waiters := s.waiters
	s.waiters = nil
	if err != nil {
		p.failures.add(p.scope(s.key), err)
		p.drop(s)
		if p.closed {
			err = p.removed()
		}
		for _, w := range waiters {
			p.fail(w, err)
		}
		p.pump()
		return
	}
	p.failures.over(p.scope(s.key))
	s.inst, s.state, s.used = inst, up, time.Now()
	for _, w := range waiters {
		p.hand(w, s)
	}
	if p.closed || s.leaving && s.refs == 0 {
		p.end(s)
		return
	}
	p.plan(p.o.Idle)
	p.poke() // for spares
}

// end closes the instance of a slot. Its room is free when that is done.
func (p *Pool[T]) end(s *slot[T]) {
	s.state = ending
	p.closing++
	p.wg.Go(func() {
		s.inst.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.closing--
		p.drop(s)
		p.pump()
	})
}

// drop frees the room of a slot.
func (p *Pool[T]) drop(s *slot[T]) {
	delete(p.slots, s.key.Name)
	p.total--
	p.o.Share.give(s.key.Tenant)
}
