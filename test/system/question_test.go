package system_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestUndeclaredQuestions: a legacy server that asks what the client did not declare is told so at once, and its call goes on.
func TestUndeclaredQuestions(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		if k.era == testenv.Modern {
			t.Skip("a modern server has no questions of this kind")
		}
		answers := make(chan *testenv.Record, 4)
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) {
				var said []string
				for i, method := range []string{"elicitation/create", "sampling/createMessage", "roots/list", "ping"} {
					c.Before(fmt.Sprintf(`{"jsonrpc":"2.0","id":"q%d","method":%q,"params":{"message":"really?","requestedSchema":{"type":"object"}}}`, i, method))
					a := <-answers
					var m struct {
						ID     string
						Error  struct{ Code int }
						Result json.RawMessage
					}
					if err := json.Unmarshal(a.Body, &m); err != nil {
						t.Error(err)
					}
					said = append(said, fmt.Sprint(m.ID, " ", m.Error.Code, " ", string(m.Result)))
				}
				c.Text(strings.Join(said, ", "))
			},
			"": func(c *testenv.Call) { // an answer has no method
				answers <- c.Record
				if c.HTTP != nil {
					c.HTTP.Status(202, "", "")
				}
			},
		}})
		g := testenv.Serve(t, testenv.One(s))
		r := g.Client(era, "/mcp").Tool("one__ask", "{}")
		if want := "q0 -32601 , q1 -32601 , q2 -32601 , q3 0 {}"; r.Texts() != want || len(r.Messages) != 1 {
			t.Errorf("%v, want %s", r, want)
		}
	})
}

// TestModernServerMayNotAsk requests of its own: its call fails, and says why.
func TestModernServerMayNotAsk(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) {
			c.Before(`{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{}}`)
			c.Hang()
		},
	}})
	g := testenv.Serve(t, testenv.One(s))
	r := g.Modern("/mcp").Tool("one__ask", "{}")
	if code, text := r.Error(); code != -32603 || !strings.Contains(text, `server "one"`) || !strings.Contains(text, "request of its own") {
		t.Errorf("%v", r)
	}
}

// TestStructuredContent that is no object goes to modern clients only.
func TestStructuredContent(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("give")}, On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) {
				c.Complete(`"content":[{"type":"text","text":"x"}],"structuredContent":` + c.Args() + `,"vendor":1.0`)
			},
		}})
		g := testenv.Serve(t, testenv.One(s))
		client := g.Client(era, "/mcp")
		for _, value := range []string{`{"content":{"a":1.0}}`, `{}`} {
			if r := client.Tool("one__give", value); r.Member("structuredContent") != value {
				t.Errorf("%s: %v", value, r)
			}
		}
		give := g.Client(era, "/servers/one/mcp")
		for _, value := range []string{`[]`, `[1.0,{"a":[]}]`, `"text"`, `null`, `1e400`, `true`} {
			r := give.Tool("give", value)
			want := value
			if era == testenv.Legacy {
				want = ""
			}
			if r.Member("structuredContent") != want || r.Texts() != "x" || r.Member("vendor") != "1.0" {
				t.Errorf("%s: %v", value, r)
			}
		}
	})
}

