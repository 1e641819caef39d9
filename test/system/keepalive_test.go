package system_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestKeepAlive: a client that gave a token hears of progress while nothing is heard of its call, and progress only grows, whoever
// tells it; a client without one hears of none.
func TestKeepAlive(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := k.server(t, testenv.Script{Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){"tools/call": func(c *testenv.Call) {
			c.In(700 * time.Millisecond)
			if c.Token() != "" {
				c.Progress(1)
				c.In(700 * time.Millisecond)
				c.Progress(2)
			}
			c.Text("done")
		}}})
		config := testenv.One(s)
		config.More = map[string]any{"keepAlive": "200ms"}
		client := testenv.Serve(t, config).Client(era, "/mcp")
		call := testenv.Request{Method: "tools/call", Members: `"name":"one__tool0000"`, Meta: `"progressToken":"p\u0031"`}
		r := client.Do(call)
		var values []float64
		own := 0
		for _, message := range r.Messages {
			var n struct {
				Method string
				Params struct {
					ProgressToken string
					Progress      float64
					Message       string
				}
			}
			if json.Unmarshal(message, &n) != nil || n.Method != "notifications/progress" {
				continue
			}
			if n.Params.ProgressToken != "p1" {
				t.Errorf("%s", message)
			}
			if len(values) > 0 && n.Params.Progress <= values[len(values)-1] {
				t.Errorf("progress steps back: %v, then %s", values, message)
			}
			values = append(values, n.Params.Progress)
			if n.Params.Message != "" {
				own++
			}
		}
		if r.Texts() != "done" || own < 3 || len(values) != own+2 {
			t.Errorf("%d of our own in %v: %v", own, values, r)
		}
		call.Meta = ""
		if r := client.Do(call); r.Texts() != "done" || strings.Contains(r.String(), "notifications/progress") {
			t.Errorf("without a token: %v", r)
		}
	})
}

// TestKeepAliveWithoutToken: what is no token gets no progress.
func TestKeepAliveWithoutToken(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){"tools/call": func(c *testenv.Call) {
		c.In(700 * time.Millisecond)
		c.Text("done")
	}}})
	config := testenv.One(s)
	config.More = map[string]any{"keepAlive": "200ms"}
	client := testenv.Serve(t, config).Modern("/mcp")
	for _, token := range []string{"null", "{}", "true", `["a"]`} {
		r := client.Do(testenv.Request{Method: "tools/call", Members: `"name":"one__tool0000"`, Meta: `"progressToken":` + token})
		if r.Texts() != "done" || strings.Contains(r.String(), "notifications/progress") {
			t.Errorf("%s: %v", token, r)
		}
	}
}
