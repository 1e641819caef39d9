package system_test

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestOpenAddress: an address that others can reach needs keys, or a flag.
func TestOpenAddress(t *testing.T) {
	t.Parallel()
	open := map[string]any{"listen": "0.0.0.0:0"}
	if _, err := testenv.Try(t, testenv.Config{More: open}, t.TempDir(), testenv.Options{}); err == nil || !strings.Contains(err.Error(), "auth.apiKeys") {
		t.Errorf("served, or failed with %v", err)
	}
	ruled := map[string]any{"listen": "0.0.0.0:0", "policies": map[string]any{"bindings": []string{}}}
	_, err := testenv.Try(t, testenv.Config{More: ruled}, t.TempDir(), testenv.Options{})
	if err == nil || strings.Contains(err.Error(), "everything") || !strings.Contains(err.Error(), "what policies permit") {
		t.Errorf("with policies: served, or failed with %v", err)
	}
	if _, err := testenv.Try(t, testenv.Config{}, t.TempDir(), testenv.Options{Listen: "[::]:0"}); err == nil || !strings.Contains(err.Error(), "auth.apiKeys") {
		t.Errorf("served, or failed with %v", err)
	}
	if _, err := testenv.Try(t, testenv.Config{More: open}, t.TempDir(), testenv.Options{AllowUnauthenticated: true}); err != nil {
		t.Error(err)
	}
	g, err := testenv.Try(t, testenv.Config{More: map[string]any{"listen": "0.0.0.0:0", "auth": twoKeys, "drainDelay": "0s"}}, t.TempDir(), testenv.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g.Configure(testenv.Config{More: open})
	testenv.Eventually(t, "refusal of a file without keys", func() bool {
		if _, body := g.Get("/health/ready", nil); strings.Contains(body, "auth.apiKeys") {
			t.Errorf("reasons are told without a key: %s", body)
		}
		_, body := g.Get("/health/ready", http.Header{"Authorization": {"Bearer " + aliceKey}})
		return strings.Contains(body, "auth.apiKeys")
	})
}

// TestRebinding: requests that a browser was tricked into are refused on every route.
func TestRebinding(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{More: map[string]any{
		"allowedHosts": []string{"tools.internal"}, "allowedOrigins": []string{"https://app.example"}, "publicURL": "https://public.example",
	}})
	bare := testenv.Serve(t, testenv.Config{})
	rows := []struct {
		name, value string
		want        int
	}{
		{"Host", "evil.example", 403},
		{"Host", "evil.example:80", 403},
		{"Host", "127.0.0.1.evil.example", 403},
		{"Host", "localhost", 200},
		{"Host", "[::1]:99", 200},
		{"Host", "tools.internal", 200},
		{"Host", "public.example", 200},
		{"Origin", "https://evil.example", 403},
		{"Origin", "null", 403},
		{"Origin", "file://", 403},
		{"Origin", "http://localhost.evil.example", 403},
		{"Origin", "http://localhost:3000", 200},
		{"Origin", "https://app.example", 200},
		{"Origin", "https://public.example", 200},
		{"Origin", "http://public.example", 403},
	}
	for _, row := range rows {
		h := http.Header{row.name: {row.value}}
		r := g.Modern("/mcp").Do(testenv.Request{Method: "tools/list", Header: h})
		if code, text := r.Error(); r.Status != row.want || row.want == 403 && (code != 403 || !strings.Contains(text, row.name)) {
			t.Errorf("%s %s: %v", row.name, row.value, r)
		}
		for _, path := range []string{"/health", "/health/ready", "/metrics", "/healthz", "/readyz"} {
			if code, _ := g.Get(path, h); code != row.want {
				t.Errorf("%s with %s %s: HTTP %d", path, row.name, row.value, code)
			}
		}
	}
	if r := bare.Modern("/mcp").Do(testenv.Request{Method: "tools/list", Header: http.Header{"Host": {"public.example"}}}); r.Status != 403 {
		t.Errorf("a host that nothing allows: %v", r)
	}
	if r := g.Modern("/mcp").Do(testenv.Request{Method: "tools/list", Header: http.Header{"Origin": {"https://app.example", "https://evil.example"}}}); r.Status != 403 {
		t.Errorf("two origins: %v", r)
	}
}

