package telemetry_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/telemetry"
)

func TestProcesses(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	now := telemetry.Processes{}
	m.Processes(func() telemetry.Processes { return now })
	expect(t, m, "mcp_server_")

	since := time.Unix(1, 0)
	now = telemetry.Processes{Queued: map[string]int{"files": 3, "idle": 0}, Pools: map[string]telemetry.Pool{"files": {64, 1000}}, Instances: []telemetry.Instance{
		{Server: "files", State: "ready", PID: 7, Since: since, RSS: 1000, CPU: time.Second, Files: 5, Processes: 2, InFlight: 3},
		{Server: "files", State: "ready", PID: 8, Since: since, RSS: 500, CPU: 2 * time.Second, Files: 4, Processes: 1},
		{Server: "files", State: "starting"},
		{Server: "removed meanwhile", State: "ready", PID: 9},
	}}
	expect(t, m, "mcp_server_",
		`mcp_server_cpu_seconds_total{server="files"} 3`, `mcp_server_cpu_seconds_total{server="idle"} 0`,
		`mcp_server_instances{server="files",state="ready"} 2`, `mcp_server_instances{server="files",state="starting"} 1`,
		`mcp_server_instances{server="idle",state="ready"} 0`,
		`mcp_server_open_fds{server="files"} 9`, `mcp_server_open_fds{server="idle"} 0`,
		`mcp_server_pool_capacity{server="files"} 64`,
		`mcp_server_pool_in_flight{server="files"} 3`, `mcp_server_pool_in_flight{server="idle"} 0`,
		`mcp_server_processes{server="files"} 3`, `mcp_server_processes{server="idle"} 0`,
		`mcp_server_queue_capacity{server="files"} 1000`,
		`mcp_server_queued_calls{server="files"} 3`, `mcp_server_queued_calls{server="idle"} 0`,
		`mcp_server_resident_memory_bytes{server="files"} 1500`, `mcp_server_resident_memory_bytes{server="idle"} 0`)

	// One instance ended, one worked, and a new one has the number of the old.
	now.Instances = []telemetry.Instance{
		{Server: "files", State: "ready", PID: 8, Since: since, CPU: 5 * time.Second},
		{Server: "files", State: "ready", PID: 7, Since: since.Add(time.Hour), CPU: time.Second / 2},
	}
	expect(t, m, `mcp_server_cpu_seconds_total{server="files"}`, `mcp_server_cpu_seconds_total{server="files"} 6.5`)
	now.Instances = nil
	expect(t, m, `mcp_server_cpu_seconds_total{server="files"}`, `mcp_server_cpu_seconds_total{server="files"} 6.5`)
	now = telemetry.Processes{}
	expect(t, m, "mcp_server_")
}

func TestStarts(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	m.Tool("files", "x")
	m.Started("files", 30*time.Millisecond, nil)
	m.Started("files", time.Minute, errors.New("no"))
	m.Crashed("files", "memory")
	m.Crashed("files", "whatever a server says")
	m.Refused("files", "queue")
	m.Refused("files", "wait")
	m.Crashed("unknown", "exit")
	expect(t, m, "mcp_server_starts_total", `mcp_server_starts_total{outcome="error",server="files"} 1`, `mcp_server_starts_total{outcome="ok",server="files"} 1`)
	expect(t, m, "mcp_server_restarts_total", `mcp_server_restarts_total{server="files"} 0`)
	expect(t, m, "mcp_server_start_duration_seconds_count", `mcp_server_start_duration_seconds_count{server="files"} 1`)
	expect(t, m, "mcp_server_crashes_total", `mcp_server_crashes_total{reason="_other",server="files"} 1`, `mcp_server_crashes_total{reason="memory",server="files"} 1`)
	expect(t, m, "mcp_server_refused", `mcp_server_refused_calls_total{reason="queue",server="files"} 1`, `mcp_server_refused_calls_total{reason="wait",server="files"} 1`)
}

func TestShares(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	used, unused := m.Tool("files", "used"), m.Tool("files", "unused")
	expect(t, m, "mcp_call_share_seconds")
	used.Shares(0, time.Second, 2*time.Second, time.Millisecond)
	used.Shares(3*time.Second, 0, time.Second, time.Millisecond)
	expect(t, m, "mcp_call_share_seconds_sum",
		`mcp_call_share_seconds_sum{server="files",share="queue"} 3`, `mcp_call_share_seconds_sum{server="files",share="server"} 3`,
		`mcp_call_share_seconds_sum{server="files",share="start"} 1`, `mcp_call_share_seconds_sum{server="files",share="transport"} 0.002`)
	m.Started("files", 0, nil)
	m.Crashed("files", "exit")
	m.Refused("files", "wait")
	m.Remove("files")
	// What ends after the server was removed brings no series back.
	used.Shares(0, 0, 0, 0)
	unused.Shares(0, 0, 0, 0)
	m.Started("files", 0, nil)
	m.Crashed("files", "exit")
	m.Refused("files", "wait")
	if left := strings.Join(scrape(t, m, "mcp_"), "\n"); strings.Contains(left, `"files"`) {
		t.Errorf("left behind: %s", left)
	}
	if n := testing.AllocsPerRun(100, func() { used.Shares(1, 2, 3, 4) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkShares(b *testing.B) {
	calls := telemetry.NewMetrics("1.2.3").Tool("files", "find")
	for b.Loop() {
		calls.Shares(0, 0, time.Millisecond, time.Microsecond)
	}
}
