package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/errs"
)

func keysOf(t testing.TB, c *v1.Config) audit.VerifyOptions {
	t.Helper()
	pub, err := audit.PublicKey(c)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := audit.ParseKeys(pub)
	if err != nil {
		t.Fatal(err)
	}
	return audit.VerifyOptions{Keys: keys}
}

func good(t testing.TB, c *v1.Config, path string) *audit.Report {
	t.Helper()
	r, err := audit.Verify(context.Background(), path, keysOf(t, c))
	if err != nil {
		t.Fatal(err)
	}
	if r.Fault != nil {
		t.Fatalf("%v", r.Fault)
	}
	return r
}

func writeSome(t testing.TB, l *audit.Log, n int) {
	t.Helper()
	for range n {
		if err := l.Write(call()); err != nil {
			t.Fatal(err)
		}
	}
}

// inOrder checks that records came from the first on, each once.
func inOrder(t testing.TB, seen []uint64) {
	t.Helper()
	for i, seq := range seen {
		if seq != uint64(i+1) {
			t.Fatalf("record %d came as number %d", seq, i+1)
		}
	}
}

// TestContinued: a log goes on where it ended, also when it was not closed.
func TestContinued(t *testing.T) {
	c := config(t, v1.AuditSink{File: logName})
	path := filepath.Join(c.StateDir, logName)
	for range 3 {
		l := open(t, c, audit.Options{})
		writeSome(t, l, 5)
		shut(t, l)
	}
	r := good(t, c, path)
	if r.Last != 3*7 || r.Notes != nil { // start, five, stop
		t.Errorf("%+v", r)
	}
	first, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(first), `"closed_before":true`); n != 2 {
		t.Errorf("%d starts say that the log was closed before", n)
	}
}

// TestTornLine: what a crash left of a line is kept aside, and told.
func TestTornLine(t *testing.T) {
	for _, torn := range []string{`{"metadata":{"sequence":9`, "\x00\x00\x00\n\x00", "{}\n"} {
		c := config(t, v1.AuditSink{File: logName})
		path := filepath.Join(c.StateDir, logName)
		l := open(t, c, audit.Options{})
		writeSome(t, l, 3)
		shut(t, l)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		replace(t, c.StateDir, logName, append(bytes.Clone(before), torn...))
		l = open(t, c, audit.Options{})
		writeSome(t, l, 1)
		shut(t, l)
		r := good(t, c, path)
		if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "no whole line") {
			t.Errorf("%q: notes %v", torn, r.Notes)
		}
		kept, err := filepath.Glob(path + ".torn-*")
		if err != nil || len(kept) != 1 {
			t.Fatalf("%q: kept %v, %v", torn, kept, err)
		}
		if b, err := os.ReadFile(kept[0]); err != nil || string(b) != torn {
			t.Errorf("kept %q, %v; want %q", b, err, torn)
		}
	}
}

// TestMissingAtStart: lines that are gone stay missing, however long the log goes on.
func TestMissingAtStart(t *testing.T) {
	c := config(t, v1.AuditSink{File: logName})
	path := filepath.Join(c.StateDir, logName)
	l := open(t, c, audit.Options{})
	writeSome(t, l, 10)
	shut(t, l)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := slices.Collect(bytes.Lines(text))
	replace(t, c.StateDir, logName, bytes.Join(lines[:6], nil))
	l = open(t, c, audit.Options{})
	writeSome(t, l, 10)
	shut(t, l)
	r := verify(t, c.StateDir, keysOf(t, c))
	if r.Fault == nil || r.Fault.What != "missing" || r.Fault.Sequence != 7 || !strings.Contains(r.Fault.Detail, "7 to 12") {
		t.Errorf("%v", r.Fault)
	}
	if err := os.Remove(path + ".head"); err != nil {
		t.Fatal(err)
	}
	l = open(t, c, audit.Options{})
	shut(t, l)
	text, err = os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), `"head_missing":true`) {
		t.Error("nobody is told that the head is gone")
	}
}

// TestShared: each process that has the same state directory writes a log of its own.
func TestShared(t *testing.T) {
	c := config(t, v1.AuditSink{File: logName})
	a, b := open(t, c, audit.Options{}), open(t, c, audit.Options{})
	writeSome(t, a, 3)
	writeSome(t, b, 4)
	shut(t, a)
	shut(t, b)
	logs, err := audit.LogsAt(filepath.Join(c.StateDir, logName))
	if err != nil || len(logs) != 2 || filepath.Base(logs[1]) != "audit-2.jsonl" {
		t.Fatalf("%v, %v", logs, err)
	}
	if x, y := good(t, c, logs[0]), good(t, c, logs[1]); x.Last != 5 || y.Last != 6 {
		t.Errorf("%+v %+v", x, y)
	}
}

