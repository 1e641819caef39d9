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
	"github.com/toolcrib/toolcrib/errs"
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

// TestFolderRemoved: when the whole folder is removed, with the key, the head and the lock, all of it is put back while calls go on,
// by who writes already, and nothing is missing.
func TestFolderRemoved(t *testing.T) {
	c := config(t, v1.AuditSink{File: filepath.Join("audit", logName)})
	c.Audit.Checkpoint = v1.Duration(time.Hour)
	dir := filepath.Join(c.StateDir, "audit")
	path := filepath.Join(dir, logName)
	l := open(t, c, audit.Options{})
	writeSome(t, l, 20)
	key, err := os.ReadFile(filepath.Join(dir, "audit.key"))
	succeed(t, err)
	succeed(t, os.RemoveAll(dir))
	eventually(t, "the return of its folder", func() bool {
		writeSome(t, l, 1)
		_, err := os.Stat(path + ".head")
		return err == nil
	})
	if is, err := os.ReadFile(filepath.Join(dir, "audit.key")); err != nil || !bytes.Equal(is, key) {
		t.Errorf("the key is not what it was: %v", err)
	}
	other := open(t, c, audit.Options{})
	if other.Status().File == path {
		t.Error("another process has the same file")
	}
	shut(t, other)
	writeSome(t, l, 20)
	n := l.Status().Sequence
	shut(t, l)
	if r := good(t, c, path); r.First != 1 || r.Last != n+1 {
		t.Errorf("%d records became %+v", n, r)
	}
}

// TestGone: while a file cannot be put back, calls are refused, whether they or the keeper notice it; then all is there, and that it
// was not is on record. A log that is closed meanwhile says that it is not whole.
func TestGone(t *testing.T) {
	for name, every := range map[string]time.Duration{"by calls": time.Hour, "by the keeper": 10 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			c := config(t, v1.AuditSink{File: filepath.Join("logs", logName)})
			c.Audit.Checkpoint, c.Audit.Wait = v1.Duration(every), v1.Duration(time.Millisecond)
			dir := filepath.Join(c.StateDir, "logs")
			l := open(t, c, audit.Options{})
			writeSome(t, l, 20)
			displace(t, dir)
			eventually(t, "the refusal", func() bool {
				if every == time.Hour {
					_ = l.Write(call()) // that which notices it fails
				}
				return l.Admit(t.Context()) != nil
			})
			if err := l.Admit(t.Context()); !overloaded(err) || l.Status().Error == "" {
				t.Errorf("%v, %+v", err, l.Status())
			}
			if err := l.Write(call()); !overloaded(err) {
				t.Errorf("a call whose record is nowhere: %v", err)
			}
			succeed(t, os.Remove(dir))
			eventually(t, "the return", func() bool { return l.Admit(t.Context()) == nil && l.Status().Error == "" })
			writeSome(t, l, 1)
			if r := good(t, c, filepath.Join(dir, logName)); r.First != 1 {
				t.Errorf("%+v", r)
			}
			displace(t, dir)
			if err := l.Close(t.Context()); err == nil {
				t.Error("records are gone, and nothing is said")
			}
		})
	}
}

// displace has a file be where a folder is that is made again and again.
func displace(t *testing.T, dir string) {
	t.Helper()
	eventually(t, "a moment without the folder", func() bool {
		return os.RemoveAll(dir) == nil && os.WriteFile(dir, nil, 0o600) == nil
	})
}

// overloaded tells whether a call is refused since there is no room for it now.
func overloaded(err error) bool {
	e := errs.Of(err)
	return e != nil && e.Kind == errs.Overloaded
}

// succeed wants no error.
func succeed(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
