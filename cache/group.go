package cache

import (
	"sync/atomic"
	"time"
)

// Outcome is what came of looking for an answer.
type Outcome uint8

// The outcomes. NotSought is that of a request whose answer is not kept, Miss of one that its server was asked for.
const (
	NotSought Outcome = iota
	Miss
	Hit
	Shared // with another request under way
	StaleWhile
	StaleError
	outcomes
)

// String names the outcome, as metrics do.
func (o Outcome) String() string {
	return [...]string{"", "miss", "hit", "shared", "stale", "stale_error"}[o]
}

// Group is what concerns one server.
type Group struct {
	c      *Cache
	counts [outcomes]atomic.Int64

	// Guarded by the cache.
	names   map[Name]*entry
	flights map[*Flight]struct{}
	closed  bool
	bytes   int64
	entries [kinds]int
}

// Group opens a group.
func (c *Cache) Group() *Group {
	g := &Group{c: c, names: map[Name]*entry{}, flights: map[*Flight]struct{}{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.groups[g] = struct{}{}
	return g
}

// Count counts an outcome.
func (g *Group) Count(o Outcome) { g.counts[o].Add(1) }

// Counted is how often there was an outcome.
func (g *Group) Counted(o Outcome) int64 { return g.counts[o].Load() }

// Close drops all of the group; nothing is kept for it any more.
func (g *Group) Close() {
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	g.purge(func(Name) bool { return true })
	g.closed = true
	delete(g.c.groups, g)
}

// Drop drops what is about a name; what is being fetched is not kept.
func (g *Group) Drop(n Name) int {
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	dropped := 0
	for e := g.names[n]; e != nil; e = g.names[n] {
		dropped += e.weight()
		g.c.drop(e)
	}
	for f := range g.flights {
		if f.name == n {
			f.void()
		}
	}
	return dropped
}

// Purge drops what is about names that which is true for, likewise. It returns how many answers were dropped.
func (g *Group) Purge(which func(Name) bool) int {
	g.c.mu.Lock()
	defer g.c.mu.Unlock()
	return g.purge(which)
}

func (g *Group) purge(which func(Name) bool) int {
	dropped := 0
	for n := range g.names {
		if !which(n) {
			continue
		}
		for e := g.names[n]; e != nil; e = g.names[n] {
			dropped += e.weight()
			g.c.drop(e)
		}
	}
	for f := range g.flights {
		if which(f.name) {
			f.void()
		}
	}
	return dropped
}

// weight is 1 for an answer.
func (e *entry) weight() int {
	if e.answer == nil {
		return 0
	}
	return 1
}

func (g *Group) link(e *entry) {
	if e.next = g.names[e.name]; e.next != nil {
		e.next.prev = e
	}
	g.names[e.name] = e
	g.bytes += e.cost
	g.entries[e.name.Kind] += e.weight()
}

func (g *Group) unlink(e *entry) {
	if e.next != nil {
		e.next.prev = e.prev
	}
	switch {
	case e.prev != nil:
		e.prev.next = e.next
	case e.next != nil:
		g.names[e.name] = e.next
	default:
		delete(g.names, e.name)
	}
	g.bytes -= e.cost
	g.entries[e.name.Kind] -= e.weight()
}

// GroupStats are the numbers of a group.
type GroupStats struct {
	// How many answers of each kind are kept, and what they take.
	Resources, Prompts, Tools int
	Bytes                     int64
	// How requests for what may be kept were answered.
	Hits, Misses, Shared, Stale, StaleError int64
}

// Stats are the numbers of now.
func (g *Group) Stats() GroupStats {
	g.c.mu.RLock()
	defer g.c.mu.RUnlock()
	return GroupStats{
		Resources: g.entries[Resource], Prompts: g.entries[Prompt], Tools: g.entries[Tool], Bytes: g.bytes,
		Hits: g.Counted(Hit), Misses: g.Counted(Miss), Shared: g.Counted(Shared), Stale: g.Counted(StaleWhile), StaleError: g.Counted(StaleError),
	}
}

// Held is an answer that is kept, as people see it.
type Held struct {
	Name  Name
	Bytes int
	Had   time.Time
	Fresh bool
}

// Each calls f for the answers that are kept, in no order, until it returns false. f may not use the cache.
func (g *Group) Each(f func(Held) bool) {
	g.c.mu.RLock()
	defer g.c.mu.RUnlock()
	now := g.c.now()
	for n, e := range g.names {
		for ; e != nil; e = e.next {
			if e.answer == nil || !now.Before(e.until) {
				continue
			}
			if !f(Held{n, len(e.answer.Body), e.answer.Had, now.Before(e.answer.Fresh)}) {
				return
			}
		}
	}
}
