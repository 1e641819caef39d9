package runner

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	defaultMaxLine = 16 << 20
	defaultGrace   = 2 * time.Second
)

// Command is what to start.
type Command struct {
	Server string   // name of the server, for errors and logs
	Path   string   // program: a name looked up in the PATH of Env, or a path (a relative one starts at Dir)
	Args   []string // arguments, without the program's own name
	Env    []string // the whole environment, as from [Environ]; nothing is inherited
	Dir    string   // working directory; empty for the program's own

	User    string   // "name", "name:group", "uid" or "uid:gid" to run as, which takes root; empty for the program's own
	Limits  Limits   // what its processes may use
	Sandbox *Sandbox // what they may reach; nil for everything
}

// Options say how a process is kept.
type Options struct {
	Log     *slog.Logger  // stderr lines and life cycle; nil for none
	MaxLine int           // longest line Read returns, in bytes; 0 for 16 MiB
	Grace   time.Duration // how long each step of Stop waits for the next; 0 for 2 s
	Journal *Journal      // gets the lines the server prints for people to read; nil for none
	Dirs    Dirs          // folders of its own
	Guard   []string      // argv of the guard process, which must call [Guard] on its stdin; empty for none
	Confine []string      // argv of the launcher, which must call [Confine]; without it users, sandboxes and some limits are refused
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("component", "runner")
	if o.MaxLine <= 0 {
		o.MaxLine = defaultMaxLine
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	return o
}

// Process is one running server. Its methods may be called from any goroutine.
//
// Read until it returns an error: a server whose output nobody reads comes to a halt.
type Process struct {
	command Command
	options Options
	log     *slog.Logger
	pid     int
	guard   *keeper
	place   *place

	stdin *os.File
	out   *outlet // writes to stdin

	reading sync.Mutex
	lines   *lines

	stderr *tail
	pumped chan struct{}

	dying  sync.Mutex // orders signals before the reaping, after which the pid may be another's
	reaped bool
	cause  error // why the process was made to end

	done chan struct{}
	err  error         // set before done is closed
	left chan struct{} // closed when nothing of the instance is left, also of its directories
}

// Start starts a server in a process group of its own, confined as the command says. The error names
// the command and a remedy. The process must be ended with [Process.Stop], unless it ends by itself.
func Start(c Command, o Options) (*Process, error) {
	o = o.withDefaults()
	path, err := c.resolve()
	if err != nil {
		o.Log.Debug("server process not started", "server", c.Server, "command", c.Path, "PATH", shorten(c.searched(), 500), "error", err)
		return nil, err
	}
	secret := c.Env // what is added to it is no secret
	place, err := settle(&c, path, o)
	if err != nil {
		return nil, err
	}
	pipes, err := newPipes()
	if err != nil {
		return nil, errors.Join(c.failed(path, err), place.leave())
	}
	guard := guardOf(o.Guard, o.Log)
	guard.know(homes.facts)
	child, err := place.start(path, c, pipes.child)
	pipes.closeChild()
	if err != nil {
		pipes.closeParent()
		return nil, errors.Join(c.failed(path, err), place.leave())
	}
	p := &Process{
		command: c, options: o, pid: child.pid, guard: guard, place: place,
		log:   o.Log.With("server", c.Server, "pid", child.pid),
		stdin: pipes.stdin, out: newOutlet(pipes.stdin), lines: &lines{in: newInlet(pipes.stdout), max: o.MaxLine},
		pumped: make(chan struct{}), done: make(chan struct{}), left: make(chan struct{}),
	}
	p.guard.add(p.pid)
	p.stderr = newTail(newInlet(pipes.stderr), p.pid, secret, o, p.log)
	p.log.Debug("server process started", "command", path)
	watched.add(p)
	go p.pump()
	go p.wait(child)
	return p, nil
}

// PID returns the process id, which is also the id of its process group.
func (p *Process) PID() int { return p.pid }

// Stderr returns the last lines the server wrote to stderr, oldest first: at most 20 of 4 KiB each.
func (p *Process) Stderr() []string { return p.stderr.last() }

// Fault puts a line that the server printed to stdout, and that is no message, into the journal. Only
// the beginning of a long one is kept. It returns the line as it may be shown.
func (p *Process) Fault(line []byte) string {
	text := p.stderr.clean(line[:min(len(line), tailLine)])
	if j := p.options.Journal; j.admit() {
		j.keep(Line{PID: p.pid, Text: text, Fault: true})
	}
	return text
}

// Done is closed when the process has ended and was reaped, and no member of its group is left.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err tells why the process ended: an [*ExitError] after Done was closed, nil before.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Stop ends the process as the specification orders: it closes stdin, waits, sends SIGTERM to the
// group, waits, and sends SIGKILL to the group. It returns when the process was reaped and nothing is
// left of the instance. When ctx ends first, SIGKILL comes at once. The error is for a process that
// even SIGKILL did not end in time, or for directories that could not be removed in time.
func (p *Process) Stop(ctx context.Context) error {
	if err := p.stop(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(leaveWait)
	defer timer.Stop()
	select {
	case <-p.left:
		return nil
	case <-timer.C:
		return errors.New(p.name() + ": the directories of the process take long to be removed")
	}
}

func (p *Process) stop(ctx context.Context) error {
	p.because(ErrStopped)
	p.stderr.hurry()
	_ = p.stdin.Close()
	if p.within(ctx, p.options.Grace) {
		return nil
	}
	p.signal(syscall.SIGTERM)
	if p.within(ctx, p.options.Grace) {
		return nil
	}
	p.signal(syscall.SIGKILL)
	if p.within(context.WithoutCancel(ctx), killWait) {
		return nil
	}
	return errors.New(p.name() + ": process does not end, though it was killed; it may hang in the kernel (see its state in /proc)")
}

// leaveWait bounds how long Stop waits for what is removed after the end.
const leaveWait = 5 * time.Second

// killWait bounds the wait for a killed process: one that hangs in a system call cannot be killed.
const killWait = 10 * time.Second

// within waits until the process has ended, ctx ends or d has passed, and tells whether it has ended.
func (p *Process) within(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
	case <-timer.C:
	}
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill ends the group at once, for a reason that Err will name.
func (p *Process) kill(reason error) {
	p.because(reason)
	p.signal(syscall.SIGKILL)
}

// because keeps the first reason for which the process is made to end.
func (p *Process) because(reason error) {
	p.dying.Lock()
	defer p.dying.Unlock()
	if p.cause == nil && !p.reaped {
		p.cause = reason
	}
}

func (p *Process) signal(s syscall.Signal) {
	p.dying.Lock()
	defer p.dying.Unlock()
	if !p.reaped {
		signalGroup(p.pid, s)
	}
}

// signalGroup signals a process group, and its leader by itself in case it joined another group.
func signalGroup(pgid int, s syscall.Signal) {
	_ = syscall.Kill(-pgid, s)
	if s == syscall.SIGKILL {
		_ = syscall.Kill(pgid, s)
	}
}

// wait owns the end of the process: it kills the rest of the group while the dead leader still keeps
// the group's number from being given away, reaps it, and lets Err and Done tell.
func (p *Process) wait(c child) {
	c.awaitExit()
	watched.remove(p)
	p.signal(syscall.SIGKILL)
	if over := p.place.group.verdict(); over != nil {
		p.because(over)
	}
	if err := p.place.group.end(); err != nil {
		p.log.Warn("processes of the server may be left", "error", err)
	}
	p.guard.remove(p.pid)
	status := p.reap()
	c.release()

	_ = p.stdin.Close()
	p.stderr.hurry()
	p.stderr.in.end()
	<-p.pumped
	p.lines.in.end()
	p.reading.Lock()
	p.lines.in.settle()
	p.reading.Unlock()

	p.dying.Lock()
	e := &ExitError{Server: p.command.Server, Code: -1, Cause: p.cause, Stderr: p.stderr.last()}
	p.dying.Unlock()
	e.read(status)
	p.err = e
	p.log.Debug("server process ended", "state", e.State())
	close(p.done)
	if err := p.place.vacate(); err != nil {
		p.log.Warn("what the server left behind cannot be removed", "error", err)
	}
	close(p.left)
}

func (p *Process) reap() syscall.WaitStatus {
	p.dying.Lock()
	defer p.dying.Unlock()
	p.reaped = true
	return reap(p.pid)
}

func (p *Process) pump() {
	defer close(p.pumped)
	p.stderr.run()
}

func (p *Process) name() string { return nameOf(p.command.Server) }
