package system_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/seal"
)

// TestConnectTime: timeouts.connect bounds opening a connection, TLS included.
func TestConnectTime(t *testing.T) {
	t.Parallel()
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"mute": map[string]any{
		"url": "https://" + mute.Addr().String() + "/mcp", "timeouts": map[string]any{"connect": "150ms"},
	}}})
	r := g.Modern("/servers/mute/mcp").Call("tools/call", `"name":"x"`)
	if _, text := r.Error(); !strings.Contains(text, `server "mute"`) || !strings.Contains(text, "within 150ms; raise timeouts.connect if") {
		t.Errorf("%v", r)
	}
}

// TestCwd: a child starts where cwd says.
func TestCwd(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1)})
	want, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{"cwd": want})}})
	child := s.AwaitChild(1)
	got, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", child.PID))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("no /proc here")
	}
	if got != want {
		t.Errorf("child starts in %q (%v), want %q", got, err, want)
	}
}

// TestLogFormat: log.format json makes every line an object. The first key of an installation is in a file then, and named in the log.
func TestLogFormat(t *testing.T) {
	t.Parallel()
	c := testenv.Config{More: map[string]any{"log": map[string]any{"format": "json", "level": "debug"}}}
	first := testenv.Serve(t, c)
	path := filepath.Join(first.StateDir, "first.key")
	testenv.Eventually(t, "the first key is told of", func() bool { return strings.Contains(first.Log(), path) })
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.TrimSpace(string(text))
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || !managedKey.MatchString(secret) {
		t.Errorf("%v, %v: %q", err, info.Mode(), text)
	}
	if code, body := fetch(t, first, "GET", "/api/v1/keys", "", bearer(secret)); code != 200 {
		t.Errorf("the key is answered %d %s", code, body)
	}
	first.Stop()
	second := testenv.ServeAt(t, c, first.StateDir)
	second.Stop()
	told := 0
	for line := range strings.SplitSeq(strings.TrimSpace(first.Log()+second.Log()), "\n") {
		var is struct{ Level, Key, File string }
		if err := json.Unmarshal([]byte(line), &is); err != nil {
			t.Errorf("no JSON: %s", line)
		}
		if is.File == path && is.Level == "WARN" && is.Key != "" && strings.HasPrefix(secret, "tck_"+is.Key+"_") {
			told++
		}
	}
	if log := first.Log() + second.Log(); told != 1 || managedKey.MatchString(log) {
		t.Errorf("told of %d times in\n%s", told, log)
	}
}

// TestSessionLife: sessions.ttl is how long a session id stays valid.
func TestSessionLife(t *testing.T) {
	t.Parallel()
	key := []byte("fedcba9876543210fedcba9876543210")
	ring, err := seal.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	g := testenv.Serve(t, testenv.Config{More: map[string]any{
		"seal":     map[string]any{"keys": []string{base64.StdEncoding.EncodeToString(key)}},
		"sessions": map[string]any{"ttl": "5m"},
	}})
	session := g.Legacy("/mcp").Session
	binding := append([]byte(identity.Anonymous.Key()), 0)
	if _, err := ring.Open("session", binding, session, time.Now().Add(4*time.Minute)); err != nil {
		t.Errorf("after 4 minutes: %v", err)
	}
	if _, err := ring.Open("session", binding, session, time.Now().Add(6*time.Minute)); !errors.Is(err, seal.ErrExpired) {
		t.Errorf("after 6 minutes: %v", err)
	}
}

// TestNames: prefix and names.separator make the names at the joined endpoint, and lead back from them.
func TestNames(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	other := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"other": other},
		Entries: map[string]any{"one": s.Entry(map[string]any{"prefix": "uno"})},
		More:    map[string]any{"names": map[string]any{"separator": "."}},
	})
	client := g.Modern("/mcp")
	list := string(client.Call("tools/list", "").Result())
	if !strings.Contains(list, `"uno.tool0000"`) || !strings.Contains(list, `"other.tool0000"`) {
		t.Errorf("list: %.400s", list)
	}
	if r := client.Tool("uno.tool0000", "{}"); r.Texts() != "done" || len(s.Received("tools/call")) != 1 {
		t.Errorf("call: %v", r)
	}
}
