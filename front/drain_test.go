package front_test

import (
	"net/http"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestPostedWhileDraining: a stream of 2024-11-05 on which something runs takes what its client posts, at whatever replica, until
// nothing runs on it, and ends then; one on which nothing runs ends at once.
func TestPostedWhileDraining(t *testing.T) {
	t.Parallel()
	held, let := make(chan struct{}), make(chan struct{})
	f, _ := serve(t, 2, testenv.Script{Tools: testenv.Tools(2), On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) {
			if c.Param("name") == `"tool0000"` {
				close(held)
				<-let
			}
			c.Text("done")
		},
	}})
	busy, idle := testenv.StreamAt(t, f.replicas[0].url+"/sse"), testenv.StreamAt(t, f.replicas[0].url+"/sse")
	busy.Initialize(testenv.StreamVersion, "{}")
	id := busy.Send("tools/call", `"name":"one__tool0000"`)
	<-held
	f.replicas[0].Drain()
	<-idle.Ended
	if r := busy.Tool("one__tool0001", "{}"); r.Texts() != "done" {
		t.Errorf("a call while the gateway drains: %v", r)
	}
	close(let)
	if r := busy.Answer(id); r.Texts() != "done" {
		t.Errorf("the call that ran: %v", r)
	}
	<-busy.Ended
	if status := busy.Post(`{"jsonrpc":"2.0","id":"x","method":"ping"}`); status != http.StatusNotFound {
		t.Errorf("a post after the end: HTTP %d", status)
	}
}
