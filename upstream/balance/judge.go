package balance

import "time"

// Done tells how work of a member ended, and why where it was Bad.
func (s *Set[M]) Done(m M, o Outcome, why string) {
	s.Release(m)
	s.Judge(m, o, why)
}

// Release tells that work of a member is over, and nothing of how it ended.
func (s *Set[M]) Release(m M) { m.Seat().inFlight.Add(-1) }

// Judge is Done for what was not counted as work, or is released apart.
func (s *Set[M]) Judge(m M, o Outcome, why string) {
	seat := m.Seat()
	switch o {
	case Good:
		if seat.fails.Load() != 0 {
			seat.fails.Store(0)
		}
		if seat.State() != Up {
			s.well(m)
		}
	case Bad:
		if s.p.Failures > 0 || s.p.Trip > 0 {
			s.failed(m, why)
		}
	case Neither:
		if seat.State() == Trial {
			s.unsure(m)
		}
	}
}

// well brings back a member whose work succeeded. What probes say counts more.
func (s *Set[M]) well(m M) {
	s.mu.Lock()
	seat := m.Seat()
	was := seat.State()
	var told bool
	if was == Joining || was == Ejected || was == Trial {
		told = s.up(m)
	}
	st := s.status(m)
	s.mu.Unlock()
	if told {
		s.tell(m, st)
	}
}

// Answered closes the breaker of a member that has been found to be there again.
func (s *Set[M]) Answered(m M) {
	s.mu.Lock()
	told := m.Seat().Broken() && s.up(m)
	st := s.status(m)
	s.mu.Unlock()
	if told {
		s.tell(m, st)
	}
}

// up is called with mu held; it tells whether that is worth telling.
func (s *Set[M]) up(m M) bool {
	seat := m.Seat()
	now := time.Now()
	seat.since, seat.reason = now, ""
	seat.tripped.Store(false)
	seat.fails.Store(0)
	seat.joined.Store(now.UnixNano())
	seat.state.Store(uint32(Up))
	return true
}

// unsure ends a trial that showed nothing: the next one is due at once.
func (s *Set[M]) unsure(m M) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seat := m.Seat()
	if seat.State() != Trial {
		return
	}
	seat.until.Store(time.Now().UnixNano())
	seat.state.Store(uint32(seat.outState()))
}

func (m *Member) outState() State {
	if m.tripped.Load() {
		return Open
	}
	return Ejected
}

// failed counts a failure, and takes the member out where that was one too many.
func (s *Set[M]) failed(m M, why string) {
	seat := m.Seat()
	n := int(seat.fails.Add(1))
	trial := seat.State() == Trial
	if !trial && (s.p.Trip == 0 || n < s.p.Trip) && (s.p.Failures == 0 || n < s.p.Failures) {
		return
	}
	s.mu.Lock()
	told := s.takeOut(m, n, why)
	st := s.status(m)
	s.mu.Unlock()
	if told {
		s.tell(m, st)
	}
}

// takeOut is called with mu held.
func (s *Set[M]) takeOut(m M, n int, why string) (told bool) {
	seat, now := m.Seat(), time.Now()
	switch seat.State() {
	case Trial: // it goes on as before
		seat.reason = why
		s.pause(seat, now)
		seat.state.Store(uint32(seat.outState()))
		return false
	case Up, Joining, Ejected, Down:
	default:
		return false
	}
	trips := s.p.Trip > 0 && n >= s.p.Trip
	out := seat.State() == Ejected || seat.State() == Down
	if !trips && (out || !s.expendable()) {
		return false
	}
	if !out {
		s.forgive(seat, now)
		seat.since = now
		seat.ejections.Add(1)
	}
	seat.reason = why
	seat.tripped.Store(trips)
	s.pause(seat, now)
	seat.state.Store(uint32(seat.outState()))
	return true
}

// pause sets when a member that is out is tried again.
func (s *Set[M]) pause(seat *Member, now time.Time) {
	if seat.tripped.Load() {
		seat.out = s.p.OpenFor
	} else {
		seat.out = min(s.p.EjectFor<<min(seat.rows, 10), ejectMost)
		seat.rows++
	}
	seat.until.Store(now.Add(seat.out).UnixNano())
}

// forgive forgets that a member was out before, where it was well for long since. Called with mu held.
func (s *Set[M]) forgive(seat *Member, now time.Time) {
	if now.Sub(seat.since) > 2*max(seat.out, s.p.EjectFor) {
		seat.rows = 0
	}
}

// expendable tells whether one more may be ejected. Called with mu held.
func (s *Set[M]) expendable() bool {
	all := s.All()
	up, out := 0, 0
	for _, m := range all {
		switch m.Seat().State() {
		case Up:
			up++
		case Joining:
		default:
			out++
		}
	}
	return up > 1 && out < max(len(all)*s.p.Most/100, 1)
}

// Probe tells what a probe of a member came to.
func (s *Set[M]) Probe(m M, ok bool, why string) {
	s.mu.Lock()
	told := s.probed(m, ok, why)
	st := s.status(m)
	s.mu.Unlock()
	if told {
		s.tell(m, st)
	}
}

// probed is called with mu held.
func (s *Set[M]) probed(m M, ok bool, why string) (told bool) {
	seat, now := m.Seat(), time.Now()
	if seat.probed > 0 == ok {
		seat.probed = 0
	}
	if ok {
		seat.probed--
	} else {
		seat.probed++
	}
	switch st := seat.State(); {
	case ok && (st == Joining || st == Down) && -seat.probed >= s.p.Rise && now.UnixNano() >= seat.until.Load():
		return s.up(m)
	case !ok && (st == Joining || st == Down || seat.tripped.Load()): // a breaker that is open lets less through than Down
		seat.reason = why
	case !ok && st != Draining && seat.probed >= s.p.Fall:
		s.forgive(seat, now)
		// The first time it may come back at once, but one that comes and goes is believed later and later.
		seat.out = 0
		if seat.rows > 0 {
			seat.out = min(s.p.EjectFor<<min(seat.rows-1, 10), ejectMost)
		}
		seat.rows++
		seat.since, seat.reason = now, why
		seat.tripped.Store(false)
		seat.until.Store(now.Add(seat.out).UnixNano())
		seat.ejections.Add(1)
		seat.state.Store(uint32(Down))
		return true
	}
	return false
}

// Status is that of a member.
func (s *Set[M]) Status(m M) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status(m)
}

func (s *Set[M]) status(m M) Status {
	seat := m.Seat()
	st := Status{
		State: seat.State(), Since: seat.since, Reason: seat.reason,
		InFlight: seat.inFlight.Load(), Picked: seat.picked.Load(), Ejections: seat.ejections.Load(),
	}
	if st.State == Ejected || st.State == Open {
		st.Again = time.Unix(0, seat.until.Load())
	}
	return st
}

func (s *Set[M]) tell(m M, st Status) {
	if s.changed != nil {
		s.changed(m, st)
	}
}
