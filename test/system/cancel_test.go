package system_test

import (
	"context"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// held is a server with a tool that answers when it is let go, and tells how its call went.
type held struct {
	*testenv.Server
	calls chan *testenv.Call
	let   chan struct{}
	left  chan bool // whether the call was given up
}

func hold(t *testing.T, k kind) *held {
	t.Helper()
	h := &held{calls: make(chan *testenv.Call, 1), let: make(chan struct{}), left: make(chan bool, 1)}
	h.Server = k.server(t, testenv.Script{Tools: []string{testenv.Tool("hold"), testenv.Tool("echo")}, On: map[string]func(*testenv.Call){
		"tools/call hold": func(c *testenv.Call) {
			if c.Token() != "" {
				c.Progress(1)
			}
			h.calls <- c
			select {
			case <-c.Done:
				h.left <- true
			case <-h.let:
				h.left <- false
				c.Text("let go")
			}
		},
	}})
	return h
}

// call waits for a call.
func (h *held) call(t *testing.T) *testenv.Call {
	t.Helper()
	testenv.Eventually(t, "a call at the server", func() bool { return len(h.calls) > 0 })
	return <-h.calls
}

// cancelled checks that the call ended at the server, in the way that its dialect has.
func (h *held) cancelled(t *testing.T, k kind, c *testenv.Call) {
	t.Helper()
	testenv.Eventually(t, "cancelling at the server", func() bool { return len(h.left) > 0 })
	if !<-h.left {
		t.Error("the call was answered, not cancelled")
	}
	if k.era == testenv.Modern && !k.stdio {
		if n := len(h.Received("notifications/cancelled")); n > 0 {
			t.Error("a modern HTTP server was told by a notification")
		}
		return
	}
	if n := h.Await("notifications/cancelled", 1); n.Param("requestId") != c.ID {
		t.Errorf("cancelled request %s, not %s", n.Param("requestId"), c.ID)
	}
}

// TestModernDisconnect cancels the call at the server.
func TestModernDisconnect(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		h := hold(t, k)
		g := testenv.Serve(t, testenv.One(h.Server))
		ctx, leave := context.WithCancel(testenv.Within(t, testenv.Patience))
		ended := make(chan struct{})
		client := g.Modern("/mcp")
		go func() {
			defer close(ended)
			if r, err := client.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"one__hold"`}); err == nil {
				t.Errorf("answered: %v", r)
			}
		}()
		c := h.call(t)
		leave()
		<-ended
		h.cancelled(t, k, c)
		if r := client.Tool("one__echo", "{}"); r.Texts() != "done" {
			t.Errorf("the next call: %v", r)
		}
	})
}

// TestModernDisconnectInStream cancels too when something came already.
func TestModernDisconnectInStream(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		h := hold(t, k)
		g := testenv.Serve(t, testenv.One(h.Server))
		ctx, leave := context.WithCancel(testenv.Within(t, testenv.Patience))
		defer leave()
		client := g.Modern("/mcp")
		streams := make(chan *testenv.Stream, 1)
		go func() {
			s, err := client.Open(ctx, testenv.Request{Method: "tools/call", Members: `"name":"one__hold"`, Meta: `"progressToken":1.0`})
			if err != nil {
				t.Error(err)
			}
			streams <- s
		}()
		c := h.call(t)
		s := <-streams
		if m, err := s.Next(); err != nil || !strings.Contains(string(m), `"progressToken":1.0`) {
			t.Errorf("progress: %s, %v", m, err)
		}
		s.Close()
		h.cancelled(t, k, c)
	})
}

// TestLegacyCancelled: notifications/cancelled of a session's own request cancels, that of another session does not.
func TestLegacyCancelled(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		h := hold(t, k)
		g := testenv.Serve(t, testenv.One(h.Server))
		client, other := g.Legacy("/mcp"), g.Legacy("/mcp")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = client.Try(testenv.Within(t, testenv.Patience), testenv.Request{ID: `"c"`, Method: "tools/call", Members: `"name":"one__hold"`})
		}()
		c := h.call(t)
		notice := []byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c","reason":"enough"}}`)
		if r := other.Post(notice); r.Status != 202 {
			t.Errorf("notice of another session: %v", r)
		}
		if r := client.Tool("one__echo", "{}"); r.Texts() != "done" || len(h.left) > 0 {
			t.Errorf("another session cancelled the call, or %v", r)
		}
		if r := client.Post(notice); r.Status != 202 {
			t.Errorf("notice: %v", r)
		}
		h.cancelled(t, k, c)
		<-ended
	})
}

// TestLegacyDisconnect does not cancel.
func TestLegacyDisconnect(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		h := hold(t, k)
		g := testenv.Serve(t, testenv.One(h.Server))
		client := g.Legacy("/mcp")
		ctx, leave := context.WithCancel(testenv.Within(t, testenv.Patience))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = client.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"one__hold"`})
		}()
		h.call(t)
		leave()
		<-ended
		for range 20 {
			if r := client.Tool("one__echo", "{}"); r.Texts() != "done" {
				t.Fatal(r)
			}
		}
		close(h.let)
		if <-h.left || len(h.Received("notifications/cancelled")) > 0 {
			t.Error("losing its connection cancelled a legacy client's call")
		}
	})
}

// TestSlowServer: a call that is silent for too long ends with a reason, and is cancelled at the server.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		h := hold(t, k)
		g := testenv.Serve(t, testenv.Config{Entries: map[string]any{
			"one": h.Entry(map[string]any{"timeouts": map[string]any{"call": "300ms"}}),
		}})
		r := g.Client(era, "/mcp").Call("tools/call", `"name":"one__hold"`)
		if code, text := r.Error(); r.Status != 200 || code != -32603 || !strings.Contains(text, `server "one"`) || !strings.Contains(text, "300ms") {
			t.Errorf("%v", r)
		}
		h.cancelled(t, k, h.call(t))
	})
}
