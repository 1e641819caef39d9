package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
)

// conduit carries the messages of one instance: the pipes of a child process, or a stream of HTTP+SSE.
type conduit interface {
	// Write sends one message, given in segments, and waits at most limit for the server to take it. Where it has a head, that says
	// who it is for.
	Write(ctx context.Context, segments [][]byte, who Statement, limit time.Duration) error
	// Read reads the next message into m.B. A *runner.LineTooLong is one over the bound, which was skipped; io.EOF is the end.
	Read(m *mcp.Buffer) error
	// Stop ends what is at the other end; when Done is closed it has ended, and Err tells why.
	Stop(ctx context.Context) error
	Done() <-chan struct{}
	Err() error
	// Fault is told of what is no message, and returns it as it may be logged.
	Fault(line []byte) string
	// words says how its ends are called; fate how it ended, as any caller may read it.
	words() *words
	fate() string
}

// words are what the parts of a conduit are called in errors.
type words struct{ whole, wire, message string }

// instance is one channel that calls share: a running child, or a session over HTTP+SSE.
type instance struct {
	s    *Server
	p    conduit
	info []byte
	can  Abilities // what its initialize declares
	peer *Peer
	voice
	drop func() // has the next call make another one
	// since is when its process was started, calls how many requests it was sent.
	since time.Time
	calls atomic.Int64
	// seat is its place in the roster; nil where there is none.
	seat *seat
	// aside: what it says of the server is said on the gateway's own stream as well.
	aside bool

	mu      sync.Mutex
	pending map[int64]*waiting
	left    map[int64]left
	held    []held
	listens map[int64]*listening
	level   string
	closed  bool
	gone    chan struct{} // closed when nothing more can arrive
	queue   chan []byte   // notices and replies on their way to the server
	lapsed  atomic.Bool   // it closed its output while it was running
	garbage atomic.Int64  // lines or events that were no message
	noise   int           // how many of them came in a row; of the one who reads
	arrived atomic.Int64  // messages
	issued  atomic.Int64  // the last id given out
}

func newInstance(s *Server, p conduit, info []byte, can Abilities) *instance {
	return &instance{s: s, p: p, info: info, can: can, pending: map[int64]*waiting{}, gone: make(chan struct{}), queue: make(chan []byte, queueMost)}
}

// run has the instance work until its conduit ends; false when the server is being closed.
func (in *instance) run() bool {
	return in.s.spawn(func(ctx context.Context) {
		told := make(chan struct{})
		go func() {
			defer close(told)
			in.talk(ctx)
		}()
		in.read()
		<-told
	})
}

// waiting is one call in flight.
type waiting struct {
	answer chan *mcp.Raw // room for one
	notes  notes
	err    error  // set before answer is closed
	asking asking // its list belongs to the one who awaits, the rest to the lock of the instance
	parked bool   // nobody awaits
	caller string // whose call it is; empty for a request of the gateway itself
	task   string // that tasks/result waits for; empty for every other call
	// opening: it is part of finding out what the server is.
	opening bool
}

// end is how it ended. It has served callers, so that what it printed is not for any other.
func (in *instance) end() error {
	err := in.exit()
	e := errs.E("", errs.Unavailable, "%w", err)
	if exit, ok := errors.AsType[*runner.ExitError](err); ok {
		e.Msg = strings.Replace(e.Msg, exit.Error(), exit.Brief(), 1)
		e.Detail = exit.LastWords()
	}
	return e
}

func (in *instance) exit() error {
	<-in.p.Done()
	err := in.p.Err()
	if in.lapsed.Load() {
		return in.s.errorf(errs.Unavailable, lapse+"; %w", err)
	}
	if err != nil {
		return err
	}
	return errors.New("exited without an error")
}

func (in *instance) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), sideCall)
	defer cancel()
	if err := in.p.Stop(ctx); err != nil {
		in.s.log.Warn(in.p.words().whole+" not stopped in time", "error", err)
	}
}

// read takes the server's messages apart until there are no more.
func (in *instance) read() {
	defer close(in.gone)
	for {
		buf := mcp.GetBuffer(4 << 10)
		err := in.p.Read(buf)
		if err == nil {
			in.message(buf)
			continue
		}
		buf.Free()
		if long, ok := errors.AsType[*runner.LineTooLong](err); ok {
			in.tooLong(long)
			continue
		}
		if !errors.Is(err, io.EOF) {
			in.s.log.Warn("reading from the "+in.p.words().whole+" failed", "error", err)
		}
		break
	}
	for range 2 { // in two halves, of which a machine that stands still takes one: it may have ended meanwhile
		select {
		case <-in.p.Done():
			in.lose(fmt.Sprintf("%s ended (%s)", in.p.words().whole, in.p.fate()))
			return
		case <-time.After(lingering / 2):
		}
	}
	in.lapsed.Store(true)
	in.lose(lapse)
	in.stop() // it is of no use any more, and nobody waits until it has ended
}

