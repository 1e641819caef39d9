package system_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestResync: what a client may have missed while its server was away, or let go of its watch, it is told of afterwards.
func TestResync(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		breaks := map[string]func(*testenv.Server, *testenv.Teller){
			"ended": func(_ *testenv.Server, tell *testenv.Teller) { tell.EndStreams() },
			"gone": func(s *testenv.Server, _ *testenv.Teller) {
				if k.stdio {
					s.AwaitChild(1).Kill()
					return
				}
				s.Stop()
				s.Start()
			},
		}
		for name, breakIt := range breaks {
			if name == "ended" && (k.old || k.stdio && k.era == testenv.Legacy) {
				continue // there is nothing that a server could end by itself
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				tell := &testenv.Teller{}
				s := teller(t, k, tell)
				g := testenv.Serve(t, testenv.One(s))
				c := g.Client(era, "/mcp")
				ear := listenTo(t, c, "mem://a")
				breakIt(s, tell)
				ear.Await(toolsChanged, 1)
				ear.Await(updated, 1)
				n, m := len(ear.Heard(promptsChanged)), len(ear.Heard(updated))
				testenv.Eventually(t, "the watch is there again", func() bool {
					tell.Changed("prompts")
					tell.Updated("mem://a", "")
					return len(ear.Heard(promptsChanged)) > n+1 && len(ear.Heard(updated)) > m+1
				})
			})
		}
	})
}

// listenTo has a client of either era told of everything, and of one resource.
func listenTo(t *testing.T, c *testenv.Client, uri string) *testenv.Ear {
	t.Helper()
	if c.Era == testenv.Modern {
		ear := c.Listen("1", `{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true,"resourceSubscriptions":["`+uri+`"]}`)
		if ack := ear.Await(acknowledged, 1); len(ack.Params.Notifications.URIs) != 1 {
			t.Fatalf("%s", ack.Raw)
		}
		return ear
	}
	if r := c.Call("resources/subscribe", `"uri":"`+uri+`"`); string(r.Result()) != "{}" {
		t.Fatalf("%v", r)
	}
	return c.Hear()
}

// TestReloadTells: what another configuration changes for a client it is told of, or its stream ends.
func TestReloadTells(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String()+" client", func(t *testing.T) {
			t.Parallel()
			tell := &testenv.Teller{}
			one := teller(t, kinds[0], tell)
			two, three := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)}), testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
			g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": one, "two": two}})
			all, single := listenTo(t, g.Client(era, "/mcp"), "mem://a"), listenTo(t, g.Client(era, "/servers/one/mcp"), "mem://a")
			g.Configure(testenv.Config{Servers: map[string]*testenv.Server{"one": one, "two": two, "three": three}})
			all.Await(toolsChanged, 1)
			tell.Updated("mem://a", "")
			all.Await(updated, 1)
			single.Await(updated, 1)
			if n := len(single.Heard(toolsChanged)); n != 0 {
				t.Errorf("%d notices to who has nothing to do with the new server", n)
			}
			n, m := len(all.Heard(toolsChanged)), len(all.Heard(updated))
			g.Configure(testenv.Config{Servers: map[string]*testenv.Server{"two": two, "three": three}, Entries: map[string]any{
				"one": one.Entry(map[string]any{"concurrency": map[string]any{"max": 1000}}), // which has it begun anew
			}})
			all.Await(toolsChanged, n+1)
			single.Await(toolsChanged, 1)
			testenv.Eventually(t, "the watch is there again", func() bool {
				tell.Updated("mem://a", "")
				return len(all.Heard(updated)) > m+1
			})
			g.Configure(testenv.Config{Servers: map[string]*testenv.Server{"two": two, "three": three}})
			single.Ended()
			all.Ended() // what it asked for is not watched any more
		})
	}
}

// TestKeysEndStreams: when the keys of callers change, each has to show its key anew.
func TestKeysEndStreams(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1), Capabilities: testenv.TellingCapabilities})
	g := testenv.Serve(t, testenv.One(s))
	ear := g.Legacy("/mcp").Hear()
	g.Configure(testenv.Config{Servers: map[string]*testenv.Server{"one": s}, More: map[string]any{"auth": twoKeys}})
	ear.Ended()
}

// TestStreamBounds: a bound is told with the key that sets it, and holds for the one who reached it only.
func TestStreamBounds(t *testing.T) {
	t.Parallel()
	tell := &testenv.Teller{}
	s := teller(t, kinds[0], tell)
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s}, More: map[string]any{
		"auth": twoKeys, "streams": map[string]any{"perPrincipal": 2, "total": 3, "subscriptions": 1, "serverSubscriptions": 1},
	}})
	as := func(key string) *testenv.Client {
		c := g.Modern("/mcp")
		c.Key = key
		return c
	}
	const filter = `"notifications":{"toolsListChanged":true}`
	ada, bob := as(aliceKey), as(bobKey)
	var ears []*testenv.Ear
	for i := range 2 {
		ears = append(ears, ada.Listen(fmt.Sprint(i), `{"toolsListChanged":true}`))
		ears[i].Await(acknowledged, 1)
	}
	if r := ada.Call("subscriptions/listen", filter); r.Status != 503 || !strings.Contains(r.String(), "streams.perPrincipal") {
		t.Errorf("%v", r)
	}
	third := bob.Listen("1", `{"resourceSubscriptions":["mem://a"]}`)
	if ack := third.Await(acknowledged, 1); len(ack.Params.Notifications.URIs) != 1 {
		t.Errorf("%s", ack.Raw)
	}
	if r := bob.Call("subscriptions/listen", filter); r.Status != 503 || !strings.Contains(r.String(), "streams.total") {
		t.Errorf("%v", r)
	}
	ears[0].Close()
	testenv.Eventually(t, "room", func() bool {
		e := ada.Listen("9", `{"resourceSubscriptions":["mem://b"]}`)
		defer e.Close()
		if e.Status != 200 {
			return false
		}
		if ack := e.Await(acknowledged, 1); len(ack.Params.Notifications.URIs) != 0 {
			t.Errorf("over streams.serverSubscriptions: %s", ack.Raw)
		}
		return true
	})
	legacy := g.LegacyOf("/mcp", testenv.LegacyVersion, aliceKey)
	if r := legacy.Call("resources/subscribe", `"uri":"mem://b"`); !strings.Contains(r.String(), "streams.serverSubscriptions") {
		t.Errorf("%v", r)
	}
	if r := legacy.Call("resources/subscribe", `"uri":"mem://a"`); string(r.Result()) != "{}" {
		t.Errorf("%v", r)
	}
}

// TestServerShare: one caller cannot have all that may be watched at a server.
func TestServerShare(t *testing.T) {
	t.Parallel()
	s := teller(t, kinds[0], &testenv.Teller{})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s}, More: map[string]any{
		"auth": twoKeys, "streams": map[string]any{"serverSubscriptions": 2},
	}})
	granted := func(key, uris string) []string {
		c := g.Modern("/mcp")
		c.Key = key
		return c.Listen("1", `{"resourceSubscriptions":[`+uris+`]}`).Await(acknowledged, 1).Params.Notifications.URIs
	}
	if got := granted(aliceKey, `"mem://a","mem://b"`); len(got) != 1 || got[0] != "mem://a" {
		t.Errorf("the first caller has %v", got)
	}
	if got := granted(aliceKey, `"mem://a","mem://b"`); len(got) != 1 {
		t.Errorf("the first caller's other stream has %v", got)
	}
	if got := granted(bobKey, `"mem://b","mem://a"`); len(got) != 2 {
		t.Errorf("the other caller has %v", got)
	}
}
