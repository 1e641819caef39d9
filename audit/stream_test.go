package audit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
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
	stuck := time.AfterFunc(testenv.Patience, func() { _ = r.CloseWithError(errors.New("nothing more came")) })
	got := make([]byte, len(file))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, file) {
		t.Errorf("got %q, %v; want %q", got, err, file)
	}
	stuck.Stop()
	testenv.Eventually(t, "the sink takes records again", func() bool { return failing(l) == "" })
	write()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ctx); err != nil { // although a write has no end
		t.Error(err)
	}
	r.Close()
}

// turnpike takes a write when told to, and says so when one has begun.
type turnpike struct {
	begun, open chan struct{}
	got         bytes.Buffer
}

func (p *turnpike) Write(b []byte) (int, error) {
	p.begun <- struct{}{}
	<-p.open
	return p.got.Write(b)
}

// TestSlowReader: who reads so slowly that one write after the other takes longer than the sink's timeout gets each line once.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	p := &turnpike{begun: make(chan struct{}, 1), open: make(chan struct{})}
	s := audit.NewStream(p)
	var lines []audit.Line
	want := ""
	for i := range 9 {
		text := strconv.Itoa(i)
		lines, want = append(lines, audit.Line{Raw: []byte(text), Sequence: uint64(i + 10)}), want+text+"\n"
	}
	for n := 3; n <= len(lines); n += 3 { // the sink gets more lines each time, from the first one that it did not take
		ctx, cancel := context.WithCancel(t.Context())
		sent := make(chan error, 1)
		go func() { sent <- s.Send(ctx, lines[:n]) }()
		if n > 3 {
			p.open <- struct{}{} // what came before
		}
		<-p.begun
		cancel()
		if err := <-sent; err == nil {
			t.Fatal("sent, although the write goes on")
		}
	}
	close(p.open)
	if err := s.Send(t.Context(), lines); err != nil {
		t.Fatal(err)
	}
	if got := p.got.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
