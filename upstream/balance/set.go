package balance

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Policy says how instances are chosen and judged.
type Policy struct {
	// Failures in a row eject an instance for EjectFor, longer each time; 0 ejects none. At most Most percent are ejected at
	// once, and never the last.
	Failures int
	EjectFor time.Duration
	Most     int
	// Trip failures in a row open the breaker of an instance for OpenFor; 0 never does.
	Trip    int
	OpenFor time.Duration
	// SlowStart is how long the share of an instance grows that came, or came back.
	SlowStart time.Duration
	// Zone is preferred: what is elsewhere has Away percent of its weight. With 0 it is used only where nothing else is up.
	// Without a Zone all are the same.
	Zone string
	Away int
	// Rise and Fall are how many probes in a row bring an instance up and down; 0 is one.
	Rise, Fall int
}

// ejectMost bounds how long an instance is ejected.
const ejectMost = 10 * time.Minute

// Holder is what holds a Member, most often by embedding it.
type Holder interface {
	comparable
	Seat() *Member
}

// Set are the instances of one server. Its methods may be called at the same time.
type Set[M Holder] struct {
	p       Policy
	changed func(m M, s Status)
	all     atomic.Pointer[[]M]
	mu      sync.Mutex
}

// New returns a set without members. changed is told of each change of a member's state that is worth telling; nil ignores it.
func New[M Holder](p Policy, changed func(m M, s Status)) *Set[M] {
	s := &Set[M]{p: p, changed: changed}
	s.all.Store(new([]M))
	return s
}

// All are the members. The slice must not be changed.
func (s *Set[M]) All() []M { return *s.all.Load() }

// Replace makes these the members. Those that were keep their state, others begin in the given one; those that are gone drain.
func (s *Set[M]) Replace(members []M, first State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.All()
	now := time.Now()
	for _, m := range members {
		if slices.Contains(old, m) {
			continue
		}
		seat := m.Seat()
		seat.since = now
		seat.state.Store(uint32(first))
		if first == Up && len(old) > 0 {
			seat.joined.Store(now.UnixNano())
		}
	}
	for _, m := range old {
		if seat := m.Seat(); !slices.Contains(members, m) {
			seat.since, seat.reason = now, "it is no instance of the server any more"
			seat.state.Store(uint32(Draining))
		}
	}
	kept := slices.Clone(members)
	s.all.Store(&kept)
}

// Refused says why there is no instance to choose.
type Refused struct {
	// Broken: there is one, but its breaker is open. Tried: work is under way that tells whether it is well again.
	Broken, Tried bool
	// Reason is that of the one that comes back first; RetryAfter is when, 0 where that is not known.
	Reason     string
	RetryAfter time.Duration
}

// Error is the reason.
func (r *Refused) Error() string { return r.Reason }

// Pick chooses an instance, which Done must be told of after. Those in not are chosen by no means. A key chooses the same one
// each time as long as it is up; 0 is none.
func (s *Set[M]) Pick(key uint64, not []M) (m M, err error) {
	all := s.All()
	if len(all) == 1 && not == nil {
		if seat := all[0].Seat(); seat.State() == Up {
			seat.take()
			return all[0], nil
		}
	}
	c := choice[M]{p: &s.p, all: all, not: not, now: time.Now().UnixNano()}
	if m, ok := c.make(key); ok {
		m.Seat().take()
		return m, nil
	}
	return m, s.refuse(all, not)
}

// Take counts work for a member that was not picked, such as that of a session there. It fails where nothing may be sent to it.
func (s *Set[M]) Take(m M) error {
	seat := m.Seat()
	if seat.Broken() {
		if now := time.Now().UnixNano(); !seat.due(now) || !seat.try(&s.p, now) {
			return s.refuse([]M{m}, nil)
		}
	}
	seat.take()
	return nil
}

func (m *Member) take() {
	m.inFlight.Add(1)
	m.picked.Add(1)
}

// Usable tells whether a member takes work that could be done elsewhere.
func (s *Set[M]) Usable(m M) bool {
	switch m.Seat().State() {
	case Up, Joining, Trial:
		return true
	}
	return false
}

// due tells whether it is time to try an instance that is out.
func (m *Member) due(now int64) bool {
	switch m.State() {
	case Ejected, Open, Trial:
		return now >= m.until.Load()
	}
	return false
}

// try claims the one trial of an instance. A trial whose end is not heard of is followed by another.
func (m *Member) try(p *Policy, now int64) bool {
	until := m.until.Load()
	pause := p.EjectFor
	if m.tripped.Load() {
		pause = p.OpenFor
	}
	if now < until || !m.until.CompareAndSwap(until, now+int64(max(pause, time.Second))) {
		return false
	}
	for {
		st := m.State()
		if st != Ejected && st != Open && st != Trial {
			return true // it came up meanwhile
		}
		if m.state.CompareAndSwap(uint32(st), uint32(Trial)) {
			return true
		}
	}
}

