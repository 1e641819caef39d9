package upstream

import (
	"context"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Dormant stands for a server that runs only for callers, each in a Server of its own. It is idle for ever.
func Dormant(spec *v1.Server, o Options) *Server {
	s := prepare(spec, o)
	s.dormant = true
	s.link = noLink{s, s.errorf(errs.Internal, "is reached only for callers, so that it cannot be asked for nobody in particular")}
	s.setState(StateIdle)
	return s
}

// noLink reaches nothing, and says why.
type noLink struct {
	s   *Server
	why error
}

func (l noLink) ready(context.Context) (*Peer, error)          { return nil, l.why }
func (l noLink) do(context.Context, *Call, *mcp.Raw) error     { return l.why }
func (l noLink) forget()                                       {}
func (l noLink) close()                                        {}
func (l noLink) attend(context.Context, *Peer, *watcher) error { return l.why }
