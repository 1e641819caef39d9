package system_test

import (
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestSleepingServer: a server whose process was stopped since nobody called is ready, keeps its lists however stale they are,
// and is woken by calls alone; clients that hear of changes hear of none.
func TestSleepingServer(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			s := testenv.StdioServer(t, testenv.Script{Era: era, Tools: testenv.Tools(3)})
			g := testenv.Serve(t, testenv.Config{Entries: map[string]any{
				"one": s.Entry(map[string]any{"pool": map[string]any{"idle": "100ms"}, "listTTL": "1ms"}),
			}})
			client := g.Legacy("/mcp")
			ear := client.Hear()
			asleep := func() bool {
				code, body := g.Get("/health/ready", nil)
				return code == 200 && strings.Contains(body, `"status": "ready"`) && strings.Contains(body, `"state": "idle"`)
			}
			list := func() {
				t.Helper()
				if n := len(client.Call("tools/list", ``).Names("tools")); n != 3 {
					t.Errorf("%d tools", n)
				}
				client.Call("prompts/list", ``)
			}
			list()
			told := func() (n int) {
				for _, method := range []string{"tools", "prompts", "resources"} {
					n += len(ear.Heard("notifications/" + method + "/list_changed"))
				}
				return n
			}
			testenv.Eventually(t, "sleep", asleep)
			// When it came up; once for each list, where that took longer than it stays awake.
			before, first := told(), len(s.Children())
			if first > 3 {
				t.Errorf("%d processes were started for the first lists", first)
			}
			for wakes := range 2 {
				testenv.Eventually(t, "sleep", asleep)
				for range 5 {
					list()
				}
				if n := len(s.Children()); n != first+wakes || !asleep() {
					t.Errorf("%d processes were started, want %d", n, first+wakes)
				}
				if r := client.Tool("one__tool0001", "{}"); r.Texts() != "done" {
					t.Errorf("a call that wakes it: %v", r)
				}
			}
			testenv.Eventually(t, "sleep at last", asleep)
			if n := told() - before; n != 0 {
				t.Errorf("told %d times that lists changed", n)
			}
		})
	}
}