// choice is one choice among members.
type choice[M Holder] struct {
	p   *Policy
	all []M
	not []M
	now int64
}

// fits tells whether a member is one of those that are in a state and may be chosen.
func (c *choice[M]) fits(m M, st State) bool {
	seat := m.Seat()
	return seat.State() == st && (st != Trial || !seat.tripped.Load()) && !c.out(m)
}

func (c *choice[M]) out(m M) bool { return len(c.not) > 0 && slices.Contains(c.not, m) }

func (c *choice[M]) make(key uint64) (m M, ok bool) {
	if key == 0 {
		for _, m := range c.all { // who is due is tried first: it would wait long where little is called
			if m.Seat().due(c.now) && !c.out(m) && m.Seat().try(c.p, c.now) {
				return m, true
			}
		}
	}
	// What is not up is the last resort: who has not answered yet, whom only probes condemn, who is only passed over.
	for _, st := range [...]State{Up, Joining, Down, Ejected, Trial} {
		if key != 0 {
			m, ok = c.byKey(key, st)
		} else {
			m, ok = c.leastOfTwo(st)
		}
		if ok {
			return m, true
		}
	}
	return m, false
}

// byKey is the member with the highest rank.
func (c *choice[M]) byKey(key uint64, st State) (best M, ok bool) {
	for range len(c.all) + 1 {
		most, due := -1.0, false
		for _, m := range c.all {
			seat := m.Seat()
			again := seat.due(c.now)
			if c.out(m) || !again && !c.fits(m, st) {
				continue
			}
			if r := seat.rank(key); r > most {
				best, most, due, ok = m, r, again, true
			}
		}
		if !ok || !due || best.Seat().try(c.p, c.now) {
			return best, ok
		}
		ok = false // another trial was quicker; it is not due any more
	}
	return best, false
}

// leastOfTwo draws two by their weights and takes the one with less work for its weight.
func (c *choice[M]) leastOfTwo(st State) (best M, ok bool) {
	tier, total := int32(0), 0.0
	for _, m := range c.all {
		if !c.fits(m, st) {
			continue
		}
		seat := m.Seat()
		if w, its := seat.weight(c.p, c.now), seat.tier.Load(); !ok || its < tier {
			tier, total, ok = its, w, true
		} else if its == tier {
			total += w
		}
	}
	if !ok {
		return best, false
	}
	elsewhere := total == 0
	if elsewhere { // all are away, which then do not matter less
		total = c.count(st, tier)
	}
	a, ok := c.draw(st, tier, total, elsewhere)
	b, also := c.draw(st, tier, total, elsewhere)
	if !ok || !also || a == b {
		return a, ok
	}
	if c.load(b, elsewhere) < c.load(a, elsewhere) {
		return b, true
	}
	return a, true
}

// count is the number of members of a tier.
func (c *choice[M]) count(st State, tier int32) (n float64) {
	for _, m := range c.all {
		if m.Seat().tier.Load() == tier && c.fits(m, st) {
			n++
		}
	}
	return n
}

func (c *choice[M]) share(m M, even bool) float64 {
	if even {
		return 1
	}
	return m.Seat().weight(c.p, c.now)
}

func (c *choice[M]) load(m M, even bool) float64 {
	return float64(m.Seat().inFlight.Load()) / max(c.share(m, even), 1e-9)
}

// draw takes one at random, by weight. There may be none any more: others change what they are meanwhile.
func (c *choice[M]) draw(st State, tier int32, total float64, even bool) (last M, ok bool) {
	at := rand.Float64() * total //nolint:gosec // which one is no secret
	for _, m := range c.all {
		if m.Seat().tier.Load() != tier || !c.fits(m, st) {
			continue
		}
		w := c.share(m, even)
		if w == 0 {
			continue
		}
		if last, ok = m, true; at < w {
			break
		}
		at -= w
	}
	return last, ok
}

// trialPause is when those who are refused beside a trial may come again.
const trialPause = time.Second

// Refuse tells why no member can be chosen whose breaker is open.
func (s *Set[M]) Refuse() error { return s.refuse(s.All(), nil) }

// refuse tells why none of these can be chosen.
func (s *Set[M]) refuse(all, not []M) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Refused{Reason: "there is no instance of it"}
	first := int64(0)
	for _, m := range all {
		seat := m.Seat()
		if slices.Contains(not, m) {
			r.Reason = seat.reason
			continue
		}
		until, tried := seat.until.Load(), seat.State() == Trial
		if tried { // it may be over at any time
			until = min(until, time.Now().Add(trialPause).UnixNano())
		}
		if first == 0 || until < first {
			first, r.Reason, r.Broken, r.Tried = until, seat.reason, true, tried
		}
	}
	if first != 0 {
		r.RetryAfter = max(time.Until(time.Unix(0, first)), 0)
	}
	return r
}
