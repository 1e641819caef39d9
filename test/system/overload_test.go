package system_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// full holds calls at a server until let is called.
type full struct {
	t       *testing.T
	client  *testenv.Client
	h       *held
	calls   int
	running sync.WaitGroup
}

func (f *full) hold(calls int) {
	t, client, h := f.t, f.client, f.h
	t.Helper()
	f.calls += calls
	for range calls {
		f.running.Go(func() {
			r, err := client.Try(testenv.Within(t, 2*testenv.Patience), testenv.Request{Method: "tools/call", Members: `"name":"one__hold"`})
			if err != nil || r.Texts() != "let go" {
				t.Errorf("a call that was served: %v %v", err, r)
			}
		})
		<-h.calls
	}
}

func (f *full) let() {
	close(f.h.let)
	for range f.calls {
		<-f.h.left
	}
	f.running.Wait()
}

// refused checks the answer to a request that there was no room for.
func refused(t *testing.T, what string, r *testenv.Reply, bound, priority string) {
	t.Helper()
	code, text := r.Error()
	if r.Status != http.StatusServiceUnavailable || code != -32603 || !strings.Contains(text, "overload."+bound) ||
		!strings.Contains(r.Data(), `"reason":"overload","bound":"overload.`+bound+`","priority":"`+priority+`"`) {
		t.Errorf("%s: %v", what, r)
	}
	if after := r.Header.Get("Retry-After"); len(after) != 1 || after < "1" || after > "3" {
		t.Errorf("%s: Retry-After is %q", what, after)
	}
}

