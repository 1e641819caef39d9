package system_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

const (
	formClient = `{"elicitation":{"form":{}}}`
	taskClient = `{"elicitation":{"form":{}},"extensions":{"` + tasksExtension + `":{}}}`
	agreed     = `{"action":"accept","content":{"n":1.0}}`
)

// askingTasker is a task server whose task wants to be told something before it ends.
func askingTasker(t *testing.T, k kind) *tasker {
	t.Helper()
	s := &tasker{status: "working"}
	if k.era == testenv.Modern {
		script := s.modern()
		script.On["tasks/update"] = func(c *testenv.Call) {
			s.set("completed", `,"result":{"content":[{"type":"text","text":`+string(mustJSON(c.Param("inputResponses")))+`}]}`)
			c.Result(`{"resultType":"complete"}`)
		}
		s.Server = k.server(t, script)
		s.set("input_required", `,"inputRequests":{"k\u0031":`+confirm+`}`)
		return s
	}
	script := s.legacy()
	answers := make(chan *testenv.Record, 4)
	script.On[""] = func(c *testenv.Call) { // an answer has no method
		answers <- c.Record
		if c.HTTP != nil {
			c.HTTP.Status(202, "", "")
		}
	}
	s.result = func(c *testenv.Call) {
		if status, _ := s.get(); status == "completed" {
			c.Text("twice")
			return
		}
		q := strings.TrimPrefix(confirm, "{")
		q = strings.Replace(q, `"params":{`, `"params":{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":`+realID+`}},`, 1)
		c.Before(`{"jsonrpc":"2.0","id":"q1",` + q)
		select {
		case a := <-answers:
			var m struct{ Result json.RawMessage }
			_ = json.Unmarshal(a.Body, &m) // what is no answer has none
			s.set("completed", "")
			c.Result(`{"content":[{"type":"text","text":` + string(mustJSON(`{"k1":`+string(m.Result)+`}`)) +
				`}],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":` + realID + `}}}`)
		case <-c.Done:
		}
	}
	s.Server = k.server(t, script)
	s.set("input_required", "")
	return s
}

func mustJSON(text string) []byte {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return b
}

// TestTaskAsks: what a task asks stands in tasks/get, under the same key each time, and tasks/update answers it.
func TestTaskAsks(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := askingTasker(t, k)
		g := testenv.Serve(t, testenv.One(s.Server))
		client := g.Modern("/mcp")
		client.Capabilities = taskClient
		id := client.Tool("one__slow", "{}").Member("taskId")
		var r *testenv.Reply
		testenv.Eventually(t, "the questions of the task", func() bool {
			r = client.Call("tasks/get", `"taskId":`+id)
			return r.Member("inputRequests") != ""
		})
		asked := r.Member("inputRequests")
		var questions map[string]json.RawMessage
		if err := json.Unmarshal([]byte(asked), &questions); err != nil || len(questions) != 1 || r.Member("status") != `"input_required"` {
			t.Fatalf("questions: %v", r)
		}
		if again := client.Call("tasks/get", `"taskId":`+id).Member("inputRequests"); again != asked {
			t.Errorf("the second time %s, first %s", again, asked)
		}
		for key, q := range questions {
			if !strings.Contains(string(q), `"message":"sure?"`) || strings.Contains(string(q), realID) {
				t.Errorf("question: %s", q)
			}
			update := fmt.Sprintf(`"taskId":%s,"inputResponses":{"nobody asked":{},%q:%s}`, id, key, agreed)
			if k.era == testenv.Modern {
				update = fmt.Sprintf(`"taskId":%s,"inputResponses":{%q:%s}`, id, key, agreed)
			}
			for range 2 { // the second one answers nothing any more
				if r := client.Call("tasks/update", update); string(r.Result()) != `{"resultType":"complete"}` {
					t.Errorf("update: %v", r)
				}
			}
		}
		testenv.Eventually(t, "the end of the task", func() bool {
			r = client.Call("tasks/get", `"taskId":`+id)
			return r.Member("status") == `"completed"`
		})
		end := testenv.Reply{Messages: []json.RawMessage{json.RawMessage(`{"result":` + r.Member("result") + `}`)}}
		if want := map[testenv.Era]string{testenv.Modern: `{"k1":` + agreed + `}`, testenv.Legacy: "twice"}[k.era]; end.Texts() != want {
			t.Errorf("%v, want %s", r, want)
		}
	})
}

