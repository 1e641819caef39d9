package system_test

import (
	"bytes"
	"fmt"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestErrorWithoutID: an error that a server could not tie to its request reaches the client with the client's id, once.
func TestErrorWithoutID(t *testing.T) {
	t.Parallel()
	const failed = `"error":{"code":-32600,"message":"bad luck"}`
	bodies := map[string]string{
		"null":      `{"jsonrpc":"2.0","id":null,` + failed + `}`,
		"null_last": `{` + failed + `,"jsonrpc":"2.0","id" : null }`,
		"none":      `{"jsonrpc":"2.0",` + failed + `}`,
	}
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		if k.stdio || k.old {
			t.Skip("nothing else ties an answer to its request")
		}
		script := testenv.Script{On: map[string]func(*testenv.Call){}}
		for name, body := range bodies {
			for _, code := range []int{200, 400} {
				tool := fmt.Sprint(name, code)
				script.Tools = append(script.Tools, testenv.Tool(tool))
				script.On["tools/call "+tool] = status(code, asJSON, body)
			}
			script.Tools = append(script.Tools, testenv.Tool(name+"_event"))
			script.On["tools/call "+name+"_event"] = events("data: " + body + "\n\n")
		}
		g := testenv.Serve(t, testenv.One(k.server(t, script)))
		client := g.Client(era, "/mcp")
		for _, tool := range []string{"null200", "null400", "null_event", "null_last200", "null_last400", "null_last_event", "none200", "none400", "none_event"} {
			r := client.Do(testenv.Request{ID: `"mine"`, Method: "tools/call", Members: `"name":"one__` + tool + `"`})
			if code, text := r.Error(); code != -32600 || text != "bad luck" || r.ID() != `"mine"` || bytes.Count(r.Last(), []byte(`"id"`)) != 1 {
				t.Errorf("%s: %v", tool, r)
			}
		}
	})
}

// goroutines counts those with a text in their stack.
func goroutines(t *testing.T, in string) int {
	t.Helper()
	var b bytes.Buffer
	if err := pprof.Lookup("goroutine").WriteTo(&b, 1); err != nil {
		t.Fatal(err)
	}
	_, groups, _ := strings.Cut(b.String(), "\n")
	total := 0
	for group := range strings.SplitSeq(groups, "\n\n") {
		count, stack, _ := strings.Cut(group, " @ ")
		if n, err := strconv.Atoi(count); err == nil && strings.Contains(stack, in) {
			total += n
		}
	}
	return total
}

// TestFloodOfQuestions: a child that asks without end and reads nothing takes neither memory nor time of others, and the
// call that it answers after all is answered.
func TestFloodOfQuestions(t *testing.T) {
	t.Parallel()
	const questions = 20_000
	for _, era := range testenv.Eras {
		t.Run(era.String()+" client", func(t *testing.T) {
			t.Parallel()
			s := testenv.StdioServer(t, testenv.Script{Era: testenv.Legacy, Tools: []string{testenv.Tool("flood")}, On: map[string]func(*testenv.Call){
				"tools/call": func(c *testenv.Call) {
					var b strings.Builder
					for i := range questions {
						fmt.Fprintf(&b, `{"jsonrpc":"2.0","id":"%0100d","method":"roots/list"}`+"\n", i)
					}
					c.Child.Print(b.String())
					c.Text("flooded")
				},
				"": func(*testenv.Call) {},
			}})
			good := testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1)})
			g := testenv.Serve(t, testenv.Config{
				Servers: map[string]*testenv.Server{"bad": s, "good": good}, More: map[string]any{"log": map[string]any{"level": "error"}},
			})
			client := g.Client(era, "/mcp")
			if r := client.Call("tools/list", ""); len(r.Names("tools")) != 2 {
				t.Fatal(r)
			}
			resume := s.AwaitChild(1).Pause()
			defer resume()
			replies := background(t, client, "bad__flood")
			for range 50 {
				if r := client.Tool("good__tool0000", "{}"); r.Texts() != "done" {
					t.Fatal(r)
				}
			}
			r := <-replies
			if code, text := r.Error(); r.Texts() != "flooded" && !(code == -32603 && strings.Contains(text, "roots/list")) {
				t.Errorf("the call of the flood: %v", r)
			}
			if n := goroutines(t, "upstream.(*instance)"); n > questions/10 {
				t.Errorf("%d goroutines serve children", n)
			}
		})
	}
}