// TestKeys: what has no key gets nothing, on every route that tells anything.
func TestKeys(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	c := testenv.One(s)
	c.More = map[string]any{"auth": twoKeys}
	g := testenv.Serve(t, c)
	for name, h := range map[string]http.Header{
		"no key":         nil,
		"wrong key":      {"Authorization": {"Bearer " + aliceKey + "x"}},
		"part of a key":  {"Authorization": {"Bearer " + aliceKey[:10]}},
		"other scheme":   {"Authorization": {"Basic " + aliceKey}},
		"two keys":       {"Authorization": {"Bearer " + aliceKey, "Bearer " + bobKey}},
		"empty":          {"Authorization": {"Bearer "}},
		"key in a query": nil,
	} {
		path := "/mcp"
		if name == "key in a query" {
			path += "?access_token=" + aliceKey
		}
		for _, path := range []string{path, "/servers/one/mcp", "/servers/nobody/mcp"} {
			r := g.Modern(path).Do(testenv.Request{Method: "tools/list", Header: h})
			if r.Status != 401 || !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("%s at %s: %v %v", name, path, r, r.Header)
			}
		}
		if code, body := g.Get("/metrics", h); code != 401 || strings.Contains(body, "mcp_") {
			t.Errorf("metrics with %s: HTTP %d", name, code)
		}
	}
	good := http.Header{"Authorization": {"Bearer " + aliceKey}}
	if r := g.Modern("/mcp").Do(testenv.Request{Method: "tools/list", Header: good}); len(r.Names("tools")) != 1 || r.Member("cacheScope") != `"private"` {
		t.Errorf("%v", r)
	}
	if code, _ := g.Get("/metrics", good); code != 200 {
		t.Errorf("metrics: HTTP %d", code)
	}
}

// TestSecrets appear in no log, error, health report or metric, and a child gets none that is not its own.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const header, variable = "header-secret-4711", "variable-secret-0815"
	refusing := testenv.HTTPServer(t, testenv.Script{Lenient: true, On: map[string]func(*testenv.Call){
		"server/discover": func(c *testenv.Call) { c.HTTP.Status(401, "text/plain", "not you, "+c.Header.Get("X-Token")) },
	}})
	child := testenv.StdioServer(t, testenv.Script{Tools: []string{testenv.Tool("echo"), testenv.Tool("die")}, On: map[string]func(*testenv.Call){
		"tools/call die": func(c *testenv.Call) {
			c.Child.Complain("my environment: " + strings.Join(c.Child.Env, " ") + "\n")
			c.Child.Exit(3)
		},
	}})
	entry := child.Entry()
	entry["env"].(map[string]any)["TOKEN"] = variable
	g := testenv.Serve(t, testenv.Config{
		Entries: map[string]any{"child": entry, "http": refusing.Entry(map[string]any{"headers": map[string]any{"X-Token": header}})},
		More:    map[string]any{"auth": twoKeys},
	})
	client := g.Modern("/mcp")
	client.Key = aliceKey
	var said strings.Builder
	for _, name := range []string{"http__x", "child__echo", "child__die", "child__echo"} {
		said.WriteString(client.Tool(name, "{}").String())
	}
	wrong := g.Modern("/mcp")
	wrong.Key = "mallory-secret-1234"
	said.WriteString(wrong.Call("tools/list", "").String())
	for _, path := range []string{"/health/ready", "/metrics"} {
		_, body := g.Get(path, http.Header{"Authorization": {"Bearer " + aliceKey}})
		said.WriteString(body)
	}
	if !strings.Contains(said.String(), "exit status 3") || !strings.Contains(said.String(), "401") {
		t.Errorf("the errors do not say what happened: %s", said.String())
	}
	for _, secret := range []string{header, variable, aliceKey, bobKey, wrong.Key} {
		if strings.Contains(said.String(), secret) {
			t.Errorf("%s in what clients get: %s", secret, said.String())
		}
		if strings.Contains(g.Log(), secret) {
			t.Errorf("%s in the log", secret)
		}
	}
	env := child.Children()[0].Env
	if !slices.Contains(env, "TOKEN="+variable) || !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) {
		t.Errorf("the child has the environment %v", env)
	}
	if slices.ContainsFunc(env, func(v string) bool { return v == canary+"="+os.Getenv(canary) }) {
		t.Error("the child inherited what it was not given")
	}
	if refusing.Received("server/discover")[0].Header.Get("X-Token") != header {
		t.Error("the configured header did not reach its server")
	}
}
