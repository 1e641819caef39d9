package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/toolcrib/toolcrib/mcp"
)

// inMemory returns a file that holds data and needs no disk and no child.
func inMemory(tb testing.TB, data []byte) *os.File {
	tb.Helper()
	fd, err := unix.MemfdCreate("lines", unix.MFD_CLOEXEC)
	if err != nil {
		tb.Skip(err)
	}
	f := os.NewFile(uintptr(fd), "lines")
	tb.Cleanup(func() { _ = f.Close() })
	if _, err := f.Write(data); err != nil {
		tb.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		tb.Fatal(err)
	}
	return f
}

// naive frames as the documentation says, in the simplest way.
func naive(data []byte, bound int) (want []string) {
	if len(data) == 0 {
		return nil
	}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) {
		if len(bytes.TrimSuffix(line, []byte("\r"))) > bound {
			want = append(want, describe(&LineTooLong{Head: line[:min(edge, len(line))], Tail: line[max(0, len(line)-edge):], Size: len(line)}))
			continue
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
		want = append(want, fmt.Sprintf("%q", line))
	}
	return want
}

// FuzzLines compares the framing with a naive one.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\n\nc"), uint32(10), 1)
	f.Add([]byte("0123456789\n01234567890\r\n012345678\r\n\r\n"), uint32(10), 1)
	f.Add([]byte("x\n"), uint32(70_000), 40_000)
	f.Add([]byte("0123456789abcdef"), uint32(100_000), 20_000)
	f.Add([]byte("0123456789abcde\n"), uint32(3), 20_000)
	f.Fuzz(func(t *testing.T, data []byte, bound uint32, times int) {
		if times < 1 || len(data)*times > 1<<20 {
			t.Skip()
		}
		data = bytes.Repeat(data, times)
		limit := int(bound%200_000) + 1
		r := &lines{in: newInlet(inMemory(t, data)), max: limit}
		var got []string
		var m mcp.Buffer
		for {
			err := r.next(&m)
			if errors.Is(err, io.EOF) {
				break
			}
			var long *LineTooLong
			switch {
			case errors.As(err, &long):
				got = append(got, describe(long))
			case err != nil:
				t.Fatal(err)
			default:
				got = append(got, fmt.Sprintf("%q", m.B))
			}
		}
		if diff := cmp.Diff(naive(data, limit), got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// A child that fills its pipe gets a larger one; any other keeps the usual one.
func TestFullPipeIsWidened(t *testing.T) {
	for size, want := range map[int]int{chunkSize - 1: chunkSize, chunkSize: widePipe} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer closeAll(r, w)
		if _, err := w.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
		in := newInlet(r)
		if err := in.fill(); err != nil || len(in.data) != size {
			t.Fatal(len(in.data), err)
		}
		if got, err := unix.FcntlInt(w.Fd(), unix.F_GETPIPE_SZ, 0); got != want || err != nil {
			t.Errorf("after %d bytes the pipe holds %d, %v, want %d", size, got, err, want)
		}
	}
}

func describe(e *LineTooLong) string {
	return fmt.Sprintf("%d bytes from %q to %q", e.Size, e.Head, e.Tail)
}

// BenchmarkFrame is framing alone, into a new buffer each time: one line out of memory, which the
// kernel copies once.
func BenchmarkFrame(b *testing.B) {
	for _, size := range []int{200, 64 << 10, 16 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			f := inMemory(b, append(bytes.Repeat([]byte("x"), size), '\n'))
			r := &lines{in: newInlet(f), max: defaultMaxLine}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				m := mcp.GetBuffer(0)
				if err := r.next(m); err != nil || len(m.B) != size {
					b.Fatal(len(m.B), err)
				}
				m.Free()
				if _, err := f.Seek(0, io.SeekStart); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
