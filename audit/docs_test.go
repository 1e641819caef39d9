package audit_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
)

// TestDocumented: every member that a record can have is in docs/audit.md.
func TestDocumented(t *testing.T) {
	doc, err := os.ReadFile("../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	full := call()
	full.Address = netip.MustParseAddrPort("192.0.2.1:1234")
	full.Issuer, full.OAuthClient, full.Toolset, full.Trace, full.Code, full.Detail = "corp", "cli", "support", strings.Repeat("a", 32), -32602, "why"
	full.Queue, full.Start, full.Transport, full.Outcome = time.Second, time.Second, time.Second, "error"
	refused := *full
	refused.Kind = audit.Logon
	c := config(t, v1.AuditSink{File: logName})
	c.Audit.Arguments = []v1.AuditArguments{{Tools: []string{"*find"}, As: "redacted"}}
	l := open(t, c, audit.Options{})
	for _, r := range []*audit.Record{full, &refused} {
		if err := l.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, l)
	text, err := os.ReadFile(filepath.Join(c.StateDir, logName))
	if err != nil {
		t.Fatal(err)
	}
	members := map[string]bool{}
	for line := range bytes.Lines(text) {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if v["class_uid"] != 6002.0 {
			walk(members, "", v)
		}
	}
	if len(members) < 50 {
		t.Errorf("only %d members", len(members))
	}
	for m := range members {
		known := strings.HasPrefix(m, "metadata.product.") || strings.HasPrefix(m, "metadata.profiles") || strings.HasPrefix(m, "unmapped.arguments.") ||
			strings.HasPrefix(m, "user.") || m == "actor.user.type_id" || strings.HasPrefix(m, "service.")
		if !known && !bytes.Contains(doc, []byte("`"+m+"`")) {
			t.Errorf("docs/audit.md says nothing of %s", m)
		}
	}
}

func walk(into map[string]bool, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			walk(into, strings.TrimPrefix(path+"."+key, "."), value)
		}
	case []any:
		for _, value := range v {
			walk(into, path+"[]", value)
		}
	default:
		into[path] = true
	}
}

// TestRequiredMembers: records have what OCSF 1.6.0 requires of their classes.
func TestRequiredMembers(t *testing.T) {
	bare, refused := &audit.Record{}, &audit.Record{Kind: audit.Logon, Outcome: "unauthenticated"}
	c := config(t, v1.AuditSink{File: logName})
	l := open(t, c, audit.Options{})
	for _, r := range []*audit.Record{bare, refused} {
		if err := l.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	shut(t, l)
	text, err := os.ReadFile(filepath.Join(c.StateDir, logName))
	if err != nil {
		t.Fatal(err)
	}
	of := map[float64][]string{
		6003: {"actor.user.name", "api.operation", "src_endpoint.name"},
		3002: {"user.name", "service.name"},
		6002: {"app.name"},
	}
	base := []string{"activity_id", "category_uid", "class_uid", "type_uid", "severity_id", "time", "metadata.version", "metadata.product.name"}
	for line := range bytes.Lines(text) {
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		members := map[string]bool{}
		walk(members, "", v)
		class, _ := v["class_uid"].(float64)
		for _, m := range append(base, of[class]...) {
			if !members[m] {
				t.Errorf("a record of class %v lacks %s: %s", class, m, line)
			}
		}
	}
}

// TestRedacted: what is recorded of arguments, by rule.
func TestRedacted(t *testing.T) {
	rows := []struct{ as, in, want string }{
		{
			"redacted", `{"a": [1.0, {"Api-Key":{"x":1}}], "max_tokens" : 9007199254740993, "päss\u0077ord":"x", "q":"\n\u00a0"}`,
			`{"a":[1.0,{"Api-Key":"[redacted]"}],"max_tokens":"[redacted]","päss\u0077ord":"x","q":"\n\u00a0"}`,
		},
		{"redacted", "{\n \"pass\\u0077ord\": [\"secret\"],\r\n\t\"custom_ssn\": null , \"e\":{}, \"f\":[ ] }", `{"pass\u0077ord":"[redacted]","custom_ssn":"[redacted]","e":{},"f":[]}`},
		{"full", `{"password": "x"}`, `{"password":"x"}`},
		{"none", `{"a":1}`, ``},
		{"hash", `{"a":1}`, ``},
	}
	for _, row := range rows {
		c := config(t, v1.AuditSink{File: logName})
		c.Audit.Arguments = []v1.AuditArguments{{Tools: []string{"files__*"}, As: row.as}}
		c.Audit.Redact = []string{"*SSN"}
		l := open(t, c, audit.Options{})
		r := call()
		r.Arguments = []byte(row.in)
		if err := l.Write(r); err != nil {
			t.Fatal(err)
		}
		shut(t, l)
		var found []string
		err := audit.Search(t.Context(), filepath.Join(c.StateDir, logName), audit.Query{Subject: "a*e", Tenant: "acme", Decision: "allowed", Tool: "find"},
			func(line []byte, _ *audit.Event) bool {
				found = append(found, string(line))
				return true
			})
		if err != nil || len(found) != 1 {
			t.Fatalf("%v, %v", found, err)
		}
		_, rest, _ := strings.Cut(found[0], `"arguments":`)
		if row.want != "" && !strings.HasPrefix(rest, row.want+",") || row.want == "" && rest != "" {
			t.Errorf("%s: recorded %s, want %s", row.as, rest, row.want)
		}
		if hashed := strings.Contains(found[0], `"arguments_hash":"`); hashed != (row.as == "hash") {
			t.Errorf("%s: a hash: %v", row.as, hashed)
		}
	}
}
