package front

import (
	"context"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/seal"
)

// openedMost bounds the session ids kept open; the others are opened again when they come.
const openedMost = 4096

// openedCache remembers session ids that were opened, so that a session in use costs no cryptography.
type openedCache struct {
	mu  sync.RWMutex
	m   map[string]*session
	ids map[sessionID]*session // the same ones
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
		c.m, c.ids = map[string]*session{}, map[sessionID]*session{}
	}
	for old := range c.m {
		if len(c.m) < openedMost {
			break
		}
		c.remove(old)
	}
	c.remove(token)
	c.m[token], c.ids[s.id] = s, s
}

func (c *openedCache) remove(token string) {
	if s := c.m[token]; s != nil {
		delete(c.ids, s.id)
		delete(c.m, token)
	}
}

func (c *openedCache) drop(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(token)
}

// clear forgets all; those that come again are opened and loaded again.
func (c *openedCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.m)
	clear(c.ids)
}

// find finds a session that was opened by its own id.
func (c *openedCache) find(id sessionID) *session {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.ids[id]
}

// count is how many sessions are neither over nor expired, of those that are remembered.
func (c *openedCache) count(ended func(sessionID) bool) (n int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	now := time.Now()
	for id, s := range c.ids {
		if now.Before(s.expires) && !ended(id) {
			n++
		}
	}
	return n
}

// Sessions is how many sessions of legacy clients this replica serves: those it knows of its latest ones, and those in a stream.
func (h *Handler) Sessions() int { return h.opened.count(h.sessions.ended) + h.streams.len() }

type callKey struct {
	session sessionID
	id      string // raw JSON
}

// running are the calls of sessions that notifications/cancelled can end. It is bounded by the requests under way.
type running struct {
	mu sync.Mutex
	m  map[callKey]context.CancelFunc
}

func (r *running) add(session sessionID, id string, cancel context.CancelFunc) bool {
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

func (r *running) remove(session sessionID, id string) {
	r.mu.Lock()
	delete(r.m, callKey{session, id})
	r.mu.Unlock()
}

// cancel ends a request; it tells whether there was one.
func (r *running) cancel(session sessionID, id string) bool {
	r.mu.Lock()
	cancel := r.m[callKey{session, id}]
	r.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	return cancel != nil
}

func (r *running) cancelAll(session sessionID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, cancel := range r.m {
		if k.session == session {
			cancel()
		}
	}
}
