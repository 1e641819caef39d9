package system_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestTraceOfResources: of a URI no more is told than where the resource is, and ids are text on both sides.
func TestTraceOfResources(t *testing.T) {
	t.Parallel()
	collector := testenv.TakeSpans(t)
	server := testenv.HTTPServer(t, testenv.Script{Lenient: true, Resources: []string{`{"uri":"x:a","name":"a"}`}})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": server}, More: tracedTo(collector, nil)})
	c := g.Modern("/servers/one/mcp")
	for uri, want := range map[string]string{
		"https://me:CANARY@host:81/a@b?key=CANARY#CANARY": "https://host:81/a@b", "s3://CANARY@bucket": "s3://bucket", "x:a?CANARY": "x:a",
	} {
		id := newTraceID()
		c.Do(testenv.Request{ID: `"r-\u0031"`, Method: "resources/read", Members: `"uri":"` + uri + `"`, Meta: `"traceparent":"` + child(id, "01") + `"`})
		all := collector.Await(t, id, 2)
		in, out := spanOf(t, all, "server"), spanOf(t, all, "client")
		if in.Attributes["mcp.resource.uri"] != want || out.Attributes["mcp.resource.uri"] != want || strings.Contains(fmt.Sprint(all), "CANARY") {
			t.Errorf("%s: %+v", uri, all)
		}
		if in.Attributes["jsonrpc.request.id"] != "r-1" || out.Attributes["jsonrpc.request.id"] != lastOf(server, "resources/read").ID {
			t.Errorf("%q and %q", in.Attributes["jsonrpc.request.id"], out.Attributes["jsonrpc.request.id"])
		}
	}
}

func lastOf(s *testenv.Server, method string) *testenv.Record {
	all := s.Received(method)
	return all[len(all)-1]
}

// TestQuestionsTellOfOneTrace: what a legacy client is asked tells of the trace of its own call, and nothing is left of another one that
// the server wrote there.
func TestQuestionsTellOfOneTrace(t *testing.T) {
	t.Parallel()
	collector := testenv.TakeSpans(t)
	theirs := `"traceparent":"` + child(newTraceID(), "01") + `","tracestate":"z=9"`
	for name, meta := range map[string]string{"none": "", "its own": `"_meta":{"a":1,` + theirs + `,"b":2},`, "alone": `"_meta":{` + theirs + `},`} {
		server := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){
			"tools/call ask": func(c *testenv.Call) {
				c.Converse(func(_ *testenv.Call, known testenv.Answers) ([]testenv.Question, string) {
					if len(known) > 0 {
						return nil, "done"
					}
					q := testenv.Elicit("q", "where?")
					q.Params = json.RawMessage(strings.Replace(string(q.Params), "{", "{"+meta, 1))
					return []testenv.Question{q}, ""
				})
			},
		}})
		g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": server}, More: tracedTo(collector, nil)})
		for _, state := range []string{"", "a=1"} {
			c := testenv.NewClient(t, g.URL+"/mcp", testenv.Legacy)
			c.Capabilities = `{"elicitation":{}}`
			c.Initialize(testenv.LegacyVersion)
			id, own := newTraceID(), ""
			if state != "" {
				own = `,"tracestate":"` + state + `"`
			}
			var asked struct {
				Meta json.RawMessage `json:"_meta"`
			}
			_, n, err := c.Talk(context.WithoutCancel(testenv.Within(t, testenv.Patience)), testenv.Talk{
				Request: testenv.Request{Method: "tools/call", Members: `"name":"one__ask"`, Meta: `"traceparent":"` + child(id, "01") + `"` + own},
				Answer: func(q testenv.Question) string {
					if err := json.Unmarshal(q.Params, &asked); err != nil {
						t.Error(err)
					}
					return testenv.Agree(q)
				},
			})
			if err != nil || n != 1 {
				t.Fatal(n, err)
			}
			var told struct {
				Traceparent, Tracestate string
				A, B                    int
			}
			if err := json.Unmarshal(asked.Meta, &told); err != nil || !strings.HasPrefix(told.Traceparent, "00-"+id+"-") || told.Tracestate != state ||
				(told.A == 1 && told.B == 2) != (name == "its own") {
				t.Errorf("%s: %s", name, asked.Meta)
			}
		}
	}
}

