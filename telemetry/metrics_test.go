package telemetry_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/telemetry"
)

// scrape returns the exposed lines that begin with prefix, in the order of the exposition.
func scrape(t testing.TB, m *telemetry.Metrics, prefix string) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var lines []string
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, prefix) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

func expect(t testing.TB, m *telemetry.Metrics, prefix string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, scrape(t, m, prefix)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", prefix, diff)
	}
}

func TestTool(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	find := m.Tool("files", "find")
	if find != m.Tool("files", "find") {
		t.Error("two handles for one tool")
	}
	expect(t, m, "mcp_tool_")
	find.Observe(30*time.Millisecond, "")
	find.Observe(20*time.Second, "tool_error")
	find.Observe(time.Millisecond, "-32602")
	m.Tool("search", "find").Observe(0, "timeout")

	expect(t, m, "mcp_tool_requests_total",
		`mcp_tool_requests_total{server="files",tool="find"} 3`,
		`mcp_tool_requests_total{server="search",tool="find"} 1`)
	expect(t, m, "mcp_tool_errors_total",
		`mcp_tool_errors_total{error_type="-32602",server="files",tool="find"} 1`,
		`mcp_tool_errors_total{error_type="timeout",server="search",tool="find"} 1`,
		`mcp_tool_errors_total{error_type="tool_error",server="files",tool="find"} 1`)
	expect(t, m, `mcp_tool_duration_seconds_bucket{server="files",tool="find",le="0.05"}`,
		`mcp_tool_duration_seconds_bucket{server="files",tool="find",le="0.05"} 2`)
	expect(t, m, `mcp_tool_duration_seconds_count{server="files"`,
		`mcp_tool_duration_seconds_count{server="files",tool="find"} 3`)
}

func TestRequest(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	m.Request(telemetry.Request{Method: "tools/call", Era: "modern", Outcome: ""}, time.Millisecond)
	m.Request(telemetry.Request{Method: "tools/call", Era: "modern", Outcome: ""}, time.Millisecond)
	m.Request(telemetry.Request{Method: "tools/call", Era: "legacy", Outcome: "timeout"}, time.Minute)
	expect(t, m, "mcp_requests_total",
		`mcp_requests_total{era="legacy",method="tools/call",outcome="timeout"} 1`,
		`mcp_requests_total{era="modern",method="tools/call",outcome="ok"} 2`)
	expect(t, m, "mcp_request_duration_seconds_count",
		`mcp_request_duration_seconds_count{era="legacy",method="tools/call"} 1`,
		`mcp_request_duration_seconds_count{era="modern",method="tools/call"} 2`)
}

func TestServer(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	m.Tool("files", "find")
	m.Discovery("files", true)
	expect(t, m, "mcp_server_discoveries_total", // an increase from nothing is none to Prometheus
		`mcp_server_discoveries_total{outcome="error",server="files"} 0`, `mcp_server_discoveries_total{outcome="ok",server="files"} 1`)
	m.Discovery("files", false)
	m.Discovery("files", false)
	m.ServerState("files", "starting")
	m.ServerState("files", "ready")
	m.ServerState("files", "ready")
	m.Restart("files")
	expect(t, m, "mcp_server_",
		`mcp_server_discoveries_total{outcome="error",server="files"} 2`,
		`mcp_server_discoveries_total{outcome="ok",server="files"} 1`,
		`mcp_server_restarts_total{server="files"} 1`,
		`mcp_server_state{server="files",state="ready"} 1`,
		`mcp_server_state{server="files",state="starting"} 0`)
}

func TestBuildInfo(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	if got := scrape(t, m, "toolcrib_build_info"); len(got) != 1 || !strings.Contains(got[0], `version="1.2.3"} 1`) {
		t.Errorf("got %q", got)
	}
	for _, prefix := range []string{"go_goroutines", "process_resident_memory_bytes"} {
		if len(scrape(t, m, prefix)) != 1 {
			t.Errorf("no %s", prefix)
		}
	}
}

func TestRemove(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	used, unused, failing := m.Tool("files", "used"), m.Tool("files", "unused"), m.Tool("files", "failing")
	used.Observe(0, "timeout")
	failing.Observe(0, "")
	m.Discovery("files", true)
	m.ServerState("files", "ready")
	m.Restart("files")
	m.Tool("search", "find").Observe(0, "")
	m.Remove("files")
	m.Remove("unknown")

	// Calls that end after their server was removed bring no series back.
	used.Observe(0, "timeout")
	unused.Observe(0, "")
	failing.Observe(0, "timeout")
	m.Discovery("files", true)
	m.Retried("files", "again")
	m.FellBack("files", "lists")
	m.Restart("files")
	for _, line := range scrape(t, m, "mcp_") {
		if strings.Contains(line, `"files"`) {
			t.Errorf("left behind: %s", line)
		}
	}
	expect(t, m, "mcp_tool_requests_total", `mcp_tool_requests_total{server="search",tool="find"} 1`)

	m.Tool("files", "used").Observe(0, "")
	expect(t, m, `mcp_tool_requests_total{server="files"`, `mcp_tool_requests_total{server="files",tool="used"} 1`)
}

