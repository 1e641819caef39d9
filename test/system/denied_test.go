package system_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestListsOfRightsEndSoon: a client that keeps lists for as long as it is told sees what it may see a moment after it may, also
// where it could see nothing before, and where the servers say that their lists are good for long.
func TestListsOfRightsEndSoon(t *testing.T) {
	t.Parallel()
	long := testenv.HTTPServer(t, testenv.Script{On: map[string]func(*testenv.Call){"tools/list": func(c *testenv.Call) {
		c.Complete(`"ttlMs":3600000,"cacheScope":"public","tools":[{"name":"look","inputSchema":{"type":"object"}}]`)
	}}})
	config := testenv.Config{Servers: map[string]*testenv.Server{"one": long}}
	few, none := ofGroup("few", "few"), ofGroup("none", "none")
	open := testenv.Serve(t, config)
	config.More = map[string]any{"auth": authOf(few, none), "policies": grants(map[string]any{"few": map[string]any{"allow": []string{"one__look"}}})}
	g := testenv.Serve(t, config)
	empty := testenv.Serve(t, testenv.Config{})
	for name, c := range map[string]struct {
		client *testenv.Client
		tools  int
		most   int
	}{
		"some":      {speaks(g, testenv.Modern, "/mcp", few), 1, 5000},
		"none":      {speaks(g, testenv.Modern, "/mcp", none), 0, 5000},
		"nothing":   {empty.Modern("/mcp"), 0, 5000},
		"unguarded": {open.Modern("/mcp"), 1, 3600000},
	} {
		r := c.client.Do(testenv.Request{Method: "tools/list"})
		ttl, err := strconv.Atoi(r.Member("ttlMs"))
		if err != nil || ttl > c.most || c.most > 5000 && ttl <= 5000 || len(r.Names("tools")) != c.tools {
			t.Errorf("%s: %.300v", name, r)
		}
	}
}

// TestDeniedIsUnknown: what is denied is answered byte for byte as what does not exist, at all endpoints, in both eras.
func TestDeniedIsUnknown(t *testing.T) {
	t.Parallel()
	config := testenv.Config{Servers: map[string]*testenv.Server{}}
	for _, name := range []string{"one", "two", "six"} {
		config.Servers[name] = testenv.HTTPServer(t, shop(name))
	}
	few := ofGroup("few", "few")
	config.More = map[string]any{
		"auth":     authOf(few),
		"policies": grants(map[string]any{"few": map[string]any{"allow": []string{"one__look"}, "prompts": []string{"one__ask"}, "resources": []string{"one://open/*"}}}),
		"toolsets": map[string]any{"set": map[string]any{"servers": []string{"one", "two"}}, "far": map[string]any{"servers": []string{"two"}}},
	}
	g := testenv.Serve(t, config)
	for _, era := range testenv.Eras {
		for _, path := range []string{"/mcp", "/servers/one/mcp", "/toolsets/set/mcp"} {
			t.Run(era.String()+path, func(t *testing.T) {
				t.Parallel()
				c := speaks(g, era, path, few)
				if refused := opens(c); refused != nil {
					t.Fatalf("%v", refused)
				}
				p := "one__"
				if strings.HasPrefix(path, "/servers/") {
					p = ""
				}
				// Each row has one that is there and denied, and one of the same form that is not there.
				rows := [][3]string{
					{"tools/call", `"name":"` + p + `odd","arguments":{}`, "odd"},
					{"prompts/get", `"name":"` + p + `tell"`, "tell"},
					{"resources/read", `"uri":"one://shut/b"`, "shut/b"},
					{"completion/complete", `"ref":{"type":"ref/prompt","name":"` + p + `tell"},"argument":{"name":"x","value":""}`, "tell"},
					{"completion/complete", `"ref":{"type":"ref/resource","uri":"one://shut/{x}"},"argument":{"name":"x","value":""}`, "shut/"},
				}
				if p != "" {
					rows = append(rows, [3]string{"tools/call", `"name":"two__look","arguments":{}`, "two__look"},
						[3]string{"resources/read", `"uri":"two://open/a"`, "two://open/a"})
				}
				if era == testenv.Legacy {
					rows = append(rows, [3]string{"resources/subscribe", `"uri":"one://shut/b"`, "shut/b"})
				}
				for _, row := range rows {
					none := strings.Repeat("z", len(row[2])) // as long, so that all lengths are equal
					denied := answerOf(c, row[0], row[1])
					unknown := answerOf(c, row[0], strings.Replace(row[1], row[2], none, 1))
					if want := strings.ReplaceAll(unknown, none, row[2]); denied != want || !strings.Contains(denied, "unknown") {
						t.Errorf("%s %s:\n%s\nwant\n%s", row[0], row[2], denied, want)
					}
				}
			})
		}
		// An endpoint of which nothing may be seen is none.
		for _, pair := range [][2]string{{"/servers/two/mcp", "/servers/six/mcp"}, {"/servers/two/mcp", "/servers/nix/mcp"}, {"/toolsets/far/mcp", "/toolsets/fax/mcp"}} {
			name := func(path string) string { return strings.Split(path, "/")[2] }
			denied, unknown := speaks(g, era, pair[0], few), speaks(g, era, pair[1], few)
			a, b := answerOf(denied, "tools/list", ""), answerOf(unknown, "tools/list", "")
			if want := strings.ReplaceAll(b, name(pair[1]), name(pair[0])); a != want || !strings.HasPrefix(a, "404") {
				t.Errorf("%s: %s, want %s", pair[0], a, want)
			}
			for _, method := range []string{http.MethodGet, http.MethodDelete, http.MethodPut} {
				if a, b := statusOf(t, denied, method), statusOf(t, unknown, method); a != b {
					t.Errorf("%s %s: HTTP %d, of one that is not there %d", method, pair[0], a, b)
				}
			}
		}
	}
}

