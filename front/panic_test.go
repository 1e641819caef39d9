package front_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/memory"
	"github.com/toolcrib/toolcrib/front"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/seal"
	"github.com/toolcrib/toolcrib/telemetry"
)

// TestPanicIsAnswered: a request in which the gateway fails is answered with an internal error and is on record, once, in each
// dialect; the connection and the plan stay good.
func TestPanicIsAnswered(t *testing.T) {
	t.Parallel()
	server := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	c, problems := v1.Parse(fmt.Appendf(nil, "mcpServers: {one: {url: %q}}\naudit: {sinks: [{file: a.jsonl}]}\n", server.URL), v1.Options{})
	if c == nil {
		t.Fatalf("%v", problems)
	}
	c.StateDir = t.TempDir()
	log, err := audit.Open(c, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ring, err := seal.NewRing(newKey())
	if err != nil {
		t.Fatal(err)
	}
	node := cluster.New(cluster.Options{Backend: memory.New(), Ring: func() *seal.Ring { return ring }})
	defer node.Close()
	// Without keys the gateway fails where it opens the id of a task.
	gw := gateway.New(gateway.Options{
		Log: slog.New(slog.DiscardHandler), Metrics: telemetry.NewMetrics("test"), Audit: log, Node: node, Ring: func() *seal.Ring { panic("no keys") },
	})
	p, err := plan.Compile(c)
	if err == nil {
		err = gw.Apply(p)
	}
	if err != nil {
		t.Fatal(err)
	}
	var told bytes.Buffer
	h := front.New(front.Options{
		Gateway: gw, Metrics: telemetry.NewMetrics("test"), Node: node, Ring: ring, Loopback: true, Life: context.Background(), Log: slog.New(slog.NewTextHandler(&told, nil)),
	})
	srv := httptest.NewServer(h)
	modern := testenv.NewClient(t, srv.URL+"/mcp", testenv.Modern)
	modern.Capabilities = `{"extensions":{"io.modelcontextprotocol/tasks":{}}}`
	legacy := testenv.NewClient(t, srv.URL+"/mcp", testenv.Legacy)
	legacy.Initialize(testenv.LegacyVersion)
	for _, client := range []*testenv.Client{modern, legacy} {
		r := client.Call("tasks/get", `"taskId":"t"`)
		if code, text := r.Error(); r.Status != 200 || code != -32603 || !strings.Contains(text, "failed while it served") {
			t.Errorf("%v", r)
		}
		if r := client.Call("tools/list", ""); r.Status != 200 || r.Result() == nil {
			t.Errorf("%v", r)
		}
	}
	srv.Close()
	gw.Close() // which waits for exchanges
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(c.StateDir, "a.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range bytes.Lines(text) {
		e, err := audit.ParseEvent(line)
		if err != nil {
			t.Fatal(err)
		}
		if e.Operation() == "tasks/get" && e.Outcome == "internal" && e.API.Response.Code == -32603 {
			n++
		}
	}
	if n != 2 || strings.Count(told.String(), "panic while") != 2 {
		t.Errorf("%d records of what failed; told: %s", n, told.String())
	}
}
