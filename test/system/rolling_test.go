package system_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// beat is how often each of the callers of a load calls.
const beat = 100 * time.Millisecond

// traffic is constant: each of its callers calls once a beat, or as fast as it is answered.
type traffic struct {
	t      *testing.T
	calls  atomic.Int64
	failed atomic.Int64
	wg     sync.WaitGroup
}

// shownFailures bounds what a test shows.
const shownFailures = 20

// add has a caller ask the same thing until ctx ends. right tells whether an answer is what it should be.
func (l *traffic) add(ctx context.Context, name string, c *testenv.Client, q testenv.Request, right func(*testenv.Reply) bool) {
	l.wg.Go(func() {
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for ctx.Err() == nil {
			one, cancel := context.WithTimeout(context.Background(), 2*testenv.Patience)
			r, err := c.Try(one, q)
			cancel()
			l.calls.Add(1)
			if (err != nil || r.Status != http.StatusOK || !right(r)) && l.failed.Add(1) <= shownFailures {
				l.t.Errorf("%s %s: %v %v", c.Era, name, err, r)
			}
			<-tick.C
		}
	})
}

// slowly answers after a while, having told of its progress.
func slowly(c *testenv.Call) {
	if c.Token() != "" {
		c.Progress(1)
	}
	c.In(300 * time.Millisecond)
	c.Text("done")
}

// rollers are servers of every kind, by name.
func rollers(t *testing.T) map[string]*testenv.Server {
	t.Helper()
	servers := map[string]*testenv.Server{}
	for _, k := range kinds {
		if k.streams {
			continue // as those that are not
		}
		servers[strings.ReplaceAll(k.name, "-", "")] = k.server(t, testenv.Script{
			Tools: []string{testenv.Tool("quick"), testenv.Tool("slow")}, Forgets: true, On: map[string]func(*testenv.Call){"tools/call slow": slowly},
		})
	}
	return servers
}

// rollingConfig is the configuration of the nth reload: every other server is another one each time, and one server has an
// instance for its caller.
func rollingConfig(servers map[string]*testenv.Server, own *testenv.Server, n int) testenv.Config {
	c := testenv.Config{Servers: servers, Entries: map[string]any{"own": own.Entry(map[string]any{"isolation": "principal"})}}
	// A busy machine may need longer than a second to learn that a replica is not ready.
	c.More = map[string]any{"drainDelay": "3s", "drainTimeout": "15s", "log": map[string]any{"level": "info"}}
	for _, name := range []string{"modernjson", "modernstdio", "legacyjson", "legacyold"} {
		timeouts := map[string]any{"start": "15s", "list": "10s", "call": fmt.Sprintf("%ds", 15+n%2)}
		c.Entries[name] = servers[name].Entry(map[string]any{"timeouts": timeouts})
	}
	return c
}

// TestRollingRestart: under constant load of both eras no call fails while the configuration is read anew every second and three
// replicas are stopped and replaced one after the other.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	servers, own := rollers(t), testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1), Forgets: true})
	f := testenv.ServeFleet(t, testenv.FleetConfig{Config: rollingConfig(servers, own, 0), Redis: testenv.StartRedis(t).URL()})
	f.Heed()
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	l := &traffic{t: t}
	for _, era := range testenv.Eras {
		l.all(ctx, f.Client(era, "/mcp", "{}"), servers)
	}
	reloads, restarts := 0, 0
	second := time.NewTicker(time.Second)
	defer second.Stop()
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for ctx.Err() == nil {
			<-second.C
			reloads++
			f.Configure(rollingConfig(servers, own, reloads))
		}
	})
	for end := time.Now().Add(rolling); restarts < 3 || time.Now().Before(end); restarts++ {
		f.Restart(restarts % 3)
	}
	stop()
	reloading.Wait()
	l.wg.Wait()
	t.Logf("%d calls, %d reloads, %d restarts: %d failed", l.calls.Load(), reloads, restarts, l.failed.Load())
}

// all has a client ask all that there is to ask, with callers of their own.
func (l *traffic) all(ctx context.Context, c *testenv.Client, servers map[string]*testenv.Server) {
	done := func(r *testenv.Reply) bool { return r.Texts() == "done" }
	for name := range servers {
		l.add(ctx, name, c, testenv.Request{Method: "tools/call", Members: `"name":"` + name + `__quick"`}, done)
		l.add(ctx, name+" slow", c, testenv.Request{Method: "tools/call", Members: `"name":"` + name + `__slow"`}, done)
		stream := testenv.Request{Method: "tools/call", Members: `"name":"` + name + `__slow"`, Meta: `"progressToken":"` + name + `"`}
		l.add(ctx, name+" stream", c, stream, func(r *testenv.Reply) bool { return len(r.Messages) == 2 && done(r) })
	}
	l.add(ctx, "own", c, testenv.Request{Method: "tools/call", Members: `"name":"own__tool0000"`}, done)
	tools := 2*len(servers) + 1
	l.add(ctx, "list", c, testenv.Request{Method: "tools/list"}, func(r *testenv.Reply) bool { return len(r.Names("tools")) == tools })
}
