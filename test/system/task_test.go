package system_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

const (
	tasksExtension = "io.modelcontextprotocol/tasks"
	declaresTasks  = `"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}},"extensions":{"` + tasksExtension + `":{}}}`
	someTime       = `"createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:01Z"`
	confirm        = `{"method":"elicitation/create","params":{"mode":"form","message":"sure?","requestedSchema":{"type":"object","properties":{}}}}`
)

// tasker is a server whose tool "slow" is carried out as a task; "plain" never is. What the task is at is set by the test.
type tasker struct {
	*testenv.Server
	mu     sync.Mutex
	status string
	extra  string // members of a modern task, or what tasks/result of a legacy one answers
	plain  bool   // the tool answers at once after all
	result func(*testenv.Call)
	homely bool   // it knows the task only in the session or child that made it
	home   string // which that is
}

// place is the session or child that a message came to.
func place(c *testenv.Call) string {
	if c.Child != nil {
		return strconv.Itoa(c.Child.PID)
	}
	return c.Header.Get("Mcp-Session-Id")
}

// made notes where the task was made; known refuses what is not about it, or comes elsewhere.
func (s *tasker) made(c *testenv.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.home = place(c)
}

func (s *tasker) known(c *testenv.Call) bool {
	s.mu.Lock()
	lost := s.homely && s.home != place(c)
	s.mu.Unlock()
	if lost || c.Param("taskId") != `"task é/1"` {
		c.Error(-32602, "no such task "+c.Param("taskId"))
		return false
	}
	return true
}

func (s *tasker) set(status, extra string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.extra = status, extra
}

func (s *tasker) get() (status, extra string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status, s.extra
}

const realID = `"task\u0020é/1"` // with what no header carries as it is

// newTasker starts a task server of the kind.
func newTasker(t *testing.T, k kind) *tasker {
	t.Helper()
	s := &tasker{status: "working"}
	if k.era == testenv.Modern {
		s.Server = k.server(t, s.modern())
	} else {
		s.Server = k.server(t, s.legacy())
	}
	return s
}

func (s *tasker) modern() testenv.Script {
	state := func() string {
		status, extra := s.get()
		return `"taskId":` + realID + `,"status":"` + status + `","statusMessage":"at it",` + someTime + `,"ttlMs":60000.0,"pollIntervalMs":100` + extra
	}
	known := func(c *testenv.Call) bool {
		if !s.known(c) {
			return false
		}
		if !strings.Contains(c.Meta("io.modelcontextprotocol/clientCapabilities"), tasksExtension) {
			c.Error(-32021, "tasks are not declared")
			return false
		}
		return true
	}
	return testenv.Script{
		Tools:        []string{testenv.Tool("slow"), testenv.Tool("plain")},
		Capabilities: `{"tools":{},"extensions":{"` + tasksExtension + `":{}}}`,
		On: map[string]func(*testenv.Call){
			"tools/call slow": func(c *testenv.Call) {
				if !strings.Contains(c.Meta("io.modelcontextprotocol/clientCapabilities"), tasksExtension) {
					c.Error(-32021, "only as a task", `,"data":{"requiredCapabilities":{"extensions":{"`+tasksExtension+`":{}}}}`)
					return
				}
				if s.plain {
					c.Text("at once")
					return
				}
				s.made(c)
				c.Result(`{"resultType":"task","vendor":1.0,` + state() + `}`)
			},
			"tasks/get": func(c *testenv.Call) {
				if known(c) {
					c.Complete(`"vendor":2.0,` + state())
				}
			},
			"tasks/update": func(c *testenv.Call) {
				if known(c) {
					s.set("completed", `,"result":{"content":[{"type":"text","text":"answered"}],"vendor":3.0}`)
					c.Result(`{"resultType":"complete"}`)
				}
			},
			"tasks/cancel": func(c *testenv.Call) {
				if known(c) {
					s.set("cancelled", "")
					c.Result(`{"resultType":"complete"}`)
				}
			},
		},
	}
}