func TestToolsAreBounded(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	for i := range 2500 {
		m.Tool("many", fmt.Sprint("t", i))
	}
	if m.Tool("many", "t0") == m.Tool("many", "t2499") || m.Tool("many", "x") != m.Tool("many", "y") {
		t.Error("tools over the bound must share a handle, those under it must not")
	}
	for _, i := range []int{0, 1999, 2000, 2499} {
		m.Tool("many", fmt.Sprint("t", i)).Observe(0, "")
	}
	expect(t, m, "mcp_tool_requests_total",
		`mcp_tool_requests_total{server="many",tool="_other"} 2`,
		`mcp_tool_requests_total{server="many",tool="t0"} 1`,
		`mcp_tool_requests_total{server="many",tool="t1999"} 1`)
}

func TestLabelsAreBounded(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	find := m.Tool("files", "find")
	for i := range 600 {
		find.Observe(0, fmt.Sprint(-i-1))
		m.Request(telemetry.Request{Method: fmt.Sprint("m", i), Era: "modern", Outcome: ""}, 0)
		m.ServerState("files", fmt.Sprint("s", i))
	}
	for prefix, want := range map[string]int{
		"mcp_tool_errors_total": 32 + 1,
		"mcp_requests_total":    512 + 1,
		"mcp_server_state":      16 + 1,
	} {
		lines := scrape(t, m, prefix)
		others := 0
		for _, line := range lines {
			if strings.Contains(line, `"_other"`) {
				others++
			}
		}
		if len(lines) != want || others != 1 {
			t.Errorf("%s: %d series, %d of them _other; want %d and 1", prefix, len(lines), others, want)
		}
	}
	expect(t, m, `mcp_tool_errors_total{error_type="_other"`, `mcp_tool_errors_total{error_type="_other",server="files",tool="find"} 568`)
}

func TestHostileLabels(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	m.Tool("files", "a\xffb").Observe(0, "\xfe")
	m.Tool("files", "new\nline\"").Observe(0, "")
	m.Tool("files", strings.Repeat("x", 1<<20)).Observe(0, "")
	expect(t, m, "mcp_tool_requests_total",
		`mcp_tool_requests_total{server="files",tool="_other"} 1`,
		"mcp_tool_requests_total{server=\"files\",tool=\"a\uFFFDb\"} 1",
		`mcp_tool_requests_total{server="files",tool="new\nline\""} 1`)
}

func TestAllocations(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	find := m.Tool("files", "find")
	tests := map[string]func(){
		"success": func() { find.Observe(time.Millisecond, "") },
		"failure": func() { find.Observe(time.Millisecond, "tool_error") },
		"request": func() {
			m.Request(telemetry.Request{Method: "tools/call", Era: "modern", Outcome: ""}, time.Millisecond)
		},
		"refused": func() {
			m.Request(telemetry.Request{Method: "tools/call", Era: "modern", Outcome: "timeout"}, time.Millisecond)
		},
		"tool find": func() { m.Tool("files", "find") },
	}
	info := []byte(`{"name":"ide","version":"1"}`)
	tests["everything"] = func() { countCall(m, find, info) }
	for name, f := range tests {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

func TestConcurrent(t *testing.T) {
	m := telemetry.NewMetrics("1.2.3")
	shared := m.Tool("files", "shared")
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := range 100 {
				shared.Observe(0, fmt.Sprint(i%40))
				m.Tool("files", fmt.Sprint(i)).Observe(0, "")
				m.Request(telemetry.Request{Method: fmt.Sprint(i), Era: "modern", Outcome: ""}, 0)
				m.ServerState("files", fmt.Sprint(w))
				m.Tool("gone", "x").Observe(0, "e")
				if i%100 == 50 {
					m.Remove("gone")
					scrape(t, m, "mcp_")
				}
			}
		})
	}
	all.Wait()
	expect(t, m, `mcp_tool_requests_total{server="files",tool="shared"}`, `mcp_tool_requests_total{server="files",tool="shared"} 800`)
}

func BenchmarkObserve(b *testing.B) {
	find := telemetry.NewMetrics("1.2.3").Tool("files", "find")
	b.ReportAllocs()
	for b.Loop() {
		find.Observe(time.Millisecond, "")
	}
}

func BenchmarkRequest(b *testing.B) {
	m := telemetry.NewMetrics("1.2.3")
	b.ReportAllocs()
	for b.Loop() {
		m.Request(telemetry.Request{Method: "tools/call", Era: "modern", Outcome: ""}, time.Millisecond)
	}
}

// BenchmarkClients is what a request costs whose client makes up a name for each.
func BenchmarkClients(b *testing.B) {
	m := telemetry.NewMetrics("1.2.3")
	infos := make([][]byte, 10_000)
	for i := range infos {
		infos[i] = fmt.Appendf(nil, `{"name":"made up %d","version":"1"}`, i)
		m.Client(infos[i])
	}
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			m.Client(infos[i%len(infos)])
		}
	})
}
