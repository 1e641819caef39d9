package front

import (
	"slices"
	"sync"
	"time"
)

// expiries are the sessions that began here, in the order in which they expire: those that nobody ends are counted then. Of very many
// those are left out that began last.
type expiries struct {
	mu    sync.Mutex
	queue []expiry
	timer *time.Timer // for the first one
}

type expiry struct {
	id sessionID
	at time.Time
}

// add enters a session; over is called each time some may have expired.
func (e *expiries) add(s *session, over func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.queue) >= sessionsMost {
		return
	}
	at, _ := slices.BinarySearchFunc(e.queue, s.expires, func(a expiry, t time.Time) int { return a.at.Compare(t) })
	e.queue = slices.Insert(e.queue, at, expiry{s.id, s.expires})
	switch {
	case e.timer == nil:
		e.timer = time.AfterFunc(time.Until(s.expires), over)
	case at == 0:
		e.timer.Reset(time.Until(s.expires))
	}
}

// due takes out those that have expired.
func (e *expiries) due(now time.Time) (all []sessionID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) > 0 && !now.Before(e.queue[0].at) {
		all = append(all, e.queue[0].id)
		e.queue = e.queue[1:]
	}
	if len(e.queue) > 0 {
		e.timer.Reset(e.queue[0].at.Sub(now))
	}
	return all
}

// expired counts the sessions that have expired. Those that were ended have been counted.
func (h *Handler) expired() {
	for _, id := range h.expiries.due(time.Now()) {
		if !h.sessions.ended(id) {
			h.o.Metrics.SessionExpired()
		}
	}
}
