package control

import (
	"context"
	"net/http"

	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/mcp"
)

// CacheReport is what one replica keeps of servers' answers.
type CacheReport struct {
	// Size is the most that it holds, in bytes; Bytes what it holds.
	Size    int64 `json:"sizeBytes"`
	Bytes   int64 `json:"bytes"`
	Entries int   `json:"entries"`
	// Evicted counts answers that made room for others.
	Evicted int64 `json:"evicted"`
	// Servers are those of which something may be kept, by name.
	Servers []CachedServer `json:"servers"`
}

// CachedServer is what is kept of one server, and what it was good for.
type CachedServer struct {
	Name      string `json:"name"`
	Resources int    `json:"resources"`
	Prompts   int    `json:"prompts"`
	Tools     int    `json:"tools"`
	Bytes     int64  `json:"bytes"`
	// How requests whose answers may be kept were answered: from the cache, by the server, together with another one under way,
	// and with what was not fresh any more, while it was fetched or since that failed.
	Hits         int64 `json:"hits"`
	Misses       int64 `json:"misses"`
	Shared       int64 `json:"shared"`
	Stale        int64 `json:"stale"`
	StaleOnError int64 `json:"staleOnError"`
}

// Purge says what is to be kept no more: all of a server, or what is about one of its tools, prompts or resources; without a
// server, all there is.
type Purge struct {
	Server string `json:"server,omitempty"`
	Tool   string `json:"tool,omitempty"`
	Prompt string `json:"prompt,omitempty"`
	URI    string `json:"uri,omitempty"`
}

// Purged is what came of it.
type Purged struct {
	// Dropped is how many answers the replica that was asked held.
	Dropped int `json:"dropped"`
	// Notice tells what went wrong besides.
	Notice string `json:"notice,omitempty"`
}

func (a *API) cached(q *asked) (any, error) {
	if a.o.Cache == nil {
		return nil, absent("cache")
	}
	return a.o.Cache(q.seesServer), nil
}

func (a *API) purge(q *asked) (any, error) {
	if a.o.Purge == nil {
		return nil, absent("cache")
	}
	var what Purge
	if err := q.decode(&what); err != nil {
		return nil, err
	}
	names := 0
	for _, f := range [...][2]string{{"tool", what.Tool}, {"prompt", what.Prompt}, {"uri", what.URI}} {
		if f[1] == "" {
			continue
		}
		if names++; names > 1 {
			return nil, wrong(f[0], f[1], "ask for one after the other", "is given besides another one")
		}
		if what.Server == "" {
			return nil, wrong("server", "", "name the server of the "+f[0], "is missing")
		}
		q.about = []audit.Fact{{Name: f[0], JSON: string(mcp.AppendString(nil, f[1]))}}
	}
	if q.target = what.Server; q.target == "" {
		q.target = "all servers"
	}
	if what.Server != "" && !q.seesServer(what.Server) {
		gone := problem(http.StatusNotFound, "there is no server %.80q", what.Server).do("GET %sservers lists those there are", Prefix)
		gone.rule = notForTenant
		return nil, gone
	}
	return a.o.Purge(q.Context(), what, q.seesServer)
}

// Cache is what the gateway keeps.
func (r *Remote) Cache(ctx context.Context) (*CacheReport, error) {
	report := new(CacheReport)
	return report, r.do(ctx, http.MethodGet, "cache", nil, report)
}

// Purge has the gateway keep something no more.
func (r *Remote) Purge(ctx context.Context, what Purge) (*Purged, error) {
	done := new(Purged)
	return done, r.do(ctx, http.MethodPost, "cache/purge", what, done)
}