// answerOf is all that tells one answer from another.
func answerOf(c *testenv.Client, method, members string) string {
	r := c.Do(testenv.Request{ID: "7", Method: method, Members: members})
	return fmt.Sprintf("%d %s %s %s", r.Status, r.Header.Get("Content-Type"), r.Header.Get("Www-Authenticate"), r.Last())
}

func statusOf(t *testing.T, c *testenv.Client, method string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(testenv.Within(t, testenv.Patience), method, c.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.Key)
	r.Header.Set("Mcp-Session-Id", "none")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// TestScopeOfPaths: unknown, malformed and encoded names of endpoints never lead to another one, and not to all.
func TestScopeOfPaths(t *testing.T) {
	t.Parallel()
	config := testenv.Config{Servers: map[string]*testenv.Server{}}
	for _, name := range []string{"one", "two"} {
		config.Servers[name] = testenv.HTTPServer(t, shop(name))
	}
	one := ofGroup("one", "one")
	config.More = map[string]any{
		"auth":     authOf(one),
		"policies": grants(map[string]any{"one": map[string]any{"servers": []string{"one"}}}),
		"toolsets": map[string]any{"set": map[string]any{"servers": []string{"one"}}},
	}
	g := testenv.Serve(t, config)
	for _, path := range []string{
		"/servers/two/mcp", "/servers/ONE/mcp", "/servers/one%00/mcp", "/servers/one%2f/mcp", "/servers/%2e%2e/mcp", "/servers/../mcp", "/servers//mcp",
		"/servers/one%2ftwo/mcp", "/servers/one%20/mcp", "/servers/one;two/mcp", "/servers/%6fne%25/mcp", "/servers/*/mcp", "/servers/one/two/mcp",
		"/servers/toolsets%2fset/mcp", "/toolsets/one/mcp", "/toolsets/%73et%00/mcp", "/toolsets/../servers/two/mcp", "/toolsets//mcp", "/servers/set/mcp",
		"/servers/tw%6f/mcp", "/servers/%74wo/mcp", "//mcp", "/mcp/mcp", "/servers/two%2f..%2fone/mcp",
	} {
		c := speaks(g, testenv.Modern, path, one)
		r := c.Call("tools/list", "")
		if r.Status/100 == 2 {
			t.Errorf("%s is served: %v", path, r)
		}
		if bytes.Contains(r.Last(), []byte("look")) {
			t.Errorf("%s lists tools: %v", path, r)
		}
	}
	if names := speaks(g, testenv.Modern, "/servers/%6Fne/mcp", one).Call("tools/list", "").Names("tools"); len(names) != 3 {
		t.Errorf("the same name, encoded: %v", names)
	}
}

// TestURITricks: no spelling of a URI gets around what may be read.
func TestURITricks(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{
		Resources: []string{`{"uri":"file:///data/a","name":"a"}`, `{"uri":"file:///secret/b","name":"b"}`}, Templates: []string{`{"uriTemplate":"file:///{+path}","name":"all"}`},
		On: map[string]func(*testenv.Call){"resources/read": func(c *testenv.Call) { c.Complete(`"contents":[]`) }},
	})
	reader := ofGroup("reads", "reads")
	config := testenv.Config{Servers: map[string]*testenv.Server{"one": s}}
	config.More = map[string]any{"auth": authOf(reader), "policies": grants(map[string]any{"reads": map[string]any{"resources": []string{"file:///data/*"}}})}
	g := testenv.Serve(t, config)
	for _, path := range []string{"/mcp", "/servers/one/mcp"} {
		c := speaks(g, testenv.Modern, path, reader)
		for _, uri := range []string{
			"file:/secret/b", "file:secret/b", `file:\\\\secret/b`, "file:///secret/b", "file:///data/../secret/b", "file:///data/%2e%2e/secret/b", "file:///data/%2E%2E%2Fsecret/b", "file:///data/..%2fsecret/b",
			"file:///data/%252e%252e/secret/b", `file:///data/..\\secret/b`, "file:///data/..%5csecret/b", "file:///data/x%2fy%2fz/../../secret/b",
			"file:///data/%00/../secret", "file:///data", "FILE:///data/a", "file:///data/x/../../secret/b?y", "file:///data/a#/../../secret/b", "file:///%64ata/../secret",
		} {
			if code, text := c.Call("resources/read", `"uri":"`+uri+`"`).Error(); code != -32602 || !strings.Contains(text, "unknown resource") {
				t.Errorf("%s at %s: %d %s", uri, path, code, text)
			}
		}
		for _, uri := range []string{"file:///data/a", "file:///data/new", "file:///data/a%20b", "file:///data/a%2Bb.txt?x=1"} {
			if r := c.Call("resources/read", `"uri":"`+uri+`"`); r.Result() == nil {
				t.Errorf("%s at %s: %v", uri, path, r)
			}
		}
		if names := c.Call("resources/list", "").Names("resources"); len(names) != 1 || names[0] != "file:///data/a" {
			t.Errorf("%s lists %v", path, names)
		}
		if names := c.Call("resources/templates/list", "").Names("resourceTemplates"); len(names) != 0 {
			t.Errorf("%s lists templates %v", path, names)
		}
	}
	for _, r := range s.Received("resources/read") {
		if uri := r.Param("uri"); !strings.HasPrefix(uri, `"file:///data/`) || strings.Contains(uri, "secret") {
			t.Errorf("the server was asked for %s", uri)
		}
	}
}

