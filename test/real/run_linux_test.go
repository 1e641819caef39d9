package real_test

import (
	"crypto/rand"
	"os/exec"
	"slices"
	"syscall"
	"testing"
)

// TestRun serves each kind of stdio server by "toolcrib run" to clients of both eras, in one process and in one for each session:
// they see what they see without it. Asked to stop, it leaves no process.
func TestRun(t *testing.T) {
	t.Parallel()
	p := needParts(t)
	binary, err := gatewayBinary()
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range fixtures(t, p) {
		if f.entry.Command == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := driveGo(t, p, f.entry, "legacy", f.steps)
			for _, isolation := range []string{"shared", "session"} {
				t.Run(isolation, func(t *testing.T) {
					t.Parallel()
					runOne(t, p, binary, isolation, f, direct)
				})
			}
		})
	}
}

func runOne(t *testing.T, p *parts, binary, isolation string, f fixture, direct report) {
	t.Helper()
	addr, mark := freeAddr(t), rand.Text()
	args := []string{"run", "--listen", addr, "--state-dir", t.TempDir(), "--isolation", isolation, "--env", "TOOLCRIB_TEST_MARK=" + mark}
	for k, v := range f.entry.Env {
		args = append(args, "--env", k+"="+v)
	}
	process := start(t, binary, slices.Concat(args, []string{"--", f.entry.Command}, f.entry.Args)...)
	waitUntil(t, "the probe", startTimeout, func() bool {
		return exec.CommandContext(t.Context(), binary, "run", "--exec-probe", "--listen", addr).Run() == nil
	})
	for _, c := range clients {
		if c.name != "go-legacy" && c.name != "go-modern" {
			continue
		}
		got := driveGo(t, p, target{URL: "http://" + addr + "/mcp"}, c.era, f.steps)
		checkSession(t, c, got)
		for i, want := range direct.Steps {
			checkStep(t, f.steps[i], got.Steps[i], want)
		}
	}
	if len(marked(t, mark)) == 0 {
		t.Error("no process of the server was found")
	}
	if err := process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	waitGone(t, mark)
}
