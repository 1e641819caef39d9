package system_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// record is what tests look at of a line of the audit log.
type record struct {
	Metadata struct {
		Sequence uint64
		Tenant   string `json:"tenant_uid"`
	}
	Class    int    `json:"class_uid"`
	Activity string `json:"activity_name"`
	Outcome  string `json:"status_code"`
	Detail   string `json:"status_detail"`
	Action   string
	Actor    struct {
		User    struct{ Name string }
		Session struct{ UID string }
		Client  string `json:"app_name"`
	}
	API struct {
		Operation string
		Service   struct{ Name string }
		Response  struct{ Code int }
	}
	From      struct{ IP string } `json:"src_endpoint"`
	Resources []struct{ Type, Name string }
	Request   struct{ URL struct{ Path string } } `json:"http_request"`
	Response  struct{ Code int }                  `json:"http_response"`
	Trace     struct{ UID string }
	Unmapped  struct {
		Operation, Era, Identified, Replica string
		Version                             string `json:"client_version"`
		Hash                                string `json:"arguments_hash"`
		Arguments                           json.RawMessage
		Server                              int `json:"server_us"`
	}
}

// records reads the audit log at a state directory, but what the log tells of itself.
func records(t *testing.T, stateDir string) (all []record, text string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(stateDir, "audit", "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var r record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.Class != 6002 {
			all = append(all, r)
		}
	}
	return all, string(b)
}

const traceID = "0af7651916cd43dd8448eb211c80319c"

// TestAudited: every request is on record, refused ones too, with who, what and how; secrets are not.
func TestAudited(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(2)})},
		More: map[string]any{"auth": twoKeys, "audit": map[string]any{
			"arguments": []any{map[string]any{"tools": []string{"*"}, "as": "redacted"}}, "redact": []string{"s*n"},
		}},
	})
	c := g.Modern("/mcp")
	c.Key = aliceKey
	const arguments = `{"text": "hello","deep":[{"ssn":"CANARY-1","api_key":"CANARY-2"}],"Authorization":{"x":"CANARY-3"}}`
	c.Do(testenv.Request{
		Method: "tools/call", Members: `"name":"one__tool0000","arguments":` + arguments,
		Header: http.Header{"Traceparent": {"00-" + traceID + "-b7ad6b7169203331-01"}},
	})
	c.Call("tools/list", "")
	c.Call("nonsense/CANARY", "")
	bad := g.Modern("/mcp")
	bad.Key = "CANARY-KEY-0123456789"
	bad.Call("tools/list", "")
	c.Post([]byte(`{"jsonrpc":`))
	g.Modern("/servers/none/mcp").Call("tools/list", "")
	g.Get("/nowhere", nil)
	g.Modern("/mcp").Do(testenv.Request{Method: "tools/list", Header: http.Header{"Origin": {"https://evil.example"}}})
	l := g.LegacyOf("/mcp", testenv.LegacyVersion, aliceKey)
	l.Tool("one__tool0001", `{}`)
	l.Delete()
	g.Stop()

	all, text := records(t, g.StateDir)
	for _, secret := range []string{"CANARY-1", "CANARY-2", "CANARY-3", "CANARY-KEY", aliceKey, l.Session} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is on record", secret)
		}
	}
	for _, r := range all {
		b, _ := json.Marshal(r)
		t.Logf("%s", b)
	}
}
