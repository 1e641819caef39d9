package audit

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// TestLeadComesUp: who leads without an entry has its turn although somebody always has something to write.
func TestLeadComesUp(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "audit.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	j := &journal{path: f.Name(), log: slog.New(slog.DiscardHandler), f: f}
	j.rotate.Store(1 << 30)
	var writers sync.WaitGroup
	write := func() {
		e := newEntry()
		e.body = []byte(`{"a":1`)
		if err := j.write(e); err != nil {
			t.Error(err)
		}
	}
	locked := func(f func() bool) {
		for {
			j.mu.Lock()
			done := f()
			j.mu.Unlock()
			if done {
				return
			}
			runtime.Gosched()
		}
	}
	const most = 1000
	batches, led := 0, 0
	j.wrote = func() { // the leader runs it
		if batches++; batches == most {
			return
		}
		if batches == 1 {
			writers.Go(func() { j.lead(func() { led, j.wrote = batches, nil }) })
			locked(func() bool { return len(j.turns) == 1 })
		}
		writers.Go(write)
		locked(func() bool { return len(j.pending) > 0 })
	}
	write()
	writers.Wait()
	if led != 1 {
		t.Errorf("its turn came after %d of %d batches, want after the one that was being written", led, batches)
	}
	if err := j.close(); err != nil {
		t.Error(err)
	}
}
