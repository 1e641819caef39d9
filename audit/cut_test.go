package audit_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
)

// TestCutShort: a file that is cut short in place while it is written is noticed, by a checkpoint or by a sink, and told of in the
// gateway's log, in a record and in the status. The chain goes on; sinks get what is still to be had, once; verify names the place.
func TestCutShort(t *testing.T) {
	for name, left := range map[string]func(size int64) int64{
		"to nothing": func(int64) int64 { return 0 }, "in the first line": func(int64) int64 { return 10 },
		"in a line": func(size int64) int64 { return size * 2 / 3 }, "by a byte": func(size int64) int64 { return size - 1 },
	} {
		for by, every := range map[string]time.Duration{"checkpoint": 10 * time.Millisecond, "sink": time.Hour} {
			t.Run(name+" by "+by, func(t *testing.T) { cutShort(t, left, every) })
		}
	}
}

func cutShort(t *testing.T, left func(int64) int64, every time.Duration) {
	k, said := &taker{}, &safeBuffer{}
	audit.SetSink(t, "webhook", k)
	c := config(t, v1.AuditSink{File: logName}, v1.AuditSink{Webhook: "http://127.0.0.1:1"})
	c.Audit.Checkpoint = v1.Duration(every)
	path := filepath.Join(c.StateDir, logName)
	l := open(t, c, audit.Options{Log: slog.New(slog.NewTextHandler(said, nil))})
	writeSome(t, l, 20)
	eventually(t, "all that was written", func() bool { return l.Status().Sinks[0].Behind == 0 })
	info, err := os.Stat(path)
	succeed(t, err)
	most := l.Status().Sequence + 1 // checkpoints have lines too; the number of the last one is told once it is written
	succeed(t, os.Truncate(path, left(info.Size())))
	writeSome(t, l, 100)
	told := func() bool {
		b, err := os.ReadFile(path)
		return err == nil && bytes.Contains(b, []byte(`"operation":"truncate"`))
	}
	if every < time.Hour {
		eventually(t, "the notice", told)
	}
	writeSome(t, l, 20)
	eventually(t, "all that was written since", func() bool { s := l.Status(); return s.Sinks[0].Behind == 0 && s.Sinks[0].Error == "" })
	last := l.Status().Sequence
	shut(t, l)
	if s := l.Status(); s.Cuts != 1 || s.Error != "" || !told() {
		t.Errorf("%+v", s)
	}
	inOrder(t, k.all())
	if n := uint64(len(k.all())); n < last {
		t.Errorf("the sink got %d of %d", n, last)
	}
	if !strings.Contains(string(said.Bytes()), "level=ERROR") || !strings.Contains(string(said.Bytes()), "cut short") {
		t.Errorf("the log says %s", said.Bytes())
	}
	r := verify(t, c.StateDir, keysOf(t, c))
	if r.Fault == nil || r.Fault.Sequence > most {
		t.Errorf("verify: %v, want one at sequence %d or before", r.Fault, most)
	}
}

// TestUnreadGone: a sink whose next file somebody removed goes on with what there is, and is not taken to be behind for ever.
func TestUnreadGone(t *testing.T) {
	k := &taker{}
	audit.SetSink(t, "webhook", k)
	c := config(t, v1.AuditSink{File: logName, Rotate: 1 << 10}, v1.AuditSink{Webhook: "http://127.0.0.1:1"})
	k.fail.Store(true)
	l := open(t, c, audit.Options{})
	writeSome(t, l, 20)
	files, err := filepath.Glob(filepath.Join(c.StateDir, "audit.0*"))
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	succeed(t, os.Remove(files[2]))
	k.fail.Store(false)
	eventually(t, "all that there is", func() bool { s := l.Status().Sinks[0]; return s.Behind == 0 && s.Error == "" })
	last := l.Status().Sequence
	writeSome(t, l, 20)
	shut(t, l)
	seen := k.all()
	for i, seq := range seen[1:] {
		if seq <= seen[i] {
			t.Fatalf("record %d came behind %d", seq, seen[i])
		}
	}
	if n := uint64(len(seen)); n < last || seen[n-1] != l.Status().Sequence {
		t.Errorf("the sink got %d, up to %d of %d", n, seen[n-1], l.Status().Sequence)
	}
}
