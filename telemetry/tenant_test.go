package telemetry_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/telemetry"
)

// TestTenant: each tenant is counted, and however many there are, the series are bounded.
func TestTenant(t *testing.T) {
	m := telemetry.NewMetrics("test")
	m.Tenant("acme", "")
	m.Tenant("acme", "forbidden")
	for i := range 5000 {
		m.Tenant(fmt.Sprint("tenant-", i), "ok")
	}
	text := strings.Join(scrape(t, m, "mcp_tenant_requests_total"), "\n")
	for _, want := range []string{
		`mcp_tenant_requests_total{outcome="ok",tenant="acme"} 1`, `mcp_tenant_requests_total{outcome="forbidden",tenant="acme"} 1`,
		`mcp_tenant_requests_total{outcome="ok",tenant="_other"} 3002`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(text, "mcp_tenant_requests_total{"); n != 2001 {
		t.Errorf("%d series", n)
	}
	if n := testing.AllocsPerRun(100, func() { m.Tenant("acme", "ok") }); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}
