package system_test

import (
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestHearAnywhere: it does not matter to which replica a session subscribes, nor where its stream is.
func TestHearAnywhere(t *testing.T) {
	t.Parallel()
	tell := &testenv.Teller{}
	f, _ := fleet(t, map[string]*testenv.Server{"one": teller(t, kinds[0], tell)})
	c := f.Client(testenv.Legacy, "/mcp", "{}")
	a, b := f.At(0, c), f.At(1, c)
	ear := a.Hear()
	if r := b.Call("resources/subscribe", `"uri":"mem://a"`); string(r.Result()) != "{}" {
		t.Fatalf("%v", r)
	}
	testenv.Eventually(t, "an update where the stream is", func() bool {
		tell.Updated("mem://a", "")
		return len(ear.Heard(updated)) > 0
	})
	newer := f.At(2, c).Hear()
	ear.Ended()
	testenv.Eventually(t, "an update where the stream is now", func() bool {
		tell.Updated("mem://a", "")
		return len(newer.Heard(updated)) > 0
	})
	if r := a.Call("resources/unsubscribe", `"uri":"mem://a"`); string(r.Result()) != "{}" {
		t.Errorf("%v", r)
	}
	testenv.Eventually(t, "no more updates", func() bool {
		n, m := len(newer.Heard(updated)), len(newer.Heard(toolsChanged))
		tell.Updated("mem://a", "")
		tell.Changed("tools")
		newer.Await(toolsChanged, m+1)
		return len(newer.Heard(updated)) == n
	})
	if code := b.Delete(); code != 204 {
		t.Errorf("DELETE: HTTP %d", code)
	}
	newer.Ended()
}
