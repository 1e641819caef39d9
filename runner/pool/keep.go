package pool

import "time"

// lookAgain is how often it is looked whether those who wait can go on: nobody tells when an instance is not busy any more.
const lookAgain = 100 * time.Millisecond

// afterHandover is how long the next spare is not started, so that its start does not slow down the call for which the
// last one was handed over.
const afterHandover = 20 * time.Millisecond

// keep stops what is idle, keeps spares, and has those who wait go on.
func (p *Pool[T]) keep() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-p.life.Done():
			return
		case <-p.kick:
		case <-timer.C:
		}
		next := p.look()
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

// look does all that is due, and tells when something is due again.
func (p *Pool[T]) look() (next time.Time) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return next
	}
	next = p.sweep()
	p.pump()
	p.refill()
	if len(p.queue) > 0 {
		next = sooner(next, time.Now().Add(lookAgain))
	}
	if p.lacking() {
		next = sooner(next, p.failures.next())
		if p.spareFrom.After(time.Now()) {
			next = sooner(next, p.spareFrom)
		}
	}
	p.planned = next
	pressing, tenant := p.pressing, p.pressed
	p.mu.Unlock()
	if pressing {
		p.o.Share.makeRoom(tenant)
	}
	return next
}

// sweep stops what was idle too long or is to leave, and tells when the next one will have been.
func (p *Pool[T]) sweep() (next time.Time) {
	now := time.Now()
	for _, s := range p.slots {
		if s.state != up || s.refs > 0 {
			continue
		}
		if s.inst.Busy() {
			s.used = now
		}
		due := s.used.Add(p.o.Idle)
		switch {
		case s.leaving && !s.inst.Busy():
			p.end(s)
		case s.leaving:
			next = sooner(next, now.Add(lookAgain))
		case p.o.Idle == 0:
		case due.After(now):
			next = sooner(next, due)
		case p.total-p.closing > p.o.Min:
			p.end(s)
		}
	}
	return next
}

// lacking tells whether there should be more spares.
func (p *Pool[T]) lacking() bool { return len(p.spares)+p.warming < p.o.Spares }

// refill starts spares, when nobody needs the room.
func (p *Pool[T]) refill() {
	if time.Now().Before(p.spareFrom) {
		return
	}
	for p.lacking() && len(p.queue) == 0 && p.total < p.o.Max && p.failures.ready("") && p.o.Share.spare() {
		p.warming++
		p.total++
		p.wg.Go(func() {
			inst, err := p.o.Start(p.life, Key{})
			p.mu.Lock()
			defer p.mu.Unlock()
			p.warmed(inst, err)
		})
	}
}

// warmed takes in the outcome of the start of a spare.
func (p *Pool[T]) warmed(inst T, err error) {
	p.warming--
	if err != nil {
		p.failures.add("", err)
		p.total--
		p.o.Share.give("")
		p.poke()
		return
	}
	p.failures.over("")
	if p.closed {
		p.endSpare(inst)
		return
	}
	p.spares = append(p.spares, inst)
	if len(p.queue) > 0 {
		p.pump()
	}
}

func (p *Pool[T]) endSpare(inst T) {
	p.closing++
	p.wg.Go(func() {
		inst.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.closing--
		p.total--
		p.o.Share.give("")
		p.pump()
	})
}

// plan has keep look after that time at the latest; 0 changes nothing.
func (p *Pool[T]) plan(after time.Duration) {
	if after == 0 {
		return
	}
	if at := time.Now().Add(after); p.planned.IsZero() || at.Before(p.planned) {
		p.planned = at
		p.poke()
	}
}

func (p *Pool[T]) poke() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
