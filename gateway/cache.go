package gateway

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cache"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/telemetry"
	"github.com/toolcrib/toolcrib/upstream"
)

// keeping is what is kept of a server's answers, and for how long. It is replaced, with nothing kept, when what it goes by changes.
type keeping struct {
	id     uint64 // in all keys
	group  *cache.Group
	metric *telemetry.Cache
	spec   v1.ServerCache
	tools  toolTimes     // how long results of tools are kept
	public bool          // some answers are for everybody
	by     string        // the header that chooses the instance; empty for none
	retain time.Duration // how long after its time an answer is held in any case
}

// toolTimes is v1.Server.CacheOf for many questions.
type toolTimes struct {
	names map[string]time.Duration
	like  []likeTool // the one that counts first
}

type likeTool struct {
	pattern string
	ttl     time.Duration
}

func timesOf(s *v1.Server) toolTimes {
	t := toolTimes{names: map[string]time.Duration{}}
	if !s.CachesTools() {
		return t
	}
	for name := range s.Tools {
		if ttl := s.Tools[name].Cache; ttl != nil {
			t.names[name] = time.Duration(*ttl)
			if v1.IsPattern(name) {
				t.like = append(t.like, likeTool{name, time.Duration(*ttl)})
			}
		}
	}
	slices.SortFunc(t.like, func(a, b likeTool) int {
		return cmp.Or(cmp.Compare(len(b.pattern), len(a.pattern)), strings.Compare(a.pattern, b.pattern))
	})
	return t
}

// of is how long results of a tool are kept, by the server's own name for it.
func (t *toolTimes) of(tool []byte) time.Duration {
	if ttl, ok := t.names[string(tool)]; ok {
		return ttl
	}
	for i := range t.like {
		if v1.Like(t.like[i].pattern, string(tool)) {
			return t.like[i].ttl
		}
	}
	return 0
}

// kept is what all members of one server share; nothing is kept while it holds nil.
type kept = atomic.Pointer[keeping]

// keepings numbers them.
var keepings atomic.Uint64

// keepingOf makes that of a server; nil where nothing is kept.
func (g *Gateway) keepingOf(s *plan.Server, c *v1.Config) *keeping {
	if s.Spec.Cache.Disabled || c.Cache.Size <= 0 {
		return nil
	}
	return &keeping{
		id: keepings.Add(1), group: g.cache.Group(), metric: g.o.Metrics.Cache(s.Name), spec: s.Spec.Cache, tools: timesOf(s.Spec),
		retain: time.Duration(s.Spec.Fallback.Stale), by: http.CanonicalHeaderKey(s.Spec.Balance.Header),
		public: s.Spec.Cache.Scope == v1.ScopePublic && c.Impersonal(s.Name) == "",
	}
}

// settleKept has what is kept go by the present configuration.
func (g *Gateway) settleKept(was, next *world) {
	c := next.plan.Config
	g.cache.Resize(int64(c.Cache.Size), int64(c.Cache.Entry))
	for name, m := range next.members {
		before := was.members[name]
		if before != nil && before.kept == m.kept && sameKeeping(was.plan.Config, c, name) {
			continue
		}
		g.unkeep(m.kept.Swap(g.keepingOf(m.Server, c)))
	}
}

// sameKeeping tells whether what was kept of a server that goes on is still right.
func sameKeeping(was, is *v1.Config, name string) bool {
	a, b := was.MCPServers[name], is.MCPServers[name]
	if a.Cache != b.Cache || a.Fallback.Stale != b.Fallback.Stale || (was.Cache.Size > 0) != (is.Cache.Size > 0) || !sameCallers(was, is) ||
		len(a.Tools) != len(b.Tools) {
		return false
	}
	for tool := range b.Tools {
		if a.CacheOf(tool) != b.CacheOf(tool) {
			return false
		}
	}
	return a.CachesTools() == b.CachesTools()
}

// unkeep drops all that was kept.
func (g *Gateway) unkeep(k *keeping) {
	if k != nil {
		k.group.Close()
	}
}

// kindsOf are the lists that answers go by.
var kindsOf = map[cache.Kind]upstream.Lists{cache.Tool: upstream.ListTools, cache.Prompt: upstream.ListPrompts, cache.Resource: upstream.ListResources}

// outdated drops what changed lists are about: what is not listed any more may not be there, and what is listed anew may be something
// else.
func (m *member) outdated(lists upstream.Lists) {
	if k := m.kept.Load(); k != nil && lists != 0 {
		k.group.Purge(func(n cache.Name) bool { return kindsOf[n.Kind]&lists != 0 })
	}
}

// updated drops what a server says has changed: a resource, and those that it is part of.
func (m *member) updated(uri string) {
	if k := m.kept.Load(); k != nil {
		for whole := range wholes(uri) {
			k.group.Drop(cache.Name{Kind: cache.Resource, Name: whole})
		}
	}
}

// watchedAnew drops what may have changed while it was not watched.
func (m *member) watchedAnew(uris []string) {
	if k := m.kept.Load(); k != nil {
		for _, uri := range uris {
			k.group.Drop(cache.Name{Kind: cache.Resource, Name: uri})
		}
	}
}

// rewatched drops what may have changed while the server was not watched.
func (m *member) rewatched() {
	m.outdated(upstream.ListResources)
}
