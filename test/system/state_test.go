package system_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

const everything = testenv.AllCapabilities

// asker is a modern server that asks until it was answered rounds times; what it is sent back is in its last answer.
func asker(rounds int) testenv.Script {
	return testenv.Script{Tools: []string{testenv.Tool("ask"), testenv.Tool("other")}, On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) {
			n := strings.Count(c.Param("requestState"), "s")
			if n >= rounds {
				c.Text(c.Param("requestState") + c.Param("inputResponses"))
				return
			}
			c.Result(fmt.Sprintf(`{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"n":1.0}}},"requestState":"%s\u0074"}`,
				strings.Repeat("s", n+1)))
		},
	}}
}

// TestInputRequired passes between modern peers byte for byte, but for requestState, which is sealed on the way out and the
// server's own again on the way back.
func TestInputRequired(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		if k.era == testenv.Legacy || era == testenv.Legacy {
			t.Skip("a pair of modern peers")
		}
		g := testenv.Serve(t, testenv.One(k.server(t, asker(1))))
		client := g.Modern("/mcp")
		client.Capabilities = everything
		r := client.Tool("one__ask", `{"a":1}`)
		state := r.Member("requestState")
		want := `{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"n":1.0}}},"requestState":` + state + `}`
		if string(r.Result()) != want || len(state) < 80 || strings.Contains(state, `\u0074`) {
			t.Fatalf("%v", r)
		}
		const answer = `"inputResponses":{"k":{"action":"accept","content":{"n":1.0}}}`
		for range 2 { // a retry may be repeated: single use is not implied
			r = client.Call("tools/call", `"name":"one__ask","arguments":{ "a" : 1 },"requestState":`+state+`,`+answer)
			if want := `"s\u0074"{"k":{"action":"accept","content":{"n":1.0}}}`; r.Texts() != want {
				t.Errorf("%v, want %s", r, want)
			}
		}
	})
}

// TestForeignState: whatever is wrong with a requestState, the answer is the same and reaches no server.
func TestForeignState(t *testing.T) {
	t.Parallel()
	config := testenv.One(testenv.HTTPServer(t, asker(1)))
	config.Servers["two"] = testenv.HTTPServer(t, asker(1))
	config.More = map[string]any{"auth": twoKeys}
	g := testenv.Serve(t, config)
	client := func(path, key string) *testenv.Client {
		c := g.Modern(path)
		c.Key, c.Capabilities = key, everything
		return c
	}
	alice := client("/mcp", aliceKey)
	state := alice.Tool("one__ask", `{"a":1}`).Member("requestState")
	flipped := []byte(state)
	flipped[len(flipped)/2] ^= 1
	rows := []struct {
		name   string
		client *testenv.Client
		tool   string
		args   string
		state  string
	}{
		{"forged", alice, "one__ask", `{"a":1}`, `"v1.nonsense"`},
		{"changed", alice, "one__ask", `{"a":1}`, string(flipped)},
		{"the server's own", alice, "one__ask", `{"a":1}`, `"st"`},
		{"no string", alice, "one__ask", `{"a":1}`, `{"a":1}`},
		{"empty", alice, "one__ask", `{"a":1}`, `""`},
		{"of other arguments", alice, "one__ask", `{"a":2}`, state},
		{"of another tool", alice, "one__other", `{"a":1}`, state},
		{"of another server", alice, "two__ask", `{"a":1}`, state},
		{"of another principal", client("/mcp", bobKey), "one__ask", `{"a":1}`, state},
		{"of another endpoint", client("/servers/one/mcp", aliceKey), "ask", `{"a":1}`, state},
	}
	said := map[string]bool{}
	for _, row := range rows {
		r := row.client.Call("tools/call", `"name":"`+row.tool+`","arguments":`+row.args+`,"inputResponses":{},"requestState":`+row.state)
		code, text := r.Error()
		if code != -32602 || r.Status != 400 {
			t.Errorf("%s: %v", row.name, r)
		}
		said[text] = true
	}
	if len(said) != 1 {
		t.Errorf("the answers tell the reasons apart: %v", said)
	}
	testenv.Eventually(t, "count of rejected states", func() bool {
		_, body := g.Get("/metrics", map[string][]string{"Authorization": {"Bearer " + aliceKey}})
		return strings.Contains(body, fmt.Sprintf("mcp_rejected_tokens_total{kind=\"state\"} %d", len(rows)))
	})
}

// TestAskingForEver: a server may ask questions.rounds times, and only what the client declared.
func TestAskingForEver(t *testing.T) {
	t.Parallel()
	config := testenv.One(testenv.HTTPServer(t, asker(100)))
	config.More = map[string]any{"questions": map[string]any{"rounds": 3}}
	g := testenv.Serve(t, config)
	client := g.Modern("/mcp")
	r := client.Tool("one__ask", "{}")
	if code, text := r.Error(); code != -32603 || !strings.Contains(text, "did not declare") {
		t.Errorf("undeclared: %v", r)
	}
	client.Capabilities = everything
	r = client.Tool("one__ask", "{}")
	for range 2 {
		r = client.Call("tools/call", `"name":"one__ask","arguments":{},"inputResponses":{"k":{"action":"accept"}},"requestState":`+r.Member("requestState"))
	}
	r = client.Call("tools/call", `"name":"one__ask","arguments":{},"inputResponses":{"k":{"action":"accept"}},"requestState":`+r.Member("requestState"))
	if code, text := r.Error(); code != -32603 || !strings.Contains(text, "questions.rounds") {
		t.Errorf("fourth round: %v", r)
	}
}

