package system_test

import (
	"slices"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestOwnSession: a server may remember what a client answered, so clients that can be asked share no session at it, not even
// those of one principal. The others do share.
func TestOwnSession(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: []string{testenv.Tool("who")}, On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) { c.Text(c.Header.Get("Mcp-Session-Id")) },
	}})
	g := testenv.Serve(t, testenv.One(s))
	var last *testenv.Client
	session := func(capabilities string) (first, second string) {
		client := testenv.NewClient(t, g.URL+"/mcp", testenv.Legacy)
		client.Capabilities = capabilities
		client.Initialize(testenv.LegacyVersion)
		last = client
		return client.Tool("one__who", "{}").Texts(), client.Tool("one__who", "{}").Texts()
	}
	a, again := session(`{"roots":{}}`)
	last.Delete()
	testenv.Eventually(t, "the end of the session at the server", func() bool {
		return slices.ContainsFunc(s.Received("DELETE"), func(r *testenv.Record) bool { return r.Header.Get("Mcp-Session-Id") == a })
	})
	b, _ := session(`{"roots":{}}`)
	c, _ := session(`{}`)
	d, _ := session(`{}`)
	if a == "" || a != again || a == b || a == c || c != d {
		t.Errorf("with roots %q, again %q, another %q; without %q and %q", a, again, b, c, d)
	}
}
