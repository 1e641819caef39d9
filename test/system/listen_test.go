package system_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

const (
	toolsChanged   = "notifications/tools/list_changed"
	promptsChanged = "notifications/prompts/list_changed"
	updated        = "notifications/resources/updated"
	acknowledged   = "notifications/subscriptions/acknowledged"
)

// teller starts a server of a kind that tells of changes.
func teller(t *testing.T, k kind, t0 *testenv.Teller) *testenv.Server {
	t.Helper()
	return k.server(t, t0.Telling(testenv.Script{
		Tools: []string{testenv.Tool("a")}, Resources: []string{`{"uri":"mem://a","name":"a"}`, `{"uri":"mem://b","name":"b"}`},
	}))
}

// TestListen: a modern client is told what it asked for and what is truly watched, by every kind of server.
func TestListen(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		tell := &testenv.Teller{Refuse: []string{"mem://b"}}
		s := teller(t, k, tell)
		g := testenv.Serve(t, testenv.One(s))
		c := g.Modern("/servers/one/mcp")
		ear := c.Listen(`"w1"`, `{"toolsListChanged":true,"resourceSubscriptions":["mem://a","mem://b","mem://a"]}`)
		ack := ear.Await(acknowledged, 1)
		if diff := cmp.Diff(testenv.Filter{Tools: true, URIs: []string{"mem://a"}}, ack.Params.Notifications); diff != "" || ack.Subscription() != `"w1"` {
			t.Errorf("acknowledged as %s (-want +got):\n%s", ack.Raw, diff)
		}
		if ear.Header.Get("X-Accel-Buffering") != "no" {
			t.Errorf("header %v", ear.Header)
		}
		tell.Changed("prompts")
		tell.Updated("mem://b", "")
		tell.Changed("tools")
		if n := ear.Await(toolsChanged, 1); n.Subscription() != `"w1"` {
			t.Errorf("%s", n.Raw)
		}
		tell.Updated("mem://a", `,"x":1.0`)
		if n := ear.Await(updated, 1); n.Subscription() != `"w1"` || !strings.Contains(string(n.Raw), `"uri":"mem://a","x":1.0`) {
			t.Errorf("%s", n.Raw)
		}
		if n := len(ear.Heard("")); n != 3 {
			t.Errorf("%d messages: %+v", n, ear.Heard(""))
		}
		second := c.Listen("7", `{"resourcesListChanged":true}`)
		second.Await(acknowledged, 1)
		tell.Changed("resources")
		if n := second.Await("notifications/resources/list_changed", 1); n.Subscription() != "7" {
			t.Errorf("%s", n.Raw)
		}
		if open, _ := tell.Watched(); open > 2 {
			t.Errorf("the server is watched %d times", open)
		}
		g.Stop()
		for _, e := range []*testenv.Ear{ear, second} {
			e.Ended()
			all := e.Heard("")
			if last := all[len(all)-1]; last.Result.ResultType != "complete" || last.Subscription() == "" || string(last.ID) != last.Subscription() {
				t.Errorf("the last message is %s", last.Raw)
			}
		}
	})
}

// TestListenInvalidates: when a client is told that a list changed, it gets the new one.
func TestListenInvalidates(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		tell := &testenv.Teller{}
		s := teller(t, k, tell)
		g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{"listTTL": "1h"})}})
		c := g.Modern("/mcp")
		ear := c.Listen("1", `{"toolsListChanged":true}`)
		ear.Await(acknowledged, 1)
		c.Call("tools/list", "")
		n := len(s.Received("tools/list"))
		c.Call("tools/list", "")
		if m := len(s.Received("tools/list")); m != n {
			t.Errorf("a fresh list is asked for again: %d, then %d", n, m)
		}
		tell.Changed("tools")
		ear.Await(toolsChanged, 1)
		c.Call("tools/list", "")
		if m := len(s.Received("tools/list")); m != n+1 {
			t.Errorf("the list was asked for %d times, then %d", n, m)
		}
	})
}

// TestListenFaults: what is wrong with a filter is said.
func TestListenFaults(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Capabilities: `{"tools":{}}`, Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s}, More: map[string]any{"streams": map[string]any{"subscriptions": 2}}})
	c := g.Modern("/mcp")
	for members, word := range map[string]string{
		``:                                       "notifications",
		`"notifications":[]`:                     "notifications",
		`"notifications":"all"`:                  "notifications",
		`"notifications":{"toolsListChanged":1}`: "toolsListChanged",
		`"notifications":{"resourceSubscriptions":"a:b"}`:           "resourceSubscriptions",
		`"notifications":{"resourceSubscriptions":["a:b",1]}`:       "resourceSubscriptions",
		`"notifications":{"resourceSubscriptions":["a","b","c"]}`:   "streams.subscriptions",
		`"notifications":{"resourceSubscriptions":["a","b\ud800"]}`: "resourceSubscriptions",
	} {
		r := c.Call("subscriptions/listen", members)
		if code, text := r.Error(); code != -32602 || r.Status != 400 || !strings.Contains(text, word) {
			t.Errorf("%s: %v", members, r)
		}
	}
	// Nothing of it is watched: that is acknowledged, and over.
	ear := g.Modern("/servers/one/mcp").Listen("1", `{"toolsListChanged":true,"resourceSubscriptions":["a:b"]}`)
	if ack := ear.Await(acknowledged, 1); !strings.Contains(string(ack.Raw), `"notifications":{}`) {
		t.Errorf("%s", ack.Raw)
	}
	ear.Ended()
}
