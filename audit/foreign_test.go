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

// TestForeign: what somebody else writes to the file, whatever it is, is noticed, by a checkpoint or by a sink, and told of. Sinks get
// every line of the log, once, and nothing else; nothing is lost when the file is then removed; verify names the place.
func TestForeign(t *testing.T) {
	for name, foreign := range map[string][]byte{
		"a line": []byte("reboot system boot\n"), "JSON": []byte(`{"metadata":{"sequence":7}}` + "\n"), "no end": []byte("half"),
		"the beginning of a line": []byte(`{"metadata":{"sequence":23,`), "a late line": audit.Forged(1 << 60), "a line again": nil,
		"what is long": bytes.Repeat([]byte("0123456789"), 900_000), "bytes": {0, '\n', 0xff, '\n', '\n'},
	} {
		for by, every := range map[string]time.Duration{"checkpoint": 10 * time.Millisecond, "sink": time.Hour} {
			t.Run(name+" by "+by, func(t *testing.T) { intrude(t, foreign, every) })
		}
	}
}

func intrude(t *testing.T, foreign []byte, every time.Duration) {
	k, said := &taker{}, &safeBuffer{}
	audit.SetSink(t, "webhook", k)
	c := config(t, v1.AuditSink{File: logName}, v1.AuditSink{Webhook: "http://127.0.0.1:1"})
	c.Audit.Checkpoint = v1.Duration(every)
	path := filepath.Join(c.StateDir, logName)
	l := open(t, c, audit.Options{Log: slog.New(slog.NewTextHandler(said, nil))})
	writeSome(t, l, 20)
	if foreign == nil {
		text, err := os.ReadFile(path)
		succeed(t, err)
		foreign = bytes.Join(bytes.SplitAfter(text, []byte("\n"))[:3], nil)
	}
	most := l.Status().Sequence + 2 // checkpoints have lines too
	writeBeside(t, path, foreign)
	if every < time.Hour {
		eventually(t, "the notice", func() bool { return l.Status().Foreign > 0 })
	}
	writeSome(t, l, 50)
	eventually(t, "all that was written since", func() bool { s := l.Status().Sinks[0]; return s.Behind == 0 && s.Error == "" && s.Sequence >= 71 })
	succeed(t, os.Rename(path, path+".away")) // what is put back is all of it
	shut(t, l)
	s := l.Status()
	if s.Foreign == 0 || s.Cuts != 0 || s.Error != "" {
		t.Errorf("%+v", s)
	}
	inOrder(t, k.all())
	if n := uint64(len(k.all())); n != s.Sequence {
		t.Errorf("the sink got %d of %d", n, s.Sequence)
	}
	text, err := os.ReadFile(path)
	succeed(t, err)
	if !bytes.Contains(text, foreign) || !bytes.Contains(text, []byte(`"operation":"intrude"`)) || !bytes.Contains(text, []byte(`"closed":true`)) {
		t.Error("the file lacks something")
	}
	if !strings.Contains(string(said.Bytes()), "level=ERROR") || !strings.Contains(string(said.Bytes()), "somebody else has written") {
		t.Errorf("the log says %s", said.Bytes())
	}
	if r := verify(t, c.StateDir, keysOf(t, c)); r.Fault == nil || r.Fault.Sequence > most && r.Fault.Sequence < 1<<60 {
		t.Errorf("verify: %v, want one at sequence %d or before", r.Fault, most)
	}
}

// writeBeside appends to a file as another program would.
func writeBeside(t *testing.T, path string, text []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	succeed(t, err)
	_, err = f.Write(text)
	succeed(t, err)
	succeed(t, f.Close())
}
