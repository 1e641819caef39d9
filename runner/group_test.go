package runner_test

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/runner"
)

// pids reads n lines of process ids.
func pids(t *testing.T, n int, next func() string) []int {
	t.Helper()
	var ids []int
	for range n {
		id, err := strconv.Atoi(next())
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func wantGone(t *testing.T, ids []int) {
	t.Helper()
	eventually(t, "all descendants end", func() bool {
		return !slices.ContainsFunc(ids, alive)
	})
}

func wantAlive(t *testing.T, ids []int) {
	t.Helper()
	for _, id := range ids {
		if !alive(id) {
			t.Fatalf("process %d does not run", id)
		}
	}
}

func TestStopEndsDescendants(t *testing.T) {
	p := start(t, "family", runner.Options{Grace: 50 * time.Millisecond})
	ids := pids(t, 5, func() string { return read(t, p) })
	wantAlive(t, ids)
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantGone(t, ids)
}

// When the leader ends by itself, or is killed, the rest of its group ends too, and the end of the
// output comes although descendants held the pipe.
func TestLeaderEndsDescendantsEnd(t *testing.T) {
	p := start(t, "family leave", runner.Options{})
	ids := pids(t, 5, func() string { return read(t, p) })
	wantEOF(t, p)
	if e := ended(t, p); e.Code != 0 {
		t.Errorf("%+v", e)
	}
	wantGone(t, ids)

	p = start(t, "family", runner.Options{})
	ids = pids(t, 5, func() string { return read(t, p) })
	_ = syscall.Kill(p.PID(), syscall.SIGKILL)
	wantEOF(t, p)
	ended(t, p)
	wantGone(t, ids)
}

// killedParent starts a program that runs servers with descendants, kills it, and returns the ids of
// all of them: those of the leaders, and those of the others.
//
// Before the kill it calls prepare with the id of the program.
func killedParent(t *testing.T, how string, prepare func(pid int)) (leaders, others []int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=parent "+how)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func() string {
		if !lines.Scan() {
			t.Fatal("the program in the middle ended early")
		}
		return lines.Text()
	}
	for range 3 {
		ids := pids(t, 5, next)
		leaders, others = append(leaders, ids[0]), append(others, ids[1:]...)
	}
	for id := next(); id != "ready"; id = next() {
		others = append(others, pids(t, 1, func() string { return id })...)
	}
	wantAlive(t, leaders)
	wantAlive(t, others)
	prepare(cmd.Process.Pid)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	return leaders, others
}

func TestNothingSurvivesKillOfTheProgram(t *testing.T) {
	began := time.Now()
	leaders, others := killedParent(t, "guard", func(int) {})
	killed := time.Now()
	wantGone(t, append(leaders, others...))
	t.Logf("started in %v, gone %v after the kill", killed.Sub(began), time.Since(killed))
}

// Without a guard the kernel ends the leaders; this shows that the parent-death signal works by itself.
func TestLeadersDieWithTheProgram(t *testing.T) {
	leaders, others := killedParent(t, "none", func(int) {})
	defer func() {
		for _, id := range leaders {
			_ = syscall.Kill(-id, syscall.SIGKILL)
		}
	}()
	wantGone(t, leaders)
	wantAlive(t, others)
}

// guards returns the ids of the guard processes of a program.
func guards(t *testing.T, program int) (ids []int) {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Skip("no /proc here")
	}
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		stat, _ := os.ReadFile("/proc/" + e.Name() + "/stat")
		_, after, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(after)
		if string(line) == strings.Join(guardArgv(), "\x00")+"\x00" && len(fields) > 1 && fields[1] == strconv.Itoa(program) {
			ids = append(ids, id)
		}
	}
	return ids
}

func TestOneGuardForAll(t *testing.T) {
	for range 5 {
		start(t, "echo", runner.Options{Guard: guardArgv()})
	}
	if n := len(guards(t, os.Getpid())); n != 1 {
		t.Errorf("%d guards", n)
	}
}

// A guard that dies is replaced, and the new one knows the groups of the old.
func TestGuardIsReplaced(t *testing.T) {
	leaders, others := killedParent(t, "guard", func(pid int) {
		for range 3 {
			old := guards(t, pid)
			if len(old) != 1 {
				t.Fatalf("guards %v", old)
			}
			_ = syscall.Kill(old[0], syscall.SIGKILL)
			eventually(t, "another guard starts", func() bool {
				now := guards(t, pid)
				return len(now) == 1 && now[0] != old[0]
			})
		}
	})
	wantGone(t, append(leaders, others...))
}

// A guard nobody needs is ended after a while, and there is another one when there is need again.
func TestIdleGuardIsEnded(t *testing.T) {
	runner.SetGuardLinger(t, 10*time.Millisecond)
	for range 3 {
		p := start(t, "echo", runner.Options{Guard: guardArgv()})
		if n := len(guards(t, os.Getpid())); n != 1 {
			t.Errorf("%d guards", n)
		}
		stop(t, p)
		eventually(t, "the guard ends", func() bool { return len(guards(t, os.Getpid())) == 0 })
	}
}

// A guard that cannot start does not keep servers from starting.
func TestGuardCannotStart(t *testing.T) {
	p := start(t, "echo", runner.Options{Guard: []string{"/nonexistent/guard"}})
	write(t, p, "x")
	if got := read(t, p); got != "x" {
		t.Errorf("got %q", got)
	}
}

func TestGuard(t *testing.T) {
	sleeper := func() *exec.Cmd {
		cmd := exec.Command("sh", "-c", "sleep 3600 & sleep 3600")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); _ = cmd.Wait() })
		return cmd
	}
	guarded, removed := sleeper(), sleeper()
	cmd := exec.Command(os.Args[0], "guard-for-test")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := "+" + strconv.Itoa(guarded.Process.Pid) + "\n+" + strconv.Itoa(removed.Process.Pid) +
		"\n-" + strconv.Itoa(removed.Process.Pid) + "\n+0\n+1\n+-1\n\nnonsense\n+99999999999999999999\n"
	if _, err := in.Write([]byte(lines)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the guard ignores signals", func() bool {
		status, _ := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/status")
		_, mask, _ := strings.Cut(string(status), "SigIgn:\t")
		mask, _, _ = strings.Cut(mask, "\n")
		ignored, _ := strconv.ParseUint(mask, 16, 64) // more may have been ignored by whoever started the tests
		return len(status) == 0 || ignored&0x4003 == 0x4003
	})
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		_ = cmd.Process.Signal(s)
	}
	wantAlive(t, []int{cmd.Process.Pid, guarded.Process.Pid})
	_ = in.Close()
	_ = guarded.Wait()
	if err := cmd.Wait(); err != nil {
		t.Errorf("guard: %v", err)
	}
	wantGone(t, []int{guarded.Process.Pid})
	wantAlive(t, []int{removed.Process.Pid})
}
