package system_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestProfiles: who may take profiles gets them while calls are under way, and what callers sent is in none.
func TestProfiles(t *testing.T) {
	t.Parallel()
	const secret = "canary-5d02b7c913"
	s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("hang")}, On: map[string]func(*testenv.Call){
		"tools/call hang": (*testenv.Call).Hang,
	}})
	c := testenv.One(s)
	c.More = withRoot(nil)
	g := testenv.Serve(t, c)
	ctx := testenv.Within(t, testenv.Patience)
	client := g.Modern("/mcp")
	client.Key = aliceKey
	go func() {
		_, _ = client.Try(ctx, testenv.Request{
			Method: "tools/call", Members: `"name":"one__hang","arguments":{"q":"` + secret + `"}`, ID: "7", Header: http.Header{"X-Secret": {secret}},
		})
	}()
	testenv.Eventually(t, "the call is under way", func() bool { return len(s.Received("tools/call")) == 1 })
	for _, name := range control.Profiles() {
		path := "/api/v1/profiles/" + name
		if name == "cpu" || name == "block" || name == "mutex" || name == control.ProfileExecution {
			path += "?seconds=1"
		}
		for key, want := range map[string]int{"": http.StatusUnauthorized, aliceKey: http.StatusForbidden} {
			if status, body := fetch(t, g, "GET", path, "", bearer(key)); status != want {
				t.Errorf("%s with key %q: %d %s", name, key, status, body)
			}
		}
		status, body := fetch(t, g, "GET", path, "", bearer(rootKey))
		if status != http.StatusOK {
			t.Errorf("%s: %d %s", name, status, body)
			continue
		}
		if name != control.ProfileExecution {
			body = unzipped(t, name, body)
		}
		if len(body) < 100 || name == "goroutine" && !strings.Contains(body, "net/http.(*conn).serve") {
			t.Errorf("%s holds %d bytes", name, len(body))
		}
		for _, text := range []string{secret, aliceKey, rootKey} {
			if strings.Contains(body, text) {
				t.Errorf("%s holds %s", name, text)
			}
		}
	}
	for path, want := range map[string]int{
		"cpu?seconds=0": http.StatusBadRequest, "cpu?seconds=61": http.StatusBadRequest, "cpu?seconds=x": http.StatusBadRequest,
		"execution?seconds=11": http.StatusBadRequest, "heap?seconds=1": http.StatusBadRequest, "cmdline": http.StatusNotFound,
	} {
		if status, body := fetch(t, g, "GET", "/api/v1/profiles/"+path, "", bearer(rootKey)); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if status, _ := g.Get("/debug/pprof/", bearer(rootKey)); status != http.StatusNotFound {
		t.Errorf("/debug/pprof/ answers %d", status)
	}
}

func unzipped(t *testing.T, name, body string) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return string(text)
}

// TestProfileCommand: the command writes a file that only its owner can read.
func TestProfileCommand(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{More: withRoot(nil)})
	file := filepath.Join(t.TempDir(), "heap.pprof")
	out, err := command(t, rootKey, "profile", "heap", "-f", file, "--url", g.URL)
	if err != nil || !strings.Contains(out, "go tool pprof "+file) {
		t.Errorf("%v: %s", err, out)
	}
	info, err := os.Stat(file)
	if err != nil || info.Size() == 0 || info.Mode().Perm() != 0o600 {
		t.Errorf("%v: %v", info, err)
	}
	if out, err := command(t, rootKey, "profile", "heap", "-s", "3", "-f", file, "--url", g.URL); err == nil || !strings.Contains(out, "leave it out") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := command(t, rootKey, "profile", "cpu", "--seconds", "0", "-f", file, "--url", g.URL); err == nil || !strings.Contains(out, "--seconds 0 must not be less than 1") {
		t.Errorf("for no time: %v, %s", err, out)
	}
	if out, err := command(t, aliceKey, "profile", "cpu", "-f", file, "--url", g.URL); err == nil || !strings.Contains(out, "profiles:read") {
		t.Errorf("%v: %s", err, out)
	}
}