// TestTaskAsksOnBehalf: what a task asks that is waited for in the client's place is asked as any call asks.
func TestTaskAsksOnBehalf(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := askingTasker(t, k)
		g := testenv.Serve(t, testenv.One(s.Server))
		client := g.Modern("/mcp")
		client.Capabilities = formClient
		r := client.Tool("one__slow", "{}")
		var questions map[string]json.RawMessage
		if err := json.Unmarshal([]byte(r.Member("inputRequests")), &questions); err != nil || len(questions) != 1 || r.Member("requestState") == "" {
			t.Fatalf("questions: %v", r)
		}
		if strings.Contains(r.String(), "related-task") {
			t.Errorf("a task that the client does not know: %v", r)
		}
		for key := range questions {
			r = client.Call("tools/call", fmt.Sprintf(`"name":"one__slow","arguments":{},"requestState":%s,"inputResponses":{%q:%s}`, r.Member("requestState"), key, agreed))
			if want := fmt.Sprintf(`{%q:%s}`, "k1", agreed); r.Texts() != want || strings.Contains(r.String(), "related-task") {
				t.Errorf("%v, want %s", r, want)
			}
		}
		if n := len(s.Received("tools/call")); n > 2 {
			t.Errorf("called %d times", n)
		}
	})
}

// TestTaskAsksNobody: a client that can be asked nothing is told so, and the task that would wait for ever is cancelled.
func TestTaskAsksNobody(t *testing.T) {
	t.Parallel()
	for _, k := range kinds[:3] {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := askingTasker(t, k)
			g := testenv.Serve(t, testenv.One(s.Server))
			r := g.Modern("/mcp").Tool("one__slow", "{}")
			if code, text := r.Error(); code != -32603 || !strings.Contains(text, "did not declare") {
				t.Errorf("%v", r)
			}
			s.Await("tasks/cancel", 1)
		})
	}
}

// TestTaskAsksInVain: a task whose question stays unanswered, and whose client gives up while it goes on, is cancelled.
func TestTaskAsksInVain(t *testing.T) {
	t.Parallel()
	for _, k := range kinds[3:] {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := askingTasker(t, k)
			g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s.Server}, More: map[string]any{"questions": map[string]any{"timeout": "1s"}}})
			client := g.Modern("/mcp")
			client.Capabilities = formClient
			if r := client.Tool("one__slow", "{}"); r.Member("requestState") == "" {
				t.Fatal(r)
			}
			s.Await("tasks/cancel", 1)
			if n := s.Await("notifications/cancelled", 1); n.Param("requestId") != s.Await("tasks/result", 1).ID {
				t.Errorf("cancelled %s", n.Param("requestId"))
			}
		})
	}
}

// TestTaskAsksLegacyInVain: a task that is waited for in the place of a legacy client, which does not answer what it asks, is
// cancelled.
func TestTaskAsksLegacyInVain(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := askingTasker(t, k)
		g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s.Server}, More: map[string]any{"questions": map[string]any{"timeout": "1s"}}})
		client := g.Client(testenv.Legacy, "/mcp")
		client.Capabilities = formClient
		client.Initialize(testenv.LegacyVersion)
		if _, text := client.Tool("one__slow", "{}").Error(); !strings.Contains(text, "questions.timeout") {
			t.Errorf("%q", text)
		}
		s.Await("tasks/cancel", 1)
	})
}

