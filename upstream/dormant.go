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
	s.link = noLink{s}
	s.setState(StateIdle)
	return s
}

// noLink reaches nothing.
type noLink struct{ s *Server }

func (l noLink) error() error {
	return l.s.errorf(errs.Internal, "runs only for callers, so that it cannot be asked for nobody in particular")
}

func (l noLink) ready(context.Context) (*Peer, error)          { return nil, l.error() }
func (l noLink) do(context.Context, *Call, *mcp.Raw) error     { return l.error() }
func (l noLink) forget()                                       {}
func (l noLink) close()                                        {}
func (l noLink) attend(context.Context, *Peer, *watcher) error { return l.error() }
