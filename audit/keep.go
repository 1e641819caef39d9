package audit

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/files"
)

// keeper does what is to be done for the log aside from writing records: checkpoints, files that were put aside, and records that
// could not be written.
type keeper struct {
	keep   atomic.Int64  // files that were put aside
	wake   chan struct{} // there is something to do
	marked atomic.Uint64 // the last checkpoint's sequence
	back   atomic.Bool   // the file was put back, which is still to be told

	mu    sync.Mutex
	aside []*os.File // to be synced and closed
}

const (
	debtsMost  = 1000 // records that may wait until they can be written
	retryEvery = 100 * time.Millisecond
	retryLong  = 2 * time.Second
	sayEvery   = time.Minute
)

// debt is a record that could not be written yet.
type debt struct {
	e    *entry
	paid chan struct{}
}

// fault is what keeps records from being written.
type fault struct {
	mu    sync.Mutex
	err   error
	since time.Time
	debts []debt
	lost  uint64
	is    atomic.Bool // err is set
	said  time.Time   // when it was logged, at most every sayEvery
	told  bool        // of this one
}

// gate is what calls wait at while a sink is behind.
type gate struct {
	mu sync.Mutex
	ch chan struct{}
}

func (g *gate) wait() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch == nil {
		g.ch = make(chan struct{})
	}
	return g.ch
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch != nil {
		close(g.ch)
		g.ch = nil
	}
}

// Admit is asked before a call goes on. While a sink is too far behind, or nothing can be written, it waits as the configuration says,
// and then refuses with an error of the kind Overloaded that names the sink.
func (l *Log) Admit(ctx context.Context) error {
	if l == nil || !l.rules.Load().on {
		return nil
	}
	if why := l.blocked(); why != nil {
		return l.await(ctx, why)
	}
	return nil
}

// blocked tells why no call is admitted; nil when they are.
func (l *Log) blocked() error {
	if l.fault.is.Load() {
		return refuse("records cannot be written to the audit log now; call again later")
	}
	for _, r := range *l.follow.Load() {
		if n := r.behind(); n > r.lag {
			return refuse("audit sink %s is behind by %d bytes of records, more than its lag allows; call again later", r.name, n)
		}
	}
	return nil
}

const fullRefuse = "refuse" // of Audit.Full

// patience is how long a call waits for the log; 0 is not at all.
func (l *Log) patience() time.Duration {
	c := l.config.Load()
	if c.Full == fullRefuse {
		return 0
	}
	return c.Wait.D()
}

