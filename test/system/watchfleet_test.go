package system_test

import (
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// touchable is a server with a resource, of which its tool "touch" tells an update.
func touchable(t *testing.T, era testenv.Era) *testenv.Server {
	script := reporter(era)
	script.Tools = append(script.Tools, testenv.Tool("touch"))
	script.Resources = []string{`{"uri":"mem://a","name":"a"}`}
	script.Capabilities = `{"tools":{},"resources":{"subscribe":true}}`
	script.On["resources/subscribe"] = func(c *testenv.Call) { c.Result("{}") }
	script.On["tools/call touch"] = func(c *testenv.Call) {
		c.Before(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"mem://a"}}`)
		c.Text("touched")
	}
	return testenv.StdioServer(t, script)
}

// TestOwnSubscriptionAnywhere: it does not matter at which replica a resource of the caller's own instance is watched. When the
// replica of the instance dies, it is watched at the next instance, and the client told that it may have changed.
func TestOwnSubscriptionAnywhere(t *testing.T) {
	t.Parallel()
	f := isolatedFleet(t, touchable(t, testenv.Legacy), map[string]any{"pool": map[string]any{"idle": "500ms"}})
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
