package upstream

import (
	"os"

	"github.com/toolcrib/toolcrib/runner"
)

// launching says how the process of an instance is started, and how it is kept.
func (s *Server) launching() (runner.Command, runner.Options, error) {
	c := runner.Command{
		Server: s.opts.Name, Path: s.spec.Command, Args: s.spec.Args, Dir: s.spec.Cwd,
		Env: runner.Environ(os.LookupEnv, s.spec.Env),
	}
	return c, runner.Options{Log: s.opts.Log, MaxLine: s.opts.MaxBytes, Guard: s.opts.Guard}, nil
}
