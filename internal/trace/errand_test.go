package trace_test

import (
	"context"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/trace"
)

// TestErrand: what is sent for a request is part of it while it waits, and else is told without it, but never twice.
func TestErrand(t *testing.T) {
	var r trace.Record
	r.Context, _ = trace.Parse(sample)
	if trace.From(context.Background()) != nil || trace.From(trace.Into(context.Background(), &r)) != &r {
		t.Error("a context does not carry its record")
	}
	e := r.Errand("x/list", "one")
	for range 20 {
		if a := e.Next().Attempt(); a != nil && (a.Number != 1 || a.Trace != r.Trace) {
			t.Fatalf("%+v", a)
		}
	}
	if e.Over() {
		t.Error("nobody left")
	}
	r.Waited(e, true, "x/list", "one", time.Now())
	noted, more := r.Attempts()
	if len(noted)+more != 20 || noted[0].Method != "x/list" || noted[0].Server != "one" || noted[0].Awaits {
		t.Errorf("%+v and %d more", noted, more)
	}
	var own trace.Record
	own.Waited(nil, false, "x/list", "one", time.Now())
	if a := own.Attempt(); a.Number != 1 {
		t.Errorf("its own first attempt is number %d", a.Number)
	}
	for caused, want := range map[bool]bool{true: true, false: false} {
		var r trace.Record
		r.Context, _ = trace.Parse(sample)
		e := r.Errand("x/list", "one")
		first := e.Next().Attempt()
		r.Waited(e, caused, "x/list", "one", time.Now())
		noted, _ := r.Attempts()
		if len(noted) != 1 || !noted[0].Awaits || noted[0].For != first.Context || e.Over() != want {
			t.Errorf("%v: %+v", caused, noted)
		}
	}
	var none *trace.Record
	if none.Waited(none.Errand("", ""), true, "", "", time.Time{}); none.Errand("", "").Next() != nil || none.Errand("", "").Over() {
		t.Error("nothing notes something")
	}
}
