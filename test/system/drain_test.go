package system_test

import (
	"os"
	"syscall"
	"testing"

	"github.com/toolcrib/toolcrib/cli"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestDrain: a gateway that is stopped lets running calls finish, and then ends its sessions and children.
func TestDrain(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		h := hold(t, k)
		g := testenv.Serve(t, testenv.One(h.Server))
		client := g.Client(era, "/mcp")
		replies := make(chan *testenv.Reply, 1)
		go func() {
			r, err := client.Try(testenv.Within(t, testenv.Patience), testenv.Request{Method: "tools/call", Members: `"name":"one__hold"`})
			if err != nil {
				t.Error(err)
			}
			replies <- r
		}()
		<-h.calls
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			g.Stop()
		}()
		testenv.Eventually(t, "draining", func() bool {
			_, err := client.Try(testenv.Within(t, testenv.Patience), testenv.Request{Method: "tools/list"})
			return err != nil // nobody listens any more
		})
		close(h.let)
		if r := <-replies; r.Texts() != "let go" {
			t.Errorf("the running call: %v", r)
		}
		<-stopped
		if n := len(h.Received("DELETE")); k.era == testenv.Legacy && !k.stdio && !k.old && n != h.Sessions() {
			t.Errorf("%d of %d sessions at the server were ended", n, h.Sessions())
		}
	})
}

// TestProgramStops on SIGTERM, with its children, and says that all went well.
func TestProgramStops(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
	cmd, url := program(t, map[string]any{"one": s.Entry()})
	if r := testenv.NewClient(t, url, testenv.Modern).Tool("one__tool0000", "{}"); r.Texts() != "done" {
		t.Errorf("%v", r)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
	<-s.AwaitChild(1).Done
}

// TestSecondInterrupt ends a program at once that waits for a call, also where the shell that started it in the background had it
// ignore the signal.
func TestSecondInterrupt(t *testing.T) {
	t.Parallel()
	for name, by := range map[string][]string{"default": nil, "ignored": {"sh", "-c", `trap "" INT && exec "$@"`, "sh"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("hang")}, On: map[string]func(*testenv.Call){
				"tools/call": (*testenv.Call).Hang,
			}})
			cmd, url := program(t, map[string]any{"one": s.Entry()}, by...)
			client := testenv.NewClient(t, url, testenv.Modern)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = client.Try(testenv.Within(t, testenv.Patience), testenv.Request{Method: "tools/call", Members: `"name":"one__hang"`})
			}()
			s.Await("tools/call", 1)
			interrupt := func() {
				if err := cmd.Process.Signal(os.Interrupt); err != nil {
					t.Fatal(err)
				}
			}
			interrupt()
			testenv.Eventually(t, "draining", func() bool {
				_, err := client.Try(testenv.Within(t, testenv.Patience), testenv.Request{Method: "tools/list"})
				return err != nil // nobody listens any more
			})
			interrupt()
			_ = cmd.Wait() // ended by a signal is no success
			<-ended
			status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if status.Signal() != syscall.SIGINT && status.ExitStatus() != cli.ExitInterrupted {
				t.Errorf("the program ended with %v", cmd.ProcessState)
			}
		})
	}
}

// TestChangeNotice makes a list stale at once.
func TestChangeNotice(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{testenv.Tool("change")}, On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) {
				c.Before(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`)
				c.Text("changed")
			},
		}})
		g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{"listTTL": "1h"})}})
		client := g.Modern("/mcp")
		client.Call("tools/list", "")
		client.Call("tools/list", "")
		if n := len(s.Received("tools/list")); n != 1 {
			t.Errorf("a fresh list was asked for %d times", n)
		}
		if r := client.Tool("one__change", "{}"); r.Texts() != "changed" {
			t.Errorf("%v", r)
		}
		client.Call("tools/list", "")
		s.Await("tools/list", 2)
	})
}
