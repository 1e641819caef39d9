package limit

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Rules are the limits of one plan. The zero value has none. They are safe for concurrent use.
type Rules struct {
	limiter *Limiter
	phases  [targetPhase + 1][]*rule
	config  *v1.Config // nil in the zero value
	servers map[string]*v1.Server
	weighs  []string // servers with tools whose cost is not 1, sorted
	keyed   bool     // a limit is per key

	seed    maphash.Seed
	recent  [recentTargets]atomic.Pointer[target]
	mu      sync.RWMutex
	targets map[string]*target
}

// recentTargets is how many targets are found at once, each at the one place that it may have.
const recentTargets = 128

// Any tells whether there is a limit at all.
func (r *Rules) Any() bool {
	return len(r.phases[edgePhase])+len(r.phases[callerPhase])+len(r.phases[targetPhase]) > 0
}

// Keyed tells whether a limit asks for the key of a subject.
func (r *Rules) Keyed() bool { return r.keyed }

// all visits all of them.
func (r *Rules) all(yield func(*rule) bool) {
	for _, rules := range r.phases {
		for _, rule := range rules {
			if !yield(rule) {
				return
			}
		}
	}
}

// meters visits what they measure.
func (r *Rules) meters(yield func(*meter) bool) {
	for rule := range r.all {
		for i := range rule.meters {
			if !yield(&rule.meters[i]) {
				return
			}
		}
	}
}

// target is what is known of a tool of a server, or of the server where no tool is called.
type target struct {
	key   string
	rules []*rule
	cost  float64
}

// targetsMost bounds how many targets are remembered; what comes then is found out anew each time.
const targetsMost = 1 << 14

// target finds the rules that are for what a request asks for.
func (r *Rules) target(s *Subject) *target {
	if len(s.Tool) > valueMost {
		return r.resolve(s) // no tool that there is
	}
	var scratch [256]byte
	key := appendText(scratch[:0], s.Server)
	if s.Tool != nil {
		key = append(append(key, '/'), s.Tool...)
	}
	place := &r.recent[maphash.Bytes(r.seed, key)%recentTargets]
	if t := place.Load(); t != nil && t.key == string(key) {
		return t
	}
	r.mu.RLock()
	t := r.targets[string(key)]
	r.mu.RUnlock()
	if t != nil {
		place.Store(t)
		return t
	}
	t = r.resolve(s)
	t.key = string(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.targets == nil {
		r.targets = map[string]*target{}
	}
	if len(r.targets) < targetsMost {
		r.targets[t.key] = t
	}
	return t
}

func (r *Rules) resolve(s *Subject) *target {
	t, name := &target{cost: 1}, ""
	if s.Tool != nil {
		name = s.Prefix + string(s.Tool)
		if server := r.servers[s.Server]; server != nil {
			t.cost = float64(server.CostOf(string(s.Tool)))
		}
	}
	for _, rule := range r.phases[targetPhase] {
		if rule.concernsTarget(s.Server, name) {
			t.rules = append(t.rules, rule)
		}
	}
	return t
}

// Edge counts a request against the limits of its address, before anything else is known of it.
func (r *Rules) Edge(ctx context.Context, t *Ticket, s *Subject, at time.Time) error {
	if len(r.phases[edgePhase]) == 0 {
		return nil
	}
	return t.take(ctx, r, r.phases[edgePhase], s, at, 1)
}

// Caller counts a request against the limits of who asks, as one.
func (r *Rules) Caller(ctx context.Context, t *Ticket, s *Subject, at time.Time) error {
	if len(r.phases[callerPhase]) == 0 {
		return nil
	}
	return t.take(ctx, r, r.phases[callerPhase], s, at, 1)
}

// Aims tells whether there is something to be asked of Target for a server.
func (r *Rules) Aims(server string) bool {
	if len(r.phases[targetPhase]) > 0 {
		return true
	}
	_, weighs := slices.BinarySearch(r.weighs, server)
	return weighs && len(r.phases[callerPhase]) > 0
}

// Target counts a request against the limits of what it asks for, and what it costs beyond one against those of who asks.
func (r *Rules) Target(ctx context.Context, t *Ticket, s *Subject, at time.Time) error {
	to := r.target(s)
	if to.cost != 1 {
		if err := t.reweigh(ctx, r, to.cost, at); err != nil {
			return err
		}
	}
	if len(to.rules) == 0 {
		return nil
	}
	return t.take(ctx, r, to.rules, s, at, to.cost)
}
