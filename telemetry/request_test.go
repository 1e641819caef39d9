package telemetry_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/telemetry"
)

// TestDiscovery: lists that a client did not get whole, or not at all, are told from those that it must not have.
func TestDiscovery(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	for _, r := range []telemetry.Request{
		{Method: "tools/list"},
		{Method: "tools/list", Partial: true},
		{Method: "tools/list", Outcome: "unavailable", ErrorType: "unavailable"},
		{Method: "tools/list", Outcome: "forbidden", ErrorType: "forbidden"},
		{Method: "server/discover", Outcome: "ok"},
		{Method: "tools/call"},
	} {
		r.Era, r.Protocol = "modern", "2026-07-28"
		m.Request(r, 20*time.Millisecond)
	}
	expect(t, m, "mcp_discovery_requests_total",
		`mcp_discovery_requests_total{method="server/discover",outcome="ok"} 1`,
		`mcp_discovery_requests_total{method="tools/list",outcome="error"} 1`,
		`mcp_discovery_requests_total{method="tools/list",outcome="ok"} 1`,
		`mcp_discovery_requests_total{method="tools/list",outcome="partial"} 1`,
		`mcp_discovery_requests_total{method="tools/list",outcome="refused"} 1`)
	expect(t, m, "mcp_discovery_duration_seconds_count",
		`mcp_discovery_duration_seconds_count{method="server/discover"} 1`,
		`mcp_discovery_duration_seconds_count{method="tools/list"} 4`)
	expect(t, m, "mcp_server_operation_duration_seconds_count",
		`mcp_server_operation_duration_seconds_count{error_type="",mcp_method_name="server/discover",mcp_protocol_version="2026-07-28"} 1`,
		`mcp_server_operation_duration_seconds_count{error_type="",mcp_method_name="tools/call",mcp_protocol_version="2026-07-28"} 1`,
		`mcp_server_operation_duration_seconds_count{error_type="",mcp_method_name="tools/list",mcp_protocol_version="2026-07-28"} 2`,
		`mcp_server_operation_duration_seconds_count{error_type="forbidden",mcp_method_name="tools/list",mcp_protocol_version="2026-07-28"} 1`,
		`mcp_server_operation_duration_seconds_count{error_type="unavailable",mcp_method_name="tools/list",mcp_protocol_version="2026-07-28"} 1`)
}

// TestClients: clients have no more names than the bound, whatever they say of themselves.
func TestClients(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	m.Bound(telemetry.Bounds{Clients: 2})
	for _, info := range []string{
		``, `{"name":"ide","version":"1"}`, `{"name":"ide","version":"2"}`, `{"version":"1","name":"agent"}`, `{"name":7}`, `{"title":"none"}`, `{"name":"third"}`,
	} {
		m.Client([]byte(info))
		m.Client([]byte(info))
	}
	for i := range 3000 {
		m.Client(fmt.Appendf(nil, `{"name":"ide","version":"%d"}`, i))
		m.Client(fmt.Appendf(nil, `{"name":"%d"}`, i))
	}
	m.Client([]byte(`{"name":"ide","version":"` + strings.Repeat("1", 4096) + `"}`))
	expect(t, m, "mcp_client_requests_total",
		`mcp_client_requests_total{client="_other"} 3006`,
		`mcp_client_requests_total{client="agent"} 2`,
		`mcp_client_requests_total{client="ide"} 3005`)
	expect(t, m, "toolcrib_metrics_folded_total", `toolcrib_metrics_folded_total{label="client"} 3006`)
}

// TestFolded: what is counted under _other is counted as that too, for each label with a bound.
func TestFolded(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	m.Bound(telemetry.Bounds{Tools: 1, Tenants: 1})
	for _, tool := range []string{"a", "b", "c"} {
		m.Tool("files", tool).Observe(0, "")
		m.Tenant(tool, "")
	}
	for i := range 600 {
		m.Request(telemetry.Request{Method: fmt.Sprint(i)}, 0)
	}
	expect(t, m, "toolcrib_metrics_folded_total",
		`toolcrib_metrics_folded_total{label="method"} 88`, `toolcrib_metrics_folded_total{label="tenant"} 2`, `toolcrib_metrics_folded_total{label="tool"} 2`)
	expect(t, m, "mcp_tenant_requests_total",
		`mcp_tenant_requests_total{outcome="ok",tenant="_other"} 2`, `mcp_tenant_requests_total{outcome="ok",tenant="a"} 1`)
}