func (l *Log) await(ctx context.Context, why error) error {
	wait := l.patience()
	if wait <= 0 {
		return why
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		relief := l.relief.wait()
		if why = l.blocked(); why == nil {
			return nil
		}
		select {
		case <-relief:
		case <-timer.C:
			return why
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// owe keeps a record that could not be written, until it can be, and tells whether that was soon enough to answer. What it tells
// of has happened, so it is not given up when its caller is.
func (l *Log) owe(e *entry, err error) error {
	if errors.Is(err, errClosed) {
		return errs.E("audit", errs.Draining, "the gateway is stopping, and has closed its audit log; call again")
	}
	d := debt{e, make(chan struct{})}
	added := l.fault.add(d, err, l.o.Now())
	l.say(err)
	if !added {
		return refuse("the record of the call could not be written: the audit log cannot be written to, and too many wait")
	}
	poke(l.keeper.wake)
	timer := time.NewTimer(l.patience())
	defer timer.Stop()
	select {
	case <-d.paid:
		return nil
	case <-timer.C:
		return refuse("the call was made, but its record could not be written to the audit log yet")
	}
}

// add takes in a record that is to be written later; it tells whether there was room.
func (f *fault) add(d debt, err error, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.set(err, now)
	if len(f.debts) >= debtsMost {
		f.lost++
		return false
	}
	f.debts = append(f.debts, d)
	return true
}

// set has err be what keeps records from being written; f.mu is held.
func (f *fault) set(err error, now time.Time) {
	if f.err == nil {
		f.since = now
	}
	f.err = err
	f.is.Store(true)
}

// say logs that records cannot be written, when that begins and now and then while it lasts.
func (l *Log) say(err error) {
	f, now := &l.fault, l.o.Now()
	f.mu.Lock()
	due := f.err != nil && now.Sub(f.said) >= sayEvery
	if due {
		f.said, f.told = now, true
	}
	f.mu.Unlock()
	if due {
		l.o.Log.Error("audit log cannot be written to; calls are refused until it can", "file", l.path, "error", err)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// tend is the keeper's work, until the log is closed.
func (l *Log) tend(ctx context.Context) {
	ticker := time.NewTicker(l.config.Load().Checkpoint.D())
	defer ticker.Stop()
	every, retry := l.config.Load().Checkpoint.D(), retryEvery
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			l.inspect()
			l.restore()
			l.checkpointed(false)
			if now := l.config.Load().Checkpoint.D(); now != every {
				every = now
				ticker.Reset(now)
			}
		case <-l.keeper.wake:
			for !l.pay() {
				pause(ctx, retry)
				if retry = min(2*retry, retryLong); ctx.Err() != nil {
					return
				}
			}
			retry = retryEvery
			l.tidy()
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// pay writes what could not be written before; it tells whether all is.
func (l *Log) pay() bool {
	f := &l.fault
	if !l.restore() {
		return false
	}
	for {
		f.mu.Lock()
		if f.err == nil {
			f.mu.Unlock()
			return true
		}
		var d debt
		if len(f.debts) > 0 {
			d = f.debts[0]
		}
		f.mu.Unlock()
		if d.e == nil {
			return l.resumed()
		}
		if err := l.j.write(d.e); err != nil {
			f.mu.Lock()
			f.err = err
			f.mu.Unlock()
			l.say(err)
			return false
		}
		close(d.paid)
		f.mu.Lock()
		f.debts = f.debts[1:]
		f.mu.Unlock()
	}
}

// resumed tells that records can be written again.
func (l *Log) resumed() bool {
	f := &l.fault
	f.mu.Lock()
	err, since, lost := f.err, f.since, f.lost
	f.mu.Unlock()
	e := newEntry()
	e.body = l.made.Load().encode(nil, &Record{
		Kind: Lifecycle, Time: l.o.Now(), Operation: "resume", Outcome: "ok", Detail: "records can be written again; meanwhile calls were refused",
		Took: l.o.Now().Sub(since), Facts: []Fact{fact("error", err.Error()), number("lost_records", lost)},
	})
	if l.j.write(e) != nil {
		return false
	}
	told := false
	f.mu.Lock()
	if len(f.debts) == 0 {
		f.err, f.lost = nil, 0
		f.is.Store(false)
		told, f.told = f.told, false
	}
	f.mu.Unlock()
	if told {
		l.o.Log.Warn("audit log can be written to again", "file", l.path, "after", l.o.Now().Sub(since), "lost", lost)
	}
	l.relief.open()
	return true
}

// wrote is called after each batch, by its writer.
func (l *Log) wrote() {
	for _, r := range *l.follow.Load() {
		r.poke()
	}
}

// aside takes a file that was put aside.
func (l *Log) aside(f *os.File) {
	l.keeper.mu.Lock()
	l.keeper.aside = append(l.keeper.aside, f)
	l.keeper.mu.Unlock()
	poke(l.keeper.wake)
}

// tidy sees to files that were put aside: they are synced, and those that nobody needs any more are removed.
func (l *Log) tidy() {
	l.keeper.mu.Lock()
	all := l.keeper.aside
	l.keeper.aside = nil
	l.keeper.mu.Unlock()
	if len(all) == 0 {
		return
	}
	for _, f := range all {
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			l.o.Log.Warn("audit log: a file that was put aside is perhaps not on disk", "file", f.Name(), "error", err)
		}
	}
	l.checkpointed(true)
	l.drop()
}

// inspect sees whether somebody has cut the file short, whose content is gone then, or has written to it: it is said, and the log goes on.
func (l *Log) inspect() {
	var lost, alien int64
	var err error
	l.j.lead(func() {
		lost, err = l.j.shortened()
		var e error
		alien, e = l.j.intruded()
		err = errors.Join(err, e)
	})
	if lost > 0 {
		l.o.Log.Error("audit log: its file was cut short while it was written; records are gone, and audit verify names which",
			"file", l.path, "bytes", lost)
		l.note("truncate", "the file of the log was cut short while it was written: records are gone", fact("file", l.path), number("lost_bytes", uint64(lost)))
	}
	if alien > 0 {
		l.o.Log.Error("audit log: somebody else has written to its file; sinks pass it over, and audit verify names the place",
			"file", l.path, "bytes", alien)
		l.note("intrude", "somebody else has written to the file of the log", fact("file", l.path), number("foreign_bytes", uint64(alien)))
	}
	if err != nil {
		l.o.Log.Error("audit log: its file cannot be looked at", "file", l.path, "error", err)
	}
}

// restore sees that the file is where it belongs: somebody may have removed or replaced it, and what is written would be lost. It tells
// whether it is there; calls are refused until it is.
func (l *Log) restore() bool {
	var err error
	l.j.lead(func() { err = l.j.restore() })
	if err != nil {
		l.fault.mu.Lock()
		l.fault.set(err, l.o.Now())
		l.fault.mu.Unlock()
		l.say(err)
		poke(l.keeper.wake)
		return false
	}
	if l.keeper.back.Swap(false) {
		l.o.Log.Error("audit log: its file was removed or replaced while it was written; it is put back", "file", l.path)
		l.note("restore", "the file of the log was removed or replaced while it was written, and is put back", fact("file", l.path))
		if err := l.signer.Load().keep(); err != nil {
			l.o.Log.Error("audit log: its key was removed, and cannot be put back", "error", err)
		}
		l.checkpointed(true) // its head may be gone too
	}
	return true
}

// regain has the log be this process's still, where its folder was removed with its lock.
func (l *Log) regain() error {
	if isAt(l.lock, l.path+".lock") {
		return nil
	}
	_, lock, err := claim(l.path, l.path)
	if err != nil {
		return err
	}
	_ = l.lock.Close() // nobody can ask for it any more
	l.lock = lock
	return nil
}

// returned is called when the file was put back, by its writer.
func (l *Log) returned() {
	l.keeper.back.Store(true)
	poke(l.keeper.wake)
}

// drop removes the oldest files, as far as no more are to be kept and no sink needs them. First a checkpoint says so.
func (l *Log) drop() {
	keep := int(l.keeper.keep.Load())
	files, err := filesOf(l.path)
	if err != nil || keep == 0 || len(files)-1 <= keep {
		return
	}
	needed := l.j.first.Load()
	for _, r := range *l.follow.Load() {
		needed = min(needed, r.seq.Load()+1)
	}
	n := 0
	for n < len(files)-1-keep && files[n+1].first != 0 && files[n+1].first <= needed {
		n++
	}
	if n == 0 {
		return
	}
	l.from.Store(files[n].first)
	if !l.checkpointed(true) {
		return
	}
	for _, f := range files[:n] {
		if err := os.Remove(f.path); err != nil {
			l.o.Log.Warn("audit log: cannot remove a file that is not to be kept", "file", f.path, "error", err)
		}
	}
}

// checkpointed writes a checkpoint if there is something new, or anyway; it tells whether there is one.
func (l *Log) checkpointed(anyway bool) bool {
	if !anyway && l.j.last.Load() == l.keeper.marked.Load() {
		return true
	}
	err := l.checkpoint(false)
	if err != nil {
		l.o.Log.Warn("audit log: no checkpoint", "error", err)
	}
	return err == nil
}

// checkpoint writes a signed checkpoint, sees that all is on disk, and has the head say so.
func (l *Log) checkpoint(last bool) error {
	e, at := l.mark(last)
	if err := l.j.write(e); err != nil {
		return err
	}
	if err := l.j.sync(); err != nil {
		return err
	}
	if err := l.writeHead(at.Sequence, at.Hash); err != nil {
		return err
	}
	l.keeper.marked.Store(at.Sequence)
	return nil
}

// writeHead has the head tell that the log goes as far as a line, which is on disk.
func (l *Log) writeHead(seq uint64, sum string) error {
	head := mark{What: markHead, Log: l.id, Sequence: seq, Hash: sum, From: l.from.Load()}
	return files.Replace(headName(l.path), append(l.signer.Load().sign(&head, l.o.Now()), '\n'), 0o600)
}

// ending is the checkpoint at the end of a file.
func (l *Log) ending() *entry {
	e, _ := l.mark(false)
	return e
}

// mark makes the entry of a checkpoint, and where it will stand once it is written.
func (l *Log) mark(last bool) (*entry, *mark) {
	e, at := newEntry(), &mark{}
	e.make = func(seq uint64, sum hash) []byte {
		now := l.o.Now()
		m := mark{What: markCheckpoint, Log: l.id, Sequence: seq, Hash: sum.String(), From: l.from.Load()}
		facts := []Fact{{"checkpoint", string(l.signer.Load().sign(&m, now))}}
		operation := "checkpoint"
		if last {
			operation = "stop"
			facts = append(facts, Fact{"closed", "true"})
		}
		body := l.made.Load().encode(nil, &Record{Kind: Lifecycle, Time: now, Operation: operation, Outcome: "ok", Facts: facts})
		at.Sequence, at.Hash = seq+1, link(sum, seq+1, digestOf(body)).String()
		return body
	}
	return e, at
}

// Close writes a last checkpoint, has the followers catch up until ctx ends, and closes the log.
func (l *Log) Close(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.j == nil || l.closed {
		return nil
	}
	l.closed = true
	l.stopTending()
	<-l.tended
	l.inspect()
	var err error
	if !l.pay() {
		err = errors.New("records of calls could not be written")
	}
	l.tidy()
	err = errors.Join(err, l.checkpoint(true))
	close(l.finish)
	for _, r := range *l.follow.Load() {
		select {
		case <-r.done:
		case <-ctx.Done():
		}
	}
	l.end()
	l.tasks.Wait()
	err = errors.Join(err, l.j.close())
	return errors.Join(err, l.lock.Close())
}

// Status is how a log is doing.
type Status struct {
	// File is where it is; empty when nothing was ever recorded.
	File string `json:"file,omitempty"`
	// Sequence is the last record's.
	Sequence uint64 `json:"sequence"`
	// Error is why records cannot be written.
	Error string `json:"error,omitempty"`
	// Cuts is how often its file was found to be cut short by somebody else.
	Cuts int64 `json:"cuts,omitempty"`
	// Foreign is how often its file was found to hold what somebody else wrote.
	Foreign int64 `json:"foreign,omitempty"`
	// Sinks are those that follow it.
	Sinks []SinkStatus `json:"sinks,omitempty"`
}

// Status tells how the log and its sinks are doing; nil while nothing is recorded.
func (l *Log) Status() *Status {
	if !l.On() {
		return nil
	}
	s := &Status{File: l.path, Sequence: l.j.last.Load(), Cuts: l.j.cuts.Load(), Foreign: l.j.foreign.Load()}
	l.fault.mu.Lock()
	if l.fault.err != nil {
		s.Error = l.fault.err.Error()
	}
	l.fault.mu.Unlock()
	for _, r := range *l.follow.Load() {
		s.Sinks = append(s.Sinks, r.status())
	}
	return s
}
