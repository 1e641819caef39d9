package runner_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/toolcrib/toolcrib/runner"
)

// withAndWithoutGroups runs a test with control groups, where the program may make them, and without.
func withAndWithoutGroups(t *testing.T, test func(t *testing.T)) {
	t.Run("groups", func(t *testing.T) {
		if !runner.HasControlGroups("") {
			t.Skip("no control groups to be had here")
		}
		test(t)
	})
	t.Run("without", func(t *testing.T) {
		t.Cleanup(runner.WithoutControlGroups())
		test(t)
	})
}

// A descendant in a session of its own dies with its instance, and its open pipes hold up nothing.
func TestStrayDescendant(t *testing.T) {
	withAndWithoutGroups(t, func(t *testing.T) {
		p := start(t, "stray", runner.Options{})
		id := pids(t, 1, func() string { return read(t, p) })[0]
		wantEOF(t, p)
		if e := ended(t, p); e.Code != 0 || e.Cause != nil {
			t.Errorf("%+v", e)
		}
		wantGone(t, []int{id})

		p = start(t, "stray stay", runner.Options{})
		id = pids(t, 1, func() string { return read(t, p) })[0]
		other := start(t, "stray stay", runner.Options{})
		spared := pids(t, 1, func() string { return read(t, other) })[0]
		wantAlive(t, []int{id, spared})
		stop(t, p)
		wantGone(t, []int{id})
		wantAlive(t, []int{other.PID(), spared})
		stop(t, other)
		wantGone(t, []int{spared})
	})
}

// A control group holds also what hides: another session, no environment, no living parent.
func TestBareStray(t *testing.T) {
	if !runner.HasControlGroups("") {
		t.Skip("no control groups to be had here")
	}
	p := start(t, "stray bare", runner.Options{})
	id := pids(t, 1, func() string { return read(t, p) })[0]
	ended(t, p)
	wantGone(t, []int{id})
}

// After kill -9 of the program its guard ends what left the process groups too, and removes directories and groups.
func TestNothingIsLeftOfAKilledProgram(t *testing.T) {
	for _, how := range []string{"guard strays", "guard strays nogroups"} {
		t.Run(how, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			program := 0
			leaders, others := killedParent(t, how, func(pid int) {
				program = pid
				if entries, _ := os.ReadDir(os.TempDir()); len(entries) != 1 {
					t.Errorf("directories: %v", entries)
				}
			})
			if len(others) != 3*4+3 {
				t.Errorf("%d others", len(others))
			}
			wantGone(t, append(leaders, others...))
			eventually(t, "the directories are removed", func() bool { return len(matches(os.TempDir()+"/*")) == 0 })
			name := fmt.Sprintf("toolcrib-%d-*", program)
			eventually(t, "the control groups are removed", func() bool {
				return len(matches("/sys/fs/cgroup/"+name))+len(matches("/sys/fs/cgroup/*/"+name)) == 0
			})
		})
	}
}

func matches(pattern string) []string {
	found, _ := filepath.Glob(pattern)
	return found
}