// TestCodes: a server that answers another code each time takes nothing from what others are counted by.
func TestCodes(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	call := telemetry.Request{Method: "tools/call", Era: "modern", Protocol: "2026-07-28", Outcome: "error"}
	for i := range 2000 {
		call.ErrorType = fmt.Sprint(1000 - i)
		m.Request(call, 0)
	}
	m.Request(telemetry.Request{Method: "prompts/get", Era: "modern", Protocol: "2026-07-28", Outcome: "timeout", ErrorType: "timeout"}, 0)
	expect(t, m, "mcp_requests_total",
		`mcp_requests_total{era="modern",method="prompts/get",outcome="timeout"} 1`, `mcp_requests_total{era="modern",method="tools/call",outcome="error"} 2000`)
	expect(t, m, `mcp_server_operation_duration_seconds_count{error_type="timeout"`,
		`mcp_server_operation_duration_seconds_count{error_type="timeout",mcp_method_name="prompts/get",mcp_protocol_version="2026-07-28"} 1`)
	if n := len(scrape(t, m, "mcp_server_operation_duration_seconds_count")); n != 34 {
		t.Errorf("%d kinds of errors", n)
	}
	expect(t, m, "toolcrib_metrics_folded_total")
}

// TestSessions: sessions are counted with how long they lasted, and a task that is over once.
func TestSessions(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	m.SessionEnded("2025-11-25", "client", time.Minute)
	m.SessionEnded("2025-11-25", "stream", -time.Minute)
	expect(t, m, "mcp_sessions_ended_total", `mcp_sessions_ended_total{reason="client"} 1`, `mcp_sessions_ended_total{reason="stream"} 1`)
	expect(t, m, "mcp_server_session_duration_seconds_sum", `mcp_server_session_duration_seconds_sum{mcp_protocol_version="2025-11-25"} 60`)

	files := m.Tool("files", "x")
	m.SessionClosed("files", time.Second)
	m.SessionClosed("unknown", time.Second)
	expect(t, m, "mcp_client_session_duration_seconds_sum", `mcp_client_session_duration_seconds_sum{server="files"} 1`)
	for i := range 2000 {
		files.TaskEnded(fmt.Sprint(i), "completed")
		files.TaskEnded(fmt.Sprint(max(0, i-1000)), "failed")
	}
	expect(t, m, "mcp_tasks_ended_total", `mcp_tasks_ended_total{server="files",status="completed"} 2000`,
		`mcp_tasks_ended_total{server="files",status="failed"} 0`)

	m.Remove("files")
	m.SessionClosed("files", time.Second)
	files.TaskEnded("late", "failed")
	files.Operation("tools/call", "", "tcp", 0)
	files.Sizes(1, 1)
	expect(t, m, "mcp_tasks_ended_total")
	expect(t, m, "mcp_client_")
	expect(t, m, "mcp_tool_request_size_bytes")
}

// TestCall: one call of a server shows how long its bodies were, what the server took and what the gateway took.
func TestCall(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	find := m.Tool("files", "find")
	find.Sizes(300, 5000)
	find.Shares(time.Second, 0, 2*time.Second, time.Millisecond)
	find.Operation("tools/call", "-32602", "pipe", 2*time.Second)
	expect(t, m, "mcp_tool_request_size_bytes_sum", `mcp_tool_request_size_bytes_sum{server="files"} 300`)
	expect(t, m, "mcp_tool_response_size_bytes_sum", `mcp_tool_response_size_bytes_sum{server="files"} 5000`)
	expect(t, m, "mcp_gateway_overhead_seconds_sum", `mcp_gateway_overhead_seconds_sum 0.001`)
	expect(t, m, "mcp_client_operation_duration_seconds_sum",
		`mcp_client_operation_duration_seconds_sum{error_type="-32602",mcp_method_name="tools/call",network_transport="pipe",server="files"} 2`)
}

// BenchmarkCall is all that is counted of one call.
func BenchmarkCall(b *testing.B) {
	m := telemetry.NewMetrics("1.2.3")
	find, info := m.Tool("files", "find"), []byte(`{"name":"ide","version":"1"}`)
	b.ReportAllocs()
	for b.Loop() {
		countCall(m, find, info)
	}
}

func countCall(m *telemetry.Metrics, tool *telemetry.Tool, info []byte) {
	m.Request(telemetry.Request{Method: "tools/call", Era: "modern", Protocol: "2026-07-28", Outcome: "ok"}, time.Millisecond)
	m.Client(info)
	m.Tenant("acme", "ok")
	m.Authenticated("token", "ok")
	m.Decided("tool", true, false)
	tool.Observe(time.Millisecond, "")
	tool.Sizes(300, 300)
	tool.Shares(0, 0, time.Millisecond, time.Microsecond)
	tool.Operation("tools/call", "", "tcp", time.Millisecond)
}
