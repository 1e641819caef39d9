package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Line is a record as a follower gets it.
type Line struct {
	// Raw is the line as it is in the log, without the newline. It is valid until Send returns.
	Raw []byte
	// Sequence is its number.
	Sequence uint64
}

// Follower is a sink that gets what is in the log. It is used by one goroutine.
type Follower interface {
	// Send hands lines on, in their order. They count as delivered once it returns nil; else they, or some of them, are sent
	// again. It keeps to ctx.
	Send(ctx context.Context, lines []Line) error
	// Close lets go of what the sink holds.
	Close() error
}

// SinkStatus is how a sink is doing.
type SinkStatus struct {
	// Name is the sort of sink, with a number where there are several.
	Name string `json:"name"`
	// Behind is how many bytes of records it has not got yet.
	Behind int64 `json:"behind"`
	// Sequence is the last record that it has.
	Sequence uint64 `json:"sequence,omitempty"`
	// Failing is since when it takes nothing, and Error why.
	Failing time.Time `json:"failing,omitzero"`
	Error   string    `json:"error,omitempty"`
}

const (
	firstPause = 100 * time.Millisecond // after a sink took nothing
	longPause  = 30 * time.Second
	saveEvery  = 200 * time.Millisecond // the position, at most
)

// runner has one follower get what is in the log.
type runner struct {
	name string
	spec v1.AuditSink
	lag  int64
	to   Follower
	log  *slog.Logger
	j    *journal
	r    reader

	file  string       // that keeps the position
	saved position     // as it is in that file
	asOf  time.Time    // when it was written
	read  atomic.Int64 // bytes, to be compared with journal.written
	seq   atomic.Uint64
	first atomic.Uint64 // of the file that it reads
	fault atomic.Pointer[SinkStatus]

	idle   atomic.Bool
	wake   chan struct{}
	relief func() // tells calls that wait
	look   func() // sees whether somebody else cut the file short, or wrote to it
	cuts   int64  // journal.cuts that the reader has taken into account
	gap    uint64 // a line before which lines are missing, as they are on file
	finish chan struct{}
	cancel context.CancelFunc
	done   chan struct{}
}

// behind is how many bytes of records the sink has not got yet.
func (r *runner) behind() int64 { return r.j.written.Load() - r.read.Load() }

func (r *runner) status() SinkStatus {
	s := SinkStatus{Name: r.name, Behind: max(0, r.behind()), Sequence: r.seq.Load()}
	if f := r.fault.Load(); f != nil {
		s.Failing, s.Error = f.Failing, f.Error
	}
	return s
}

// place is the name of the file that keeps the position of a sink, which is told from others of its kind by its address.
func place(path string, spec *v1.AuditSink) string {
	sum := sha256.Sum256([]byte(spec.Address()))
	return path + sinkPlace + spec.Kind() + "-" + hex.EncodeToString(sum[:4])
}

// sinkPlace begins what stands behind the log's name in those of its sinks' places.
const sinkPlace = ".sink-"

// sent is the last line of a log that a sink has.
func sent(path, log string) (last uint64) {
	files, _ := os.ReadDir(filepath.Dir(path)) // what cannot be looked at is told of when it is written to
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), filepath.Base(path)+sinkPlace) {
			continue
		}
		var p position
		if text, err := os.ReadFile(filepath.Join(filepath.Dir(path), f.Name())); err == nil && json.Unmarshal(text, &p) == nil && p.Log == log {
			last = max(last, p.Sequence)
		}
	}
	return last
}

