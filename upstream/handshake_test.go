package upstream_test

import (
	"sync"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/upstream"
)

// TestSlowModern: a modern server that is too slow for server/discover is asked to initialize as well. That it refuses this
// before it answers does not make it one that cannot be spoken to.
func TestSlowModern(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for range 4 { // which of two answers is taken first may be chance
		refused := make(chan struct{})
		s := testenv.StdioServer(t, testenv.Script{Era: testenv.Modern, Lenient: true, On: map[string]func(*testenv.Call){
			"initialize": func(c *testenv.Call) {
				c.Error(-32022, "unsupported protocol version")
				close(refused)
			},
			"server/discover": func(c *testenv.Call) {
				select {
				case <-refused:
					c.Default()
				case <-c.Done:
				}
			},
		}})
		srv := opening(t, s, upstream.Options{Name: "one"})
		all.Go(func() {
			p, err := srv.Peer(testenv.Within(t, testenv.Patience))
			if err != nil || !p.Modern || len(s.Children()) != 1 {
				t.Errorf("%+v after %d starts: %v", p, len(s.Children()), err)
			}
		})
	}
	all.Wait()
}
