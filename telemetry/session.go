package telemetry

import (
	"hash/maphash"
	"sync"
	"time"
)

// SessionEnded counts a session of a client that is over, and how long it lasted; reason is client, server or stream.
func (m *Metrics) SessionEnded(protocol, reason string, lasted time.Duration) {
	m.sessionsEnded.WithLabelValues(reason).Inc()
	m.serverSession.WithLabelValues(label(protocol)).Observe(max(0, lasted).Seconds())
}

// SessionExpired counts a session of a client that nobody ended. How long it was in use is not known.
func (m *Metrics) SessionExpired() { m.sessionsEnded.WithLabelValues("expired").Inc() }

// recentMost bounds what is remembered so that nothing is counted twice.
const recentMost = 1024

// recent remembers the last names that it was given.
type recent struct {
	mu   sync.Mutex
	ring []uint64
	next int
	in   map[uint64]struct{}
}

var recentSeed = maphash.MakeSeed()

// add tells whether a name is new.
func (r *recent) add(name string) bool {
	sum := maphash.String(recentSeed, name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.in == nil {
		r.in = map[uint64]struct{}{}
	}
	if _, there := r.in[sum]; there {
		return false
	}
	r.in[sum] = struct{}{}
	if len(r.ring) < recentMost {
		r.ring = append(r.ring, sum)
		return true
	}
	delete(r.in, r.ring[r.next])
	r.ring[r.next] = sum
	r.next = (r.next + 1) % recentMost
	return true
}
