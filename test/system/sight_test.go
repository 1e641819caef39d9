package system_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// series are the lines of the metrics with a prefix.
func series(g *testenv.Gateway, prefix string) string {
	_, body := g.Get("/metrics", nil)
	var b strings.Builder
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, prefix) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestProcessMetrics tell what runs, why it ended and where the time of calls went, and end with the server.
func TestProcessMetrics(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{Tools: []string{testenv.Tool("slow")}, On: map[string]func(*testenv.Call){
		"tools/call slow": func(c *testenv.Call) { time.Sleep(20 * time.Millisecond); c.Text("slept") },
	}})
	web := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s, "web": web}})
	c := g.Modern("/mcp")
	c.Tool("one__slow", "{}")
	c.Tool("web__tool0000", "{}")
	for _, want := range []string{
		`mcp_server_instances{server="one",state="ready"} 1`,
		`mcp_server_queued_calls{server="one"} 0`,
		`mcp_server_starts_total{outcome="ok",server="one"} 1`,
		`mcp_server_start_duration_seconds_count{server="one"} 1`,
		`mcp_call_share_seconds_count{server="one",share="queue"} 1`,
		`mcp_call_share_seconds_count{server="one",share="start"} 1`,
		`mcp_call_share_seconds_bucket{server="one",share="server",le="0.01"} 0`,
		`mcp_call_share_seconds_count{server="one",share="transport"} 1`,
		`mcp_call_share_seconds_count{server="web",share="server"} 1`,
	} {
		if !strings.Contains(series(g, "mcp_"), "\n"+want+"\n") {
			t.Errorf("no line %s", want)
		}
	}
	if got := series(g, `mcp_server_instances{server="web"`); got != "" {
		t.Errorf("processes of a server that runs elsewhere: %s", got)
	}

	s.Children()[0].Kill()
	testenv.Eventually(t, "the crash is counted", func() bool {
		return strings.Contains(series(g, "mcp_server_crashes_total"), `{reason="signal",server="one"} 1`)
	})
	g.Configure(testenv.Config{Servers: map[string]*testenv.Server{"web": web}})
	testenv.Eventually(t, "the series end", func() bool { return !strings.Contains(series(g, "mcp_"), `server="one"`) })
}

// TestCallLog: a line for each request tells where its time went, and nothing of what was asked.
func TestCallLog(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{
		Tools: []string{testenv.Tool("echo"), testenv.Tool("bad")}, Resources: []string{`{"name":"r","uri":"file:///s3cret"}`},
		On: map[string]func(*testenv.Call){"tools/call bad": func(c *testenv.Call) { c.Complete(`"content":[],"isError":true`) }},
	})
	for name, row := range map[string]struct {
		log  map[string]any
		want bool
	}{
		"info":  {map[string]any{"calls": true, "level": "info"}, true},
		"debug": {map[string]any{"level": "debug"}, true},
		"off":   {map[string]any{"level": "info"}, false},
		"quiet": {map[string]any{"calls": true, "level": "warn"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := testenv.One(s)
			c.More = map[string]any{"log": row.log, "auth": twoKeys}
			g := testenv.Serve(t, c)
			client := g.Modern("/mcp")
			client.Key = aliceKey
			client.Tool("one__echo", `{"password":"s3cret"}`)
			client.Tool("one__bad", `{}`)
			client.Call("resources/read", `"uri":"file:///s3cret"`)
			client.Tool("one__missing", `{}`)
			if !row.want {
				g.Stop() // nothing waits to be written then
				if strings.Contains(g.Log(), "msg=call") {
					t.Errorf("log:\n%s", g.Log())
				}
				return
			}
			const end = ` bytesIn=\d+ bytesOut=\d+ took=\S+ queue=\S+ start=\S+ atServer=\S+ transport=\S+ component=calls\n`
			for _, want := range []string{
				`msg=call method=tools/call server=one tool=echo principal=[0-9a-f]{16} tenant=default outcome=ok` + end,
				`msg=call method=tools/call server=one tool=bad principal=[0-9a-f]{16} tenant=default outcome=tool_error` + end,
				`msg=call method=resources/read server=one principal=[0-9a-f]{16} tenant=default outcome=\S+ bytesIn`,
				`msg=call method=tools/call server=one tool=missing principal=[0-9a-f]{16} tenant=default outcome=`,
			} {
				testenv.Eventually(t, want, func() bool { return regexp.MustCompile(want).MatchString(g.Log()) })
			}
			if strings.Contains(g.Log(), "s3cret") || strings.Contains(g.Log(), "alice") {
				t.Error("the log holds an argument, the name of a resource or that of a caller")
			}
		})
	}
}

