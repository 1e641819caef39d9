package system_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

const rootKey = "root-0123456789abcdef-root"

// withRoot has root do everything and alice use servers.
func withRoot(more map[string]any) map[string]any {
	all := map[string]any{
		"auth": map[string]any{"apiKeys": []any{
			map[string]any{"name": "root", "key": rootKey, "roles": []string{"admin"}}, map[string]any{"name": "alice", "key": aliceKey},
		}},
		"policies": map[string]any{"bindings": []any{map[string]any{"everyone": true, "role": "user"}}},
	}
	maps.Copy(all, more)
	return all
}

// command runs a command of toolcrib with a key, and returns what it printed.
func command(t *testing.T, key string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "TOOLCRIB_API_KEY="+key)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestLogLevelsChange: the level of a component changes by the configuration and by who may do that, while the gateway runs.
func TestLogLevelsChange(t *testing.T) {
	t.Parallel()
	var tools []string // one for each call
	for i := range 7 {
		tools = append(tools, testenv.Tool("t"+strconv.Itoa(i)))
	}
	s := testenv.HTTPServer(t, testenv.Script{Tools: tools})
	config := func(log map[string]any) testenv.Config {
		c := testenv.One(s)
		c.More = withRoot(map[string]any{"log": log})
		return c
	}
	g := testenv.Serve(t, config(map[string]any{"level": "info"}))
	client := g.Modern("/mcp")
	client.Key = aliceKey
	const line = "msg=call method=tools/call server=one tool="
	calls, want := 0, ""
	called := func(logged bool) {
		t.Helper()
		tool := "t" + strconv.Itoa(calls)
		calls++
		if r := client.Tool("one__"+tool, "{}"); r.Texts() != "done" {
			t.Errorf("%v", r)
		}
		if logged {
			want += tool + " "
			testenv.Eventually(t, "the call is logged", func() bool { return strings.Contains(g.Log(), line+tool+" ") })
		}
	}
	level := func(args ...string) string {
		t.Helper()
		out, err := command(t, rootKey, append([]string{"log", "level", "--url", g.URL}, args...)...)
		if err != nil {
			t.Errorf("%v: %v: %s", args, err, out)
		}
		return strings.Join(strings.Fields(out), ",")
	}
	called(false)
	if out := level("calls=debug", "--for", "1h"); !strings.Contains(out, "calls,debug,info,") || !strings.Contains(out, "upstream,info,info,-") {
		t.Errorf("shown: %s", out)
	}
	called(true)
	configured := func(log map[string]any, want string) {
		t.Helper()
		g.Configure(config(log))
		testenv.Eventually(t, want, func() bool { return strings.Contains(level(), want) })
	}
	configured(map[string]any{"level": "error"}, "calls,debug,error,")
	called(true)
	if out := level("default"); !strings.Contains(out, "calls,error,error,-") {
		t.Errorf("shown: %s", out)
	}
	called(false)
	configured(map[string]any{"levels": map[string]string{"calls": "debug"}}, "app,info,info,-,audit,info,info,-,calls,debug,debug,-")
	called(true)
	level("warn")
	called(false)
	level("calls=debug")
	called(true)

	if out, err := command(t, aliceKey, "log", "level", "debug", "--url", g.URL); err == nil || !strings.Contains(out, "log:write") {
		t.Errorf("who may not change it: %v: %s", err, out)
	}
	for _, args := range [][]string{{"disk=debug"}, {"app=loud"}, {"--for", "1m"}, {"=debug"}, {"app=debug", "--for", "1ms"}, {"app=debug", "--for", "9999h"}} {
		if out, err := command(t, rootKey, append([]string{"log", "level", "--url", g.URL}, args...)...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
	for _, body := range []string{`{}`, `{"level":"debug","seconds":-1}`, `{"level":"debug","component":"x"}`} {
		if status, text := fetch(t, g, "POST", "/api/v1/log", body, bearer(rootKey)); status != http.StatusBadRequest || !strings.Contains(text, `"field"`) {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}

	g.Stop() // which has all that waits be written
	got := ""
	for text := range strings.Lines(g.Log()) {
		if _, rest, ok := strings.Cut(text, line); ok {
			tool, _, _ := strings.Cut(rest, " ")
			got += tool + " "
		}
	}
	if got != want {
		t.Errorf("logged are the calls of %s, want %s", got, want)
	}
}

// talkative is a server whose tools say a secret: in a result, in an error, as one of transport, and with what it was sent.
func talkative(secret string) testenv.Script {
	return testenv.Script{
		Tools: []string{testenv.Tool("says"), testenv.Tool("errs"), testenv.Tool("fails"), testenv.Tool("breaks"), testenv.Tool("echo")},
		On: map[string]func(*testenv.Call){
			"tools/call says": func(c *testenv.Call) { c.Text(secret) },
			"tools/call errs": func(c *testenv.Call) { c.Error(-32000, secret, `,"data":"`+secret+`"`) },
			"tools/call fails": func(c *testenv.Call) {
				c.Complete(`"isError":true,"content":[{"type":"text","text":"` + secret + `"}]`)
			},
			"tools/call breaks": func(c *testenv.Call) {
				if c.HTTP != nil {
					c.HTTP.Status(http.StatusInternalServerError, "text/plain", secret)
					return
				}
				c.Send(`{"jsonrpc":"2.0","id":` + c.ID + `,"result":"` + secret + `"`)
			},
			"tools/call echo": func(c *testenv.Call) { c.Complete(`"content":[],"structuredContent":` + c.Args()) },
		},
	}
}

// TestCanaryLog: a secret in headers, arguments and results is in no line of the log, whatever is logged, nor in a metric.
func TestCanaryLog(t *testing.T) {
	t.Parallel()
	const secret = "canary-3f9c1e77aa"
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			far, near := testenv.HTTPServer(t, talkative(secret)), testenv.StdioServer(t, talkative(secret))
			g := testenv.Serve(t, testenv.Config{
				Entries: map[string]any{
					"far":  far.Entry(map[string]any{"headers": map[string]any{"X-Key": secret}}),
					"near": near.Entry(map[string]any{"env": map[string]any{"KEY": secret}}),
				},
				More: withRoot(map[string]any{"log": map[string]any{"level": "debug", "calls": true, "format": format}}),
			})
			for _, era := range testenv.Eras {
				c := as(t, g, era, aliceKey, "")
				for _, server := range []string{"far", "near"} {
					for _, tool := range []string{"says", "errs", "fails", "breaks", "echo", "missing", secret} {
						c.Do(testenv.Request{
							Method: "tools/call", Members: `"name":"` + server + `__` + tool + `","arguments":{"q":"` + secret + `"}`,
							Meta: `"x":"` + secret + `"`, Header: http.Header{"X-Secret": {secret}, "Cookie": {"a=" + secret}, "Baggage": {"k=" + secret}},
						})
					}
				}
				for _, members := range []string{`"uri":"file:///` + secret + `"`, `"cursor":"` + secret + `"`} {
					c.Call("resources/read", members)
					c.Call("resources/list", members)
				}
				c.Call("prompts/get", `"name":"far__none","arguments":{"p":"`+secret+`"}`)
			}
			as(t, g, testenv.Modern, secret, "").Call("tools/list", "") // as a key
			testenv.Eventually(t, "the calls are logged", func() bool { return strings.Count(g.Log(), "atServer") >= 4 })
			for line := range strings.Lines(g.Log()) {
				if strings.Contains(strings.ReplaceAll(line, "__"+secret, ""), secret) && !strings.Contains(line, `tool=`+secret) && !strings.Contains(line, `"tool":"`+secret) {
					t.Errorf("logged: %s", line)
				}
				for _, key := range []string{aliceKey, rootKey} {
					if strings.Contains(line, key) {
						t.Errorf("a key is logged: %s", line)
					}
				}
			}
			if _, metrics := g.Get("/metrics", bearer(rootKey)); strings.Contains(metrics, secret) {
				t.Error("it is in the metrics")
			}
		})
	}
}

