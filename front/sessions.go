package front

import (
	"context"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/seal"
)

// sessionsMost bounds the table of mutable facts; when it is full the facts that end soonest are dropped first.
const sessionsMost = 100_000

// sessionTable holds what changes in a session: its log level, and that it was ended.
type sessionTable struct {
	mu sync.RWMutex
	m  map[[idLen]byte]sessionFacts
}

type sessionFacts struct {
	level   string
	ended   bool
	expires time.Time
}

func (t *sessionTable) level(id [idLen]byte) string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[id].level
}

func (t *sessionTable) ended(id [idLen]byte) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[id].ended
}

func (t *sessionTable) setLevel(id [idLen]byte, level string, expires time.Time) {
	t.change(id, expires, func(f *sessionFacts) { f.level = level })
}

func (t *sessionTable) end(id [idLen]byte, expires time.Time) {
	t.change(id, expires, func(f *sessionFacts) { f.ended = true })
}

func (t *sessionTable) change(id [idLen]byte, expires time.Time, f func(*sessionFacts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[[idLen]byte]sessionFacts{}
	}
	if len(t.m) >= sessionsMost {
		t.makeRoom()
	}
	facts := t.m[id]
	facts.expires = expires
	f(&facts)
	t.m[id] = facts
}

// makeRoom drops what expired, else a tenth of the log levels, which only cost their sessions the level, else of the marks.
func (t *sessionTable) makeRoom() {
	now := time.Now()
	for id, f := range t.m {
		if now.After(f.expires) {
			delete(t.m, id)
		}
	}
	const enough = sessionsMost - sessionsMost/10
	for _, marks := range []bool{false, true} {
		for id, f := range t.m {
			if len(t.m) <= enough {
				return
			}
			if f.ended == marks {
				delete(t.m, id)
			}
		}
	}
}

// openedMost bounds the session ids kept open; the others are opened again when they come.
const openedMost = 4096

// openedCache remembers session ids that were opened, so that a session in use costs no cryptography.
type openedCache struct {
	mu sync.RWMutex
	m  map[string]*session
}

// get finds a session that was opened with the same keys for the same caller at the same endpoint and has not expired.
func (c *openedCache) get(ring *seal.Ring, token, principal, endpoint string) *session {
	c.mu.RLock()
	s := c.m[token]
	c.mu.RUnlock()
	if s == nil || s.ring != ring || s.principal != principal || s.endpoint != endpoint || !time.Now().Before(s.expires) {
		return nil
	}
	return s
}

func (c *openedCache) put(token string, s *session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[string]*session{}
	}
	for old := range c.m {
		if len(c.m) < openedMost {
			break
		}
		delete(c.m, old)
	}
	c.m[token] = s
}

func (c *openedCache) drop(token string) {
	c.mu.Lock()
	delete(c.m, token)
	c.mu.Unlock()
}

type callKey struct {
	session [idLen]byte
	id      string // raw JSON
}

// running are the calls of sessions that notifications/cancelled can end. It is bounded by the requests under way.
type running struct {
	mu sync.Mutex
	m  map[callKey]context.CancelFunc
}

func (r *running) add(session [idLen]byte, id string, cancel context.CancelFunc) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = map[callKey]context.CancelFunc{}
	}
	k := callKey{session, id}
	if r.m[k] != nil {
		return false
	}
	r.m[k] = cancel
	return true
}

func (r *running) remove(session [idLen]byte, id string) {
	r.mu.Lock()
	delete(r.m, callKey{session, id})
	r.mu.Unlock()
}

func (r *running) cancel(session [idLen]byte, id string) {
	r.mu.Lock()
	cancel := r.m[callKey{session, id}]
	r.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

func (r *running) cancelAll(session [idLen]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, cancel := range r.m {
		if k.session == session {
			cancel()
		}
	}
}
