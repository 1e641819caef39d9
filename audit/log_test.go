package audit_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
)

func config(t testing.TB, sinks ...v1.AuditSink) *v1.Config {
	t.Helper()
	c := v1.New()
	c.StateDir = t.TempDir()
	c.Audit.Sinks = sinks
	for i := range sinks {
		sinks[i].Timeout = v1.Duration(10 * time.Second)
		if sinks[i].Rotate == 0 {
			sinks[i].Rotate = 100 << 20
		}
		if sinks[i].Lag == 0 {
			sinks[i].Lag = 64 << 20
		}
	}
	return c
}

func open(t testing.TB, c *v1.Config, o audit.Options) *audit.Log {
	t.Helper()
	o.Version, o.Replica = "1.2.3", "r1"
	l, err := audit.Open(c, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(t.Context()) })
	return l
}

func shut(t testing.TB, l *audit.Log) {
	t.Helper()
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.b.Bytes())
}

func call() *audit.Record {
	return &audit.Record{
		Time: time.UnixMilli(1_800_000_000_000), Subject: "alice", Tenant: "acme",
		Trace: strings.Repeat("a1", 16), Groups: []string{"analysts"}, Method: "api_key",
		Client: "probe", ClientVer: "1.0", Session: "s-1", Endpoint: "/mcp", HTTPMethod: "POST", Era: "modern", Operation: "tools/call", Server: "files",
		Target: audit.Tool, TargetName: "find", Shown: "files__find", Arguments: []byte(`{"q": "x", "password": "hunter2"}`),
		Decision: audit.Allowed, Rule: "role user", Outcome: "ok", Status: 200, Took: 12 * time.Millisecond, AtServer: 3 * time.Millisecond, BytesIn: 100, BytesOut: 50,
	}
}

func TestFollowed(t *testing.T) {
	var out safeBuffer
	c := config(t, v1.AuditSink{File: "a.jsonl"}, v1.AuditSink{Stdout: true})
	l := open(t, c, audit.Options{Stdout: &out})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if err := l.Write(call()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	shut(t, l)
	file, err := os.ReadFile(filepath.Join(c.StateDir, "a.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(file, out.Bytes()) {
		t.Errorf("stdout got %d bytes, the file has %d", len(out.Bytes()), len(file))
	}
	if n := bytes.Count(file, []byte{'\n'}); n < 802 {
		t.Errorf("%d lines", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	l := open(b, config(b, v1.AuditSink{File: "a.jsonl", Rotate: 1 << 30, Keep: 1}), audit.Options{})
	r := call()
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Write(r); err != nil {
			b.Fatal(err)
		}
	}
	info, err := os.Stat(l.Status().File)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(info.Size())/float64(l.Status().Sequence), "B/line")
}

func BenchmarkWriteParallel(b *testing.B) {
	l := open(b, config(b, v1.AuditSink{File: "a.jsonl", Rotate: 1 << 30, Keep: 1}), audit.Options{})
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		r := call()
		for pb.Next() {
			if err := l.Write(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