// TestErrorCodes of one era become those of the other, with message and data as they were.
func TestErrorCodes(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		code := map[testenv.Era]int{testenv.Modern: -32602, testenv.Legacy: -32002}
		s := k.server(t, testenv.Script{
			Tools: []string{testenv.Tool("fail"), testenv.Tool("url"), testenv.Tool("own")}, Resources: []string{`{"uri":"test://1","name":"one"}`},
			On: map[string]func(*testenv.Call){
				"resources/read":  func(c *testenv.Call) { c.Error(code[k.era], "no such thing", `,"data":{"uri":"test://1","n":1.0}`) },
				"tools/call fail": func(c *testenv.Call) { c.Error(-32603, "bad \u2028 luck", `,"data":`+corpus) },
				"tools/call own":  func(c *testenv.Call) { c.Error(4711, "my own", `,"vendor":1.0`) },
				"tools/call url":  func(c *testenv.Call) { c.Error(-32042, "open it") },
			},
		})
		g := testenv.Serve(t, testenv.One(s))
		client := g.Client(era, "/mcp")
		r := client.Call("resources/read", `"uri":"test://1"`)
		if got, text := r.Error(); got != int64(code[era]) || text != "no such thing" || r.Data() != `{"uri":"test://1","n":1.0}` {
			t.Errorf("resource: %v, want %d", r, code[era])
		}
		r = client.Tool("one__fail", "{}")
		if got, _ := r.Error(); r.Status != 200 || got != -32603 || r.Data() != corpus {
			t.Errorf("internal: %v", r)
		}
		r = client.Tool("one__own", "{}")
		if got, text := r.Error(); r.Status != 200 || got != 4711 || text != "my own" || !strings.Contains(r.String(), `"vendor":1.0`) {
			t.Errorf("own code: %v", r)
		}
		r = client.Tool("one__url", "{}")
		if got, text := r.Error(); era == testenv.Modern && k.era == testenv.Legacy && (got != -32021 || !strings.Contains(text, "URL")) {
			t.Errorf("URL elicitation: %v", r)
		}
	})
}

// TestLetGoStream: a legacy server may close a stream after an event with an id; the rest is fetched.
func TestLetGoStream(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String()+" client", func(t *testing.T) {
			t.Parallel()
			var call atomic.Pointer[testenv.Call]
			srv := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: []string{testenv.Tool("long")}, On: map[string]func(*testenv.Call){
				"tools/call": func(c *testenv.Call) {
					call.Store(c)
					c.HTTP.Events("id: e1\nretry: 5\ndata:\n\n")
				},
				"GET": func(c *testenv.Call) {
					switch first := c.Header.Get("Last-Event-ID"); first {
					case "e1":
						c.HTTP.Events("id: e2\nretry: 5\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":" +
							call.Load().Token() + ",\"progress\":1}}\n\n")
					case "e2":
						c.HTTP.Events("data: {\"jsonrpc\":\"2.0\",\"id\":" + call.Load().ID +
							",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"at last\"}]}}\n\n")
					default:
						t.Errorf("resumed after %q", first)
					}
				},
			}})
			g := testenv.Serve(t, testenv.One(srv))
			r := g.Client(era, "/mcp").Do(testenv.Request{Method: "tools/call", Members: `"name":"one__long"`, Meta: `"progressToken":"p"`})
			if r.Texts() != "at last" || len(r.Messages) != 2 || !strings.Contains(string(r.Messages[0]), `"progressToken":"p"`) {
				t.Errorf("%v", r)
			}
			if n := len(srv.Received("tools/call")); n != 1 {
				t.Errorf("the call was sent %d times", n)
			}
		})
	}
}

// TestLogs reach those who asked for them, at the level they asked for.
func TestLogs(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		srv := k.server(t, testenv.Script{Tools: []string{testenv.Tool("talk")}, On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) {
				for _, level := range []string{"debug", "warning", "error"} {
					c.Before(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"` + level + `","data":{"n":1.0}}}`)
				}
				c.Text("said")
			},
		}})
		g := testenv.Serve(t, testenv.One(srv))
		client := g.Client(era, "/mcp")
		client.Call("tools/list", "") // over stdio a log has an owner only when one call is under way: let the first list end
		q := testenv.Request{Method: "tools/call", Members: `"name":"one__talk"`}
		if era == testenv.Modern {
			if r := client.Do(q); len(r.Messages) != 1 {
				t.Errorf("logs that nobody asked for: %v", r)
			}
			q.Meta = `"io.modelcontextprotocol/logLevel":"warning"`
		} else if r := client.Call("logging/setLevel", `"level":"warning"`); string(r.Result()) != "{}" {
			t.Errorf("setLevel: %v", r)
		}
		r := client.Do(q)
		if len(r.Messages) != 3 || r.Texts() != "said" || !strings.Contains(string(r.Messages[0]), `"level":"warning","data":{"n":1.0}`) {
			t.Errorf("%v", r)
		}
	})
}