// TestTokenStaysHere: what callers identify themselves with reaches no server, and neither do other headers of theirs.
func TestTokenStaysHere(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := k.server(t, shop("one"))
		alice := ofGroup("alice", "user")
		c := testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{"isolation": nil})}}
		if !k.stdio {
			c.Entries["one"] = s.Entry()
		} else {
			c.Entries["one"] = s.Entry(map[string]any{"isolation": "principal"})
		}
		c.More = map[string]any{"auth": authOf(alice)}
		g := testenv.Serve(t, c)
		client := speaks(g, era, "/servers/one/mcp", alice)
		if refused := opens(client); refused != nil {
			t.Fatalf("%v", refused)
		}
		canaries := http.Header{"Cookie": {"canary=1"}, "Forwarded": {"for=canary"}, "X-Forwarded-User": {"canary"}, "X-Toolcrib-Identity": {"canary"}, "Dpop": {"canary"}}
		for _, o := range operations("one", "") {
			if r := client.Do(testenv.Request{Method: o.method, Members: o.members, Header: canaries}); r.Status == http.StatusUnauthorized {
				t.Errorf("%v", r)
			}
		}
		seen := 0
		for _, r := range s.Received("") {
			seen++
			all := string(r.Body) + fmt.Sprint(r.Header)
			if strings.Contains(all, alice.key) || strings.Contains(all, "canary") {
				t.Errorf("the server got %s", all)
			}
		}
		if seen < 5 {
			t.Errorf("the server got only %d messages", seen)
		}
		for _, child := range children(s, k) {
			if strings.Contains(strings.Join(child.Env, " "), alice.key) {
				t.Error("a child has the caller's key")
			}
		}
	})
}

func children(s *testenv.Server, k kind) []*testenv.Child {
	if k.stdio {
		return s.Children()
	}
	return nil
}

