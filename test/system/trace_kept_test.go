package system_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// child is a traceparent of a trace, sampled by its client or not.
func child(id, flags string) string { return "00-" + id + "-" + parentSpan + "-" + flags }

// callIn calls a tool in a trace, which is told of in the message.
func callIn(c *testenv.Client, tool, parent string) *testenv.Reply {
	return c.Do(testenv.Request{Method: "tools/call", Members: `"name":"` + tool + `"`, Meta: `"traceparent":"` + parent + `"`})
}

// troubled is a server with a tool that is well, one that fails, one that is slow, and one that says what is wrong.
func troubled(t *testing.T) *testenv.Server {
	t.Helper()
	return testenv.HTTPServer(t, testenv.Script{
		Tools: []string{testenv.Tool("well"), testenv.Tool("bad"), testenv.Tool("slow"), testenv.Tool("wrong")},
		On: map[string]func(*testenv.Call){
			"tools/call bad":   func(c *testenv.Call) { c.Complete(`"isError":true,"content":[]`) },
			"tools/call none":  func(c *testenv.Call) { c.Error(-32602, "no such tool") },
			"tools/call wrong": func(c *testenv.Call) { c.Error(-32050, "CANARY") },
			"tools/call slow": func(c *testenv.Call) {
				<-time.After(2600 * time.Millisecond)
				c.Text("slow")
			},
		},
	})
}

// TestTraceOfFailures: what failed or was slow is traced although it was not sampled, and says why; its server was told nothing.
func TestTraceOfFailures(t *testing.T) {
	t.Parallel()
	collector, server := testenv.TakeSpans(t), troubled(t)
	more := tracedTo(collector, map[string]any{"sample": 0, "slow": "2500ms"})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": server}, More: more})
	c := g.Modern("/mcp")
	for tool, want := range map[string][2]string{
		"bad": {"tool_error", "failed"}, "slow": {"", "slow"}, "wrong": {"-32050", "failed"}, "none": {"-32602", "failed"},
	} {
		id := newTraceID()
		callIn(c, "one__"+tool, child(id, "00"))
		in := spanOf(t, collector.Await(t, id, 2), "server")
		if in.Attributes["error.type"] != want[0] || in.Attributes["toolcrib.kept"] != want[1] || in.Failed != (want[0] != "") || in.Parent != parentSpan {
			t.Errorf("%s: %+v", tool, in)
		}
		if tool == "none" {
			if in.Name != "tools/call _OTHER" || in.Attributes["gen_ai.tool.name"] != "_OTHER" {
				t.Errorf("a client makes up names: %+v", in)
			}
		}
		if got := lastCall(server); got.Meta("traceparent") != `"`+child(id, "00")+`"` || got.Header.Get("Traceparent") != "" {
			t.Errorf("%s: the server was told %s", tool, got.Meta("traceparent"))
		}
	}
	id := newTraceID()
	callIn(c, "one__well", child(id, "00"))
	g.Stop()
	for _, s := range collector.All(nil) {
		if s.Trace == id {
			t.Errorf("traced: %+v", s)
		}
		if text := fmt.Sprint(s); strings.Contains(text, "CANARY") {
			t.Errorf("what a server says is told: %s", text)
		}
	}
}

// TestTraceKept: kept bounds what is traced because it failed.
func TestTraceKept(t *testing.T) {
	t.Parallel()
	collector := testenv.TakeSpans(t)
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": troubled(t)},
		More:    tracedTo(collector, map[string]any{"sample": 0, "kept": 0}),
	})
	for range 3 {
		g.Modern("/mcp").Tool("one__bad", "{}")
		g.Modern("/mcp").Tool("two__nothing", "{}") // its caller's mistake uses up nothing of it
	}
	if text := scrape(t, g); !strings.Contains(text, `toolcrib_traces_total{reason="over"} 3`) {
		t.Error(lines(text, "toolcrib_traces_total"))
	}
	g.Stop()
	if all := collector.All(nil); len(all) > 0 {
		t.Errorf("%+v", all)
	}
}

func scrape(t *testing.T, g *testenv.Gateway) string {
	t.Helper()
	_, text := g.Get("/metrics", nil)
	return text
}

// lines are those of a text that begin with something.
func lines(text, begin string) (found []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, begin) {
			found = append(found, line)
		}
	}
	return found
}

