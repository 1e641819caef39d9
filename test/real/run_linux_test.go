package real_test

import (
	"crypto/rand"
	"os/exec"
	"slices"
	"syscall"
	"testing"
)

// TestRun serves each kind of stdio server by "toolcrib run" to clients of both eras, who see what they see without it; asked to
// stop, it leaves no process.
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
			addr, mark := freeAddr(t), rand.Text()
			args := []string{"run", "--listen", addr, "--state-dir", t.TempDir(), "--env", "TOOLCRIB_TEST_MARK=" + mark}
			for k, v := range f.entry.Env {
				args = append(args, "--env", k+"="+v)
			}
			process := start(t, binary, slices.Concat(args, []string{"--", f.entry.Command}, f.entry.Args)...)
			waitUntil(t, "the probe", startTimeout, func() bool {
				return exec.CommandContext(t.Context(), binary, "run", "--exec-probe", "--listen", addr).Run() == nil
			})
			direct := driveGo(t, p, f.entry, "legacy", f.steps)
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
		})
	}
}
