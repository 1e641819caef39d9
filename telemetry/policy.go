package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Policies are the counters of what policies decided.
type Policies struct {
	decisions, shadow *prometheus.CounterVec
}

func newPolicies() Policies {
	return Policies{
		decisions: counters("toolcrib_policy_decisions_total",
			"Requests that policies decided about: allowed, denied, or scope for those whose token lacks one.", "kind", "decision"),
		shadow: counters("toolcrib_policy_shadow_total",
			"Requests that policies.shadow would decide otherwise, by what would change: gained or lost.", "kind", "change"),
	}
}

// Decided counts a decision about a tool, prompt or resource.
func (m *Metrics) Decided(kind string, allowed, scope bool) {
	decision := "denied"
	switch {
	case allowed:
		decision = "allowed"
	case scope:
		decision = "scope"
	}
	m.policies.decisions.WithLabelValues(kind, decision).Inc()
}

// WouldDecide counts a decision that the shadow policies would make otherwise.
func (m *Metrics) WouldDecide(kind, change string) {
	m.policies.shadow.WithLabelValues(kind, change).Inc()
}
