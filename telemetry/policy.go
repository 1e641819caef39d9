package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Policies are the counters of what policies decided.
type Policies struct {
	decisions, shadow *prometheus.CounterVec
	decided           table[decisionLabels, prometheus.Counter]
}

type decisionLabels struct{ kind, decision string }

func newPolicies() Policies {
	return Policies{
		decisions: newCounters("toolcrib_policy_decisions_total"),
		shadow:    newCounters("toolcrib_policy_shadow_total"),
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
	key := decisionLabels{kind, decision}
	c, ok := m.policies.decided.get(key)
	if !ok {
		c = m.policies.decided.add(key, func() prometheus.Counter { return m.policies.decisions.WithLabelValues(kind, decision) })
	}
	c.Inc()
}

// WouldDecide counts a decision that the shadow policies would make otherwise.
func (m *Metrics) WouldDecide(kind, change string) {
	m.policies.shadow.WithLabelValues(kind, change).Inc()
}
