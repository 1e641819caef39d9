package real_test

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// sseClients speak HTTP+SSE when the URL ends in /sse.
var sseClients = []client{
	{"typescript-1", "", "legacy", legacy, script("sdk1.mjs")},
	{"go-legacy", "", "legacy", legacy, driveGo},
	{"go-2024-11-05", "", "2024-11-05", "2024-11-05", driveGo},
}

// everythingSSE starts the official server-everything with HTTP+SSE and gives the address of its stream.
func everythingSSE(t *testing.T, p *parts) string {
	t.Helper()
	addr := freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	start(t, "env", "PORT="+port, p.node, p.server("everything"), "sse")
	waitFor(t, "http://"+addr, 600)
	return "http://" + addr + "/sse"
}

// TestSSE lets clients of HTTP+SSE work with servers of it, with and without the gateway between, and with each other's newer
// kind. The type of the server is not given.
func TestSSE(t *testing.T) {
	t.Parallel()
	p := needParts(t)
	at := everythingSSE(t, p)
	base := gateway(t, map[string]server{
		"old": {URL: at}, "everything": {Command: p.node, Args: []string{p.server("everything"), "stdio"}},
	})
	for _, c := range sseClients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			direct := c.drive(t, p, target{URL: at}, c.era, everythingSteps)
			for _, path := range []string{"/servers/old/sse", "/servers/old/mcp", "/servers/everything/sse"} {
				got := c.drive(t, p, target{URL: base + path}, c.era, everythingSteps)
				checkSession(t, c, got)
				for i, want := range direct.Steps {
					checkStep(t, everythingSteps[i], got.Steps[i], want)
				}
			}
		})
	}
	t.Run("modern", func(t *testing.T) {
		t.Parallel()
		direct := driveGo(t, p, target{URL: at}, "legacy", everythingSteps)
		got := driveGo(t, p, target{URL: base + "/servers/old/mcp"}, "modern", everythingSteps)
		for i, want := range direct.Steps {
			checkStep(t, everythingSteps[i], got.Steps[i], want)
		}
	})
}

// TestInteractiveSSE lets each kind of server ask clients of HTTP+SSE, and one of HTTP+SSE ask each kind of client, through
// replicas that are chosen at random.
func TestInteractiveSSE(t *testing.T) {
	t.Parallel()
	p := needParts(t)
	servers := interactiveServers(t, p)
	addr := freeAddr(t)
	start(t, filepath.Join(p.goBin, "interactive"), "-http="+addr, "-sse")
	waitFor(t, "http://"+addr+"/none", 600)
	servers["sse"] = server{URL: "http://" + addr + "/sse"}
	f := fleet(t, 3, servers, testenv.StartRedis(t).URL())
	clients := []client{
		{"typescript-1", "", "legacy", legacy, script("sdk1.mjs")},
		{"go-legacy", "", "legacy", legacy, driveGo},
	}
	t.Run("direct", func(t *testing.T) {
		for _, c := range clients {
			t.Run(c.name, func(t *testing.T) { askAll(t, p, c, servers["sse"].URL) })
		}
	})
	for name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range clients { // one after the other: HTTP+SSE does not tell either which of several calls asks
				t.Run(c.name, func(t *testing.T) { askAll(t, p, c, f.URL+"/servers/"+name+"/sse") })
			}
		})
	}
	for _, c := range interactiveClients {
		t.Run("asked by sse/"+c.name, func(t *testing.T) { askAll(t, p, c, f.URL+"/servers/sse/mcp") })
	}
}
