package gateway

import (
	"context"
	"encoding/json"
	"time"

	"github.com/toolcrib/toolcrib/cache"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/telemetry"
	"github.com/toolcrib/toolcrib/upstream"
)

// purgeKind names broadcasts of what is to be kept no more.
const purgeKind = "purge"

// purgeTime is how long other replicas have to say that they heard it.
const purgeTime = 3 * time.Second

// Purge says what is to be kept no more: all of some servers, or what is about one name.
type Purge struct {
	Servers []string
	Named   *cache.Name // nil for all
}

// purgeNote tells of one.
type purgeNote struct {
	Servers []string   `json:"servers"`
	Named   bool       `json:"named,omitempty"`
	Kind    cache.Kind `json:"kind,omitempty"`
	Name    string     `json:"name,omitempty"`
}

// Purge drops what is kept here, and has the other replicas do likewise. It returns how many answers were dropped here; an error
// says that other replicas may not have heard it.
func (g *Gateway) Purge(ctx context.Context, p Purge) (int, error) {
	n := g.purge(p)
	if g.o.Node.Alone() {
		return n, nil
	}
	note := purgeNote{Servers: p.Servers}
	if p.Named != nil {
		note.Named, note.Kind, note.Name = true, p.Named.Kind, p.Named.Name
	}
	body, err := json.Marshal(note)
	unheard := 0
	if err == nil {
		unheard, err = g.o.Node.Announce(ctx, purgeTime, purgeKind, body)
	}
	switch {
	case err != nil:
		return n, errs.E("cache", errs.Unavailable, "other replicas may not have heard it: %w", err)
	case unheard > 0:
		return n, errs.E("cache", errs.Unavailable, "other replicas that have not said within %v that they heard it: %d", purgeTime, unheard)
	}
	return n, nil
}

// heardPurge takes in what another replica was asked.
func (g *Gateway) heardPurge(body []byte) {
	var note purgeNote
	if json.Unmarshal(body, &note) != nil {
		return
	}
	p := Purge{Servers: note.Servers}
	if note.Named {
		p.Named = &cache.Name{Kind: note.Kind, Name: note.Name}
	}
	g.purge(p)
}

func (g *Gateway) purge(p Purge) (dropped int) {
	w := g.acquire()
	defer g.release(w)
	for _, name := range p.Servers {
		m := w.members[name]
		if m == nil {
			continue
		}
		k := m.kept.Load()
		switch {
		case k == nil:
		case p.Named != nil:
			dropped += k.group.Drop(*p.Named)
		default:
			dropped += k.group.Purge(func(cache.Name) bool { return true })
		}
		if p.Named == nil {
			for _, c := range m.catalogs() {
				c.doubt(upstream.AllLists)
				c.forget(upstream.AllLists)
			}
		}
	}
	return dropped
}

// Kept are the numbers of what is kept of each server of which something may be, by name.
func (g *Gateway) Kept() (all cache.Stats, servers map[string]cache.GroupStats) {
	w := g.acquire()
	defer g.release(w)
	servers = make(map[string]cache.GroupStats, len(w.order))
	for _, m := range w.order {
		if k := m.kept.Load(); k != nil {
			servers[m.Name] = k.group.Stats()
		}
	}
	return g.cache.Stats(), servers
}

// CacheSize are the numbers of the cache as a whole.
func (g *Gateway) CacheSize() telemetry.CacheSize {
	s := g.cache.Stats()
	return telemetry.CacheSize{Bytes: s.Bytes, Entries: int64(s.Entries), Evicted: s.Evicted}
}
