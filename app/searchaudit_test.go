package app

import (
	"strings"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/control"
)

// TestSearchAuditBounds: of large records no more are found than may be held, and those are the last.
func TestSearchAuditBounds(t *testing.T) {
	c := v1.New()
	c.StateDir = t.TempDir()
	c.Audit.Sinks = []v1.AuditSink{{File: "audit.jsonl", Rotate: 1 << 30, Lag: 1 << 30, Timeout: v1.Duration(time.Second)}}
	c.Audit.Arguments = []v1.AuditArguments{{Tools: []string{"*"}, As: "full"}}
	l, err := audit.Open(c, audit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(t.Context()) })
	large := []byte(`{"text":"` + strings.Repeat("x", 200<<10) + `"}`)
	const records = 400
	for i := range records {
		r := &audit.Record{Time: time.UnixMilli(int64(i)), Operation: "tools/call", Target: audit.Tool, TargetName: "echo", Arguments: large, Outcome: "ok"}
		if err := l.Write(r); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[int]int{1: 1, 7: 7, 10_000: foundMost / (201 << 10)} {
		found, err := (&server{audit: l}).searchAudit(t.Context(), control.AuditQuery{Limit: limit})
		if err != nil {
			t.Fatal(err)
		}
		n, size, last := 0, 0, int64(0)
		for line, err := range found {
			e, bad := audit.ParseEvent(line)
			if err != nil || bad != nil {
				t.Fatal(err, bad)
			}
			n, size, last = n+1, size+len(line), e.Time
		}
		if n < want || n > limit || size > foundMost || last != records-1 {
			t.Errorf("limit %d: %d records of %d bytes, the last %d; want %d or more", limit, n, size, last, want)
		}
	}
}
