package system_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// behindPath starts a proxy that serves a gateway under a path, and nothing else but what is well known of that path. The gateway
// is told to it later.
func behindPath(t *testing.T, path string) (base string, to func(gateway string)) {
	t.Helper()
	var proxy atomic.Pointer[httputil.ReverseProxy]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/.well-known/oauth-protected-resource"+path+"/") {
			http.StripPrefix(path, proxy.Load()).ServeHTTP(w, r)
			return
		}
		proxy.Load().ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL + path, func(gateway string) {
		u, err := url.Parse(gateway)
		if err != nil {
			t.Fatal(err)
		}
		proxy.Store(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u) }})
	}
}

// TestPublicPath: behind a proxy that serves the gateway under a path, clients of every endpoint get from 401 to a listed tool by what
// they are told, wherever they look for the metadata.
func TestPublicPath(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	base, to := behindPath(t, "/all/tools")
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})},
		More: map[string]any{
			"publicURL": base + "/", "auth": map[string]any{"issuers": []any{i.Entry(nil)}},
			"toolsets": map[string]any{"a desk": map[string]any{"servers": []string{"one"}}},
		},
	})
	to(g.URL)
	g.URL = base
	for _, path := range []string{"/mcp", "/servers/one/mcp", "/toolsets/a%20desk/mcp", "/sse", "/servers/one/sse", "/toolsets/a%20desk/sse"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			stream := strings.HasSuffix(path, "/sse")
			var header http.Header
			if stream {
				c, _ := g.OpenStream(path, "", nil)
				header = c.Header
			} else {
				header = g.Modern(path).Call("tools/list", "").Header
			}
			at := metadataParam.FindStringSubmatch(header.Get("WWW-Authenticate"))
			if at == nil || !strings.HasPrefix(at[1], base+"/.well-known/") {
				t.Fatalf("told %v", header)
			}
			inserted := strings.Replace(base, "/all/tools", "/.well-known/oauth-protected-resource/all/tools", 1) + path // RFC 9728 section 3.1
			for _, from := range []string{at[1], inserted} {
				if resource := resourceAt(t, from); resource != base+path {
					t.Errorf("the metadata at %s are those of %q", from, resource)
				}
			}
			listable(t, g, path, stream, i.Token("alice", base+path, nil))
		})
	}
}

// resourceAt is what the metadata at an address are of.
func resourceAt(t *testing.T, address string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		Resource string `json:"resource"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Errorf("%s: HTTP %d: %v", address, resp.StatusCode, err)
	}
	return doc.Resource
}

// lists the one tool of an endpoint, or of a stream, as a client of each era that it is for.
func listable(t *testing.T, g *testenv.Gateway, path string, stream bool, key string) {
	t.Helper()
	if stream {
		if r := g.Stream(path, key).Call("tools/list", ""); len(r.Names("tools")) != 1 {
			t.Error(r)
		}
		return
	}
	for _, era := range []testenv.Era{testenv.Modern, testenv.Legacy} {
		c := speaks(g, era, path, holder{key: key})
		if r := opens(c); r != nil {
			t.Fatal(r)
		}
		if r := c.Call("tools/list", ""); len(r.Names("tools")) != 1 {
			t.Error(r)
		}
	}
}
