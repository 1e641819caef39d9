package system_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestHear: the client of a legacy session is told of changes on its stream, by every kind of server, at both endpoints.
func TestHear(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		tell := &testenv.Teller{Refuse: []string{"mem://b"}}
		s := teller(t, k, tell)
		other := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
		g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s, "two": other}})
		for _, path := range []string{"/servers/one/mcp", "/mcp"} {
			c := g.Legacy(path)
			ear := c.Hear()
			if ear.Status != http.StatusOK || ear.Header.Get("X-Accel-Buffering") != "no" {
				t.Fatalf("HTTP %d %v", ear.Status, ear.Header)
			}
			if r := c.Call("resources/subscribe", `"uri":"mem://a"`); string(r.Result()) != "{}" {
				t.Fatalf("%v", r)
			}
			if code, _ := c.Call("resources/subscribe", `"uri":"mem://b"`).Error(); code != -32602 {
				t.Errorf("a subscription that the server refuses: %d", code)
			}
			tell.Changed("tools")
			if n := ear.Await(toolsChanged, 1); n.Subscription() != "" {
				t.Errorf("%s", n.Raw)
			}
			testenv.Eventually(t, "an update", func() bool {
				tell.Updated("mem://a", `,"x":1.0`) // the stream may not have been told of the subscription yet
				return len(ear.Heard(updated)) > 0
			})
			if n := ear.Heard(updated)[0]; n.Subscription() != "" || !strings.Contains(string(n.Raw), `"uri":"mem://a","x":1.0`) {
				t.Errorf("%s", n.Raw)
			}
			if r := c.Call("resources/unsubscribe", `"uri":"mem://a"`); string(r.Result()) != "{}" {
				t.Errorf("%v", r)
			}
			newer := c.Hear()
			ear.Ended()
			before := len(newer.Heard(updated))
			tell.Updated("mem://a", "")
			tell.Changed("tools")
			newer.Await(toolsChanged, 1)
			if n := len(newer.Heard(updated)); n != before {
				t.Errorf("%d updates of what was unsubscribed from", n)
			}
			if code := c.Delete(); code != http.StatusNoContent {
				t.Errorf("DELETE: HTTP %d", code)
			}
			newer.Ended()
		}
		last := g.Legacy("/mcp").Hear()
		g.Stop()
		last.Ended()
		if n := last.Heard(""); len(n) != 0 {
			t.Errorf("%s", n[0].Raw)
		}
	})
}

// TestHearAccess: only a session has a stream.
func TestHearAccess(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1), Capabilities: `{"tools":{}}`})
	g := testenv.Serve(t, testenv.One(s))
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, g.URL+"/mcp", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed || !strings.Contains(resp.Header.Get("Allow"), "POST") {
		t.Errorf("without a session: HTTP %d, Allow %q", resp.StatusCode, resp.Header.Get("Allow"))
	}
	c := g.Legacy("/servers/one/mcp")
	if code, _ := c.Call("resources/subscribe", `"uri":"a:b"`).Error(); code != -32601 {
		t.Errorf("a server without subscriptions: %d", code)
	}
	c.Session += "x"
	if ear := c.Hear(); ear.Status != http.StatusNotFound {
		t.Errorf("with an unknown session: HTTP %d", ear.Status)
	}
	for _, members := range []string{``, `"uri":7`} {
		if code, _ := g.Legacy("/mcp").Call("resources/subscribe", members).Error(); code != -32602 {
			t.Errorf("subscribe %s: %d", members, code)
		}
	}
}
