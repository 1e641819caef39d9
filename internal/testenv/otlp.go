package testenv

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Exports takes what is exported by OTLP, over HTTP and gRPC.
type Exports struct {
	// URL is where it listens.
	URL string

	at   map[string]bool // paths
	take func([]byte) error

	mu      sync.Mutex
	headers []http.Header
	refuse  int
	hold    chan struct{}
	givenUp int
}

// TakeExports has take get the messages of a signal (metrics, traces) until the test ends. What it returns an error for is refused.
func TakeExports(t testing.TB, signal string, take func(message []byte) error) *Exports {
	t.Helper()
	service := map[string]string{"metrics": "metrics.v1.MetricsService", "traces": "trace.v1.TraceService"}[signal]
	e := &Exports{take: take, at: map[string]bool{"/v1/" + signal: true, "/opentelemetry.proto.collector." + service + "/Export": true}}
	srv := httptest.NewUnstartedServer(e)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetHTTP1(true)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	e.URL = srv.URL
	t.Cleanup(func() {
		e.Hold(false)
		srv.Close()
	})
	return e
}

// Refuse has every export answered with a status and a long text from now on; 0 takes them again.
func (e *Exports) Refuse(status int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refuse = status
}

// Hold has exports left without an answer, or answers them.
func (e *Exports) Hold(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hold != nil {
		close(e.hold)
		e.hold = nil
	}
	if on {
		e.hold = make(chan struct{})
	}
}

// Headers are those of the exports that came.
func (e *Exports) Headers() []http.Header {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]http.Header(nil), e.headers...)
}

// GivenUp is how many exports were given up while they were held.
func (e *Exports) GivenUp() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.givenUp
}

// ServeHTTP implements http.Handler.
func (e *Exports) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	message, err := readExport(r)
	if err != nil || !e.at[r.URL.Path] {
		answerExport(w, r, http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	refuse, hold := e.refuse, e.hold
	e.headers = append(e.headers, r.Header)
	e.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			e.mu.Lock()
			e.givenUp++
			e.mu.Unlock()
			return
		}
	}
	switch {
	case refuse != 0:
		answerExport(w, r, refuse)
	case e.take(message) != nil:
		answerExport(w, r, http.StatusBadRequest)
	default:
		answerExport(w, r, http.StatusOK)
	}
}

// grpcFrame is the length of what is before a message over gRPC: whether it is compressed, and how long it is.
const grpcFrame = 5

func overGRPC(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}

func readExport(r *http.Request) ([]byte, error) {
	message, err := io.ReadAll(r.Body)
	zipped := r.Header.Get("Content-Encoding") == "gzip"
	if overGRPC(r) && err == nil {
		if len(message) < grpcFrame {
			return nil, io.ErrUnexpectedEOF
		}
		zipped, message = message[0] == 1, message[grpcFrame:]
	}
	if err != nil || !zipped {
		return message, err
	}
	z, err := gzip.NewReader(bytes.NewReader(message))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// answerExport answers with a status of HTTP. Over gRPC all but 200 are the code 3, an invalid argument. A refusal says a lot.
func answerExport(w http.ResponseWriter, r *http.Request, status int) {
	header := w.Header()
	switch {
	case !overGRPC(r):
		w.WriteHeader(status)
		if status != http.StatusOK {
			_, _ = w.Write(make([]byte, 1<<20))
		}
	case status != http.StatusOK:
		header.Set("Content-Type", "application/grpc")
		header.Set("Grpc-Status", "3")
		header.Set("Grpc-Message", strings.Repeat("no ", 1000))
	default:
		header.Set("Content-Type", "application/grpc")
		header.Set("Trailer", "Grpc-Status")
		_, _ = w.Write(make([]byte, grpcFrame)) // a message with nothing in it
		header.Set("Grpc-Status", "0")
	}
}
