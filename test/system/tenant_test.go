package system_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// twoTenants is a configuration of servers with callers of two tenants: alice and bob of acme, carol of globex.
func twoTenants(entries, more map[string]any) testenv.Config {
	c := testenv.Config{Entries: entries, More: map[string]any{
		"auth": map[string]any{"apiKeys": []map[string]any{
			{"name": "alice", "key": aliceKey, "tenant": "acme", "credentials": map[string]any{"own": "secret-of-alice"}},
			{"name": "bob", "key": bobKey, "tenant": "acme", "credentials": map[string]any{"own": "secret-of-bob"}},
			{"name": "carol", "key": carolKey, "tenant": "globex", "credentials": map[string]any{"own": "secret-of-carol"}},
		}},
		"tenants": map[string]any{
			"acme":   map[string]any{"vars": map[string]any{"zone": "eu", "only": "acme"}},
			"globex": map[string]any{"vars": map[string]any{"zone": "us"}},
		},
	}}
	maps.Copy(c.More, more)
	return c
}

// transports are the servers that are reached over HTTP.
var transports = map[string]func(testing.TB) *testenv.Server{
	"modern": func(t testing.TB) *testenv.Server { return testenv.HTTPServer(t, testenv.Tagged(testenv.Modern)) },
	"legacy": func(t testing.TB) *testenv.Server { return testenv.HTTPServer(t, testenv.Tagged(testenv.Legacy)) },
	"sse":    func(t testing.TB) *testenv.Server { return testenv.StreamServer(t, testenv.Tagged(testenv.Legacy)) },
}

// addressed is a server whose url and headers are those of the tenant.
func addressed(s *testenv.Server) map[string]any {
	return s.Entry(map[string]any{
		"url":     s.URL + "?t=${principal.tenant}&z=${tenant:zone}",
		"headers": map[string]any{"X-Tenant": "${principal.tenant}"},
	})
}

// TestURLOfTheTenant: a server is reached at the tenant's own address with the tenant's own headers, whoever of it calls, and
// what it lists is that of the caller.
func TestURLOfTheTenant(t *testing.T) {
	t.Parallel()
	for name, start := range transports {
		for _, era := range testenv.Eras {
			t.Run(name+" server, "+era.String()+" client", func(t *testing.T) {
				t.Parallel()
				s := start(t)
				g := testenv.Serve(t, twoTenants(map[string]any{"one": addressed(s), "two": addressed(s)}, nil))
				for _, o := range []struct{ key, tenant, zone string }{{aliceKey, "acme", "eu"}, {carolKey, "globex", "us"}, {bobKey, "acme", "eu"}} {
					c := as(t, g, era, o.key, "")
					want := "<tenant " + o.tenant + ">"
					if name != "sse" { // where the server itself says what is posted to
						want = "?t=" + o.tenant + "&z=" + o.zone + ">" + want
					}
					for what, reply := range map[string]*testenv.Reply{
						"call": c.Tool("one__mine", "{}"), "list": c.Call("tools/list", ""), "prompts": c.Call("prompts/list", ""),
						"resources": c.Call("resources/list", ""), "read": c.Call("resources/read", `"uri":"tag://mine"`),
						"prompt": c.Call("prompts/get", `"name":"two__mine"`),
					} {
						if got := tagsOf(reply); !strings.Contains(got, want) {
							t.Errorf("%s of %s: %s", what, o.tenant, reply)
						}
					}
				}
				for _, r := range s.Received("") {
					if seen := r.Seen(); seen.Tenant == "" || name != "sse" && !strings.Contains(seen.Path, "?t="+seen.Tenant+"&z=") {
						t.Errorf("%s for nobody: %s", r.Method, seen.Tag())
					}
				}
				if body := ready(g, aliceKey); !strings.Contains(body, `"state": "ready"`) {
					t.Errorf("readiness: %s", body)
				}
			})
		}
	}
}

// tagsOf is an answer without the escapes of its tags.
func tagsOf(r *testenv.Reply) string {
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(r.Last()))
}

func ready(g *testenv.Gateway, key string) string {
	_, body := g.Get("/health/ready", http.Header{"Authorization": {"Bearer " + key}})
	return body
}

// TestValueThatTheTenantLacks: who has not what a server refers to is refused, and told of it; others are served.
func TestValueThatTheTenantLacks(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Tagged(testenv.Modern))
	g := testenv.Serve(t, twoTenants(map[string]any{
		"one": s.Entry(map[string]any{"url": s.URL + "?o=${tenant:only}"}), "two": addressed(s),
	}, nil))
	alice, carol := as(t, g, testenv.Modern, aliceKey, ""), as(t, g, testenv.Modern, carolKey, "")
	if got := alice.Tool("one__mine", "{}"); !strings.Contains(tagsOf(got), "?o=acme") {
		t.Errorf("alice: %s", got)
	}
	if code, message := carol.Tool("one__mine", "{}").Error(); code == 0 || !strings.Contains(message, `has no value "only"`) {
		t.Errorf("carol: %d, %q", code, message)
	}
	if names := carol.Call("tools/list", "").Names("tools"); !slices.Equal(names, []string{"two__mine"}) {
		t.Errorf("carol sees %q", names)
	}
	if !strings.Contains(g.Log(), `has ${tenant:only}, which the tenant \"globex\" lacks`) {
		t.Errorf("no warning: %s", g.Log())
	}
}

