package runner_test

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
)

// pour writes lines of the given size until it is killed.
func pour(arg string) {
	size := number(arg)
	batch := bytes.Repeat(append(bytes.Repeat([]byte("x"), size), '\n'), max(1, (256<<10)/size))
	for {
		if _, err := os.Stdout.Write(batch); err != nil {
			return
		}
	}
}

// BenchmarkRead measures framing together with the pipe and the child at its other end.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{200, 64 << 10, 16 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := start(b, fmt.Sprint("pour ", size), runner.Options{})
			m := mcp.GetBuffer(0)
			defer m.Free()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := p.Read(m); err != nil || len(m.B) != size {
					b.Fatal(len(m.B), err)
				}
			}
		})
	}
}

// BenchmarkPipe is the bound: what comes through a pipe without any framing.
func BenchmarkPipe(b *testing.B) {
	r, w, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	go func() {
		defer w.Close()
		chunk := make([]byte, 256<<10)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}()
	into := make([]byte, 64<<10)
	b.SetBytes(16 << 20)
	for b.Loop() {
		for left := 16 << 20; left > 0; {
			n, err := r.Read(into)
			if err != nil {
				b.Fatal(err)
			}
			left -= n
		}
	}
}

// BenchmarkCopy is what the time of framing 16 MiB is held against.
func BenchmarkCopy(b *testing.B) {
	from, to := bytes.Repeat([]byte("x"), 16<<20), make([]byte, 16<<20) // memory never written to is all the same page
	b.SetBytes(16 << 20)
	for b.Loop() {
		copy(to, from)
	}
}

// BenchmarkRoundTrip is one message to an echo server and back.
func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{200, 64 << 10, 16 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p := start(b, "echo", runner.Options{})
			m := mcp.GetBuffer(0)
			defer m.Free()
			body := [][]byte{[]byte(`{"x":"`), []byte(strings.Repeat("x", size-8)), []byte(`"}`)}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			failed := make(chan error, 1)
			for b.Loop() {
				if size < 32<<10 {
					failed <- p.Write(body, time.Minute)
				} else { // larger than the pipes on the way
					go func() { failed <- p.Write(body, time.Minute) }()
				}
				if err := p.Read(m); err != nil {
					b.Fatal(err)
				}
				if err := <-failed; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkLife is start and graceful stop.
func BenchmarkLife(b *testing.B) {
	for b.Loop() {
		p, err := runner.Start(runner.Command{Server: "cat", Path: "cat", Env: runner.Environ(os.LookupEnv, nil)}, runner.Options{Guard: guardArgv()})
		if err != nil {
			b.Fatal(err)
		}
		if err := p.Stop(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
