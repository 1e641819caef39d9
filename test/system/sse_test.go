package system_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestStream: a client of 2024-11-05 lists and calls tools of every kind of server, at both sorts of endpoint.
func TestStream(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("echo"), testenv.Tool("steps")}, On: map[string]func(*testenv.Call){
			"tools/call steps": func(c *testenv.Call) { c.Progress(1); c.Progress(2); c.Text("steps") },
			"tools/call echo":  func(c *testenv.Call) { c.Complete(`"content":[],"got":` + c.Args()) },
		}})
		g := testenv.Serve(t, testenv.One(s))
		for path, prefix := range map[string]string{"/sse": "one__", "/servers/one/sse": ""} {
			c := g.Stream(path, "")
			if want := g.URL + strings.TrimSuffix(path, "sse") + "message?s="; !strings.HasPrefix(c.Endpoint, want) {
				t.Errorf("endpoint %s, want %s…", c.Endpoint, want)
			}
			if h := c.Header.Get("X-Accel-Buffering"); h != "no" {
				t.Errorf("X-Accel-Buffering: %q", h)
			}
			if r := c.Call("tools/list", ""); len(r.Names("tools")) != 2 || r.Names("tools")[0] != prefix+"echo" {
				t.Errorf("tools/list: %v", r)
			}
			if r := c.Tool(prefix+"echo", `{"n":9007199254740993}`); r.Member("got") != `{"n":9007199254740993}` {
				t.Errorf("echo: %v", r)
			}
			if r := c.Call("ping", ""); string(r.Result()) != "{}" {
				t.Errorf("ping: %v", r)
			}
			if code, _ := c.Call("no/such", "").Error(); code != -32601 {
				t.Errorf("unknown method: %d", code)
			}
			r := c.Call("tools/call", `"name":"`+prefix+`steps","_meta":{"progressToken":"p"}`)
			if r.Texts() != "steps" {
				t.Errorf("steps: %v", r)
			}
			for _, step := range []string{`"progress":1`, `"progress":2`} {
				if m := c.Await(step); !strings.Contains(string(m), `"progressToken":"p"`) {
					t.Errorf("progress: %s", m)
				}
			}
			if r := c.Call("initialize", `"protocolVersion":"2024-11-05","capabilities":{}`); r.Result() != nil {
				t.Errorf("initialize again: %v", r)
			}
		}
	})
}

// TestStreamVersions: the version asked for, else the one that the transport is of.
func TestStreamVersions(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{})
	for asked, want := range map[string]string{
		"2024-11-05": "2024-11-05", "2025-03-26": "2025-03-26", "2025-11-25": "2025-11-25", "2026-07-28": "2024-11-05", "1999-01-01": "2024-11-05",
	} {
		c, _ := g.OpenStream("/sse", "", nil)
		if code, text := c.Call("tools/list", "").Error(); code != -32600 || !strings.Contains(text, "initialize") {
			t.Errorf("before initialize: %d %s", code, text)
		}
		if r := c.Call("ping", ""); string(r.Result()) != "{}" {
			t.Errorf("ping before initialize: %v", r)
		}
		if got := c.Initialize(asked, "{}"); got != want {
			t.Errorf("asked for %s, got %s, want %s", asked, got, want)
		}
		batches := asked == "2025-03-26"
		if code := c.Post(`[{"jsonrpc":"2.0","id":"b1","method":"ping"},{"jsonrpc":"2.0","id":"b2","method":"tools/list"}]`); code != http.StatusAccepted {
			t.Errorf("batch: HTTP %d", code)
		}
		if !batches {
			c.Await("only 2025-03-26 has batches")
			continue
		}
		var all []json.RawMessage
		if err := json.Unmarshal(c.Await(`"b1"`), &all); err != nil || len(all) != 2 {
			t.Errorf("batch: %v %s", err, all)
		}
	}
}

