package system_test

import (
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// asks calls every tool of an asker, and wants what it ends with.
func asks(t *testing.T, client *testenv.Client, prefix string, via func(int) *testenv.Client) {
	t.Helper()
	for name, want := range testenv.AskerAnswers {
		r, _, err := client.Talk(testenv.Within(t, testenv.Patience), testenv.Talk{
			Request: testenv.Request{Method: "tools/call", Members: `"name":"` + prefix + name + `","arguments":{}`},
			Answer:  testenv.Agree, Via: via,
		})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if r.Texts() != want {
			t.Errorf("%s: %v, want %s", name, r, want)
		}
	}
}

// TestAsking: any server asks any client, in several rounds and several things at once.
func TestAsking(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		g := testenv.Serve(t, testenv.One(k.server(t, testenv.Asker(k.era))))
		client := g.Modern("/mcp")
		client.Era, client.Capabilities = era, testenv.AllCapabilities
		if era == testenv.Legacy {
			client.Initialize(testenv.LegacyVersion)
		}
		asks(t, client, "one__", nil)
	})
}