// TestSessionOfNamesakes: one subject of two issuers, or in two tenants, is as many callers. A session survives that its caller
// comes with another token, and is of no use to anybody else.
func TestSessionOfNamesakes(t *testing.T) {
	t.Parallel()
	first, second := testenv.NewIssuer(t, "ES256", "/first"), testenv.NewIssuer(t, "EdDSA", "/second")
	entry := func(i *testenv.Issuer, name string) map[string]any {
		return i.Entry(map[string]any{"name": name, "audience": []string{"here"}, "claims": map[string]any{"tenant": "org"}})
	}
	c := testenv.One(testenv.HTTPServer(t, shop("one")))
	c.More = map[string]any{"auth": map[string]any{"issuers": []any{entry(first, "first"), entry(second, "second")}}}
	g := testenv.Serve(t, c)
	token := func(i *testenv.Issuer, subject, org, id string) string {
		return i.Token(subject, "here", testenv.Claims{"org": org, "jti": id})
	}
	client := g.LegacyOf("/mcp", testenv.LegacyVersion, token(first, "alice", "acme", "1"))
	for name, row := range map[string]struct {
		key  string
		want int
	}{
		"the same token":  {client.Key, 200},
		"another token":   {token(first, "alice", "acme", "2"), 200},
		"another issuer":  {token(second, "alice", "acme", "3"), 404},
		"another tenant":  {token(first, "alice", "bolt", "4"), 404},
		"another subject": {token(first, "bob", "acme", "5"), 404},
	} {
		client.Key = row.key
		if r := client.Call("tools/list", ""); r.Status != row.want {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// TestStepUp: what a token only lacks scopes for is listed, and a call is told which.
func TestStepUp(t *testing.T) {
	t.Parallel()
	i := testenv.NewIssuer(t, "ES256", "")
	c := testenv.One(testenv.HTTPServer(t, shop("one")))
	c.More = map[string]any{
		"auth": map[string]any{"issuers": []any{i.Entry(map[string]any{"audience": []string{"here"}})}},
		"policies": map[string]any{
			"roles":    map[string]any{"look": map[string]any{"allow": []string{"one__look"}}, "write": map[string]any{"allow": []string{"one__break"}, "prompts": []string{"one__ask"}}},
			"bindings": []map[string]any{{"everyone": true, "role": "look"}, {"everyone": true, "role": "write", "scopes": []string{"mcp:write", "mcp:more"}}},
		},
	}
	g := testenv.Serve(t, c)
	for _, era := range testenv.Eras {
		client := speaks(g, era, "/mcp", holder{key: i.Token("alice", "here", testenv.Claims{"scope": "mcp"})})
		if refused := opens(client); refused != nil {
			t.Fatalf("%v", refused)
		}
		if names := client.Call("tools/list", "").Names("tools"); len(names) != 2 {
			t.Errorf("%s: listed are %v", era, names)
		}
		for method, members := range map[string]string{"tools/call": `"name":"one__break","arguments":{}`, "prompts/get": `"name":"one__ask"`} {
			r := client.Call(method, members)
			challenge := r.Header.Get("WWW-Authenticate")
			if r.Status != 403 || !strings.Contains(challenge, `error="insufficient_scope"`) || !strings.Contains(challenge, "mcp:write") || !strings.Contains(challenge, "mcp:more") {
				t.Errorf("%s %s: %v, %s", era, method, r, challenge)
			}
		}
		client.Key = i.Token("alice", "here", testenv.Claims{"scope": "mcp:write mcp:more"})
		if r := client.Tool("one__break", "{}"); r.Result() == nil {
			t.Errorf("%s: with the scopes: %v", era, r)
		}
		if code, _ := client.Tool("one__odd", "{}").Error(); code != -32602 {
			t.Errorf("%s: what no scope permits: %d", era, code)
		}
	}
}

// TestShadow: policies that decide nothing are compared with those that do, also where everything is permitted.
func TestShadow(t *testing.T) {
	t.Parallel()
	next := filepath.Join(t.TempDir(), "next.yaml")
	text := "roles: {few: {allow: [\"*__look\", \"*__odd\"]}}\nbindings: [{everyone: true, role: few}]\n"
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := testenv.HTTPServer(t, shop("one"))
	open := testenv.One(s)
	open.More = map[string]any{"policies": map[string]any{"shadow": next}}
	closed := testenv.One(s)
	alice := ofGroup("alice", "some")
	closed.More = map[string]any{"auth": authOf(alice), "policies": map[string]any{
		"roles": map[string]any{"some": map[string]any{"allow": []string{"*__look", "*__break"}, "manage": []string{"*"}}}, "bindings": []map[string]any{{"group": "some", "role": "some"}}, "shadow": next,
	}}
	for name, row := range map[string]struct {
		config testenv.Config
		key    string
		want   []string
	}{
		"open":   {open, "", []string{`toolcrib_policy_shadow_total{change="lost",kind="tool"} 2`}},
		"closed": {closed, alice.key, []string{`toolcrib_policy_shadow_total{change="lost",kind="tool"} 2`, `toolcrib_policy_shadow_total{change="gained",kind="tool"} 1`, `toolcrib_policy_decisions_total{decision="denied",kind="tool"} 1`}},
	} {
		g := testenv.Serve(t, row.config)
		c := g.Modern("/mcp")
		c.Key = row.key
		c.Call("tools/list", "")
		for _, tool := range []string{"look", "break", "break", "odd"} {
			c.Tool("one__"+tool, "{}")
		}
		h := http.Header{}
		if row.key != "" {
			h.Set("Authorization", "Bearer "+row.key)
		}
		for _, line := range row.want {
			if _, metrics := g.Get("/metrics", h); !strings.Contains(metrics, line) {
				t.Errorf("%s: no %s in the metrics", name, line)
			}
		}
		if n := strings.Count(g.Log(), "policies.shadow would decide otherwise"); n != len(row.want)-len(row.want)/3 {
			t.Errorf("%s: %d lines in the log", name, n)
		}
	}
}

// TestDeniedResourceCounted: a resource that is denied is counted once, whether it is read or subscribed to, at the endpoint of all
// servers as at that of its own.
func TestDeniedResourceCounted(t *testing.T) {
	t.Parallel()
	alice := ofGroup("alice", "some")
	two := testenv.Config{Servers: map[string]*testenv.Server{"one": testenv.HTTPServer(t, shop("one")), "two": testenv.HTTPServer(t, shop("two"))}}
	two.More = map[string]any{"auth": authOf(alice), "policies": map[string]any{
		"roles":    map[string]any{"some": map[string]any{"resources": []string{"one://open/*"}, "manage": []string{"*"}}},
		"bindings": []map[string]any{{"group": "some", "role": "some"}},
	}}
	g := testenv.Serve(t, two)
	h := http.Header{"Authorization": {"Bearer " + alice.key}}
	for i, path := range []string{"/mcp", "/servers/one/mcp"} {
		c := g.Modern(path)
		c.Key = alice.key
		for _, uri := range []string{"one://open/a", "one://shut/b"} {
			c.Call("resources/read", `"uri":"`+uri+`"`)
		}
		legacy := speaks(g, testenv.Legacy, path, alice)
		opens(legacy)
		for _, uri := range []string{"one://open/a", "one://shut/b"} {
			legacy.Call("resources/subscribe", `"uri":"`+uri+`"`)
		}
		_, metrics := g.Get("/metrics", h)
		for _, decision := range []string{"allowed", "denied"} {
			want := fmt.Sprintf(`toolcrib_policy_decisions_total{decision="%s",kind="resource"} %d`+"\n", decision, 2*(i+1))
			if !strings.Contains(metrics, want) {
				t.Errorf("%s: no %s in the metrics:\n%s", path, want, metrics)
			}
		}
	}
}

// TestDeniedAsksAsUnknown: where the list of a server is stale, it is asked for again for what is denied as for what is unknown, so
// that neither the time nor an error of the server tells them apart.
func TestDeniedAsksAsUnknown(t *testing.T) {
	t.Parallel()
	var ill atomic.Bool
	s := testenv.HTTPServer(t, testenv.Script{On: map[string]func(*testenv.Call){"tools/list": func(c *testenv.Call) {
		if ill.Load() {
			c.Error(-32603, "ill")
			return
		}
		c.Complete(`"ttlMs":0,"cacheScope":"public","tools":[{"name":"look","inputSchema":{"type":"object"}},{"name":"odd","inputSchema":{"type":"object"}}]`)
	}}})
	few := ofGroup("few", "few")
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s}, More: map[string]any{
		"auth": authOf(few), "policies": grants(map[string]any{"few": map[string]any{"allow": []string{"one__look"}}}),
	}})
	c := speaks(g, testenv.Modern, "/mcp", few)
	if names := c.Call("tools/list", "").Names("tools"); len(names) != 1 {
		t.Fatalf("%v", names)
	}
	asked := func(name string) int {
		before := len(s.Received("tools/list"))
		answerOf(c, "tools/call", `"name":"`+name+`"`)
		return len(s.Received("tools/list")) - before
	}
	for _, name := range []string{"one__odd", "one__zzz"} {
		testenv.Eventually(t, "the server is asked for its list for "+name, func() bool { return asked(name) == 1 })
	}
	if n := asked("one__look"); n != 0 {
		t.Errorf("asked %d times for a permitted one", n)
	}
	ill.Store(true)
	var denied string
	testenv.Eventually(t, "the server's error is answered", func() bool {
		denied = answerOf(c, "tools/call", `"name":"one__odd"`)
		return strings.Contains(denied, "ill")
	})
	if unknown := answerOf(c, "tools/call", `"name":"one__zzz"`); denied != unknown {
		t.Errorf("%s\nwant %s", denied, unknown)
	}
}

