package telemetry

import "github.com/prometheus/client_golang/prometheus"

// maxTenantSeries bounds the combinations of tenant and outcome; tenants that come later are counted together.
const maxTenantSeries = 2000

type tenantLabels struct{ tenant, outcome string }

// Tenant counts a request of a caller of a tenant. An empty outcome means ok.
func (m *Metrics) Tenant(tenant, outcome string) {
	if m.noTenants.Load() {
		return
	}
	if outcome == "" {
		outcome = "ok"
	}
	key := tenantLabels{tenant, outcome}
	c, ok := m.tenantSeries.get(key)
	if !ok {
		if m.tenantSeries.len() >= int(m.maxTenants.Load()) {
			m.folded.WithLabelValues("tenant").Inc()
			key.tenant = other
		}
		c = m.tenantSeries.add(key, func() prometheus.Counter {
			return m.tenantRequests.WithLabelValues(label(key.tenant), label(key.outcome))
		})
	}
	c.Inc()
}