// TestStreamIsBound to who opened it, and where; every wrong token gets the same answer.
func TestStreamIsBound(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	other := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s, "two": other}, More: map[string]any{"auth": twoKeys}})
	for _, key := range []string{"", "mallory-0123456789"} {
		if _, status := g.OpenStream("/sse", key, nil); status != http.StatusUnauthorized {
			t.Errorf("GET with key %q: HTTP %d", key, status)
		}
	}
	alice := g.Stream("/sse", aliceKey)
	const ping = `{"jsonrpc":"2.0","id":"x","method":"ping"}`
	token := alice.Token()
	gone := map[string]bool{}
	try := func(what, to, key string, want int) {
		t.Helper()
		status, answer := alice.PostTo(g.URL+to, key, ping)
		if status != want {
			t.Errorf("%s: HTTP %d %s, want %d", what, status, answer, want)
		}
		if want == http.StatusNotFound {
			gone[answer] = true
		}
	}
	try("another principal", "/message?s="+token, bobKey, 404)
	try("no key", "/message?s="+token, "", 401)
	try("another endpoint", "/servers/one/message?s="+token, aliceKey, 404)
	try("cut off", "/message?s="+token[:len(token)-1], aliceKey, 404)
	try("none", "/message", aliceKey, 404)
	try("two", "/message?s="+token+"&s="+token, aliceKey, 404)
	try("a session id", "/message?s="+g.LegacyOf("/mcp", testenv.LegacyVersion, aliceKey).Session, aliceKey, 404)
	try("its owner", "/message?s="+token, aliceKey, 202)
	ended := g.Stream("/sse", aliceKey)
	ended.Close()
	testenv.Eventually(t, "end of the stream", func() bool {
		status, _ := alice.PostTo(ended.Endpoint, aliceKey, ping)
		return status == http.StatusNotFound
	})
	try("ended", "/message?s="+ended.Token(), aliceKey, 404)
	if len(gone) != 1 {
		t.Errorf("wrong tokens are told apart: %v", gone)
	}
	_, metrics := g.Get("/metrics", http.Header{"Authorization": {"Bearer " + aliceKey}})
	if !strings.Contains(metrics, `mcp_rejected_tokens_total{kind="stream"} 6`) {
		t.Errorf("metrics lack the rejected tokens")
	}
}

// TestStreamDoors take what they are for, from whom it may come.
func TestStreamDoors(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{})
	for header, want := range map[string]int{"Origin: https://evil.example": 403, "Host: evil.example": 403, "Accept: application/json": 406, "Accept: */*": 200} {
		name, value, _ := strings.Cut(header, ": ")
		if _, status := g.OpenStream("/sse", "", http.Header{name: {value}}); status != want {
			t.Errorf("%s: HTTP %d, want %d", header, status, want)
		}
	}
	c := g.Stream("/sse", "")
	for to, want := range map[string]int{"/sse": 405, "/servers/nobody/message": 404, "/servers//sse": 404} {
		if status, answer := c.PostTo(g.URL+to, "", "{}"); status != want {
			t.Errorf("POST %s: HTTP %d %s, want %d", to, status, answer, want)
		}
	}
	if code, _ := g.Get("/message", nil); code != 405 {
		t.Errorf("GET /message: HTTP %d", code)
	}
	if code, _ := g.Get("/servers/nobody/sse", nil); code != 404 {
		t.Errorf("GET of an unknown server: HTTP %d", code)
	}
	for body, want := range map[string]int{"": 400, "{": 400, `{"jsonrpc":"2.0","id":1,"method":"ping","method":"x"}`: 400, `{"jsonrpc":"2.0","method":"notifications/what"}`: 202} {
		if status, answer := c.PostTo(c.Endpoint, "", body); status != want {
			t.Errorf("POST of %s: HTTP %d %s, want %d", body, status, answer, want)
		}
	}
}

// TestStreamsAreBounded per caller and together, and requests per stream.
func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{More: map[string]any{"auth": twoKeys, "streams": map[string]any{"perPrincipal": 2, "total": 3}}})
	first := g.Stream("/sse", aliceKey)
	g.Stream("/sse", aliceKey)
	if _, status := g.OpenStream("/sse", aliceKey, nil); status != http.StatusServiceUnavailable {
		t.Errorf("a third stream of one caller: HTTP %d", status)
	}
	g.Stream("/sse", bobKey)
	if _, status := g.OpenStream("/sse", bobKey, nil); status != http.StatusServiceUnavailable {
		t.Errorf("a fourth stream: HTTP %d", status)
	}
	first.Close()
	testenv.Eventually(t, "room for another stream", func() bool {
		_, status := g.OpenStream("/sse", bobKey, nil)
		return status == http.StatusOK
	})
}