// TestTraceSample: sample and parent say what is traced.
func TestTraceSample(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		sample any
		parent string
		flags  string
		traced bool
	}{
		{1, "follow", "00", false},
		{0, "follow", "01", true},
		{1, "own", "00", true},
		{0, "own", "01", false},
		{1, "follow", "", true},
		{"0%", "follow", "", false},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			t.Parallel()
			collector := testenv.TakeSpans(t)
			g := testenv.Serve(t, testenv.Config{
				Servers: map[string]*testenv.Server{"one": troubled(t)},
				More:    tracedTo(collector, map[string]any{"sample": tt.sample, "parent": tt.parent, "slow": "1h"}),
			})
			if tt.flags == "" {
				g.Modern("/mcp").Tool("one__well", "{}")
			} else {
				callIn(g.Modern("/mcp"), "one__well", child(traceID, tt.flags))
			}
			g.Stop() // which sends what waits
			all := collector.All(nil)
			if (len(all) >= 2) != tt.traced || tt.traced && tt.flags != "" && all[0].Trace != traceID {
				t.Errorf("%+v", all)
			}
		})
	}
}

// TestTraceContexts: the context of the message counts more than that of the header, which is linked to; nonsense counts as none.
func TestTraceContexts(t *testing.T) {
	t.Parallel()
	collector, server := testenv.TakeSpans(t), troubled(t)
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": server},
		More:    tracedTo(collector, map[string]any{"sample": 1, "baggage": true}),
	})
	c := g.Modern("/mcp")
	around := newTraceID()
	call := func(meta string, header http.Header) *testenv.Record {
		c.Do(testenv.Request{Method: "tools/call", Members: `"name":"one__well"`, Meta: meta, Header: header})
		return lastCall(server)
	}
	got := call(`"traceparent":"`+traceparent+`","tracestate":"a=1"`, http.Header{"Traceparent": {child(around, "01")}, "Tracestate": {"b=2"}, "Baggage": {"user=CANARY"}})
	if got.Meta("baggage") != `"user=CANARY"` || got.Header.Get("Baggage") != "user=CANARY" {
		t.Errorf("baggage %q, %s", got.Header.Get("Baggage"), got.Meta("baggage"))
	}
	in := spanOf(t, collector.Await(t, traceID, 2), "server")
	if in.Parent != parentSpan || in.State != "a=1" || len(in.Links) != 1 || in.Links[0] != around+"-"+parentSpan {
		t.Errorf("%+v", in)
	}
	id := newTraceID()
	call("", http.Header{"Traceparent": {child(id, "01")}, "Tracestate": {"b=2", "c=3"}})
	if in := spanOf(t, collector.Await(t, id, 2), "server"); in.Parent != parentSpan || in.State != "b=2,c=3" || len(in.Links) != 0 {
		t.Errorf("%+v", in)
	}
	id = newTraceID()
	got = call(`"traceparent":"`+child(id, "01")+`","tracestate":"`+strings.Repeat("x", 600)+`=1"`, http.Header{"Baggage": {strings.Repeat("x", 9000)}})
	if got.Meta("tracestate") != "" || got.Header.Get("Tracestate") != "" || got.Header.Get("Baggage") != "" {
		t.Errorf("told %.40s, %.40s", got.Meta("tracestate"), got.Header.Get("Tracestate"))
	}
	for _, parent := range []string{"", "x", strings.Repeat("0", 5000), "00-" + strings.Repeat("0", 32) + "-" + parentSpan + "-01", strings.ToUpper(traceparent)} {
		got = call(`"traceparent":"`+parent+`"`, http.Header{"Traceparent": {parent}, "Tracestate": {"a=1"}})
		if told := strings.Trim(got.Meta("traceparent"), `"`); len(told) != 55 || told != got.Header.Get("Traceparent") || strings.Contains(told, traceID) || got.Meta("tracestate") != "" {
			t.Errorf("%.60q: the server was told %.60q and %q", parent, told, got.Header.Get("Traceparent"))
		}
	}
}

// TestTraceRetries: each attempt has a span of its own.
func TestTraceRetries(t *testing.T) {
	t.Parallel()
	collector := testenv.TakeSpans(t)
	var calls atomic.Int64
	server := testenv.HTTPServer(t, testenv.Script{Lenient: true, Resources: []string{`{"uri":"x:a","name":"a"}`}, On: map[string]func(*testenv.Call){
		"resources/read": func(c *testenv.Call) {
			if calls.Add(1) == 1 {
				c.HTTP.Status(503, "text/plain", "later")
				return
			}
			c.Default()
		},
	}})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": server}, More: tracedTo(collector, nil)})
	g.Modern("/servers/one/mcp").Do(testenv.Request{Method: "resources/read", Members: `"uri":"x:a"`, Meta: `"traceparent":"` + traceparent + `"`})
	all := collector.Await(t, traceID, 3)
	var attempts []testenv.Span
	for _, s := range all {
		if s.Kind == "client" {
			attempts = append(attempts, s)
		}
	}
	in := spanOf(t, all, "server")
	if len(attempts) != 2 || attempts[0].ID == attempts[1].ID || attempts[0].Parent != in.ID || attempts[1].Parent != in.ID ||
		attempts[0].Attributes["error.type"] != "unavailable" || attempts[1].Attributes["toolcrib.attempt"] != "2" || in.Attributes["mcp.resource.uri"] != "x:a" {
		t.Errorf("%+v", all)
	}
}

