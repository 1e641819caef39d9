package system_test

import (
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestParkingBounds: each bound on parked calls names its key when it is reached, and harms nobody else.
func TestParkingBounds(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name, key string
		bounds    map[string]any
		refused   string // the tool that alice cannot call once more
		free      func(alice, bob *testenv.Client) (*testenv.Client, string)
	}{
		{
			"principal", "questions.perPrincipal",
			map[string]any{"perPrincipal": 2},
			"two__ask",
			func(_, bob *testenv.Client) (*testenv.Client, string) { return bob, "one__ask" },
		},
		{
			"server", "questions.perServer",
			map[string]any{"perServer": 2},
			"one__ask",
			func(alice, _ *testenv.Client) (*testenv.Client, string) { return alice, "two__ask" },
		},
		{"replica", "questions.total", map[string]any{"total": 2}, "two__ask", nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			one, two := testenv.HTTPServer(t, once(testenv.Legacy)), testenv.HTTPServer(t, once(testenv.Legacy))
			g := testenv.Serve(t, testenv.Config{
				Servers: map[string]*testenv.Server{"one": one, "two": two},
				More:    map[string]any{"auth": twoKeys, "questions": row.bounds},
			})
			client := func(key string) *testenv.Client {
				c := g.Modern("/mcp")
				c.Key, c.Capabilities = key, testenv.AllCapabilities
				return c
			}
			alice, bob := client(aliceKey), client(bobKey)
			first := park(t, alice, "one__ask")
			park(t, alice, "one__ask")
			r := alice.Tool(row.refused, "{}")
			if code, text := r.Error(); code != -32603 || r.Status != 503 || !strings.Contains(text, row.key) {
				t.Errorf("over the bound: %v", r)
			}
			testenv.Eventually(t, "the refused call is cancelled at its server", func() bool { return one.Open()+two.Open() == 2 })
			if row.free != nil {
				c, tool := row.free(alice, bob)
				park(t, c, tool)
			}
			if r := bob.Tool("two__echo", "{}"); r.Texts() != "done" {
				t.Errorf("an ordinary call: %v", r)
			}
			if r, err := first.answer(testenv.Within(t, testenv.Patience), alice); err != nil || r.Texts() != "{}yes" {
				t.Errorf("a parked call: %v %v", r, err)
			}
			park(t, alice, "one__ask") // there is room again
		})
	}
}

// TestParkingTime: a call whose client never comes back is cancelled at its server after questions.timeout, and answers that
// come later are told so.
func TestParkingTime(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		if k.era == testenv.Modern {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := k.server(t, once(testenv.Legacy))
			config := testenv.One(s)
			config.More = map[string]any{"questions": map[string]any{"timeout": "1s"}}
			g := testenv.Serve(t, config)
			client := g.Modern("/mcp")
			client.Capabilities = testenv.AllCapabilities
			p := park(t, client, "one__ask")
			testenv.Eventually(t, "cancellation at the server", func() bool {
				return len(s.Received("notifications/cancelled")) == 1 && s.Open() == 0
			})
			r, err := p.answer(testenv.Within(t, testenv.Patience), client)
			if err != nil {
				t.Fatal(err)
			}
			if code, text := r.Error(); code != -32603 || !strings.Contains(text, "interaction") || !strings.Contains(text, "over") {
				t.Errorf("%v", r)
			}
			if n := len(s.Received("tools/call")); n != 1 {
				t.Errorf("the server was called %d times", n)
			}
		})
	}
}
