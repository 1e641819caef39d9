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

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func resident() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// TestCrowdListens: open listens cost little memory, no goroutine but those of their connections, and little time to tell.
func TestCrowdListens(t *testing.T) {
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
	before := cpu()
	tell.Changed("tools")
	for _, c := range all.conns {
		all.await(c, "list_changed")
	}
	took := cpu() - before
	t.Logf("%d listens: %.2f goroutines and %d bytes each; a notice takes %s of CPU, the clients' part included", many, perGoroutine, perMemory, took)
	if perGoroutine > 2.01 {
		t.Errorf("%.2f goroutines for each listen; net/http has 2 for a connection", perGoroutine)
	}
	if perMemory > 32<<10 {
		t.Errorf("%d bytes for each listen", perMemory)
	}
	if took > time.Second {
		t.Errorf("a notice to all took %s of CPU", took)
	}
	if open, _ := tell.Watched(); open != 1 {
		t.Errorf("the server is watched %d times", open)
	}
}

// TestListenCost: modern clients listen even for a single list, so to open and close a listen costs no more than three calls.
func TestListenCost(t *testing.T) {
	s := teller(t, kinds[0], &testenv.Teller{})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s}, More: map[string]any{
		"streams": map[string]any{"perPrincipal": 10_000}, "log": map[string]any{"level": "warn"},
	}})
	addr := strings.TrimPrefix(g.URL, "http://")
	all := &listeners{t: t}
	defer all.close()
	all.open(addr) // so that the server is watched
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{},` +
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	call := fmt.Sprintf("POST /servers/one/mcp HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"+
		"MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: a\r\nContent-Length: %d\r\n\r\n%s", addr, len(body), body)
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	calls := costOf(func() {
		_, _ = c.Write([]byte(call)) // what failed is not answered
		all.await(c, "done")
	})
	listens := costOf(func() {
		all.open(addr)
		last := len(all.conns) - 1
		_ = all.conns[last].Close()
		all.conns = all.conns[:last]
	})
	t.Logf("a call takes %s of CPU, a listen %s; the clients' part and the servers' included", calls, listens)
	if listens > 3*calls {
		t.Errorf("a listen costs %s, a call %s", listens, calls)
	}
}

// costOf is the CPU time of f, once it has been done some times.
func costOf(f func()) time.Duration {
	const n = 1000
	for range n / 4 {
		f()
	}
	before := cpu()
	for range n {
		f()
	}
	return (cpu() - before) / n
}
