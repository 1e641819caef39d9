package control

import (
	"context"
	"net/http"
)

// LimitsReport is what is used of limits, as one replica knows it.
type LimitsReport struct {
	// Replicas is how many share the limits. Local says that this one goes by its own part of each, because the others cannot be
	// asked.
	Replicas int        `json:"replicas"`
	Local    bool       `json:"local,omitempty"`
	Limits   []LimitUse `json:"limits"`
}

// LimitUse is what is used of one amount of a limit.
type LimitUse struct {
	Name string `json:"name"`
	// Kind is rate, bytes, quota or concurrency; Amount as the configuration has it, Most how much can be had at once.
	Kind   string  `json:"kind"`
	Amount string  `json:"amount,omitempty"`
	Most   float64 `json:"most"`
	// Keys is how many have used something of it; Crowded how often one shared an amount with others because there were too many.
	Keys    int   `json:"keys"`
	Crowded int64 `json:"crowded,omitempty"`
	// Top are those that have the least left.
	Top []LimitKey `json:"top"`
}

// LimitKey is what one of those has left that have an amount of their own.
type LimitKey struct {
	// Of are the values of what the limit is per.
	Of           map[string]string `json:"of,omitempty"`
	Left         float64           `json:"left"`
	ResetSeconds int64             `json:"resetSeconds"`
}

// limits are those of the caller's tenant, and all for an admin.
func (a *API) limits(q *asked) (any, error) {
	switch {
	case a.o.Limits == nil:
		return nil, absent("limits")
	case q.admin():
		return a.o.Limits("", nil), nil
	}
	return a.o.Limits(q.who.Tenant, q.seesServer), nil
}

// Limits is what is used of the gateway's limits.
func (r *Remote) Limits(ctx context.Context) (*LimitsReport, error) {
	report := new(LimitsReport)
	return report, r.do(ctx, http.MethodGet, "limits", nil, report)
}