// kill has a log be as it is when the process that writes it is killed.
func kill(t *testing.T, l *audit.Log, c *v1.Config, name string) {
	t.Helper()
	kept := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(c.StateDir, name+"*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if kept[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	end, cancel := context.WithCancel(t.Context())
	cancel() // nor does it wait for its sinks
	if err := l.Close(end); err != nil {
		t.Fatal(err)
	}
	for f, b := range kept {
		replace(t, filepath.Dir(f), filepath.Base(f), b)
	}
}

// TestOrphan: the log of a process that was killed is finished by the next one that starts, although that writes another: all of it
// is signed, and sinks get what they lack. Then it stays as it is.
func TestOrphan(t *testing.T) {
	k := &taker{}
	audit.SetSink(t, "webhook", k)
	k.fail.Store(true)
	const second = "audit-2.jsonl"
	c := config(t, v1.AuditSink{File: logName}, v1.AuditSink{Webhook: "http://127.0.0.1:1"})
	path, orphan := filepath.Join(c.StateDir, logName), filepath.Join(c.StateDir, second)
	one, two := open(t, c, audit.Options{}), open(t, c, audit.Options{})
	writeSome(t, two, 5)
	kill(t, two, c, second)
	kill(t, one, c, logName)
	if r := good(t, c, orphan); r.Unsigned != 6 {
		t.Fatalf("%+v", r)
	}
	k.fail.Store(false)
	l := open(t, c, audit.Options{})
	eventually(t, "the end of the log that was left", func() bool {
		text, err := os.ReadFile(orphan)
		return err == nil && bytes.Count(text, []byte(`"closed":true`)) == 1 && len(k.all()) >= 8+2 // and the two starts of the other
	})
	shut(t, l)
	r := good(t, c, orphan)
	if r.Unsigned != 0 || r.Last != 8 { // start, five, start, stop
		t.Errorf("%+v", r)
	}
	if got, want := len(k.all()), int(good(t, c, path).Last+r.Last); got != want {
		t.Errorf("the sink got %d of %d", got, want)
	}
	l = open(t, c, audit.Options{})
	shut(t, l)
	if again := good(t, c, orphan); again.Hash != r.Hash {
		t.Errorf("%+v, before %+v", again, r)
	}
}

// taker is a sink that can be made to take nothing.
type taker struct {
	mu   sync.Mutex
	seen []uint64
	fail atomic.Bool
}

func (k *taker) Send(_ context.Context, lines []audit.Line) error {
	if k.fail.Load() {
		return errors.New("not now")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, l := range lines {
		k.seen = append(k.seen, l.Sequence)
	}
	return nil
}

func (k *taker) Close() error { return nil }

func (k *taker) all() []uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.seen)
}

