package real_test

import (
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// dexBinary builds Dex, which takes longer than all other parts.
var dexBinary = buildApart("dex", "0", "tool")

// buildDex begins to build Dex, so that the tests that need none of it do not wait.
func buildDex(t *testing.T) {
	t.Helper()
	var building sync.WaitGroup
	building.Go(func() { _, _ = dexBinary() }) // who needs it is told the error
	t.Cleanup(building.Wait)
}

// dex is a Dex that keeps all it knows in its memory, its keys too.
type dex struct {
	binary, file, address string
	process               *os.Process
}

// startDex starts a Dex as docs/identity.md sets it up, with a further client wiki, and with alice, who is of staff, and bob, who is not.
func startDex(t *testing.T) *dex {
	t.Helper()
	binary, err := dexBinary()
	if err != nil {
		t.Fatalf("Dex, which this test needs, is not there: %v", err)
	}
	d := &dex{binary: binary, address: freeAddr(t), file: filepath.Join(t.TempDir(), "dex.json")}
	config := d.recipe(t, "Dex")
	person := func(name string, groups ...string) map[string]any {
		return map[string]any{
			"email": name, "username": name, "userID": name, "groups": groups,
			"hash": "$2a$10$2b2cU8CPhOTaGrs1HRQuAueS7JTT5ZHsHSzYiFPm1leZck7Mc8T4W", // of: password
		}
	}
	maps.Copy(config, map[string]any{
		"issuer": d.issuer(), "storage": map[string]any{"type": "memory"}, "web": map[string]any{"http": d.address},
		"enablePasswordDB": true, "staticPasswords": []any{person("alice", "staff"), person("bob", "guests")},
		"staticClients": append(config["staticClients"].([]any), map[string]any{"id": "wiki", "name": "Wiki", "public": true}),
	})
	text, err := json.Marshal(config) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	d.start(t)
	return d
}

func (d *dex) issuer() string { return "http://" + d.address + "/dex" }

func (d *dex) start(t *testing.T) {
	t.Helper()
	d.process = start(t, d.binary, "serve", d.file)
	waitFor(t, d.issuer()+"/.well-known/openid-configuration", 300)
}

func (d *dex) stop(t *testing.T) {
	t.Helper()
	if err := d.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "Dex is gone", func() bool {
		conn, err := net.Dial("tcp", d.address)
		return err != nil || conn.Close() != nil
	})
}

// recipe is what docs/identity.md says to configure for Dex, in the block that begins with a comment of that name.
func (d *dex) recipe(t *testing.T, name string) map[string]any {
	t.Helper()
	page, err := os.ReadFile("../../docs/identity.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "```yaml\n# "+name+"\n")
	block, _, _ = strings.Cut(block, "\n```")
	var config map[string]any
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(block, "https://dex.example.com/dex", d.issuer())), &config); err != nil || !found {
		t.Fatalf("docs/identity.md has no such block for %s: %v", name, err)
	}
	return config
}

// entry is Dex as an issuer of the gateway.
func (d *dex) entry(t *testing.T) map[string]any {
	t.Helper()
	return d.recipe(t, "Toolcrib")["auth"].(map[string]any)["issuers"].([]any)[0].(map[string]any)
}

const (
	dexScopes = "openid email groups audience:server:client_id:toolcrib" // as the gateway tells them
	dexAlice  = "CgVhbGljZRIFbG9jYWw"                                    // how Dex calls alice, of its own passwords
)

// token gets an access token for somebody, as a client.
func (d *dex) token(t *testing.T, client, name, scopes string) string {
	t.Helper()
	return loginAs(t, d.issuer(), name, url.Values{"client_id": {client}, "scope": {scopes}}).Access
}

// testDex: an issuer of the classic kind, which knows neither resources nor registration, beside one that does.
func testDex(t *testing.T, p *parts, i *identities, upstream string) {
	d := startDex(t)
	alone, both := guarded(t, upstream, nil, d.entry(t)), guarded(t, upstream, nil, d.entry(t), issuer(i.edwards))
	t.Run("clients", func(t *testing.T) { testDexClients(t, p, i, alone) })
	t.Run("login", func(t *testing.T) {
		var flags []string
		for scope := range strings.FieldsSeq(dexScopes) {
			flags = append(flags, "--scope", scope)
		}
		loginAndOut(t, i, alone, dexAlice, "--client-id", "mcp")
		loginAndOut(t, i, both, dexAlice, append(flags, "--client-id", "mcp", "--issuer", d.issuer())...)
	})
	t.Run("both", func(t *testing.T) { testDexBeside(t, d, i, both) })
	t.Run("refused", func(t *testing.T) { testDexRefused(t, d, both) })
	t.Run("rotation", func(t *testing.T) { testDexRotation(t, d, both) })
}

