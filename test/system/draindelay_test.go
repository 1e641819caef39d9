package system_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestDrainDelay: a gateway that is told to stop is not ready at once, but serves new connections for drainDelay, and has none
// of them stay open.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	const delay = 8 * time.Second // in which a busy machine can ask
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s}, More: map[string]any{"drainDelay": delay.String()}})
	legacy := g.Legacy("/mcp")
	began := time.Now()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		g.Stop()
	}()
	testenv.Eventually(t, "not ready", func() bool {
		code, body := g.Get("/health/ready", nil)
		return code == http.StatusServiceUnavailable && strings.Contains(body, "draining")
	})
	for _, c := range []*testenv.Client{g.Modern("/mcp"), legacy, g.Legacy("/mcp")} {
		r := c.Tool("one__tool0000", "{}")
		if r.Texts() != "done" || !r.Closed {
			t.Errorf("%s: %v, and its connection is closed: %v; header %v", c.Era, r, r.Closed, r.Header)
		}
	}
	if code, _ := g.Get("/health", nil); code != http.StatusOK {
		t.Errorf("/health answers %d", code)
	}
	<-stopped
	if took := time.Since(began); took < delay {
		t.Errorf("it stopped after %v", took)
	}
}

// TestDrainDelayByDefault: what others can reach serves on for a while, and what only this machine can stops at once.
func TestDrainDelayByDefault(t *testing.T) {
	t.Parallel()
	g, err := testenv.Try(t, testenv.Config{More: map[string]any{"listen": "0.0.0.0:0"}}, t.TempDir(), testenv.Options{AllowUnauthenticated: true})
	if err != nil {
		t.Fatal(err)
	}
	g.Stop()
	if !strings.Contains(g.Log(), "serving for drainDelay\" delay=5s") {
		t.Errorf("a gateway at all addresses stops without delay: %s", g.Log())
	}
	local := testenv.Serve(t, testenv.Config{})
	local.Stop()
	if strings.Contains(local.Log(), "drainDelay") {
		t.Errorf("a gateway at a loopback address waits: %s", local.Log())
	}
}
