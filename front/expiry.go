package front

import (
	"slices"
	"sync"
	"time"
)

// expiries are the sessions that began here, in the order in which they expire: those that nobody ends are counted then. Of more than
// sessionsMost that live at the same time those are left out that began last.
type expiries struct {
	mu    sync.Mutex
	live  map[sessionID]struct{}
	queue []expiry    // of them, and of others that were ended
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
	if len(e.live) >= sessionsMost {
		return
	}
	if len(e.queue) >= 2*sessionsMost {
		e.queue = slices.DeleteFunc(e.queue, func(x expiry) bool { _, live := e.live[x.id]; return !live })
	}
	if e.live == nil {
		e.live = map[sessionID]struct{}{}
	}
	e.live[s.id] = struct{}{}
	at, _ := slices.BinarySearchFunc(e.queue, s.expires, func(a expiry, t time.Time) int { return a.at.Compare(t) })
	e.queue = slices.Insert(e.queue, at, expiry{s.id, s.expires})
	switch {
	case e.timer == nil:
		e.timer = time.AfterFunc(time.Until(s.expires), over)
	case at == 0:
		e.timer.Reset(time.Until(s.expires))
	}
}

// drop takes out a session that was ended.
func (e *expiries) drop(id sessionID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.live, id)
}

// due takes out those that have expired.
func (e *expiries) due(now time.Time) (all []sessionID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) > 0 && !now.Before(e.queue[0].at) {
		id := e.queue[0].id
		if _, live := e.live[id]; live {
			all = append(all, id)
			delete(e.live, id)
		}
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
		if !h.sessions.ended(id) { // before it was entered here
			h.o.Metrics.SessionExpired()
		}
	}
}
