package system_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// fault is a way to answer a call badly, and what the client is told; an empty say means that the call succeeds.
type fault struct {
	do  func(*testenv.Call)
	say string
}

const mostBytes = 1 << 20 // messages.maxBytes of these tests

func big(size int) string {
	return `{"content":[{"type":"text","text":"` + strings.Repeat("x", size) + `"}],"resultType":"complete"}`
}

func status(code int, kind, body string) func(*testenv.Call) {
	return func(c *testenv.Call) { c.HTTP.Status(code, kind, body) }
}

func raw(text string) func(*testenv.Call) {
	return func(c *testenv.Call) { c.HTTP.Hijack(text) }
}

func events(text string) func(*testenv.Call) {
	return func(c *testenv.Call) { c.HTTP.Events(text) }
}

const (
	asJSON    = "application/json"
	otherID   = `{"jsonrpc":"2.0","id":"other","result":{"content":[]}}`
	httpHead  = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	notAnswer = `{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":1}}`
)

// faults of servers over HTTP, of either era.
var httpFaults = map[string]fault{
	"garbage":          {status(200, asJSON, "no JSON at all"), "not a valid MCP message"},
	"empty":            {status(200, asJSON, ""), "not a valid MCP message"},
	"cut off":          {status(200, asJSON, `{"jsonrpc":"2.0","id":`), "not a valid MCP message"},
	"not UTF-8":        {status(200, asJSON, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"a\":\"\xff\"}}"), "not a valid MCP message"},
	"an array":         {status(200, asJSON, `[]`), ""},
	"key twice":        {status(200, asJSON, `{"jsonrpc":"2.0","id":1,"id":2,"result":{}}`), "not a valid MCP message"},
	"result and error": {status(200, asJSON, `{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":"x"}}`), "not a valid MCP message"},
	"too deep":         {status(200, asJSON, `{"jsonrpc":"2.0","id":1,"result":{"a":`+strings.Repeat("[", 500)+strings.Repeat("]", 500)+`}}`), "not a valid MCP message"},
	"other id":         {status(200, asJSON, otherID), "id of another request"},
	"notification":     {status(200, asJSON, notAnswer), "no answer"},
	"HTML":             {status(200, "text/html", "<html>login</html>"), "text/html"},
	"no type":          {raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), "content type"},
	"no content":       {status(204, "", ""), "204"},
	"accepted":         {status(202, "", ""), "202"},
	"500":              {status(500, "text/plain", "oops"), "500"},
	"500, no JSON":     {status(500, asJSON, "oops"), "fails with HTTP 500"},
	"500, other JSON":  {status(500, asJSON, `{"error":"oops"}`), "fails with HTTP 500"},
	"410, no JSON":     {status(410, asJSON, "oops"), "HTTP 410"},
	"502":              {status(502, "text/html", "<html>bad gateway</html>"), "502"},
	"401":              {status(401, asJSON, "{}"), "401"},
	"403":              {status(403, "", ""), "403"},
	"redirect":         {func(c *testenv.Call) { c.HTTP.Status(307, "", "") }, "redirect"},
	"no HTTP":          {raw("SSH-2.0-OpenSSH\r\n"), "broke"},
	"closed":           {raw(""), "broke"},
	"closed in head":   {raw("HTTP/1.1 200 OK\r\nContent-"), "broke"},
	"closed in body":   {raw(httpHead + "Content-Length: 100\r\n\r\n{\"jsonrpc\":"), "broke"},
	"two lengths":      {raw(httpHead + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), "broke"},
	"bad chunk":        {raw(httpHead + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"), "broke"},
	"huge head":        {raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"), "broke"},
	"too large":        {func(c *testenv.Call) { c.Result(big(2 * mostBytes)) }, "maxBytes"},
	"endless":          {raw(httpHead + "\r\n" + strings.Repeat(" ", 3*mostBytes)), "maxBytes"},
	"just fits":        {func(c *testenv.Call) { c.Result(big(mostBytes - 300)) }, ""},
	"stream ends":      {events(": hello\n\n"), "ended its stream"},
	"stream cut":       {func(c *testenv.Call) { c.HTTP.Events("data: {\"jsonrpc\""); c.HTTP.Cut() }, "stream"},
	"garbage event":    {events("data: nonsense\n\n"), "not a valid MCP message"},
	"event too large":  {events("data: " + strings.Repeat("x", 2*mostBytes) + "\n\n"), "maxBytes"},
	"endless line":     {events(strings.Repeat("x", 2*mostBytes)), "maxBytes"},
	"only other ids":   {events("data: " + otherID + "\n\n"), "ended its stream"},
	"other id first":   {func(c *testenv.Call) { c.Before(otherID); c.Text("done") }, ""},
	"odd events": {func(c *testenv.Call) {
		c.HTTP.Events(":\n\nevent: ping\ndata: x\n\nretry: x\nid: 1\n\n")
		c.Text("done")
	}, ""},
	"never answers":     {(*testenv.Call).Hang, "silent"},
	"stops in stream":   {func(c *testenv.Call) { c.HTTP.Events(": hello\n\n"); c.Hang() }, "silent"},
	"too many redirect": {status(301, "", ""), "redirect"},
}

// faults of servers over stdio, of either era.
var stdioFaults = map[string]fault{
	"garbage":        {func(c *testenv.Call) { c.Child.Print("no JSON at all\n"); c.Text("done") }, ""},
	"debug output":   {func(c *testenv.Call) { c.Child.Print("Listening…\n\n\r\n[1,2]\n7\n\xff\xfe\n"); c.Text("done") }, ""},
	"a batch":        {func(c *testenv.Call) { c.Child.Print("[" + otherID + "]\n"); c.Text("done") }, ""},
	"other id":       {func(c *testenv.Call) { c.Child.Print(otherID + "\n"); c.Text("done") }, ""},
	"answers twice":  {func(c *testenv.Call) { c.Text("done"); c.Text("done") }, ""},
	"floods stderr":  {func(c *testenv.Call) { c.Child.Complain(strings.Repeat("noise\n", 200_000)); c.Text("done") }, ""},
	"stderr no line": {func(c *testenv.Call) { c.Child.Complain(strings.Repeat("x", 1<<20)); c.Text("done") }, ""},
	"line ends CRLF": {func(c *testenv.Call) {
		c.Child.Print(`{"jsonrpc":"2.0","id":` + c.ID + `,"result":` + big(1) + "}\r\n")
	}, ""},
	"just fits":     {func(c *testenv.Call) { c.Result(big(mostBytes - 300)) }, ""},
	"too large":     {func(c *testenv.Call) { c.Result(big(2 * mostBytes)) }, "maxBytes"},
	"endless line":  {func(c *testenv.Call) { c.Child.Print(strings.Repeat("x", 3*mostBytes) + "\n"); c.Hang() }, "maxBytes"},
	"never answers": {(*testenv.Call).Hang, "silent"},
	"exits":         {func(c *testenv.Call) { c.Child.Complain("\nout of cheese\n"); c.Child.Exit(9) }, "exit status 9"},
	"half a line":   {func(c *testenv.Call) { c.Child.Print(`{"jsonrpc":"2.0",`); c.Child.Exit(0) }, "process ended"},
}

// streamFaults are those of a server of HTTP+SSE.
var streamFaults = map[string]fault{
	"garbage": {func(c *testenv.Call) {
		c.Line.Events("data: no JSON\n\nevent: ping\ndata: 1\n\nid: 1\n\n")
		c.Text("done")
	}, ""},
	"a batch":       {func(c *testenv.Call) { c.Send("[" + otherID + "]"); c.Text("done") }, ""},
	"other id":      {func(c *testenv.Call) { c.Send(otherID); c.Text("done") }, ""},
	"answers twice": {func(c *testenv.Call) { c.Text("done"); c.Text("done") }, ""},
	"just fits":     {func(c *testenv.Call) { c.Result(big(mostBytes - 300)) }, ""},
	"too large":     {func(c *testenv.Call) { c.Result(big(2 * mostBytes)) }, "maxBytes"},
	"never answers": {(*testenv.Call).Hang, "silent"},
	"ends":          {func(c *testenv.Call) { c.Line.Cut() }, "session ended"},
	"ends in event": {func(c *testenv.Call) { c.Line.Events(`data: {"jsonrpc"`); c.Line.Cut() }, "session ended"},
	"another origin": {func(c *testenv.Call) {
		c.Line.Events("event: endpoint\ndata: http://evil.example/\n\n")
		c.Text("done")
	}, ""},
}

// TestFaults: each fault of a server fails its own call with a reason that names the server, and nothing else.
func TestFaults(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		faults := httpFaults
		switch {
		case k.stdio:
			faults = stdioFaults
		case k.old:
			faults = streamFaults
		}
		script := testenv.Script{Tools: []string{testenv.Tool("good")}, On: map[string]func(*testenv.Call){}}
		i := 0
		names := map[string]string{}
		for name, f := range faults {
			names[name] = fmt.Sprintf("f%d", i)
			script.Tools = append(script.Tools, testenv.Tool(names[name]))
			script.On["tools/call "+names[name]] = f.do
			i++
		}
		bad := k.server(t, script)
		good := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
		g := testenv.Serve(t, testenv.Config{
			Servers: map[string]*testenv.Server{"good": good},
			Entries: map[string]any{ // the same server twice: only silence is waited for with impatience
				"bad":  bad.Entry(map[string]any{"timeouts": map[string]any{"call": "60s"}}),
				"mute": bad.Entry(map[string]any{"timeouts": map[string]any{"call": "700ms"}}),
			},
			More: map[string]any{"messages": map[string]any{"maxBytes": mostBytes}, "log": map[string]any{"level": "error"}},
		})
		client := g.Client(era, "/mcp")
		for name, f := range faults {
			server := "bad"
			if f.say == "silent" {
				server = "mute"
			}
			r := client.Do(testenv.Request{ID: `"f"`, Method: "tools/call", Members: `"name":"` + server + `__` + names[name] + `"`})
			code, text := r.Error()
			switch {
			case name == "an array" && code == -32603:
			case f.say == "" && (code != 0 || r.ID() != `"f"` || r.Texts() == ""):
				t.Errorf("%s: %v", name, r)
			case f.say != "" && (code != -32603 || r.ID() != `"f"` || !strings.Contains(text, f.say) || !strings.Contains(text, `server "`+server+`"`)):
				t.Errorf("%s: %v, want %q", name, r, f.say)
			}
			if r := client.Tool("good__tool0000", "{}"); r.Texts() != "done" {
				t.Errorf("another server after %s: %v", name, r)
			}
			if r := client.Tool("bad__good", "{}"); r.Texts() != "done" {
				t.Errorf("the same server after %s: %v", name, r)
			}
		}
	})
}

