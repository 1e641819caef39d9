package system_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/internal/trace"
)

// tracedTo is a configuration whose traces go to a collector.
func tracedTo(s *testenv.Spans, more map[string]any) map[string]any {
	traces := map[string]any{"endpoint": s.URL}
	maps.Copy(traces, more)
	return map[string]any{"telemetry": map[string]any{"traces": traces}}
}

const (
	parentSpan  = "b7ad6b7169203331"
	traceparent = "00-" + traceID + "-" + parentSpan + "-01"
)

// spanOf is the one span of a kind, but for a list of tools that the gateway needed first.
func spanOf(t *testing.T, all []testenv.Span, kind string) testenv.Span {
	t.Helper()
	var found []testenv.Span
	for _, s := range all {
		if s.Kind == kind && (kind == "server" || !strings.HasSuffix(s.Name, "tools/list")) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d spans of kind %s: %+v", len(found), kind, all)
	}
	return found[0]
}

// TestTraceGoesThrough: client, gateway and server are in one trace, whatever they are and speak.
func TestTraceGoesThrough(t *testing.T) {
	t.Parallel()
	collector := testenv.TakeSpans(t)
	servers := map[string]*testenv.Server{
		"http-modern":  testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)}),
		"http-legacy":  testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1), Era: testenv.Legacy}),
		"stdio-modern": testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1)}),
		"stdio-legacy": testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1), Era: testenv.Legacy}),
		"sse":          testenv.StreamServer(t, testenv.Script{Tools: testenv.Tools(1), Era: testenv.Legacy}),
	}
	g := testenv.Serve(t, testenv.Config{Servers: servers, More: tracedTo(collector, map[string]any{"sample": 0})})
	testenv.Eventually(t, "all tools are known", func() bool { // others are not named
		return len(g.Modern("/mcp").Call("tools/list", "").Names("tools")) == len(servers)
	})
	for _, era := range []testenv.Era{testenv.Modern, testenv.Legacy} {
		for name, server := range servers {
			c := g.Client(era, "/mcp")
			id := newTraceID()
			r := c.Do(testenv.Request{
				Method: "tools/call", Members: `"name":"` + name + `__tool0000","arguments":{"secret":"CANARY"}`,
				Meta: `"traceparent":"00-` + id + `-` + parentSpan + `-01","tracestate":"a=1,b=2"`,
			})
			if r.Result() == nil {
				t.Fatalf("%s: %v", name, r)
			}
			all := collector.Await(t, id, 2)
			in, out := spanOf(t, all, "server"), spanOf(t, all, "client")
			if in.Parent != parentSpan || out.Parent != in.ID || in.State != "a=1,b=2" || in.Failed || in.Service["service.name"] != "toolcrib" {
				t.Errorf("%s: %+v", name, all)
			}
			if out.Start.Before(in.Start) || out.End.After(in.End) || out.End.Before(out.Start) {
				t.Errorf("%s: times of %+v", name, all)
			}
			got := lastCall(server)
			told := `"00-` + id + `-` + out.ID + `-01"`
			if got.Meta("traceparent") != told || got.Meta("tracestate") != `"a=1,b=2"` {
				t.Errorf("%s: the server was told %s and %s, not %s", name, got.Meta("traceparent"), got.Meta("tracestate"), told)
			}
			if server.URL != "" && (got.Header.Get("Traceparent") != strings.Trim(told, `"`) || got.Header.Get("Tracestate") != "a=1,b=2") {
				t.Errorf("%s: header %q, %q", name, got.Header.Get("Traceparent"), got.Header.Get("Tracestate"))
			}
			attributesOf(t, name, era, in, out)
		}
	}
}

func attributesOf(t *testing.T, name string, era testenv.Era, in, out testenv.Span) {
	t.Helper()
	want := map[string]string{
		"mcp.method.name": "tools/call", "gen_ai.tool.name": name + "__tool0000", "gen_ai.operation.name": "execute_tool",
		"network.transport": "tcp", "toolcrib.server": name, "toolcrib.kept": "sampled", "client.address": "127.0.0.1",
	}
	if in.Name != "tools/call "+name+"__tool0000" || out.Name != "tools/call tool0000" {
		t.Errorf("names %q and %q", in.Name, out.Name)
	}
	if era == testenv.Modern {
		want["mcp.protocol.version"] = "2026-07-28"
	} else if in.Attributes["mcp.session.id"] == "" {
		t.Errorf("%s: %+v", name, in)
	}
	for k, v := range want {
		if in.Attributes[k] != v {
			t.Errorf("%s: %s is %q, not %q", name, k, in.Attributes[k], v)
		}
	}
	transport := "tcp"
	if strings.HasPrefix(name, "stdio") {
		transport = "pipe"
	}
	if out.Attributes["network.transport"] != transport || out.Attributes["gen_ai.tool.name"] != "tool0000" || (out.Attributes["server.address"] == "") != (transport == "pipe") {
		t.Errorf("%s: %+v", name, out)
	}
	for _, s := range []testenv.Span{in, out} {
		for k, v := range s.Attributes {
			if strings.Contains(v, "CANARY") {
				t.Errorf("%s: arguments are in %s", name, k)
			}
		}
	}
	if !strings.Contains(strings.Join(in.Events, " "), "forward") {
		t.Errorf("%s: stages %v", name, in.Events)
	}
}

// lastCall is the last call of a tool that a server got.
func lastCall(s *testenv.Server) *testenv.Record {
	all := s.Received("tools/call")
	return all[len(all)-1]
}

// newTraceID is the id of a trace of its own.
func newTraceID() string { return trace.NewID().String() }
