package front

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

const (
	// sessionsMost bounds the table of mutable facts; when it is full those drop out who have most in it.
	sessionsMost = 100_000
	// urisMost bounds the URIs that all sessions here subscribed to, principalURIs those of the sessions of one principal.
	urisMost      = 200_000
	principalURIs = 20_000
)

// sessionTable holds what changes in a session: its log level, the URIs it subscribed to, and that it was ended.
type sessionTable struct {
	mu        sync.RWMutex
	m         map[sessionID]sessionFacts
	changes   uint64
	uris      int            // of all sessions
	urisOf    map[string]int // by principal
	learning  map[sessionID]*learner
	followers map[sessionID]*follower
}

type sessionFacts struct {
	level   string
	ended   bool
	uris    map[string]struct{} // nil for none
	expires time.Time
	local   bool // as in session
	// principal is who has the URIs; it is known of every session that was seen here.
	principal string
	doubted   bool   // the cluster was away since, so it may know better, or have lost what it knew
	changed   uint64 // sessionTable.changes then
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

// count counts the URIs of a session in (1) or out (-1); the caller holds the lock.
func (t *sessionTable) count(f *sessionFacts, sign int) {
	n := sign * len(f.uris)
	if n == 0 {
		return
	}
	if t.urisOf == nil {
		t.urisOf = map[string]int{}
	}
	t.uris += n
	if t.urisOf[f.principal] += n; t.urisOf[f.principal] == 0 {
		delete(t.urisOf, f.principal)
	}
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

func (t *sessionTable) setLevel(s *session, level string) {
	t.change(s, func(f *sessionFacts) { f.level = level })
}

// end marks a session as ended, and ends its stream.
func (t *sessionTable) end(s *session) {
	t.change(s, func(f *sessionFacts) { f.ended, f.level, f.uris = true, "", nil })
	if f := t.follower(s.id); f != nil {
		f.end(errSessionEnded)
	}
}

// watches tells to how many URIs a session has subscribed, and whether to this one.
func (t *sessionTable) watches(id sessionID, uri string) (n int, has bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	uris := t.m[id].uris
	_, has = uris[uri]
	return len(uris), has
}

// full tells whether the sessions of a principal, or all, have as many URIs as there may be.
func (t *sessionTable) full(principal string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.uris >= urisMost || t.urisOf[principal] >= principalURIs
}

// subscribed are the URIs that a session has subscribed to, in order.
func (t *sessionTable) subscribed(id sessionID) []string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Sorted(maps.Keys(t.m[id].uris))
}

func (t *sessionTable) watch(s *session, uri string) {
	t.change(s, func(f *sessionFacts) { f.add(uri) })
	t.told(s.id)
}

func (t *sessionTable) unwatch(id sessionID, uri string) {
	t.mu.Lock()
	if f, ok := t.m[id]; ok {
		t.count(&f, -1)
		delete(f.uris, uri)
		t.count(&f, 1)
		t.put(id, f)
	}
	t.mu.Unlock()
	t.told(id)
}

// told has the stream of a session know that its URIs changed.
func (t *sessionTable) told(id sessionID) {
	if f := t.follower(id); f != nil {
		f.changed()
	}
}

// follower is the stream of a session; nil when it has none here.
func (t *sessionTable) follower(id sessionID) *follower {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.followers[id]
}

func (t *sessionTable) change(s *session, f func(*sessionFacts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	facts := t.m[s.id]
	t.count(&facts, -1)
	facts.expires, facts.local = s.expires, s.local
	if s.principal != "" {
		facts.principal = s.principal
	}
	f(&facts)
	t.count(&facts, 1)
	t.put(s.id, facts)
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
	f := t.m[id]
	t.count(&f, -1)
	delete(t.m, id)
}

// group is of whom facts are, and whether they are the marks of ended sessions.
type group struct {
	principal string
	ended     bool
}

// makeRoom drops what expired, else a tenth, of those who have most: many sessions of one caller, or many that ended, do not
// cost the others what they know.
func (t *sessionTable) makeRoom() {
	now := time.Now()
	groups := map[group]int{}
	for id, f := range t.m {
		if now.After(f.expires) {
			t.remove(id)
			continue
		}
		groups[group{f.principal, f.ended}]++
	}
	const enough = sessionsMost - sessionsMost/10
	left, largest := len(t.m), map[group]bool{}
	for _, g := range slices.SortedFunc(maps.Keys(groups), func(a, b group) int { return groups[b] - groups[a] }) {
		if left <= enough {
			break
		}
		largest[g] = true
		left -= groups[g]
	}
	for id, f := range t.m {
		if len(t.m) > enough && largest[group{f.principal, f.ended}] {
			t.remove(id)
		}
	}
}

// now is the time that replace compares with.
func (t *sessionTable) now() uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.changes
}

// replace puts in what the cluster keeps of a session, unless something was heard of it since. It returns what is known here
// and the cluster has lost; an end that is known here stays, whatever the cluster says.
func (t *sessionTable) replace(id sessionID, f sessionFacts, since uint64) (ok bool, lost []fact) {
	t.mu.Lock()
	was, known := t.m[id]
	if was.changed > since {
		t.mu.Unlock()
		return false, nil
	}
	if was.doubted || was.ended {
		lost = f.merge(&was)
	}
	if f.ended {
		f.level, f.uris = "", nil
	}
	differs := !maps.Equal(was.uris, f.uris)
	if known || differs || f.ended || f.level != "" {
		t.count(&was, -1)
		t.count(&f, 1)
		t.put(id, f)
	}
	t.mu.Unlock()
	if differs {
		t.told(id)
	}
	return true, lost
}

// fact is one of a session.
type fact struct {
	what  told
	value string
}

// merge adds what was known before; it returns what it added.
func (f *sessionFacts) merge(was *sessionFacts) (added []fact) {
	if was.ended && !f.ended {
		f.ended = true
		added = append(added, fact{what: toldEnded})
	}
	if f.ended {
		return added
	}
	if f.level == "" && was.level != "" {
		f.level = was.level
		added = append(added, fact{toldLevel, f.level})
	}
	for uri := range was.uris {
		if _, ok := f.uris[uri]; !ok {
			f.add(uri)
			added = append(added, fact{toldWatch, uri})
		}
	}
	return added
}

// doubt says that the cluster was away. It returns the sessions to be loaded again now: those of which something is known, and
// those that have a stream here.
func (t *sessionTable) doubt() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []*session
	for id, f := range t.m {
		if !f.local {
			f.doubted = true
			t.m[id] = f
			all = append(all, &session{id: id, expires: f.expires, principal: f.principal})
		}
	}
	for id, f := range t.followers {
		if _, has := t.m[id]; !has && !f.s.local {
			all = append(all, f.s)
		}
	}
	return all
}

// learner is a session that is being loaded, by n at the same time.
type learner struct {
	s *session
	n int
}

// loading has known find a session, until the function it returns was called.
func (t *sessionTable) loading(s *session) (done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.learning == nil {
		t.learning = map[sessionID]*learner{}
	}
	l := t.learning[s.id]
	if l == nil {
		l = &learner{s: s}
		t.learning[s.id] = l
	}
	l.n++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.n--; l.n == 0 {
			delete(t.learning, s.id)
		}
	}
}

// known finds a session that is being loaded or has a stream here; nil when it is neither.
func (t *sessionTable) known(id sessionID) *session {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if l := t.learning[id]; l != nil {
		return l.s
	}
	if f := t.followers[id]; f != nil {
		return f.s
	}
	return nil
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
	f := t.follower(id)
	if f != nil && (opened > f.opened || time.Since(time.Unix(0, f.opened)) > skew) {
		f.end(errNewerStream)
	}
}
