package runner

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// piped is a process of which there is but the pipe to its stdin.
func piped(t *testing.T) (*Process, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(r, w) })
	return &Process{stdin: w, out: newOutlet(w), done: make(chan struct{}), reaped: true}, r
}

func segments(parts ...string) (all [][]byte) {
	for _, p := range parts {
		all = append(all, []byte(p))
	}
	return all
}

// While the pipe is another's, short lines gather and then go in one piece, in the order in which they came.
func TestLinesGoTogether(t *testing.T) {
	p, r := piped(t)
	p.out.turn.Lock()
	var all sync.WaitGroup
	var want strings.Builder
	for i, text := range []string{"a\nb", "\r", strings.Repeat("c", 5000), "d"} {
		all.Go(func() {
			if err := p.Write(segments(text, text), time.Minute); err != nil {
				t.Error(err)
			}
		})
		line := strings.Repeat(strings.NewReplacer("\n", " ", "\r", " ").Replace(text), 2) + "\n"
		want.WriteString(line)
		for joined(p.out) != want.Len() {
			time.Sleep(time.Millisecond)
		}
		if first := p.out.open; (i > 0) != (first.done != nil) {
			t.Errorf("after line %d: waiting %t", i, first.done != nil)
		}
	}
	p.out.turn.Unlock()
	all.Wait()
	got := make([]byte, 1<<20)
	n, err := r.Read(got)
	if diff := cmp.Diff(want.String(), string(got[:n])); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func joined(o *outlet) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open == nil {
		return 0
	}
	return len(o.open.lines.B)
}

// A batch holds no more than a pipe; what comes after makes another one.
func TestBatchIsBounded(t *testing.T) {
	p, r := piped(t)
	line := segments(strings.Repeat("x", shortLine-1))
	var firsts []*batch
	for range 5 {
		b, first := p.out.join(line, shortLine, time.Second)
		if first {
			firsts = append(firsts, b)
		}
		if len(b.lines.B) > chunkSize {
			t.Fatalf("%d bytes in one batch", len(b.lines.B))
		}
	}
	p.out.timeout = time.Minute
	if len(firsts) != 3 {
		t.Errorf("%d batches of two lines each for five lines", len(firsts))
	}
	go func() {
		for _, b := range firsts {
			p.out.leave(b)
			p.out.finish(b, p.out.put(b.lines.B))
		}
		p.stdin.Close()
	}()
	got, err := io.ReadAll(r)
	if err != nil || string(got) != strings.Repeat(string(line[0])+"\n", 5) {
		t.Errorf("%d bytes arrive: %v", len(got), err)
	}
}

// All who wrote together hear that the server does not read, or is gone.
func TestTogetherFails(t *testing.T) {
	tests := map[string]struct {
		spoil func(r, w *os.File)
		limit time.Duration
		want  error
	}{
		"deaf": {func(_, w *os.File) { fill(w) }, 300 * time.Millisecond, ErrWriteTimeout},
		"gone": {func(r, _ *os.File) { r.Close() }, time.Minute, syscall.EPIPE},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, r := piped(t)
			tt.spoil(r, p.stdin)
			p.out.turn.Lock()
			var all sync.WaitGroup
			for i := range 10 {
				all.Go(func() {
					if err := p.Write(segments("x"), tt.limit); !errors.Is(err, tt.want) {
						t.Errorf("Write = %v", err)
					}
				})
				for joined(p.out) != 2*(i+1) {
					time.Sleep(time.Millisecond)
				}
			}
			p.out.turn.Unlock()
			all.Wait()
		})
	}
}

func fill(w *os.File) {
	_ = w.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	for {
		if _, err := w.Write(make([]byte, 4<<10)); err != nil {
			break
		}
	}
	_ = w.SetWriteDeadline(time.Time{})
}
