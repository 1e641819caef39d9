package system_test

import (
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestSealedOutliveTokens: whatever the gateway gave a caller to come back with (the state of a question, the id of a task) is
// good with the caller's next token, and with nobody else's, be it of the same name at another issuer or with a key.
func TestSealedOutliveTokens(t *testing.T) {
	t.Parallel()
	i, other := testenv.NewIssuer(t, "ES256", ""), testenv.NewIssuer(t, "RS256", "")
	work := newTasker(t, kinds[0])
	g := testenv.Serve(t, testenv.Config{
		Entries: map[string]any{"ask": testenv.HTTPServer(t, asker(1)).Entry(), "one": work.Entry()},
		More: map[string]any{"auth": map[string]any{
			"issuers": []any{i.Entry(map[string]any{"name": "test"}), other.Entry(map[string]any{"name": "other"})},
			"apiKeys": []any{map[string]any{"name": "alice", "key": keyOf("alice")}},
		}},
	})
	with := func(key string) *testenv.Client {
		c := speaks(g, testenv.Modern, "/mcp", holder{key: key})
		c.Capabilities = everything
		return c
	}
	token := func(of *testenv.Issuer, name string) string { return of.Token(name, g.URL, testenv.Claims{}) }
	first := token(i, "alice")
	alice := with(first)
	state := alice.Tool("ask__ask", `{"a":1}`).Member("requestState")
	id := work.start(t, alice)
	if state == "" {
		t.Fatal("no question")
	}
	answer := func(key string) *testenv.Reply {
		return with(key).Call("tools/call", `"name":"ask__ask","arguments":{"a":1},"inputResponses":{},"requestState":`+state)
	}
	task := func(key string) *testenv.Reply { return taskCall(with(key), "tasks/get", `"taskId":`+id) }
	for name, key := range map[string]string{
		"bob": token(i, "bob"), "alice of another issuer": token(other, "alice"), "a key of the same name": keyOf("alice"),
	} {
		if r := answer(key); r.Result() != nil {
			t.Errorf("%s answers: %v", name, r)
		}
		if r := task(key); r.Result() != nil {
			t.Errorf("%s asks for the task: %v", name, r)
		}
	}
	next := token(i, "alice")
	if next == first {
		t.Fatal("it is the same token")
	}
	if r := answer(next); r.Result() == nil {
		t.Errorf("answered with the next token: %v", r)
	}
	if r := task(next); r.Result() == nil {
		t.Errorf("the task with the next token: %v", r)
	}
}
