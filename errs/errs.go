// Package errs holds the one error type of the program: which hop and stage failed, and a closed set of
// kinds. One table turns a kind into an HTTP status, a JSON-RPC code and an audit outcome, so that no
// other place decides what a failure looks like outside.
package errs

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Error is a failure with the place where it happened and the kind that decides how it is answered.
type Error struct {
	// Op names the hop and stage: `server "files"`, `front`.
	Op string
	// Kind decides HTTP status, JSON-RPC code and audit outcome.
	Kind Kind
	// Msg is the whole text a caller may read: what is wrong, where, and the remedy. Never a secret.
	// When it is empty, the text of Err stands in.
	Msg string
	// Detail is what only operators may read besides, such as what a process printed that served other callers.
	Detail string
	// Quotes says that Msg repeats words of a server or a client, which are for the caller and not for the log.
	Quotes bool
	// Err is the cause, for errors.Is and errors.As. Its text is not added to Msg.
	Err error
	// Data is raw JSON for the `data` member of the JSON-RPC error, or nil.
	Data []byte
	// RetryAfter is sent as Retry-After when it is positive.
	RetryAfter time.Duration
}

// E makes an Error. The format is that of fmt.Errorf; what %w wraps becomes Err, its text stays in Msg.
func E(op string, kind Kind, format string, args ...any) *Error {
	made := fmt.Errorf(format, args...)
	cause := errors.Unwrap(made)
	if _, several := made.(interface{ Unwrap() []error }); several {
		cause = made
	}
	return &Error{Op: op, Kind: kind, Msg: made.Error(), Err: cause}
}

// Error is the operation and the message.
func (e *Error) Error() string {
	msg := e.Text()
	if e.Op == "" {
		return msg
	}
	return e.Op + ": " + msg
}

// Quoting marks an error whose text repeats words of a server or a client.
func (e *Error) Quoting() *Error {
	e.Quotes = true
	return e
}

// Text is the message without the operation.
func (e *Error) Text() string {
	switch {
	case e.Msg != "":
		return e.Msg
	case e.Err != nil:
		return e.Err.Error()
	default:
		return e.Kind.String()
	}
}

// Later says when what was refused may come again, and why it was, in the one shape that the data of refusals have. The reason is a
// word of the program.
func (e *Error) Later(reason string, after time.Duration) *Error {
	e.RetryAfter = after
	e.Data = fmt.Appendf(nil, `{"reason":%q,"retryAfter":%d}`, reason, Seconds(after))
	return e
}

// Seconds is how many whole seconds last at least as long as d.
func Seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Detail is that of the first Error in the chain of err that has one.
func Detail(err error) string {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			return ""
		}
		if e.Detail != "" {
			return e.Detail
		}
		err = e.Err
	}
	return ""
}

// Full is the text of err as operators may read it.
func Full(err error) string {
	if detail := Detail(err); detail != "" {
		return err.Error() + "; " + detail
	}
	return err.Error()
}

// Of finds the Error in the chain of err. Any other error is given a kind: a canceled context is
// Canceled, a deadline or a network time-out is Timeout, the rest is Internal. Of(nil) is nil.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: kindOf(err), Msg: err.Error(), Err: err}
}

func kindOf(err error) Kind {
	if errors.Is(err, context.Canceled) {
		return Canceled
	}
	// context.DeadlineExceeded and os.ErrDeadlineExceeded are both network errors that time out.
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return Timeout
	}
	return Internal
}