func (s *tasker) legacy() testenv.Script {
	state := func() string {
		status, _ := s.get()
		return `{"taskId":` + realID + `,"status":"` + status + `","statusMessage":"at it",` + someTime + `,"ttl":60000.0,"pollInterval":100,"vendor":1.0}`
	}
	known := s.known
	return testenv.Script{
		Tools: []string{
			`{"name":"slow","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}}`,
			`{"name":"plain","inputSchema":{"type":"object"}}`,
		},
		Capabilities: `{"tools":{},"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}}`,
		On: map[string]func(*testenv.Call){
			"tools/call slow": func(c *testenv.Call) {
				if c.Param("task") == "" {
					c.Error(-32601, "only as a task")
					return
				}
				s.made(c)
				c.Result(`{"task":` + state() + `,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":` + realID + `},"vendor":2.0}}`)
			},
			"tools/call plain": func(c *testenv.Call) { c.Text("plain" + c.Param("task")) },
			"tasks/get": func(c *testenv.Call) {
				if known(c) {
					c.Result(state())
				}
			},
			"tasks/result": func(c *testenv.Call) {
				if !known(c) {
					return
				}
				if s.result != nil {
					s.result(c)
					return
				}
				_, extra := s.get()
				if strings.HasPrefix(extra, `{"code"`) {
					c.Send(`{"jsonrpc":"2.0","id":` + c.ID + `,"error":` + extra + `}`)
					return
				}
				c.Result(`{"content":[{"type":"text","text":"the end"}],"n":1.0` + extra +
					`,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":` + realID + `}}}`)
			},
			"tasks/cancel": func(c *testenv.Call) {
				if !known(c) {
					return
				}
				if status, _ := s.get(); status != "working" {
					c.Error(-32602, "the task is over")
					return
				}
				s.set("cancelled", "")
				c.Result(state())
			},
		},
	}
}

// task sends a request about a task, with the extension declared where the era has it.
func taskCall(c *testenv.Client, method, members string) *testenv.Reply {
	q := testenv.Request{Method: method, Members: members}
	if c.Era == testenv.Modern {
		q.Body = []byte(`{"jsonrpc":"2.0","id":"t","method":"` + method + `","params":{` + members +
			`,"_meta":{"io.modelcontextprotocol/protocolVersion":"` + testenv.ModernVersion + `",` + declaresTasks + `}}}`)
	}
	return c.Do(q)
}

// start calls the slow tool for a task and gives its id, raw.
func (s *tasker) start(t *testing.T, c *testenv.Client) (id string) {
	t.Helper()
	if c.Era == testenv.Modern {
		r := taskCall(c, "tools/call", `"name":"one__slow","arguments":{}`)
		id = r.Member("taskId")
		if r.Member("resultType") != `"task"` || r.Member("ttlMs") != "60000.0" || r.Member("pollIntervalMs") != "100" {
			t.Fatalf("no task: %v", r)
		}
	} else {
		r := c.Call("tools/call", `"name":"one__slow","arguments":{},"task":{"ttl":5000}`)
		id = taskMember(r.Member("task"), "taskId")
		if taskMember(r.Member("task"), "ttl") != "60000.0" || taskMember(r.Member("task"), "pollInterval") != "100" || r.Member("taskId") != "" {
			t.Fatalf("no task: %v", r)
		}
	}
	if len(id) < 60 || strings.Contains(id, "task") {
		t.Fatalf("the id is not sealed: %s", id)
	}
	return id
}

func taskMember(object, name string) string {
	r := testenv.Reply{Messages: []json.RawMessage{json.RawMessage(`{"result":` + object + `}`)}}
	return r.Member(name)
}

