package system_test

import (
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestEndpointOfLostServer: while nobody knows what a server has, its endpoint is there for those whom some policy may permit
// something of it, who are told that it cannot be reached, and for nobody else.
func TestEndpointOfLostServer(t *testing.T) {
	t.Parallel()
	some, none := ofGroup("some", "some"), ofGroup("none", "none")
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"two": testenv.HTTPServer(t, shop("two"))},
		Entries: map[string]any{"one": map[string]any{"url": "http://127.0.0.1:1/mcp"}},
		More: map[string]any{
			"auth": authOf(some, none),
			"policies": grants(map[string]any{
				"some": map[string]any{"allow": []string{"one__look"}}, "none": map[string]any{"allow": []string{"two__look"}},
			}),
		},
	})
	for _, era := range testenv.Eras {
		absent := speaks(g, era, "/servers/one/mcp", none)
		unknown := speaks(g, era, "/servers/six/mcp", none)
		a, b := answerOf(absent, "tools/list", ""), answerOf(unknown, "tools/list", "")
		if a != strings.ReplaceAll(b, "six", "one") || !strings.HasPrefix(a, "404") {
			t.Errorf("%s: without any right: %s, of what is not there: %s", era, a, b)
		}
		for _, path := range []string{"/servers/one/mcp", "/mcp"} {
			c := speaks(g, era, path, some)
			if r := c.Do(testenv.Request{ID: "7", Method: "tools/list"}); r.Status == 404 && era == testenv.Modern {
				t.Errorf("%s %s: %s", era, path, r)
			}
		}
	}
	// Neither does the answer tell a name that is permitted from one that is not.
	c := speaks(g, testenv.Modern, "/servers/one/mcp", some)
	permitted, other := answerOf(c, "tools/call", `"name":"look"`), answerOf(c, "tools/call", `"name":"zzzz"`)
	if permitted != other || !strings.Contains(permitted, "cannot be reached") {
		t.Errorf("of a permitted name: %s\nof another: %s", permitted, other)
	}
}
