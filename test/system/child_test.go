package system_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestKilledChild: a child that dies in mid-call fails that call with a reason, and the next call works.
func TestKilledChild(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		if !k.stdio {
			t.Skip("no child")
		}
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("echo"), testenv.Tool("hang")}, On: map[string]func(*testenv.Call){
			"tools/call hang": (*testenv.Call).Hang,
		}})
		g := testenv.Serve(t, testenv.One(s))
		client := g.Client(era, "/mcp")
		for round := 1; round <= 3; round++ {
			replies := make(chan *testenv.Reply, 1)
			go func() {
				r, err := client.Try(testenv.Within(t, testenv.Patience), testenv.Request{Method: "tools/call", Members: `"name":"one__hang"`, ID: "7"})
				if err != nil {
					t.Error(err)
				}
				replies <- r
			}()
			s.Await("tools/call", 2*round-1)
			children := s.Children()
			children[len(children)-1].Kill()
			r := <-replies
			code, text := r.Error()
			if r.Status != 200 || r.ID() != "7" || code != -32603 || !strings.Contains(text, `server "one"`) || !strings.Contains(text, "killed") {
				t.Errorf("the call in flight: %v", r)
			}
			if r := client.Tool("one__echo", "{}"); r.Texts() != "done" {
				t.Fatalf("the next call: %v", r)
			}
		}
	})
}

// TestChildrenEnd: no child outlives a gateway that stops.
func TestChildrenEnd(t *testing.T) {
	t.Parallel()
	needsProc(t)
	eachKind(t, func(t *testing.T, k kind) {
		if !k.stdio {
			t.Skip("no child")
		}
		s := k.server(t, testenv.Script{Tools: testenv.Tools(1)})
		g := testenv.Serve(t, testenv.One(s))
		pid := s.AwaitChild(1).PID
		if got := testenv.Processes(s.Marker()); len(got) != 1 || got[0] != pid {
			t.Fatalf("processes %v, want %d", got, pid)
		}
		g.Stop()
		if left := testenv.Processes(s.Marker()); len(left) > 0 {
			t.Errorf("processes %v are left", left)
		}
	})
}

// TestKilledGateway: no child outlives a gateway that is killed.
func TestKilledGateway(t *testing.T) {
	t.Parallel()
	needsProc(t)
	s := testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){"tools/call": (*testenv.Call).Hang}})
	old := testenv.StdioServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
	cmd, url := program(t, map[string]any{"one": s.Entry(), "old": old.Entry()})
	client := testenv.NewClient(t, url, testenv.Modern)
	old.AwaitChild(1)
	called := make(chan struct{})
	go func() {
		defer close(called)
		_, _ = client.Try(testenv.Within(t, testenv.Patience), testenv.Request{Method: "tools/call", Members: `"name":"one__tool0000"`}) // cut off
	}()
	s.Await("tools/call", 1)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-called
	testenv.Eventually(t, "end of all children", func() bool {
		return len(testenv.Processes(s.Marker())) == 0 && len(testenv.Processes(old.Marker())) == 0
	})
}

func needsProc(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
}

// program starts the program itself, by another one if that is given, and returns the URL of its aggregated endpoint.
func program(t *testing.T, servers map[string]any, by ...string) (*exec.Cmd, string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "mcp.json")
	b, err := json.Marshal(map[string]any{"listen": "127.0.0.1:0", "stateDir": dir, "mcpServers": servers})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	by = append(by, self, "serve", file)
	cmd := exec.CommandContext(context.Background(), by[0], by[1:]...)
	var log testenv.Log
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("log of the program:\n%s", log.String())
		}
	})
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, url, ok := strings.Cut(lines.Text(), " serves at "); ok {
			return cmd, strings.TrimSpace(url)
		}
	}
	t.Fatalf("the program does not say where it serves:\n%s", log.String())
	return nil, ""
}

// TestChildNeverStarts: a command that cannot be started, or ends at once, is named with its remedy.
func TestChildNeverStarts(t *testing.T) {
	t.Parallel()
	good := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"good": good},
		Entries: map[string]any{
			"missing": map[string]any{"command": "no-such-command-here"},
			"ends":    map[string]any{"command": "false"},
		},
	})
	for name, want := range map[string]string{"missing": "no-such-command-here", "ends": "exit"} {
		for range 3 {
			r := g.Modern("/mcp").Tool(name+"__x", "{}")
			code, text := r.Error()
			if code != -32603 || !strings.Contains(text, `server "`+name+`"`) || !strings.Contains(text, want) {
				t.Errorf("%s: %v", name, r)
			}
		}
	}
	if r := g.Modern("/mcp").Tool("good__tool0000", "{}"); r.Texts() != "done" {
		t.Errorf("the good server: %v", r)
	}
	if r := g.Modern("/mcp").Call("tools/list", ""); len(r.Names("tools")) != 1 {
		t.Errorf("the list: %v", r)
	}
}

// TestChildStarts once, whoever asks, and however many.
func TestOneStart(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.One(s))
	client := g.Modern("/servers/one/mcp")
	var failed atomic.Int32
	each(50, func(int) {
		r, err := client.Try(testenv.Within(t, testenv.Patience), testenv.Request{Method: "tools/call", Members: `"name":"tool0000"`})
		if err != nil || r.Texts() != "done" {
			failed.Add(1)
		}
	})
	if failed.Load() > 0 || len(s.Children()) != 1 || len(s.Received("initialize")) != 1 {
		t.Errorf("%d calls failed, %d children, %d handshakes", failed.Load(), len(s.Children()), len(s.Received("initialize")))
	}
}
