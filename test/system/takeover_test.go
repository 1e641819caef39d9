package system_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// socket is a listening socket, as a supervisor opens it.
func socket(t *testing.T, network, address string) *os.File {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	file, err := ln.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// TestTakeOver: a process of the same configuration takes over the listening socket under load, with the audit log and the store
// of the one before. No call fails, and sessions go on.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	servers := rollers(t)
	c := testenv.Config{Servers: servers, More: map[string]any{
		// Longer than a busy machine lets a client stall: it learns only by an answer within this time that its connection is closed then.
		"drainDelay": "7s", "auth": twoKeys, "audit": map[string]any{"sinks": []any{map[string]any{"file": "audit.jsonl"}}},
	}}
	f := testenv.ServeFleet(t, testenv.FleetConfig{Config: c, Replicas: 1, Socket: socket(t, "tcp", "127.0.0.1:0"), StateDir: t.TempDir()})
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	l := &traffic{t: t}
	url := f.Replicas[0].URL
	done := func(r *testenv.Reply) bool { return r.Texts() == "done" }
	for _, era := range testenv.Eras {
		for name := range servers {
			for _, tool := range []string{"quick", "slow"} {
				client := testenv.NewClient(t, url+"/mcp", era)
				client.AlwaysOne()
				client.Key = aliceKey
				if era == testenv.Legacy {
					client.Initialize(testenv.LegacyVersion)
				}
				l.add(ctx, name+" "+tool, client, testenv.Request{Method: "tools/call", Members: `"name":"` + name + "__" + tool + `"`}, done)
			}
		}
	}
	for range 3 {
		f.TakeOver(0)
	}
	if f.Replicas[0].URL != url {
		t.Errorf("it is at %s now, was at %s", f.Replicas[0].URL, url)
	}
	stop()
	l.wg.Wait()
	if n := l.calls.Load(); n < 100 {
		t.Errorf("only %d calls", n)
	}
	t.Logf("%d calls, %d failed", l.calls.Load(), l.failed.Load())
}

// TestSocketThatIsNone: what is no single TCP socket is refused with what to pass.
func TestSocketThatIsNone(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := t.TempDir() + "/toolcrib.yaml"
	if err := os.WriteFile(file, []byte("mcpServers: {}\nstateDir: "+t.TempDir()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ count, network, address, want string }{
		{"2", "tcp", "127.0.0.1:0", "pass one socket"},
		{"x", "tcp", "127.0.0.1:0", "pass one socket"},
		{"1", "unix", t.TempDir() + "/s", "pass a listening TCP socket"},
		{"1", "", "", "pass a listening TCP socket"},
	} {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=$2 exec "$0" serve "$1"`, self, file, tt.count)
		if tt.network != "" {
			cmd.ExtraFiles = []*os.File{socket(t, tt.network, tt.address)}
		}
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("%+v: %v %s", tt, err, out)
		}
	}
}
