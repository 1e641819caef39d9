package system_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestSlowBodies hold no more memory than what arrived of them. It is not parallel, since it measures the heap.
func TestSlowBodies(t *testing.T) { //nolint:paralleltest // see above
	const clients, length = 24, 15 << 20
	g := testenv.Serve(t, testenv.Config{})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.TotalAlloc
	}
	before := heap()
	for range clients {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(g.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(testenv.Patience)); err != nil {
			t.Fatal(err)
		}
		_, err = fmt.Fprintf(conn, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"+
			"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", conn.RemoteAddr(), length)
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(conn).ReadString('\n') // comes when the gateway waits for the body
		if err != nil || !strings.Contains(line, " 100 ") {
			t.Fatalf("%q %v", line, err)
		}
		if _, err := conn.Write([]byte("{")); err != nil {
			t.Fatal(err)
		}
	}
	if took := heap() - before; took > clients*length/4 {
		t.Errorf("%d bodies of %d bytes that have not come yet take %d bytes", clients, length, took)
	}
}

// TestResourceOwner: the server that lists a URI has it, whatever others have templates for, and whatever was listed before.
func TestResourceOwner(t *testing.T) {
	t.Parallel()
	const uri = "test://things/1"
	for _, known := range []bool{true, false} {
		for _, era := range testenv.Eras {
			t.Run(fmt.Sprintf("listed before %v, %s client", known, era), func(t *testing.T) {
				t.Parallel()
				read := func(who string) map[string]func(*testenv.Call) {
					return map[string]func(*testenv.Call){
						"resources/read": func(c *testenv.Call) {
							c.Complete(`"ttlMs":0,"cacheScope":"private","contents":[{"uri":"` + uri + `","text":"` + who + `"}]`)
						},
					}
				}
				a := testenv.HTTPServer(t, testenv.Script{Templates: []string{`{"uriTemplate":"test://things/{n}","name":"a"}`}, On: read("a")})
				lists := read("b")
				lists["resources/list"] = func(c *testenv.Call) {
					if !known {
						c.In(300 * time.Millisecond)
					}
					c.Default()
				}
				b := testenv.HTTPServer(t, testenv.Script{Resources: []string{`{"uri":"` + uri + `","name":"b"}`}, On: lists})
				g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"a": a, "b": b}})
				client := g.Client(era, "/mcp")
				if r := client.Call("resources/templates/list", ""); len(r.Names("resourceTemplates")) != 1 {
					t.Fatal(r)
				}
				if known {
					client.Call("resources/list", "")
				}
				if r := client.Call("resources/read", `"uri":"`+uri+`"`); !strings.Contains(r.String(), `"text":"b"`) {
					t.Errorf("%v", r)
				}
			})
		}
	}
}

// TestHeadersRefused: a server that knows a tool's headers better has its list fetched anew, however long it was good for.
func TestHeadersRefused(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) {
			c.HTTP.Status(400, asJSON, `{"jsonrpc":"2.0","id":`+c.ID+`,"error":{"code":-32020,"message":"Mcp-Param-Region is missing"}}`)
		},
	}})
	g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{"listTTL": "1h"})}})
	client := g.Modern("/mcp")
	client.Call("tools/list", "")
	client.Call("tools/list", "")
	if n := len(s.Received("tools/list")); n != 1 {
		t.Fatalf("a fresh list was asked for %d times", n)
	}
	r := client.Tool("one__tool0000", "{}")
	if code, _ := r.Error(); code != -32020 || len(s.Received("tools/call")) != 1 {
		t.Errorf("%v after %d calls", r, len(s.Received("tools/call")))
	}
	client.Call("tools/list", "")
	if n := len(s.Received("tools/list")); n != 2 {
		t.Errorf("the list was asked for %d times", n)
	}
}

// TestInitializeWithStaleSession opens another, as a client that keeps its headers expects.
func TestInitializeWithStaleSession(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{})
	ended := g.Legacy("/mcp")
	if code := ended.Delete(); code != 204 {
		t.Fatal(code)
	}
	for _, stale := range []string{"of-another-gateway", ended.Session, g.Legacy("/mcp").Session} {
		for _, version := range []string{"", testenv.LegacyVersion, "2025-06-18"} {
			c := testenv.NewClient(t, g.URL+"/mcp", testenv.Legacy)
			c.Session, c.Version = stale, version
			r := c.Call("initialize", `"protocolVersion":"`+testenv.LegacyVersion+`","capabilities":{},"clientInfo":{"name":"raw","version":"1"}`)
			id := r.Header.Get("Mcp-Session-Id")
			if r.Status != 200 || id == "" || id == stale {
				t.Fatalf("with session %.20q and version %q: %v", stale, version, r)
			}
			c.Session, c.Version = id, testenv.LegacyVersion
			if r := c.Call("ping", ""); r.Status != 200 {
				t.Errorf("the new session: %v", r)
			}
		}
	}
}

