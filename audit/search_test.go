package audit_test

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
)

// TestSearchMerges: what processes with one state directory have recorded is found in the order of time, the same with any end.
func TestSearchMerges(t *testing.T) {
	c := config(t, v1.AuditSink{File: logName})
	var logs [3]*audit.Log
	for i := range logs {
		logs[i] = open(t, c, audit.Options{})
	}
	const records = 60
	for i := range records {
		r := call()
		r.Time = r.Time.Add(time.Duration(i) * time.Second)
		if err := logs[i*i%len(logs)].Write(r); err != nil { // the last has none
			t.Fatal(err)
		}
	}
	paths, err := audit.LogsAt(filepath.Join(c.StateDir, logName))
	if err != nil || len(paths) != len(logs) {
		t.Fatalf("%v, %v", paths, err)
	}
	search := map[string]func(context.Context, audit.Query, func([]byte, *audit.Event) bool) error{
		"of one": logs[1].Search,
		"all": func(ctx context.Context, q audit.Query, f func([]byte, *audit.Event) bool) error {
			return audit.SearchAll(ctx, paths, q, f)
		},
	}
	for name, search := range search {
		for _, most := range []int{records, 7} {
			var times []int64
			err := search(t.Context(), audit.Query{Subject: "alice"}, func(line []byte, e *audit.Event) bool {
				if again, err := audit.ParseEvent(bytes.Clone(line)); err != nil || again.Time != e.Time {
					t.Errorf("%s is not the line of %d", line, e.Time)
				}
				times = append(times, e.Time)
				return len(times) < most
			})
			if err != nil || len(times) != most || !slices.IsSorted(times) || times[0] != call().Time.UnixMilli() {
				t.Errorf("%s: %d of %d, %v: %v", name, len(times), most, err, times)
			}
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := audit.SearchAll(gone, paths, audit.Query{}, func([]byte, *audit.Event) bool { return true }); err == nil {
		t.Error("a search that was given up found everything")
	}
}

// TestQueryCheck: what no record can have is refused, rather than not found.
func TestQueryCheck(t *testing.T) {
	for _, q := range []audit.Query{{}, {Outcome: "ok"}, {Outcome: "*error"}, {Outcome: "conflict"}, {Decision: "denied"}} {
		if err := q.Check(); err != nil {
			t.Errorf("%+v: %v", q, err)
		}
	}
	for _, q := range []audit.Query{{Outcome: "nosuch"}, {Outcome: "OK"}, {Outcome: "no*such"}, {Decision: "Denied"}} {
		if err := q.Check(); err == nil {
			t.Errorf("%+v is good", q)
		}
	}
}
