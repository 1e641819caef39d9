//go:build unix

package h1_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/upstream/h1"
)

// cheapServer answers every POST with the same bytes and costs as little as a Go server can, so that the
// clients' own costs show.
func cheapServer(tb testing.TB, cfg *tls.Config, answer []byte) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	if cfg != nil {
		l = tls.NewListener(l, cfg)
	}
	tb.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go answerAll(nc, answer)
		}
	}()
	return l.Addr().String()
}

func answerAll(nc net.Conn, answer []byte) {
	defer func() { _ = nc.Close() }()
	r := bufio.NewReaderSize(nc, 64<<10)
	for {
		length := 0
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				break
			}
			if v, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(v)))
			}
		}
		if _, err := r.Discard(length); err != nil {
			return
		}
		if _, err := nc.Write(answer); err != nil {
			return
		}
	}
}

func answerOf(size int) []byte {
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Sat, 21 Nov 2026 02:35:34 GMT\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n"
	return append([]byte(head), bytes.Repeat([]byte("x"), size)...)
}

const benchHead = "POST /mcp HTTP/1.1\r\nHost: example.test\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n" +
	"Mcp-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\nUser-Agent: toolcrib\r\n"

func benchClient(addr string, cfg *tls.Config, body []byte) func(ctx context.Context, sink []byte) (int, error) {
	c := h1.New(h1.Options{Addr: addr, TLS: cfg})
	q := &h1.Request{Head: []byte(benchHead), Body: [][]byte{body}, Timeout: time.Minute}
	p := new(h1.Response)
	return func(ctx context.Context, sink []byte) (int, error) {
		if err := c.Do(ctx, q, p); err != nil {
			return 0, err
		}
		defer p.Close()
		return drain(p, sink)
	}
}

func benchTransport(addr string, cfg *tls.Config, body []byte) func(ctx context.Context, sink []byte) (int, error) {
	scheme := "http://"
	if cfg != nil {
		scheme = "https://"
	}
	rt := &http.Transport{TLSClientConfig: cfg, MaxIdleConnsPerHost: 16, DisableCompression: true, ResponseHeaderTimeout: time.Minute}
	return func(ctx context.Context, sink []byte) (int, error) {
		r, err := http.NewRequestWithContext(ctx, "POST", scheme+addr+"/mcp", bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		r.Header["Content-Type"] = []string{"application/json"}
		r.Header["Accept"] = []string{"application/json, text/event-stream"}
		r.Header["Mcp-Protocol-Version"] = []string{"2026-07-28"}
		r.Header["Mcp-Method"] = []string{"tools/call"}
		r.Header["Mcp-Name"] = []string{"echo"}
		r.Header["User-Agent"] = []string{"toolcrib"}
		res, err := rt.RoundTrip(r)
		if err != nil {
			return 0, err
		}
		defer func() { _ = res.Body.Close() }()
		return drain(res.Body, sink)
	}
}

func drain(r io.Reader, sink []byte) (total int, err error) {
	for {
		n, err := r.Read(sink)
		if total += n; err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCall compares the client with net/http's, the server's cost included in both. cpu-ns/op is user
// and system time of the whole process.
func BenchmarkCall(b *testing.B) {
	server, trusting := certified(b)
	for _, size := range []struct {
		name         string
		ask, tell    int
		server, mine *tls.Config
	}{
		{"small", 200, 200, nil, nil},
		{"64KiB", 200, 64 << 10, nil, nil},
		{"64KiB-up", 64 << 10, 200, nil, nil},
		{"small-tls", 200, 200, server, trusting},
		{"64KiB-up-tls", 64 << 10, 200, server, trusting},
	} {
		for _, client := range []struct {
			name string
			make func(string, *tls.Config, []byte) func(context.Context, []byte) (int, error)
		}{{"h1", benchClient}, {"net-http", benchTransport}} {
			b.Run(size.name+"/"+client.name, func(b *testing.B) {
				call := client.make(cheapServer(b, size.server, answerOf(size.tell)), size.mine, bytes.Repeat([]byte("q"), size.ask))
				sink := make([]byte, 64<<10)
				b.ReportAllocs()
				b.ResetTimer()
				cpu := cpuTime()
				for b.Loop() {
					ctx, cancel := context.WithCancel(context.Background())
					n, err := call(ctx, sink)
					cancel()
					if n != size.tell || err != nil {
						b.Fatal(n, err)
					}
				}
				b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}
