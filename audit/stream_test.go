package audit_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestLostReader: a log whose standard output nobody reads any more is closed without waiting for somebody to.
func TestLostReader(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	l := open(t, config(t, v1.AuditSink{Stdout: true}), audit.Options{Stdout: w})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(call()); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the sink fails", func() bool { return failing(l) != "" })
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	if err := l.Close(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("closed with %v after all the time that there was (%v)", err, ctx.Err())
	}
}

// TestIdleReader: who reads no more for a while gets each line once when reading again, and does not keep the log from being closed.
func TestIdleReader(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe() // which keeps nothing
	c := config(t, v1.AuditSink{File: "a.jsonl"}, v1.AuditSink{Stdout: true})
	c.Audit.Sinks[1].Timeout = v1.Duration(20 * time.Millisecond)
	l := open(t, c, audit.Options{Stdout: w})
	write := func() {
		t.Helper()
		for range 3 {
			if err := l.Write(call()); err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	testenv.Eventually(t, "the sink fails", func() bool { return failing(l) != "" })
	write()
	file, err := os.ReadFile(filepath.Join(c.StateDir, "a.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(file))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, file) {
		t.Errorf("got %q, %v; want %q", got, err, file)
	}
	testenv.Eventually(t, "the sink takes records again", func() bool { return failing(l) == "" })
	write()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ctx); err != nil { // although a write has no end
		t.Error(err)
	}
	r.Close()
}
