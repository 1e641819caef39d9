package system_test

import (
	"sync/atomic"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestKeptUntilToldFleet: a notice that one replica heard ends what the others keep, which watch nothing; what was told while they
// could not hear it, too.
func TestKeptUntilToldFleet(t *testing.T) {
	t.Parallel()
	for _, k := range []kind{kinds[0], kinds[3]} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			behind, tell := &counted{}, &testenv.Teller{}
			s := k.server(t, tell.Telling(behind.script()))
			redis := testenv.StartRedis(t)
			f := testenv.ServeFleet(t, testenv.FleetConfig{Redis: redis.URL(), Replicas: 2, Config: testenv.Config{Entries: map[string]any{
				"one": cached(s, map[string]any{"resources": "1h", "prompts": "1h"}, map[string]any{"look": map[string]any{"cache": "1h"}}),
			}}})
			c := f.Modern("/servers/one/mcp")
			listenTo(t, f.At(0, c), "mem://a")
			kept := func(name string) bool { return agedOf(t, f.At(1, c).Do(keptRequests[name])).There }
			keep := func(name string) {
				t.Helper()
				testenv.Eventually(t, name+" is kept", func() bool { return kept(name) })
			}
			ends := func(name string) {
				t.Helper()
				testenv.Eventually(t, name+" is not kept any more", func() bool { return !kept(name) })
			}
			for name, told := range map[string]func(){
				"resource": func() { tell.Updated("mem://a", "") },
				"prompt":   func() { tell.Changed("prompts") },
				"tool":     func() { tell.Changed("tools") },
			} {
				keep(name)
				told()
				ends(name)
			}
			lists := len(s.Received("tools/list"))
			tell.Changed("tools")
			testenv.Eventually(t, "the list is asked for anew", func() bool {
				f.At(1, c).Call("tools/list", "")
				return len(s.Received("tools/list")) > lists
			})
			keep("resource")
			redis.Kill()
			tell.Updated("mem://a", "")
			redis.Start()
			ends("resource")
		})
	}
}

// TestKeptWhenWatchedNoMore: a replica that watched a server once, and does not any more, goes by what the others tell it.
func TestKeptWhenWatchedNoMore(t *testing.T) {
	t.Parallel()
	behind, tell := &counted{}, &testenv.Teller{}
	script := tell.Telling(behind.script())
	listen, deaf, again := script.On["subscriptions/listen"], atomic.Bool{}, make(chan struct{}, 1)
	script.On["subscriptions/listen"] = func(c *testenv.Call) {
		if c.Header.Get("X-Replica") == "two" && deaf.Load() {
			select {
			case again <- struct{}{}:
			default:
			}
			c.Hang()
			return
		}
		listen(c)
	}
	s, redis := kinds[0].server(t, script), testenv.StartRedis(t)
	replica := func(name string) *testenv.Gateway {
		config := clustered(redis.URL(), s, clusterKey)
		config.Entries = map[string]any{"one": cached(s, nil, map[string]any{"look": map[string]any{"cache": "1h"}}, map[string]any{
			"headers": map[string]any{"X-Replica": name},
		})}
		g := testenv.Serve(t, config)
		testenv.Eventually(t, "connected", func() bool { return connected(g) })
		return g
	}
	one, two := replica("one").Modern("/servers/one/mcp"), replica("two").Modern("/servers/one/mcp")
	ear := listenTo(t, two, "mem://a")
	ear.Close()
	deaf.Store(true)
	tell.EndStreams()
	<-again
	listenTo(t, one, "mem://a")
	kept := func() bool { return agedOf(t, two.Do(keptRequests["tool"])).There }
	testenv.Eventually(t, "it is kept", kept)
	lists := len(s.Received("tools/list"))
	tell.Changed("tools")
	testenv.Eventually(t, "it is not kept any more", func() bool { return !kept() })
	testenv.Eventually(t, "the list is asked for anew", func() bool {
		two.Call("tools/list", "")
		return len(s.Received("tools/list")) > lists
	})
}
