package system_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestDescendantsEnd: what a server started is gone within a second of its gateway, however that ends, also what went into a
// session of its own, as daemons do.
func TestDescendantsEnd(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"stopped", "killed"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			l := testenv.LoneServer(t, "both", "")
			cmd, url := program(t, map[string]any{"one": l.Entry()})
			client := testenv.NewClient(t, url, testenv.Modern)
			for range 3 {
				client.Tool("one__flee", "{}")
			}
			testenv.Eventually(t, "the daemons and their children", func() bool { return len(l.Processes()) == 1+3*2 })
			signal := os.Interrupt
			if end == "killed" {
				signal = os.Kill
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // killed is no success
			watch := testenv.StartWatch(t)
			testenv.Eventually(t, "end of all processes", func() bool { return len(l.Processes()) == 0 })
			if took := watch.Took(); took > time.Second {
				t.Errorf("the last one ended %s after the gateway", took)
			}
		})
	}
}

// TestBounds: a server that forks without end, and one that takes memory without end, stay below their limits; others notice
// nothing, and who called and who looks at the state is told.
func TestBounds(t *testing.T) {
	t.Parallel()
	bomb, hog := testenv.LoneServer(t, "both", ""), testenv.LoneServer(t, "both", "")
	good := testenv.LoneServer(t, "both", "")
	g := testenv.Serve(t, testenv.Config{Entries: map[string]any{
		"good": good.Entry(),
		"bomb": bomb.Entry(map[string]any{"resources": map[string]any{"pids": 64}}),
		"hog":  hog.Entry(map[string]any{"resources": map[string]any{"memory": "128Mi"}}),
	}})
	stop := steady(testenv.Within(t, 3*testenv.Patience), t, g.Modern("/mcp"), "good__echo", "good__echo")
	most := make(chan int)
	done := make(chan struct{})
	go func() { most <- mostProcesses(bomb, done) }()
	r := g.Modern("/mcp").Tool("bomb__bomb", `{"n":1500}`)
	close(done)
	if n := <-most; n > 64 {
		t.Errorf("%d processes, of 64 that there may be; the call: %v", n, r)
	} else {
		t.Logf("at most %d processes; the call: %v", n, r)
	}
	r = g.Modern("/mcp").Tool("hog__hog", `{"n":1024}`)
	if code, text := r.Error(); code != -32603 || !strings.Contains(text, "resources.memory") {
		t.Errorf("over the memory: %v", r)
	}
	testenv.Eventually(t, "another hog", func() bool { return g.Modern("/mcp").Tool("hog__echo", "{}").Texts() == "done" })
	stop()
	g.Stop()
	if left := append(bomb.Processes(), hog.Processes()...); len(left) > 0 {
		t.Errorf("processes %v are left", left)
	}
}

// mostProcesses is the highest number of processes that a server had at once.
func mostProcesses(l *testenv.Lone, done <-chan struct{}) (most int) {
	for {
		most = max(most, len(l.Processes()))
		select {
		case <-done:
			return most
		case <-time.After(5 * time.Millisecond):
		}
	}
}
