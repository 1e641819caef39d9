package testenv

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// HTTPServer starts a scripted Streamable HTTP server for the test.
func HTTPServer(t testing.TB, script Script) *Server {
	t.Helper()
	s := newServer(t, script)
	s.http = &httpServer{server: s, addr: "127.0.0.1:0"}
	s.Start()
	return s
}

// httpServer is the listening half of a server; it can stop and come back at the same address.
type httpServer struct {
	server *Server
	addr   string
	mu     sync.Mutex
	srv    *http.Server
	done   chan struct{}
	calls  sync.WaitGroup
	keep   sync.Once
}

// enter counts a request in, unless the server is stopped.
func (h *httpServer) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.srv != nil {
		h.calls.Add(1)
	}
	return h.srv != nil
}

// Start has a stopped HTTP server listen again, at the address it had.
func (s *Server) Start() {
	s.t.Helper()
	h := s.http
	ln := ListenAt(s.t, h.addr)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addr = ln.Addr().String()
	s.URL = "http://" + h.addr + "/mcp"
	if s.script.stream {
		s.URL = "http://" + h.addr + "/sse"
	}
	h.srv, h.done = &http.Server{Handler: h, ReadHeaderTimeout: Patience}, make(chan struct{})
	go func(srv *http.Server, done chan struct{}) {
		defer close(done)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.t.Error(err)
		}
	}(h.srv, h.done)
}

// Stop ends an HTTP server at once: connections break, and its sessions are lost. Start brings it back.
func (s *Server) Stop() {
	s.t.Helper()
	s.http.keep.Do(func() {
		_, port, _ := net.SplitHostPort(s.http.addr)
		at, _ := strconv.Atoi(port)
		keepPort(s.t, at)
	})
	s.http.stop()
	s.ForgetSessions()
}

func (h *httpServer) stop() {
	h.mu.Lock()
	srv := h.srv
	h.srv = nil
	h.mu.Unlock()
	if srv != nil {
		_ = srv.Close() // whatever was open is cut
		<-h.done
		h.calls.Wait()
	}
}

// ServeHTTP implements http.Handler.
func (h *httpServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := h.server
	if !h.enter() {
		return
	}
	defer h.calls.Done()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender gave up
	}
	if s.script.stream {
		h.serveOld(w, r, body)
		return
	}
	rec := parse(body, r.Header)
	rec.Path = r.URL.RequestURI()
	if r.Method != http.MethodPost {
		rec.Method = r.Method
	}
	x := &Exchange{w: w, stream: s.script.Streams, code: http.StatusOK}
	if r.Method != http.MethodPost && s.script.On[r.Method] == nil {
		s.record(rec)
		s.mu.Lock()
		if r.Method == http.MethodDelete {
			delete(s.sessions, r.Header.Get("Mcp-Session-Id"))
		}
		s.mu.Unlock()
		code := http.StatusMethodNotAllowed
		if r.Method == http.MethodDelete {
			code = http.StatusNoContent
		}
		w.WriteHeader(code)
		return
	}
	defer x.end()
	s.record(rec)
	s.take(r.Context(), rec, &Call{HTTP: x})
}

// Exchange is the response of an HTTP server to one request.
type Exchange struct {
	w       http.ResponseWriter
	mu      sync.Mutex
	code    int
	stream  bool
	started bool
	over    bool
}

// end has what is sent from now on, by others than the handler, not be sent any more.
func (x *Exchange) end() {
	x.mu.Lock()
	x.over = true
	x.mu.Unlock()
}

// Status answers with a status and a body of a content type, and ends the answer.
func (x *Exchange) Status(code int, kind, body string) {
	if kind != "" {
		x.w.Header().Set("Content-Type", kind)
	}
	x.w.WriteHeader(code)
	_, _ = io.WriteString(x.w, body) // a client that is gone needs no answer
}

// Events writes raw bytes into an event stream.
func (x *Exchange) Events(raw string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return
	}
	x.start()
	_, _ = io.WriteString(x.w, raw) // as above
	_ = http.NewResponseController(x.w).Flush()
}

// Cut breaks the connection.
func (x *Exchange) Cut() {
	_ = http.NewResponseController(x.w).Flush()
	panic(http.ErrAbortHandler)
}

// Hijack hands out the connection, for answers that are no HTTP.
func (x *Exchange) Hijack(raw string) {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = io.WriteString(conn, raw) // as above
	_ = conn.Close()
}

func (x *Exchange) start() {
	if !x.started {
		x.started = true
		x.w.Header().Set("Content-Type", "text/event-stream")
		x.w.WriteHeader(x.code)
	}
}

func (x *Exchange) send(message string, last bool) {
	if !last || x.stream || x.started {
		x.Events(event(message))
		return
	}
	x.w.Header().Set("Content-Type", "application/json")
	x.w.WriteHeader(x.code)
	_, _ = io.WriteString(x.w, message) // as above
}

// event frames a message; one with line ends has a data line for each of its lines.
func event(message string) string {
	var b bytes.Buffer
	b.WriteString("event: message\n")
	for line := range strings.SplitSeq(strings.ReplaceAll(message, "\r\n", "\n"), "\n") {
		b.WriteString("data: " + line + "\n")
	}
	b.WriteString("\n")
	return b.String()
}