// TestOwnersSight: the owner sees instances and what they print through the gateway's socket.
func TestOwnersSight(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{Era: testenv.Legacy, Tools: []string{testenv.Tool("echo"), testenv.Tool("hang")}, On: map[string]func(*testenv.Call){
		"tools/call hang": (*testenv.Call).Hang,
	}})
	g := testenv.Serve(t, testenv.One(s))
	g.Modern("/mcp").Tool("one__echo", "{}")
	child := s.AwaitChild(1)
	child.Complain("first\nsec\x1bond\n")
	testenv.Eventually(t, "the lines are read", func() bool { return strings.Contains(g.Log(), "line=second") })
	look := func() *control.Client {
		all, err := control.Find(t.Context(), g.StateDir)
		if err != nil || len(all) != 1 {
			t.Fatalf("found %d gateways: %v", len(all), err)
		}
		t.Cleanup(all[0].Close)
		return all[0]
	}
	r := look().Report
	if r.PID != os.Getpid() || r.URL != g.URL || r.File != g.File || len(r.Servers) != 1 || r.Servers[0].State != "ready" {
		t.Errorf("%+v", r)
	}
	if len(r.Instances) != 1 || r.Instances[0].PID != child.PID || r.Instances[0].Era != "legacy" || r.Instances[0].Calls == 0 || r.Instances[0].Key != "" {
		t.Errorf("%+v", r.Instances)
	}

	var got []string
	for line, err := range look().Logs(t.Context(), "one", 1, true) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(line.PID == child.PID, " ", line.Text))
		if len(got) > 1 {
			break
		}
		child.Complain("third\n")
	}
	if len(got) != 2 || strings.Contains(strings.Join(got, ""), "\x1b") || got[1] != "true third" {
		t.Errorf("lines %q", got)
	}

	ctx := testenv.Within(t, testenv.Patience)
	go func() {
		_, _ = g.Modern("/mcp").Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"one__hang"`, ID: "7"})
	}()
	testenv.Eventually(t, "the call in flight is shown", func() bool { return look().Report.Instances[0].InFlight == 1 })
	child.Kill()
	s.AwaitChild(2)
	testenv.Eventually(t, "the next process is shown", func() bool {
		all := look().Report.Instances
		return len(all) == 1 && all[0].PID == s.Children()[1].PID && all[0].Restarts == 1
	})
}

// TestKeysAreHashed: who shares an instance can be told apart, and is not named.
func TestKeysAreHashed(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{Tools: []string{testenv.Tool("echo")}})
	c := testenv.One(s)
	c.More = map[string]any{"auth": twoKeys}
	g := testenv.Serve(t, c)
	for _, key := range []string{aliceKey, bobKey} {
		client := g.Modern("/mcp")
		client.Key = key
		client.Tool("one__echo", "{}")
	}
	all, err := control.Find(t.Context(), g.StateDir)
	if err != nil || len(all) != 1 {
		t.Fatalf("found %d gateways: %v", len(all), err)
	}
	defer all[0].Close()
	keys := map[string]int{}
	for _, in := range all[0].Report.Instances {
		if in.Isolation != "principal" {
			t.Errorf("%+v", in)
		}
		if in.Key != "" {
			keys[in.Key]++
		}
		if len(in.Key) != 0 && len(in.Key) != 16 || strings.Contains(in.Key, "alice") {
			t.Errorf("key %q", in.Key)
		}
	}
	if len(keys) != 2 {
		t.Errorf("keys %v, want two", keys)
	}
}