// TestLogQuotesNobody: what a server says where it gives up, and an answer of it that is broken, are not in the log.
func TestLogQuotesNobody(t *testing.T) {
	t.Parallel()
	const secret = "canary-77d1a0c2"
	script := testenv.Script{
		Era: testenv.Legacy, Tools: []string{testenv.Tool("ask"), testenv.Tool("breaks")},
		On: map[string]func(*testenv.Call){
			"tools/call ask": func(c *testenv.Call) {
				c.Ask(testenv.Elicit("q", "where?"))
				c.Error(-32000, secret)
			},
			"tools/call breaks": func(c *testenv.Call) { c.Send(`{"jsonrpc":"2.0","id":` + c.ID + `,"result":{"text":"` + secret) },
		},
	}
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": testenv.StdioServer(t, script)},
		More:    map[string]any{"log": map[string]any{"level": "debug", "calls": true}},
	})
	c := g.Modern("/mcp")
	if r := c.Tool("one__ask", "{}"); !strings.Contains(r.String(), secret) {
		t.Errorf("the caller is told %s", r)
	}
	c.Tool("one__breaks", "{}")
	testenv.Eventually(t, "the log tells of both", func() bool {
		return strings.Contains(g.Log(), "told to the caller alone") && strings.Contains(g.Log(), "bytes of a message]")
	})
	for line := range strings.Lines(g.Log()) {
		if strings.Contains(line, secret) {
			t.Errorf("logged: %s", line)
		}
	}
}