// lapse is what happened to a process that closed its output but still runs.
const lapse = "closed its output while it was running"

// lose has nobody call the instance any more, and tells everybody who waits for it why.
func (in *instance) lose(why string) {
	in.drop()
	in.mu.Lock()
	in.closed = true
	lost := in.pending
	in.pending, in.held = nil, nil
	in.mu.Unlock()
	err := in.s.errorf(errs.Unavailable, "%s; a request under way may have been carried out", why)
	for _, w := range lost {
		w.err = err
		close(w.answer)
	}
	in.loseListens(err)
}

// over tells whether nothing more can arrive.
func (in *instance) over() bool {
	select {
	case <-in.gone:
		return true
	default:
		return false
	}
}

// message hands one message to the call it belongs to.
func (in *instance) message(buf *mcp.Buffer) {
	m := raws.Get().(*mcp.Raw)
	m.Own(buf)
	if e := mcp.Scan(m.Body, &m.Message, in.s.limits()); e != nil {
		in.garbage.Add(1)
		in.s.warnings.warn(in.s.log, in.p.words().message+" is no MCP message", "error", e.Message, "line", in.faulty(m.Body))
		in.salvage(m.Body)
		m.Free()
		in.hush()
		return
	}
	in.noise = 0
	in.arrived.Add(1)
	switch m.Kind {
	case mcp.KindResult, mcp.KindError:
		in.answered(m)
	case mcp.KindNotification:
		in.notified(m)
	case mcp.KindRequest:
		in.asked(m)
	case mcp.KindBatch:
		in.batch(m)
	}
}

const (
	noiseMost  = 1000 // lines in a row that are no messages, before what sends them is made to wait
	noisePiece = 64
	noisePause = 10 * time.Millisecond
)

// hush reads slower what says nothing but what is no message: it waits for its output to be taken, and costs others little. What
// is left of one that has ended is bounded, and is not waited for.
func (in *instance) hush() {
	if in.noise++; in.noise <= noiseMost || in.noise%noisePiece != 0 {
		return
	}
	select {
	case <-in.p.Done():
	case <-time.After(noisePause):
	}
}

// batch takes an array of messages apart, which servers of 2025-03-26 may send (basic "Batching").
func (in *instance) batch(m *mcp.Raw) {
	defer m.Free()
	spans, e := mcp.Split(m.Body, in.s.limits())
	if e != nil {
		in.s.warnings.warn(in.s.log, "batch is not valid", "error", e.Message)
		return
	}
	for _, span := range spans {
		element := span.Of(m.Body)
		if element[0] == '[' {
			continue // no batch has batches
		}
		buf := mcp.GetBuffer(len(element))
		buf.B = append(buf.B[:0], element...)
		in.message(buf)
	}
}

// faulty is a line that is no message, as it may be logged: of an answer that is broken, which is somebody's, only its size.
func (in *instance) faulty(line []byte) string {
	text := in.p.Fault(line)
	if bytes.Contains(line, []byte(`"jsonrpc"`)) {
		return fmt.Sprintf("[%d bytes of a message]", len(line))
	}
	return clip(text)
}

func clip[T []byte | string](b T) string {
	if len(b) > 200 {
		return string(b[:200]) + "…"
	}
	return string(b)
}

func (in *instance) answered(m *mcp.Raw) {
	id, ok := mcp.Integer(m.Body, m.ID)
	in.mu.Lock()
	w := in.pending[id]
	if ok && w != nil {
		in.remove(id)
	}
	delete(in.left, id)
	in.mu.Unlock()
	if !ok || w == nil {
		if !in.listened(m) && (!ok || id > in.issued.Load()) {
			in.s.warnings.warn(in.s.log, "answer to a request that was never sent dropped", "id", clip(m.ID.Of(m.Body)))
		}
		m.Free()
		return
	}
	w.answer <- m
}

