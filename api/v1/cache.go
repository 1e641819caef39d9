package v1

import "time"

// Cache bounds what is kept of servers' answers, in memory.
type Cache struct {
	// Size is the most that all kept answers may take together. 0 keeps none. Lists are
	// kept in any case, by listTTL.
	Size Size `json:"size" default:"256Mi" max:"64Gi"`
	// Entry is the most that one kept answer may have.
	Entry Size `json:"entry,omitzero" default:"1Mi" min:"1Ki" max:"1Gi"`
}

// ServerCache says what is kept of a server's answers. What a caller was given is
// kept for that caller alone, but where scope is public.
type ServerCache struct {
	// Disabled keeps nothing of this server but its lists.
	Disabled bool `json:"disabled,omitempty" default:"false"`
	// Resources is how long what resources/read gave counts as fresh where the server
	// does not say: without a ttlMs, or with 0. Whatever a server says, it is at most 24h.
	Resources Duration `json:"resources,omitzero" default:"0s" max:"24h"`
	// Prompts is how long what prompts/get gave counts as fresh. 0s keeps none.
	Prompts Duration `json:"prompts,omitzero" default:"0s" max:"24h"`
	// Scope says who is given what is kept. private: whoever it was kept for, with the
	// same credential. public: everybody who may ask for it, unless the server says
	// private; for a server whose answers do not depend on who asks.
	Scope string `json:"scope,omitempty" default:"private" enum:"private,public"`
	// Stale says for how long answers are given that are not fresh any more. Clients
	// are told their age. For lists, fallback says it.
	Stale Stale `json:"stale,omitzero"`
}

// Stale says for how long answers are given that are not fresh any more.
type Stale struct {
	// Revalidate is how long after its time an answer is given at once, while the
	// server is asked for the next one in the background.
	Revalidate Duration `json:"revalidate,omitzero" default:"0s" max:"24h"`
	// Error is how long after its time an answer is given where the server cannot be
	// asked, or fails.
	Error Duration `json:"error,omitzero" default:"0s" max:"24h"`
}

// CacheOf is how long results of a tool are kept: the setting of the tool counts
// before that of a pattern, the longest that fits.
func (s *Server) CacheOf(tool string) time.Duration {
	best, ttl := "", Duration(0)
	for pattern, settings := range s.Tools {
		switch {
		case settings.Cache == nil:
		case pattern == tool:
			return time.Duration(*settings.Cache)
		case IsPattern(pattern) && Like(pattern, tool) && (len(pattern) > len(best) || len(pattern) == len(best) && pattern < best):
			best, ttl = pattern, *settings.Cache
		}
	}
	return time.Duration(ttl)
}

// CachesTools tells whether results of any tool of the server are kept.
func (s *Server) CachesTools() bool {
	for _, settings := range s.Tools {
		if settings.Cache != nil && *settings.Cache > 0 {
			return true
		}
	}
	return false
}

// Impersonal says why the answers of a server cannot be for everybody: what it is
// told of its callers. It is empty where they can.
func (c *Config) Impersonal(name string) (because string) {
	s := c.MCPServers[name]
	switch isolation := c.IsolationOf(name); {
	case s.ForwardToken:
		return "forwardToken sends it each caller's own token"
	case s.Identity != nil:
		return "identity tells it who calls"
	case s.Personal() != "":
		return "what it is started or called with refers to the caller"
	case isolation != "" && isolation != IsolationShared:
		return "isolation: " + isolation + " gives callers instances of their own"
	}
	return ""
}

// cached checks that nothing is for everybody that may be somebody's own.
func (k *checker) cached(c *Config, path, name string) {
	s := c.MCPServers[name]
	if s.Cache.Scope != ScopePublic {
		return
	}
	if because := c.Impersonal(name); because != "" {
		k.fail(path+".cache.scope", "is public, but %s, so that answers may differ by caller; write private, or change that", because)
	}
}

// The values of ServerCache.Scope.
const (
	ScopePrivate = "private"
	ScopePublic  = "public"
)
