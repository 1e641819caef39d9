package system_test

import (
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestAbandonedQuestion: at a legacy stdio server, a client that never answers keeps no other from being asked; beyond a few
// such clients the server is told why it cannot ask.
func TestAbandonedQuestion(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, once(testenv.Legacy))
	config := testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{"isolation": "shared"})}, More: map[string]any{"auth": twoKeys}}
	g := testenv.Serve(t, config)
	client := func(key string) *testenv.Client {
		c := g.Modern("/mcp")
		c.Key, c.Capabilities = key, testenv.AllCapabilities
		return c
	}
	bob, alice := client(bobKey), client(aliceKey)
	first := park(t, bob, "one__ask")
	for range 10 { // one after the other, they need no more than one further process
		p := park(t, alice, "one__ask")
		if r, err := p.answer(testenv.Within(t, testenv.Patience), alice); err != nil || r.Texts() != "{}yes" {
			t.Fatalf("%v %v", r, err)
		}
	}
	if n := len(s.Children()); n != 2 {
		t.Errorf("%d processes were started", n)
	}
	for range 4 {
		park(t, bob, "one__ask")
	}
	if r := alice.Tool("one__ask", "{}"); !strings.Contains(r.String(), "several calls are under way") {
		t.Errorf("with all processes taken: %v", r)
	}
	if r := alice.Tool("one__echo", "{}"); r.Texts() != "done" {
		t.Errorf("an ordinary call: %v", r)
	}
	if r, err := first.answer(testenv.Within(t, testenv.Patience), bob); err != nil || r.Texts() != "{}yes" {
		t.Errorf("the first call: %v %v", r, err)
	}
}
