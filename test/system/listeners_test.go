//go:build unix

package system_test

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// listeners are many listens over bare connections, so that next to nothing of what is measured is the clients'.
type listeners struct {
	t     *testing.T
	conns []net.Conn
}

const listenBody = `{"jsonrpc":"2.0","id":"w","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},` +
	`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`

func (l *listeners) open(addr string) {
	l.t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		l.t.Fatal(err)
	}
	l.conns = append(l.conns, c)
	_, err = fmt.Fprintf(c, "POST /mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"+
		"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: subscriptions/listen\r\nContent-Length: %d\r\n\r\n%s", addr, len(listenBody), listenBody)
	if err != nil {
		l.t.Fatal(err)
	}
	l.await(c, "acknowledged")
}

// await reads up to a word.
func (l *listeners) await(c net.Conn, word string) {
	l.t.Helper()
	var buf [2048]byte
	_ = c.SetReadDeadline(time.Now().Add(testenv.Patience))
	for n := 0; !bytes.Contains(buf[:n], []byte(word)); {
		m, err := c.Read(buf[n:])
		if err != nil {
			l.t.Fatalf("%v after %q, without %q", err, buf[:n], word)
		}
		n += m
	}
}

func (l *listeners) close() {
	for _, c := range l.conns {
		_ = c.Close()
	}
}

func resident() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// TestCrowdListens: open listens cost little memory and no goroutine but those of their connections, and all are told.
func TestCrowdListens(t *testing.T) { //nolint:paralleltest // it measures the process
	if raced {
		t.Skip("the race detector takes memory of its own")
	}
	many := 5000
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < uint64(2*many+500) {
		many = int(limit.Cur)/2 - 250
	}
	tell := &testenv.Teller{}
	s := teller(t, kinds[0], tell)
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s}, More: map[string]any{
		"streams": map[string]any{"perPrincipal": many + 1}, "log": map[string]any{"level": "warn"},
	}})
	addr := strings.TrimPrefix(g.URL, "http://")
	all := &listeners{t: t}
	defer all.close()
	all.open(addr)
	goroutines, memory := runtime.NumGoroutine(), resident()
	for range many {
		all.open(addr)
	}
	perGoroutine := float64(runtime.NumGoroutine()-goroutines) / float64(many)
	perMemory := (int64(resident()) - int64(memory)) / int64(many)
	tell.Changed("tools")
	for _, c := range all.conns {
		all.await(c, "list_changed")
	}
	t.Logf("%d listens: %.2f goroutines and %d bytes each", many, perGoroutine, perMemory)
	if perGoroutine > 2.01 {
		t.Errorf("%.2f goroutines for each listen; net/http has 2 for a connection", perGoroutine)
	}
	if perMemory > 32<<10 {
		t.Errorf("%d bytes for each listen", perMemory)
	}
	if open, _ := tell.Watched(); open != 1 {
		t.Errorf("the server is watched %d times", open)
	}
}