// notified finds the call of a notification: progress by its token, a log message only when no other call is in flight.
func (in *instance) notified(m *mcp.Raw) {
	var w *waiting
	in.mu.Lock()
	switch m.Method {
	case mcp.MethodProgress:
		if token, ok := mcp.Integer(m.Body, m.Get(mcp.KeyProgressToken)); ok {
			w = in.pending[token]
		}
	case mcp.MethodLogMessage:
		if len(in.pending) == 1 {
			for _, only := range in.pending {
				w = only
			}
			if in.haunted(w.caller) {
				w = nil
			}
		}
	}
	if w != nil && w.parked {
		in.mu.Unlock()
		m.Free() // nobody is there to get it
		return
	}
	in.mu.Unlock()
	if w != nil {
		if w.notes.put(m) {
			return
		}
		in.s.log.Debug("notification dropped: the client reads too slowly")
	} else if !in.listened(m) {
		in.noted(m)
	}
	m.Free()
}

// noted is told of notifications that belong to no call.
func (in *instance) noted(m *mcp.Raw) {
	if !in.aside {
		in.s.noted(m)
		return
	}
	if lists := ListOf(m.Method); lists != 0 && in.s.opts.Doubted != nil {
		in.s.opts.Doubted(lists)
	}
}

// tooLong fails the call that an oversized line answers, and only that.
func (in *instance) tooLong(long *runner.LineTooLong) {
	in.mu.Lock()
	id, kind := oversizedID(long.Head, long.Tail)
	w := in.pending[id]
	if kind == oversizedUnknown && len(in.pending) == 1 {
		for id, w = range in.pending {
		}
	}
	if w != nil {
		in.remove(id)
	}
	in.mu.Unlock()
	if w == nil {
		in.s.warnings.warn(in.s.log, "message over the size limit dropped", "bytes", long.Size)
		return
	}
	w.err = in.s.errorf(errs.Protocol, "answers %d bytes, more than the limit; raise messages.maxBytes if that is right", max(long.Size, in.s.maxBytes()+1))
	close(w.answer)
}

func (in *instance) open(id int64, modern bool, c *Call) (*waiting, error) {
	w := &waiting{answer: make(chan *mcp.Raw, 1), notes: newNotes()}
	w.caller, w.opening = c.Session, c.opening
	if c.In.Method == mcp.MethodTasksResult {
		w.task = string(c.Name)
	}
	if w.asking.modern = modern; !modern && !c.opening {
		w.asking.begin(c, c.abilities())
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		in.drop()
		return nil, in.s.errorf(errs.Unavailable, "%w", errGone)
	}
	in.pending[id] = w
	in.calls.Add(1)
	in.issued.Store(max(id, in.issued.Load()))
	return w, nil
}

func (in *instance) abandon(id int64) {
	in.mu.Lock()
	in.remove(id)
	in.mu.Unlock()
}

// remove takes a call off those in flight. Called with mu held.
func (in *instance) remove(id int64) {
	delete(in.pending, id)
	if len(in.held) > 0 {
		in.settle()
	}
}

// tell has a notice or reply sent; a server that takes nothing loses it.
func (in *instance) tell(body []byte) {
	select {
	case in.queue <- body:
	default:
		in.s.warnings.warn(in.s.log, "message to the server dropped: it does not take what it is sent")
	}
}

// talk writes what tell queued. A server that is busy may take as long as a call to read it.
func (in *instance) talk(ctx context.Context) {
	for {
		select {
		case body := <-in.queue:
			if err := in.p.Write(ctx, [][]byte{body}, in.whose(), in.patience()); err != nil {
				in.s.log.Debug("message not delivered", "error", err)
			}
		case <-in.gone:
			return
		}
	}
}

// patience is how long a server may leave unread what it is sent.
func (in *instance) patience() time.Duration {
	return max(time.Duration(in.s.timeouts().Idle), writeTime)
}

// complaint tells what a server did instead of answering.
func (in *instance) complaint() string {
	if n := in.garbage.Load(); n > 0 {
		return fmt.Sprintf(" (it sent %d times a %s that is no MCP message)", n, in.p.words().message)
	}
	return ""
}

// setLevel makes the child at least as talkative as the call wants.
func (in *instance) setLevel(ctx context.Context, level string) error {
	in.mu.Lock()
	enough := in.level != "" && severities[in.level] <= severities[level]
	in.mu.Unlock()
	if enough || len(in.peer.Capabilities) == 0 {
		return nil
	}
	if f, _ := mcp.Lookup(in.peer.Capabilities, whole(in.peer.Capabilities), "logging"); !f.Present() {
		return nil
	}
	var out mcp.Raw
	defer out.Free()
	if err := in.own(ctx, false, setLevelBody(level), &out); err != nil {
		return err
	}
	in.mu.Lock()
	in.level = level
	in.mu.Unlock()
	return nil
}
