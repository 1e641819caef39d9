package system_test

import (
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/front"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// publicRoutes are what everybody may ask, and why.
var publicRoutes = map[string]string{
	"GET /health":                           "says that the process lives",
	"GET /healthz":                          "as /health",
	"GET /health/ready":                     "says for load balancers whether it can work; all else takes servers:read",
	"GET /readyz":                           "as /health/ready",
	"GET /.well-known/toolcrib-client.json": "says who toolcrib login is, to authorization servers",
	"GET /.well-known/jwks.json":            "has the public keys by which servers know statements of this gateway",
}

// knownRoutes are what everybody may ask who has any credential.
var knownRoutes = map[string]string{"GET /api/v1/whoami": "says to callers who they are"}

// actionKey is the key of one who may do one thing.
func actionKey(action string) string {
	return "key-that-may-" + strings.NewReplacer(":", "-", "*", "all").Replace(action) + "-0123456789"
}

func bearer(key string) http.Header { return http.Header{"Authorization": {"Bearer " + key}} }

// guarded is a gateway with a caller for each action of management, who may do that and nothing else.
func guarded(t *testing.T, more map[string]any) *testenv.Gateway {
	t.Helper()
	roles, keys := map[string]any{}, []any{map[string]any{"name": "nobody", "key": actionKey("nothing")}}
	for _, action := range append(control.Actions(), "*") {
		name := "may " + action
		roles[name] = map[string]any{"manage": []string{action}}
		keys = append(keys, map[string]any{"name": name, "key": actionKey(action), "roles": []string{name}})
	}
	c := testenv.One(testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)}))
	c.More = map[string]any{"auth": map[string]any{"apiKeys": keys}, "policies": map[string]any{"roles": roles}}
	maps.Copy(c.More, more)
	return testenv.Serve(t, c)
}

// fetch sends a request and returns status and body.
func fetch(t *testing.T, g *testenv.Gateway, method, path, body string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, g.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestRoutes: every route of the process is public by name, or takes an action, and nothing else opens it.
func TestRoutes(t *testing.T) {
	t.Parallel()
	g := guarded(t, nil)
	type route struct{ method, path, action string }
	var all []route
	for _, r := range app.Routes() {
		method, path, ok := strings.Cut(r.Pattern, " ")
		if !ok {
			t.Errorf("route %q has no method", r.Pattern)
		}
		if _, named := publicRoutes[r.Pattern]; named != (r.Access == app.Public) {
			t.Errorf("route %q has the access %q; public ones are named in this test, and no others", r.Pattern, r.Access)
		}
		if r.Access != app.Public {
			all = append(all, route{method, path, r.Access})
		}
	}
	for _, r := range control.Routes() {
		path := control.Prefix + r.Path
		if _, named := knownRoutes[r.Method+" "+path]; named != (r.Action == control.Self) {
			t.Errorf("route %s %s has the action %q; those of everybody known are named in this test, and no others", r.Method, path, r.Action)
		}
		path = strings.NewReplacer("{id}", "aaaaaaaaaaaaaaaa", "{name}", "one").Replace(path)
		all = append(all, route{r.Method, path, r.Action})
	}
	for _, r := range all {
		if r.action != control.Self && !slices.Contains(control.Actions(), r.action) {
			t.Errorf("%s %s: nobody decides on it: action %q", r.method, r.path, r.action)
			continue
		}
		body := map[string]string{"POST": "{}"}[r.method]
		status := func(h http.Header) int {
			code, _ := fetch(t, g, r.method, r.path, body, h)
			return code
		}
		for name, h := range map[string]http.Header{
			"no credential": nil, "a wrong one": bearer("x" + actionKey("*")), "two": {"Authorization": {"Bearer " + actionKey("*"), "Bearer " + actionKey("*")}},
			"a cookie": {"Cookie": {"Authorization=Bearer " + actionKey("*")}}, "another scheme": {"Authorization": {"Basic " + actionKey("*")}},
		} {
			if code := status(h); code != 401 {
				t.Errorf("%s %s with %s: HTTP %d, want 401", r.method, r.path, name, code)
			}
		}
		for _, h := range []http.Header{{"Host": {"evil.example"}}, {"Origin": {"https://evil.example"}}} {
			h.Set("Authorization", "Bearer "+actionKey("*"))
			if code := status(h); code != 403 {
				t.Errorf("%s %s with %v: HTTP %d, want 403", r.method, r.path, h, code)
			}
		}
		for _, action := range append(control.Actions(), "nothing", "*") {
			may := action == r.action || action == "*" || r.action == control.Self
			if code := status(bearer(actionKey(action))); (code == 403) == may || code == 401 {
				t.Errorf("%s %s by who may do %s: HTTP %d", r.method, r.path, action, code)
			}
		}
	}
}

// TestDoors: no way into an endpoint, whatever the method, is open where callers are known.
func TestDoors(t *testing.T) {
	t.Parallel()
	g := guarded(t, map[string]any{"toolsets": map[string]any{"set": map[string]any{"servers": []string{"one"}}}})
	for _, endpoint := range []string{"", "/servers/one", "/servers/none", "/toolsets/set", "/toolsets/none"} {
		for _, door := range front.Doors() {
			for _, method := range []string{"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD"} {
				h := http.Header{"Accept": {"application/json, text/event-stream"}, "Mcp-Session-Id": {"x"}}
				code, body := fetch(t, g, method, endpoint+"/"+door, map[string]string{"POST": `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`}[method], h)
				if code != 401 && code != 405 {
					t.Errorf("%s %s/%s: HTTP %d %s", method, endpoint, door, code, body)
				}
			}
		}
	}
	for _, path := range []string{
		"/", "/api", "/api/", "/api/v1", "/api/v2/keys", "/API/v1/keys", "/debug/pprof/", "/debug/vars", "/admin", "/servers", "/toolsets", "/.well-known/",
		"//api/v1/keys", "/mcp/../api/v1/keys", "/api/v1/../v1/keys", "/%61pi/v1/keys", "/api%2Fv1/keys", "/metrics/", "/metrics%00",
	} {
		for _, method := range []string{"GET", "POST"} {
			if code, body := fetch(t, g, method, path, "", nil); code < 400 && code != 307 && code != 301 || strings.Contains(body, "mcp_") {
				t.Errorf("%s %s: HTTP %d %.200s", method, path, code, body)
			}
		}
	}
}

// TestRouters: routes are made where TestRoutes sees them.
func TestRouters(t *testing.T) {
	t.Parallel()
	// control/serve.go is a socket that only the owner can open; cli/login waits for the owner's browser.
	known := []string{"app/routes.go", "app/serve.go", "control/api.go", "control/serve.go", "cli/login/flow.go"}
	const root = "../.."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && rel != "." || slices.Contains([]string{"internal", "test", "testdata", "node_modules"}, rel)) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || slices.Contains(known, filepath.ToSlash(rel)) {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, maker := range []string{"http.NewServeMux(", "http.Server{", "http.HandleFunc(", "http.Handle(", "http.ListenAndServe", "net/http/pprof", `"expvar"`} {
			if strings.Contains(string(text), maker) {
				t.Errorf("%s has %s: what it serves is in no table of routes", rel, maker)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
