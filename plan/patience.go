package plan

import (
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/upstream"
)

// Patience holds the time limits of single tools of a server.
type Patience struct {
	named    map[string]upstream.Limits // of the tools that the configuration names
	patterns *v1.Server                 // that has some with time limits, for all other tools; nil for none
}

// Of are the time limits of a tool, by the server's own name for it.
func (p *Patience) Of(tool []byte) upstream.Limits {
	if p == nil {
		return upstream.Limits{}
	}
	l, ok := p.named[string(tool)]
	if !ok && p.patterns != nil {
		l = limitsOf(p.patterns, string(tool))
	}
	return l
}

func limitsOf(s *v1.Server, tool string) upstream.Limits {
	idle, firstByte, total := s.ToolTimeouts(tool)
	limit := func(t v1.ToolTimeout) upstream.Limit { return upstream.Limit{Time: time.Duration(t.Limit), Of: t.Of} }
	return upstream.Limits{Idle: limit(idle), FirstByte: limit(firstByte), Total: limit(total)}
}

// compilePatience gathers what the settings of tools say of time limits; nil where they say nothing.
func compilePatience(s *v1.Server) *Patience {
	var p *Patience
	for name, settings := range s.Tools {
		if settings.Timeouts == (v1.ToolTimeouts{}) {
			continue
		}
		if p == nil {
			p = &Patience{named: map[string]upstream.Limits{}}
		}
		if v1.IsPattern(name) {
			p.patterns = s
		}
	}
	if p == nil {
		return nil
	}
	for name := range s.Tools {
		p.named[name] = limitsOf(s, name)
	}
	return p
}
