package audit

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// makers are the sinks that follow the log, by their kind (see [v1.AuditSink.Kind]). A new sink is one more line here. None of them
// connects to anything before it is sent the first lines.
var makers = map[string]func(spec *v1.AuditSink, o *Options, stateDir string) (Follower, error){
	"file": func(spec *v1.AuditSink, _ *Options, stateDir string) (Follower, error) {
		return newCopy(spec, stateDir)
	},
	"stdout":   func(_ *v1.AuditSink, o *Options, _ string) (Follower, error) { return &stream{o.Stdout}, nil },
	"otlp":     newOTLP,
	"syslog":   newSyslog,
	"webhook":  newWebhook,
	"sqlite":   newSQLite,
	"postgres": newPostgres,
}

// stream is a sink that writes lines to what the program prints.
type stream struct{ w io.Writer }

func (s *stream) Send(_ context.Context, lines []Line) error {
	_, err := s.w.Write(joined(lines))
	return err
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
