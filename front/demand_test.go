package front_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// demanding is a modern server that answers the first call of a tool with this result, and the next with what it was sent.
func demanding(first string) testenv.Script {
	return testenv.Script{Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) {
			if c.Param("inputResponses") == "" && c.Param("requestState") == "" {
				c.Result(first)
				return
			}
			c.Text(c.Param("requestState") + c.Param("inputResponses"))
		},
	}}
}

// TestQuestionBytes arrive as they left but for what the client's version demands, and so do answers.
func TestQuestionBytes(t *testing.T) {
	t.Parallel()
	const form = `{"mode":"form","message":"\u0061 9007199254740993","x":[1.0, 2]}`
	const ask = `{"resultType":"input_required","requestState":"s\u0074","inputRequests":{"k\u0031":{"method":"elicitation\/create","params":%s}}}`
	for _, row := range []struct{ version, params, want string }{
		{"2025-11-25", form, form},
		{"2025-06-18", form, `{"message":"\u0061 9007199254740993","x":[1.0, 2]}`},
		{"2025-06-18", `{"message":"m"}`, `{"message":"m"}`},
		{"2025-11-25", `{"mode":"url","url":"https://x","elicitationId":"own"}`, `{"mode":"url","url":"https://x","elicitationId":"own"}`},
	} {
		f, _ := serve(t, 1, demanding(fmt.Sprintf(ask, row.params)))
		c := f.clientOf(0, row.version, testenv.AllCapabilities)
		s := open(t, c, "ask")
		m := next(t, s)
		id := idOf(t, m)
		if want := `{"jsonrpc":"2.0","id":` + id + `,"method":"elicitation\/create","params":` + row.want + `}`; m != want {
			t.Errorf("%s, want %s", m, want)
		}
		c.Post(result(id, `"action":"accept","content":{"n":1.0, "big":9007199254740993}`))
		want, err := json.Marshal(`"s\u0074"{"k1":{"action":"accept","content":{"n":1.0, "big":9007199254740993}}}`)
		if err != nil {
			t.Fatal(err)
		}
		if m := next(t, s); !strings.Contains(m, strings.ReplaceAll(string(want), `\u003c`, "<")) {
			t.Errorf("%s, want %s", m, want)
		}
	}
}

// TestElicitationID is made for a URL that has none: 2025-11-25 demands one.
func TestElicitationID(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 1, demanding(`{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"mode":"url","url":"https://x"}}}}`))
	c := f.client(0)
	s := open(t, c, "ask")
	var m struct {
		Params struct{ ElicitationID, URL string }
	}
	text := next(t, s)
	if err := json.Unmarshal([]byte(text), &m); err != nil || len(m.Params.ElicitationID) != 32 || m.Params.URL != "https://x" {
		t.Errorf("%v %s", err, text)
	}
}

// TestHalfAnswer: what cannot be an answer is refused with what is wrong with it, and the question stays open.
func TestHalfAnswer(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 1, demanding(`{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"m"}}}}`))
	c := f.client(0)
	s := open(t, c, "ask")
	id := idOf(t, next(t, s))
	for members, want := range map[string]string{``: "result.action is missing;", `"action":1`: "result.action is 1;"} {
		if _, text := c.Post(result(id, members)).Error(); !strings.Contains(text, want) {
			t.Errorf("{%s}: %q, want %q", members, text, want)
		}
	}
	c.Post(result(id, `"action":"decline"`))
	if m := next(t, s); !strings.Contains(m, "decline") {
		t.Errorf("answer: %s", m)
	}
}

// TestBusyServer wants to be asked again later: it is, and the client sees nothing of it.
func TestBusyServer(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 1, demanding(`{"resultType":"input_required","requestState":"later"}`))
	if r := f.client(0).Tool("one__ask", "{}"); len(r.Messages) != 1 || !strings.Contains(r.Texts(), `"later"`) {
		t.Errorf("%v", r)
	}
}

// TestWrongDemands fail the call with the reason, and the client is asked nothing.
func TestWrongDemands(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range 101 {
		fmt.Fprintf(&many, `,"k%d":{"method":"roots/list"}`, i)
	}
	for what, row := range map[string][2]string{
		"neither":    {`{"resultType":"input_required"}`, "neither"},
		"undeclared": {`{"resultType":"input_required","inputRequests":{"k":{"method":"sampling/createMessage","params":{}}}}`, "did not declare"},
		"mode":       {`{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"mode":"url"}}}}`, "did not declare"},
		"unknown":    {`{"resultType":"input_required","inputRequests":{"k":{"method":"tools/call","params":{}}}}`, "did not declare"},
		"malformed":  {`{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list","params":[]}}}`, "malformed"},
		"many":       {`{"resultType":"input_required","inputRequests":{` + many.String()[1:] + `}}`, "at once"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			f, _ := serve(t, 1, demanding(row[0]))
			r := f.clientOf(0, testenv.LegacyVersion, `{"elicitation":{},"roots":{}}`).Tool("one__ask", "{}")
			if code, text := r.Error(); r.Status != 200 || len(r.Messages) != 1 || code != -32603 || !strings.Contains(text, row[1]) {
				t.Errorf("%v, want %s", r, row[1])
			}
		})
	}
}

// TestAskedForEver: a server that keeps no state is held to questions.rounds too.
func TestAskedForEver(t *testing.T) {
	t.Parallel()
	script := demanding("")
	script.On["tools/call"] = func(c *testenv.Call) {
		c.Result(`{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}}}`)
	}
	f, server := serve(t, 1, script, "questions: {rounds: 3}")
	r, n, err := f.client(0).Talk(testenv.Within(t, testenv.Patience), testenv.Talk{
		Request: testenv.Request{Method: "tools/call", Members: `"name":"one__ask"`}, Answer: testenv.Agree,
	})
	if _, text := r.Error(); err != nil || n != 3 || !strings.Contains(text, "questions.rounds") || len(server.Received("tools/call")) != 4 {
		t.Errorf("%v, %d answers, %v", r, n, err)
	}
}

// TestDeclared: what a client declared reaches a modern server as it was, or, if it is very long, what matters of it.
func TestDeclared(t *testing.T) {
	t.Parallel()
	script := testenv.Script{Tools: []string{testenv.Tool("tell")}, On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) { c.Text(c.Meta("io.modelcontextprotocol/clientCapabilities")) },
	}}
	f, _ := serve(t, 2, script)
	long := `{"roots":{"listChanged":true},"elicitation":{"url":{}},"experimental":{"x":"` + strings.Repeat("x", 400) + `"}}`
	for declared, want := range map[string]string{
		`{}`: `{}`, `{"roots":{"listChanged":true}, "vendor":1.0}`: `{"roots":{"listChanged":true}, "vendor":1.0}`,
		long: `{"elicitation":{"url":{}},"roots":{}}`,
	} {
		c := f.clientOf(0, testenv.LegacyVersion, declared)
		for i := range 2 {
			if r := f.at(i, c).Tool("one__tell", "{}"); r.Texts() != want {
				t.Errorf("replica %d: %v, want %s", i, r, want)
			}
		}
	}
}
