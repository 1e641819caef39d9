package system_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// clustered is the configuration of a replica that shares a Redis; keys are those of all replicas, or none.
func clustered(url string, s *testenv.Server, keys ...string) testenv.Config {
	c := testenv.One(s)
	c.More = map[string]any{"cluster": url}
	if len(keys) > 0 {
		c.More["seal"] = map[string]any{"keys": keys}
	}
	return c
}

var clusterKey = base64.StdEncoding.EncodeToString([]byte("fedcba9876543210fedcba9876543210"))

// TestClusterAway: while Redis is away, at the start too, a replica serves what it can alone and says what it cannot.
func TestClusterAway(t *testing.T) {
	t.Parallel()
	r := testenv.NewRedis(t, "--requirepass", "sekrit")
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, clustered("redis://:sekrit@"+r.Address(), s, clusterKey))
	modern, legacy := g.Modern("/mcp"), g.Legacy("/mcp")
	check := func(what string, up bool) {
		t.Helper()
		testenv.Eventually(t, what, func() bool {
			code, body := g.Get("/health/ready", nil)
			var ready struct {
				Status  string
				Reasons []string
				Cluster struct {
					Backend, Reason string
					Connected       bool
				}
			}
			if err := json.Unmarshal([]byte(body), &ready); err != nil || code != 200 || ready.Cluster.Backend != "redis" || strings.Contains(body, "sekrit") {
				t.Fatalf("%d %s: %v", code, body, err)
			}
			status, reasons := "ready", ""
			if !up {
				status, reasons = "degraded", "cluster: "+ready.Cluster.Reason
			}
			_, metrics := g.Get("/metrics", nil)
			return ready.Cluster.Connected == up && ready.Status == status && strings.Join(ready.Reasons, "\n") == reasons &&
				strings.Contains(metrics, fmt.Sprintf("\ntoolcrib_cluster_connected %d\n", map[bool]int{true: 1}[up]))
		})
		watch := testenv.StartWatch(t)
		for _, c := range []*testenv.Client{modern, legacy} {
			for range 10 {
				if reply := c.Call("tools/call", `"name":"one__tool0000","arguments":{}`); reply.Result() == nil {
					t.Errorf("%s: %v", what, reply)
				}
			}
		}
		if took := watch.Took(); took > 5*time.Second {
			t.Errorf("%s: 20 calls took %v", what, took)
		}
	}
	check("without Redis from the start", false)
	r.Start()
	check("with Redis", true)
	r.Kill()
	check("without Redis", false)
	r.Start()
	check("with Redis again", true)
	if strings.Contains(g.Log(), "sekrit") {
		t.Error("the log has the password")
	}
}

// TestClusterWithoutKeys: replicas that would make keys of their own are warned of.
func TestClusterWithoutKeys(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, clustered("redis://127.0.0.1:1", s))
	if !strings.Contains(g.Log(), "seal.keys") {
		t.Error("no warning")
	}
	if _, body := testenv.Serve(t, testenv.One(s)).Get("/health/ready", nil); !strings.Contains(body, `"backend": "memory"`) {
		t.Errorf("alone: %s", body)
	}
}

// TestStrangers: replicas whose keys differ say so, each as it sees it, until they have the same.
func TestStrangers(t *testing.T) {
	t.Parallel()
	other := base64.StdEncoding.EncodeToString([]byte("0123456789abcdefghijklmnopqrstuv"))
	r := testenv.StartRedis(t)
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	a, b := testenv.Serve(t, clustered(r.URL(), s, clusterKey)), testenv.Serve(t, clustered(r.URL(), s, other))
	says := func(g *testenv.Gateway, status, reason string) {
		t.Helper()
		testenv.Eventually(t, status+": "+reason, func() bool {
			code, body := g.Get("/health/ready", nil)
			return code == 200 && strings.Contains(body, `"status": "`+status+`"`) && strings.Contains(body, reason)
		})
	}
	for _, g := range []*testenv.Gateway{a, b} {
		says(g, "degraded", "and this one do not open what the other seals: give all replicas the same")
		if !strings.Contains(g.Log(), "cluster: replicas have different keys") {
			t.Errorf("the log has no warning:\n%s", g.Log())
		}
	}
	b.Configure(clustered(r.URL(), s, other, clusterKey))
	says(a, "degraded", "seals is not opened here")
	says(b, "degraded", "does not open what is sealed here")
	a.Configure(clustered(r.URL(), s, clusterKey, other))
	says(a, "ready", "")
	says(b, "ready", "")
}

// TestRevocationOutlivesRedis: a session that was ended stays ended everywhere, also for replicas that come after Redis was
// started again with nothing in it.
func TestRevocationOutlivesRedis(t *testing.T) {
	t.Parallel()
	r := testenv.StartRedis(t)
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	config := clustered(r.URL(), s, clusterKey)
	replica := func() *testenv.Gateway {
		g := testenv.Serve(t, config)
		testenv.Eventually(t, "connected", func() bool { return connected(g) })
		return g
	}
	one, two := replica(), replica()
	lives, ends := one.Legacy("/mcp"), one.Legacy("/mcp")
	at := func(g *testenv.Gateway, c *testenv.Client) bool {
		return g.Takes(c, "/mcp").Call("tools/list", "").Result() != nil
	}
	if !at(two, lives) || !at(two, ends) {
		t.Fatal("a session is not known at another replica")
	}
	if code := ends.Delete(); code >= 300 {
		t.Fatalf("DELETE: %d", code)
	}
	testenv.Eventually(t, "the other replica refuses it", func() bool { return !at(two, ends) })
	r.Kill()
	if at(one, ends) || at(two, ends) || !at(two, lives) {
		t.Error("while Redis is away")
	}
	r.Start()
	testenv.Eventually(t, "both are connected", func() bool { return connected(one) && connected(two) })
	testenv.Eventually(t, "a new replica refuses it", func() bool { return !at(replica(), ends) })
	if at(one, ends) || at(two, ends) || !at(two, lives) || !at(replica(), lives) {
		t.Error("after Redis came back")
	}
}

// TestCutOffElsewhere: what a replica serves for the client of another ends with it, and that client is told.
func TestCutOffElsewhere(t *testing.T) {
	t.Parallel()
	r := testenv.StartRedis(t)
	resumed := make(chan struct{})
	s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: []string{testenv.Tool("ask")}, On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) {
			if _, ok := c.Ask(testenv.Question{Key: "k", Method: "roots/list", Params: []byte(`{}`)}); ok {
				close(resumed)
				c.Hang()
			}
		},
	}})
	config := clustered(r.URL(), s, clusterKey)
	config.More["drainTimeout"] = "10ms"
	one, two := testenv.Serve(t, config), testenv.Serve(t, config)
	testenv.Eventually(t, "both are connected", func() bool { return connected(one) && connected(two) })
	asked, other := one.Modern("/mcp"), two.Modern("/mcp")
	asked.Capabilities, other.Capabilities = everything, everything
	state := asked.Tool("one__ask", "{}").Member("requestState")
	reply := make(chan *testenv.Reply, 1)
	go func() {
		reply <- other.Call("tools/call", `"name":"one__ask","arguments":{},"inputResponses":{"q1":{"roots":[]}},"requestState":`+state)
	}()
	<-resumed
	one.Stop()
	if _, text := (<-reply).Error(); !strings.Contains(text, "stopping") {
		t.Errorf("the client of the other replica is told %q", text)
	}
}

func connected(g *testenv.Gateway) bool {
	_, body := g.Get("/health/ready", nil)
	return strings.Contains(body, `"connected": true`)
}
