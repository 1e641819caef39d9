package upstream_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// transports are the ways to a legacy server.
var transports = map[string]func(testing.TB, testenv.Script) *testenv.Server{
	"http": testenv.HTTPServer, "sse": testenv.StreamServer, "stdio": testenv.StdioServer,
}

// eachTransport runs a test over each transport.
func eachTransport(t *testing.T, f func(*testing.T, func(testing.TB, testenv.Script) *testenv.Server)) {
	t.Helper()
	for name, start := range transports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, start)
		})
	}
}

// open makes a server of the gateway for a scripted one; it ends with the test.
func open(t testing.TB, s *testenv.Server, change ...func(*v1.Server)) *upstream.Server {
	t.Helper()
	return openWith(t, s, upstream.Options{Name: "one"}, change...)
}

// openWith is open with further options.
func openWith(t testing.TB, s *testenv.Server, o upstream.Options, change ...func(*v1.Server)) *upstream.Server {
	t.Helper()
	srv := opening(t, s, o, change...)
	if _, err := srv.Peer(testenv.Within(t, testenv.Patience)); err != nil {
		t.Fatal(err)
	}
	return srv
}

// opening is openWith for a server that need not come up.
func opening(t testing.TB, s *testenv.Server, o upstream.Options, change ...func(*v1.Server)) *upstream.Server {
	t.Helper()
	b, err := json.Marshal(s.Entry())
	if err != nil {
		t.Fatal(err)
	}
	var spec v1.Server
	if err := json.Unmarshal(b, &spec); err != nil {
		t.Fatal(err)
	}
	spec.SetDefaults()
	for _, f := range change {
		f(&spec)
	}
	o.Version = "test"
	srv := upstream.Open(&spec, o)
	t.Cleanup(srv.Close)
	return srv
}

// everything declares all that a client can be asked.
const everything = `{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{},"context":{}},"roots":{}}`

// caller is a client in front of a server, whose calls are made without the gateway.
type caller struct {
	t      testing.TB
	srv    *upstream.Server
	name   string
	can    string // raw capabilities
	modern bool
	notify func(*mcp.Raw)
}

func newCaller(t testing.TB, srv *upstream.Server) *caller {
	return &caller{t: t, srv: srv, name: "me", can: everything, modern: true}
}

// reply is what a call came to.
type reply struct {
	body   string
	parked uint64
	err    error
}

// text is the text of a tool's result.
func (r reply) text() string {
	var m struct {
		Result struct {
			Content []struct{ Text string }
		}
	}
	_ = json.Unmarshal([]byte(r.body), &m) // what is none has none
	if len(m.Result.Content) == 0 {
		return ""
	}
	return m.Result.Content[0].Text
}

// asks are the questions of an input_required result, raw, by their keys.
func (r reply) asks() map[string]json.RawMessage {
	var m struct {
		Result struct {
			ResultType    string
			InputRequests map[string]json.RawMessage
		}
	}
	_ = json.Unmarshal([]byte(r.body), &m) // as above
	if m.Result.ResultType != "input_required" {
		return nil
	}
	return m.Result.InputRequests
}

// do sends a request with an id and raw params.
func (c *caller) do(ctx context.Context, id, method, params string, change ...func(*upstream.Call)) reply {
	in := mcp.Raw{Body: []byte(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + params + `}`)}
	if e := in.Scan(mcp.Limits{}); e != nil {
		return reply{err: e}
	}
	call := upstream.Call{In: &in, Session: c.name, Client: &upstream.Client{Modern: c.modern, Capabilities: []byte(c.can)}, Notify: c.notify}
	if method == "tools/call" {
		call.Name = []byte("ask")
	}
	for _, f := range change {
		f(&call)
	}
	var out mcp.Raw
	defer out.Free()
	err := c.srv.Do(ctx, &call, &out)
	return reply{string(out.Append(nil)), call.Parked, err}
}

