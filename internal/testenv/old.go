package testenv

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
)

// StreamServer starts a scripted server of HTTP+SSE (2024-11-05) for the test.
func StreamServer(t testing.TB, script Script) *Server {
	t.Helper()
	script.Era, script.stream = Legacy, true
	if script.Version == "" {
		script.Version = StreamVersion
	}
	s := newServer(t, script)
	s.http = &httpServer{server: s, addr: "127.0.0.1:0"}
	s.Start()
	return s
}

// Line is a stream that a client of a StreamServer holds open.
type Line struct {
	// ID is the session; Header that of the GET.
	ID     string
	Header http.Header
	// Done is closed when the stream has ended.
	Done <-chan struct{}

	ctx context.Context //nolint:containedctx // the life of the stream
	w   http.ResponseWriter
	cut context.CancelFunc
	mu  sync.Mutex
}

// Lines are the streams opened so far, the last one last.
func (s *Server) Lines() []*Line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Line(nil), s.lines...)
}

// Cut ends the stream.
func (l *Line) Cut() { l.cut() }

// Events writes raw bytes into the stream.
func (l *Line) Events(raw string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.Done:
		return
	default:
	}
	_, _ = io.WriteString(l.w, raw) // a client that is gone needs nothing
	_ = http.NewResponseController(l.w).Flush()
}

// say sends a message.
func (l *Line) say(message string) { l.Events(event(message)) }

// serveOld is the handler of a server of HTTP+SSE: a stream at /sse, and /message to post to.
func (h *httpServer) serveOld(w http.ResponseWriter, r *http.Request, body []byte) {
	switch r.Method + " " + r.URL.Path {
	case "GET /sse":
		h.stream(w, r)
	case "POST /message":
		h.posted(w, r, body)
	case "POST /sse":
		h.noPost(w)
	default:
		http.NotFound(w, r)
	}
}

func (h *httpServer) noPost(w http.ResponseWriter) {
	switch code := h.server.script.NoPost; code {
	case 0, http.StatusMethodNotAllowed:
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	default:
		w.Header().Set("Content-Type", "application/json") // as web frameworks do
		w.WriteHeader(code)
		_, _ = io.WriteString(w, `{"detail":"no such thing"}`) // a client that is gone needs nothing
	}
}

// Rename has a StreamServer name another endpoint.
func (s *Server) Rename(endpoint string) {
	s.mu.Lock()
	s.script.Endpoint = endpoint
	s.mu.Unlock()
}

func (h *httpServer) stream(w http.ResponseWriter, r *http.Request) {
	s := h.server
	ctx, cut := context.WithCancel(r.Context())
	defer cut()
	defer context.AfterFunc(s.ctx, cut)()
	s.mu.Lock()
	s.minted++
	l := &Line{ID: fmt.Sprintf("stream-%d", s.minted), Header: r.Header, Done: ctx.Done(), ctx: ctx, w: w, cut: cut}
	s.sessions[l.ID] = false
	s.lines = append(s.lines, l)
	endpoint := s.script.Endpoint
	s.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	if endpoint == "" {
		endpoint = "/message?session="
	}
	l.Events("event: endpoint\ndata: " + endpoint + l.ID + "\n\n")
	<-ctx.Done()
	l.mu.Lock()
	defer l.mu.Unlock() // nobody writes any more
	s.mu.Lock()
	delete(s.sessions, l.ID)
	s.mu.Unlock()
}

func (h *httpServer) posted(w http.ResponseWriter, r *http.Request, body []byte) {
	s := h.server
	session := r.URL.Query().Get("session")
	var line *Line
	s.mu.Lock()
	if _, known := s.sessions[session]; known {
		for _, l := range s.lines {
			if l.ID == session {
				line = l
			}
		}
	}
	s.mu.Unlock()
	if line == nil {
		http.NotFound(w, r)
		return
	}
	rec := parse(body, r.Header.Clone())
	rec.Header.Set("Mcp-Session-Id", session)
	s.record(rec)
	handle := func() { s.take(line.ctx, rec, &Call{Line: line}) }
	if rec.ID == "" || rec.Method == "" {
		handle() // in order
	} else {
		h.calls.Go(handle)
	}
	w.WriteHeader(http.StatusAccepted)
}
