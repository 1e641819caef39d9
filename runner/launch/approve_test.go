package launch_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/runner/launch"
)

func approve(t *testing.T, b *bench, name string, s *v1.Server) {
	t.Helper()
	err := launch.UpdateLock(t.Context(), b.p.Lock, func(lock *launch.Lock) error {
		a, err := lock.Approve(s)
		lock.Approvals[name] = a
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestApproval approves a server and changes one thing after the other.
func TestApproval(t *testing.T) {
	b := newBench(t)
	c := b.config()
	c.Launch.Approval = v1.ApprovalRequired
	l := launch.New(c, nil)
	base := v1.Server{
		Command: "server", Args: []string{"--root", "/data"}, Env: map[string]string{"TOKEN": "s3cret-value", "PATH": "/bin"}, Cwd: "/srv", User: "nobody",
		Sandbox: &v1.Sandbox{Read: []string{"/data"}, Network: v1.NetworkNone},
	}
	refused(t, l, &base, "was never approved", `toolcrib approve FILE "files"`, b.p.Lock)
	approve(t, b, "files", &base)
	program(t, l, &base)
	for name, change := range map[string]struct {
		do   func(*v1.Server)
		want string
	}{
		"command":        {func(s *v1.Server) { s.Command = "/tmp/server" }, "in command"},
		"argument":       {func(s *v1.Server) { s.Args = []string{"--root", "/"} }, "in args"},
		"one more":       {func(s *v1.Server) { s.Args = append(slices.Clone(s.Args), "-x") }, "in args"},
		"joined":         {func(s *v1.Server) { s.Args = []string{"--root /data"} }, "in args"},
		"variable":       {func(s *v1.Server) { s.Env["LD_PRELOAD"] = "x.so" }, "names of environment variables"},
		"less":           {func(s *v1.Server) { delete(s.Env, "TOKEN") }, "names of environment variables"},
		"other program":  {func(s *v1.Server) { s.Env["PATH"] = "/tmp" }, "variable that changes what runs"},
		"folder":         {func(s *v1.Server) { s.Cwd = "/tmp" }, "cwd"},
		"user":           {func(s *v1.Server) { s.User = "" }, "user"},
		"no sandbox":     {func(s *v1.Server) { s.Sandbox = nil }, "sandbox"},
		"wider sandbox":  {func(s *v1.Server) { s.Sandbox = &v1.Sandbox{Read: []string{"/"}, Network: v1.NetworkNone} }, "sandbox"},
		"network":        {func(s *v1.Server) { s.Sandbox = &v1.Sandbox{Read: []string{"/data"}, Network: v1.NetworkAny} }, "sandbox"},
		"another server": {nil, ""},
	} {
		s := base
		s.Env = maps.Clone(base.Env)
		if change.do == nil {
			if _, err := l.Program("other", &s, &s); err == nil || !strings.Contains(err.Error(), "was never approved") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		change.do(&s)
		refused(t, l, &s, "differs from what was approved", change.want, "toolcrib approve")
	}
	same := base
	same.Env = map[string]string{"TOKEN": "another value", "PATH": "/bin"}
	program(t, l, &same)
	if lock := read(t, b.p.Lock); strings.Contains(lock, "s3cret") || strings.Contains(lock, "/data") {
		t.Errorf("the lock file holds values:\n%s", lock)
	}
	c.Launch.Approval = v1.ApprovalOff
	l.Configure(c)
	program(t, l, &v1.Server{Command: "anything"})
}

// TestLockWithNulls: whoever wrote null into a lock file meant nothing by it.
func TestLockWithNulls(t *testing.T) {
	b := newBench(t)
	write(t, b.p.Lock, `{"version": 1, "packages": null, "approvals": null}`, 0o644)
	approve(t, b, "files", &v1.Server{Command: "x"})
	b.pulled(server)
}

// TestApprovalOfPackage: an approval holds for the content of a package, not for its name.
func TestApprovalOfPackage(t *testing.T) {
	b := newBench(t)
	c := b.config()
	c.Launch.Approval = v1.ApprovalRequired
	l := launch.New(c, nil)
	s := &v1.Server{Package: server}
	refused(t, l, s, "was not pulled", "toolcrib pull")
	b.pulled(server)
	refused(t, l, s, "was never approved")
	approve(t, b, "files", s)
	program(t, l, s)
	b.p.Update, b.p.Environ = true, append(b.p.Environ, "VERSION=1.3.0")
	b.pulled(server)
	refused(t, l, s, "differs from what was approved, in content of the package")
	approve(t, b, "files", s)
	program(t, l, s)
	// References to the caller are approved as written.
	own := &v1.Server{Package: server, Args: []string{"${principal.subject}"}}
	approve(t, b, "own", own)
	for _, who := range []string{"ann", "bob"} {
		p, err := l.Program("own", own, &v1.Server{Package: server, Args: []string{who}})
		if err != nil || p.Args[len(p.Args)-1] != who {
			t.Errorf("%s: %+v, %v", who, p, err)
		}
	}
}
