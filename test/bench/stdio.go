package main

import (
	"bufio"
	"flag"
	"io"
	"os"
	"runtime"
	"sync"
	"time"
)

// stdioMain is the cheap server over standard input and output.
func stdioMain(args []string) error {
	set := flag.NewFlagSet("stdio", flag.ContinueOnError)
	e := set.String("era", string(modern), "modern or legacy")
	tools := set.Int("tools", 10, "number of tools")
	cpu := set.Int("cpu", -1, "CPU to run on")
	if err := set.Parse(args); err != nil {
		return err
	}
	pinSelf(*cpu)
	runtime.GOMAXPROCS(1)
	return serveLines(newServer(era(*e), *tools), os.Stdin, os.Stdout)
}

// serveLines answers each line of in until it ends. Answers gather while more
// lines wait in the buffer.
func serveLines(s *server, in io.Reader, out io.Writer) error {
	r := bufio.NewReaderSize(in, 64<<10)
	w := &lineWriter{w: bufio.NewWriterSize(out, 256<<10)}
	defer w.later.Wait()
	var m message
	var answer []byte
	for {
		line, err := r.ReadSlice('\n')
		if err == io.EOF {
			return w.line(nil, true)
		}
		if err != nil {
			return err
		}
		if !readMessage(line, &m) || m.id == nil {
			continue
		}
		var wait time.Duration
		answer, _, wait = s.answer(answer[:0], &m)
		if wait > 0 {
			w.after(wait, append([]byte(nil), answer...))
			continue
		}
		if err := w.line(answer, r.Buffered() == 0); err != nil {
			return err
		}
	}
}

type lineWriter struct {
	mu    sync.Mutex
	w     *bufio.Writer
	later sync.WaitGroup
}

func (l *lineWriter) line(b []byte, flush bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(b) > 0 {
		_, _ = l.w.Write(b) // an error stays in the writer until Flush
		_ = l.w.WriteByte('\n')
	}
	if !flush {
		return nil
	}
	return l.w.Flush()
}

func (l *lineWriter) after(d time.Duration, b []byte) {
	l.later.Add(1)
	time.AfterFunc(d, func() {
		defer l.later.Done()
		_ = l.line(b, true) // the reader is gone, and with it the loop above
	})
}
