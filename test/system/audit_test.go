package system_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// record is what tests look at of a line of the audit log.
type record struct {
	Metadata struct {
		Sequence uint64
		Tenant   string `json:"tenant_uid"`
	}
	Class   int    `json:"class_uid"`
	Outcome string `json:"status_code"`
	Detail  string `json:"status_detail"`
	Action  string
	Actor   struct {
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
	for _, method := range []string{http.MethodOptions, http.MethodPut} { // ask nothing of anyone
		fetch(t, g, method, "/mcp", "", nil)
	}
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
	type row struct {
		Operation, Subject, Server, Target, Outcome, Action, Client string
		Class, Status, Code                                         int
		Session, Trace                                              bool
	}
	var got []row
	for _, r := range all {
		target := ""
		if len(r.Resources) > 0 {
			target = r.Resources[0].Type + " " + r.Resources[0].Name
		}
		got = append(got, row{
			r.API.Operation, r.Actor.User.Name, r.API.Service.Name, target, r.Outcome, r.Action, r.Actor.Client,
			r.Class, r.Response.Code, r.API.Response.Code, r.Actor.Session.UID != "", r.Trace.UID == traceID,
		})
		if r.From.IP != "127.0.0.1" || r.Request.URL.Path == "" || r.Unmapped.Replica == "" {
			t.Errorf("%+v", r)
		}
	}
	want := []row{
		{"tools/call", "alice", "one", "tool tool0000", "ok", "Allowed", "", 6003, 200, 0, false, true},
		{"tools/list", "alice", "", "", "ok", "Allowed", "", 6003, 200, 0, false, false},
		{"nonsense/CANARY", "alice", "", "", "method_not_found", "", "", 6003, 404, -32601, false, false},
		{"", "", "", "", "unauthenticated", "", "", 3002, 401, 0, false, false},
		{"unknown", "alice", "", "", "parse", "", "", 6003, 400, -32700, false, false},
		{"", "", "", "", "unauthenticated", "", "", 3002, 401, 0, false, false},
		{"unknown", "unknown", "", "", "no_endpoint", "", "", 6003, 404, 404, false, false},
		{"unknown", "unknown", "", "", "forbidden", "", "", 6003, 403, 403, false, false},
		{"initialize", "alice", "", "", "ok", "Allowed", "raw", 6003, 200, 0, true, false},
		{"tools/call", "alice", "one", "tool tool0001", "ok", "Allowed", "raw", 6003, 200, 0, true, false},
		{"session/end", "alice", "", "", "ok", "", "", 6003, 204, 0, true, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	const kept = `{"text":"hello","deep":[{"ssn":"[redacted]","api_key":"[redacted]"}],"Authorization":"[redacted]"}`
	if r := all[0]; string(r.Unmapped.Arguments) != kept || r.Unmapped.Server == 0 || r.Unmapped.Era != "modern" || r.Unmapped.Identified != "api_key" {
		t.Errorf("%+v", r)
	}
}

// TestAuditedDialects: what other dialects ask is on record too, each request once: batches, streams of 2024-11-05, listens.
func TestAuditedDialects(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})},
		More:    map[string]any{"auth": twoKeys},
	})
	batch := g.LegacyOf("/mcp", "2025-03-26", aliceKey)
	batch.Post([]byte(`[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"one__tool0000"}},` +
		`{"jsonrpc":"2.0","method":"notifications/progress"},{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"none"}}]`))
	ear := batch.Hear()
	ear.Close()
	c := g.Modern("/mcp")
	c.Key = aliceKey
	listen := c.Listen(`"l"`, `{"toolsListChanged":true}`)
	listen.Close()
	g.Stop()
	all, _ := records(t, g.StateDir)
	counts := map[string]int{}
	for _, r := range all {
		counts[r.API.Operation+" "+r.Outcome]++
	}
	want := map[string]int{
		"initialize ok": 1, "ping ok": 1, "tools/call ok": 1, "tools/call not_found": 1, "session/listen ok": 1, "subscriptions/listen ok": 1,
	}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestArgumentsByName: rules for arguments go by the name at /mcp, however the tool is called.
func TestArgumentsByName(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"vault": testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})},
		More: map[string]any{
			"auth": twoKeys,
			"toolsets": map[string]any{"desk": map[string]any{
				"servers": []string{"vault"}, "tools": map[string]any{"vault__tool0000": map[string]any{"as": "find"}},
			}},
			"audit": map[string]any{"arguments": []any{
				map[string]any{"tools": []string{"vault__*"}, "as": "none"}, map[string]any{"tools": []string{"*"}, "as": "full"},
			}},
		},
	})
	for path, name := range map[string]string{"/mcp": "vault__tool0000", "/servers/vault/mcp": "tool0000", "/toolsets/desk/mcp": "find"} {
		c := g.Modern(path)
		c.Key = aliceKey
		c.Do(testenv.Request{Method: "tools/call", Members: `"name":"` + name + `","arguments":{"text":"CANARY-ARGUMENT"}`})
	}
	g.Stop()
	all, text := records(t, g.StateDir)
	if len(all) != 3 || strings.Contains(text, "CANARY-ARGUMENT") || strings.Contains(text, "arguments_bytes") {
		t.Errorf("%d records: %s", len(all), text)
	}
	for _, r := range all {
		if r.Outcome != "ok" || r.Action != "Allowed" || len(r.Resources) != 1 || r.Resources[0].Name != "tool0000" {
			t.Errorf("%+v", r)
		}
	}
}

// TestAuditedRevocation: what a stream runs when the key of its client is withdrawn is cancelled, and on record, as is the end of
// the stream; a call that was posted by itself is finished, and on record as any other.
func TestAuditedRevocation(t *testing.T) {
	t.Parallel()
	h := hold(t, kinds[0])
	c := testenv.One(h.Server)
	c.More = map[string]any{"auth": twoKeys}
	g := testenv.Serve(t, c)
	single := g.Modern("/mcp")
	single.Key = aliceKey
	done := make(chan *testenv.Reply, 1)
	go func() { done <- single.Call("tools/call", `"name":"one__hold"`) }()
	<-h.calls
	stream := g.Stream("/sse", aliceKey)
	stream.Send("tools/call", `"name":"one__hold"`)
	call := <-h.calls
	c.More = map[string]any{"auth": map[string]any{"apiKeys": []map[string]any{{"name": "bob", "key": "another-key-0123456789"}}}}
	g.Configure(c)
	<-stream.Ended
	h.cancelled(t, kinds[0], call)
	close(h.let)
	if r := <-done; r.Texts() != "let go" {
		t.Errorf("%v", r)
	}
	g.Stop()
	all, _ := records(t, g.StateDir)
	counts := map[string]int{}
	for _, r := range all {
		if r.API.Operation == "tools/call" || r.API.Operation == "stream/end" {
			counts[r.API.Operation+" "+r.Actor.User.Name+" "+r.Outcome+" "+r.Action]++
		}
	}
	want := map[string]int{"tools/call alice ok Allowed": 1, "tools/call alice unauthenticated Allowed": 1, "stream/end alice unauthenticated Denied": 1}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
