package cache

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

// Kind is what sort of thing an answer is about.
type Kind uint8

// The kinds.
const (
	Resource Kind = iota
	Prompt
	Tool
	kinds
)

// String names the kind.
func (k Kind) String() string {
	return [...]string{"resource", "prompt", "tool"}[k]
}

// Name is what an answer is about: the URI of a resource, or the server's own name of a prompt or tool.
type Name struct {
	Kind Kind
	Name string
}

// Answer is what a server answered. It is not changed once it is kept.
type Answer struct {
	// Body is the whole message, and Message what was found in it.
	Body    []byte
	Message mcp.Message
	// Had is when the server gave it; for long enough ago that it can be told as an age.
	Had time.Time
	// It is fresh until Fresh; while it is fetched anew it may be given until Revalidate, and where that fails until Error.
	Fresh, Revalidate, Error time.Time
	// Held is until when it is held in any case.
	Held time.Time
	// Watched: the server tells when it changes, so that it is fresh for as long as it does that.
	Watched bool
	// Public: it was given to nobody in particular.
	Public bool
}

// Until is when nobody can be given the answer any more.
func (a *Answer) Until() time.Time {
	t := a.Fresh
	for _, other := range [...]time.Time{a.Revalidate, a.Error, a.Held} {
		if other.After(t) {
			t = other
		}
	}
	return t
}

// overhead is what an entry takes besides its bytes and name, about.
const overhead = 1536

// passFor is how long it is remembered that a request has no answer to be kept.
const passFor = 30 * time.Second

// Cache keeps answers up to a size. It is safe for concurrent use.
type Cache struct {
	now func() time.Time

	mu      sync.RWMutex
	m       map[Key]*entry
	flights map[Key]*Flight
	groups  map[*Group]struct{}
	size    int64 // of all entries at most
	each    int64 // of one at most
	used    int64
	// The entries stand in the order in which they came; hand is the next one that is looked at for room. Whoever was asked for
	// since it was looked at last stays (SIEVE).
	newest, oldest, hand *entry
	evicted              atomic.Int64
}

// entry is a kept answer, or that there is none to keep.
type entry struct {
	key    Key
	name   Name
	group  *Group
	answer *Answer // nil: there is none
	until  time.Time
	cost   int64
	asked  atomic.Bool
	// in the order of all, and among those of the group with its name.
	newer, older *entry
	next, prev   *entry
}

// New makes a cache of a size in bytes, of which one entry may have some.
func New(size, each int64) *Cache {
	return &Cache{now: time.Now, m: map[Key]*entry{}, flights: map[Key]*Flight{}, groups: map[*Group]struct{}{}, size: size, each: each}
}

// Resize changes how much is kept.
func (c *Cache) Resize(size, each int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size, c.each = size, each
	c.makeRoom(0)
}

// Get is what is kept under a key; known tells that there is none to keep, which the cache remembers for a while.
func (c *Cache) Get(k Key) (a *Answer, known bool) {
	c.mu.RLock()
	e := c.m[k]
	c.mu.RUnlock()
	if e == nil || !c.now().Before(e.until) {
		return nil, false
	}
	if !e.asked.Load() {
		e.asked.Store(true)
	}
	return e.answer, e.answer == nil
}

// Fits tells whether a body of some bytes can be kept.
func (c *Cache) Fits(bytes int) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return int64(bytes) <= min(c.each, c.size)
}

// put keeps an answer, or that there is none. The caller holds the lock.
func (c *Cache) put(g *Group, k Key, name Name, a *Answer, until time.Time) {
	cost := int64(overhead + len(name.Name))
	if a != nil {
		cost += int64(len(a.Body))
	}
	if g.closed || cost > c.size || a != nil && int64(len(a.Body)) > c.each {
		c.drop(c.m[k])
		return
	}
	c.drop(c.m[k])
	c.makeRoom(cost)
	e := &entry{key: k, name: name, group: g, answer: a, until: until, cost: cost}
	c.m[k] = e
	if e.older = c.newest; e.older != nil {
		e.older.newer = e
	} else {
		c.oldest = e
	}
	c.newest = e
	c.used += cost
	g.link(e)
}

// makeRoom drops entries until there is room for some bytes more. The caller holds the lock.
func (c *Cache) makeRoom(bytes int64) {
	now := c.now()
	for c.used+bytes > c.size && c.oldest != nil {
		e := c.hand
		if e == nil {
			e = c.oldest
		}
		for e.asked.Load() && now.Before(e.until) {
			e.asked.Store(false)
			if e = e.newer; e == nil {
				e = c.oldest
			}
		}
		c.hand = e
		c.drop(e)
		c.evicted.Add(1)
	}
}

// drop lets go of an entry. The caller holds the lock.
func (c *Cache) drop(e *entry) {
	if e == nil {
		return
	}
	if c.hand == e {
		c.hand = e.newer
	}
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		c.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		c.oldest = e.newer
	}
	delete(c.m, e.key)
	c.used -= e.cost
	e.group.unlink(e)
}

// Stats are the numbers of a cache.
type Stats struct {
	// Size is the most that it holds, in bytes; Bytes what it holds, and Entries how many answers.
	Size, Bytes int64
	Entries     int
	// Evicted counts entries that made room for others.
	Evicted int64
}

// Stats are the numbers of now.
func (c *Cache) Stats() Stats {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := Stats{Size: c.size, Bytes: c.used, Evicted: c.evicted.Load()}
	for g := range c.groups {
		for _, n := range g.entries {
			s.Entries += n
		}
	}
	return s
}
