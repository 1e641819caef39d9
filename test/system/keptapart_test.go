package system_test

import (
	"net/http"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestKeptBySession: where a server keeps something in its sessions, what one session of a client was given is not for another one
// of the same caller.
func TestKeptBySession(t *testing.T) {
	t.Parallel()
	behind := &counted{}
	script := behind.script()
	script.Era = testenv.Legacy
	s := testenv.HTTPServer(t, script)
	g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": cached(s, map[string]any{"resources": "10m"}, nil, map[string]any{
		"balance": entry{"state": "kept"},
	})}})
	a, b := g.Legacy("/servers/one/mcp"), g.Legacy("/servers/one/mcp")
	q := keptRequests["resource"]
	first := a.Do(q).Member("contents")
	if r := b.Do(q); agedOf(t, r).There || r.Member("contents") == first {
		t.Errorf("the other session is given %v", r)
	}
	if r := a.Do(q); !agedOf(t, r).There || r.Member("contents") != first {
		t.Errorf("the same session is given %v", r)
	}
}

// TestKeptByHeader: where a header of the client chooses the instance, what one instance gave is not for those who are at another.
func TestKeptByHeader(t *testing.T) {
	t.Parallel()
	behind := &counted{}
	_, urls := copies(t, 2, func(int) testenv.Script { return behind.script() })
	g := serveEntry(t, entry{
		"urls": urls, "balance": entry{"by": "header", "header": "x-shard"}, "cache": entry{"resources": "10m", "scope": "public"},
	})
	awaitStates(t, g, "ready", "ready")
	c := g.Modern("/servers/one/mcp")
	of := func(shard string) string {
		q := keptRequests["resource"]
		q.Header = http.Header{"X-Shard": {shard}}
		return c.Do(q).Member("contents")
	}
	a, b := of("a"), of("b")
	if a == b || of("a") != a || of("b") != b {
		t.Errorf("shards are given %s and %s", a, b)
	}
}

// TestKeptTailored: what a toolset's tool with a fixed argument gave, which a header mirrors, is fetched anew as well.
func TestKeptTailored(t *testing.T) {
	t.Parallel()
	behind := &counted{}
	script := behind.script()
	script.Tools = []string{`{"name":"find","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"}}},` +
		`"annotations":{"readOnlyHint":true}}`}
	s := testenv.HTTPServer(t, script)
	g := testenv.Serve(t, testenv.Config{
		Entries: map[string]any{"one": cached(s, map[string]any{"stale": entry{"revalidate": "10m"}}, map[string]any{"find": entry{"cache": "1ms"}})},
		More: map[string]any{"toolsets": map[string]any{"desk": entry{
			"servers": []string{"one"}, "tools": entry{"one__find": entry{"fix": entry{"region": "eu"}}},
		}}},
	})
	c := g.Modern("/toolsets/desk/mcp")
	name := c.Call("tools/list", "").Names("tools")[0]
	first := c.Tool(name, "{}").Texts()
	if first == "" {
		t.Fatal("the tool gives nothing")
	}
	testenv.Eventually(t, "the next one is kept", func() bool {
		r := c.Tool(name, "{}")
		return r.Texts() != first && agedOf(t, r).There
	})
}
