package upstream

import (
	"os"
	"slices"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/runner"
)

// launching says how the process of an instance is started, and how it is kept.
func (s *Server) launching() (runner.Command, runner.Options, error) {
	spec, err := s.spec.For(s.opts.Who)
	if err != nil {
		return runner.Command{}, runner.Options{}, errs.E("", errs.Unavailable, "not started: %w", err)
	}
	program, err := s.opts.Launch.Program(s.opts.Name, s.spec, spec)
	if err != nil {
		return runner.Command{}, runner.Options{}, s.errorf(errs.Unavailable, "not started: %w", err)
	}
	c := runner.Command{
		Server: s.opts.Name, Path: program.Path, Args: program.Args, Dir: spec.Cwd,
		Env: runner.Environ(os.LookupEnv, program.Environ(spec.Env)),
	}
	confine(&c, spec)
	if c.Sandbox != nil && program.Dir != "" {
		c.Sandbox.Read = append(slices.Clip(c.Sandbox.Read), program.Dir)
	}
	return c, runner.Options{
		Log: s.opts.Log, MaxLine: s.opts.MaxBytes, Guard: s.opts.Guard, Confine: s.opts.Confine, Journal: s.opts.Journal, Dirs: s.folders(spec, program.Args),
	}, nil
}

// Check tells why a stdio server could not be started, as far as that can be known without starting it.
func Check(spec *v1.Server, o Options) error {
	command, options, err := (&Server{spec: spec, opts: o}).launching()
	if err != nil {
		return err
	}
	return command.Check(options)
}
