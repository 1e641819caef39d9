package app

import (
	"context"

	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/policy"
)

// management is the management interface of this gateway.
func (s *server) management() *control.API {
	return control.NewAPI(control.Options{
		Gate:     func() control.Gate { return s.gw.Callers() },
		Policies: func() *policy.Set { return s.gw.Plan().Policies },
		Store:    s.store,
		Changed:  s.keysChanged,
		Audit:    s.audit,
		Search:   s.searchAudit,
		Log:      s.log,
		Subject:  sight{s},
		Servers:  func() any { return s.gw.Status() },
	})
}

// keysChanged has a change of keys count here at once; other replicas see it within auth.revocation.
func (s *server) keysChanged(ctx context.Context) {
	if err := s.identity.Refresh(ctx); err != nil {
		s.log.Warn("a change of keys counts only once the store can be read", "error", err)
	}
}
