package system_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// touchable is a server with a resource, of which its tool "touch" tells an update. Its tool "wait" waits until release is closed.
func touchable(t *testing.T, era testenv.Era, release <-chan struct{}) *testenv.Server {
	script := reporter(era)
	script.Tools = append(script.Tools, testenv.Tool("touch"), testenv.Tool("wait"))
	script.On["tools/call wait"] = func(c *testenv.Call) {
		select {
		case <-release:
			c.Text("waited")
		case <-c.Done:
		}
	}
	script.Resources = []string{`{"uri":"mem://a","name":"a"}`}
	script.Capabilities = `{"tools":{},"resources":{"subscribe":true}}`
	script.On["resources/subscribe"] = func(c *testenv.Call) { c.Result("{}") }
	script.On["tools/call touch"] = func(c *testenv.Call) {
		c.Before(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"mem://a"}}`)
		c.Text("touched")
	}
	return testenv.StdioServer(t, script)
}

// keepBusy has callers' instances at a replica carry out a call each until stop is called, so that they do not end by idleness.
func keepBusy(t *testing.T, f *testenv.Fleet, s *testenv.Server, release chan struct{}, replica int, keys ...string) (stop func()) {
	t.Helper()
	var calls sync.WaitGroup
	for _, key := range keys {
		c := f.At(replica, fleetClient(t, f, testenv.Modern, key))
		before := len(s.Received("tools/call"))
		calls.Go(func() {
			if r, err := c.Try(t.Context(), askTool("one__wait")); err != nil || r.Texts() != "waited" {
				t.Errorf("a call that waits: %v, %v", r, err)
			}
		})
		s.Await("tools/call", before+1)
	}
	stop = sync.OnceFunc(func() { close(release); calls.Wait() })
	t.Cleanup(stop)
	return stop
}

// TestOwnSubscriptionAnywhere: it does not matter at which replica a resource of the caller's own instance is watched, which it
// keeps from ending by idleness. When the replica of the instance dies, it is watched at the next instance, and the client told
// that it may have changed.
func TestOwnSubscriptionAnywhere(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := touchable(t, testenv.Legacy, release)
	f := isolatedFleet(t, s, map[string]any{"pool": map[string]any{"idle": "500ms"}})
	stop := keepBusy(t, f, s, release, 0, aliceKey, bobKey) // until they are watched
	alice, bob := fleetClient(t, f, testenv.Modern, aliceKey), fleetClient(t, f, testenv.Legacy, bobKey)
	a, b := who(t, f.At(0, alice)), who(t, f.At(0, bob))
	first := f.At(1, alice).Listen("1", `{"resourceSubscriptions":["mem://a"]}`)
	if got := string(first.Await(acknowledged, 1).Raw); !strings.Contains(got, "mem://a") {
		t.Errorf("granted: %s", got)
	}
	second := f.At(1, bob).Hear()
	if r := f.At(1, bob).Call("resources/subscribe", `"uri":"mem://a"`); string(r.Result()) != "{}" {
		t.Fatal(r)
	}
	stop()
	idle := who(t, f.At(0, fleetClient(t, f, testenv.Modern, carolKey)))
	testenv.Eventually(t, "the end of an instance that nobody watches", func() bool { return !testenv.Alive(idle.PID) })
	testenv.Eventually(t, "an update for bob", func() bool {
		f.At(0, bob).Tool("one__touch", "{}")
		return len(second.Heard(updated)) > 0
	})
	if n := len(first.Heard(updated)); n != 0 {
		t.Errorf("alice hears of bob's instance %d times", n)
	}
	f.At(0, alice).Tool("one__touch", "{}")
	first.Await(updated, 1)
	if again := who(t, f.At(1, alice)); again.PID != a.PID || who(t, f.At(1, bob)).PID != b.PID {
		t.Error("another instance")
	}
	heard := len(second.Heard(updated))
	f.Kill(0)
	first.Await(updated, 2)
	second.Await(updated, heard+1)
	heard = len(first.Heard(updated))
	f.At(1, alice).Tool("one__touch", "{}")
	first.Await(updated, heard+1)
}
