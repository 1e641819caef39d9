package runner

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Kernels without pidfd wait with a thread instead of the poller.
func TestAwaitExitWithoutPidfd(t *testing.T) {
	for _, drop := range []bool{false, true} {
		p, err := newPipes()
		if err != nil {
			t.Fatal(err)
		}
		c, err := spawn(spawning{path: "/bin/sh", argv: []string{"sh", "-c", "read x; exit 5"}, files: p.child[:], group: &group{}})
		p.closeChild()
		if err != nil {
			t.Fatal(err)
		}
		c = withoutPidfd(c, drop)
		exited := make(chan struct{})
		go func() { c.awaitExit(); close(exited) }()
		select {
		case <-exited:
			t.Error("ended before its input")
		case <-time.After(20 * time.Millisecond):
		}
		p.closeParent()
		<-exited
		if err := syscall.Kill(c.pid, 0); err != nil {
			t.Errorf("the ended child lost its number before it was reaped: %v", err)
		}
		if s := reap(c.pid); s.ExitStatus() != 5 {
			t.Errorf("status %d", s.ExitStatus())
		}
		c.release()
	}
}

// A guard that hangs, and takes no more lines, is replaced.
func TestHungGuardIsReplaced(t *testing.T) {
	old := guardWrite
	guardWrite = 50 * time.Millisecond
	defer func() { guardWrite = old }()
	script := filepath.Join(t.TempDir(), "guard")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec sleep 3600\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	k := guardOf([]string{script}, Options{}.withDefaults().Log)
	k.add(1 << 30)
	pid := func() int {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.guard == nil {
			return 0
		}
		return k.guard.pid
	}
	first := pid()
	for range 10_000 { // more than a pipe holds
		k.add(1<<30 + 1)
		k.remove(1<<30 + 1)
		if now := pid(); now != first {
			break
		}
	}
	for end := time.Now().Add(5 * time.Second); pid() == first || pid() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the guard was not replaced")
		}
	}
	k.remove(1 << 30)
	k.retire()
}

// What one user keeps for all programs, or all users have, is nobody's package.
func TestPackageOf(t *testing.T) {
	for file, want := range map[string]string{
		"/home/somebody/bin/server":               "",
		"/home/somebody/server.js":                "",
		"/home/somebody/.local/bin/server":        "",
		"/opt/server/bin/start":                   "/opt/server",
		"/home/somebody/tools/server/bin/start":   "/home/somebody/tools/server",
		"/srv/app/node_modules/server/dist/it.js": "/srv/app/node_modules",
	} {
		if got := packageOf(file); got != want {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}

// The guard remembers no group that is gone: its number may become another's.
func TestStrikeForgets(t *testing.T) {
	p, err := newPipes()
	if err != nil {
		t.Fatal(err)
	}
	defer p.closeParent()
	c, err := spawn(spawning{path: "/bin/cat", argv: []string{"cat"}, files: p.child[:], group: &group{}})
	p.closeChild()
	if err != nil {
		t.Fatal(err)
	}
	groups := map[int]struct{}{c.pid: {}}
	if strike(groups); len(groups) != 1 {
		t.Error("a group that lived was forgotten")
	}
	c.awaitExit()
	reap(c.pid)
	c.release()
	if strike(groups); len(groups) != 0 {
		t.Error("a group that is gone is remembered")
	}
}

// A server cannot guess what names another's instance.
func TestInstancesAreNotGuessed(t *testing.T) {
	var h home
	for range 2 {
		g, err := h.hold(Limits{})
		if err != nil {
			t.Fatal(err)
		}
		defer h.release()
		defer g.end()
		if after, ok := strings.CutPrefix(g.id, program()+"."); !ok || len(after) < 20 {
			t.Errorf("got %s", g.id)
		}
	}
}
