package app

import (
	"context"
	"maps"
	"slices"

	"github.com/toolcrib/toolcrib/cache"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/gateway"
)

// cacheReport is what is kept of the servers that shown is true for.
func (s *server) cacheReport(shown func(string) bool) any {
	all, servers := s.gw.Kept()
	r := control.CacheReport{Size: all.Size, Bytes: all.Bytes, Entries: all.Entries, Evicted: all.Evicted, Servers: []control.CachedServer{}}
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		if !shown(name) {
			continue
		}
		g := servers[name]
		r.Servers = append(r.Servers, control.CachedServer{
			Name: name, Resources: g.Resources, Prompts: g.Prompts, Tools: g.Tools, Bytes: g.Bytes,
			Hits: g.Hits, Misses: g.Misses, Shared: g.Shared, Stale: g.Stale, StaleOnError: g.StaleError,
		})
	}
	return r
}

// purge drops what is kept of the servers that shown is true for, here and at the other replicas.
func (s *server) purge(ctx context.Context, what control.Purge, shown func(string) bool) (control.Purged, error) {
	p := gateway.Purge{Servers: []string{what.Server}}
	switch {
	case what.Server != "" && s.gw.Plan().Server(what.Server) == nil:
		return control.Purged{}, errs.E("cache", errs.NotFound, "there is no server %.80q", what.Server)
	case what.Server == "":
		p.Servers = slices.DeleteFunc(s.gw.Plan().Config.ServerNames(), func(name string) bool { return !shown(name) })
	}
	for _, n := range [...]cache.Name{{Kind: cache.Tool, Name: what.Tool}, {Kind: cache.Prompt, Name: what.Prompt}, {Kind: cache.Resource, Name: what.URI}} {
		if n.Name != "" {
			p.Named = &n
		}
	}
	dropped, err := s.gw.Purge(ctx, p)
	done := control.Purged{Dropped: dropped}
	if err != nil {
		done.Notice = err.Error()
	}
	return done, nil
}