// TestLogBodies: what was sent and answered is logged where a rule says so, without secrets and up to a bound.
func TestLogBodies(t *testing.T) {
	t.Parallel()
	const given = "given-to-server-0123"
	s := testenv.HTTPServer(t, talkative("an answer of some length"))
	entry := s.Entry(map[string]any{"headers": map[string]any{"X-Key": "Bearer " + given}})
	g := testenv.Serve(t, testenv.Config{
		Entries: map[string]any{"one": entry, "two": entry},
		More: withRoot(map[string]any{
			"audit": map[string]any{"redact": []string{"ssn"}},
			"log": map[string]any{"format": "json", "bodies": []any{
				map[string]any{"tools": []string{"one__echo"}, "servers": []string{"o*"}, "arguments": true, "results": true},
				map[string]any{"tools": []string{"*__says"}, "results": true, "most": 70},
				map[string]any{"tools": []string{"*__errs"}, "arguments": true},
				map[string]any{"tools": []string{"*"}, "servers": []string{"none"}, "results": true},
			}},
		}),
	})
	c := g.Modern("/mcp")
	c.Key = aliceKey
	const args = `{"q":"plain","password":"p4ss","in":{"SSN":[1,2]},"mine":"` + aliceKey + `","its":"` + given + `"}`
	const shown = `{"q":"plain","password":"[redacted]","in":{"SSN":"[redacted]"},"mine":"[credential]","its":"[X-Key]"}`
	for _, tool := range []string{"two__echo", "one__fails", "one__echo", "two__says", "two__errs"} {
		c.Tool(tool, args)
	}
	type line struct{ Msg, Server, Tool, Arguments, Result string }
	var got []line
	testenv.Eventually(t, "three lines", func() bool {
		got = nil
		for text := range strings.Lines(g.Log()) {
			var l line
			if json.Unmarshal([]byte(text), &l) == nil && l.Msg == "call" {
				got = append(got, l)
			}
		}
		return len(got) >= 3
	})
	for i, want := range []line{
		{"call", "one", "echo", shown, `"structuredContent":` + shown}, {"call", "two", "says", "", `an answer`}, {"call", "two", "errs", shown, ""},
	} {
		l := got[i]
		if l.Server != want.Server || l.Tool != want.Tool || l.Arguments != want.Arguments || !strings.Contains(l.Result, want.Result) || want.Result == "" && l.Result != "" {
			t.Errorf("line %d: %+v", i, l)
		}
	}
	if n := len(got[1].Result); n != 70+len("…") {
		t.Errorf("%d bytes are shown: %s", n, got[1].Result)
	}
	if len(got) != 3 {
		t.Errorf("%d lines: %+v", len(got), got)
	}
	for _, secret := range []string{"p4ss", given, aliceKey, "[1,2]"} {
		if strings.Contains(g.Log(), secret) {
			t.Errorf("the log has %s", secret)
		}
	}
}
