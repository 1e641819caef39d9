package runner

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Reasons for which a process was made to end, found in an [*ExitError] and in errors of Write.
var (
	ErrStopped      = errors.New("stopped")
	ErrWriteTimeout = errors.New("write timed out: the server does not read its stdin")
)

const (
	errorLines    = 5   // stderr lines shown in an error text
	errorLineSize = 300 // bytes of each
)

// OverLimit is the cause of an end for using more than [Limits] allow.
type OverLimit struct {
	Resource string // memory or pids
	Limit    string // as it was configured
}

func (e *OverLimit) Error() string { return "over resources." + e.Resource + " (" + e.Limit + ")" }

// ExitError tells how and why a process ended.
type ExitError struct {
	Server string
	Code   int            // exit status, -1 when a signal ended the process
	Signal syscall.Signal // the signal that ended the process, 0 when it exited
	Cause  error          // why it was made to end (ErrStopped, ErrWriteTimeout); nil when it ended by itself
	Stderr []string       // last lines of stderr, oldest first
}

func (e *ExitError) read(s syscall.WaitStatus) {
	if s.Signaled() {
		e.Signal = s.Signal()
		return
	}
	e.Code = s.ExitStatus()
}

// State returns how the process ended: "exit status 3" or "signal: killed".
func (e *ExitError) State() string {
	if e.Signal != 0 {
		return "signal: " + e.Signal.String()
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// Reason is one word for why the process ended, for counting: stopped, memory, pids, write, signal or exit.
func (e *ExitError) Reason() string {
	over, isOver := errors.AsType[*OverLimit](e.Cause)
	switch {
	case isOver:
		return over.Resource
	case errors.Is(e.Cause, ErrStopped):
		return "stopped"
	case errors.Is(e.Cause, ErrWriteTimeout):
		return "write"
	case e.Signal != 0:
		return "signal"
	}
	return "exit"
}

// Error names the server, the cause, the state and the last lines of stderr, all of bounded length.
func (e *ExitError) Error() string {
	if last := e.LastWords(); last != "" {
		return e.Brief() + "; " + last
	}
	return e.Brief()
}

// Brief is Error without what the process printed.
func (e *ExitError) Brief() string {
	var b strings.Builder
	b.WriteString(nameOf(e.Server))
	b.WriteString(": process ended: ")
	if e.Cause != nil {
		b.WriteString(e.Cause.Error() + ", ")
	}
	b.WriteString(e.State())
	return b.String()
}

// LastWords are the last lines of stderr, of bounded length; empty when there are none.
func (e *ExitError) LastWords() string {
	var b strings.Builder
	if lines := e.Stderr[max(0, len(e.Stderr)-errorLines):]; len(lines) > 0 {
		b.WriteString("last stderr: ")
		for i, l := range lines {
			if i > 0 {
				b.WriteString(" | ")
			}
			b.WriteString(shorten(l, errorLineSize))
		}
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Cause }

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func nameOf(server string) string { return fmt.Sprintf("server %q", server) }
