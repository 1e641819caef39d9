package audit

import (
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// SetSink has sinks of a kind be f, as long as the test runs.
func SetSink(t testing.TB, kind string, f Follower) {
	t.Helper()
	was := makers[kind]
	makers[kind] = func(*v1.AuditSink, *Options, string) (Follower, error) { return f, nil }
	t.Cleanup(func() { makers[kind] = was })
}
