package system_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

var managedKey = regexp.MustCompile(`tck_[a-z2-7]{16}_[a-z2-7]{52}`)

// firstKey waits for the key that a first start shows.
func firstKey(t *testing.T, g *testenv.Gateway) string {
	t.Helper()
	testenv.Eventually(t, "the first key is shown", func() bool { return managedKey.MatchString(g.Log()) })
	return managedKey.FindString(g.Log())
}

// made makes a key and returns what was answered.
func made(t *testing.T, g *testenv.Gateway, by, body string) (code int, k control.MadeKey, answer string) {
	t.Helper()
	code, answer = fetch(t, g, "POST", "/api/v1/keys", body, bearer(by))
	if code == 200 {
		if err := json.Unmarshal([]byte(answer), &k); err != nil || !managedKey.MatchString(k.Secret) {
			t.Fatalf("%v: %s", err, answer)
		}
	}
	return code, k, answer
}

// TestManagedKeys live as long as they should, over restarts, and call what policies let them.
func TestManagedKeys(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"sqlite", "postgres"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
			c := testenv.One(s)
			c.More = map[string]any{"auth": map[string]any{"anonymous": "deny", "revocation": "1s"}, "policies": map[string]any{
				"bindings": []any{map[string]any{"group": "callers", "role": "user"}},
			}}
			if store == "postgres" {
				c.More["store"] = testenv.StartPostgres(t).Database()
			}
			dir := t.TempDir()
			g := testenv.ServeAt(t, c, dir)
			admin := firstKey(t, g)
			if strings.Count(g.Log(), admin) != 1 {
				t.Error("the key is shown more than once")
			}
			_, k, _ := made(t, g, admin, `{"name":"ci","groups":["callers"]}`)
			_, other, _ := made(t, g, admin, `{"name":"other"}`)
			lists := func(g *testenv.Gateway, key string) string {
				r := g.Modern("/mcp").Do(testenv.Request{Method: "tools/list", Header: bearer(key)})
				return fmt.Sprint(r.Status, " ", len(r.Names("tools")))
			}
			if got := lists(g, k.Secret); got != "200 1" {
				t.Errorf("a key with a role: HTTP status and tools %s", got)
			}
			if got := lists(g, other.Secret); got != "200 0" {
				t.Errorf("a key without: HTTP status and tools %s", got)
			}
			g.Stop()
			g = testenv.ServeAt(t, c, dir)
			if got := lists(g, k.Secret); got != "200 1" {
				t.Errorf("after a restart: HTTP status and tools %s", got)
			}
			if code, _ := fetch(t, g, "DELETE", "/api/v1/keys/"+k.ID, "", bearer(admin)); code != 200 {
				t.Errorf("revoke: HTTP %d", code)
			}
			if got := lists(g, k.Secret); !strings.HasPrefix(got, "401") {
				t.Errorf("a revoked key: HTTP status and tools %s", got)
			}
			if managedKey.MatchString(g.Log()) {
				t.Error("a second start shows a key")
			}
			if store == "sqlite" {
				for _, secret := range []string{admin, k.Secret} {
					keptNowhere(t, dir, secret)
				}
			}
		})
	}
}

