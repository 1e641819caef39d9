package system_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestSharedAttempt: all who wait for one attempt to find out what a server is learn that it failed, but it counts once, for the
// breaker and for the budget of repetitions.
func TestSharedAttempt(t *testing.T) {
	t.Parallel()
	const callers = 20
	var attempts atomic.Int32
	gates := []chan struct{}{make(chan struct{}), make(chan struct{})}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-gates[min(attempts.Add(1), 2)-1]:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer s.Close()
	g := serveEntry(t, entry{"url": s.URL + "/mcp", "breaker": entry{"failures": 4, "open": "1h"}, "retries": entry{"attempts": 1, "backoff": "1ms"}})
	c := g.Modern("/servers/one/mcp")
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(gates[1])
	for range callers {
		wg.Go(func() { c.Tool("x", "{}") }) // is not sent again
		wg.Go(func() { c.Call("prompts/get", `"name":"x"`) })
	}
	testenv.Eventually(t, "all wait", func() bool {
		_, metrics := g.Get("/metrics", nil)
		return attempts.Load() == 1 && strings.Contains(metrics, "\ntoolcrib_requests_under_way 40\n")
	})
	close(gates[0])
	testenv.Eventually(t, "they try again", func() bool {
		_, metrics := g.Get("/metrics", nil)
		return attempts.Load() == 2 && strings.Contains(metrics, `mcp_server_retries_total{outcome="again",server="one"} 20`)
	})
	if got := states(t, g); got != "ready" {
		t.Errorf("after one failed attempt the instance is %q", got)
	}
}
