package ops_test

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/telemetry/dashboards"
)

const dashboardJob = "dashboards"

// TestDashboards: after some traffic and some trouble every query of every panel shows something.
func TestDashboards(t *testing.T) {
	rules, err := filepath.Abs("../../deploy/prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	p := testenv.StartPrometheus(t, testenv.PrometheusOptions{Targets: []string{dashboardJob}, Rules: rules})
	b := newBusy(t)
	p.ScrapeGateway(dashboardJob, b.g, acmeKey)
	ctx, cancel := context.WithCancel(context.Background())
	var traffic sync.WaitGroup
	defer traffic.Wait()
	defer cancel()
	traffic.Go(func() { b.work(ctx) })

	lacking := map[string]string{}
	for _, d := range dashboards.All {
		for _, panel := range d.Panels {
			for _, q := range panel.Queries {
				lacking[d.Name+", "+panel.Title+": "+q.Expr] = filled(q.Expr)
			}
		}
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for end := time.Now().Add(patience); len(lacking) > 0 && time.Now().Before(end); <-tick.C {
		for at, expr := range lacking {
			all, err := p.Query(expr)
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			if slices.ContainsFunc(all, func(s testenv.Sample) bool { return !math.IsNaN(s.Value) }) {
				delete(lacking, at)
			}
		}
	}
	for at, expr := range lacking {
		t.Errorf("nothing is shown of %s\nas %s", at, expr)
	}
}

// filled is an expression as Grafana sends it.
func filled(expr string) string {
	return strings.NewReplacer("$__rate_interval", "5s", "$job", dashboardJob, "$server", ".*").Replace(expr)
}

const (
	acmeKey  = "acme-0123456789abcdef0123456789abcdef"
	otherKey = "other-0123456789abcdef0123456789abcdef"
)

// busy is a gateway that has something of everything.
type busy struct {
	t     *testing.T
	g     *testenv.Gateway
	local *testenv.Server
}

func newBusy(t *testing.T) *busy {
	t.Helper()
	b := &busy{t: t}
	web := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(3), On: map[string]func(*testenv.Call){
		"tools/call":          func(c *testenv.Call) { c.Text("done") },
		"tools/call tool0002": func(c *testenv.Call) { c.Error(-32000, "out of paper") },
	}})
	b.local = testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) { c.Text("done") },
	}})
	siem := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(siem.Close)
	b.g = testenv.Serve(t, testenv.Config{
		Entries: map[string]any{
			"web":   web.Entry(object{"breaker": object{"failures": 1000, "open": "1s"}, "tools": object{"tool0001": object{"cache": "10m"}}}),
			"local": b.local.Entry(),
		},
		More: object{
			"auth": object{"apiKeys": []any{
				object{"name": "ci", "key": acmeKey, "tenant": "acme", "expires": time.Now().Add(time.Hour).Format(time.RFC3339)},
				object{"name": "cd", "key": otherKey, "tenant": "other"},
			}},
			"limits": []any{object{"tools": []string{"local__*"}, "per": []string{"tenant"}, "rate": "5/s", "burst": 1}},
			"audit":  object{"sinks": []any{object{"file": filepath.Join(t.TempDir(), "audit.jsonl")}, object{"webhook": siem.URL}}},
		},
	})
	return b
}

// work does what callers do until ctx ends, and has a process crash.
func (b *busy) work(ctx context.Context) {
	tick := time.NewTicker(10 * pace)
	defer tick.Stop()
	killed := false
	for i := 0; ; i++ {
		b.round(ctx, i)
		if all := b.local.Children(); !killed && i > 5 && len(all) > 0 {
			killed = syscall.Kill(all[0].PID, syscall.SIGKILL) == nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// round is one of everything. What fails is meant to.
func (b *busy) round(ctx context.Context, i int) {
	key := []string{acmeKey, otherKey, "wrong"}[i%3]
	modern, session := b.g.Modern("/mcp"), b.g.LegacyOf("/mcp", "2025-11-25", acmeKey)
	modern.Key = key
	for _, tool := range []string{"web__tool0000", "web__tool0001", "web__tool0002", "local__tool0000", "nobody__knows"} {
		for _, c := range []*testenv.Client{modern, session} {
			_, _ = c.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"` + tool + `","arguments":{}`})
		}
	}
	_, _ = modern.Try(ctx, testenv.Request{Method: "tools/list", Meta: `"io.modelcontextprotocol/clientInfo":{"name":"ide","version":"1"}`})
	forged := b.g.Takes(session, "/mcp")
	session.Delete()
	forged.Session += "x"
	_, _ = forged.Try(ctx, testenv.Request{Method: "tools/list"})
}
