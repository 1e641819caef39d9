package front

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

const (
	// sessionsMost bounds the table of mutable facts; when it is full the facts that cost least to lose are dropped first.
	sessionsMost = 100_000
	// urisMost bounds the URIs that all sessions here subscribed to.
	urisMost = 100_000
)

// sessionTable holds what changes in a session: its log level, the URIs it subscribed to, and that it was ended.
type sessionTable struct {
	mu        sync.RWMutex
	m         map[sessionID]sessionFacts
	changes   uint64
	uris      int               // of all sessions
	learning  map[sessionID]int // that are being loaded
	followers map[sessionID]*follower
}

type sessionFacts struct {
	level   string
	ended   bool
	untold  bool                // no other replica knows that it was ended
	uris    map[string]struct{} // nil for none
	expires time.Time
	changed uint64 // sessionTable.changes then
}

// follower is an open stream of a session.
type follower struct {
	s       *session
	changed func()
	end     func(error)
	opened  int64 // Unix nanoseconds
}

// skew is how much the clocks of replicas may differ when two streams of a session open at the same time.
const skew = 10 * time.Second

var (
	errNewerStream  = errs.E("front", errs.Canceled, "the session opened another stream")
	errSessionEnded = errs.E("front", errs.SessionNotFound, "the session was ended; initialize again")
)

func (f *sessionFacts) add(uri string) {
	if f.uris == nil {
		f.uris = map[string]struct{}{}
	}
	f.uris[uri] = struct{}{}
}

func (t *sessionTable) level(id sessionID) string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[id].level
}

func (t *sessionTable) ended(id sessionID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[id].ended
}

func (t *sessionTable) setLevel(id sessionID, level string, expires time.Time) {
	t.change(id, expires, func(f *sessionFacts) { f.level = level })
}

// end marks a session as ended, and ends its stream.
func (t *sessionTable) end(id sessionID, expires time.Time) {
	t.change(id, expires, func(f *sessionFacts) {
		t.uris -= len(f.uris)
		*f = sessionFacts{ended: true, untold: f.untold, expires: f.expires}
	})
	t.mu.RLock()
	f := t.followers[id]
	t.mu.RUnlock()
	if f != nil {
		f.end(errSessionEnded)
	}
}

// setUntold notes whether the other replicas still have to be told of a session's end.
func (t *sessionTable) setUntold(id sessionID, untold bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if f, ok := t.m[id]; ok {
		f.untold = untold
		t.m[id] = f
	}
}

// untold are the sessions whose end the other replicas have to be told of.
func (t *sessionTable) untold() map[sessionID]time.Time {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := map[sessionID]time.Time{}
	for id, f := range t.m {
		if f.untold && time.Now().Before(f.expires) {
			all[id] = f.expires
		}
	}
	return all
}

// watches tells to how many URIs a session has subscribed, and whether to this one.
func (t *sessionTable) watches(id sessionID, uri string) (n int, has bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	uris := t.m[id].uris
	_, has = uris[uri]
	return len(uris), has
}

func (t *sessionTable) full() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.uris >= urisMost
}

// subscribed are the URIs that a session has subscribed to, in order.
func (t *sessionTable) subscribed(id sessionID) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Sorted(maps.Keys(t.m[id].uris))
}

func (t *sessionTable) watch(id sessionID, uri string, expires time.Time) {
	t.change(id, expires, func(f *sessionFacts) {
		t.uris -= len(f.uris)
		f.add(uri)
		t.uris += len(f.uris)
	})
	t.told(id)
}

func (t *sessionTable) unwatch(id sessionID, uri string) {
	t.mu.Lock()
	if f, ok := t.m[id]; ok {
		t.uris -= len(f.uris)
		delete(f.uris, uri)
		t.uris += len(f.uris)
		t.put(id, f)
	}
	t.mu.Unlock()
	t.told(id)
}

