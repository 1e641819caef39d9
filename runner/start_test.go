package runner_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/runner"
)

func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := file("plain", "#!/bin/sh\n", 0o644)
	orphan := file("orphan", "#!/nonexistent/python9\n", 0o755)
	noFormat := file("noformat", "hello", 0o755)
	path := []string{"PATH=" + dir}
	long := make([]string, 200)
	for i := range long {
		long[i] = strings.Repeat("x", 100_000)
	}

	fds := descriptors(t)
	for _, tc := range []struct {
		command runner.Command
		want    string
	}{
		{runner.Command{}, `no command given: name a program to start`},
		{runner.Command{Path: "npx", Env: path}, `command "npx" not found: install Node.js, which brings npx, or give the full path of the command`},
		{runner.Command{Path: "uvx", Env: path}, `command "uvx" not found: install uv, which brings uvx, or`},
		{runner.Command{Path: "no-such-thing", Env: []string{"PATH="}}, `command "no-such-thing" not found: install it, or give the full path`},
		{runner.Command{Path: "plain", Env: path}, `command "` + plain + `" is not executable: chmod +x it`},
		{runner.Command{Path: plain}, `command "` + plain + `" is not executable: chmod +x it`},
		{runner.Command{Path: dir}, `command "` + dir + `" is a directory: give the path of a program`},
		{runner.Command{Path: dir + "/none"}, `command "` + dir + `/none" does not exist: install it`},
		{runner.Command{Path: "./none", Dir: dir}, `command "` + dir + `/none" does not exist: install it`},
		{runner.Command{Path: orphan}, `the interpreter in its first line, or its loader, does not exist: install it`},
		{runner.Command{Path: noFormat}, `it is neither a program of this machine nor a script with a #! line`},
		{runner.Command{Path: "/bin/sh", Dir: dir + "/none"}, `working directory "` + dir + `/none" does not exist: create it or change cwd`},
		{runner.Command{Path: "/bin/sh", Dir: plain}, `working directory "` + plain + `" is not a directory: change cwd`},
		{runner.Command{Path: "/bin/sh", Args: []string{"a\x00b"}}, `contain a NUL byte: remove it`},
		{runner.Command{Path: "/bin/sh", Args: long}, `arguments and environment are too long: shorten them`},
	} {
		tc.command.Server = "files"
		p, err := runner.Start(tc.command, runner.Options{})
		if err == nil {
			stop(t, p)
			t.Errorf("%q started", tc.command.Path)
			continue
		}
		if !strings.HasPrefix(err.Error(), `server "files": `) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v\nwant %s", tc.command.Path, err, tc.want)
		}
	}
	if now := descriptors(t); now > fds {
		t.Errorf("%d descriptors, %d before", now, fds)
	}
}

// The error is for clients too, whom the directories of the machine do not concern; the debug log has them.
func TestSearchedPath(t *testing.T) {
	log, l := logger(slog.LevelDebug)
	_, err := runner.Start(runner.Command{Server: "x", Path: "no-such-thing", Env: []string{"PATH=/some/bin:/other/bin"}}, runner.Options{Log: l})
	if err == nil || strings.Contains(err.Error(), "/some/bin") {
		t.Errorf("got %v", err)
	}
	if got := log.of("server process not started"); len(got) != 1 || got[0]["PATH"] != "/some/bin:/other/bin" {
		t.Errorf("logged %v", got)
	}
}

// Check finds what Start would refuse, starts nothing and leaves nothing.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	fine := runner.Command{Server: "x", Path: "/bin/sh"}
	own := runner.Options{Dirs: runner.Dirs{Temp: true}}
	if err := fine.Check(own); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	for want, change := range map[string]func(*runner.Command){
		"no-such-thing": func(c *runner.Command) { c.Path = "no-such-thing" },
		"/nope":         func(c *runner.Command) { c.Dir = "/nope" },
		"user":          func(c *runner.Command) { c.User = "nosuchuser" },
		"resources":     func(c *runner.Command) { c.Limits.Files = 1 },
		"sandbox":       func(c *runner.Command) { c.Sandbox = &runner.Sandbox{Read: []string{"/nope"}} },
	} {
		c := fine
		change(&c)
		if err := c.Check(own); err == nil || !strings.HasPrefix(err.Error(), `server "x": `) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestWorkingDirectory(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := command("pwd")
	c.Dir = dir
	p, err := runner.Start(c, runner.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, p)
	if got := read(t, p); got != dir {
		t.Errorf("cwd %q, want %q", got, dir)
	}
}

func TestRelativeCommandStartsAtDir(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "server.sh"), []byte("#!/bin/sh\necho \"$0 $1\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := runner.Start(runner.Command{Server: "x", Path: "./server.sh", Args: []string{"$HOME;"}, Dir: dir}, runner.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, p)
	if got, want := read(t, p), dir+"/server.sh $HOME;"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEnviron(t *testing.T) {
	own := map[string]string{
		"PATH": "/bin", "HOME": "/home/x", "LC_ALL": "C.UTF-8", "TERM": "xterm",
		"AWS_SECRET_ACCESS_KEY": "s", "GITHUB_TOKEN": "s", "NPM_TOKEN": "s", "DATABASE_URL": "s", "TOOLCRIB_KEY": "s", "LD_PRELOAD": "s",
		"npm_config_registry": "https://registry.example/", "UV_INDEX_URL": "https://user:secret@index.example/",
		"HTTPS_PROXY": "http://proxy.example:3128", "HTTP_PROXY": "http://u:p@proxy.example:3128", "all_proxy": "http://token@proxy",
		"http_proxy": "http://u:p%zz@proxy.example", "GOPROXY": "https://a.example,https://u:p@b.example,direct", "NO_PROXY": "localhost,a@b",
	}
	lookup := func(name string) (string, bool) { v, ok := own[name]; return v, ok }
	got := runner.Environ(lookup, map[string]string{"TOKEN": "given", "HOME": "/srv"})
	want := []string{
		"HOME=/srv", "HTTPS_PROXY=http://proxy.example:3128", "LC_ALL=C.UTF-8", "NO_PROXY=localhost,a@b", "PATH=/bin",
		"TERM=xterm", "TOKEN=given", "npm_config_registry=https://registry.example/",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What the child sees is what it was given, and nothing of the program's own environment.
func TestChildEnvironment(t *testing.T) {
	t.Setenv("TOOLCRIB_TEST_SECRET", "never to be seen")
	c := command("env")
	c.Env = append(c.Env, "GIVEN=1")
	p, err := runner.Start(c, runner.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, p)
	got := slices.DeleteFunc(strings.Split(read(t, p), "\x1f"), func(e string) bool { return strings.HasPrefix(e, "TOOLCRIB_INSTANCE=") })
	if diff := cmp.Diff(c.Env, got); diff != "" {
		t.Error(diff)
	}
}