// TestGuessesAskSeldom: whoever guesses names has a server, whose list is never fresh, asked for it once a second at most, and a
// tool that the server has by then is found all the same.
func TestGuessesAskSeldom(t *testing.T) {
	t.Parallel()
	var more atomic.Bool
	s := testenv.HTTPServer(t, testenv.Script{On: map[string]func(*testenv.Call){"tools/list": func(c *testenv.Call) {
		tools := `{"name":"look","inputSchema":{"type":"object"}}`
		if more.Load() {
			tools += `,{"name":"late","inputSchema":{"type":"object"}}`
		}
		c.Complete(`"ttlMs":0,"cacheScope":"public","tools":[` + tools + `]`)
	}}})
	all := ofGroup("all", "all")
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s}, More: map[string]any{
		"auth": authOf(all), "policies": grants(map[string]any{"all": map[string]any{"allow": []string{"*"}}}),
	}})
	c := speaks(g, testenv.Modern, "/mcp", all)
	c.Call("tools/list", "")
	began, before := time.Now(), len(s.Received("tools/list"))
	for i := range 100 {
		if r := c.Call("tools/call", fmt.Sprintf(`"name":"one__guess%d"`, i)); r.Result() != nil {
			t.Fatal(r)
		}
	}
	if n, most := len(s.Received("tools/list"))-before, 1+int(time.Since(began)/time.Second); n > most {
		t.Errorf("the server is asked for its list %d times for 100 names, want %d at most", n, most)
	}
	more.Store(true)
	testenv.Eventually(t, "the tool that is new is found", func() bool { return c.Call("tools/call", `"name":"one__late"`).Result() != nil })
}

