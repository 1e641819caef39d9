package system_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestStreamsSpread: sessions over HTTP+SSE are spread, and begin anew elsewhere when their instance is gone.
func TestStreamsSpread(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"sse", "http"} { // found out, where it is not said
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var all []*testenv.Server
			var urls []string
			for i := range 2 {
				s := testenv.StreamServer(t, named(testenv.Legacy)(i))
				all, urls = append(all, s), append(urls, s.URL)
			}
			g := serveEntry(t, entry{"urls": urls, "type": kind})
			awaitStates(t, g, "ready", "ready")
			at := map[string]*testenv.Client{}
			testenv.Eventually(t, "sessions at both", func() bool {
				c := apart(g, testenv.Legacy)
				for name := range spread(t, c, 3) {
					at[name] = c
				}
				return len(at) == 2
			})
			all[0].Stop()
			testenv.Eventually(t, "the session goes on at the other", func() bool { return at["i0"].Tool("tool0000", "{}").Texts() == "i1" })
			if got := spread(t, at["i1"], 3); got["i1"] != 3 {
				t.Errorf("%v", got)
			}
		})
	}
}

// TestMixedEras: while a server is replaced by one of the other era, instance by instance, no call fails.
func TestMixedEras(t *testing.T) {
	t.Parallel()
	all, urls := copies(t, 3, func(i int) testenv.Script { return named(testenv.Legacy)(i) })
	g := serveEntry(t, entry{"urls": urls, "health": entry{"ejectFor": "20ms", "failures": 1}})
	awaitStates(t, g, "ready", "ready", "ready")
	modern, legacy := g.Modern("/servers/one/mcp"), apart(g, testenv.Legacy)
	for i, s := range all {
		s.Stop()
		spread(t, modern, 20)
		spread(t, legacy, 20)
		s.SetEra(testenv.Modern)
		s.Start()
		testenv.Eventually(t, "it serves again", func() bool {
			return spread(t, apart(g, testenv.Legacy), 3)[fmt.Sprint("i", i)] > 0
		})
		spread(t, legacy, 20)
	}
}

// TestMostEjected: health.most keeps instances in, however they fail.
func TestMostEjected(t *testing.T) {
	t.Parallel()
	var all [4]fickle
	var urls []string
	for i := range all {
		all[i].mood.Store(1)
		urls = append(urls, testenv.HTTPServer(t, all[i].script(testenv.Modern)).URL)
	}
	g := serveEntry(t, entry{"urls": urls, "health": entry{"failures": 1, "most": 25, "ejectFor": "1m"}})
	awaitStates(t, g, "ready", "ready", "ready", "ready")
	c := g.Modern("/servers/one/mcp")
	for range 40 {
		c.Tool("tool0000", "{}")
	}
	if got := states(t, g); strings.Count(got, "ejected") != 1 {
		t.Errorf("%s", got)
	}
}

// TestInstancesReload: the instances of a server are replaced in the configuration under load, and no call fails.
func TestInstancesReload(t *testing.T) {
	t.Parallel()
	_, urls := copies(t, 3, named(testenv.Modern))
	c := func(urls ...string) testenv.Config {
		return testenv.Config{Entries: map[string]any{"one": entry{"urls": urls}}}
	}
	g := testenv.Serve(t, c(urls[0], urls[1]))
	awaitStates(t, g, "ready", "ready")
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 4 {
		client := g.Modern("/servers/one/mcp")
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r := client.Tool("tool0000", "{}"); r.Texts() == "" {
					t.Errorf("%v", r)
					return
				}
			}
		})
	}
	for _, next := range [][]string{{urls[1], urls[2]}, {urls[2], urls[0]}, urls} {
		g.Configure(c(next...))
		testenv.Eventually(t, "they are the instances", func() bool {
			in := readyOf(t, g).Servers["one"].Instances
			if len(in) != len(next) {
				return false
			}
			for i := range in {
				if !strings.Contains(next[i], in[i].Instance) || in[i].State != "ready" {
					return false
				}
			}
			return true
		})
	}
	close(stop)
	load.Wait()
}

// TestAllDown: when every instance is gone the server has failed, which other servers do not feel, and it is back with the first.
func TestAllDown(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			all, urls := copies(t, 2, named(era))
			other := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
			g := testenv.Serve(t, testenv.Config{
				Servers: map[string]*testenv.Server{"other": other},
				Entries: map[string]any{"one": entry{"urls": urls, "health": entry{"ejectFor": "50ms"}}},
			})
			awaitStates(t, g, "ready", "ready")
			c := apart(g, era)
			spread(t, c, 4)
			for _, s := range all {
				s.Stop()
			}
			r := c.Tool("tool0000", "{}")
			if _, text := r.Error(); r.Status != http.StatusOK || !strings.Contains(text, "cannot be reached") {
				t.Errorf("HTTP %d %v", r.Status, r)
			}
			testenv.Eventually(t, "the server has failed", func() bool {
				c.Tool("tool0000", "{}")
				return readyOf(t, g).Servers["one"].State == "failed"
			})
			if r := g.Modern("/servers/other/mcp").Tool("tool0000", "{}"); r.Texts() != "done" {
				t.Errorf("the other server: %v", r)
			}
			all[1].Start()
			testenv.Eventually(t, "it serves again", func() bool { return c.Tool("tool0000", "{}").Texts() == "i1" })
			testenv.Eventually(t, "and says so", func() bool { return readyOf(t, g).Servers["one"].State == "ready" })
		})
	}
}
