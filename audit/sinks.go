package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"syscall"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// makers are the sinks that follow the log, by their kind (see [v1.AuditSink.Kind]). A new sink is one more line here. None of them
// connects to anything before it is sent the first lines.
var makers = map[string]func(spec *v1.AuditSink, o *Options, stateDir string) (Follower, error){
	"file": func(spec *v1.AuditSink, _ *Options, stateDir string) (Follower, error) {
		return newCopy(spec, stateDir)
	},
	"stdout":   func(_ *v1.AuditSink, o *Options, _ string) (Follower, error) { return &stream{w: o.Stdout}, nil },
	"otlp":     newOTLP,
	"syslog":   newSyslog,
	"webhook":  newWebhook,
	"sqlite":   newSQLite,
	"postgres": newPostgres,
}

// errUnread says that nobody will ever read what is written.
var errUnread = errors.New("nobody reads it any more")

// stream is a sink that writes lines to standard output. A write to a pipe that nobody empties has no end, so it is waited for apart.
type stream struct {
	w           io.Writer
	first, last uint64     // lines of the last batch, of which the last write may be the rest
	pending     chan error // how it ends; nil once that is known
}

func (s *stream) Send(ctx context.Context, lines []Line) error {
	first := lines[0].Sequence
	if s.pending != nil {
		if err := s.wait(ctx); err != nil {
			return err
		}
		if first == s.first {
			lines = slices.DeleteFunc(slices.Clone(lines), func(l Line) bool { return l.Sequence <= s.last })
		}
		if len(lines) == 0 {
			return nil
		}
	}
	data, pending := joined(lines), make(chan error, 1)
	s.first, s.last, s.pending = first, lines[len(lines)-1].Sequence, pending
	go func() {
		_, err := s.w.Write(data)
		pending <- err
	}()
	return s.wait(ctx)
}

// wait waits for the end of the write that goes on.
func (s *stream) wait(ctx context.Context) error {
	select {
	case err := <-s.pending:
		s.pending = nil
		if errors.Is(err, syscall.EPIPE) {
			return fmt.Errorf("%w: %w", errUnread, err)
		}
		return err
	case <-ctx.Done():
		return errors.New("whoever reads it does not: a write does not end")
	}
}

func (s *stream) Close() error { return nil }

// joined are lines as they are in the log.
func joined(lines []Line) []byte {
	size := 0
	for _, l := range lines {
		size += len(l.Raw) + 1
	}
	all := make([]byte, 0, size)
	for _, l := range lines {
		all = append(append(all, l.Raw...), '\n')
	}
	return all
}

// unreached is why something could not be reached, without the URL, which may hold a secret, and without our own port, which makes
// each attempt's error another.
func unreached(what string, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		if e.Timeout() {
			err = os.ErrDeadlineExceeded
		} else {
			err = e.Err
		}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New(what + " did not answer within the sink's timeout")
	}
	return errors.New(what + ": " + err.Error())
}
