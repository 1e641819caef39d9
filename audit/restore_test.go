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

// TestRemovedMeanwhile: a file that is removed, moved or replaced while it is written is put back as it was, which is said in the
// log and on record; what stood in its place is kept, and sinks get every line once.
func TestRemovedMeanwhile(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path string){
		"removed":   func(t *testing.T, path string) { succeed(t, os.Remove(path)) },
		"moved":     func(t *testing.T, path string) { succeed(t, os.Rename(path, path+".1")) },
		"put aside": func(t *testing.T, path string) { succeed(t, os.Rename(path, firstAside(path))) },
		"replaced": func(t *testing.T, path string) {
			succeed(t, os.WriteFile(path+".other", []byte("other\n"), 0o600))
			succeed(t, os.Rename(path+".other", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			k, said := &taker{}, &safeBuffer{}
			audit.SetSink(t, "webhook", k)
			c := config(t, v1.AuditSink{File: logName}, v1.AuditSink{Webhook: "http://127.0.0.1:1"})
			c.Audit.Checkpoint = v1.Duration(10 * time.Millisecond)
			path := filepath.Join(c.StateDir, logName)
			l := open(t, c, audit.Options{Log: slog.New(slog.NewTextHandler(said, nil))})
			writeSome(t, l, 20)
			eventually(t, "all that was written", func() bool { return l.Status().Sinks[0].Behind == 0 })
			before, err := os.ReadFile(path)
			succeed(t, err)
			harm(t, path)
			writeSome(t, l, 20)
			eventually(t, "its return", func() bool {
				b, err := os.ReadFile(path)
				return err == nil && bytes.HasPrefix(b, before) && bytes.Contains(b, []byte(`"operation":"restore"`))
			})
			writeSome(t, l, 20)
			shut(t, l)
			r := good(t, c, path)
			seen := k.all()
			inOrder(t, seen)
			if r.First != 1 || uint64(len(seen)) != r.Last {
				t.Errorf("the sink got %d, the log is %+v", len(seen), r)
			}
			if !bytes.Contains(said.Bytes(), []byte("level=ERROR")) || !bytes.Contains(said.Bytes(), []byte(path)) {
				t.Errorf("the log says %s", said.Bytes())
			}
			if name == "replaced" {
				kept, err := filepath.Glob(path + ".torn-*")
				if err != nil || len(kept) != 1 {
					t.Fatalf("%v, %v", kept, err)
				}
				if b, err := os.ReadFile(kept[0]); err != nil || string(b) != "other\n" {
					t.Errorf("%q, %v", b, err)
				}
			}
		})
	}
}

// firstAside is what the first file of a log is called once it is put aside.
func firstAside(path string) string {
	return strings.TrimSuffix(path, ".jsonl") + ".00000000000000000001.jsonl"
}

// TestNotPutAside: a file that cannot be put aside, or whose successor cannot take its place, stays where it is, and the log goes on
// in it at once.
func TestNotPutAside(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path string){
		"first":  func(t *testing.T, path string) { succeed(t, os.MkdirAll(firstAside(path), 0o700)) },
		"second": func(t *testing.T, path string) { succeed(t, os.Remove(path+".next")) },
	} {
		t.Run(name, func(t *testing.T) {
			said := &safeBuffer{}
			c := config(t, v1.AuditSink{File: logName, Rotate: 64 << 10})
			c.Audit.Checkpoint = v1.Duration(time.Hour)
			path := filepath.Join(c.StateDir, logName)
			l := open(t, c, audit.Options{Log: slog.New(slog.NewTextHandler(said, nil))})
			tried := false
			audit.BeforeSwap(l, func() {
				tried = true
				harm(t, path)
			})
			was, err := os.Stat(path)
			succeed(t, err)
			for !tried {
				writeSome(t, l, 1)
			}
			writeSome(t, l, 1)
			if is, err := os.Stat(path); err != nil || !os.SameFile(was, is) {
				t.Fatalf("the log is elsewhere: %v", err)
			}
			if !bytes.Contains(said.Bytes(), []byte("level=ERROR")) {
				t.Errorf("the log says %s", said.Bytes())
			}
			shut(t, l)
			if err := os.Remove(firstAside(path)); name == "first" {
				succeed(t, err)
			}
			if r := good(t, c, path); r.First != 1 || r.Files != 1 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestRemovedAtTheEnd: a file that is removed is put back also when the log is closed before that was noticed.
func TestRemovedAtTheEnd(t *testing.T) {
	c := config(t, v1.AuditSink{File: logName})
	path := filepath.Join(c.StateDir, logName)
	l := open(t, c, audit.Options{})
	writeSome(t, l, 20)
	succeed(t, os.Remove(path))
	shut(t, l)
	if r := good(t, c, path); r.First != 1 {
		t.Errorf("%+v", r)
	}
}

// TestGone: a file that cannot be put back is told of, until it can.
func TestGone(t *testing.T) {
	c := config(t, v1.AuditSink{File: filepath.Join("logs", logName)})
	c.Audit.Checkpoint = v1.Duration(10 * time.Millisecond)
	dir := filepath.Join(c.StateDir, "logs")
	l := open(t, c, audit.Options{})
	writeSome(t, l, 20)
	succeed(t, os.Rename(dir, dir+".away"))
	eventually(t, "the failure", func() bool { return l.Status().Error != "" })
	succeed(t, os.Mkdir(dir, 0o700))
	eventually(t, "the return", func() bool { return l.Status().Error == "" })
	good(t, c, filepath.Join(dir, logName))
}

// succeed wants no error.
func succeed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