// keptNowhere: no file below dir has the secret, or the random part of it.
func keptNowhere(t *testing.T, dir, secret string) {
	t.Helper()
	random := secret[strings.LastIndexByte(secret, '_')+1:]
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), random) {
			t.Errorf("%s has a secret", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestManagedKeysOfReplicas: replicas share a database: one shows the first key, and what one does the other knows in time.
func TestManagedKeysOfReplicas(t *testing.T) {
	t.Parallel()
	p := testenv.StartPostgres(t)
	c := testenv.Config{More: map[string]any{"auth": map[string]any{"anonymous": "deny", "revocation": "1s"}, "store": p.Database()}}
	a, b := testenv.Serve(t, c), testenv.Serve(t, c)
	testenv.Eventually(t, "one shows the first key", func() bool { return managedKey.MatchString(a.Log() + b.Log()) })
	admin := managedKey.FindString(a.Log() + b.Log())
	who := func(g *testenv.Gateway, key string) int {
		code, _ := fetch(t, g, "GET", "/api/v1/whoami", "", bearer(key))
		return code
	}
	if who(a, admin) != 200 || who(b, admin) != 200 {
		t.Error("the first key does not open both")
	}
	_, k, _ := made(t, a, admin, `{"name":"ci"}`)
	if code := who(b, k.Secret); code != 200 {
		t.Errorf("a new key at the other replica: HTTP %d", code)
	}
	if code, _ := fetch(t, a, "DELETE", "/api/v1/keys/"+k.ID, "", bearer(admin)); code != 200 {
		t.Errorf("revoke: HTTP %d", code)
	}
	testenv.Eventually(t, "the other replica knows", func() bool { return who(b, k.Secret) == 401 })

	// Without its database the gateway knows the keys that it knew, and makes none; with it, it goes on.
	p.Kill()
	if code := who(a, admin); code != 200 {
		t.Errorf("without the database: HTTP %d", code)
	}
	if code, _, answer := made(t, a, admin, `{"name":"lost"}`); code != 503 || strings.Contains(answer, "p@ss") {
		t.Errorf("a key without a database: HTTP %d %s", code, answer)
	}
	p.Start()
	testenv.Eventually(t, "keys are made again", func() bool {
		code, _, _ := made(t, a, admin, `{"name":"found"}`)
		return code == 200
	})
	if found := managedKey.FindAllString(a.Log()+b.Log(), -1); len(found) != 1 {
		t.Errorf("%d keys were shown, want one", len(found))
	}
	if strings.Contains(a.Log()+b.Log(), "p%40ss") || strings.Contains(a.Log()+b.Log(), "p@ss") {
		t.Error("the log has the password of the database")
	}
}

// TestNobodyGivesMore: who makes keys gives away only what it has, sees only its own tenant, and touches no greater key.
func TestNobodyGivesMore(t *testing.T) {
	t.Parallel()
	c := testenv.Config{More: map[string]any{"auth": map[string]any{"anonymous": "deny"}, "policies": map[string]any{
		"roles": map[string]any{"keeper": map[string]any{"manage": []string{"keys:*"}}, "careful": map[string]any{"deny": []string{"*__delete_*"}}},
		"bindings": []any{
			map[string]any{"group": "keepers", "role": "keeper"},
			map[string]any{"subject": "boss", "role": "admin"},
			map[string]any{"subject": "marked", "role": "careful"},
		},
	}}}
	g := testenv.Serve(t, c)
	admin := firstKey(t, g)
	_, keeper, _ := made(t, g, admin, `{"name":"keeper","tenant":"acme","groups":["keepers","a"],"scopes":["s"],"attributes":{"team":"x"},"expires":"2100-01-01T00:00:00Z"}`)
	_, great, _ := made(t, g, admin, `{"name":"great","tenant":"acme","roles":["admin"]}`)
	_, foreign, _ := made(t, g, admin, `{"name":"keeper/foreign","tenant":"other"}`)
	const until = `"expires":"2099-01-01T00:00:00Z"`
	for body, want := range map[string]string{
		`{"name":"keeper/one",` + until + `}`: "",
		`{"name":"keeper/two","groups":["a","keepers"],"roles":["keeper"],"scopes":["s"],"attributes":{"team":"x"},"tenant":"acme",` + until + `}`: "",
		`{"name":"boss",` + until + `}`:                               "name",
		`{"name":"keeper",` + until + `}`:                             "name",
		`{"name":"keeperx",` + until + `}`:                            "name",
		`{"name":"keeper/x","tenant":"other",` + until + `}`:          "tenant",
		`{"name":"keeper/x","tenant":"default",` + until + `}`:        "tenant",
		`{"name":"keeper/x","roles":["admin"],` + until + `}`:         "roles",
		`{"name":"keeper/x","roles":["user"],` + until + `}`:          "roles",
		`{"name":"keeper/x","groups":["b"],` + until + `}`:            "groups",
		`{"name":"keeper/x","scopes":["t"],` + until + `}`:            "scopes",
		`{"name":"keeper/x","attributes":{"team":"y"},` + until + `}`: "attributes.team",
		`{"name":"keeper/x","attributes":{"rank":"x"},` + until + `}`: "attributes.rank",
		`{"name":"keeper/x","groups":["a"],` + until + `}`:            "groups", // something may be forbidden to the others
		`{"name":"keeper/x","groups":[],` + until + `}`:               "groups",
		`{"name":"keeper/x","attributes":{},` + until + `}`:           "attributes.team",
		`{"name":"keeper/x"}`:                                         "expires",
		`{"name":"keeper/x","expires":"2100-01-02T00:00:00Z"}`:        "expires",
	} {
		code, _, answer := made(t, g, keeper.Secret, body)
		var p control.Problem
		_ = json.Unmarshal([]byte(answer), &p) // an answer that is none fails below
		if want == "" && code != 200 || want != "" && (code != 403 || p.Field != want || p.Remedy == "") {
			t.Errorf("%s: HTTP %d %s, want a refusal of %q", body, code, answer, want)
		}
	}
	_, marked, _ := made(t, g, admin, `{"name":"marked","tenant":"acme","groups":["keepers"]}`)
	if code, _, answer := made(t, g, marked.Secret, `{"name":"marked/free"}`); code != 403 || !strings.Contains(answer, "could do what you may not") {
		t.Errorf("a key without the role that denies its maker something: HTTP %d %s", code, answer)
	}
	if code, k, answer := made(t, g, marked.Secret, `{"name":"marked/alike","roles":["careful"]}`); code != 200 || len(k.Groups) != 1 || k.Groups[0] != "keepers" {
		t.Errorf("a key like its maker: HTTP %d %s", code, answer)
	}
	_, lesser, _ := made(t, g, admin, `{"name":"marked/lesser","tenant":"acme"}`)
	if code, body := fetch(t, g, "POST", "/api/v1/keys/"+lesser.ID+"/rotate", `{"overlapSeconds":0}`, bearer(marked.Secret)); code != 403 {
		t.Errorf("the secret of a key that less is forbidden to: HTTP %d %s", code, body)
	}
	if code, body := fetch(t, g, "DELETE", "/api/v1/keys/"+lesser.ID, "", bearer(marked.Secret)); code != 200 {
		t.Errorf("the end of it: HTTP %d %s", code, body)
	}
	_, list := fetch(t, g, "GET", "/api/v1/keys", "", bearer(keeper.Secret))
	if !strings.Contains(list, `"keeper/one"`) || strings.Contains(list, "foreign") || strings.Contains(list, `"default"`) {
		t.Errorf("the keys that a keeper sees: %s", list)
	}
	for id, want := range map[string]int{great.ID: 403, foreign.ID: 404, "aaaaaaaaaaaaaaaa": 404, "..%2f..%2fkeys": 404} {
		for _, ask := range [][2]string{{"DELETE", ""}, {"POST", "/rotate"}} {
			code, body := fetch(t, g, ask[0], "/api/v1/keys/"+id+ask[1], map[string]string{"POST": `{"overlapSeconds":0}`}[ask[0]], bearer(keeper.Secret))
			if code != want || managedKey.MatchString(body) {
				t.Errorf("%s %s%s: HTTP %d %s, want %d", ask[0], id, ask[1], code, body, want)
			}
		}
	}
	_, unknown := fetch(t, g, "DELETE", "/api/v1/keys/aaaaaaaaaaaaaaaa", "", bearer(keeper.Secret))
	_, hidden := fetch(t, g, "DELETE", "/api/v1/keys/"+foreign.ID, "", bearer(keeper.Secret))
	if strings.ReplaceAll(hidden, foreign.ID, "aaaaaaaaaaaaaaaa") != unknown {
		t.Errorf("a key of another tenant: %s, one that nobody has: %s", hidden, unknown)
	}
	if code, _ := fetch(t, g, "GET", "/api/v1/whoami", "", bearer(great.Secret)); code != 200 {
		t.Error("the greater key was touched")
	}
}

// TestKeyExpires: a key ends when it says so, and the previous secret when its time is over.
func TestKeyExpires(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{})
	admin := firstKey(t, g)
	_, k, _ := made(t, g, admin, fmt.Sprintf(`{"name":"brief","expires":%q}`, time.Now().Add(8*time.Second).Format(time.RFC3339Nano)))
	_, r, _ := made(t, g, admin, `{"name":"turned"}`)
	code, answer := fetch(t, g, "POST", "/api/v1/keys/"+r.ID+"/rotate", `{"overlapSeconds":1}`, bearer(admin))
	var next control.MadeKey
	if err := json.Unmarshal([]byte(answer), &next); err != nil || code != 200 || next.Secret == r.Secret {
		t.Fatalf("rotate: HTTP %d %s %v", code, answer, err)
	}
	if code, _ := fetch(t, g, "GET", "/api/v1/whoami", "", bearer(k.Secret)); code != 200 {
		t.Errorf("before its end: HTTP %d", code)
	}
	for _, ending := range []string{k.Secret, r.Secret} {
		testenv.Eventually(t, "a key ends", func() bool {
			code, _ := fetch(t, g, "GET", "/api/v1/whoami", "", bearer(ending))
			return code == 401
		})
	}
	if code, _ := fetch(t, g, "GET", "/api/v1/whoami", "", bearer(next.Secret)); code != 200 {
		t.Errorf("the present secret: HTTP %d", code)
	}
}

// TestOddQuestions to the management interface are problems that say what is wrong, and change nothing.
func TestOddQuestions(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{})
	admin := firstKey(t, g)
	long := strings.Repeat("x", 300)
	for body, want := range map[string]string{
		`{`: "the body", `[]`: "the body", `{"name":"a"} {}`: "after top-level", `{"name":"a","admin":true}`: "unknown field",
		`{}`: "name", `{"name":""}`: "name", `{"name":" a"}`: "name", `{"name":"a\n"}`: "name", `{"name":"` + long + `"}`: "name",
		`{"name":"a\u202eb"}`: "name", `{"name":"a","tenant":"\u0000"}`: "tenant", `{"name":"a","roles":["nope"]}`: "roles",
		`{"name":"a","groups":[""]}`: "groups", `{"name":"a","expires":"2001-01-01T00:00:00Z"}`: "expires", `{"name":"a","expires":"soon"}`: "the body",
		`{"name":"a","expires":"9999-12-31T23:59:59-10:00"}`: "expires",
		`{"name":"a","attributes":{"":"x"}}`:                 "attributes", `{"name":"a","id":"aaaaaaaaaaaaaaaa"}`: "unknown field",
		`{"name":"` + strings.Repeat("x", 70<<10) + `"}`:                "more than",
		`{"name":"a","groups":[` + strings.Repeat(`"g",`, 64) + `"g"]}`: "groups",
	} {
		code, _, answer := made(t, g, admin, body)
		if code != 400 || !strings.Contains(answer, want) || len(answer) > 1000 {
			t.Errorf("%.80s: HTTP %d %.300s, want %q", body, code, answer, want)
		}
	}
	for body, want := range map[string]string{
		`{"name":"a1","name":"a2"}`: `"field":"name"`, `{"Name":"a"}`: `"field":"Name"`, `{"name":"a","Tenant":"x","TENANT":"y"}`: `"field":"Tenant"`,
		`{"name":"a","tenant":"x","Tenant":"y"}`:                  `"field":"Tenant"`,
		`{"name":"a","attributes":{"team":"x","team":"y"}}`:       `"field":"attributes.team"`,
		`{"name":"a","` + strings.Repeat("y", 300) + `":"admin"}`: `"field":"yyyy`,
		`{"name":"a","admin":true}`:                               `"field":"admin"`,
		`{"name":"a","\u006eame":"b"}`:                            `"field":"name"`,
	} {
		if code, _, answer := made(t, g, admin, body); code != 400 || !strings.Contains(answer, want) || len(answer) > 1000 {
			t.Errorf("%.80s: HTTP %d %.300s, want %s", body, code, answer, want)
		}
	}
	ask := bearer(admin)
	ask.Set("Content-Type", "application/json")
	for _, body := range []string{`{"group":["a"]}`, `{"Groups":["a"],"tool":"one__x"}`, `{"tool":"one__x","tool":"two__x"}`} {
		if code, answer := fetch(t, g, "POST", "/api/v1/explain", body, ask); code != 400 || !strings.Contains(answer, `"field":"`) {
			t.Errorf("explain %s: HTTP %d %s", body, code, answer)
		}
	}
	for _, ct := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"} {
		h := bearer(admin)
		h.Set("Content-Type", ct)
		if code, body := fetch(t, g, "POST", "/api/v1/keys/", "", h); code != 404 {
			t.Errorf("a path with a slash behind: HTTP %d %s", code, body)
		}
		if code, body := fetch(t, g, "POST", "/api/v1/keys", "", h); code != 415 {
			t.Errorf("Content-Type %q: HTTP %d %s", ct, code, body)
		}
	}
	if _, list := fetch(t, g, "GET", "/api/v1/keys", "", bearer(admin)); strings.Count(list, `"id"`) != 1 {
		t.Errorf("odd questions made keys: %s", list)
	}
}