// TestTaskRefusesAnswers: a task whose server does not take the answers of a legacy client, which cannot give others, is cancelled.
func TestTaskRefusesAnswers(t *testing.T) {
	t.Parallel()
	s := &tasker{status: "working"}
	script := s.modern()
	script.On["tasks/update"] = func(c *testenv.Call) { c.Error(-32602, "not these") }
	s.Server = testenv.HTTPServer(t, script)
	s.set("input_required", `,"inputRequests":{"k1":`+confirm+`}`)
	g := testenv.Serve(t, testenv.One(s.Server))
	client := testenv.NewClient(t, g.URL+"/mcp", testenv.Legacy)
	client.Capabilities = formClient
	client.Initialize(testenv.LegacyVersion)
	r, _, err := client.Talk(testenv.Within(t, testenv.Patience), testenv.Talk{
		Request: testenv.Request{Method: "tools/call", Members: `"name":"one__slow","arguments":{}`}, Answer: testenv.Agree,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, text := r.Error(); !strings.Contains(text, "not these") {
		t.Errorf("%v", r)
	}
	s.Await("tasks/cancel", 1)
}

// TestTaskResultAsks: what a task asks reaches a legacy client on the stream of tasks/result, as the task's; the answer goes
// back to the task.
func TestTaskResultAsks(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := askingTasker(t, k)
		g := testenv.Serve(t, testenv.One(s.Server))
		client := legacyThatIsAsked(t, g)
		id := s.start(t, client)
		if r := client.Call("tasks/get", `"taskId":`+id); r.Member("status") != `"input_required"` || r.Member("inputRequests") != "" {
			t.Errorf("tasks/get: %v", r)
		}
		r, n, err := client.Talk(testenv.Within(t, testenv.Patience), testenv.Talk{
			Request: testenv.Request{Method: "tasks/result", Members: `"taskId":` + id},
			Answer: func(q testenv.Question) string {
				if strings.Contains(string(q.Params), realID) || (k.era == testenv.Legacy) != strings.Contains(string(q.Params), `"io.modelcontextprotocol/related-task":{"taskId":`+id+`}`) {
					t.Errorf("question: %s", q.Params)
				}
				return agreed
			},
		})
		if err != nil || n != 1 || !strings.HasSuffix(r.Texts(), `1":`+agreed+`}`) ||
			taskMember(r.Member("_meta"), "io.modelcontextprotocol/related-task") != `{"taskId":`+id+`}` {
			t.Errorf("%v, %d, %v", r, n, err)
		}
	})
}

// legacyThatIsAsked is a legacy client that can be asked to fill in forms.
func legacyThatIsAsked(t *testing.T, g *testenv.Gateway) *testenv.Client {
	t.Helper()
	c := testenv.NewClient(t, g.URL+"/mcp", testenv.Legacy)
	c.Capabilities = formClient
	c.Initialize(testenv.LegacyVersion)
	return c
}

// TestTaskAsksLegacyOnBehalf: a legacy client that asked for no task is asked within its call.
func TestTaskAsksLegacyOnBehalf(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := askingTasker(t, k)
		g := testenv.Serve(t, testenv.One(s.Server))
		r, n, err := legacyThatIsAsked(t, g).Talk(testenv.Within(t, testenv.Patience), testenv.Talk{
			Request: testenv.Request{Method: "tools/call", Members: `"name":"one__slow","arguments":{}`, Meta: `"progressToken":1`},
			Answer: func(q testenv.Question) string {
				if strings.Contains(string(q.Params), "related-task") {
					t.Errorf("question: %s", q.Params)
				}
				return agreed
			},
		})
		if err != nil || n != 1 || !strings.HasSuffix(r.Texts(), `1":`+agreed+`}`) || strings.Contains(r.String(), "related-task") {
			t.Errorf("%v, %d, %v", r, n, err)
		}
	})
}

// TestTaskQuestionsBounded: one caller's tasks that wait for answers leave room for another's.
func TestTaskQuestionsBounded(t *testing.T) {
	t.Parallel()
	s := askingTasker(t, kinds[3])
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": s.Server},
		More: map[string]any{
			"questions": map[string]any{"perPrincipal": 1},
			"auth": map[string]any{"apiKeys": []any{
				map[string]any{"name": "ann", "key": "key-of-ann-0123456789"}, map[string]any{"name": "bob", "key": "key-of-bob-0123456789"},
			}},
		},
	})
	for _, key := range []string{"key-of-ann-0123456789", "key-of-bob-0123456789"} {
		c := g.Modern("/mcp")
		c.Key, c.Capabilities = key, taskClient
		id := c.Tool("one__slow", "{}").Member("taskId")
		testenv.Eventually(t, "the questions of a task with "+key, func() bool {
			return c.Call("tasks/get", `"taskId":`+id).Member("inputRequests") != ""
		})
	}
}