// TestExportsEndTogether: a collector that takes nothing keeps a gateway that stops for one time limit, not for one after the other.
func TestExportsEndTogether(t *testing.T) {
	t.Parallel()
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer collector.Close()
	more := map[string]any{"telemetry": map[string]any{
		"traces": map[string]any{"endpoint": collector.URL, "sample": 1, "timeout": "1m"}, "metrics": map[string]any{"endpoint": collector.URL, "timeout": "1m"},
	}}
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": troubled(t)}, More: more})
	g.Modern("/mcp").Tool("one__well", "{}")
	watch := testenv.StartWatch(t)
	g.Stop()
	if took := watch.Took(); took > 9*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestTraceOfSharedLists: where a request asks a server for a list, that is in its trace; another that waits for the same list says so,
// and where that list was asked for.
func TestTraceOfSharedLists(t *testing.T) {
	t.Parallel()
	collector, asked, answer := testenv.TakeSpans(t), make(chan struct{}), make(chan struct{})
	server := testenv.HTTPServer(t, testenv.Script{Prompts: []string{`{"name":"p"}`}, On: map[string]func(*testenv.Call){
		"prompts/list": func(c *testenv.Call) {
			asked <- struct{}{}
			<-answer
			c.Complete(`"ttlMs":0,"cacheScope":"public","prompts":[{"name":"p"}]`)
		},
	}})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": server}, More: tracedTo(collector, nil)})
	list := func(clients *sync.WaitGroup) (id string) {
		id = newTraceID()
		clients.Go(func() {
			g.Modern("/mcp").Do(testenv.Request{Method: "prompts/list", Meta: `"traceparent":"` + child(id, "01") + `"`})
		})
		return id
	}
	testenv.Eventually(t, "a request that waits for the list of another", func() bool {
		var clients sync.WaitGroup
		first := list(&clients)
		<-asked
		second := list(&clients)
		testenv.Eventually(t, "both are there", func() bool { return value(scrape(t, g), "toolcrib_requests_under_way") == 2 })
		answer <- struct{}{}
		served := make(chan struct{})
		go func() { clients.Wait(); close(served) }()
		select {
		case <-asked: // the second came too late to share
			answer <- struct{}{}
		case <-served:
		}
		<-served
		return sharedList(t, server, collector.Await(t, first, 2), collector.Await(t, second, 2))
	})
}

// sharedList checks the traces of two requests for a list, and tells whether they shared it.
func sharedList(t *testing.T, server *testenv.Server, first, second []testenv.Span) bool {
	t.Helper()
	if slices.ContainsFunc(second, func(s testenv.Span) bool { return s.Kind == "client" }) {
		return false
	}
	in, out := spanOf(t, first, "server"), spanOf(t, first, "client")
	if out.Name != "prompts/list" || out.Parent != in.ID || out.Attributes["toolcrib.server"] != "one" || out.Attributes["server.address"] == "" {
		t.Errorf("%+v", out)
	}
	if told := lastOf(server, "prompts/list").Meta("traceparent"); told != `"00-`+out.Trace+`-`+out.ID+`-01"` {
		t.Errorf("the server was told %s", told)
	}
	wait := spanOf(t, second, "internal")
	if wait.Name != "await prompts/list" || wait.Attributes["toolcrib.server"] != "one" || !slices.Equal(wait.Links, []string{out.Trace + "-" + out.ID}) {
		t.Errorf("%+v", wait)
	}
	return true
}

// TestTraceOfListLeft: what a server was asked for somebody who went away is told all the same.
func TestTraceOfListLeft(t *testing.T) {
	t.Parallel()
	collector, asked, answer := testenv.TakeSpans(t), make(chan struct{}), make(chan struct{})
	server := testenv.HTTPServer(t, testenv.Script{Prompts: []string{`{"name":"p"}`}, On: map[string]func(*testenv.Call){
		"prompts/list": func(c *testenv.Call) { close(asked); <-answer; c.Default() },
	}})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": server}, More: tracedTo(collector, nil)})
	ctx, leave := context.WithCancel(testenv.Within(t, testenv.Patience))
	left := make(chan struct{})
	go func() {
		defer close(left)
		_, _ = g.Modern("/mcp").Try(ctx, testenv.Request{Method: "prompts/list", Meta: `"traceparent":"` + traceparent + `"`})
	}()
	<-asked
	leave()
	<-left
	in := spanOf(t, collector.Await(t, traceID, 2), "server")
	close(answer)
	all := collector.Await(t, traceID, 3)
	out, wait := spanOf(t, all, "client"), spanOf(t, all, "internal")
	if out.Parent != in.ID || out.Name != "prompts/list" || !out.End.After(in.End) || !slices.Equal(wait.Links, []string{traceID + "-" + out.ID}) {
		t.Errorf("%+v", all)
	}
}
