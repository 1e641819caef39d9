package runner_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/runner"
)

// shell is a command of a shell in a sandbox.
func shell(sandbox runner.Sandbox, script string, args ...string) runner.Command {
	return interpreted("sh", sandbox, append([]string{"-c", script, "sh"}, args...)...)
}

func interpreted(program string, sandbox runner.Sandbox, args ...string) runner.Command {
	return runner.Command{Server: "test", Path: program, Args: args, Env: runner.Environ(os.LookupEnv, nil), Sandbox: &sandbox}
}

// tree makes a directory, outside of the temporary ones, with a file to read and one to write.
func tree(t *testing.T) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "sandbox") //nolint:usetesting // what is in the temporary one is readable to some
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, name := range []string{"in/file", "out/file", "secret/file"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tries are shell commands with whether they succeed in a sandbox that may read in and write out.
var tries = map[string]bool{
	`cat $1/in/file`:                              true,
	`ls $1/in`:                                    true,
	`echo x > $1/in/file`:                         false,
	`: > $1/in/new`:                               false,
	`rm $1/in/file`:                               false,
	`cat $1/out/file`:                             true,
	`echo x > $1/out/new`:                         true,
	`mkdir $1/out/a && mv $1/out/a $1/out/b`:      true,
	`mv $1/in/file $1/out/stolen`:                 false,
	`ln $1/in/file $1/out/link`:                   false,
	`ln -s $1/secret $1/out/s; cat $1/out/s/file`: false,
	`cat $1/out/../secret/file`:                   false,
	`cat $1/secret/file`:                          false,
	`ls $1`:                                       false,
	`ls /`:                                        false,
	`ls /root`:                                    false,
	`cat /etc/shadow`:                             false,
	`cat /etc/hosts /etc/passwd`:                  true,
	`cat /proc/1/environ`:                         false,
	`cat /proc/self/status`:                       true,
	`echo x > /tmp/x`:                             false,
	`echo x > $TMPDIR/x && cat $TMPDIR/x`:         true,
	`echo x > y && test "$(pwd)" = "$PWD"`:        true,
	`echo x > /dev/null`:                          true,
	`(echo x > /dev/tty) 2>&1 | grep -q denied`:   true,
	`kill -0 $PPID`:                               false,
	`mount -t tmpfs none $1/out`:                  false,
	`truncate -s 0 $1/in/file`:                    false,
	`mknod $1/out/disk b 8 0`:                     false,
	`unshare -n true`:                             false,
}

func TestSandboxFiles(t *testing.T) {
	dir := tree(t)
	for script, allowed := range tries {
		sandbox := runner.Sandbox{Read: []string{dir + "/in"}, Write: []string{dir + "/out"}}
		c := shell(sandbox, `(`+script+`) >&2 && echo yes || echo no; cat`, dir)
		if got := read(t, confined(t, c)); got != map[bool]string{true: "yes", false: "no"}[allowed] {
			t.Errorf("%s: got %s", script, got)
		}
	}
}

// Programs of the usual languages run in the tightest sandbox, and reach nothing from it.
func TestSandboxOfLanguages(t *testing.T) {
	dir := tree(t)
	scripts := map[string][]string{
		"node": {"-e", `const fs = require("fs"), os = require("os"); require("child_process").execFileSync("/bin/true");
			fs.writeFileSync(os.tmpdir() + "/x", "x"); let r; try { fs.readFileSync(process.env.SECRET); r = "read" } catch (e) { r = e.code }
			const s = require("net").connect(1, "127.0.0.1"); s.on("error", e => { console.log(r, e.code); process.stdin.resume() })`},
		"python3": {"-c", `import os, socket, subprocess, sys, tempfile, errno, ssl, json, sqlite3, asyncio
subprocess.run(["/bin/true"], check=True); tempfile.NamedTemporaryFile().write(b"x")
try: open(os.environ["SECRET"]).read(); r = "read"
except OSError as e: r = errno.errorcode[e.errno]
try: socket.create_connection(("127.0.0.1", 1)); s = "connected"
except OSError as e: s = errno.errorcode[e.errno]
print(r, s, flush=True); sys.stdin.read()`},
	}
	for program, args := range scripts {
		if _, err := exec.LookPath(program); err != nil {
			t.Logf("%s is not there", program)
			continue
		}
		c := interpreted(program, runner.Sandbox{}, args...)
		c.Env = append(c.Env, "SECRET="+dir+"/secret/file")
		if got := read(t, confined(t, c)); got != "EACCES EACCES" { //nolint:dupword // two answers
			t.Errorf("%s: got %q", program, got)
		}
	}
	c := command("status")
	c.Sandbox = &runner.Sandbox{Network: "none"}
	if got := read(t, confined(t, c)); !strings.Contains(got, "NoNewPrivs=1 Seccomp=2") {
		t.Errorf("got %q", got)
	}
}

const dial = `import socket, sys, errno
def attempt(f):
    try: return f() or "ok"
    except OSError as e: return errno.errorcode[e.errno]
def own():
    s = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(s.getsockname()); s.accept()
def tcp(): socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2)
def unix(): socket.socket(socket.AF_UNIX).connect(sys.argv[2])
def udp(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9))
def raw(): socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
def pair(): socket.socketpair()
print(*map(attempt, (own, tcp, unix, udp, raw, pair)), flush=True)
sys.stdin.read()`

func TestSandboxNetwork(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	dir := tree(t)
	unix, err := net.Listen("unix", dir+"/out/s")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	for network, want := range map[string]string{
		"none":     "EACCES EACCES EACCES EACCES EACCES ok", //nolint:dupword // six answers
		"":         "EACCES EACCES EACCES EACCES EACCES ok", //nolint:dupword // six answers
		"loopback": "ok ECONNREFUSED EACCES ENETUNREACH EACCES ok",
		"any":      "ok ok ok ok EPERM ok", //nolint:dupword // six answers
	} {
		port := fmt.Sprint(tcp.Addr().(*net.TCPAddr).Port)
		p := confined(t, interpreted("python3", runner.Sandbox{Write: []string{dir + "/out"}, Network: network}, "-c", dial, port, dir+"/out/s"))
		if got := read(t, p); got != want {
			t.Errorf("%q: got %s, want %s", network, got, want)
		}
	}
}

func TestSandboxErrors(t *testing.T) {
	for want, sandbox := range map[string]runner.Sandbox{
		`sandbox.read: "/no/such/dir" does not exist: create it or take it off the list`: {Read: []string{"/no/such/dir"}},
		`sandbox.write: "data" is no absolute path`:                                      {Write: []string{"data"}},
		`sandbox.network is "some": write none, loopback or any`:                         {Network: "some"},
	} {
		_, err := runner.Start(shell(sandbox, "cat"), runner.Options{Confine: confineArgv()})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := runner.Start(shell(runner.Sandbox{}, "cat"), runner.Options{}); err == nil || !strings.Contains(err.Error(), "take a launcher") {
		t.Errorf("got %v", err)
	}
	for want, argv := range map[string][]string{
		"launcher: it ended before it could start the command": {"/bin/true"},
		`command "/no/such/launcher" does not exist`:           {"/no/such/launcher"},
	} {
		if _, err := runner.Start(shell(runner.Sandbox{}, "cat"), runner.Options{Confine: argv}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %s", argv, err, want)
		}
	}
}

// A program in the folder that a user has for all programs is not part of a package: what lies beside it,
// keys of this program included, stays out of reach.
func TestSandboxOfUserPrograms(t *testing.T) {
	dir := tree(t)
	t.Setenv("HOME", dir)
	for _, below := range []string{".local", ".config"} {
		program := filepath.Join(dir, below, "bin", "server")
		secret := filepath.Join(dir, below, "state", "toolcrib", "seal.keys")
		for path, text := range map[string]string{program: "#!/bin/sh\ncat \"$SECRET\" >&2 && echo read || echo refused; cat", secret: "key"} {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		c := interpreted(program, runner.Sandbox{})
		c.Env = append(c.Env, "SECRET="+secret)
		if got := read(t, confined(t, c)); got != "refused" {
			t.Errorf("%s: what lies beside the program is %s", below, got)
		}
	}
}

// What keeps a confined command from being executed is told like for any other, and not as its exit.
func TestConfinedCommandCannotStart(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := interpreted(script, runner.Sandbox{})
	if _, err := runner.Start(c, runner.Options{Confine: confineArgv()}); err == nil || !strings.Contains(err.Error(), "the interpreter in its first line") {
		t.Errorf("got %v", err)
	}
}