// TestVisitFirst: a legacy server that wants a URL opened (-32042) asks it of a modern client, which then calls again.
func TestVisitFirst(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		if k.era == testenv.Modern {
			continue
		}
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			calls := 0
			s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("open")}, On: map[string]func(*testenv.Call){
				"tools/call": func(c *testenv.Call) {
					mu.Lock()
					calls++
					first := calls == 1
					mu.Unlock()
					if c.Param("inputResponses") != "" || c.Param("requestState") != "" {
						t.Errorf("a legacy server gets %s", c.Body)
					}
					if first {
						c.Error(-32042, "open it", `,"data":{"elicitations":[{"mode":"url","elicitationId":"e1","url":"https://example.com/x","message":"Log in"}]}`)
						return
					}
					c.Text("opened")
				},
			}})
			g := testenv.Serve(t, testenv.One(s))
			client := g.Modern("/mcp")
			client.Capabilities = everything
			r := client.Tool("one__open", "{}")
			if q := r.Member("inputRequests"); !strings.Contains(q, `"url":"https://example.com/x"`) {
				t.Fatalf("%v", r)
			}
			const call = `"name":"one__open","arguments":{},"inputResponses":{"url1":{"action":"%s"}},"requestState":%s`
			if code, text := client.Call("tools/call", fmt.Sprintf(call, "decline", r.Member("requestState"))).Error(); code != -32603 || !strings.Contains(text, "did not agree") {
				t.Errorf("declined: %d %s", code, text)
			}
			if r = client.Call("tools/call", fmt.Sprintf(call, "accept", r.Member("requestState"))); r.Texts() != "opened" {
				t.Errorf("accepted: %v", r)
			}
		})
	}
}

// TestParkedAtRemoved: a call that is parked at a server ends with it, and counts no more.
func TestParkedAtRemoved(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) { c.Ask(testenv.Question{Key: "k", Method: "roots/list", Params: []byte(`{}`)}) },
	}})
	g := testenv.Serve(t, testenv.One(s))
	client := g.Modern("/mcp")
	client.Capabilities = everything
	if r := client.Tool("one__ask", "{}"); r.Member("requestState") == "" {
		t.Fatalf("%v", r)
	}
	parked := func(n string) bool {
		_, body := g.Get("/metrics", nil)
		return strings.Contains(body, "\nmcp_parked_calls "+n+"\n")
	}
	if !parked("1") {
		t.Error("a parked call is not counted")
	}
	g.Configure(testenv.One(testenv.HTTPServer(t, testenv.Script{})))
	testenv.Eventually(t, "no call is parked", func() bool { return parked("0") })
}

// TestVisitNothing: only URLs are asked for by -32042, and only where a client can be asked.
func TestVisitNothing(t *testing.T) {
	t.Parallel()
	odd := func(c *testenv.Call, data string) { c.Error(-32042, "open it", `,"data":`+data) }
	s := testenv.HTTPServer(t, testenv.Script{
		Era: testenv.Legacy, Tools: []string{testenv.Tool("open")}, Capabilities: `{"tools":{},"completions":{}}`,
		On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) { odd(c, c.Param("arguments")) },
			"completion/complete": func(c *testenv.Call) {
				odd(c, `{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://x/"}]}`)
			},
		},
	})
	g := testenv.Serve(t, testenv.One(s))
	client := g.Modern("/mcp")
	client.Capabilities = `{"elicitation":{"url":{}}}`
	for _, data := range []string{`{}`, `{"elicitations":[]}`, `{"elicitations":[7]}`, `{"elicitations":[{"mode":"form","message":"m"}]}`, `{"elicitations":[{"message":"m"}]}`} {
		if code, text := client.Tool("one__open", data).Error(); code != -32603 || !strings.Contains(text, "-32042") {
			t.Errorf("%s: %d %s", data, code, text)
		}
	}
	r := client.Call("completion/complete", `"ref":{"type":"ref/prompt","name":"one__p"},"argument":{"name":"a","value":"b"}`)
	if code, text := r.Error(); code != -32603 || !strings.Contains(text, "may not be asked for") {
		t.Errorf("%v", r)
	}
}

// TestCallAgain: a server that asks nothing only wants the call made again, with its state; a legacy client's front does that.
func TestCallAgain(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("busy")}, On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) {
			if c.Param("requestState") == "" {
				c.Result(`{"resultType":"input_required","requestState":"later"}`)
				return
			}
			c.Text(c.Param("requestState") + c.Param("inputResponses"))
		},
	}})
	g := testenv.Serve(t, testenv.One(s))
	if r := g.Legacy("/mcp").Tool("one__busy", "{}"); r.Texts() != `"later"` {
		t.Errorf("%v", r)
	}
}
