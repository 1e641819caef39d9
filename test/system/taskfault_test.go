package system_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestTaskFaults: what a server does wrong with a task that is waited for ends the call with an error that names it.
func TestTaskFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ made, stands, word string }{
		"no id":          {`"taskId":1`, "", "id of 0 bytes"},
		"long id":        {`"taskId":"` + strings.Repeat("x", 5000) + `"`, "", "id of 5000 bytes"},
		"no result":      {`"taskId":"a"`, `"status":"completed"`, "without a result"},
		"odd result":     {`"taskId":"a"`, `"status":"completed","result":[]`, "without a result"},
		"task in a task": {`"taskId":"a"`, `"status":"completed","result":{"resultType":"task","taskId":"b"}`, "result of type"},
		"no error":       {`"taskId":"a"`, `"status":"failed","statusMessage":"why not"`, "why not"},
		"odd status":     {`"taskId":"a"`, `"status":"asleep"`, "asleep"},
		"no status":      {`"taskId":"a"`, `"statusMessage":"x"`, `is ""`},
		"cancelled":      {`"taskId":"a"`, `"status":"cancelled","statusMessage":"by hand"`, "by hand"},
		"forgotten":      {`"taskId":"a"`, "", "no such task"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("slow")}, On: map[string]func(*testenv.Call){
				"tools/call": func(call *testenv.Call) {
					call.Result(`{"resultType":"task","status":"working","ttlMs":null,"pollIntervalMs":1,` + c.made + `}`)
				},
				"tasks/get": func(call *testenv.Call) {
					if c.stands == "" {
						call.Error(-32602, "no such task")
						return
					}
					call.Complete(c.stands)
				},
			}})
			g := testenv.Serve(t, testenv.One(s))
			for _, era := range testenv.Eras {
				r := g.Client(era, "/mcp").Tool("one__slow", "{}")
				if code, text := r.Error(); code != -32603 || !strings.Contains(text, c.word) || !strings.Contains(text, `server "one"`) {
					t.Errorf("%s client: %v", era, r)
				}
			}
		})
	}
}

// TestTaskPollsFail: a server that is away for a moment is asked again; the call is not made twice.
func TestTaskPollsFail(t *testing.T) {
	t.Parallel()
	s := newTasker(t, kinds[0])
	g := testenv.Serve(t, testenv.One(s.Server))
	client := g.Modern("/mcp")
	replies := make(chan *testenv.Reply, 1)
	go func() { replies <- client.Tool("one__slow", "{}") }()
	s.Await("tasks/get", 1)
	s.Stop()
	s.set("completed", `,"result":{"content":[{"type":"text","text":"the end"}]}`)
	s.Start()
	if r := <-replies; r.Texts() != "the end" {
		t.Errorf("%v", r)
	}
	if n := len(s.Received("tools/call")); n != 2 { // the first one was refused
		t.Errorf("called %d times", n)
	}
}

// TestTaskOnBehalfCancelled: a legacy client that cancels its call has the task cancelled.
func TestTaskOnBehalfCancelled(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := newTasker(t, k)
		g := testenv.Serve(t, testenv.One(s.Server))
		client := g.Legacy("/mcp")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = client.Try(testenv.Within(t, testenv.Patience), testenv.Request{ID: `"c"`, Method: "tools/call", Members: `"name":"one__slow"`})
		}()
		s.Await("tasks/get", 1)
		client.Post([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c"}}`))
		s.Await("tasks/cancel", 1)
		<-ended
	})
}

// TestTaskLostWhileCancelled: a server that fails after it took a cancellation makes an error, which names it.
func TestTaskLostWhileCancelled(t *testing.T) {
	t.Parallel()
	s := &tasker{status: "working"}
	script := s.modern()
	get := script.On["tasks/get"]
	script.On["tasks/get"] = func(c *testenv.Call) {
		if status, _ := s.get(); status == "cancelled" {
			c.HTTP.Status(http.StatusInternalServerError, "", "")
			return
		}
		get(c)
	}
	s.Server = testenv.HTTPServer(t, script)
	g := testenv.Serve(t, testenv.One(s.Server))
	client := g.Legacy("/mcp")
	r := taskCall(client, "tasks/cancel", `"taskId":`+s.start(t, client))
	if _, text := r.Error(); !strings.Contains(text, `server "one"`) {
		t.Errorf("%v", r)
	}
}