// TestStreamCalls: requests run side by side up to a bound, in any order, and are cancelled by the client alone.
func TestStreamCalls(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		h := hold(t, k)
		g := testenv.Serve(t, testenv.One(h.Server))
		c, another := g.Stream("/sse", ""), g.Stream("/sse", "")
		id := c.Send("tools/call", `"name":"one__hold"`)
		call := <-h.calls
		if r := c.Tool("one__echo", "{}"); r.Texts() != "done" {
			t.Errorf("beside another: %v", r)
		}
		cancel := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%s}}`, id)
		if code := another.Post(cancel); code != http.StatusAccepted || len(h.left) > 0 {
			t.Errorf("another client's cancellation: HTTP %d, %d cancelled", code, len(h.left))
		}
		if code := c.Post(cancel); code != http.StatusAccepted {
			t.Errorf("cancellation: HTTP %d", code)
		}
		h.cancelled(t, k, call)
		c.Tool("one__echo", "{}")
		for _, m := range c.Messages() {
			if strings.Contains(string(m), `"id":`+id+",") {
				t.Errorf("a cancelled request was answered: %s", m)
			}
		}
	})
}

// TestStreamEnds: what runs for a client that is gone is cancelled, since nobody can get the answer.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		h := hold(t, k)
		g := testenv.Serve(t, testenv.One(h.Server))
		c := g.Stream("/sse", "")
		c.Send("tools/call", `"name":"one__hold"`)
		call := <-h.calls
		c.Close()
		h.cancelled(t, k, call)
	})
}

// TestStreamCallsBounded: one client cannot have any number of requests under way.
func TestStreamCallsBounded(t *testing.T) {
	t.Parallel()
	const most = 64
	let := make(chan struct{})
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) { <-let; c.Text("done") },
	}})
	g := testenv.Serve(t, testenv.One(s))
	c := g.Stream("/sse", "")
	var ids []string
	for range most {
		ids = append(ids, c.Send("tools/call", `"name":"one__tool0000"`))
	}
	if code := c.Post(`{"jsonrpc":"2.0","id":"more","method":"ping"}`); code != http.StatusServiceUnavailable {
		t.Errorf("one more: HTTP %d", code)
	}
	close(let)
	for _, id := range ids {
		if r := c.Answer(id); r.Texts() != "done" {
			t.Errorf("%v", r)
		}
	}
	testenv.Eventually(t, "room for another request", func() bool { return c.Post(`{"jsonrpc":"2.0","id":"more","method":"ping"}`) == http.StatusAccepted })
}

// TestStreamDrains: a gateway that stops lets the calls of a stream finish, and then ends it.
func TestStreamDrains(t *testing.T) {
	t.Parallel()
	h := hold(t, kinds[0])
	g := testenv.Serve(t, testenv.One(h.Server))
	c, idle := g.Stream("/sse", ""), g.Stream("/sse", "")
	id := c.Send("tools/call", `"name":"one__hold"`)
	<-h.calls
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		g.Stop()
	}()
	<-idle.Ended
	close(h.let)
	if r := c.Answer(id); r.Texts() != "let go" {
		t.Errorf("the running call: %v", r)
	}
	<-c.Ended
	<-stopped
}

// TestStreamDrainEnds: a client that goes on posting, and whose call does not end, holds its stream until drainTimeout and no longer. It is
// told what became of each call that was accepted.
func TestStreamDrainEnds(t *testing.T) {
	t.Parallel()
	h := hold(t, kinds[0])
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": h.Server}, More: map[string]any{"drainTimeout": "1s"}})
	c := g.Stream("/sse", "")
	held := c.Send("tools/call", `"name":"one__hold"`)
	<-h.calls
	accepted := make(chan []string, 1)
	go func() {
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		var ids []string
		defer func() { accepted <- ids }()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for n := 1000; ; n++ {
			<-tick.C
			id := strconv.Itoa(n)
			body := `{"jsonrpc":"2.0","id":` + id + `,"method":"tools/call","params":{"name":"one__echo"}}`
			r, err := http.NewRequestWithContext(testenv.Within(t, testenv.Patience), http.MethodPost, c.Endpoint, strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(r)
			if err != nil {
				return // nobody listens any more
			}
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusAccepted {
				ids = append(ids, id)
			}
		}
	}()
	testenv.Eventually(t, "posted calls", func() bool { return len(h.Received("tools/call")) > 3 })
	g.Stop()
	<-c.Ended
	if _, text := c.Answer(held).Error(); !strings.Contains(text, "did not finish within drainTimeout") {
		t.Errorf("the call that did not end: %q", text)
	}
	for _, id := range <-accepted {
		r := c.Answer(id)
		if _, text := r.Error(); r.Texts() != "done" && !strings.Contains(text, "drainTimeout") {
			t.Errorf("call %s: %v", id, r)
		}
	}
	<-h.left
}

// TestStreamKeyRevoked: a stream ends with the key that opened it.
func TestStreamKeyRevoked(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	c := testenv.One(s)
	c.More = map[string]any{"auth": twoKeys}
	g := testenv.Serve(t, c)
	alice := g.Stream("/sse", aliceKey)
	c.More = map[string]any{"auth": map[string]any{"apiKeys": []map[string]any{{"name": "alice", "key": "another-key-0123456789"}}}}
	g.Configure(c)
	testenv.Eventually(t, "the new key", func() bool {
		status, _ := alice.PostTo(alice.Endpoint, "another-key-0123456789", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
		return status != http.StatusUnauthorized
	})
	<-alice.Ended
}

// streamAsks calls every tool of an asker over a stream, and wants what it ends with.
func streamAsks(t *testing.T, c *testenv.StreamClient, via func(int) string) {
	t.Helper()
	for name, want := range testenv.AskerAnswers {
		if r, n := c.Talk("tools/call", `"name":"one__`+name+`","arguments":{}`, testenv.Agree, via); r.Texts() != want {
			t.Errorf("%s after %d answers: %v, want %s", name, n, r, want)
		}
	}
}

// TestStreamAsked: any server asks a client that holds a stream, and one that declared nothing is asked nothing.
func TestStreamAsked(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		g := testenv.Serve(t, testenv.One(k.server(t, testenv.Asker(k.era))))
		for _, version := range []string{"2024-11-05", "2025-11-25"} {
			c, _ := g.OpenStream("/sse", "", nil)
			c.Initialize(version, testenv.AllCapabilities)
			streamAsks(t, c, nil)
		}
		plain := g.Stream("/sse", "")
		if r, n := plain.Talk("tools/call", `"name":"one__trip","arguments":{}`, testenv.Agree, nil); n > 0 || r.Texts() == testenv.AskerAnswers["trip"] {
			t.Errorf("a client that can be asked nothing got %d questions: %v", n, r)
		}
	})
}

// TestStreamLevel: a client sets its level, and gets what a server logs at it.
func TestStreamLevel(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("log")}, On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) {
				for _, level := range []string{"info", "error"} {
					c.Before(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"` + level + `","data":"` + level + `-said"}}`)
				}
				c.Text("done")
			},
		}})
		g := testenv.Serve(t, testenv.One(s))
		c := g.Stream("/sse", "")
		c.Call("tools/list", "") // over stdio a log has an owner only when one call is under way: let the first list end
		if r := c.Call("logging/setLevel", `"level":"error"`); string(r.Result()) != "{}" {
			t.Fatalf("%v", r)
		}
		testenv.Eventually(t, "log message", func() bool { // over stdio it is certain whose it is only beside no other call
			if r := c.Tool("one__log", "{}"); r.Texts() != "done" {
				t.Fatalf("%v", r)
			}
			return strings.Contains(fmt.Sprintf("%s", c.Messages()), "error-said")
		})
		for _, m := range c.Messages() {
			if strings.Contains(string(m), "info-said") {
				t.Errorf("below the level: %s", m)
			}
		}
	})
}

