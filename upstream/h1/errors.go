package h1

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Phase names the part of an exchange that failed.
type Phase string

// The phases of an exchange, in their order.
const (
	PhaseDial  Phase = "dial"          // waiting for a free connection, or opening one
	PhaseTLS   Phase = "tls"           // TLS handshake of a new connection
	PhaseWrite Phase = "write"         // checking and sending the request
	PhaseHead  Phase = "response head" // waiting for and parsing the status line and header
	PhaseBody  Phase = "body"          // reading the response body
)

// Error is what Do and Response.Read fail with. Its text never holds header values.
type Error struct {
	Phase  Phase
	Reused bool  // the connection had served an earlier exchange
	Err    error // the cause
}

// Error says phase, cause and whether the connection was an old one.
func (e *Error) Error() string {
	if e.Reused {
		return string(e.Phase) + " on a reused connection: " + e.Err.Error()
	}
	text := e.Err.Error()
	if strings.HasPrefix(text, string(e.Phase)+" ") { // as "dial tcp 127.0.0.1:8000: …" does
		return text
	}
	return string(e.Phase) + ": " + text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Timeout reports whether a time limit ended the exchange, so that the error is a net.Error.
func (e *Error) Timeout() bool { return isTimeout(e.Err) }

var (
	// ErrClosed is the cause when the client was closed.
	ErrClosed = errors.New("client is closed")
	// ErrBusy is the cause when too many calls wait for a connection already.
	ErrBusy = errors.New("too many calls wait for a connection")
	// ErrProtocol is matched (errors.Is) by every cause that says the server broke HTTP/1.1.
	ErrProtocol = errors.New("malformed HTTP/1.1")
	// ErrRequest is matched by causes that say the request itself may not be sent.
	ErrRequest = errors.New("malformed request")

	errBodyClosed = errors.New("response is closed")
	errNoAnswer   = fmt.Errorf("server closed the connection without an answer: %w", io.ErrUnexpectedEOF)
	errCutHead    = fmt.Errorf("server closed the connection inside the response head: %w", io.ErrUnexpectedEOF)
	errCutBody    = fmt.Errorf("server closed the connection inside the response body: %w", io.ErrUnexpectedEOF)
)

// kindError is a fixed text that matches one of the sentinels above.
type kindError struct {
	kind error
	text string
}

func (e *kindError) Error() string { return e.kind.Error() + ": " + e.text }
func (e *kindError) Unwrap() error { return e.kind }

func protocol(text string) error   { return &kindError{ErrProtocol, text} }
func badRequest(text string) error { return &kindError{ErrRequest, text} }

// isTimeout covers deadlines of connections and of contexts.
func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
