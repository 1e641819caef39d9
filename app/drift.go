package app

import (
	"context"
	"maps"
	"slices"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/runner/launch"
	"github.com/toolcrib/toolcrib/telemetry"
)

// Survey is how the tools of servers stand to what was approved.
type Survey = gateway.Survey

// Drift is a tool whose definition is not the approved one.
type Drift = gateway.Drift

// Look asks servers of a configuration for their tools, and compares these with what its lock file approves. No tool is kept
// back, whatever their pin is; those with pin: off are left out.
func Look(ctx context.Context, c *v1.Config, servers []string, o DialOptions) (*Survey, error) {
	p, err := plan.Compile(asking(c, servers))
	if err != nil {
		return nil, err
	}
	g := gateway.New(gateway.Options{
		Version: o.Version, Log: o.Log, Metrics: telemetry.NewMetrics(o.Version), Guard: o.Guard, Confine: o.Confine, Launch: o.Launch,
	})
	defer g.Close()
	if err := g.Apply(p); err != nil {
		return nil, err
	}
	return g.Survey(ctx)
}

// asking is a configuration by which the servers are asked, and nobody is served.
func asking(c *v1.Config, servers []string) *v1.Config {
	one := *c
	one.Pin, one.Toolsets, one.MCPServers = v1.PinWarn, nil, map[string]*v1.Server{}
	for _, name := range servers {
		s := *c.MCPServers[name]
		s.Pin = warned(s.Pin)
		s.Tools = maps.Clone(s.Tools)
		for tool, settings := range s.Tools {
			settings.Pin = warned(settings.Pin)
			s.Tools[tool] = settings
		}
		one.MCPServers[name] = &s
	}
	return &one
}

func warned(pin string) string {
	if pin == v1.PinStrict {
		return v1.PinWarn
	}
	return pin
}

// drift is the survey of the servers that shown is true for.
func (s *server) drift(ctx context.Context, shown func(string) bool) (any, error) {
	all, err := s.gw.Survey(ctx)
	if err != nil {
		return nil, err
	}
	all.Servers = slices.DeleteFunc(all.Servers, func(l gateway.Surveyed) bool { return !shown(l.Name) })
	all.Drifts = slices.DeleteFunc(all.Drifts, func(d Drift) bool { return !shown(d.Server) })
	return all, nil
}

// approveTool approves a definition in the lock file of this gateway.
func (s *server) approveTool(ctx context.Context, what control.Approval) error {
	d, err := s.gw.Approve(ctx, what.Server, what.Tool, what.Hash)
	if err != nil {
		return err
	}
	path := s.gw.Plan().Config.LockFile()
	err = launch.UpdateLock(ctx, path, func(l *launch.Lock) error {
		if d == nil {
			l.Definitions.Forget(what.Server, what.Tool)
			return nil
		}
		l.Definitions.Approve(what.Server, what.Tool, d)
		return nil
	})
	if err != nil {
		s.log.Error("an approval cannot be written", "error", err)
		return errs.E("approve", errs.Unavailable, "this gateway cannot write its lock file: run toolcrib approve --tools where the file is kept, and roll it out")
	}
	s.gw.Repin()
	return nil
}
