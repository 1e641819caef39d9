package system_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

const batchVersion = "2025-03-26"

// TestBatch: each message of a batch is served on its own, and the answers come together.
func TestBatch(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("echo"), testenv.Tool("steps")}, On: map[string]func(*testenv.Call){
			"tools/call steps": func(c *testenv.Call) { c.Progress(1); c.Progress(2); c.Text("steps") },
			"tools/call echo":  func(c *testenv.Call) { c.Complete(`"content":[],"got":` + c.Args()) },
		}})
		g := testenv.Serve(t, testenv.One(s))
		client := g.LegacyOf("/mcp", batchVersion, "")
		batch := `[ {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"one__echo","arguments":{"n":9007199254740993}}},
			{"jsonrpc":"2.0","id":"1","method":"ping"},
			{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}},
			{"jsonrpc":"2.0","id":3,"method":"no/such"},
			{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"one__echo","name":"x"}},
			{"jsonrpc":"1.0","id":5,"method":"ping"},
			{"jsonrpc":"2.0","id":6,"method":"tools/list"} ]`
		r := client.Post([]byte(batch))
		answers := map[string]string{}
		var all []json.RawMessage
		if err := json.Unmarshal(r.Last(), &all); err != nil || r.Status != 200 {
			t.Fatalf("%v: %v", err, r)
		}
		for _, a := range all {
			one := testenv.Reply{Messages: []json.RawMessage{a}}
			answers[one.ID()] = string(a)
		}
		for id, say := range map[string]string{`1`: `{"n":9007199254740993}`, `"1"`: `"result":{}`, `3`: "-32601", `4`: "-32600", `5`: "-32600", `6`: "one__steps"} {
			if !strings.Contains(answers[id], say) {
				t.Errorf("answer %s is %s, want %s", id, answers[id], say)
			}
		}
		if len(all) != 6 {
			t.Errorf("%d answers: %v", len(all), r)
		}
		if r := client.Post([]byte(`[{"jsonrpc":"2.0","method":"notifications/initialized"}]`)); r.Status != 202 || len(r.Messages) > 0 {
			t.Errorf("notifications only: %v", r)
		}
		steps := `[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"one__steps","_meta":{"progressToken":"p"}}},{"jsonrpc":"2.0","id":2,"method":"ping"}]`
		r = client.Post([]byte(steps))
		if len(r.Messages) != 3 || !strings.Contains(string(r.Messages[1]), `"progress":2`) || !strings.HasPrefix(string(r.Last()), "[") {
			t.Errorf("with progress: %v", r)
		}
	})
}

// TestBadBatch: batches are refused where they are not, and where they are empty.
func TestBadBatch(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{})
	ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	old := g.LegacyOf("/mcp", batchVersion, "")
	for _, body := range []string{`[]`, `[` + ping, `[` + ping + `,]`} {
		if r := old.Post([]byte(body)); r.Status != 400 {
			t.Errorf("%s: %v", body, r)
		}
	}
	if r := old.Post([]byte(`[[` + ping + `],7]`)); r.Status != 200 || strings.Count(string(r.Last()), "-32600") != 2 {
		t.Errorf("a batch in a batch: %v", r)
	}
	if r := g.Legacy("/mcp").Post([]byte("[" + ping + "]")); r.Status != 400 || !strings.Contains(r.String(), batchVersion) {
		t.Errorf("a batch of %s: %v", testenv.LegacyVersion, r)
	}
	big := "[" + strings.TrimSuffix(strings.Repeat(ping+",", 20_000), ",") + "]"
	if r := old.Post([]byte(big)); r.Status != 400 && r.Status != 200 {
		t.Errorf("a big batch: HTTP %d", r.Status)
	}
}