// tool calls the tool of the script.
func (c *caller) tool(arguments string) reply {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Patience)
	defer cancel()
	return c.do(ctx, `"first"`, "tools/call", `{"name":"ask","arguments":`+arguments+`}`)
}

// with are answers by key, the keys and the raw results in turn.
func with(parked uint64, answers ...string) func(*upstream.Call) {
	return func(c *upstream.Call) {
		c.Resume = parked
		for i := 0; i < len(answers); i += 2 {
			c.Answers = append(c.Answers, upstream.Answer{Key: answers[i], Result: []byte(answers[i+1])})
		}
	}
}

// resume answers a parked call.
func (c *caller) resume(parked uint64, answers ...string) reply {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testenv.Patience)
	defer cancel()
	return c.do(ctx, `"again"`, "tools/call", `{"name":"ask","arguments":{}}`, with(parked, answers...))
}

// asker hands the answers that a scripted server gets to the questions that it asked.
type asker struct {
	mu    sync.Mutex
	waits map[string]chan string
	ids   int
}

func newAsker() *asker { return &asker{waits: map[string]chan string{}} }

func place(c *testenv.Record, child *testenv.Child, id string) string {
	if child != nil {
		return fmt.Sprint(child.PID, " ", id)
	}
	return c.Header.Get("Mcp-Session-Id") + " " + id
}

// answered is the handler of messages without a method.
func (a *asker) answered(c *testenv.Call) {
	a.mu.Lock()
	ch := a.waits[place(c.Record, c.Child, c.ID)]
	a.mu.Unlock()
	if ch == nil {
		ch = make(chan string, 1) // nobody asked
	}
	var m map[string]json.RawMessage
	_ = json.Unmarshal(c.Body, &m) // as above
	for _, member := range []string{"result", "error"} {
		if v := m[member]; v != nil {
			select {
			case ch <- string(v):
			default:
				c.Server.Fail("a question was answered twice")
			}
		}
	}
	if c.HTTP != nil {
		c.HTTP.Status(202, "", "")
	}
}

// send asks a question with a raw id, and await waits for its answer.
func (a *asker) send(c *testenv.Call, id, method, params string) (await func() string) {
	ch := make(chan string, 1)
	key := place(c.Record, c.Child, id)
	a.mu.Lock()
	a.waits[key] = ch
	a.mu.Unlock()
	c.Before(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + params + `}`)
	return func() string {
		defer func() {
			a.mu.Lock()
			delete(a.waits, key)
			a.mu.Unlock()
		}()
		select {
		case v := <-ch:
			return v
		case <-c.Done:
			return ""
		}
	}
}

// ask asks a question with an id of its own and waits for the answer.
func (a *asker) ask(c *testenv.Call, method, params string) string {
	a.mu.Lock()
	a.ids++
	id := fmt.Sprintf(`"ask-%d"`, a.ids)
	a.mu.Unlock()
	return a.send(c, id, method, params)()
}

// script is a legacy server with one tool, which is what f does.
func (a *asker) script(f func(*testenv.Call)) testenv.Script {
	return testenv.Script{Era: testenv.Legacy, Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){"": a.answered, "tools/call": f}}
}

const (
	elicit  = "elicitation/create"
	really  = `{"message":"really?","requestedSchema":{"type":"object","x":1.0}}`
	accept  = `{"action":"accept","content":{"n":9007199254740993}}`
	decline = `{"action":"decline"}`
)

// silence is a time-out of calls.
func silence(d time.Duration) func(*v1.Server) {
	return func(s *v1.Server) { s.Timeouts.Idle = v1.Duration(d) }
}

func wants(t testing.TB, r reply, keys ...string) {
	t.Helper()
	asks := r.asks()
	if r.err != nil || r.parked == 0 || len(asks) != len(keys) {
		t.Fatalf("%+v, want the questions %s", r, strings.Join(keys, " "))
	}
	for _, k := range keys {
		if asks[k] == nil {
			t.Fatalf("%+v lacks question %s", r, k)
		}
	}
}
