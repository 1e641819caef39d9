package upstream

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
)

const (
	writeTime   = 10 * time.Second
	queueMost   = 64              // notices and replies that may wait for a child to read
	settled     = 5 * time.Second // a child that lived this long after it was ready did not crash on start
	waitForPark = time.Second     // a call waits this long for the next start; beyond that it is told
	lingering   = time.Second     // how long a child may live on after it closed its output
	notesMost   = 256             // notifications kept for a call whose client reads slowly
)

// stdioLink reaches a server that runs as a child process. All callers share the process, but for the calls of asides.
type stdioLink struct {
	s      *Server
	info   []byte
	inst   shared[instance]
	asides asides
	// blunt: the child ended when it was asked server/discover, so the next one is sent initialize at once.
	blunt atomic.Bool

	starts atomic.Int64
	back   backoff
}

func newStdio(s *Server) *stdioLink { return &stdioLink{s: s, info: clientInfo(s.opts.Version)} }

// forget does nothing: a process that ended is dropped by the one who watches it.
func (l *stdioLink) forget() {}

func (l *stdioLink) ready(ctx context.Context) (*Peer, error) {
	in, err := l.inst.get(ctx, l.s, l.start)
	if err != nil {
		return nil, err
	}
	return in.peer, nil
}

// close does nothing: the one who watches a child stops it when the server's life ends.
func (l *stdioLink) close() {}

func (l *stdioLink) do(ctx context.Context, c *Call, out *mcp.Raw) error {
	err := l.attempt(ctx, c, out)
	if errors.Is(err, errGone) {
		err = l.attempt(ctx, c, out) // nothing was sent; there is a new child, or a reason why there is none
	}
	return err
}

// errGone: the process or session had ended before the request was sent.
var errGone = errors.New("it has ended")

func (l *stdioLink) attempt(ctx context.Context, c *Call, out *mcp.Raw) error {
	in, err := l.inst.get(ctx, l.s, l.start)
	if err != nil {
		return err
	}
	if in.needsAside(c) {
		done, err := l.doAside(ctx, c, out)
		if done {
			return err
		}
		if err != nil {
			l.s.warnings.warn(l.s.log, "further process not started; the call goes to the shared one", "error", err)
		}
	}
	if c.Client.LogLevel != "" && !in.peer.Modern {
		if err := in.setLevel(ctx, c.Client.LogLevel); err != nil {
			return err
		}
	}
	return in.call(ctx, in.peer.Modern, c, out)
}

// start starts the child and finds its era, not before the pause that earlier failures earned it.
func (l *stdioLink) start(ctx context.Context) (*instance, error) {
	if err := l.back.pause(ctx, l.s, "is started again"); err != nil {
		return nil, err
	}
	if l.starts.Add(1) > 1 && l.s.opts.Restarted != nil {
		l.s.opts.Restarted()
	}
	in, err := l.launch(ctx, l.inst.drop)
	if err != nil {
		l.back.failed(err)
		return nil, err
	}
	up := time.Now()
	if !l.s.spawn(func(ctx context.Context) { l.watch(ctx, in, up) }) {
		in.stop()
		return nil, l.s.closedError()
	}
	return in, nil
}

// launch starts a child; drop is told when it has ended.
func (l *stdioLink) launch(ctx context.Context, drop func(*instance)) (*instance, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(l.s.spec.Timeouts.Start))
	defer cancel()
	command, options, err := l.s.launching()
	if err != nil {
		return nil, err
	}
	p, err := runner.Start(command, options)
	if err != nil {
		return nil, errs.E("", errs.Unavailable, "%w", err)
	}
	in := newInstance(l.s, pipes{p}, l.info, AllAbilities)
	in.drop = func() { drop(in) }
	if !in.run() {
		in.stop()
		return nil, l.s.closedError()
	}
	in.since = time.Now()
	if in.peer, err = in.handshake(ctx, l.blunt.Load()); err != nil {
		if ended := in.p.Err(); ended != nil {
			err = errs.E("", errs.Unavailable, "%w", ended)
		} else if ctx.Err() != nil && l.s.ctx.Err() == nil {
			err = l.s.errorf(errs.Timeout, "answers neither server/discover nor initialize within %s%s; raise timeouts.start if it needs longer",
				time.Duration(l.s.spec.Timeouts.Start), in.complaint())
		}
		l.blunt.Store(!l.blunt.Load() && in.p.Err() != nil)
		in.stop()
		return nil, err
	}
	return in, nil
}

// watch waits for the end of the child and has it started again; when the server's life ends first, it stops the child.
func (l *stdioLink) watch(ctx context.Context, in *instance, up time.Time) {
	select {
	case <-in.gone:
	case <-ctx.Done():
		in.stop()
		<-in.gone
		return
	}
	if ctx.Err() != nil {
		return
	}
	err := errs.E("", errs.Unavailable, "%w", in.exit())
	if time.Since(up) >= settled {
		l.back.over()
	}
	l.back.failed(err)
	l.s.fail(err)
}

// pipes are the conduit to a child.
type pipes struct{ *runner.Process }

var pipeWords = &words{whole: "process", wire: "stdio", message: "line on stdout"}

// Write implements conduit; how long a child may take to read does not depend on who waits.
func (p pipes) Write(_ context.Context, segments [][]byte, limit time.Duration) error {
	return p.Process.Write(segments, limit)
}

func (p pipes) words() *words { return pipeWords }

// fate leaves out what the process printed: that may be another caller's.
func (p pipes) fate() string {
	<-p.Done()
	if e, ok := errors.AsType[*runner.ExitError](p.Err()); ok {
		return e.State()
	}
	return "unknown"
}
