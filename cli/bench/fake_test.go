package bench_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/cli/bench"
)

// server is a small MCP server of both eras whose one tool takes a known time. It serves over pipes, so that all of it fits
// into a bubble with a clock of its own.
type server struct {
	handle   handler
	listener *pipes

	calls, inFlight, most atomic.Int64
	modern                atomic.Int64 // of the calls
	listed, opened        atomic.Int64

	mu       sync.Mutex
	sessions map[string]bool
	begun    int
}

// handler answers the nth call.
type handler func(ctx context.Context, n int64, w http.ResponseWriter, id json.RawMessage)

// after answers calls when the time is over that took tells.
func after(took func(n int64) time.Duration) handler {
	return func(ctx context.Context, n int64, w http.ResponseWriter, id json.RawMessage) {
		select {
		case <-time.After(took(n)):
		case <-ctx.Done():
		}
		result(w, id, `{"resultType":"complete","content":[]}`)
	}
}

func result(w http.ResponseWriter, id json.RawMessage, text string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, id, text)
}

func newServer(handle handler) *server {
	return &server{handle: handle, sessions: map[string]bool{}, listener: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}}
}

// run serves while f runs.
func (s *server) run(f func()) {
	h := &http.Server{Handler: s}
	var wait sync.WaitGroup
	wait.Go(func() { _ = h.Serve(s.listener) })
	f()
	_ = h.Close()
	wait.Wait()
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodDelete:
		s.mu.Lock()
		delete(s.sessions, r.Header.Get("Mcp-Session-Id"))
		s.mu.Unlock()
		return
	case http.MethodGet:
		s.stream(w, r, "")
		return
	}
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	body, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(body, &m)
	s.answer(w, r, m.Method, m.ID)
}

func (s *server) answer(w http.ResponseWriter, r *http.Request, method string, id json.RawMessage) {
	switch method {
	case "initialize":
		s.mu.Lock()
		s.begun++
		session := fmt.Sprintf("s%d", s.begun)
		s.sessions[session] = true
		s.mu.Unlock()
		w.Header().Set("Mcp-Session-Id", session)
		result(w, id, `{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"x","version":"1"}}`)
	case "notifications/initialized":
		w.WriteHeader(http.StatusAccepted)
	case "server/discover":
		result(w, id, `{"resultType":"complete","supportedVersions":["2026-07-28","2025-11-25"]}`)
	case "subscriptions/listen":
		s.stream(w, r, `data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}`+"\n\n")
	case "tools/list":
		s.listed.Add(1)
		result(w, id, `{"resultType":"complete","tools":[{"name":"look","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}},`+
			`{"name":"wipe","inputSchema":{"type":"object"}},`+
			`{"name":"find","inputSchema":{"type":"object","required":["q"],"properties":{"q":{"type":"string"}}},"annotations":{"readOnlyHint":true}}]}`)
	case "tools/call":
		if r.Header.Get("Mcp-Method") != "" {
			s.modern.Add(1)
		}
		n := s.inFlight.Add(1)
		for most := s.most.Load(); n > most && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
		}
		s.handle(r.Context(), s.calls.Add(1), w, id)
		s.inFlight.Add(-1)
	}
}

// stream stands until the client leaves.
func (s *server) stream(w http.ResponseWriter, r *http.Request, first string) {
	s.opened.Add(1)
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, first)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// load runs a load on the server: mix, flags and all are in o.
func (s *server) load(ctx context.Context, t *testing.T, mix string, o bench.Options) *bench.Report {
	t.Helper()
	m, err := bench.ParseMix(mix)
	if err != nil {
		t.Fatal(err)
	}
	o.Mix, o.URL, o.Target = m, "http://localhost/mcp", "http://localhost/mcp"
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	o.On(s.listener.dial)
	var report *bench.Report
	s.run(func() { report, err = bench.Run(ctx, &o) })
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// pipes is a listener whose connections are pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.IPAddr{} }