// TestStreamFleet: what is posted to another replica reaches the one that has the stream, and nothing reaches one that is gone.
func TestStreamFleet(t *testing.T) {
	t.Parallel()
	redis := testenv.StartRedis(t)
	f := testenv.ServeFleet(t, testenv.FleetConfig{Config: testenv.One(testenv.HTTPServer(t, testenv.Asker(testenv.Modern))), Redis: redis.URL()})
	c := f.Stream(0, "/sse")
	path := strings.TrimPrefix(c.Endpoint, f.Replicas[0].URL)
	at := func(n int) string { return f.Replicas[n%3].URL + path }
	c.Endpoint = at(1)
	c.Initialize("2025-11-25", testenv.AllCapabilities)
	streamAsks(t, c, at)
	for body, want := range map[string]int{"{": 400, `{"jsonrpc":"2.0","method":"notifications/what"}`: 202, `{"jsonrpc":"2.0","id":"x","result":{}}`: 400} {
		for n := range 3 {
			if status, answer := c.PostTo(at(n), "", body); status != want {
				t.Errorf("POST of %s at replica %d: HTTP %d %s, want %d", body, n, status, answer, want)
			}
		}
	}
	const ping = `{"jsonrpc":"2.0","id":"x","method":"ping"}`
	left := f.Stream(0, "/sse")
	left.Close()
	testenv.Eventually(t, "end of a stream that was left", func() bool {
		status, _ := c.PostTo(f.Replicas[1].URL+strings.TrimPrefix(left.Endpoint, f.Replicas[0].URL), "", ping)
		return status == http.StatusNotFound
	})
	redis.Stop()
	testenv.Eventually(t, "honest refusal while the bus is away", func() bool {
		status, answer := c.PostTo(at(1), "", ping)
		return status == http.StatusServiceUnavailable && strings.Contains(answer, "cannot be reached now")
	})
	if status, answer := c.PostTo(at(0), "", ping); status != http.StatusAccepted {
		t.Errorf("at the stream's own replica, without a bus: HTTP %d %s", status, answer)
	}
	redis.Start()
	testenv.Eventually(t, "the bus is back", func() bool {
		status, _ := c.PostTo(at(1), "", ping)
		return status == http.StatusAccepted
	})
	f.Kill(0)
	<-c.Ended
	testenv.Eventually(t, "refusal after the end of the replica", func() bool { // the bus may still be coming back
		status, _ := c.PostTo(at(1), "", ping)
		return status == http.StatusNotFound
	})
	again := f.Stream(1, "/sse")
	again.Initialize("2025-11-25", testenv.AllCapabilities)
	streamAsks(t, again, nil)
}