// TestRefusedReply: a server that will not have the answer to its question is not taken for one that lost its session.
func TestRefusedReply(t *testing.T) {
	t.Parallel()
	for _, code := range []int{404, 400, 500} {
		for _, era := range testenv.Eras {
			t.Run(fmt.Sprint(code, " ", era), func(t *testing.T) {
				t.Parallel()
				refused := make(chan struct{}, 8)
				s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){
					"tools/call": func(c *testenv.Call) {
						c.Before(`{"jsonrpc":"2.0","id":"q","method":"ping"}`)
						<-refused
						c.Text("asked")
					},
					"": func(c *testenv.Call) {
						c.HTTP.Status(code, "text/plain", "no such session")
						refused <- struct{}{}
					},
				}})
				g := testenv.Serve(t, testenv.One(s))
				if r := g.Client(era, "/mcp").Tool("one__ask", "{}"); r.Texts() != "asked" {
					t.Errorf("%v", r)
				}
				if n := len(s.Received("tools/call")); n != 1 {
					t.Errorf("the call was carried out %d times", n)
				}
			})
		}
	}
}

// TestSessionInAMessage: an error that answers the request itself is an answer, whatever it says.
func TestSessionInAMessage(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) {
				c.HTTP.Status(400, asJSON, `{"jsonrpc":"2.0","id":`+c.ID+`,"error":{"code":-32000,"message":"No such browser session"}}`)
			},
		}})
		g := testenv.Serve(t, testenv.One(s))
		r := g.Client(era, "/mcp").Tool("one__tool0000", "{}")
		if code, text := r.Error(); code != -32000 || text != "No such browser session" {
			t.Errorf("%v", r)
		}
		if n := len(s.Received("tools/call")); n != 1 {
			t.Errorf("the call was carried out %d times", n)
		}
	}
}

// TestBusyChild: one that reads nothing for a while, as it works on one call at a time, fails no call.
func TestBusyChild(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("busy for longer than a small message may take")
	}
	const busy = 11 * time.Second
	eachKind(t, func(t *testing.T, k kind) {
		if !k.stdio || k.era == testenv.Legacy {
			t.Skip("no child, or as the other")
		}
		s := k.server(t, testenv.Script{Tools: testenv.Tools(1)})
		g := testenv.Serve(t, testenv.Config{Entries: map[string]any{
			"one": s.Entry(map[string]any{"timeouts": map[string]any{"call": "60s", "list": "60s"}, "listTTL": "1h"}),
		}})
		client := g.Modern("/mcp")
		if r := client.Call("tools/list", ""); len(r.Names("tools")) != 1 {
			t.Fatal(r)
		}
		child := s.AwaitChild(1)
		resume := child.Pause()
		defer resume()
		defer time.AfterFunc(busy, resume).Stop()
		ctx := testenv.Within(t, 2*testenv.Patience)
		large := `"name":"one__tool0000","arguments":{"text":"` + strings.Repeat("x", 200<<10) + `"}`
		each(6, func(i int) {
			members := large
			if i%2 == 1 {
				members = `"name":"one__tool0000"`
			}
			r, err := client.Try(ctx, testenv.Request{Method: "tools/call", Members: members})
			if err != nil || r.Texts() != "done" {
				t.Errorf("call %d: %v %v", i, err, r)
			}
		})
		if n := len(s.Children()); n != 1 {
			t.Errorf("%d children", n)
		}
	})
}

