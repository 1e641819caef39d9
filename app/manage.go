package app

import (
	"context"
	"maps"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/upstream"
)

// management is the management interface of this gateway.
func (s *server) management() *control.API {
	return control.NewAPI(control.Options{
		Gate:     func() control.Gate { return s.gw.Callers() },
		Policies: func() *policy.Set { return s.gw.Plan().Policies },
		Knock:    s.gw.Knock,
		Config:   func() *v1.Config { return s.gw.Plan().Config },
		Store:    s.store,
		Changed:  s.keysChanged,
		Audit:    s.audit,
		Search:   s.searchAudit,
		Explain:  s.explain,
		Log:      s.logger("control"),
		Subject:  sight{s},
		Servers:  s.statusOf,
		Drift:    s.drift,
		Approve:  s.approveTool,
		Cache:    s.cacheReport,
		Purge:    s.purge,
		Limits:   s.limitsReport,

		LogLevels:   s.logLevels,
		SetLogLevel: s.logs.Set,
	})
}

// statusOf is the state of the servers that shown is true for.
func (s *server) statusOf(shown func(string) bool) any {
	all := s.gw.Status()
	maps.DeleteFunc(all, func(name string, _ upstream.Status) bool { return !shown(name) })
	return all
}

// keysChanged has a change of keys count here at once; other replicas see it within auth.revocation.
func (s *server) keysChanged(ctx context.Context) {
	if err := s.identity.Refresh(ctx); err != nil {
		s.log.Warn("a change of keys counts only once the store can be read", "error", err)
	}
}

// explain answers what the command explain asks, by the policies that count now.
func (s *server) explain(_ context.Context, q *policy.Question) (any, error) {
	e, err := gateway.Explain(s.gw.Plan(), q)
	if err != nil {
		return nil, errs.E("explain", errs.Invalid, "%v", err)
	}
	return e, nil
}

// logLevels is what is logged.
func (s *server) logLevels() []control.LogLevel {
	levels := s.logs.Levels()
	all := make([]control.LogLevel, 0, len(levels))
	for _, l := range levels {
		all = append(all, control.LogLevel(l))
	}
	return all
}
