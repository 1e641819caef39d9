package system_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// fleet starts three replicas with a Redis of their own.
func fleet(t *testing.T, servers map[string]*testenv.Server) (*testenv.Fleet, *testenv.Redis) {
	t.Helper()
	redis := testenv.StartRedis(t)
	c := testenv.FleetConfig{Redis: redis.URL()}
	c.Servers = servers
	c.More = map[string]any{"questions": map[string]any{"perPrincipal": 1000}}
	f := testenv.ServeFleet(t, c)
	f.Again = true
	return f, redis
}

// askTool is a call of a tool of a server.
func askTool(name string) testenv.Request {
	return testenv.Request{Method: "tools/call", Members: `"name":"` + name + `","arguments":{}`}
}

// TestFleetAsks: it does not matter which replica a request or an answer comes to.
func TestFleetAsks(t *testing.T) {
	t.Parallel()
	servers := map[string]*testenv.Server{}
	for _, era := range testenv.Eras {
		for _, k := range kinds {
			servers[era.String()+"-"+k.name] = k.server(t, testenv.Asker(k.era))
		}
	}
	f, _ := fleet(t, servers)
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		name := era.String() + "-" + k.name
		client := f.Client(era, "/servers/"+name+"/mcp", testenv.AllCapabilities)
		asks(t, client, "", nil) // at random
		elsewhere := func(n int) *testenv.Client { return f.At(n%3, client) }
		asks(t, f.At(0, client), "", elsewhere)
		elsewhere = func(n int) *testenv.Client { return f.At((n+1)%3, client) }
		asks(t, f.At(0, client), "", elsewhere)
	})
}

// TestFleetMeets: a replica serves once it reaches the others. Without Redis, and with one that hangs, it serves all the same.
func TestFleetMeets(t *testing.T) {
	t.Parallel()
	there, hung := testenv.StartRedis(t), testenv.StartRedis(t)
	hung.Hang()
	for name, redis := range map[string]*testenv.Redis{"there": there, "away": testenv.NewRedis(t), "hung": hung} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testenv.FleetConfig{Config: testenv.One(testenv.HTTPServer(t, once(testenv.Modern))), Redis: redis.URL(), Replicas: 1}
			f := testenv.ServeFleet(t, c)
			if r := f.Modern("/mcp").Tool("one__echo", "{}"); r.Texts() != "done" {
				t.Errorf("call: %v", r)
			}
			testenv.Eventually(t, "it says that it serves", func() bool { return strings.Contains(f.Replicas[0].Log(), "msg=serving") })
			before, _, _ := strings.Cut(f.Replicas[0].Log(), "msg=serving")
			if met := strings.Contains(before, "cluster: connected"); met != (redis == there) {
				t.Errorf("connected before it served: %v\n%s", met, f.Replicas[0].Log())
			}
		})
	}
}

// parked is a call of a modern client that waits for an answer.
type parked struct {
	client *testenv.Client
	tool   string
	state  string
	key    string
}

// park calls a tool at a replica and leaves its question unanswered.
func park(t *testing.T, client *testenv.Client, tool string) *parked {
	t.Helper()
	r := client.Tool(tool, "{}")
	p := &parked{client: client, tool: tool, state: r.Member("requestState")}
	asked := r.Member("inputRequests")
	if r.Member("resultType") != `"input_required"` || p.state == "" {
		t.Fatalf("%s: %v", tool, r)
	}
	_, p.key, _ = strings.Cut(asked, `"`)
	p.key, _, _ = strings.Cut(p.key, `"`)
	return p
}