// TestFollowerGoesOn: a sink that takes nothing gets all of it later, in order and over rotated files, also after a restart; what it
// needs is kept longer than keep says, and no longer.
func TestFollowerGoesOn(t *testing.T) {
	k := &taker{}
	audit.SetSink(t, "webhook", k)
	c := config(t, v1.AuditSink{File: logName, Rotate: 64 << 10, Keep: 1}, v1.AuditSink{Webhook: "http://127.0.0.1:1"})
	path := filepath.Join(c.StateDir, logName)
	k.fail.Store(true)
	l := open(t, c, audit.Options{})
	writeSome(t, l, 300)
	eventually(t, "the failure", func() bool { s := l.Status(); return s.Sinks[0].Error != "" && s.Sinks[0].Behind > 300<<10 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(c.StateDir, "audit.0*"))
	if err != nil || len(files) < 4 {
		t.Fatalf("what the sink has not got is gone: %v, %v", files, err)
	}
	k.fail.Store(false)
	l = open(t, c, audit.Options{})
	writeSome(t, l, 100)
	eventually(t, "all that was missed", func() bool { return l.Status().Sinks[0].Behind == 0 })
	writeSome(t, l, 100)
	shut(t, l)
	r := good(t, c, path)
	seen := k.all()
	inOrder(t, seen)
	if uint64(len(seen)) != r.Last {
		t.Errorf("the sink got %d of %d", len(seen), r.Last)
	}
	if r.First == 1 || r.Files > 3 {
		t.Errorf("old files were kept: %+v", r)
	}
}

// TestFollowedOverFiles: a sink gets all lines also while files are put aside all the time.
func TestFollowedOverFiles(t *testing.T) {
	k := &taker{}
	audit.SetSink(t, "webhook", k)
	c := config(t, v1.AuditSink{File: logName, Rotate: 1 << 10}, v1.AuditSink{Webhook: "http://127.0.0.1:1"})
	l := open(t, c, audit.Options{})
	for range 20 {
		writeSome(t, l, 20)
		eventually(t, "all that was written", func() bool { return l.Status().Sinks[0].Behind == 0 })
	}
	shut(t, l)
	inOrder(t, k.all())
}

// TestCheckpoint: what was written is signed as often as audit.checkpoint says, while the log is open.
func TestCheckpoint(t *testing.T) {
	c := config(t, v1.AuditSink{File: logName})
	c.Audit.Checkpoint = v1.Duration(10 * time.Millisecond)
	l := open(t, c, audit.Options{})
	for n := range 3 {
		writeSome(t, l, 5)
		eventually(t, "a checkpoint", func() bool {
			r := good(t, c, filepath.Join(c.StateDir, logName))
			return r.Checkpoints > n && r.Signed >= uint64(5*(n+1))
		})
	}
}

// TestLag: while a sink is behind by more than it may be, calls wait, and are refused after a while; then they go on.
func TestLag(t *testing.T) {
	k := &taker{}
	audit.SetSink(t, "webhook", k)
	k.fail.Store(true)
	c := config(t, v1.AuditSink{File: logName}, v1.AuditSink{Webhook: "http://127.0.0.1:1", Lag: 64 << 10})
	c.Audit.Wait = v1.Duration(20 * time.Millisecond)
	l := open(t, c, audit.Options{})
	if err := l.Admit(t.Context()); err != nil {
		t.Fatal(err)
	}
	writeSome(t, l, 100)
	began := time.Now()
	err := l.Admit(t.Context())
	if e := errs.Of(err); err == nil || e.Kind != errs.Overloaded || !strings.Contains(e.Error(), "webhook") || time.Since(began) < 20*time.Millisecond {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	refusing := *c
	refusing.Audit.Full, refusing.Audit.Wait = "refuse", v1.Duration(time.Hour)
	if err := l.Configure(&refusing); err != nil {
		t.Fatal(err)
	}
	if err := l.Admit(t.Context()); err == nil {
		t.Error("admitted")
	}
	waiting := *c
	waiting.Audit.Wait = v1.Duration(time.Hour)
	if err := l.Configure(&waiting); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- l.Admit(t.Context()) }()
	k.fail.Store(false)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestReconfigured: sinks come and go, and recording ends and begins, while the log goes on.
func TestReconfigured(t *testing.T) {
	k := &taker{}
	audit.SetSink(t, "webhook", k)
	c := config(t, v1.AuditSink{File: logName})
	l := open(t, c, audit.Options{})
	writeSome(t, l, 3)
	more := *c
	more.Audit.Sinks = append(slices.Clone(c.Audit.Sinks), v1.AuditSink{Webhook: "http://127.0.0.1:1", Lag: 1 << 20, Timeout: v1.Duration(time.Second)})
	none := *c
	none.Audit.Sinks = []v1.AuditSink{}
	for _, step := range []*v1.Config{&more, &more, &none, &more, c} {
		if err := l.Configure(step); err != nil {
			t.Fatal(err)
		}
		if on := len(step.Audit.Sinks) > 0; l.On() != on || (l.Status() != nil) != on {
			t.Errorf("on %v", l.On())
		}
		writeSome(t, l, 2)
		if step == &more {
			eventually(t, "the sink gets something", func() bool { return len(k.all()) > 0 })
		}
	}
	shut(t, l)
	r := good(t, c, filepath.Join(c.StateDir, logName))
	text, err := os.ReadFile(filepath.Join(c.StateDir, logName))
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for line := range bytes.Lines(text) {
		e, err := audit.ParseEvent(line)
		if err != nil {
			t.Fatal(err)
		}
		if e.Class == 6002 {
			told = append(told, e.Unmapped.Operation)
		}
	}
	want := []string{"start", "follow", "configure", "disable", "enable", "configure", "stop"}
	if !slices.Equal(slices.DeleteFunc(told, func(s string) bool { return s == "checkpoint" }), want) || r.Last == 0 {
		t.Errorf("told %v, want %v", told, want)
	}
}

// TestCopies: a second file has the same lines, and can be verified as well.
func TestCopies(t *testing.T) {
	c := config(t, v1.AuditSink{File: logName}, v1.AuditSink{File: "copy/c.jsonl", Rotate: 64 << 10})
	for range 2 {
		l := open(t, c, audit.Options{})
		writeSome(t, l, 100)
		shut(t, l)
	}
	all := good(t, c, filepath.Join(c.StateDir, logName))
	o := keysOf(t, c)
	o.Part = true
	r, err := audit.Verify(t.Context(), filepath.Join(c.StateDir, "copy", "c.jsonl"), o)
	if err != nil || r.Fault != nil || r.Last != all.Last || r.Hash != all.Hash || r.Files < 2 {
		t.Errorf("%+v, %v, want as %+v", r, err, all)
	}
}

// TestRecordsChosen: what is recorded, by audit.records.
func TestRecordsChosen(t *testing.T) {
	list, denied, refused, ended := call(), call(), call(), call()
	ended.Operation, ended.Outcome, ended.Decision = audit.StreamEnd, "canceled", audit.Undecided
	list.Operation = "tools/list"
	denied.Decision = audit.Denied
	refused.Kind, refused.Outcome = audit.Logon, "unauthenticated"
	for records, want := range map[string]int{"all": 5, "calls": 4, "denied": 3} {
		c := config(t, v1.AuditSink{File: logName})
		c.Audit.Records = records
		l := open(t, c, audit.Options{})
		for _, r := range []*audit.Record{call(), list, denied, refused, ended} {
			if err := l.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		shut(t, l)
		if r := good(t, c, filepath.Join(c.StateDir, logName)); int(r.Last)-2 != want {
			t.Errorf("%s: %d records, want %d", records, r.Last-2, want)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// TestPlaceAfterCrash: whatever a crash of the machine leaves of the log and of the place of a sink, the sink gets every line that is
// written then, and those again that it may not have; no number stands for two lines.
func TestPlaceAfterCrash(t *testing.T) {
	for name, tt := range map[string]struct {
		lines int                      // that are left
		place func(text []byte) []byte // what is left of the file with the place
		first uint64                   // that the sink gets then
	}{
		"as it was":             {lines: 21, first: 22},
		"some lines lost":       {lines: 10, first: 22},
		"the last line lost":    {lines: 20, first: 22},
		"all lines lost":        {lines: 0, first: 22},
		"place empty":           {lines: 21, place: func([]byte) []byte { return nil }, first: 1},
		"place of zeros":        {lines: 21, place: func(b []byte) []byte { return make([]byte, len(b)) }, first: 1},
		"place is null":         {lines: 21, place: func([]byte) []byte { return []byte("null") }, first: 1},
		"place cut off":         {lines: 21, place: func(b []byte) []byte { return b[:len(b)/2] }, first: 1},
		"place and lines gone":  {lines: 10, place: func([]byte) []byte { return nil }, first: 1},
		"place is an older one": {lines: 21, place: earlier, first: 1},
	} {
		t.Run(name, func(t *testing.T) {
			k := &taker{}
			audit.SetSink(t, "webhook", k)
			c := config(t, v1.AuditSink{File: logName}, v1.AuditSink{Webhook: "http://127.0.0.1:1"})
			c.Audit.Checkpoint = v1.Duration(time.Hour)
			path := filepath.Join(c.StateDir, logName)
			l := open(t, c, audit.Options{})
			writeSome(t, l, 20)
			var places []string
			eventually(t, "the place", func() bool {
				var err error
				places, err = filepath.Glob(path + ".sink-*[0-9a-f]")
				succeed(t, err)
				if len(places) != 1 {
					return false
				}
				b, err := os.ReadFile(places[0])
				return err == nil && bytes.Contains(b, []byte(`"sequence":21`))
			})
			kill(t, l, c, logName)
			before := len(k.all()) // with what its end told it
			text, err := os.ReadFile(path)
			succeed(t, err)
			replace(t, c.StateDir, logName, bytes.Join(bytes.SplitAfter(text, []byte("\n"))[:tt.lines], nil))
			if tt.place != nil {
				b, err := os.ReadFile(places[0])
				succeed(t, err)
				replace(t, c.StateDir, filepath.Base(places[0]), tt.place(b))
			}
			l = open(t, c, audit.Options{})
			writeSome(t, l, 5)
			shut(t, l)
			seen, last := k.all()[before:], l.Status().Sequence
			if len(seen) == 0 || seen[0] != tt.first || seen[len(seen)-1] != last {
				t.Fatalf("the sink got %v; want from %d to %d", seen, tt.first, last)
			}
			for i, seq := range seen[1:] {
				if seq != seen[i]+1 && seen[i] != uint64(tt.lines) {
					t.Errorf("line %d came behind %d", seq, seen[i])
				}
			}
		})
	}
}

// earlier is a place before all lines.
func earlier(place []byte) []byte {
	var p map[string]any
	if err := json.Unmarshal(place, &p); err != nil {
		panic(err)
	}
	p["sequence"], p["offset"] = 0, 0
	out, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return out
}