// begin finds where the sink is to go on. It is run while nothing is written. A sink that is new begins with a log that is, else at
// the log's end, which late says. Where a crash left nothing readable of its place it gets all that is kept, and where it took lines
// that the sink has, the sink goes on in what was written since.
func (r *runner) begin(id string, fresh bool) (late bool, err error) {
	r.file = place(r.j.path, &r.spec)
	r.r = reader{path: r.j.path}
	text, err := os.ReadFile(r.file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	pos := &r.r.pos
	switch missing := err != nil; {
	case fresh, !missing && (json.Unmarshal(text, pos) != nil || pos.Log == ""):
		*pos = position{Log: id, First: 1}
	case missing, pos.Log != id:
		late, *pos = true, position{Log: id, Sequence: r.j.seq, First: r.j.first.Load(), Offset: r.j.size}
	case pos.Sequence > r.j.began.Sequence:
		pos.First, pos.Offset = r.j.began.First, 0
	}
	r.cuts = r.j.cuts.Load()
	behind, err := r.r.behind()
	if err != nil {
		return late, err
	}
	r.read.Store(r.j.written.Load() - behind)
	r.seq.Store(r.r.pos.Sequence)
	r.first.Store(r.r.pos.First)
	return late, r.save()
}

func (r *runner) save() error {
	if r.saved == r.r.pos {
		return nil
	}
	text, err := json.Marshal(r.r.pos)
	if err != nil {
		return err
	}
	if err := writeFile(r.file, text); err != nil {
		return err
	}
	r.saved, r.asOf = r.r.pos, time.Now()
	return nil
}

func (r *runner) start(life context.Context, tasks *sync.WaitGroup) {
	ctx, cancel := context.WithCancel(life)
	r.cancel, r.done, r.wake = cancel, make(chan struct{}), make(chan struct{}, 1)
	tasks.Go(func() { r.run(ctx) })
}

// run hands on what there is, until the sink has all and no more is to come, or ctx ends.
func (r *runner) run(ctx context.Context) {
	defer close(r.done)
	defer r.r.close()
	defer func() {
		if err := errors.Join(r.save(), r.to.Close()); err != nil {
			r.log.Warn("audit sink not closed well", "sink", r.name, "error", err)
		}
	}()
	for pause := firstPause; ctx.Err() == nil; {
		n, err := r.step(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			r.failed(err)
			over := r.finish
			if !errors.Is(err, errUnread) {
				over = nil // it may come back until the very end
			}
			if r.sleep(ctx, max(pause, wanted(err)), over) {
				return
			}
			pause = min(2*pause, longPause)
		case err == nil:
			pause = firstPause
			if r.fault.Swap(nil) != nil {
				r.log.Info("audit sink takes records again", "sink", r.name)
			}
			if n == 0 && r.rest(ctx) {
				return
			}
		}
	}
}

// wanted is how long a sink has asked to be left alone.
func wanted(err error) time.Duration {
	if e, ok := errors.AsType[interface {
		error
		patience() time.Duration
	}](err); ok {
		return e.patience()
	}
	return 0
}

func (r *runner) failed(err error) {
	was := r.fault.Load()
	now := &SinkStatus{Failing: time.Now(), Error: err.Error()}
	if was != nil {
		now.Failing = was.Failing
	}
	r.fault.Store(now)
	if was == nil || was.Error != now.Error {
		r.log.Warn("audit sink takes no records; they wait in the log", "sink", r.name, "behind", r.behind(), "error", err)
	}
}

// step hands one batch on.
func (r *runner) step(ctx context.Context) (int, error) {
	if err := r.again(); err != nil {
		return 0, err
	}
	limit := r.behind()
	if limit <= 0 {
		return 0, nil
	}
	r.r.last = r.j.last.Load()
	lines, size, err := r.r.next(limit)
	if errors.Is(err, errShort) && r.longer() {
		return 1, nil // and then again
	}
	if err = r.checked(lines, err); err != nil {
		return 0, err
	}
	if len(lines) > 0 {
		attempt, cancel := context.WithTimeout(ctx, r.spec.Timeout.D())
		err = r.to.Send(attempt, lines)
		cancel()
		if err != nil {
			return 0, err
		}
	}
	r.r.delivered(lines, size)
	r.read.Add(size)
	r.seq.Store(r.r.pos.Sequence)
	r.first.Store(r.r.pos.First)
	if r.r.odd {
		r.look()
		if err := r.tally(); err != nil {
			return 0, err
		}
	}
	r.relief()
	if time.Since(r.asOf) > saveEvery {
		return int(size), r.save()
	}
	return int(size), nil
}

// checked looks after the file when what was read of it is not what comes next: it may have been cut short.
func (r *runner) checked(lines []Line, err error) error {
	if err == nil && len(lines) > 0 && lines[0].Sequence != r.r.pos.Sequence+1 && lines[0].Sequence != r.gap {
		r.gap = lines[0].Sequence
		err = errGap
	}
	if err == nil {
		return nil
	}
	r.look()
	if errors.Is(err, errShort) {
		r.cuts = recount // a file may be gone that it had not read
	}
	return err
}

// recount, as runner.cuts, has what there is to read be counted anew.
const recount = -1

// again has the file be read once more when it was cut short or a file is gone; lines that the sink has are passed over.
func (r *runner) again() error {
	cuts := r.j.cuts.Load()
	if cuts == r.cuts {
		return nil
	}
	r.r.close()
	r.r.pos.Offset = 0
	err := r.tally()
	if err == nil {
		r.cuts = cuts
	}
	return err
}

// tally counts anew how much there is to read.
func (r *runner) tally() (err error) {
	r.j.lead(func() { // nothing is written meanwhile
		var behind int64
		if behind, err = r.r.behind(); err == nil {
			r.read.Store(r.j.written.Load() - behind)
		}
	})
	return err
}

// longer tells whether there is more to read than was known: somebody else has written to the file too.
func (r *runner) longer() bool {
	was := r.behind()
	r.look()
	return r.tally() == nil && r.behind() > was
}

// rest waits until there is more to hand on; it tells whether there will not be.
func (r *runner) rest(ctx context.Context) (over bool) {
	if r.save() != nil {
		r.sleep(ctx, firstPause, nil) // and then again
		return false
	}
	r.idle.Store(true)
	defer r.idle.Store(false)
	if r.behind() > 0 {
		return false
	}
	select {
	case <-r.wake:
	case <-r.finish:
		return r.behind() <= 0
	case <-ctx.Done():
	}
	return false
}

// sleep waits; it tells whether over was closed before.
func (r *runner) sleep(ctx context.Context, d time.Duration, over <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-over:
		return true
	}
	return false
}

// poke wakes the sink when it waits for more.
func (r *runner) poke() {
	if r.idle.Load() {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// writeFile replaces a small file, so that readers see the old content or the new. It is not put on disk each time: after a crash of the
// machine there may be an older place, or nothing readable, and the sink gets some again.
func writeFile(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