// TestTaskLife: a client that can take a task starts it, sees how it stands and gets its end, whatever the server speaks.
func TestTaskLife(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := newTasker(t, k)
		g := testenv.Serve(t, testenv.One(s.Server))
		client := g.Client(era, "/mcp")
		id := s.start(t, client)
		r := taskCall(client, "tasks/get", `"taskId":`+id)
		ttl := map[testenv.Era]string{testenv.Modern: "ttlMs", testenv.Legacy: "ttl"}[era]
		if r.Member("taskId") != id || r.Member("status") != `"working"` || r.Member(ttl) != "60000.0" || !strings.HasPrefix(r.Member("vendor"), []string{"2.0", "1.0"}[k.era]) {
			t.Errorf("at work: %v", r)
		}
		if era == testenv.Modern && r.Member("resultType") != `"complete"` {
			t.Errorf("resultType: %v", r)
		}
		s.set("completed", map[testenv.Era]string{testenv.Modern: `,"result":{"content":[{"type":"text","text":"the end"}],"n":1.0}`}[k.era])
		result := s.finish(t, client, id)
		if result.Texts() != "the end" || result.Member("n") != "1.0" {
			t.Errorf("the end: %v", result)
		}
	})
}

// finish fetches the result or error of a task that is over, as a reply.
func (s *tasker) finish(t *testing.T, c *testenv.Client, id string) *testenv.Reply {
	t.Helper()
	if c.Era == testenv.Legacy {
		r := c.Call("tasks/result", `"taskId":`+id)
		if r.Result() != nil && taskMember(r.Member("_meta"), "io.modelcontextprotocol/related-task") != `{"taskId":`+id+`}` {
			t.Errorf("the result does not name its task: %v", r)
		}
		return r
	}
	r := taskCall(c, "tasks/get", `"taskId":`+id)
	body := `{"error":` + r.Member("error") + `}`
	switch r.Member("status") {
	case `"completed"`:
		body = `{"result":` + r.Member("result") + `}`
	case `"failed"`:
	default:
		t.Fatalf("not over: %v", r)
	}
	if strings.Contains(r.String(), "related-task") {
		t.Errorf("the server's own id: %v", r)
	}
	return &testenv.Reply{Messages: []json.RawMessage{json.RawMessage(body)}}
}

// TestTaskFailure: an error of the call is a failure, an error of the tool is one only to core tasks.
func TestTaskFailure(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := newTasker(t, k)
		g := testenv.Serve(t, testenv.One(s.Server))
		client := g.Client(era, "/mcp")
		id := s.start(t, client)
		const failure = `{"code":4711,"message":"bad luck","data":{"n":1.0}}`
		s.set("failed", map[testenv.Era]string{testenv.Modern: `,"error":` + failure, testenv.Legacy: failure}[k.era])
		r := s.finish(t, client, id)
		if code, text := r.Error(); code != 4711 || text != "bad luck" || r.Data() != `{"n":1.0}` {
			t.Errorf("error: %v", r)
		}
		if k.era == testenv.Modern {
			s.set("completed", `,"result":{"content":[{"type":"text","text":"the end"}],"isError":true}`)
		} else {
			s.set("failed", `,"isError":true`)
		}
		status := taskCall(client, "tasks/get", `"taskId":`+id).Member("status")
		if want := map[testenv.Era]string{testenv.Modern: `"completed"`, testenv.Legacy: `"failed"`}[era]; status != want {
			t.Errorf("a tool's own error is %s, want %s", status, want)
		}
		if r := s.finish(t, client, id); r.Texts() != "the end" || r.Member("isError") != "true" {
			t.Errorf("tool's error: %v", r)
		}
	})
}

// TestTaskCancel reaches the server; a task that is over is refused to core tasks only.
func TestTaskCancel(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := newTasker(t, k)
		g := testenv.Serve(t, testenv.One(s.Server))
		client := g.Client(era, "/mcp")
		id := s.start(t, client)
		r := taskCall(client, "tasks/cancel", `"taskId":`+id)
		switch {
		case era == testenv.Modern && string(r.Result()) != `{"resultType":"complete"}`:
			t.Errorf("cancel: %v", r)
		case era == testenv.Legacy && (r.Member("status") != `"cancelled"` || r.Member("taskId") != id):
			t.Errorf("cancel: %v", r)
		}
		if r := taskCall(client, "tasks/get", `"taskId":`+id); r.Member("status") != `"cancelled"` {
			t.Errorf("after cancel: %v", r)
		}
		again := taskCall(client, "tasks/cancel", `"taskId":`+id)
		if code, _ := again.Error(); era == testenv.Legacy && code != -32602 || era == testenv.Modern && code != 0 {
			t.Errorf("cancelled again: %v", again)
		}
	})
}

