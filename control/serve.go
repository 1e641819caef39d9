package control

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

const (
	headerTime  = 5 * time.Second
	writeTime   = 10 * time.Second // for the reader to take a line
	streamsMost = 64               // that follow at once
	linesMost   = 1_000_000
)

// Serving is an open socket.
type Serving struct {
	server *http.Server
	end    context.CancelFunc
	done   chan struct{}
	path   string
}

// Serve answers on the socket of this process in stateDir until Close.
func Serve(ctx context.Context, stateDir string, subject Subject, log *slog.Logger) (*Serving, error) {
	ln, err := listen(ctx, stateDir)
	if err != nil {
		return nil, err
	}
	h := &handler{subject: subject, streams: make(chan struct{}, streamsMost)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /instances", h.instances)
	mux.HandleFunc("GET /servers/{name}/logs", h.logs)
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	h.life = ctx
	s := &Serving{end: end, done: make(chan struct{}), path: ln.path, server: &http.Server{
		Handler: mux, ReadHeaderTimeout: headerTime, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	go func() {
		defer close(s.done)
		_ = s.server.Serve(ln)
	}()
	return s, nil
}

// Path is where the socket is.
func (s *Serving) Path() string { return s.path }

// Close ends all streams and removes the socket.
func (s *Serving) Close() {
	s.end()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		_ = s.server.Close()
	}
	<-s.done
}

type handler struct {
	subject Subject
	streams chan struct{}
	life    context.Context //nolint:containedctx // of all streams
}

func (h *handler) instances(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, h.subject.Report())
}

// refusal is the body of an answer that is none.
type refusal struct {
	Error   string   `json:"error"`
	Servers []string `json:"servers,omitempty"`
}

// logs answers with the lines of a server.
func (h *handler) logs(w http.ResponseWriter, r *http.Request) {
	p := h.stream(w, r)
	if p == nil {
		return
	}
	no := refusal{Error: p.Error()}
	if p.Status == http.StatusNotFound {
		no.Servers = h.names()
	}
	reply(w, p.Status, no)
}

// stream writes the lines of a server, one JSON object each, or tells why it has begun none.
func (h *handler) stream(w http.ResponseWriter, r *http.Request) *Problem {
	asked := r.FormValue("lines")
	lines, err := strconv.Atoi(asked)
	if err != nil || lines < 0 || lines > linesMost {
		return wrong("lines", asked, "ask for lines=100", "is not a number from 0 to %d", linesMost)
	}
	select {
	case h.streams <- struct{}{}:
		defer func() { <-h.streams }()
	default:
		return problem(http.StatusServiceUnavailable, "%d read the lines of servers already", streamsMost).do("ask again when one of them has ended")
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer context.AfterFunc(h.life, cancel)()
	defer cancel()
	all := h.subject.Lines(ctx, r.PathValue("name"), lines, r.FormValue("follow") == "1")
	if all == nil {
		return printsNothing()
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	control := http.NewResponseController(w)
	_ = control.Flush()
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for line := range all {
		_ = control.SetWriteDeadline(time.Now().Add(writeTime))
		if err := enc.Encode(line); err != nil || control.Flush() != nil {
			return nil
		}
	}
	return nil
}

func (h *handler) names() []string {
	servers := h.subject.Report().Servers
	names := make([]string, len(servers))
	for i := range servers {
		names[i] = servers[i].Name
	}
	return names
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return // the reader is gone
	}
}
