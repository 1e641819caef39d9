package system_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestReload: a changed file is applied without dropping a running call; what did not change stays as it is.
func TestReload(t *testing.T) {
	t.Parallel()
	h := hold(t, kinds[5])
	still := testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1)})
	gone := testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1)})
	added := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"held": h.Server, "still": still, "gone": gone}})
	client := g.Legacy("/mcp")
	if r := client.Call("tools/list", ""); len(r.Names("tools")) != 4 {
		t.Fatalf("%v", r)
	}
	first, pid, last := h.AwaitChild(1), still.AwaitChild(1).PID, gone.AwaitChild(1)
	replies := make(chan *testenv.Reply, 1)
	go func() {
		r, err := client.Try(testenv.Within(t, testenv.Patience), testenv.Request{Method: "tools/call", Members: `"name":"held__hold"`})
		if err != nil {
			t.Error(err)
		}
		replies <- r
	}()
	<-h.calls
	changed := h.Entry()
	changed["env"] = maps.Clone(changed["env"].(map[string]any))
	changed["env"].(map[string]any)["REGION"] = "eu"
	g.Configure(testenv.Config{
		Servers: map[string]*testenv.Server{"still": still, "added": added},
		Entries: map[string]any{"held": changed},
	})
	testenv.Eventually(t, "the new list", func() bool {
		return strings.Join(client.Call("tools/list", "").Names("tools"), " ") == "added__tool0000 held__hold held__echo still__tool0000"
	})
	if r := client.Tool("gone__tool0000", "{}"); !strings.Contains(r.String(), "-32602") {
		t.Errorf("a tool of a removed server: %v", r)
	}
	if r := client.Tool("held__echo", "{}"); r.Texts() != "done" {
		t.Errorf("the changed server: %v", r)
	}
	second := h.AwaitChild(2)
	if !strings.Contains(strings.Join(second.Env, " "), "REGION=eu") {
		t.Errorf("the changed server's child has the environment %v", second.Env)
	}
	close(h.let)
	if r := <-replies; r.Texts() != "let go" {
		t.Errorf("the running call: %v", r)
	}
	<-first.Done
	<-last.Done
	if kids := still.Children(); len(kids) != 1 || kids[0].PID != pid || !testenv.Alive(pid) {
		t.Error("an unchanged server was started again")
	}
}

// TestBadFile keeps the old plan and says why.
func TestBadFile(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.One(s))
	if code, body := g.Get("/health/ready", nil); code != 200 || strings.Contains(body, `"error"`) {
		t.Errorf("HTTP %d %s", code, body)
	}
	bad := `{"mcpServers":{"one":{"comand":"x","args":"y"}},"listenn":1}`
	g.Write([]byte(bad))
	testenv.Eventually(t, "the reason in /health/ready", func() bool {
		code, body := g.Get("/health/ready", nil)
		return code == 200 && strings.Contains(body, "comand") && strings.Contains(body, "listenn") && strings.Contains(body, "degraded")
	})
	if r := g.Modern("/mcp").Tool("one__tool0000", "{}"); r.Texts() != "done" {
		t.Errorf("the old plan: %v", r)
	}
	testenv.Eventually(t, "the log says why", func() bool { return strings.Contains(g.Log(), "comand") })
	g.Configure(testenv.One(s))
	testenv.Eventually(t, "readiness again", func() bool {
		code, body := g.Get("/health/ready", nil)
		return code == 200 && strings.Contains(body, `"status": "ready"`)
	})
	if n := len(s.Children()); n != 1 {
		t.Errorf("%d children", n)
	}
}

// TestReloadThatTelemetryRefuses: servers, traces, metrics and the audit log all stay as they were; the next good file changes them all.
func TestReloadThatTelemetryRefuses(t *testing.T) {
	t.Parallel()
	one, two := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)}), testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	old, next := newReceivers(t), newReceivers(t)
	config := func(to receivers, metrics map[string]any, arguments string, servers map[string]*testenv.Server) testenv.Config {
		metrics["every"] = "1s"
		return testenv.Config{Servers: servers, More: map[string]any{
			"telemetry": map[string]any{"traces": map[string]any{"endpoint": to.spans.URL, "sample": 1}, "metrics": metrics},
			"audit": map[string]any{
				"sinks":     []any{map[string]any{"file": "audit/audit.jsonl"}},
				"arguments": []any{map[string]any{"tools": []string{"*"}, "as": arguments}},
			},
		}}
	}
	g := testenv.Serve(t, config(old, map[string]any{"endpoint": old.metrics.URL}, "full", map[string]*testenv.Server{"one": one}))
	client := g.Modern("/mcp")
	inForce := func(to, not receivers, tools string, arguments int) {
		t.Helper()
		testenv.Eventually(t, "the tools "+tools, func() bool {
			return strings.Join(client.Call("tools/list", "").Names("tools"), " ") == tools
		})
		since := time.Now()
		client.Tool("one__tool0000", `{"marked":1}`)
		testenv.Eventually(t, "traces and metrics where they belong", func() bool {
			return len(to.spans.All(func(s testenv.Span) bool { return s.Start.After(since) })) > 0 && to.metrics.since(since)
		})
		if all := not.spans.All(func(s testenv.Span) bool { return s.Start.After(since) }); len(all) > 0 {
			t.Errorf("traces elsewhere: %+v", all)
		}
		all, _ := records(t, g.StateDir)
		if last := all[len(all)-1]; len(last.Unmapped.Arguments) != arguments {
			t.Errorf("recorded: %+v", last)
		}
	}
	arguments := len(`{"marked":1}`)
	inForce(old, next, "one__tool0000", arguments)
	both := map[string]*testenv.Server{"one": one, "two": two}
	g.Configure(config(next, map[string]any{"endpoint": "http://[fe80::1%25lo]:4317", "protocol": "grpc"}, "none", both)) // gRPC knows no zones
	testenv.Eventually(t, "the reason in /health/ready", func() bool {
		code, body := g.Get("/health/ready", nil)
		return code == 200 && strings.Contains(body, "telemetry.metrics: ")
	})
	inForce(old, next, "one__tool0000", arguments)
	g.Configure(config(next, map[string]any{"endpoint": next.metrics.URL}, "none", both))
	inForce(next, old, "one__tool0000 two__tool0000", 0)
}

// receivers take traces and metrics.
type receivers struct {
	spans   *testenv.Spans
	metrics *meterReader
}

func newReceivers(t *testing.T) receivers {
	t.Helper()
	return receivers{testenv.TakeSpans(t), takeMetrics(t)}
}
