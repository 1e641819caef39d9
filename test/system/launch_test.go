package system_test

import (
	"encoding/json"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/runner/launch"
)

// specOf is the server of an entry, as a configuration file has it.
func specOf(t *testing.T, entry map[string]any) *v1.Server {
	t.Helper()
	text, err := json.Marshal(map[string]any{"mcpServers": map[string]any{"s": entry}})
	if err != nil {
		t.Fatal(err)
	}
	c, problems := v1.Parse(text, v1.Options{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return c.MCPServers["s"]
}

func approve(t *testing.T, lock, name string, entry map[string]any) {
	t.Helper()
	err := launch.UpdateLock(t.Context(), lock, func(l *launch.Lock) error {
		a, err := l.Approve(specOf(t, entry))
		l.Approvals[name] = a
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestApproval: with approval required a server runs only as it was approved. One that was changed is refused with the
// reason; others go on, and it runs again once it was approved anew.
func TestApproval(t *testing.T) {
	t.Parallel()
	lock := filepath.Join(t.TempDir(), "tools.lock")
	still := testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1)})
	other := testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1)})
	approve(t, lock, "still", still.Entry())
	approve(t, lock, "other", other.Entry())
	required := map[string]any{"launch": map[string]any{"approval": "required", "lock": lock}}
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"still": still, "other": other}, More: required})
	client := g.Legacy("/mcp")
	tools := func(want string) {
		t.Helper()
		testenv.Eventually(t, "tools "+want, func() bool { return strings.Join(client.Call("tools/list", "").Names("tools"), " ") == want })
	}
	tools("other__tool0000 still__tool0000")
	pid := still.AwaitChild(1).PID

	changed := other.Entry()
	changed["env"] = maps.Clone(changed["env"].(map[string]any))
	changed["env"].(map[string]any)["LD_PRELOAD"] = "/tmp/x.so"
	g.Configure(testenv.Config{Servers: map[string]*testenv.Server{"still": still}, Entries: map[string]any{"other": changed}, More: required})
	testenv.Eventually(t, "the refusal", func() bool {
		_, body := g.Get("/health/ready", nil)
		return strings.Contains(body, "differs from what was approved") && strings.Contains(body, "toolcrib approve")
	})
	tools("still__tool0000")
	if kids := other.Children(); len(kids) != 1 || !testenv.Alive(pid) || len(still.Children()) != 1 {
		t.Errorf("%d children of the changed server, %d of the other", len(kids), len(still.Children()))
	}
	delete(changed["env"].(map[string]any), "LD_PRELOAD") // which would be no library
	changed["env"].(map[string]any)["REGION"] = "eu"
	approve(t, lock, "other", changed)
	g.Configure(testenv.Config{Servers: map[string]*testenv.Server{"still": still}, Entries: map[string]any{"other": changed}, More: required})
	tools("other__tool0000 still__tool0000")

	// What was approved is refused by a gateway that begins to ask for approval, and the running one ends.
	empty := map[string]any{"launch": map[string]any{"approval": "required", "lock": lock + ".none"}}
	g.Configure(testenv.Config{Servers: map[string]*testenv.Server{"still": still}, More: empty})
	tools("")
	testenv.Eventually(t, "the end of what is no longer approved", func() bool { return !testenv.Alive(pid) })
}

// TestInlineCode: a file that gives an interpreter code is refused by serve's reload, and what ran before goes on.
func TestInlineCode(t *testing.T) {
	t.Parallel()
	server := testenv.StdioServer(t, testenv.Script{Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.One(server))
	client := g.Legacy("/mcp")
	if r := client.Tool("one__tool0000", "{}"); r.Result() == nil {
		t.Fatal(r)
	}
	marker := filepath.Join(t.TempDir(), "ran")
	for i, entry := range []map[string]any{
		{"command": "npx", "args": []string{"-c", "touch " + marker}},
		{"command": "/bin/sh", "args": []string{"-ec", "touch " + marker}},
		{"command": "env", "args": []string{"python3", "-c", "open('" + marker + "', 'w')"}},
		{"command": "node", "args": []string{"-e", "require('fs').writeFileSync('" + marker + "', '')"}},
	} {
		name := "evil" + strconv.Itoa(i)
		g.Configure(testenv.Config{Servers: map[string]*testenv.Server{"one": server}, Entries: map[string]any{name: entry}})
		testenv.Eventually(t, "the refusal", func() bool { return strings.Contains(g.Log(), "mcpServers."+name+".args") })
		if r := client.Tool("one__tool0000", "{}"); r.Result() == nil {
			t.Fatal(r)
		}
	}
	if found, err := filepath.Glob(marker); err != nil || len(found) > 0 {
		t.Error("code of a refused file ran")
	}
}