// told has the stream of a session know that its URIs changed.
func (t *sessionTable) told(id sessionID) {
	t.mu.RLock()
	f := t.followers[id]
	t.mu.RUnlock()
	if f != nil {
		f.changed()
	}
}

func (t *sessionTable) change(id sessionID, expires time.Time, f func(*sessionFacts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	facts := t.m[id]
	facts.expires = expires
	f(&facts)
	t.put(id, facts)
}

// put enters facts; the caller holds the lock.
func (t *sessionTable) put(id sessionID, f sessionFacts) {
	if t.m == nil {
		t.m = map[sessionID]sessionFacts{}
	}
	if _, known := t.m[id]; !known && len(t.m) >= sessionsMost {
		t.makeRoom()
	}
	t.changes++
	f.changed = t.changes
	t.m[id] = f
}

// forget drops the facts of a session that nobody can use any more.
func (t *sessionTable) forget(id sessionID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(id)
}

func (t *sessionTable) remove(id sessionID) {
	t.uris -= len(t.m[id].uris)
	delete(t.m, id)
}

// makeRoom drops what expired, else a tenth of the log levels and subscriptions, which only cost their sessions these, else of
// the marks.
func (t *sessionTable) makeRoom() {
	now := time.Now()
	for id, f := range t.m {
		if now.After(f.expires) {
			t.remove(id)
		}
	}
	const enough = sessionsMost - sessionsMost/10
	for _, marks := range []bool{false, true} {
		for id, f := range t.m {
			if len(t.m) <= enough {
				return
			}
			if f.ended == marks {
				t.remove(id)
			}
		}
	}
}

// now is the time that replace compares with.
func (t *sessionTable) now() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.changes
}

// replace puts in what was loaded, unless something was heard of the session since. An end that is known here stays.
func (t *sessionTable) replace(id sessionID, f sessionFacts, since uint64) bool {
	t.mu.Lock()
	was, known := t.m[id]
	if was.changed > since {
		t.mu.Unlock()
		return false
	}
	if f.ended, f.untold = f.ended || was.ended, was.untold; f.ended {
		f.uris = nil
	}
	differs := !maps.Equal(was.uris, f.uris)
	if known || differs || f.ended || f.level != "" {
		t.uris += len(f.uris) - len(was.uris)
		t.put(id, f)
	}
	t.mu.Unlock()
	if differs {
		t.told(id)
	}
	return true
}

// loading has follows tell that a session concerns this replica, until the function it returns was called.
func (t *sessionTable) loading(id sessionID) (done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.learning == nil {
		t.learning = map[sessionID]int{}
	}
	t.learning[id]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.learning[id]--; t.learning[id] == 0 {
			delete(t.learning, id)
		}
	}
}

// follows tells whether a session is being loaded or has a stream here.
func (t *sessionTable) follows(id sessionID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.learning[id] > 0 || t.followers[id] != nil
}

// followed are the sessions that have a stream here.
func (t *sessionTable) followed() []*session {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*session, 0, len(t.followers))
	for _, f := range t.followers {
		all = append(all, f.s)
	}
	return all
}

// follow enters the stream of a session in place of the one before.
func (t *sessionTable) follow(f *follower) {
	t.mu.Lock()
	if t.followers == nil {
		t.followers = map[sessionID]*follower{}
	}
	older := t.followers[f.s.id]
	t.followers[f.s.id] = f
	t.mu.Unlock()
	if older != nil {
		older.end(errNewerStream)
	}
}

func (t *sessionTable) unfollow(f *follower) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.followers[f.s.id] == f {
		delete(t.followers, f.s.id)
	}
}

// outdate ends the stream of a session when another replica opened one later. Of two that opened at about the same time the
// later one by the clocks of their replicas stays.
func (t *sessionTable) outdate(id sessionID, opened int64) {
	t.mu.RLock()
	f := t.followers[id]
	t.mu.RUnlock()
	if f != nil && (opened > f.opened || time.Since(time.Unix(0, f.opened)) > skew) {
		f.end(errNewerStream)
	}
}
