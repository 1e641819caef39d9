package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// State is where an instance stands.
type State uint32

// The states of an instance.
const (
	Joining  State = iota // it has not answered yet
	Up                    // it takes work
	Ejected               // it failed too often and is passed over for a time, as long as others are up
	Open                  // its circuit breaker is open: nothing is sent to it
	Trial                 // one piece of work tells whether it is well again
	Down                  // probes say that it takes no work
	Draining              // it is to go: it gets nothing new
)

var stateNames = [...]string{"joining", "ready", "ejected", "open", "trial", "down", "draining"}

// String is the state as operators see it.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown"
}

// Outcome is how a piece of work ended, as far as the instance is to blame.
type Outcome uint8

// The outcomes of work.
const (
	Good    Outcome = iota
	Bad             // the instance failed
	Neither         // it says nothing of the instance, as when the caller gave up
)

// Status is the state of an instance, since when, and why.
type Status struct {
	State  State
	Since  time.Time
	Reason string
	// Again is when it is tried again, where that is known.
	Again time.Time
	// InFlight is the work it has now, Picked how often it was chosen, Ejections how often it was taken out.
	InFlight, Picked, Ejections int64
}

// Member is one instance. Its exported fields are set before it becomes part of a Set, and not changed after.
type Member struct {
	// Zone is where it is; empty where that is not known.
	Zone string
	// Hash tells it apart for the choice by key.
	Hash uint64

	share     atomic.Int32 // its weight
	tier      atomic.Int32
	state     atomic.Uint32
	fails     atomic.Int32 // in a row
	inFlight  atomic.Int64
	picked    atomic.Int64
	ejections atomic.Int64
	until     atomic.Int64 // when it may be tried again, unix nanoseconds
	joined    atomic.Int64 // since when it is up, for the slow start; 0 for ever
	tripped   atomic.Bool  // it was its breaker that took it out

	// Guarded by the lock of the Set.
	since  time.Time
	reason string
	rows   int           // times it was taken out without being well for long in between
	out    time.Duration // how long it was out the last time
	probed int           // probes that failed, or (negative) succeeded, in a row
}

// Seat returns m, so that what embeds a Member can be part of a Set.
func (m *Member) Seat() *Member { return m }

// Weigh gives it its share of the work, 1 and more, and its tier: the lowest one that has an instance that is up takes all work. It
// may be called at any time.
func (m *Member) Weigh(weight, tier int) {
	m.share.Store(int32(min(weight, math.MaxInt32)))
	m.tier.Store(int32(min(tier, math.MaxInt32)))
}

// Weight is its share of the work.
func (m *Member) Weight() int { return int(m.share.Load()) }

// State is the present state.
func (m *Member) State() State { return State(m.state.Load()) }

// Broken tells that its breaker is open, or that one piece of work is let through to tell whether it may be closed.
func (m *Member) Broken() bool {
	st := m.State()
	return st == Open || st == Trial && m.tripped.Load()
}

// InFlight is how much work it has.
func (m *Member) InFlight() int64 { return m.inFlight.Load() }

// weight is the share of the work it may have now, 0 for none.
func (m *Member) weight(p *Policy, now int64) float64 {
	w := float64(max(m.Weight(), 1))
	if p.SlowStart > 0 {
		if age := now - m.joined.Load(); age < int64(p.SlowStart) {
			w *= max(float64(age)/float64(p.SlowStart), slowest)
		}
	}
	if p.Zone != "" && m.Zone != p.Zone {
		w *= float64(p.Away) / 100
	}
	return w
}

// slowest is the share of its weight that an instance begins with.
const slowest = 0.1

// rank is its place in the choice by key: the highest is chosen, and a weight of two is chosen twice as often as one of one.
func (m *Member) rank(key uint64) float64 {
	h := mix(key ^ mix(m.Hash))
	u := (float64(h>>11) + 0.5) / (1 << 53)
	return float64(max(m.Weight(), 1)) / -math.Log(u)
}

// mix spreads the bits of a number (the finaliser of splitmix64).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// Hash is that of a text, for the choice by key.
func Hash(text string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(text) {
		h = (h ^ uint64(text[i])) * 1099511628211
	}
	return mix(h)
}