// TestDeniedOnRecord: what looks unknown to the caller is on record as denied.
func TestDeniedOnRecord(t *testing.T) {
	t.Parallel()
	few := ofGroup("few", "few")
	collector := testenv.TakeSpans(t)
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": testenv.HTTPServer(t, shop("one")), "two": testenv.HTTPServer(t, shop("two"))},
		More: map[string]any{
			"telemetry": tracedTo(collector, map[string]any{"sample": 1})["telemetry"],
			"auth":      authOf(few),
			"policies":  grants(map[string]any{"few": map[string]any{"allow": []string{"one__look"}, "resources": []string{"one://open/*"}}}),
			"audit":     map[string]any{},
		},
	})
	c := speaks(g, testenv.Modern, "/mcp", few)
	c.Call("tools/call", `"name":"one__odd"`)
	c.Call("resources/read", `"uri":"one://shut/b"`)
	c.Call("resources/read", `"uri":"one://open/a"`)
	c.Call("completion/complete", `"ref":{"type":"ref/resource","uri":"one://shut/{x}"},"argument":{"name":"x","value":""}`)
	speaks(g, testenv.Modern, "/servers/two/mcp", few).Call("tools/list", "")
	speaks(g, testenv.Modern, "/servers/six/mcp", few).Call("tools/list", "")
	l := speaks(g, testenv.Legacy, "/mcp", few)
	opens(l)
	l.Call("resources/subscribe", `"uri":"one://shut/b"`)
	l.Call("resources/subscribe", `"uri":"one://open/a"`)
	g.Stop()
	if spans := collector.All(func(s testenv.Span) bool { return s.Attributes["error.type"] == "denied" }); len(spans) == 0 || spans[0].Kind != "server" {
		t.Errorf("no trace says that something was denied: %+v", collector.All(nil))
	}
	all, _ := records(t, g.StateDir)
	var got []string
	for _, r := range all {
		if r.API.Operation != "initialize" {
			got = append(got, r.API.Operation+" "+r.Action)
		}
	}
	want := []string{
		"tools/call Denied", "resources/read Denied", "resources/read Allowed", "completion/complete Denied", "unknown Denied", "unknown ",
		"resources/subscribe Denied", "resources/subscribe Allowed",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
