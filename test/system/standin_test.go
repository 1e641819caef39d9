package system_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestListsOnceRight: how long the last list stands in begins when it is not good any more, not when it was given.
func TestListsOnceRight(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{
		"listTTL": "5s", "fallback": entry{"lists": "4s", "after": "50ms"}, "retries": entry{"attempts": 0},
	})}})
	c := g.Modern("/mcp")
	if r := c.Call("tools/list", ""); len(r.Names("tools")) != 1 {
		t.Fatalf("%v", r)
	}
	s.Stop()
	began, last := time.Now(), time.Duration(0)
	testenv.Eventually(t, "its names are left out", func() bool {
		if len(c.Call("tools/list", "").Names("tools")) == 0 {
			return true
		}
		last = time.Since(began)
		return false
	})
	if last < 5500*time.Millisecond {
		t.Errorf("they stayed for %s, of which 5s were those of the list itself", last)
	}
}

// TestListsNotAfter: with fallback.lists 0s a list that is not good any more is given to nobody, also while the next one is waited
// for.
func TestListsNotAfter(t *testing.T) {
	t.Parallel()
	var hang hung
	s := testenv.HTTPServer(t, hang.script())
	g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{
		"listTTL": "0s", "fallback": entry{"lists": "0s", "after": "50ms"}, "retries": entry{"attempts": 0}, "timeouts": entry{"list": "3s"},
	})}})
	c := g.Modern("/mcp")
	if r := c.Call("tools/list", ""); len(r.Names("tools")) != 1 {
		t.Fatalf("%v", r)
	}
	hang.on.Store(true)
	for range 2 {
		if r := c.Call("tools/list", ""); len(r.Names("tools")) != 0 {
			t.Errorf("%v", r)
		}
	}
}

// hung is a server that gives no lists while it is on.
type hung struct{ on atomic.Bool }

func (h *hung) script() testenv.Script {
	return testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){"tools/list": func(c *testenv.Call) {
		if h.on.Load() {
			<-c.Done
			return
		}
		c.Default()
	}}}
}
