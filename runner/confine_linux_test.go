package runner_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/runner"
)

// confined starts a command with a launcher and directories of its own.
func confined(t *testing.T, c runner.Command) *runner.Process {
	t.Helper()
	p, err := runner.Start(c, runner.Options{Confine: confineArgv(), Guard: guardArgv(), Dirs: runner.Dirs{Temp: true, Work: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, p) })
	return p
}

// wantRefused checks that a command is not started, and that the error says why.
func wantRefused(t *testing.T, c runner.Command, why string) {
	t.Helper()
	if _, err := runner.Start(c, runner.Options{Confine: confineArgv()}); err == nil || !strings.Contains(err.Error(), why) {
		t.Errorf("got %v, want: %s", err, why)
	}
}

// An instance over its memory is killed, whichever of its processes took it, and the error says so.
func TestMemoryLimit(t *testing.T) {
	withAndWithoutGroups(t, func(t *testing.T) {
		neighbour := start(t, "echo", runner.Options{})
		script := `(head -c $1 /dev/zero; sleep $2) | tail | wc -c; cat` // tail keeps all that has no newline
		c := runner.Command{Server: "test", Path: "sh", Env: runner.Environ(os.LookupEnv, nil), Limits: runner.Limits{Memory: 128 << 20}}
		c.Args = []string{"-c", script, "sh", "300M", "60"}
		if e := ended(t, confined(t, c)); e.Reason() != "memory" || !strings.Contains(e.Error(), "over resources.memory (128Mi)") {
			t.Errorf("%v", e)
		}
		c.Args = []string{"-c", script, "sh", "30M", "0"}
		if got := read(t, confined(t, c)); got != "31457280" {
			t.Errorf("got %q", got)
		}
		write(t, neighbour, "well")
		if got := read(t, neighbour); got != "well" {
			t.Errorf("got %q", got)
		}
	})
}

// A fork bomb under the limit hurts itself only: its forks fail, or it is killed.
func TestPidsLimit(t *testing.T) {
	withAndWithoutGroups(t, func(t *testing.T) {
		neighbour := start(t, "echo", runner.Options{})
		bounded := strings.HasSuffix(t.Name(), "/groups") && runner.HasControlGroups("pids")
		if !bounded && os.Geteuid() != 0 {
			t.Skip("only root has the user to spare")
		}
		for _, how := range []string{"", " sessions"} {
			c := command("bomb" + how)
			c.Limits.Pids = 40
			if !bounded {
				c.Path, c.User = reachable(t), "61234:61234"
			}
			p := confined(t, c)
			if got := read(t, p); got != "here" {
				t.Errorf("got %q", got)
			}
			if bounded {
				eventually(t, "the bomb reaches its limit", func() bool { u, err := p.Usage(); return err != nil || u.Processes > 30 })
				if u, err := p.Usage(); err == nil && u.Processes > 40 {
					t.Errorf("%+v", u)
				}
			} else if e := ended(t, p); e.Reason() != "pids" || !strings.Contains(e.Error(), "over resources.pids (40)") {
				t.Errorf("%v", e)
			}
			write(t, neighbour, "well")
			if got := read(t, neighbour); got != "well" {
				t.Errorf("got %q", got)
			}
			stop(t, p)
			if n := running("61234"); n != 0 {
				t.Errorf("%d processes are left", n)
			}
		}
	})
}

// Root's processes cannot be held without a control group.
func TestPidsLimitOfRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	t.Cleanup(runner.WithoutControlGroups())
	c := command("echo")
	c.Limits.Pids = 40
	wantRefused(t, c, "give the server another user")
}

// running counts the processes of a user.
func running(uid string) (n int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		status, _ := os.ReadFile("/proc/" + e.Name() + "/status")
		if strings.Contains(string(status), "\nUid:\t"+uid+"\t") && !strings.Contains(string(status), "State:\tZ") {
			n++
		}
	}
	return n
}

func TestFilesLimit(t *testing.T) {
	c := command("status")
	c.Limits.Files = 77
	if got := read(t, confined(t, c)); !strings.Contains(got, "files=77 ") {
		t.Errorf("got %q", got)
	}
	c.Limits.Files = 3
	wantRefused(t, c, "resources.files is 3: a process needs at least 8")
}

func TestCPULimit(t *testing.T) {
	c := command("echo")
	c.Limits.CPU = 0.5
	if runner.HasControlGroups("cpu") {
		p := confined(t, c)
		write(t, p, "x")
		if got := read(t, p); got != "x" {
			t.Errorf("got %q", got)
		}
		stop(t, p)
	}
	t.Cleanup(runner.WithoutControlGroups())
	wantRefused(t, c, "resources.cpu takes a control group")
}

