package audit

import (
	"context"
	"io"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// makers are the sinks that follow the log, by their kind (see [v1.AuditSink.Kind]). A new sink is one more line here.
var makers = map[string]func(spec *v1.AuditSink, o *Options, stateDir string) (Follower, error){
	"file": func(spec *v1.AuditSink, _ *Options, stateDir string) (Follower, error) {
		return newCopy(spec, stateDir)
	},
	"stdout": func(_ *v1.AuditSink, o *Options, _ string) (Follower, error) { return &stream{o.Stdout}, nil },
}

// stream is a sink that writes lines to what the program prints.
type stream struct{ w io.Writer }

func (s *stream) Send(_ context.Context, lines []Line) error {
	var all []byte
	for _, l := range lines {
		all = append(append(all, l.Raw...), '\n')
	}
	_, err := s.w.Write(all)
	return err
}

func (s *stream) Close() error { return nil }
