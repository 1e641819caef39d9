package app

import (
	"time"

	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/limit"
)

// limitKeys is how many keys of each limit are shown.
const limitKeys = 100

// limitsReport is what is used of limits of one tenant, which has the servers that shown is true for, or of all where shown is nil.
func (s *server) limitsReport(tenant string, shown func(string) bool) any {
	var view *limit.View
	if shown != nil {
		view = &limit.View{Tenant: tenant, Server: shown}
	}
	n, local, _ := s.limits.Shared()
	r := control.LimitsReport{Replicas: n, Local: local, Limits: []control.LimitUse{}}
	for _, u := range s.limits.Report(limitKeys, view) {
		use := control.LimitUse{Name: u.Limit, Kind: u.Kind, Amount: u.Amount, Most: u.Most, Keys: u.Keys, Crowded: u.Crowded, Top: []control.LimitKey{}}
		for _, k := range u.Top {
			use.Top = append(use.Top, control.LimitKey{Of: k.Of, Left: k.Left, ResetSeconds: int64((k.Reset + time.Second - 1) / time.Second)})
		}
		r.Limits = append(r.Limits, use)
	}
	return r
}