// TestTaskOnBehalf: a client that knows no tasks gets the end of a call that is carried out as one, with progress.
func TestTaskOnBehalf(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := newTasker(t, k)
		g := testenv.Serve(t, testenv.One(s.Server))
		client := g.Client(era, "/mcp")
		stream, err := client.Open(testenv.Within(t, testenv.Patience),
			testenv.Request{ID: `"b"`, Method: "tools/call", Members: `"name":"one__slow"`, Meta: `"progressToken":"p"`})
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		for i := 1; i <= 2; i++ {
			m, err := stream.Next()
			if want := fmt.Sprintf(`"progressToken":"p","progress":%d,"message":"at it"`, i); err != nil || !strings.Contains(string(m), want) {
				t.Fatalf("progress: %s, %v; want %s", m, err, want)
			}
		}
		s.set("completed", map[testenv.Era]string{testenv.Modern: `,"result":{"content":[{"type":"text","text":"the end"}],"n":1.0}`}[k.era])
		var last testenv.Reply
		for m, err := stream.Next(); err == nil; m, err = stream.Next() {
			last.Messages = append(last.Messages, m)
		}
		if last.Texts() != "the end" || last.ID() != `"b"` || last.Member("n") != "1.0" || strings.Contains(last.String(), "related-task") {
			t.Errorf("%v", &last)
		}
		if n := len(s.Received("tools/call")); k.era == testenv.Legacy && n > 2 || k.era == testenv.Modern && n != 2 {
			t.Errorf("called %d times", n)
		}
	})
}

