package real_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestTasks runs tasks of the official server-everything, which keeps them in one process or session, for the official client,
// through replicas that are chosen at random.
func TestTasks(t *testing.T) {
	t.Parallel()
	p := needParts(t)
	f := fleet(t, 3, map[string]server{
		"stdio": {Command: p.node, Args: []string{p.server("everything"), "stdio"}},
	}, testenv.StartRedis(t).URL())
	job, err := json.Marshal(map[string]string{"url": f.URL + "/mcp", "tool": "stdio__simulate-research-query"})
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, err := runNode(t, p, filepath.Join(p.modules, "tasks1.mjs"), string(job))
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Asked, IDs, Progress   int
		Statuses               []string
		Text, Cancelled, Plain string
	}
	lines := bytes.Split(bytes.TrimSpace(stdout), []byte("\n"))
	if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	if r.Asked != 1 || r.IDs != 1 || !slices.Contains(r.Statuses, "input_required") || !strings.Contains(r.Text, "snakes") {
		t.Errorf("a task that asks: %s", stdout)
	}
	if r.Cancelled != "cancelled" {
		t.Errorf("a task that is cancelled: %s", stdout)
	}
	if r.Progress == 0 || !strings.Contains(r.Plain, "rain") {
		t.Errorf("a call that becomes a task: %s", stdout)
	}
}
