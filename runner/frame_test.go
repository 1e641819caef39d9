package runner_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
)

func TestEcho(t *testing.T) {
	p := start(t, "echo", runner.Options{})
	write(t, p, `{"a":1}`)
	write(t, p, "{\"a\":\r\n", "2,\n\n", "\"b\":", "\"\u2028\u00a0\ufeff\"}\n")
	if got, want := read(t, p), `{"a":1}`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := read(t, p), "{\"a\":  2,  \"b\":\"\u2028\u00a0\ufeff\"} "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Messages of all sizes around the chunk and pipe sizes arrive byte for byte, whatever the segments.
func TestSizes(t *testing.T) {
	p := start(t, "echo", runner.Options{})
	sizes := []int{1, 4095, 4096, 4097, 32767, 32768, 65534, 65535, 65536, 65537, 131072, 1 << 20, 5<<20 + 3, 16 << 20}
	go func() {
		for i, n := range sizes {
			body := pattern(n, i)
			_ = p.Write([][]byte{body[:n/3], body[n/3 : n/2], body[n/2:]}, 0)
		}
	}()
	var m mcp.Buffer
	for i, n := range sizes {
		if err := p.Read(&m); err != nil {
			t.Fatal(n, err)
		}
		if !bytes.Equal(m.B, pattern(n, i)) {
			t.Fatalf("message of %d bytes came back as another one of %d bytes", n, len(m.B))
		}
	}
}

// Newlines inside large segments become spaces there too.
func TestLargeSegmentWithNewlines(t *testing.T) {
	p := start(t, "echo", runner.Options{})
	body := bytes.Repeat([]byte("0123456789\r\n"), 20000)
	want := bytes.ReplaceAll(body, []byte("\r\n"), []byte("  "))
	go func() { _ = p.Write([][]byte{[]byte("<"), body, []byte(">")}, 0) }()
	if got := read(t, p); got != "<"+string(want)+">" {
		t.Fatalf("came back altered, %d bytes", len(got))
	}
	if body[10] != '\r' {
		t.Fatal("Write altered the caller's bytes")
	}
}

func pattern(n, seed int) []byte {
	period := make([]byte, 10_007)
	for i := range period {
		period[i] = byte('!' + (i*7+i/251+seed)%90)
	}
	return bytes.Repeat(period, n/len(period)+1)[:n]
}

func TestGarbageAndBlankLines(t *testing.T) {
	p := start(t, `say \n\r\n  \t\nnot json\n\xff\xfe\x00\n{"ok":1}\r\nhalf`, runner.Options{})
	got := []string{read(t, p), read(t, p), read(t, p)}
	if diff := cmp.Diff([]string{"not json", "\xff\xfe\x00", `{"ok":1}`}, got); diff != "" {
		t.Fatal(diff)
	}
	go func() { _ = p.Stop(t.Context()) }()
	if got := read(t, p); got != "half" {
		t.Errorf("last line %q, want half", got)
	}
	wantEOF(t, p)
}

func TestLineTooLong(t *testing.T) {
	const bound = 100_000
	for _, tc := range []struct {
		sizes string
		want  []string
	}{
		{"100000 3", []string{"100000", "3"}},
		{"100001 3", []string{"long 100001", "3"}},
		{"1 100001 200000 100000 7000000 2", []string{"1", "long 100001", "long 200000", "100000", "long 7000000", "2"}},
		{"400000", []string{"long 400000"}},
	} {
		p := start(t, "lines "+tc.sizes, runner.Options{MaxLine: bound})
		if diff := cmp.Diff(tc.want, sizesOf(t, p)); diff != "" {
			t.Errorf("%s: %s", tc.sizes, diff)
		}
	}
}

// A bound below the chunk size is kept too, and a CR does not count.
func TestLineTooLongSmall(t *testing.T) {
	p := start(t, `say 12345678\r\n123456789\n1234567890\r\nabc\n`, runner.Options{MaxLine: 8})
	if got := read(t, p); got != "12345678" {
		t.Errorf("got %q", got)
	}
	for _, size := range []int{9, 11} {
		var m mcp.Buffer
		var long *runner.LineTooLong
		if err := p.Read(&m); !errors.As(err, &long) {
			t.Fatalf("Read = %q, %v; want LineTooLong", m.B, err)
		}
		if long.Size != size || long.Max != 8 || string(long.Head[:9]) != "123456789" {
			t.Errorf("%d: %+v", size, long)
		}
	}
	if got := read(t, p); got != "abc" {
		t.Errorf("got %q", got)
	}
}

func sizesOf(t *testing.T, p *runner.Process) (sizes []string) {
	t.Helper()
	var m mcp.Buffer
	for {
		err := p.Read(&m)
		var long *runner.LineTooLong
		switch {
		case errors.As(err, &long):
			if len(long.Head) != 4096 || len(long.Tail) != 4096 || !bytes.Equal(long.Head, long.Tail) {
				t.Errorf("head of %d and tail of %d bytes", len(long.Head), len(long.Tail))
			}
			sizes = append(sizes, fmt.Sprint("long ", long.Size))
		case errors.Is(err, io.EOF):
			return sizes
		case err != nil:
			t.Fatal(err)
		default:
			sizes = append(sizes, fmt.Sprint(len(m.B)))
		}
	}
}

// The ends of an oversized line are its first and last bytes, also when the last piece is short.
func TestLineTooLongEnds(t *testing.T) {
	p := start(t, "echo", runner.Options{MaxLine: 1 << 16})
	body := pattern(300_001, 5)
	go func() { _ = p.Write([][]byte{body}, 0) }()
	var m mcp.Buffer
	var long *runner.LineTooLong
	if err := p.Read(&m); !errors.As(err, &long) {
		t.Fatal(err)
	}
	if !bytes.Equal(long.Head, body[:4096]) || !bytes.Equal(long.Tail, body[len(body)-4096:]) {
		t.Error("wrong ends")
	}
}

// Skipping costs no memory that grows with the line.
func TestSkipIsBounded(t *testing.T) {
	p := start(t, "lines 100000000 5", runner.Options{MaxLine: 1 << 20})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got := sizesOf(t, p)
	runtime.ReadMemStats(&after)
	if diff := cmp.Diff([]string{"long 100000000", "5"}, got); diff != "" {
		t.Fatal(diff)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 50<<20 { // the race detector has buffers thrown away
		t.Errorf("allocated %d MiB to skip a line", grown>>20)
	}
}

func TestConcurrentWriters(t *testing.T) {
	p := start(t, "echo", runner.Options{})
	const writers, each = 100, 20
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				body := strings.Repeat(string(rune('A'+w%26)), 1+(w*i*97)%70_000)
				err := p.Write([][]byte{[]byte(fmt.Sprintf("%d %d:", w, i)), []byte(body)}, 0)
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	next := make([]int, writers)
	for range writers * each {
		head, body, _ := strings.Cut(read(t, p), ":")
		var w, i int
		if _, err := fmt.Sscanf(head, "%d %d", &w, &i); err != nil {
			t.Fatal(err)
		}
		want := strings.Repeat(string(rune('A'+w%26)), 1+(w*i*97)%70_000)
		if i != next[w] || body != want {
			t.Fatalf("writer %d: message %d of %d bytes where message %d was due", w, i, len(body), next[w])
		}
		next[w]++
	}
	wg.Wait()
}

// What the server wrote before it ended is read to the end, also after Done.
func TestReadAfterEnd(t *testing.T) {
	p := start(t, "lines 10 20 30", runner.Options{})
	ended(t, p)
	if diff := cmp.Diff([]string{"10", "20", "30"}, sizesOf(t, p)); diff != "" {
		t.Fatal(diff)
	}
	wantEOF(t, p)
}