func TestUser(t *testing.T) {
	if os.Geteuid() != 0 {
		c := command("status")
		c.User = "nobody"
		wantRefused(t, c, "only root may start servers as another user")
		t.Skip("only root can do the rest")
	}
	for user, want := range map[string]string{
		"nobody":        "Uid=65534,65534,65534,65534 Gid=65534,65534,65534,65534 Groups= ",
		"nobody:daemon": "Uid=65534,65534,65534,65534 Gid=1,1,1,1 Groups= ",
		"12345:54321":   "Uid=12345,12345,12345,12345 Gid=54321,54321,54321,54321 Groups= ",
	} {
		c := command("status")
		c.Path, c.User = reachable(t), user
		got := read(t, confined(t, c))
		if !strings.HasPrefix(got, want) || !strings.Contains(got, "CapEff=0000000000000000") || !strings.Contains(got, "NoNewPrivs=1") {
			t.Errorf("%s: got %q", user, got)
		}
		if user == "nobody" && !strings.Contains(got, " home=/nonexistent ") {
			t.Errorf("%s: got %q", user, got)
		}
	}
	for user, want := range map[string]string{
		"no-such-user-here": "there is no such user here", "4242": "there is no such user here", "nobody:no-such-group": `there is no group "no-such-group" here`,
	} {
		c := command("status")
		c.User = user
		wantRefused(t, c, want)
	}
}

// A user who cannot get at what is to be started is told where it fails.
func TestUserWithoutAccess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root")
	}
	script := filepath.Join(t.TempDir(), "server.sh") // whose directory is root's alone
	if err := os.WriteFile(script, []byte("cat"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := runner.Command{Server: "test", Path: "sh", Args: []string{script}, Env: runner.Environ(os.LookupEnv, nil), User: "nobody"}
	wantRefused(t, c, "user nobody cannot get at "+script+": let others read it and enter the directories above it")
}

// Interpreters fit their heaps to the limit that they find in their control group, whatever user they run as.
func TestUserSeesLimit(t *testing.T) {
	if os.Geteuid() != 0 || !runner.HasControlGroups("memory") {
		t.Skip("takes root and control groups")
	}
	c := runner.Command{Server: "test", Path: "sh", Env: runner.Environ(os.LookupEnv, nil), User: "nobody", Limits: runner.Limits{Memory: 128 << 20}}
	c.Args = []string{"-c", `one=$(sed -n 's/^[0-9]*:.*\bmemory\b[^:]*://p' /proc/self/cgroup); two=$(sed -n s/^0:://p /proc/self/cgroup)
cat "/sys/fs/cgroup/memory$one/memory.limit_in_bytes" "/sys/fs/cgroup$two/memory.max" "/sys/fs/cgroup/unified$two/memory.max"; cat`}
	if got := read(t, confined(t, c)); got != "134217728" {
		t.Errorf("got %q", got)
	}
}

// The launcher, which has the program's rights, runs with nothing of the environment that the command gets.
func TestLauncherEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	c := command("echo")
	c.Env, c.Limits.Files = append(c.Env, "LD_AUDIT=/no/such/file", "TOKEN=s3cret-value"), 77
	_, err := runner.Start(c, runner.Options{Confine: []string{"/bin/sh", "-c", "env > " + file}})
	if err == nil {
		t.Fatal("a launcher that does nothing started a command")
	}
	env, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(env)) {
		if name, _, _ := strings.Cut(line, "="); !slices.Contains([]string{"TOOLCRIB_INSTANCE", "PWD", "OLDPWD", "SHLVL", "_"}, name) {
			t.Errorf("it had %s", line)
		}
	}
}

// Arguments and variables of a confined command arrive byte for byte.
func TestConfinedBytes(t *testing.T) {
	c := runner.Command{
		Server: "test", Path: "sh", Args: []string{"-c", `printf %s-%s "$1" "$ODD" | od -An -tx1; cat`, "sh", "a\xffb"},
		Env: append(runner.Environ(os.LookupEnv, nil), "ODD=\xfe"), Limits: runner.Limits{Files: 77},
	}
	if got := read(t, confined(t, c)); strings.TrimSpace(got) != "61 ff 62 2d fe" {
		t.Errorf("got %q", got)
	}
}

// reachable is the test binary in a place where other users may execute it.
func reachable(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "reachable") //nolint:usetesting // others cannot reach those
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := dir + "/server"
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