// TestFullSize: an answer of nearly 16 MiB passes by default, a larger one is refused, in both directions.
func TestFullSize(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		if k.era == testenv.Legacy || k.streams {
			t.Skip("as large as others")
		}
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("big"), testenv.Tool("echo")}, On: map[string]func(*testenv.Call){
			"tools/call big":  func(c *testenv.Call) { c.Result(big(16<<20 - 300)) },
			"tools/call echo": func(c *testenv.Call) { c.Text(fmt.Sprint(len(c.Args()))) },
		}})
		g := testenv.Serve(t, testenv.One(s))
		if r := g.Modern("/mcp").Tool("one__big", "{}"); len(r.Last()) < 16<<20-300 {
			t.Errorf("%.300v", r)
		}
		args := `{"a":"` + strings.Repeat("x", 16<<20-1000) + `"}`
		if r := g.Modern("/mcp").Tool("one__echo", args); r.Texts() != fmt.Sprint(len(args)) {
			t.Errorf("%.300v", r)
		}
		if r := g.Modern("/mcp").Tool("one__echo", `"`+strings.Repeat("x", 16<<20)+`"`); r.Status != 413 {
			t.Errorf("%.300v", r)
		}
	})
}

// TestFloodCostsNothing: calls of one server go on at their pace while another is flooded with calls that all fail.
func TestFloodCostsNothing(t *testing.T) {
	t.Parallel()
	garbage := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){
		"tools/call": status(200, asJSON, "nonsense"),
	}})
	hanging := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){
		"tools/call": (*testenv.Call).Hang,
	}})
	noisy := testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) {
			c.Child.Print(strings.Repeat("noise\n", 20))
			c.Child.Complain("noise\n")
			c.Text("done")
		},
	}})
	good := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	child := testenv.StdioServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"good": good, "child": child, "garbage": garbage, "noisy": noisy},
		Entries: map[string]any{"hanging": hanging.Entry(map[string]any{"timeouts": map[string]any{"call": "1s"}})},
		More:    map[string]any{"log": map[string]any{"level": "error"}},
	})
	client := g.Modern("/mcp")
	if r := client.Call("tools/list", ""); len(r.Names("tools")) != 5 {
		t.Fatalf("%v", r)
	}
	ctx := testenv.Within(t, 2*testenv.Patience)
	var stop atomic.Bool
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		each(30, func(i int) {
			name := []string{"garbage", "hanging", "noisy"}[i%3]
			for !stop.Load() {
				_, _ = client.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"` + name + `__tool0000"`}) // must fail, or may
			}
		})
	}()
	garbage.Await("tools/call", 100)
	watch := testenv.StartWatch(t)
	each(10, func(i int) {
		for range 20 {
			r, err := client.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"` + []string{"good", "child"}[i%2] + `__tool0000"`})
			if err != nil || r.Texts() != "done" {
				t.Errorf("%v %v", err, r)
			}
		}
	})
	if took := watch.Took(); took > 10*time.Second {
		t.Errorf("200 calls beside the flood took %s", took)
	}
	stop.Store(true)
	<-flooded
}

// TestServerRestarts at the same address, also as one of the other era, without losing a call that was not sent yet.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run("first "+era.String(), func(t *testing.T) {
			t.Parallel()
			s := testenv.HTTPServer(t, testenv.Script{Era: era, Tools: testenv.Tools(1), Lenient: false})
			g := testenv.Serve(t, testenv.One(s))
			client := g.Modern("/mcp")
			if r := client.Tool("one__tool0000", "{}"); r.Texts() != "done" {
				t.Fatal(r)
			}
			s.Stop()
			if r := client.Tool("one__tool0000", "{}"); !strings.Contains(r.String(), `server \"one\"`) {
				t.Errorf("while it is down: %v", r)
			}
			s.Start()
			testenv.Eventually(t, "the next good call", func() bool { return client.Tool("one__tool0000", "{}").Texts() == "done" })
			s.Stop()
			s.SetEra(1 - era)
			s.Start()
			testenv.Eventually(t, "a good call in the other era", func() bool { return client.Tool("one__tool0000", "{}").Texts() == "done" })
		})
	}
}