// TestManagementRecords: every management call is on record, refused ones too, and no record has a secret.
func TestManagementRecords(t *testing.T) {
	t.Parallel()
	c := testenv.Config{More: map[string]any{"audit": map[string]any{"sinks": []any{map[string]any{"file": "audit.jsonl"}}}}}
	g := testenv.Serve(t, c)
	admin := firstKey(t, g)
	_, k, _ := made(t, g, admin, `{"name":"ci","roles":["auditor"]}`)
	fetch(t, g, "GET", "/api/v1/keys", "", nil)
	fetch(t, g, "GET", "/api/v1/keys", "", bearer(k.Secret))
	fetch(t, g, "DELETE", "/api/v1/keys/"+k.ID, "", bearer(admin))
	for _, wrong := range []string{"outcome=nosuch", "decision=perhaps", "nosuch=x"} {
		if code, text := fetch(t, g, "GET", "/api/v1/audit?"+wrong, "", bearer(admin)); code < 400 || !strings.Contains(text, "exist") && !strings.Contains(text, "have no") {
			t.Errorf("%s: %d %s", wrong, code, text)
		}
	}
	b, err := os.ReadFile(filepath.Join(g.StateDir, "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{"keys.create", "keys.list", "keys.revoke", k.ID, "it takes keys:read", "role admin"} {
		if !strings.Contains(text, want) {
			t.Errorf("no record has %q", want)
		}
	}
	if managedKey.MatchString(text) {
		t.Error("a record has a key")
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestStoreAway: without a store callers learn that it is away; where it is and why, only the log tells.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "toolcrib.db"), 0o700); err != nil {
		t.Fatal(err)
	}
	boss := ofGroup("boss")
	c := testenv.Config{More: map[string]any{"auth": authOf(boss), "policies": map[string]any{
		"bindings": []any{map[string]any{"subject": "boss", "role": "admin"}},
	}}}
	g := testenv.ServeAt(t, c, dir)
	for _, ask := range [][3]string{{"GET", "keys"}, {"POST", "keys", `{"name":"ci"}`}, {"DELETE", "keys/aaaaaaaaaaaaaaaa"}} {
		code, answer := fetch(t, g, ask[0], "/api/v1/"+ask[1], ask[2], bearer(boss.key))
		if code != 503 || strings.Contains(answer, dir) || strings.Contains(answer, "directory") || !strings.Contains(answer, `"remedy"`) {
			t.Errorf("%s %s: HTTP %d %s", ask[0], ask[1], code, answer)
		}
		if want := `operation=keys.` + map[string]string{"GET": "list", "POST": "create", "DELETE": "revoke"}[ask[0]]; !strings.Contains(g.Log(), want) {
			t.Errorf("the log has no %s", want)
		}
	}
	if !strings.Contains(g.Log(), filepath.Join(dir, "toolcrib.db")) {
		t.Error("the log does not tell which file it is about")
	}
}