// TestSecretInHeader: each caller's own secret opens the server, and none is told to anybody else.
func TestSecretInHeader(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Tagged(testenv.Legacy))
	g := testenv.Serve(t, twoTenants(map[string]any{
		"one": s.Entry(map[string]any{"headers": map[string]any{"Authorization": "Bearer ${credential:own}", "X-User": "${principal.subject}"}}),
	}, nil))
	for name, key := range map[string]string{"alice": aliceKey, "bob": bobKey, "carol": carolKey} {
		if got := tagsOf(as(t, g, testenv.Legacy, key, "").Tool("one__mine", "{}")); !strings.Contains(got, "<user "+name+"><token Bearer secret-of-"+name+">") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if strings.Contains(g.Log(), "secret-of") {
		t.Error("a secret is in the log")
	}
}

// TestIdleAddress: the connections for a caller end when they are not used, within the bounds of the pool.
func TestIdleAddress(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Tagged(testenv.Legacy))
	entry := addressed(s)
	entry["pool"] = map[string]any{"idle": "300ms", "max": 1}
	g := testenv.Serve(t, twoTenants(map[string]any{"one": entry}, nil))
	for _, key := range []string{aliceKey, carolKey, aliceKey} {
		if got := tagsOf(as(t, g, testenv.Modern, key, "").Tool("one__mine", "{}")); !strings.Contains(got, "<tenant ") {
			t.Error(got)
		}
	}
	testenv.Eventually(t, "end of all sessions", func() bool { return len(s.Received("DELETE")) >= 3 })
	for _, r := range s.Received("DELETE") {
		if r.Seen().Tenant == "" {
			t.Error("a session was ended for nobody")
		}
	}
}

// TestChangedValue: who calls after a reload reaches the new address, and nobody the old one.
func TestChangedValue(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Tagged(testenv.Modern))
	config := twoTenants(map[string]any{"one": addressed(s)}, nil)
	g := testenv.Serve(t, config)
	alice := as(t, g, testenv.Modern, aliceKey, "")
	if got := tagsOf(alice.Tool("one__mine", "{}")); !strings.Contains(got, "z=eu>") {
		t.Error(got)
	}
	config.More["tenants"] = map[string]any{"acme": map[string]any{"vars": map[string]any{"zone": "moon"}}}
	g.Configure(config)
	testenv.Eventually(t, "the new value", func() bool { return strings.Contains(tagsOf(alice.Tool("one__mine", "{}")), "z=moon>") })
}