// testDexClients: clients that know their id, and nothing else but the URL.
func testDexClients(t *testing.T, p *parts, i *identities, base string) {
	for name, client := range followers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := client(t, p, journey{
				URL: base + "/mcp", Redirect: callback, Known: "mcp", Person: i.person, Calls: []map[string]any{{"name": plainTool, "arguments": map[string]any{}}},
			})
			if !slices.Contains(c.Tools, plainTool) || !slices.Equal(c.Calls, []bool{true}) || c.Logins != 1 || c.Client != "mcp" {
				t.Errorf("%+v; wanted the tools, a call, and one login as mcp", c)
			}
		})
	}
}

// testDexBeside: each issuer's callers have what their groups may, and one's alice is not the other's.
func testDexBeside(t *testing.T, d *dex, i *identities, base string) {
	sessions := map[string]*testenv.Client{}
	for name, token := range map[string]string{"dex": d.token(t, "mcp", "alice", dexScopes), "edwards": login(t, i.edwards, "alice", base+"/mcp").Access} {
		for _, era := range []testenv.Era{testenv.Modern, testenv.Legacy} { // the legacy one is kept
			c := speak(t, base+"/mcp", era, token)
			if names := c.Call("tools/list", "").Names("tools"); !slices.Contains(names, plainTool) || !may(c) {
				t.Errorf("%s: alice is not served; her tools are %v", name, names)
			}
			sessions[name] = c
		}
	}
	stolen := testenv.NewClient(t, base+"/mcp", testenv.Legacy)
	stolen.Version, stolen.Session, stolen.Key = testenv.LegacyVersion, sessions["edwards"].Session, sessions["dex"].Key
	if r := stolen.Call("tools/list", ""); r.Status != http.StatusNotFound {
		t.Errorf("the alice of one issuer in a session of the alice of another: %v", r)
	}
	for what, token := range map[string]string{
		"bob, who is not of staff":          d.token(t, "mcp", "bob", dexScopes),
		"alice, whose groups are not known": d.token(t, "mcp", "alice", "openid audience:server:client_id:toolcrib"),
	} {
		c := speak(t, base+"/mcp", testenv.Modern, token)
		if names := c.Call("tools/list", "").Names("tools"); len(names) != 0 || may(c) {
			t.Errorf("%s, is served; the tools are %v", what, names)
		}
	}
}

// testDexRefused: tokens of Dex that are not for the gateway, and tokens for the gateway that are of another Dex.
func testDexRefused(t *testing.T, d *dex, base string) {
	for what, token := range map[string]string{
		"for the client only": d.token(t, "mcp", "alice", "openid groups"),
		"for another client":  d.token(t, "wiki", "alice", "openid groups"),
		"of another issuer":   startDex(t).token(t, "mcp", "alice", dexScopes),
		"changed":             changed(d.token(t, "mcp", "alice", dexScopes)),
	} {
		c := testenv.NewClient(t, base+"/mcp", testenv.Modern)
		c.Key = token
		r := c.Call("tools/list", "")
		if challenge := r.Header.Get("Www-Authenticate"); r.Status != http.StatusUnauthorized || !strings.Contains(challenge, `error="invalid_token"`) {
			t.Errorf("a token %s: %v, challenge %q", what, r, challenge)
		}
	}
	end, err := logIn(t.Context(), d.issuer()+"/auth?"+url.Values{
		"client_id": {"wiki"}, "scope": {dexScopes}, "response_type": {"code"}, "redirect_uri": {callback},
	}.Encode(), "alice", callback)
	if err == nil {
		t.Errorf("a client that is not trusted may have tokens for the gateway: %s", end)
	}
}

// testDexRotation: while Dex is away, whom it vouched for goes on; once it is back with other keys, they count, and the old ones do not.
func testDexRotation(t *testing.T, d *dex, base string) {
	c := speak(t, base+"/mcp", testenv.Legacy, d.token(t, "mcp", "alice", dexScopes))
	ear := c.Hear()
	d.stop(t)
	if !may(c) {
		t.Error("while Dex is away, alice may not go on")
	}
	d.start(t)
	if !may(speak(t, base+"/mcp", testenv.Modern, d.token(t, "mcp", "alice", dexScopes))) {
		t.Error("a token by the new key is not accepted")
	}
	when(t, func() bool { return c.Call("tools/list", "").Status == http.StatusUnauthorized })
	ear.Ended()
}
