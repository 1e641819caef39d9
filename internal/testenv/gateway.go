package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/app"
)

// Config is what a gateway of a test is configured with.
type Config struct {
	// Servers are the servers by name.
	Servers map[string]*Server
	// Entries are further entries, and replace those of Servers.
	Entries map[string]any
	// More are further keys of the file.
	More map[string]any
}

// Permit are the policies under which everybody may call everything, and see what runs.
var Permit = map[string]any{"bindings": []any{
	map[string]any{"everyone": true, "role": "user"}, map[string]any{"everyone": true, "role": "auditor"},
}}

// One is the configuration of one server, named "one".
func One(s *Server) Config { return Config{Servers: map[string]*Server{"one": s}} }

// text renders the file.
func (c Config) text(stateDir string) []byte {
	entries := map[string]any{}
	for name, s := range c.Servers {
		entries[name] = s.Entry()
	}
	maps.Copy(entries, c.Entries)
	all := map[string]any{
		"listen": "127.0.0.1:0", "stateDir": stateDir, "mcpServers": entries, "drainTimeout": "10s", "log": map[string]any{"level": "debug"},
	}
	maps.Copy(all, c.More)
	if all["auth"] != nil && all["policies"] == nil {
		all["policies"] = Permit // tests of other things
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		panic(err)
	}
	return b
}

// Gateway is a gateway that serves within the test.
type Gateway struct {
	// URL is its base URL, without a path.
	URL string
	// File is its configuration, StateDir where it keeps what outlives it.
	File, StateDir string

	t      testing.TB
	log    Log
	client *http.Client
	cancel context.CancelFunc
	ended  chan struct{}
	err    error
}

// logShown is how much of a log a failed test shows.
const logShown = 4 << 10

// Options are what app.Serve gets besides the file, of which tests set some.
type Options = app.Options

// Serve starts a gateway that ends with the test.
func Serve(t testing.TB, c Config) *Gateway {
	t.Helper()
	return ServeAt(t, c, t.TempDir())
}

// ServeAt starts a gateway with a given directory for its state.
func ServeAt(t testing.TB, c Config, stateDir string) *Gateway {
	t.Helper()
	g, err := Try(t, c, stateDir, Options{})
	if err != nil {
		t.Fatalf("Serve: %v\n%s", err, g.Log())
	}
	return g
}

// Try starts a gateway and returns why it does not serve.
func Try(t testing.TB, c Config, stateDir string, o Options) (*Gateway, error) {
	t.Helper()
	g := &Gateway{t: t, File: filepath.Join(t.TempDir(), "toolcrib.json"), StateDir: stateDir, ended: make(chan struct{})}
	g.client = newHTTPClient()
	g.Configure(c)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.cancel = cancel
	ready := make(chan string, 1)
	o.File, o.Version, o.Stderr = g.File, "test", &g.log
	o.Guard, o.Confine = []string{self, "guard"}, []string{self, "confine"}
	o.Ready = func(url string, c *v1.Config) {
		if c == nil || c.StateDir != stateDir {
			t.Errorf("it is ready with the configuration %v", c)
		}
		ready <- url
	}
	go func() {
		defer close(g.ended)
		g.err = app.Serve(ctx, o)
	}()
	t.Cleanup(g.Stop)
	select {
	case g.URL = <-ready:
		return g, nil
	case <-g.ended:
		err := g.err
		g.err = nil
		if err == nil {
			err = errors.New("it ended without an error")
		}
		return g, err
	case <-time.After(Patience):
		return g, errors.New("it does not become ready")
	}
}

// Configure replaces the configuration file.
func (g *Gateway) Configure(c Config) {
	g.t.Helper()
	g.Write(c.text(g.StateDir))
}

// Write replaces the configuration file by any text, at once.
func (g *Gateway) Write(text []byte) {
	g.t.Helper()
	next := g.File + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Rename(next, g.File); err != nil {
		g.t.Fatal(err)
	}
}

// Stop stops the gateway and waits for its end.
func (g *Gateway) Stop() {
	g.t.Helper()
	g.client.CloseIdleConnections()
	g.cancel()
	select {
	case <-g.ended:
	case <-time.After(2 * Patience):
		g.t.Errorf("the gateway does not stop")
		return
	}
	if g.err != nil {
		g.t.Errorf("Serve: %v", g.err)
		g.err = nil
	}
	if g.t.Failed() {
		log := g.log.String()
		g.t.Logf("end of the gateway's log:\n%s", log[max(0, len(log)-logShown):])
		g.log.reset()
	}
}

// CloseIdle closes the connections of clients that nobody uses.
func (g *Gateway) CloseIdle() { g.client.CloseIdleConnections() }

// Log is what the gateway logged so far.
func (g *Gateway) Log() string { return g.log.String() }

// Log is a writer that may be read at any time.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is what was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *Log) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}
