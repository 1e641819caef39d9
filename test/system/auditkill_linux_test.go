package system_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// auditedProcess is a gateway as a process of its own, whose audit log holds all arguments.
type auditedProcess struct {
	*testenv.Fleet
	path string
	keys map[string]ed25519.PublicKey
	all  *v1.Config
}

func auditProcess(t *testing.T, more map[string]any) *auditedProcess {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	p := &auditedProcess{path: filepath.Join(t.TempDir(), "audit.jsonl"), all: v1.New()}
	if p.keys, err = audit.ParseKeys(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})); err != nil {
		t.Fatal(err)
	}
	p.all.Audit.Key = v1.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	p.all.Audit.Sinks = []v1.AuditSink{{File: p.path, Rotate: 1 << 30}}
	sink := map[string]any{"file": p.path, "rotate": "1Mi"}
	maps.Copy(sink, more)
	p.Fleet = testenv.ServeFleet(t, testenv.FleetConfig{Replicas: 1, Config: testenv.Config{
		Servers: map[string]*testenv.Server{"one": testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1), Forgets: true})},
		More: map[string]any{"log": map[string]any{"level": "warn"}, "audit": map[string]any{
			"sinks": []any{sink}, "key": string(p.all.Audit.Key), "checkpoint": "1s", "wait": "1ms",
			"arguments": []any{map[string]any{"tools": []string{"*"}, "as": "full"}},
		}},
	}})
	return p
}

// found are the marks of the calls on record, in their order.
func (p *auditedProcess) found(t *testing.T) (all []string) {
	t.Helper()
	var text []byte
	whole := testenv.Happens(func() bool {
		text = nil
		files := p.files(t)
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				return false
			}
			text = append(text, b...)
		}
		return slices.Equal(files, p.files(t)) // none was put aside meanwhile
	})
	if !whole {
		t.Error("the files cannot be read")
	}
	for line := range bytes.Lines(text) {
		var r struct {
			Unmapped struct{ Arguments struct{ Mark string } }
		}
		if json.Unmarshal(line, &r) == nil && r.Unmapped.Arguments.Mark != "" {
			all = append(all, r.Unmapped.Arguments.Mark)
		}
	}
	return all
}

// files are those of the log, the present one last.
func (p *auditedProcess) files(t *testing.T) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(filepath.Dir(p.path), "*.jsonl"))
	if err != nil {
		t.Error(err)
	}
	return all
}

