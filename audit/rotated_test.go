package audit_test

import (
	"context"
	"path/filepath"
	"strconv"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
)

// atSecondLook is a context in which something happens when it is looked at for the second time.
type atSecondLook struct {
	context.Context //nolint:containedctx // it is one
	looks           int
	do              func()
}

func (c *atSecondLook) Err() error {
	if c.looks++; c.looks == 2 {
		c.do()
	}
	return c.Context.Err()
}

// TestPutAsideMeanwhile: a file that is put aside while the log is read is read all the same, once.
func TestPutAsideMeanwhile(t *testing.T) {
	c := config(t, v1.AuditSink{File: logName, Rotate: 64 << 10})
	path := filepath.Join(c.StateDir, logName)
	l := open(t, c, audit.Options{})
	n := 0
	write := func(more int) {
		for range more {
			r := call()
			r.TargetName = "tool" + strconv.Itoa(n)
			n++
			if err := l.Write(r); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(200)
	before, found := n, 0
	err := audit.Search(t.Context(), path, audit.Query{Subject: "alice"}, func(_ []byte, e *audit.Event) bool {
		if found == 0 {
			write(400)
		}
		if _, name := e.Target(); found < before && name != "tool"+strconv.Itoa(found) {
			t.Fatalf("record %d is about %s", found, name)
		}
		found++
		return true
	})
	if err != nil || found < before {
		t.Errorf("found %d of %d: %v", found, before, err)
	}

	pem, err := audit.PublicKey(c)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := audit.ParseKeys(pem)
	if err != nil {
		t.Fatal(err)
	}
	ctx := &atSecondLook{t.Context(), 0, func() { write(400) }}
	if r, err := audit.Verify(ctx, path, audit.VerifyOptions{Keys: keys}); err != nil || r.Fault != nil || r.Lines == 0 {
		t.Errorf("verify: %+v, %v", r, err)
	}
}

// TestLeftOut: files that are put aside while a sink looks for the next may be missing from what it finds; it passes none over.
func TestLeftOut(t *testing.T) {
	c := config(t, v1.AuditSink{File: logName, Rotate: 1 << 10})
	l := open(t, c, audit.Options{})
	writeSome(t, l, 10)
	shut(t, l)
	path := filepath.Join(c.StateDir, logName)
	second, err := audit.NextFile(path, 0)
	if err != nil || second == 0 {
		t.Fatalf("goes on in the file of line %d: %v", second, err)
	}
	for without, want := range map[int]uint64{1: 0, 2: second, 3: second} {
		if first, err := audit.NextFile(path, without); err != nil || first != want {
			t.Errorf("without file %d it goes on in that of line %d, want %d: %v", without, first, want, err)
		}
	}
}
