package system_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestOldServer: the headers of the configuration go with the stream and with all that is posted, and callers share no stream.
func TestOldServer(t *testing.T) {
	t.Parallel()
	s := testenv.StreamServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{
		Entries: map[string]any{"one": s.Entry(map[string]any{"headers": map[string]string{"X-Token": "abc"}})}, More: map[string]any{"auth": twoKeys},
	})
	sessions := map[string]bool{}
	for i, key := range []string{aliceKey, bobKey, aliceKey, bobKey} {
		client := g.Modern("/servers/one/mcp")
		client.Key = key
		if r := client.Tool("tool0000", "{}"); r.Texts() != "done" {
			t.Fatal(r)
		}
		sessions[s.Await("tools/call", i+1).Header.Get("Mcp-Session-Id")] = true
	}
	if len(sessions) != 2 || len(s.Lines()) != 3 {
		t.Errorf("two callers used the sessions %v, %d streams were opened", sessions, len(s.Lines()))
	}
	for _, l := range s.Lines() {
		if l.Header.Get("X-Token") != "abc" || l.Header.Get("Authorization") != "" {
			t.Errorf("headers of a stream: %v", l.Header)
		}
	}
	for _, r := range s.Received("") {
		if r.Header.Get("X-Token") != "abc" || r.Header.Get("Authorization") != "" {
			t.Errorf("headers of a message: %v", r.Header)
		}
	}
}

// TestOldServerFound: a server of HTTP+SSE is found out when its type is not given.
func TestOldServerFound(t *testing.T) {
	t.Parallel()
	for _, bluntly := range []int{405, 404, 400} {
		s := testenv.StreamServer(t, testenv.Script{Tools: testenv.Tools(1), NoPost: bluntly})
		entry := s.Entry()
		delete(entry, "type")
		g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": entry}})
		for _, client := range []*testenv.Client{g.Modern("/mcp"), g.Legacy("/mcp")} {
			if r := client.Tool("one__tool0000", "{}"); r.Texts() != "done" {
				t.Errorf("HTTP %d: %v", bluntly, r)
			}
		}
		s.Stop()
		s.Start()
		client := g.Modern("/mcp")
		testenv.Eventually(t, "the server is found again", func() bool { return client.Tool("one__tool0000", "{}").Texts() == "done" })
	}
}

// TestOldServerElsewhere: what names an endpoint of another origin gets nothing, there or here.
func TestOldServerElsewhere(t *testing.T) {
	t.Parallel()
	evil := testenv.HTTPServer(t, testenv.Script{})
	at := strings.TrimPrefix(strings.TrimSuffix(evil.URL, "/mcp"), "http://")
	for _, endpoint := range []string{"http://" + at + "/message?session=", "//" + at + "/message?session=", "https:/message?session=", "http://user@HOST/message?session="} {
		s := testenv.StreamServer(t, testenv.Script{Tools: testenv.Tools(1), Endpoint: endpoint})
		s.Rename(strings.ReplaceAll(endpoint, "HOST", strings.TrimPrefix(strings.TrimSuffix(s.URL, "/sse"), "http://")))
		g := testenv.Serve(t, testenv.One(s))
		r := g.Modern("/mcp").Tool("one__tool0000", "{}")
		if _, text := r.Error(); !strings.Contains(text, "another origin") {
			t.Errorf("%s: %v", endpoint, r)
		}
		if len(evil.Received("")) > 0 || len(s.Received("")) > 0 {
			t.Errorf("%s: something was posted", endpoint)
		}
	}
}

// TestOldServerComesBack: a stream that ends fails what runs on it, and the next call has another.
func TestOldServerComesBack(t *testing.T) {
	t.Parallel()
	h := hold(t, kind{name: "old", era: testenv.Legacy, old: true})
	g := testenv.Serve(t, testenv.One(h.Server))
	client := g.Modern("/mcp")
	replies := background(t, client, "one__hold")
	call := <-h.calls
	call.Line.Cut()
	r := <-replies
	if code, text := r.Error(); code != -32603 || !strings.Contains(text, "session ended") || !strings.Contains(text, "may have been carried out") {
		t.Errorf("the running call: %v", r)
	}
	if r := client.Tool("one__echo", "{}"); r.Texts() != "done" {
		t.Errorf("the next call: %v", r)
	}
	if n := len(h.Received("tools/call")); n != 2 {
		t.Errorf("%d calls reached the server, not 2", n)
	}
	h.Lines()[0].Cut() // the gateway's own
	testenv.Eventually(t, "another stream of the gateway's own", func() bool { return len(h.Lines()) == 4 })
}

// TestOldServerLosesSession: a message that the server has no session for was not carried out, and goes to a new one.
func TestOldServerLosesSession(t *testing.T) {
	t.Parallel()
	s := testenv.StreamServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.One(s))
	client := g.Modern("/mcp")
	if r := client.Tool("one__tool0000", "{}"); r.Texts() != "done" {
		t.Fatal(r)
	}
	s.ForgetSessions()
	if r := client.Tool("one__tool0000", "{}"); r.Texts() != "done" || len(s.Received("tools/call")) != 2 {
		t.Errorf("%v after %d calls", r, len(s.Received("tools/call")))
	}
}

// TestOldServerRefuses: the reasons of a server that does not give a stream are told.
func TestOldServerRefuses(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{On: map[string]func(*testenv.Call){
		"GET": func(c *testenv.Call) {
			switch c.Header.Get("X-Want") {
			case "401":
				c.HTTP.Status(http.StatusUnauthorized, "text/plain", "no")
			case "html":
				c.HTTP.Status(http.StatusOK, "text/html", "<html>")
			case "end":
				c.HTTP.Events(":\n\n")
			case "silent":
				c.HTTP.Events(":\n\n")
				c.Hang()
			}
		},
	}})
	entries := map[string]any{}
	says := map[string]string{"401": "credential", "html": "text/html", "end": "before it named its endpoint", "silent": "names no endpoint"}
	for want := range says {
		start := "15s"
		if want == "silent" {
			start = "300ms"
		}
		entries["s"+want] = map[string]any{
			"type": "sse", "url": s.URL, "headers": map[string]string{"X-Want": want}, "timeouts": map[string]any{"start": start},
		}
	}
	g := testenv.Serve(t, testenv.Config{Entries: entries})
	client := g.Modern("/mcp")
	for want, say := range says {
		r := client.Tool("s"+want+"__x", "{}")
		if _, text := r.Error(); !strings.Contains(text, say) || !strings.Contains(text, `server "s`+want) {
			t.Errorf("%s: %v, want %q", want, r, say)
		}
	}
}
