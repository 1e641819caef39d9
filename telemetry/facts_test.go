package telemetry_test

import (
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/telemetry"
)

func TestFacts(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	now := telemetry.Facts{}
	m.Facts(func() telemetry.Facts { return now })
	expect(t, m, "toolcrib_c", `toolcrib_config_last_apply_successful 0`)
	expect(t, m, "toolcrib_seal")

	now = telemetry.Facts{
		Applied: true, AppliedAt: time.Unix(7, 5e8), SealKey: time.Unix(8, 0), Sessions: 3,
		Certificates: map[string]time.Time{"serving": time.Unix(9, 0), "client_ca": {}},
		Credentials:  map[string]time.Time{"api_key": time.Unix(10, 0)},
		Sources:      map[string]bool{"store": true, "https://idp.example": false},
	}
	expect(t, m, "toolcrib_c",
		`toolcrib_certificate_expiry_timestamp_seconds{use="serving"} 9`,
		`toolcrib_config_last_apply_success_timestamp_seconds 7.5`,
		`toolcrib_config_last_apply_successful 1`,
		`toolcrib_credential_expiry_timestamp_seconds{kind="api_key"} 10`)
	expect(t, m, "toolcrib_s",
		`toolcrib_seal_key_created_timestamp_seconds 8`,
		`toolcrib_source_up{source="https://idp.example"} 0`,
		`toolcrib_source_up{source="store"} 1`)
	expect(t, m, "mcp_sessions_active", `mcp_sessions_active 3`)
}