// TestSightOfATenant: who may see what runs sees that of its own tenant and of all; an admin sees everything.
func TestSightOfATenant(t *testing.T) {
	t.Parallel()
	echo := testenv.StdioServer(t, testenv.Script{Tools: []string{testenv.Tool("echo")}})
	key := func(name, tenant string, roles ...string) map[string]any {
		return map[string]any{"name": name, "key": keyOf(name + tenant), "tenant": tenant, "roles": append(roles, "user")}
	}
	c := testenv.Config{
		Entries: map[string]any{
			"apart":   echo.Entry(map[string]any{"isolation": "tenant"}),
			"shared":  echo.Entry(map[string]any{"isolation": "shared"}),
			"payroll": echo.Entry(map[string]any{"isolation": "tenant", "tenants": []string{"acme"}}),
		},
		More: map[string]any{
			"auth": map[string]any{"apiKeys": []any{
				key("eve", "acme", "auditor", "logs"), key("gus", "globex", "auditor", "logs"), key("root", "else", "admin"),
			}},
			"policies": map[string]any{"roles": map[string]any{"logs": map[string]any{"manage": []string{"servers:write"}}}},
		},
	}
	g := testenv.Serve(t, c)
	for who, tools := range map[string][]string{"eveacme": {"apart__echo", "shared__echo", "payroll__echo"}, "gusglobex": {"apart__echo", "shared__echo"}} {
		client := g.Modern("/mcp")
		client.Key = keyOf(who)
		for _, tool := range tools {
			if r := client.Tool(tool, "{}"); r.Result() == nil {
				t.Fatalf("%s %s: %v", who, tool, r)
			}
		}
	}
	for who, want := range map[string]string{
		"eveacme":   "servers [apart payroll shared] instances [apart/acme payroll/acme shared/] logs 200",
		"gusglobex": "servers [apart shared] instances [apart/globex shared/] logs 404",
		"rootelse":  "servers [apart payroll shared] instances [apart/acme apart/globex payroll/acme shared/] logs 200",
	} {
		r := &control.Remote{Base: g.URL, Token: keyOf(who)}
		report, err := r.Report(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var servers, instances []string
		for _, s := range report.Servers {
			servers = append(servers, s.Name)
		}
		for _, in := range report.Instances {
			if in.Tenant != "" || in.Server == "shared" { // the others are the gateway's own, for lists
				instances = append(instances, in.Server+"/"+in.Tenant)
			}
		}
		slices.Sort(instances)
		code, _ := fetch(t, g, "GET", "/api/v1/servers/payroll/logs?lines=1", "", bearer(keyOf(who)))
		if got := fmt.Sprint("servers ", servers, " instances ", instances, " logs ", code); got != want {
			t.Errorf("%s sees %s, want %s", who, got, want)
		}
		_, states := fetch(t, g, "GET", "/api/v1/servers", "", bearer(keyOf(who)))
		if strings.Contains(states, "payroll") != strings.Contains(want, "payroll") {
			t.Errorf("%s sees the states %s", who, states)
		}
	}
}

// TestFollowingEndsWithTheServer: lines of a server that are followed over HTTP end when it is not for the reader's tenant any more.
func TestFollowingEndsWithTheServer(t *testing.T) {
	t.Parallel()
	echo := testenv.StdioServer(t, testenv.Script{Tools: []string{testenv.Tool("echo")}})
	with := func(tenants ...string) testenv.Config {
		return testenv.Config{
			Entries: map[string]any{"one": echo.Entry(map[string]any{"tenants": tenants})},
			More: map[string]any{
				"auth": map[string]any{"revocation": "1s", "apiKeys": []any{
					map[string]any{"name": "gus", "key": keyOf("gus"), "tenant": "globex", "roles": []string{"logs"}},
				}},
				"policies": map[string]any{"roles": map[string]any{"logs": map[string]any{"manage": []string{"servers:write"}}}},
			},
		}
	}
	g := testenv.Serve(t, with("acme", "globex"))
	r := &control.Remote{Base: g.URL, Token: keyOf("gus")}
	body, err := r.Stream(t.Context(), "servers/one/logs", url.Values{"lines": {"10"}, "follow": {"1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	ended := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(body)
		ended <- string(b)
	}()
	g.Configure(with("acme"))
	select {
	case text := <-ended:
		if !strings.Contains(text, `"status":404`) {
			t.Errorf("the last line is %s", text)
		}
	case <-time.After(testenv.Patience):
		t.Error("the lines go on")
	}
}

// TestDriftOfATenant: definitions of a server that is not for a tenant are neither shown to it nor approved by it, as if there were none.
func TestDriftOfATenant(t *testing.T) {
	t.Parallel()
	echo := testenv.StdioServer(t, testenv.Script{Tools: []string{testenv.Tool("echo")}})
	key := func(name, tenant string, roles ...string) map[string]any {
		return map[string]any{"name": name, "key": keyOf(name), "tenant": tenant, "roles": roles}
	}
	g := testenv.Serve(t, testenv.Config{
		Entries: map[string]any{"payroll": echo.Entry(map[string]any{"tenants": []string{"acme"}}), "shared": echo.Entry(nil)},
		More: map[string]any{
			"pin":      "strict",
			"auth":     map[string]any{"apiKeys": []any{key("eve", "acme", "approver"), key("gus", "globex", "approver"), key("root", "else", "admin")}},
			"policies": map[string]any{"roles": map[string]any{"approver": map[string]any{"manage": []string{"definitions:*"}}}},
		},
	})
	survey := func(who string) (found gateway.Survey) {
		code, answer := fetch(t, g, "GET", "/api/v1/drift", "", bearer(keyOf(who)))
		if err := json.Unmarshal([]byte(answer), &found); code != 200 || err != nil {
			t.Fatalf("%s: HTTP %d %s %v", who, code, answer, err)
		}
		return found
	}
	testenv.Eventually(t, "both servers are known", func() bool { return len(survey("root").Drifts) == 2 })
	for who, want := range map[string]int{"eve": 2, "gus": 1, "root": 2} {
		if found := survey(who); len(found.Servers) != want || len(found.Drifts) != want {
			t.Errorf("%s sees %+v", who, found)
		}
	}
	approve := func(who, server, hash string) (int, string) {
		return fetch(t, g, "POST", "/api/v1/approve", `{"server":"`+server+`","tool":"echo","hash":"`+hash+`"}`, bearer(keyOf(who)))
	}
	hashes := map[string]string{}
	for _, d := range survey("root").Drifts {
		hashes[d.Server] = d.Hash
	}
	code, hidden := approve("gus", "payroll", hashes["payroll"])
	_, unknown := approve("gus", "nowhere", hashes["payroll"])
	if code != 404 || strings.ReplaceAll(hidden, "payroll", "nowhere") != unknown {
		t.Errorf("what is hidden: HTTP %d %s, what is not there: %s", code, hidden, unknown)
	}
	for who, server := range map[string]string{"eve": "payroll", "gus": "shared"} {
		survey(who) // which has the gateway ask for the lists that an approval before made it forget
		if code, answer := approve(who, server, hashes[server]); code != 200 {
			t.Errorf("%s and %s: HTTP %d %s", who, server, code, answer)
		}
	}
}
