package system_test

import (
	"encoding/base64"
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/seal"
)

const (
	aliceKey = "alice-key-0123456789"
	bobKey   = "bob-key-0123456789ab"
)

var twoKeys = map[string]any{"apiKeys": []map[string]any{{"name": "alice", "key": aliceKey}, {"name": "bob", "key": bobKey}}}

// TestSessionIsBound to who opened it, and where.
func TestSessionIsBound(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	c := testenv.One(s)
	c.More = map[string]any{"auth": twoKeys}
	g := testenv.Serve(t, c)
	alice := g.LegacyOf("/mcp", testenv.LegacyVersion, aliceKey)
	own := alice.Session
	if r := alice.Call("tools/list", ""); len(r.Names("tools")) != 1 {
		t.Fatalf("alice: %v", r)
	}
	try := func(what, path, key, session string, want int) {
		t.Helper()
		alice.URL, alice.Key, alice.Session = g.URL+path, key, session
		r := alice.Do(testenv.Request{Method: "tools/list", ID: `"s"`})
		if r.Status != want || r.ID() != `"s"` && want == 404 {
			t.Errorf("%s: %v, want HTTP %d", what, r, want)
		}
	}
	try("another principal", "/mcp", bobKey, own, 404)
	try("no key", "/mcp", "", own, 401)
	try("wrong key", "/mcp", "mallory-0123456789", own, 401)
	try("another endpoint", "/servers/one/mcp", aliceKey, own, 404)
	try("cut off", "/mcp", aliceKey, own[:len(own)-1], 404)
	try("longer", "/mcp", aliceKey, own+"A", 404)
	for _, at := range []int{0, 5, len(own) / 2, len(own) - 2} {
		changed := []byte(own)
		changed[at] = map[bool]byte{true: 'B', false: 'A'}[changed[at] == 'A']
		try("forged", "/mcp", aliceKey, string(changed), 404)
	}
	try("nonsense", "/mcp", aliceKey, "1", 404)
	try("huge", "/mcp", aliceKey, strings.Repeat("A", 20000), 404)
	try("its owner", "/mcp", aliceKey, own, 200)
}

// TestSessionExpires: an id that would be good a moment ago is not.
func TestSessionExpires(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef0123456789abcdef")
	ring, err := seal.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	g := testenv.Serve(t, testenv.Config{More: map[string]any{"seal": map[string]any{"keys": []string{base64.StdEncoding.EncodeToString(key)}}}})
	client := g.Legacy("/mcp")
	for ttl, want := range map[time.Duration]int{time.Minute: 200, -time.Second: 404} {
		binding := append([]byte(identity.Anonymous.Key()), 0)
		payload := binary.BigEndian.AppendUint64([]byte("0123456789abcdef"), uint64(time.Now().Add(ttl).UnixNano()))
		client.Session = ring.Seal("session", binding, append(payload, testenv.LegacyVersion+"\x00"...), ttl)
		if r := client.Call("ping", ""); r.Status != want {
			t.Errorf("an id that lives for %s: %v", ttl, r)
		}
	}
}

// TestSessionEnds with DELETE, and only for its owner.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{})
	one, two := g.Legacy("/mcp"), g.Legacy("/mcp")
	if code := one.Delete(); code != 204 {
		t.Errorf("DELETE: HTTP %d", code)
	}
	if r := one.Call("ping", ""); r.Status != 404 {
		t.Errorf("after DELETE: %v", r)
	}
	if code := one.Delete(); code != 404 {
		t.Errorf("DELETE again: HTTP %d", code)
	}
	if r := two.Call("ping", ""); r.Status != 200 || string(r.Result()) != "{}" {
		t.Errorf("another session: %v", r)
	}
	one.Initialize(testenv.LegacyVersion)
	if r := one.Call("ping", ""); r.Status != 200 {
		t.Errorf("after initialize: %v", r)
	}
}

// TestSessionSurvives a restart of the gateway, if it finds its state again.
func TestSessionSurvives(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.One(s))
	session := g.Legacy("/mcp").Session
	g.Stop()
	for want, dir := range map[int]string{200: g.StateDir, 404: t.TempDir()} {
		next := testenv.ServeAt(t, testenv.One(s), dir)
		client := testenv.NewClient(t, next.URL+"/mcp", testenv.Legacy)
		client.Session, client.Version = session, testenv.LegacyVersion
		if r := client.Tool("one__tool0000", "{}"); r.Status != want {
			t.Errorf("after a restart: %v, want HTTP %d", r, want)
		}
	}
}

// TestUpstreamSessionRenewed: a server that loses its sessions costs one handshake, and no call.
func TestUpstreamSessionRenewed(t *testing.T) {
	t.Parallel()
	for _, streams := range []bool{false, true} {
		s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1), Streams: streams})
		g := testenv.Serve(t, testenv.One(s))
		client := g.Modern("/servers/one/mcp")
		if r := client.Tool("tool0000", "{}"); r.Texts() != "done" {
			t.Fatal(r)
		}
		for range 3 {
			before := s.Sessions()
			s.ForgetSessions()
			var failed atomic.Int32
			each(50, func(int) {
				r, err := client.Try(testenv.Within(t, testenv.Patience), testenv.Request{Method: "tools/call", Members: `"name":"tool0000"`})
				if err != nil || r.Texts() != "done" {
					failed.Add(1)
					t.Logf("%v %v", err, r)
				}
			})
			if failed.Load() > 0 || s.Sessions() != before+1 {
				t.Errorf("%d calls of 50 failed, %d handshakes", failed.Load(), s.Sessions()-before)
			}
		}
	}
}

// TestUpstreamSessionNeverHolds: a server that loses each session at once gets an error, not a loop.
func TestUpstreamSessionNeverHolds(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) { c.HTTP.Status(404, "text/plain", "gone") },
	}})
	g := testenv.Serve(t, testenv.One(s))
	r := g.Modern("/servers/one/mcp").Tool("tool0000", "{}")
	if code, text := r.Error(); code != -32603 || !strings.Contains(text, `server "one"`) || !strings.Contains(text, "session") {
		t.Error(r)
	}
	if n := len(s.Received("tools/call")); n != 2 {
		t.Errorf("the call was sent %d times, not 2", n)
	}
}

// TestPrincipalsDoNotShare upstream sessions.
func TestPrincipalsDoNotShare(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
	c := testenv.One(s)
	c.More = map[string]any{"auth": twoKeys}
	g := testenv.Serve(t, c)
	sessions := map[string]bool{}
	for i, key := range []string{aliceKey, bobKey, aliceKey, bobKey} {
		client := g.Modern("/servers/one/mcp")
		client.Key = key
		if r := client.Tool("tool0000", "{}"); r.Texts() != "done" {
			t.Fatal(r)
		}
		sessions[s.Await("tools/call", i+1).Header.Get("Mcp-Session-Id")] = true
	}
	if len(sessions) != 2 {
		t.Errorf("two principals used the sessions %v", sessions)
	}
	for _, r := range s.Received("") {
		if r.Header.Get("Authorization") != "" {
			t.Errorf("a client's key reached the server: %v", r.Header)
		}
	}
}