// TestOverloadConcurrency: with ten requests under way at most, those that can wait are refused first, then lists, then calls.
// What ends requests still comes through.
func TestOverloadConcurrency(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			h := hold(t, kinds[0])
			g := testenv.Serve(t, testenv.Config{
				Servers: map[string]*testenv.Server{"one": h.Server}, More: map[string]any{"overload": map[string]any{"concurrency": 10}},
			})
			client := g.Client(era, "/mcp")
			echo := testenv.Request{Method: "tools/call", Members: `"name":"one__echo"`}
			waits := echo
			waits.Header = http.Header{"Priority": {"u=6"}}
			if r := client.Do(waits); r.Texts() != "done" {
				t.Errorf("one that can wait, where there is room: %v", r)
			}
			calls := &full{t: t, client: client, h: h}
			calls.hold(8)
			refused(t, "one that can wait", client.Do(waits), "concurrency", "bulk")
			if r := client.Call("tools/list", ""); len(r.Names("tools")) != 2 {
				t.Errorf("a list, with 8 under way: %v", r)
			}
			calls.hold(1)
			refused(t, "a list, with 9 under way", client.Call("tools/list", ""), "concurrency", "list")
			if r := client.Do(echo); r.Texts() != "done" {
				t.Errorf("a call, with 9 under way: %v", r)
			}
			calls.hold(1)
			refused(t, "a call, with 10 under way", client.Do(echo), "concurrency", "interactive")
			if era == testenv.Legacy {
				if r := client.Post([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"none"}}`)); r.Status != http.StatusAccepted {
					t.Errorf("a cancellation: %v", r)
				}
			}
			if code, _ := g.Get("/health/ready", nil); code != http.StatusOK {
				t.Errorf("/health/ready answers %d", code)
			}
			_, metrics := g.Get("/metrics", nil)
			for _, want := range []string{
				`toolcrib_shed_requests_total{bound="concurrency",priority="bulk"} 1`, `toolcrib_shed_requests_total{bound="concurrency",priority="list"} 1`,
				`toolcrib_shed_requests_total{bound="concurrency",priority="interactive"} 1`, "toolcrib_requests_under_way 10", "toolcrib_requests_most 10",
			} {
				if !strings.Contains(metrics, want+"\n") {
					t.Errorf("no %s among the metrics", want)
				}
			}
			calls.let()
			if r := client.Do(waits); r.Texts() != "done" {
				t.Errorf("afterwards: %v", r)
			}
			testenv.Eventually(t, "none under way", func() bool {
				_, metrics := g.Get("/metrics", nil)
				return strings.Contains(metrics, "toolcrib_requests_under_way 0\n")
			})
		})
	}
}

// TestOverloadBeforeBody: a request that there is no room for is refused before its body has come.
func TestOverloadBeforeBody(t *testing.T) {
	t.Parallel()
	h := hold(t, kinds[0])
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": h.Server}, More: map[string]any{"overload": map[string]any{"concurrency": 1}},
	})
	running := &full{t: t, client: g.Modern("/mcp"), h: h}
	running.hold(1)
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(g.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nMcp-Method: tools/call\r\nContent-Length: 1000000\r\n\r\n{")
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
		t.Errorf("%v", answer)
	}
	running.let()
}

// TestOverloadMemory: a replica that has more memory than it may refuses what comes, and serves again when it may have more.
// It is a process of its own, since the bound has the collector work more.
func TestOverloadMemory(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	c := testenv.Config{Servers: map[string]*testenv.Server{"one": s}, More: map[string]any{"overload": map[string]any{"memory": "16Mi"}}}
	f := testenv.ServeFleet(t, testenv.FleetConfig{Config: c, Replicas: 1})
	client := f.Modern("/mcp")
	var r *testenv.Reply
	testenv.Eventually(t, "a refusal", func() bool {
		r = client.Tool("one__tool0000", "{}")
		return r.Status != http.StatusOK
	})
	refused(t, "a call", r, "memory", "interactive")
	for _, memory := range []string{"off", "99%", "1Gi"} {
		c.More = map[string]any{"overload": map[string]any{"memory": memory}}
		f.Configure(c)
		testenv.Eventually(t, "a call with memory: "+memory, func() bool { return client.Tool("one__tool0000", "{}").Texts() == "done" })
	}
}

// TestOverloadBulk: callers and tools of overload.bulk are refused before others.
func TestOverloadBulk(t *testing.T) {
	t.Parallel()
	const otherKey = "5d1c2f6e9a7b4830b1d2c3e4f5a60718"
	h := hold(t, kinds[0])
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": h.Server}, More: map[string]any{
		"auth": map[string]any{"apiKeys": []any{
			map[string]any{"name": "a", "key": aliceKey, "tenant": "nightly"},
			map[string]any{"name": "b", "key": bobKey, "tenant": "acme", "groups": []string{"crawlers"}},
			map[string]any{"name": "c", "key": otherKey, "tenant": "acme"},
		}},
		"overload": map[string]any{"concurrency": 5, "bulk": map[string]any{"tenants": []string{"nightly"}, "groups": []string{"crawlers"}, "tools": []string{"one__ho*"}}},
	}})
	calls := map[string]*testenv.Client{}
	for _, key := range []string{aliceKey, bobKey, otherKey} {
		calls[key] = g.Modern("/mcp")
		calls[key].Key = key
		if r := calls[key].Tool("one__echo", "{}"); r.Texts() != "done" {
			t.Errorf("where there is room: %v", r)
		}
	}
	running := &full{t: t, client: calls[otherKey], h: h}
	running.hold(4)
	refused(t, "a caller of the tenant", calls[aliceKey].Tool("one__echo", "{}"), "concurrency", "bulk")
	refused(t, "a caller of the group", calls[bobKey].Tool("one__echo", "{}"), "concurrency", "bulk")
	if r := calls[otherKey].Tool("one__echo", "{}"); r.Texts() != "done" {
		t.Errorf("another caller: %v", r)
	}
	for _, era := range testenv.Eras {
		for path, name := range map[string]string{"/mcp": "one__hold", "/servers/one/mcp": "hold"} {
			c := g.Modern(path)
			if c.Key, c.Era = otherKey, era; era == testenv.Legacy {
				c.Initialize(testenv.LegacyVersion)
			}
			refused(t, "a tool that can wait", c.Tool(name, "{}"), "concurrency", "bulk")
		}
	}
	running.let()
}

// TestOverloadTakesNoLimit: calls that were refused since there was no room for their tool have used up nothing of what their caller may.
func TestOverloadTakesNoLimit(t *testing.T) {
	t.Parallel()
	h := hold(t, kinds[0])
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": h.Server}, More: map[string]any{
		"auth":     authOf(holder{name: "a", key: aliceKey}, holder{name: "b", key: bobKey}),
		"overload": map[string]any{"concurrency": 5, "bulk": map[string]any{"tools": []string{"one__echo"}}},
		"limits": []any{
			map[string]any{"per": "principal", "rate": "6/h"},
			map[string]any{"name": "day", "per": "principal", "quota": "6/day"},
			map[string]any{"name": "tool", "per": []string{"principal", "tool"}, "rate": "6/h"},
		},
	}})
	alice, bob := g.Modern("/mcp"), g.Modern("/mcp")
	alice.Key, bob.Key = aliceKey, bobKey
	running := &full{t: t, client: bob, h: h}
	running.hold(4)
	for range 20 {
		r := alice.Tool("one__echo", "{}")
		refused(t, "a tool that can wait", r, "concurrency", "bulk")
		if told := r.Header.Get("RateLimit"); told != "" {
			t.Errorf("it is told what is left: %s", told)
		}
	}
	running.let()
	for i := range 6 {
		if r := alice.Tool("one__echo", "{}"); r.Texts() != "done" {
			t.Errorf("call %d afterwards: %v", i, r)
		}
	}
	if r := alice.Tool("one__echo", "{}"); r.Status != http.StatusTooManyRequests {
		t.Errorf("one too many: %v", r)
	}
}