// hammer has callers of both eras call until the context ends; it returns the marks of the calls that were answered.
func (p *auditedProcess) hammer(ctx context.Context, t *testing.T, callers int) []string {
	t.Helper()
	var mu sync.Mutex
	var answered []string
	var n atomic.Int64
	var wg sync.WaitGroup
	for i := range callers {
		c := p.At(0, p.Client(testenv.Eras[i%2], "/mcp", ""))
		wg.Go(func() {
			for ctx.Err() == nil {
				mark := fmt.Sprintf("m%08d", n.Add(1))
				r, err := c.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"one__tool0000","arguments":{"mark":"` + mark + `"}`})
				if err != nil || r.Status != http.StatusOK || r.Result() == nil {
					if err == nil {
						continue
					}
					return
				}
				mu.Lock()
				answered = append(answered, mark)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return answered
}

func (p *auditedProcess) verify(t *testing.T) *audit.Report {
	t.Helper()
	r, err := audit.Verify(t.Context(), p.path, audit.VerifyOptions{Keys: p.keys})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAuditSurvivesKill: whenever the gateway is killed, each call that was answered is on record, and the log can be gone on with.
func TestAuditSurvivesKill(t *testing.T) {
	t.Parallel()
	for round := range 3 {
		p := auditProcess(t, nil)
		ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
		go func() {
			testenv.Happens(func() bool { return len(p.found(t)) > 500*(round+1) })
			p.Kill(0)
			cancel()
		}()
		answered := p.hammer(ctx, t, 16)
		found := map[string]bool{}
		for _, mark := range p.found(t) {
			found[mark] = true
		}
		missing := slices.DeleteFunc(slices.Clone(answered), func(m string) bool { return found[m] })
		if len(answered) < 100 || len(missing) > 0 {
			t.Errorf("%d calls were answered, of which %d are not on record: %.200v", len(answered), len(missing), missing)
		}
		p.all.StateDir = t.TempDir()
		l, err := audit.Open(p.all, audit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := p.verify(t); r.Fault != nil || r.Lines < uint64(len(answered)) {
			t.Errorf("%+v, %v", r, r.Fault)
		}
		t.Logf("%d answered, %d on record", len(answered), len(found))
	}
}

// TestAuditAtFullRate: at the highest rate, with files that are put aside all the time, no record is lost or out of order.
func TestAuditAtFullRate(t *testing.T) {
	t.Parallel()
	p := auditProcess(t, map[string]any{"rotate": "64Ki"})
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	go func() {
		testenv.Happens(func() bool { return time.Since(began) > 3*time.Second && len(p.found(t)) > 1000 })
		cancel()
	}()
	answered := p.hammer(ctx, t, 32)
	testenv.Eventually(t, "a log that is as it should be", func() bool { return p.verify(t).Fault == nil })
	r, found := p.verify(t), p.found(t)
	slices.Sort(found)
	if len(slices.Compact(slices.Clone(found))) != len(found) {
		t.Error("a call is on record twice")
	}
	for _, mark := range answered {
		if _, ok := slices.BinarySearch(found, mark); !ok {
			t.Fatalf("call %s is not on record", mark)
		}
	}
	if r.Files < 10 {
		t.Errorf("%+v", r)
	}
	t.Logf("%d calls answered in %v; %d lines in %d files", len(answered), time.Since(began), r.Lines, r.Files)
}

// TestAuditDiskFull: while nothing can be written, calls are refused, which the gateway's log tells once; what was asked meanwhile is
// on record later, and what was answered is in any case.
func TestAuditDiskFull(t *testing.T) {
	t.Parallel()
	p := auditProcess(t, nil)
	c := p.Modern("/mcp")
	call := func(mark string) *testenv.Reply { return c.Tool("one__tool0000", `{"mark":"`+mark+`"}`) }
	if r := call("before"); r.Status != 200 {
		t.Fatal(r)
	}
	info, err := os.Stat(p.path)
	if err != nil {
		t.Fatal(err)
	}
	limit := func(size uint64) {
		t.Helper()
		var now unix.Rlimit
		err := unix.Prlimit(p.Replicas[0].PID, unix.RLIMIT_FSIZE, nil, &now)
		if err == nil {
			err = unix.Prlimit(p.Replicas[0].PID, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: min(size, now.Max), Max: now.Max}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(uint64(info.Size()) + 2000)
	var refused *testenv.Reply
	answered := []string{"before"}
	for i := 0; refused == nil; i++ {
		if r := call(fmt.Sprint("during", i)); r.Status == 200 {
			answered = append(answered, fmt.Sprint("during", i))
		} else {
			refused = r
		}
	}
	if _, text := refused.Error(); refused.Status != 503 || !strings.Contains(text, "audit") {
		t.Errorf("%v", refused)
	}
	if r := call("refused"); r.Status != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("%v", r)
	}
	limit(unix.RLIM_INFINITY)
	testenv.Eventually(t, "calls are served again", func() bool { return call("after").Status == 200 })
	for _, line := range []string{"audit log cannot be written to", "audit log can be written to again"} {
		testenv.Eventually(t, line, func() bool { return strings.Contains(p.Replicas[0].Log(), line) }) // its log comes by a pipe
		if n := strings.Count(p.Replicas[0].Log(), line); n != 1 {
			t.Errorf("%q is logged %d times:\n%s", line, n, p.Replicas[0].Log())
		}
	}
	found := p.found(t)
	for _, mark := range append(answered, fmt.Sprint("during", len(answered)-1), "after") {
		if !slices.Contains(found, mark) {
			t.Errorf("%s is not on record: %v", mark, found)
		}
	}
	if r := p.verify(t); r.Fault != nil {
		t.Error(r.Fault)
	}
}