// TestStreamHears: a client is told on its stream what changes, and of the resources that it subscribed to.
func TestStreamHears(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		tell := &testenv.Teller{Refuse: []string{"mem://b"}}
		g := testenv.Serve(t, testenv.One(teller(t, k, tell)))
		c := g.Stream("/sse", "")
		if r := c.Call("resources/subscribe", `"uri":"mem://b"`); r.Result() != nil {
			t.Errorf("a subscription that the server refuses: %v", r)
		}
		if r := c.Call("resources/subscribe", `"uri":"mem://a"`); string(r.Result()) != "{}" {
			t.Fatalf("%v", r)
		}
		testenv.Eventually(t, "notices", func() bool { // the watch begins in its own time
			tell.Changed("tools")
			tell.Updated("mem://a", "")
			tell.Updated("mem://b", "")
			all := fmt.Sprintf("%s", c.Messages())
			return strings.Contains(all, toolsChanged) && strings.Contains(all, updated)
		})
		if r := c.Call("resources/unsubscribe", `"uri":"mem://a"`); string(r.Result()) != "{}" {
			t.Errorf("%v", r)
		}
		if strings.Contains(fmt.Sprintf("%s", c.Messages()), `"uri":"mem://b"`) {
			t.Error("told of what it did not subscribe to")
		}
	})
}
