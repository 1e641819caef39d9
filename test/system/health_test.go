package system_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestHealth: alive as long as it runs, ready as long as some server is, with reasons for what is not.
func TestHealth(t *testing.T) {
	t.Parallel()
	one := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	two := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": one, "two": two}})
	state := func() (int, string, map[string]string, string) {
		code, body := g.Get("/health/ready", nil)
		var r struct {
			Status  string
			Reasons []string
			Servers map[string]struct{ State, Era string }
		}
		if err := json.Unmarshal([]byte(body), &r); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		servers := map[string]string{}
		for name, s := range r.Servers {
			servers[name] = s.State + " " + s.Era
		}
		return code, r.Status, servers, strings.Join(r.Reasons, "\n")
	}
	testenv.Eventually(t, "readiness", func() bool {
		code, status, servers, _ := state()
		return code == 200 && status == "ready" && servers["one"] == "ready modern" && servers["two"] == "ready legacy"
	})
	one.Stop()
	g.Modern("/mcp").Tool("one__tool0000", "{}")
	testenv.Eventually(t, "degradation", func() bool {
		code, status, servers, why := state()
		return code == 200 && status == "degraded" && servers["two"] == "ready legacy" && strings.Contains(why, "server one: ")
	})
	two.Stop()
	g.Modern("/mcp").Tool("two__tool0000", "{}")
	testenv.Eventually(t, "unreadiness", func() bool {
		code, status, _, why := state()
		return code == 503 && status == "unready" && strings.Contains(why, "server two: ")
	})
	for _, path := range []string{"/health", "/healthz"} {
		if code, body := g.Get(path, nil); code != 200 || !strings.Contains(body, `"ok"`) {
			t.Errorf("%s: HTTP %d %s", path, code, body)
		}
	}
	one.Start()
	two.Start()
	testenv.Eventually(t, "recovery by itself", func() bool {
		code, status, _, _ := state()
		return code == 200 && status == "ready"
	})
	if r := g.Modern("/mcp").Tool("one__tool0000", "{}"); r.Texts() != "done" {
		t.Errorf("%v", r)
	}
}

// TestMetrics have the names and labels that dashboards are built on.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{
		Tools: []string{testenv.Tool("good"), testenv.Tool("bad"), testenv.Tool("refuse")},
		On: map[string]func(*testenv.Call){
			"tools/call bad":    func(c *testenv.Call) { c.Complete(`"content":[],"isError":true`) },
			"tools/call refuse": func(c *testenv.Call) { c.Error(-32000, "no") },
		},
	})
	g := testenv.Serve(t, testenv.One(s))
	client := g.Modern("/mcp")
	client.Call("tools/list", "")
	for _, name := range []string{"good", "good", "bad", "refuse", "made_up_1", "made_up_2"} {
		client.Tool("one__"+name, "{}")
	}
	g.Legacy("/mcp").Tool("one__good", "{}")
	code, body := g.Get("/metrics", nil)
	if code != 200 {
		t.Fatalf("HTTP %d", code)
	}
	for _, line := range []string{
		`mcp_tool_requests_total{server="one",tool="good"} 3`,
		`mcp_tool_requests_total{server="one",tool="bad"} 1`,
		`mcp_tool_requests_total{server="one",tool="_other"} 2`,
		`mcp_tool_errors_total{error_type="tool_error",server="one",tool="bad"} 1`,
		`mcp_tool_errors_total{error_type="-32000",server="one",tool="refuse"} 1`,
		`mcp_tool_duration_seconds_count{server="one",tool="good"} 3`,
		`mcp_requests_total{era="modern",method="tools/call",outcome="ok"} 5`,
		`mcp_requests_total{era="legacy",method="tools/call",outcome="ok"} 1`,
		`mcp_server_state{server="one",state="ready"} 1`,
		`toolcrib_build_info{`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(body, "made_up") {
		t.Error("clients can make up labels")
	}
	if t.Failed() {
		for line := range strings.SplitSeq(body, "\n") {
			if strings.HasPrefix(line, "mcp_") && !strings.Contains(line, "_bucket") {
				t.Log(line)
			}
		}
	}
}

// TestPaths that no endpoint has, and verbs that none takes.
func TestPaths(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{})
	for _, path := range []string{"/", "/mcpx", "/servers/one/mcp", "/servers//mcp", "/servers/a/b/mcp", "/servers/%2e%2e/mcp", "/servers/one%2Fmcp"} {
		r := g.Modern(path).Call("tools/list", "")
		if code, text := r.Error(); r.Status != 404 || code != 404 || text == "" {
			t.Errorf("%s: %v", path, r)
		}
	}
	if code, _ := g.Get("/mcp", nil); code != 405 {
		t.Errorf("GET /mcp: HTTP %d", code)
	}
}

// TestStreamCounts: what a client of 2024-11-05 posts is one request, not one that carries another.
func TestStreamCounts(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.One(s))
	c := g.Stream("/sse", "")
	c.Tool("one__tool0000", "{}")
	c.Tool("one__tool0000", "{}")
	counted := func() map[string]string {
		out := map[string]string{}
		_, body := g.Get("/metrics", nil)
		for line := range strings.Lines(body) {
			if rest, ok := strings.CutPrefix(line, `mcp_requests_total{era="legacy",method=`); ok {
				method, n, _ := strings.Cut(rest, `,outcome="ok"} `)
				out[method] = strings.TrimSpace(n)
			}
		}
		return out
	}
	testenv.Eventually(t, "calls counted", func() bool { return counted()[`"tools/call"`] == "2" })
	if other := counted()[`"_other"`]; other != "1" { // the GET that opened the stream
		t.Errorf("%s requests without a method, want 1", other)
	}
}