// answer retries the call with an answer, through any client.
func (p *parked) answer(ctx context.Context, via *testenv.Client) (*testenv.Reply, error) {
	return via.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"` + p.tool + `","arguments":{},"requestState":` + p.state +
		`,"inputResponses":{"` + p.key + `":{"action":"accept","content":{"answer":"yes"}}}`})
}

// once is a server with a tool that asks once.
func once(era testenv.Era) testenv.Script {
	return testenv.Script{Era: era, Tools: []string{testenv.Tool("ask"), testenv.Tool("echo")}, On: map[string]func(*testenv.Call){
		"tools/call ask": func(c *testenv.Call) {
			c.Converse(func(c *testenv.Call, known testenv.Answers) ([]testenv.Question, string) {
				if known["k"] == nil {
					return []testenv.Question{testenv.Elicit("k", c.Args())}, ""
				}
				return nil, c.Args() + known.Text("k")
			})
		},
	}}
}

// TestHolderDies: a replica that holds a parked call is killed. Its client is told at once, nobody else notices, and the
// server is not called twice.
func TestHolderDies(t *testing.T) {
	t.Parallel()
	legacy := testenv.HTTPServer(t, once(testenv.Legacy))
	others := testenv.HTTPServer(t, once(testenv.Legacy))
	f, _ := fleet(t, map[string]*testenv.Server{"one": legacy, "two": others})
	client := f.Client(testenv.Modern, "/mcp", testenv.AllCapabilities)
	victim := park(t, f.At(0, client), "one__ask")
	spared := park(t, f.At(1, client), "two__ask")
	session := f.At(0, f.Client(testenv.Legacy, "/mcp", testenv.AllCapabilities)) // opened where it dies
	if r := session.Tool("two__echo", "{}"); r.Texts() != "done" {
		t.Fatalf("%v", r)
	}
	calls := len(legacy.Received("tools/call"))
	waiting := make(chan error, 1)
	go func() { // waits at another replica while its own one is gone
		_, err := victim.answer(testenv.Within(t, testenv.Patience), f.At(1, client))
		waiting <- err
	}()
	if err := <-waiting; err != nil { // the answer is taken where the call is parked
		t.Fatal(err)
	}
	victim = park(t, f.At(0, client), "one__ask")
	f.Kill(0)
	watch := testenv.StartWatch(t)
	r, err := victim.answer(testenv.Within(t, testenv.Patience), f.At(1, client))
	if err != nil {
		t.Fatal(err)
	}
	if code, text := r.Error(); code == 0 || !strings.Contains(text, "lost") {
		t.Errorf("%v", r)
	}
	if d := watch.Took(); d > 2*time.Second {
		t.Errorf("the client was told after %v", d)
	}
	if n := len(legacy.Received("tools/call")); n != calls+1 {
		t.Errorf("the server got %d calls, not %d", n, calls+1)
	}
	r, err = spared.answer(testenv.Within(t, testenv.Patience), f.At(2, client))
	if err != nil || r.Texts() != "{}yes" {
		t.Errorf("the other parked call: %v %v", r, err)
	}
	if r := f.At(2, session).Tool("two__echo", "{}"); r.Texts() != "done" {
		t.Errorf("the session that was opened at the dead replica: %v", r)
	}
}

// TestStreamHolderDies: a legacy client's call breaks with the replica that holds its stream; an answer to what it asked is
// refused at once, and the session goes on.
func TestStreamHolderDies(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String()+" server", func(t *testing.T) {
			t.Parallel()
			s := testenv.HTTPServer(t, once(era))
			f, _ := fleet(t, map[string]*testenv.Server{"one": s})
			client := f.Client(testenv.Legacy, "/mcp", testenv.AllCapabilities)
			stream, err := f.At(0, client).Open(testenv.Within(t, testenv.Patience), askTool("one__ask"))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			q := nextQuestion(t, stream)
			f.Kill(0)
			if _, err := stream.Next(); err == nil {
				t.Error("the stream goes on without its replica")
			}
			watch := testenv.StartWatch(t)
			r, err := f.At(1, client).Try(testenv.Within(t, testenv.Patience), answerTo(q))
			if err != nil || r.Status == http.StatusAccepted || r.Status >= 500 && r.Status != http.StatusServiceUnavailable {
				t.Errorf("answer: %v %v", r, err)
			}
			if d := watch.Took(); d > 2*time.Second {
				t.Errorf("the client was told after %v", d)
			}
			if r := f.At(1, client).Tool("one__echo", "{}"); r.Texts() != "done" {
				t.Errorf("next call: %v", r)
			}
		})
	}
}

// nextQuestion is the next request on a legacy client's stream.
func nextQuestion(t *testing.T, s *testenv.Stream) testenv.Question {
	t.Helper()
	for {
		m, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if q, ok := testenv.AsQuestion(m); ok {
			return q
		}
	}
}

func answerTo(q testenv.Question) testenv.Request {
	return testenv.Request{Body: []byte(`{"jsonrpc":"2.0","id":` + q.Key + `,"result":` + testenv.Agree(q) + `}`)}
}

// TestTaggedAnswers: the answer of one client never reaches another, though all use the same ids at once.
func TestTaggedAnswers(t *testing.T) {
	t.Parallel()
	f, _ := fleet(t, map[string]*testenv.Server{
		"modern": testenv.HTTPServer(t, once(testenv.Modern)), "legacy": testenv.HTTPServer(t, once(testenv.Legacy)),
	})
	const clients, rounds = 200, 3
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			client := f.Client(testenv.Eras[i%2], "/mcp", testenv.AllCapabilities)
			for n := range rounds {
				tag := fmt.Sprintf("client %d call %d", i, n)
				server := []string{"modern", "legacy"}[(i/2+n)%2]
				r, asked, err := client.Talk(testenv.Within(t, 3*testenv.Patience), testenv.Talk{
					Request: testenv.Request{ID: "1", Method: "tools/call", Members: `"name":"` + server + `__ask","arguments":"` + tag + `"`},
					Answer:  testenv.Agree,
				})
				if want := `"` + tag + `"` + strings.ToUpper(`"`+tag+`"`); err != nil || asked != 1 || r.ID() != "1" || r.Texts() != want {
					t.Errorf("%v client: %v %v, want %s", client.Era, r, err, want)
					return
				}
			}
		})
	}
	all.Wait()
}

// TestCancelElsewhere: notifications/cancelled may come to any replica.
func TestCancelElsewhere(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		h := hold(t, k)
		f, _ := fleet(t, map[string]*testenv.Server{"one": h.Server})
		client := f.Client(testenv.Legacy, "/mcp", "{}")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			q := askTool("one__hold")
			q.ID = `"my call"`
			_, _ = f.At(0, client).Try(testenv.Within(t, testenv.Patience), q) // how it ends is the client's to know: it gave up
		}()
		c := <-h.calls
		body := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"my call"}}`
		if r := f.At(1, client).Post([]byte(body)); r.Status != http.StatusAccepted {
			t.Errorf("%v", r)
		}
		h.cancelled(t, k, c)
		<-ended
	})
}

// TestLevelElsewhere: a log level holds at every replica.
func TestLevelElsewhere(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("talk")}, On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) {
				for _, level := range []string{"info", "warning", "error"} {
					c.Before(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"` + level + `","data":1.0}}`)
				}
				c.Text("said")
			},
		}})
		f, _ := fleet(t, map[string]*testenv.Server{"one": s})
		client := f.Client(testenv.Legacy, "/mcp", "{}")
		for i, level := range []string{"error", "warning", "info", "error"} {
			f.At(2, client).Call("tools/list", "") // seen there before
			if r := f.At(1, client).Call("logging/setLevel", `"level":"`+level+`"`); string(r.Result()) != "{}" {
				t.Fatalf("%v", r)
			}
			want := map[string]int{"error": 1, "warning": 2, "info": 3}[level] + 1
			for _, at := range []int{0, 1, 2} {
				testenv.Eventually(t, fmt.Sprintf("level %s (%d) at replica %d", level, i, at), func() bool {
					return len(f.At(at, client).Tool("one__talk", "{}").Messages) == want
				})
			}
		}
	})
}