// TestOversizedLine fails the call it answers, whatever else it holds, and a notice fails none.
func TestOversizedLine(t *testing.T) {
	t.Parallel()
	pad := strings.Repeat("x", mostBytes+1000)
	// Lines that answer MINE and hold OTHER.
	answers := map[string]string{
		"first":    `{"jsonrpc":"2.0","id":MINE,"result":{"id":OTHER,"resultType":"complete","content":[{"type":"text","text":"` + pad + `"}]}}`,
		"last":     `{"jsonrpc":"2.0","result":{"id":OTHER,"text":"` + pad + `","id2":1,"content":[{"id":OTHER}]},"id":MINE}`,
		"text":     `{"jsonrpc":"2.0","id":MINE,"result":{"content":[{"type":"text","text":"\"id\":OTHER,` + pad + `,\"id\":OTHER}"}]}}`,
		"in_tail":  `{"jsonrpc":"2.0","id":MINE,"result":{"content":[],"more":{"text":"` + pad + `","id":OTHER}}}`,
		"in_error": `{"error":{"code":-1,"message":"` + pad + `","data":{"id":OTHER}},"jsonrpc":"2.0","id":MINE}`,
	}
	notices := map[string]string{
		"at_head": `{"jsonrpc":"2.0","method":"notifications/message","params":{"id":OTHER,"level":"info","data":"` + pad + `"}}`,
		"at_tail": `{"method":"notifications/message","params":{"level":"info","data":"` + pad + `","id":OTHER},"jsonrpc":"2.0"}`,
		"asks":    `{"jsonrpc":"2.0","id":OTHER,"method":"sampling/createMessage","params":{"text":"` + pad + `"}}`,
	}
	eachKind(t, func(t *testing.T, k kind) {
		if !k.stdio {
			t.Skip("no lines")
		}
		var waiting atomic.Pointer[testenv.Call]
		script := testenv.Script{Tools: []string{testenv.Tool("hold")}, On: map[string]func(*testenv.Call){
			"tools/call hold": func(c *testenv.Call) { waiting.Store(c); c.Hang() },
		}}
		fill := func(line, mine string) string {
			return strings.NewReplacer("MINE", mine, "OTHER", waiting.Load().ID).Replace(line) + "\n"
		}
		for name, line := range answers {
			script.Tools = append(script.Tools, testenv.Tool(name))
			script.On["tools/call "+name] = func(c *testenv.Call) { c.Child.Print(fill(line, c.ID)); c.Hang() }
		}
		for name, line := range notices {
			script.Tools = append(script.Tools, testenv.Tool(name))
			script.On["tools/call "+name] = func(c *testenv.Call) { c.Child.Print(fill(line, c.ID)); c.Text("noted") }
		}
		s := k.server(t, script)
		c := testenv.One(s)
		c.More = map[string]any{"messages": map[string]any{"maxBytes": mostBytes}, "log": map[string]any{"level": "error"}}
		g := testenv.Serve(t, c)
		client := g.Modern("/mcp")
		replies := background(t, client, "one__hold")
		s.Await("tools/call", 1)
		testenv.Eventually(t, "the held call", func() bool { return waiting.Load() != nil })
		for name := range answers {
			r := client.Tool("one__"+name, "{}")
			if code, text := r.Error(); code != -32603 || !strings.Contains(text, "maxBytes") {
				t.Errorf("%s: %v", name, r)
			}
		}
		for name, line := range notices {
			if r := client.Tool("one__"+name, "{}"); r.Texts() != "noted" {
				t.Errorf("%s: %v", name, r)
			}
			waiting.Load().Child.Print(fill(line, "0")) // while only the held call is there to be blamed
		}
		waiting.Load().Text("held")
		if r := <-replies; r.Texts() != "held" {
			t.Errorf("the held call: %v", r)
		}
	})
}

// TestOverloadedServer: its 503 is not the gateway's own.
func TestOverloadedServer(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		if k.stdio || k.old {
			t.Skip("no status")
		}
		script := testenv.Script{On: map[string]func(*testenv.Call){}}
		for _, code := range []int{503, 429} {
			name := fmt.Sprint("s", code)
			script.Tools = append(script.Tools, testenv.Tool(name))
			script.On["tools/call "+name] = status(code, "text/plain", "busy")
		}
		g := testenv.Serve(t, testenv.One(k.server(t, script)))
		client := g.Client(era, "/mcp")
		for _, code := range []string{"503", "429"} {
			r := client.Tool("one__s"+code, "{}")
			if got, text := r.Error(); r.Status != 200 || got != -32603 || !strings.Contains(text, code) || !strings.Contains(text, `server "one"`) {
				t.Errorf("%s: %v", code, r)
			}
		}
	})
}

// TestCallsOfADownServerCount, those that find it known to be down too.
func TestCallsOfADownServerCount(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": s}, Entries: map[string]any{"missing": map[string]any{"command": "no-such-command-here"}},
	})
	client := g.Modern("/mcp")
	client.Call("tools/list", "")
	s.Stop()
	for range 5 {
		for _, name := range []string{"one__tool0000", "missing__x"} {
			if code, _ := client.Tool(name, "{}").Error(); code != -32603 {
				t.Errorf("%s: code %d", name, code)
			}
		}
	}
	_, body := g.Get("/metrics", nil)
	for _, line := range []string{
		`mcp_tool_requests_total{server="one",tool="tool0000"} 5`,
		`mcp_tool_requests_total{server="missing",tool="_other"} 5`,
	} {
		if !strings.Contains(body, line) {
			t.Errorf("no line %s", line)
		}
	}
}

// TestServerBatches: legacy servers of 2025-03-26 may put progress and result into one array.
func TestServerBatches(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		if k.era == testenv.Modern {
			t.Skip("no batches")
		}
		s := k.server(t, testenv.Script{Version: batchVersion, Tools: []string{testenv.Tool("go")}, On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) {
				c.Send(`[{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":` + c.Token() + `,"progress":1}}, ` +
					`{"jsonrpc":"2.0","id":` + c.ID + `,"result":{"content":[{"type":"text","text":"both"}]}}]`)
			},
		}})
		g := testenv.Serve(t, testenv.One(s))
		r := g.Client(era, "/mcp").Do(testenv.Request{ID: `"mine"`, Method: "tools/call", Members: `"name":"one__go"`, Meta: `"progressToken":"p"`})
		if r.Texts() != "both" || r.ID() != `"mine"` || len(r.Messages) != 2 || !strings.Contains(string(r.Messages[0]), `"progressToken":"p"`) {
			t.Errorf("%v", r)
		}
	})
}