// TestCacheScope: what takes a key to get is for nobody else's cache.
func TestCacheScope(t *testing.T) {
	t.Parallel()
	for _, scope := range []string{"public", "private"} {
		t.Run(scope, func(t *testing.T) {
			t.Parallel()
			s := testenv.HTTPServer(t, testenv.Script{
				Tools: testenv.Tools(1), Resources: []string{`{"uri":"test://1","name":"one"}`},
				On: map[string]func(*testenv.Call){
					"resources/read": func(c *testenv.Call) {
						c.Complete(`"ttlMs":60000,"cacheScope":"public","contents":[{"uri":"test://1","text":"x"}]`)
					},
				},
			})
			c := testenv.One(s)
			key := ""
			if scope == "private" {
				key, c.More = aliceKey, map[string]any{"auth": twoKeys}
			}
			g := testenv.Serve(t, c)
			for _, path := range []string{"/servers/one/mcp", "/mcp"} {
				client := g.Modern(path)
				client.Key = key
				for method, members := range map[string]string{
					"server/discover": "", "tools/list": "", "prompts/list": "", "resources/list": "", "resources/templates/list": "",
					"resources/read": `"uri":"test://1"`,
				} {
					r := client.Call(method, members)
					if got := r.Member("cacheScope"); got != `"`+scope+`"` && (scope == "private" || path != "/mcp" && method != "server/discover" || method == "resources/read") {
						t.Errorf("%s %s: %v", path, method, r)
					}
				}
			}
		})
	}
}

// TestEncodedBody is refused as what it is, and so is a batch in a dialect that has none.
func TestEncodedBody(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{})
	for _, era := range testenv.Eras {
		client := g.Client(era, "/mcp")
		q := testenv.Request{Method: "tools/list"}
		for encoding, want := range map[string]int{"gzip": 415, "br": 415, "identity, gzip": 415, "identity": 200} {
			q.Header = http.Header{"Content-Encoding": {encoding}}
			r := client.Do(q)
			if _, text := r.Error(); r.Status != want || want == 415 && !strings.Contains(text, "Content-Encoding") {
				t.Errorf("%s client, %s: %v", era, encoding, r)
			}
		}
	}
	batch := testenv.Request{
		Body:   []byte(`[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]`),
		Header: http.Header{"Mcp-Protocol-Version": {testenv.ModernVersion}},
	}
	r := g.Modern("/mcp").Do(batch)
	if code, text := r.Error(); r.Status != 400 || code != -32600 || !strings.Contains(text, "batch") || !strings.Contains(text, testenv.ModernVersion) {
		t.Errorf("a batch of %s: %v", testenv.ModernVersion, r)
	}
}

// TestDetailsTakeAKey: what there is, how it does and why is not for everyone who can reach the port; whether it is ready is.
func TestDetailsTakeAKey(t *testing.T) {
	t.Parallel()
	good := testenv.HTTPServer(t, testenv.Script{})
	c := testenv.Config{
		Servers: map[string]*testenv.Server{"good": good}, Entries: map[string]any{"bad": map[string]any{"command": "no-such-command-here"}},
		More: map[string]any{"auth": twoKeys},
	}
	g := testenv.Serve(t, c)
	key := http.Header{"Authorization": {"Bearer " + aliceKey}}
	g.Write([]byte(`{"mcpServers":{},"secretMistake":1}`))
	testenv.Eventually(t, "all reasons", func() bool {
		code, body := g.Get("/health/ready", key)
		return code == 200 && strings.Contains(body, "no-such-command-here") && strings.Contains(body, "secretMistake")
	})
	for _, header := range []http.Header{nil, {"Authorization": {"Bearer mallory-0123456789"}}} {
		for _, path := range []string{"/health/ready", "/readyz"} {
			code, body := g.Get(path, header)
			var said map[string]any
			if err := json.Unmarshal([]byte(body), &said); err != nil || code != 200 || said["status"] != "degraded" || len(said) != 1 {
				t.Errorf("%s: HTTP %d %s, %v; want the status alone", path, code, body, err)
			}
		}
	}
}