// TestFollowingEnds: lines that are followed over HTTP end with the credential or the right that opened them, and with the gateway.
func TestFollowingEnds(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, testenv.Script{Tools: []string{testenv.Tool("echo")}})
	c := testenv.One(s)
	with := func(manage ...string) testenv.Config {
		c.More = map[string]any{
			"auth":  map[string]any{"anonymous": "allow", "revocation": "1s"},
			"audit": map[string]any{"sinks": []any{map[string]any{"file": "audit/audit.jsonl"}}},
			"policies": map[string]any{
				"roles": map[string]any{"looker": map[string]any{"manage": manage}}, "bindings": []any{map[string]any{"everyone": true, "role": "user"}},
			},
		}
		return c
	}
	g := testenv.Serve(t, with("servers:write"))
	admin := firstKey(t, g)
	g.Modern("/mcp").Tool("one__echo", "{}")
	follow := func(k *control.MadeKey) <-chan string {
		r := &control.Remote{Base: g.URL, Token: k.Secret}
		body, err := r.Stream(t.Context(), "servers/one/logs", url.Values{"lines": {"10"}, "follow": {"1"}})
		if err != nil {
			t.Fatal(err)
		}
		all := make(chan string, 1)
		go func() {
			defer body.Close()
			b, err := io.ReadAll(body)
			all <- fmt.Sprint(string(b), err)
		}()
		return all
	}
	ends := func(what string, lines <-chan string, want string) {
		t.Helper()
		select {
		case text := <-lines:
			if !strings.Contains(text, want) || !strings.HasSuffix(text, "<nil>") {
				t.Errorf("%s: %q, want %q", what, text, want)
			}
		case <-time.After(testenv.Patience):
			t.Fatal(what + ": the lines go on")
		}
	}
	_, a, _ := made(t, g, admin, `{"name":"a","roles":["looker"]}`)
	_, b, _ := made(t, g, admin, `{"name":"b","roles":["looker"]}`)
	ofA, ofB, ofAdmin := follow(&a), follow(&b), follow(&control.MadeKey{Secret: admin})
	if code, _ := fetch(t, g, "DELETE", "/api/v1/keys/"+a.ID, "", bearer(admin)); code != 200 {
		t.Fatalf("revoke: HTTP %d", code)
	}
	ends("a key that was revoked", ofA, `"status":401`)
	g.Configure(with("servers:read"))
	ends("a role that lost the right", ofB, `"status":403`)
	select {
	case text := <-ofAdmin:
		t.Errorf("the lines of somebody else ended too: %s", text)
	default:
	}
	g.Stop()
	ends("the gateway's end", ofAdmin, "")
	all, _ := records(t, g.StateDir)
	seen := map[string]int{}
	for _, r := range all {
		if r.API.Operation == "servers.logs" {
			seen[r.Outcome+" "+r.Action]++
		}
	}
	if want := map[string]int{"unauthenticated Denied": 1, "forbidden Denied": 1, "ok Allowed": 1}; !maps.Equal(seen, want) {
		t.Errorf("on record: %v, want %v", seen, want)
	}
}
