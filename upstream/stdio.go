package upstream

import (
	"context"
	"errors"
	"strings"
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

// stdioLink reaches a server that runs as child processes of the gateway: one, or as many as its roster has.
type stdioLink struct {
	s      *Server
	info   []byte
	roster *roster
	// blunt: the child ended when it was asked server/discover, so the next one is sent initialize at once.
	blunt atomic.Bool

	broke    atomic.Bool  // the last one crashed
	restarts atomic.Int64 // starts after that
	back     backoff
}

func newStdio(s *Server) *stdioLink {
	l := &stdioLink{s: s, info: clientInfo(s.opts.Version)}
	l.back.most, l.back.window = s.spec.Restarts.Max, time.Duration(s.spec.Restarts.Window)
	l.roster = newRoster(s, l.start)
	return l
}

// forget does nothing: a process that ended is dropped by the one who watches it.
func (l *stdioLink) forget() {}

func (l *stdioLink) ready(ctx context.Context) (*Peer, error) { return l.roster.known(ctx) }

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
	st, err := l.roster.enter(ctx, c)
	if err != nil {
		c.vain = true // it was waited for
		return &unreached{err}
	}
	c.seat = st
	in := st.in
	if c.Client.LogLevel != "" && !in.peer.Modern {
		if err := in.setLevel(ctx, c.Client.LogLevel); err != nil {
			st.leave()
			return err
		}
	}
	err = in.call(ctx, in.peer.Modern, c, out)
	if err == nil && c.Tasks {
		st.keepTask(out)
	}
	return err
}

// start starts the instance of a seat, not before the pause that earlier failures earned it.
func (l *stdioLink) start(ctx context.Context, st *seat) error {
	if !st.aside {
		if err := l.back.pause(ctx, l.s, "is started again"); err != nil {
			return err
		}
	}
	command, options, err := l.s.launching()
	if err != nil {
		return err // that nothing was started is no crash
	}
	if err := st.takeRoom(ctx); err != nil {
		return err // nor here
	}
	if l.broke.Swap(false) {
		l.restarts.Add(1)
		if l.s.opts.Restarted != nil {
			l.s.opts.Restarted()
		}
	}
	began := time.Now()
	st.begun = began.Sub(epoch)
	err = l.launch(ctx, st, command, options)
	if l.s.opts.Started != nil && ctx.Err() == nil {
		l.s.opts.Started(time.Since(began), err)
	}
	if err == nil {
		st.ready = clock()
		if !l.s.spawn(func(ctx context.Context) {
			defer st.give()
			l.attendSeat(ctx, st)
		}) {
			st.in.stop()
			st.give()
			return l.s.closedError()
		}
		return nil
	}
	st.give()
	if ctx.Err() == nil && !st.aside {
		l.broke.Store(true)
		l.back.failed(err)
		l.s.crashed("start")
	}
	return err
}

// takeRoom finds room for one more process.
func (st *seat) takeRoom(ctx context.Context) (err error) {
	st.give = func() {}
	if room := st.r.s.opts.Room; room != nil {
		st.give, err = room(ctx, st.aside)
	}
	return err
}

// launch starts a child and finds its era.
func (l *stdioLink) launch(ctx context.Context, st *seat, command runner.Command, options runner.Options) error {
	limit := time.Duration(l.s.timeouts().Start)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p, err := runner.Start(command, options)
	if err != nil {
		return errs.E("", errs.Unavailable, "%w", err)
	}
	in := newInstance(l.s, pipes{p}, l.info, AllAbilities)
	in.use(l.s.opts.Own)
	in.seat, in.since, st.in = st, time.Now(), in
	in.drop = func() { l.ended(st) }
	if !in.run() {
		in.stop()
		return l.s.closedError()
	}
	if in.peer, err = in.handshake(ctx, l.blunt.Load()); err != nil {
		if ended := in.p.Err(); ended != nil {
			err = errs.E("", errs.Unavailable, "%w", ended)
		} else if ctx.Err() != nil && l.s.ctx.Err() == nil {
			err = l.s.errorf(errs.Timeout, "answers neither server/discover nor initialize within %s%s; raise timeouts.start if it needs longer%s",
				limit, in.complaint(), lastWords(p))
		}
		l.blunt.Store(!l.blunt.Load() && in.p.Err() != nil)
		in.stop()
	}
	return err
}

// lastWords are what a child printed that did nothing else.
func lastWords(p *runner.Process) string {
	lines := p.Stderr()
	if len(lines) == 0 {
		return ""
	}
	lines = lines[max(0, len(lines)-5):]
	for i, line := range lines {
		lines[i] = clip([]byte(line))
	}
	return "; last stderr: " + strings.Join(lines, " | ")
}

// ended takes out an instance that ended by itself or was found not to live, and counts that as a crash.
func (l *stdioLink) ended(st *seat) {
	last := l.roster.lost(st, func() {
		if st.aside {
			return
		}
		if clock()-st.ready >= settled {
			l.back.over()
		}
		l.broke.Store(true)
		l.back.failed(l.s.errorf(errs.Unavailable, "process ended"))
	})
	if last {
		st.last.Store(true)
	}
}

// pipes are the conduit to a child.
type pipes struct{ *runner.Process }

var pipeWords = &words{whole: "process", wire: "stdio", message: "line on stdout"}

// Write implements conduit; how long a child may take to read does not depend on who waits.
func (p pipes) Write(_ context.Context, segments [][]byte, _ Statement, limit time.Duration) error {
	return p.Process.Write(segments, limit)
}

func (p pipes) words() *words { return pipeWords }

// fate leaves out what the process printed: that may be another caller's.
func (p pipes) fate() string {
	<-p.Done()
	if e, ok := errors.AsType[*runner.ExitError](p.Err()); ok {
		if over, ok := errors.AsType[*runner.OverLimit](e.Cause); ok {
			return over.Error() + ", " + e.State()
		}
		return e.State()
	}
	return "unknown"
}