// TestTraceCollectorAway: a collector that takes nothing, refuses or is slow delays nobody, and shows in metrics and in the log, but
// not in many lines.
func TestTraceCollectorAway(t *testing.T) {
	t.Parallel()
	collector := testenv.TakeSpans(t)
	collector.Hold(true)
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": troubled(t)},
		More:    tracedTo(collector, map[string]any{"sample": 1, "queue": 10, "timeout": "3s", "headers": map[string]any{"X-Team": "core"}}),
	})
	c := g.Modern("/mcp")
	ctx := testenv.Within(t, testenv.Patience)
	for range 50 {
		if _, err := c.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"one__well"`}); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Eventually(t, "spans dropped and failed", func() bool {
		text := scrape(t, g)
		return value(text, `toolcrib_trace_spans_total{outcome="dropped"}`) >= 80 && value(text, `toolcrib_trace_spans_total{outcome="failed"}`) >= 10
	})
	collector.Refuse(http.StatusBadRequest)
	collector.Hold(false)
	for range 5 {
		c.Tool("one__well", "{}")
	}
	collector.Refuse(0)
	testenv.Eventually(t, "traces arrive again", func() bool {
		c.Tool("one__well", "{}")
		return strings.Contains(g.Log(), "traces are exported again")
	})
	if n := strings.Count(g.Log(), "traces were not exported"); n < 1 || n > 2 {
		t.Errorf("%d lines", n)
	}
	for _, h := range collector.Headers() {
		if h.Get("X-Team") != "core" {
			t.Errorf("%v", h)
		}
	}
}

func value(text, series string) (n float64) {
	for _, line := range lines(text, series+" ") {
		_, _ = fmt.Sscan(strings.TrimPrefix(line, series), &n)
	}
	return n
}

// TestTraceEnds: what waits is sent when the gateway stops, but a collector that takes nothing does not keep it from that.
func TestTraceEnds(t *testing.T) {
	t.Parallel()
	for _, held := range []bool{false, true} {
		t.Run(fmt.Sprint(held), func(t *testing.T) {
			t.Parallel()
			collector := testenv.TakeSpans(t)
			collector.Hold(held)
			g := testenv.Serve(t, testenv.Config{
				Servers: map[string]*testenv.Server{"one": troubled(t)},
				More:    tracedTo(collector, map[string]any{"sample": 1, "timeout": "1m"}),
			})
			g.Modern("/mcp").Tool("one__well", "{}")
			g.Stop() // which has a time limit
			if n := len(collector.All(nil)); !held && n < 2 {
				t.Errorf("%d spans", n)
			}
		})
	}
}

// TestTraceReload: a change of the configuration turns traces on, changes them and turns them off.
func TestTraceReload(t *testing.T) {
	t.Parallel()
	first, second := testenv.TakeSpans(t), testenv.TakeSpans(t)
	c := testenv.Config{Servers: map[string]*testenv.Server{"one": troubled(t)}}
	g := testenv.Serve(t, c)
	client := g.Modern("/mcp")
	arrives := func(at *testenv.Spans) func() bool {
		return func() bool {
			client.Tool("one__well", "{}")
			return len(at.All(nil)) > 0
		}
	}
	client.Tool("one__well", "{}")
	c.More = tracedTo(first, map[string]any{"sample": 1})
	g.Configure(c)
	testenv.Eventually(t, "traces at the first", arrives(first))
	c.More = tracedTo(second, map[string]any{"sample": 1})
	c.More["telemetry"].(map[string]any)["service"] = "tools"
	c.More["telemetry"].(map[string]any)["resource"] = map[string]any{"deployment.environment.name": "trial"}
	g.Configure(c)
	testenv.Eventually(t, "traces at the second", arrives(second))
	was, is := first.All(nil)[0].Service, second.All(nil)[0].Service
	if is["service.name"] != "tools" || is["deployment.environment.name"] != "trial" || is["service.instance.id"] != was["service.instance.id"] {
		t.Errorf("%v, before that %v", is, was)
	}
	c.More["telemetry"].(map[string]any)["resource"] = map[string]any{"service.instance.id": "mine"}
	g.Configure(c)
	testenv.Eventually(t, "its own name for the process", func() bool {
		client.Tool("one__well", "{}")
		return slices.ContainsFunc(second.All(nil), func(s testenv.Span) bool { return s.Service["service.instance.id"] == "mine" })
	})
	c.More["telemetry"].(map[string]any)["disabled"] = true
	g.Configure(c)
	testenv.Eventually(t, "the last change", func() bool { return strings.Count(g.Log(), "configuration applied") == 4 })
	id := newTraceID()
	callIn(client, "one__well", child(id, "01"))
	g.Stop() // which would send it
	if all := second.All(func(s testenv.Span) bool { return s.Trace == id }); len(all) > 0 {
		t.Errorf("%+v", all)
	}
}

// TestTraceFleet: a request that another replica serves is in the trace of that which took it in.
func TestTraceFleet(t *testing.T) {
	t.Parallel()
	needsProc(t)
	collector := testenv.TakeSpans(t)
	s := testenv.StdioServer(t, reporter(testenv.Modern))
	config := isolated(s, map[string]any{"isolation": "principal"})
	config.More["telemetry"] = tracedTo(collector, nil)["telemetry"]
	f := testenv.ServeFleet(t, testenv.FleetConfig{Config: config, Redis: testenv.StartRedis(t).URL(), Replicas: 2})
	f.Again = true
	c := fleetClient(t, f, testenv.Modern, aliceKey)
	var ids [2]string
	for i := range ids {
		ids[i] = newTraceID()
		if r := callIn(f.At(i, c), "one__who", child(ids[i], "01")); r.Result() == nil {
			t.Fatal(r)
		}
	}
	testenv.Eventually(t, "a trace through both replicas", func() bool {
		for _, id := range ids {
			if throughBoth(collector.All(func(s testenv.Span) bool { return s.Trace == id })) {
				return true
			}
		}
		return false
	})
}

// throughBoth tells whether spans are one under the other: taken in, handed over, taken in, sent to the server.
func throughBoth(all []testenv.Span) bool {
	parent := parentSpan
	for _, kind := range []string{"server", "client", "server", "client"} {
		found := ""
		for _, s := range all {
			if s.Parent == parent && s.Kind == kind {
				found = s.ID
			}
		}
		if parent = found; found == "" {
			return false
		}
	}
	return true
}

// TestTraceOfQuestions: what a client is asked within its call is in the trace, from the other side.
func TestTraceOfQuestions(t *testing.T) {
	t.Parallel()
	collector := testenv.TakeSpans(t)
	for _, era := range testenv.Eras {
		server := testenv.HTTPServer(t, testenv.Asker(era))
		g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": server}, More: tracedTo(collector, nil)})
		for _, client := range testenv.Eras {
			id := newTraceID()
			talk(t, g, client, id)
			testenv.Eventually(t, "the trace of a question", func() bool {
				all := collector.All(func(s testenv.Span) bool { return s.Trace == id })
				return asked(all, client == testenv.Legacy)
			})
		}
	}
}

func talk(t *testing.T, g *testenv.Gateway, era testenv.Era, id string) {
	t.Helper()
	c := testenv.NewClient(t, g.URL+"/mcp", era)
	c.Capabilities = `{"elicitation":{},"sampling":{"tools":{}},"roots":{}}`
	if era == testenv.Legacy {
		c.Initialize(testenv.LegacyVersion)
	}
	r, n, err := c.Talk(context.WithoutCancel(testenv.Within(t, testenv.Patience)), testenv.Talk{
		Request: testenv.Request{Method: "tools/call", Members: `"name":"one__trip"`, Meta: `"traceparent":"` + child(id, "01") + `"`}, Answer: testenv.Agree,
	})
	if err != nil || n == 0 || r.Texts() != testenv.AskerAnswers["trip"] {
		t.Fatal(r, n, err)
	}
}

// asked tells whether a trace has the question to a legacy client as a span, or the round of a modern one's call as an attribute.
func asked(all []testenv.Span, legacy bool) bool {
	for _, s := range all {
		if legacy && s.Kind == "client" && s.Name == "elicitation/create" || !legacy && s.Kind == "server" && s.Attributes["toolcrib.round"] != "" {
			return true
		}
	}
	return false
}