// TestTaskOnBehalfGivenUp: a client that gives up has the task cancelled that it never heard of.
func TestTaskOnBehalfGivenUp(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := newTasker(t, k)
		g := testenv.Serve(t, testenv.One(s.Server))
		ctx, leave := context.WithCancel(testenv.Within(t, testenv.Patience))
		client := g.Modern("/mcp")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = client.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"one__slow"`}) // it is broken off
		}()
		s.Await("tasks/get", 1)
		leave()
		<-ended
		s.Await("tasks/cancel", 1)
	})
}

// TestTaskOnBehalfTotal: the time that a call has as a whole is that of the task, too, which is cancelled then.
func TestTaskOnBehalfTotal(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := newTasker(t, k)
		g := testenv.Serve(t, testenv.Config{Entries: entry{"one": s.Entry(entry{"timeouts": entry{"total": "3s"}})}})
		r := g.Modern("/mcp").Call("tools/call", `"name":"one__slow"`)
		if _, text := r.Error(); !strings.Contains(text, "took longer than 3s as a whole") {
			t.Errorf("%v", r)
		}
		s.Await("tasks/cancel", 1)
	})
}

// TestTaskPlain: a tool that is not carried out as a task answers at once, also to those who could take one.
func TestTaskPlain(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := newTasker(t, k)
		s.plain = true
		g := testenv.Serve(t, testenv.One(s.Server))
		client := g.Client(era, "/mcp")
		if k.era == testenv.Modern {
			if r := taskCall(client, "tools/call", `"name":"one__slow","arguments":{},"task":{}`); r.Texts() != "at once" {
				t.Errorf("%v", r)
			}
			return
		}
		if r := taskCall(client, "tools/call", `"name":"one__plain","arguments":{}`); r.Texts() != "plain" {
			t.Errorf("%v", r)
		}
	})
}

// TestTaskIDs that are forged, of another caller or another endpoint are all unknown, and nothing reaches the server.
func TestTaskIDs(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := newTasker(t, k)
		other := testenv.HTTPServer(t, testenv.Script{})
		g := testenv.Serve(t, testenv.Config{
			Servers: map[string]*testenv.Server{"one": s.Server, "other": other},
			More: map[string]any{"auth": map[string]any{"apiKeys": []any{
				map[string]any{"name": "ann", "key": "key-of-ann-0123456789"}, map[string]any{"name": "bob", "key": "key-of-bob-0123456789"},
			}}},
		})
		as := func(path, key string) *testenv.Client {
			if era == testenv.Legacy {
				return g.LegacyOf(path, testenv.LegacyVersion, key)
			}
			c := g.Modern(path)
			c.Key = key
			return c
		}
		ann := as("/mcp", "key-of-ann-0123456789")
		id := s.start(t, ann)
		methods := []string{"tasks/get", "tasks/cancel", "tasks/update"}
		if era == testenv.Legacy {
			methods[2] = "tasks/result"
		}
		changed := id[:40] + string(id[40]^1) + id[41:]
		for _, method := range methods {
			for name, try := range map[string]struct {
				as *testenv.Client
				id string
			}{
				"another's":    {as("/mcp", "key-of-bob-0123456789"), id},
				"elsewhere":    {as("/servers/one/mcp", "key-of-ann-0123456789"), id},
				"changed":      {ann, changed},
				"the server's": {ann, realID},
			} {
				r := taskCall(try.as, method, `"taskId":`+try.id+`,"inputResponses":{}`)
				code, text := r.Error()
				if code != -32602 || !strings.HasSuffix(text, "unknown task") {
					t.Errorf("%s %s: %v", name, method, r)
				}
			}
		}
		for _, method := range methods {
			if n := len(s.Received(method)); n > 0 {
				t.Errorf("%s reached the server", method)
			}
		}
		_, metrics := g.Get("/metrics", http.Header{"Authorization": {"Bearer key-of-ann-0123456789"}})
		if !strings.Contains(metrics, `mcp_rejected_tokens_total{kind="task"} `) {
			t.Error("rejected ids are not counted")
		}
		if r := taskCall(ann, "tasks/get", `"taskId":`+id); r.Member("status") != `"working"` {
			t.Errorf("the owner: %v", r)
		}
	})
}

// TestTasksUndeclared: a modern client must declare the extension with each request.
func TestTasksUndeclared(t *testing.T) {
	t.Parallel()
	s := newTasker(t, kinds[0])
	g := testenv.Serve(t, testenv.One(s.Server))
	client := g.Modern("/mcp")
	id := s.start(t, client)
	for _, method := range []string{"tasks/get", "tasks/update", "tasks/cancel"} {
		r := client.Call(method, `"taskId":`+id)
		if code, _ := r.Error(); r.Status != 400 || code != -32021 || r.Data() != `{"requiredCapabilities":{"extensions":{"`+tasksExtension+`":{}}}}` {
			t.Errorf("%s: %v", method, r)
		}
	}
}

// TestTasksDeclared: what an endpoint says of tasks is what it has, in the words of the client's version.
func TestTasksDeclared(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := newTasker(t, k)
		none := testenv.HTTPServer(t, testenv.Script{})
		g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s.Server, "none": none}})
		for path, want := range map[string]bool{"/mcp": true, "/servers/one/mcp": true, "/servers/none/mcp": false} {
			r := g.Modern(path).Call("server/discover", "")
			if strings.Contains(r.Member("capabilities"), `"extensions":{"`+tasksExtension+`":{}}`) != want {
				t.Errorf("%s: %v", path, r)
			}
			for _, version := range []string{testenv.LegacyVersion, "2025-06-18"} {
				client := testenv.NewClient(t, g.URL+path, testenv.Legacy)
				r := client.Initialize(version)
				want := want && version == testenv.LegacyVersion
				if strings.Contains(r.Member("capabilities"), `"tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}`) != want || strings.Contains(r.String(), tasksExtension) {
					t.Errorf("%s in %s: %v", path, version, r)
				}
				if code, _ := client.Call("tasks/list", "").Error(); code != -32601 {
					t.Errorf("tasks/list in %s: %d", version, code)
				}
			}
		}
	})
}
