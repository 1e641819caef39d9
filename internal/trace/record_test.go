package trace_test

import (
	"testing"

	"github.com/toolcrib/toolcrib/internal/trace"
)

func TestNilRecord(t *testing.T) {
	var r *trace.Record
	r.Mark("x")
	if a := r.Attempt(); a.Told() || a.AppendHeader(nil) != nil {
		t.Error("nothing tells something")
	}
}

func TestRecordIsBounded(t *testing.T) {
	var r trace.Record
	r.Context, _ = trace.Parse(sample)
	for range 100 {
		r.Mark("stage")
		if a := r.Attempt(); a != nil && (a.Span == r.Span || a.Trace != r.Trace) {
			t.Fatalf("%+v", a)
		}
	}
	noted, more := r.Attempts()
	if len(r.Marks()) == 100 || len(noted) == 100 || len(noted)+more != 100 {
		t.Errorf("%d marks, %d attempts and %d more", len(r.Marks()), len(noted), more)
	}
	r.Reset()
	if noted, _ := r.Attempts(); len(r.Marks()) != 0 || len(noted) != 0 || r.Valid() || r.Attempt().Number != 1 {
		t.Errorf("%+v", &r)
	}
}

func TestOnlyKeptTracesAreToldOf(t *testing.T) {
	var r trace.Record
	r.Context, _ = trace.Parse(sample[:53] + "00")
	r.Mark("before its message was read")
	r.Read = true
	r.Mark("stage")
	if a := r.Attempt(); a.Told() || a.AppendHeader(nil) != nil || len(r.Marks()) != 1 {
		t.Errorf("%+v", a)
	}
	r.Sampled, r.State, r.Baggage = true, "a=b", "c=d"
	a := r.Attempt()
	want := "traceparent: " + string(a.AppendParent(nil)) + "\r\ntracestate: a=b\r\nbaggage: c=d\r\n"
	if got := string(a.AppendHeader(nil)); got != want {
		t.Errorf("%q", got)
	}
}
