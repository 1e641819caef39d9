package audit

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// entry is a record that waits to be written.
type entry struct {
	body   []byte
	digest hash
	// make gives the body of what tells of the log itself, once it is known where it stands.
	make func(seq uint64, sum hash) []byte

	over bool // err says how it went
	err  error
	wake chan struct{}
}

func newEntry() *entry { return &entry{wake: make(chan struct{}, 1)} }

var entries = sync.Pool{New: func() any { return newEntry() }}

// slim is what an entry may keep for the next record.
const slim = 16 << 10

func (e *entry) free() {
	if cap(e.body) > slim {
		e.body = nil
	}
	e.make, e.err, e.over = nil, nil, false
	entries.Put(e)
}

// journal is the log's files, and their one writer. Who has something to write is its writer for all who wait, one batch after
// another; so nobody waits longer than for the batch before and its own.
type journal struct {
	path  string
	log   *slog.Logger
	began position // where it was resumed: what was there before is in no other place than it was

	mu             sync.Mutex
	pending, spare []*entry
	leading        bool
	turns          []chan struct{} // of those who want to lead without an entry

	// What follows is the leader's.
	f     *os.File
	size  int64
	seq   uint64
	sum   hash
	buf   []byte
	turn  int64 // a size below which the file is not put aside again, after that failed
	alien int64 // bytes of others that were noticed and not told of

	looked time.Time // when the file was last seen to be where it belongs
	astray bool      // it is not there, and could not be put back

	first   atomic.Uint64 // sequence of the first line of the present file
	last    atomic.Uint64 // seq, for others
	written atomic.Int64  // bytes since it was opened
	cuts    atomic.Int64  // how often the file was found to be cut short
	foreign atomic.Int64  // how often it was found to hold what somebody else wrote
	rotate  atomic.Int64  // the size from which the file is put aside

	wrote  func()         // after each batch
	ending func() *entry  // the last line of a file that is put aside
	aside  func(*os.File) // takes a file that was put aside, to sync and close it
	regain func() error   // has the folder be there and the log be this process's, before the file is put back
	back   func()         // after it was put back
}

var errClosed = errors.New("the audit log is closed")

// write returns when the entry is in the file, or could not be put there.
func (j *journal) write(e *entry) error {
	if e.make == nil {
		e.digest = digestOf(e.body)
	}
	j.mu.Lock()
	j.pending = append(j.pending, e)
	if j.leading {
		j.mu.Unlock()
		<-e.wake
		if e.over {
			return e.err
		}
		j.mu.Lock() // its turn has come
	}
	j.leading = true
	j.mu.Unlock()
	runtime.Gosched() // whoever else has something to write by now gets in
	j.mu.Lock()
	batch := j.pending
	j.pending, j.spare = j.spare, nil
	j.mu.Unlock()

	err := j.commit(batch)
	for i, other := range batch {
		batch[i] = nil
		if other != e {
			other.over, other.err = true, err
			other.wake <- struct{}{}
		}
	}
	j.handOn(batch[:0])
	return err
}

// handOn has the first of those who came meanwhile lead; who has nothing to write comes first, or would wait while others write.
func (j *journal) handOn(spare []*entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.spare = spare
	switch {
	case len(j.turns) > 0:
		close(j.turns[0])
		j.turns = j.turns[1:]
	case len(j.pending) > 0:
		j.pending[0].wake <- struct{}{}
	default:
		j.leading = false
	}
}

// lead runs f as the leader.
func (j *journal) lead(f func()) {
	j.mu.Lock()
	turn := make(chan struct{})
	if j.leading {
		j.turns = append(j.turns, turn)
	} else {
		j.leading = true
		close(turn)
	}
	j.mu.Unlock()
	<-turn
	f()
	j.handOn(nil)
}

// bufMost is what the buffer of a batch may keep.
const bufMost = 1 << 20

// lookEvery is how often who writes looks whether the file is where it belongs.
const lookEvery = time.Second

// commit writes a batch: all of it, or nothing.
func (j *journal) commit(batch []*entry) error {
	if j.f == nil {
		return errClosed
	}
	if j.astray || time.Since(j.looked) >= lookEvery {
		if err := j.restore(); err != nil {
			return err
		}
	}
	buf, seq, sum := j.buf[:0], j.seq, j.sum
	for _, e := range batch {
		buf, sum = e.chain(buf, seq, sum)
		seq++
	}
	if j.buf = buf; cap(buf) > bufMost {
		j.buf = nil
	}
	if err := j.put(buf); err != nil {
		return err
	}
	j.advance(seq, sum, len(buf))
	if j.size >= max(j.rotate.Load(), j.turn) {
		j.rotateFile()
	}
	if j.wrote != nil {
		j.wrote()
	}
	return nil
}

func (j *journal) advance(seq uint64, sum hash, n int) {
	j.seq, j.sum = seq, sum
	j.last.Store(seq)
	j.written.Add(int64(n))
}

// chain appends the entry's line, after the line seq.
func (e *entry) chain(dst []byte, seq uint64, sum hash) ([]byte, hash) {
	if e.make != nil {
		e.body = e.make(seq, sum)
		e.digest = digestOf(e.body)
	}
	next := link(sum, seq+1, e.digest)
	return appendLine(dst, seq+1, e.body, sum, next), next
}

// put writes bytes to the file; of what could only be written in part, nothing stays.
func (j *journal) put(b []byte) error {
	if n, err := j.f.Write(b); err != nil {
		return errors.Join(err, j.undo(n))
	}
	j.size += int64(len(b))
	return nil
}

// undo takes away the last n bytes of the file.
func (j *journal) undo(n int) error {
	info, err := j.f.Stat()
	if err != nil {
		return err
	}
	return j.f.Truncate(info.Size() - int64(n))
}

// turnAgain is how much more is written before a file that could not be put aside is tried again.
const turnAgain = 1 << 20

// rotateFile puts the file aside and begins the next. When that fails, the log goes on in the old one.
func (j *journal) rotateFile() {
	if err := j.begin(); err != nil {
		j.turn = j.size + turnAgain
		j.log.Error("audit: cannot put the file aside; it grows on", "file", j.path, "error", err)
	}
}

func (j *journal) begin() error {
	if !isAt(j.f, j.path) {
		return errors.New("it was removed or replaced")
	}
	aside := asideName(j.path, j.first.Load())
	if _, err := os.Lstat(aside); err == nil {
		return fmt.Errorf("%s is there already", aside)
	}
	next, err := j.next()
	if err != nil {
		return err
	}
	if e := j.ending(); e != nil {
		buf, sum := e.chain(nil, j.seq, j.sum)
		if err := j.put(buf); err != nil {
			_ = next.Close()
			return err
		}
		j.advance(j.seq+1, sum, len(buf))
	}
	if err := j.swap(aside); err != nil {
		return errors.Join(err, next.Close())
	}
	_ = j.grown() // the next file is looked at from here on
	old := j.f
	j.f, j.size, j.turn = next, 0, 0
	j.first.Store(j.seq + 1)
	j.aside(old)
	return nil
}

// swap has the next file take the place of the present one, which is put aside, or has all stay as it is.
func (j *journal) swap(aside string) error {
	if err := os.Rename(j.path, aside); err != nil {
		return err
	}
	if err := os.Rename(j.path+".next", j.path); err != nil {
		return errors.Join(err, os.Rename(aside, j.path)) // where that fails too, restore does it later
	}
	return nil
}

// next is the file that is to take the place of the present one.
func (j *journal) next() (*os.File, error) {
	return os.OpenFile(j.path+".next", os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
}

// restore puts the file back if it was removed or replaced while it was written. As long as that fails, nothing more is written: it
// would be gone with the process.
func (j *journal) restore() error {
	j.looked, j.astray = time.Now(), false
	if j.f == nil || isAt(j.f, j.path) {
		return nil
	}
	err := j.regain()
	if err == nil {
		err = j.putBack()
	}
	if err != nil {
		j.astray = true
		return fmt.Errorf("%s was removed or replaced, and cannot be put back: %w", j.path, err)
	}
	j.back()
	return nil
}

// putBack has the file be where it belongs: all that is in it can still be read. What stands in its place keeps its content, under
// another name.
func (j *journal) putBack() error {
	if aside := asideName(j.path, j.first.Load()); isAt(j.f, aside) {
		return j.clear(func() error { return os.Rename(aside, j.path) })
	}
	if err := j.grown(); err != nil { // it is copied as a whole
		return err
	}
	next, err := j.next()
	if err != nil {
		return err
	}
	_, err = io.Copy(next, io.NewSectionReader(j.f, 0, j.size))
	if err == nil {
		err = j.clear(func() error { return os.Rename(j.path+".next", j.path) })
	}
	if err != nil {
		return errors.Join(err, next.Close(), os.Remove(j.path+".next"))
	}
	old := j.f
	j.f = next
	j.aside(old)
	return nil
}

// shortened notices that somebody has cut the file short, and by how much: what is written goes on behind its new end. What is left
// of a line there is put into a file of its own, or the next line would be part of it.
func (j *journal) shortened() (lost int64, err error) {
	if j.f == nil {
		return 0, nil
	}
	info, err := j.f.Stat()
	if err != nil || info.Size() >= j.size {
		return 0, err
	}
	lost, j.size = j.size-info.Size(), info.Size()
	if j.size > 0 {
		begin, line, e := lineBefore(j.f, j.size)
		if e == nil && line == nil {
			_, e = moveTorn(j.path, j.f, &tail{seq: j.seq, size: begin, torn: j.size - begin})
			j.size = begin
		}
		err = e
	}
	head, e := readHeadLine(j.f)
	if head.seq == 0 {
		head.seq = j.seq + 1
	}
	j.first.Store(head.seq)
	j.cuts.Add(1)
	return lost, errors.Join(err, e)
}

// grown notices that somebody else has written to the file: what is there counts as written from here on, so that sinks, and copies of
// the file, come as far as its end.
func (j *journal) grown() error {
	if j.f == nil {
		return nil
	}
	info, err := j.f.Stat()
	if err != nil || info.Size() <= j.size {
		return err
	}
	more := info.Size() - j.size
	j.size += more
	j.alien += more
	j.written.Add(more)
	return nil
}

// intruded tells of what grown has noticed since it was told of last.
func (j *journal) intruded() (bytes int64, err error) {
	err = j.grown()
	if bytes, j.alien = j.alien, 0; bytes > 0 {
		j.foreign.Add(1)
	}
	return bytes, err
}

// clear has put move a file to where the present one belongs; what stands there is kept under another name.
func (j *journal) clear(put func() error) error {
	if _, err := os.Lstat(j.path); err == nil {
		if _, err := setAside(j.path, &tail{seq: j.seq}); err != nil {
			return err
		}
	}
	return put()
}

// asideName is the name of a file of the log that was put aside: audit.jsonl becomes audit.00000000000000000001.jsonl, after its
// first line.
func asideName(path string, first uint64) string {
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s.%020d%s", strings.TrimSuffix(path, ext), first, ext)
}

// sync has the operating system put what was written on disk.
func (j *journal) sync() error {
	var f *os.File
	j.lead(func() { f = j.f })
	if f == nil {
		return errClosed
	}
	return f.Sync()
}

// close closes the file; what is written then fails.
func (j *journal) close() error {
	var err error
	j.lead(func() {
		if j.f != nil {
			err = errors.Join(j.f.Sync(), j.f.Close())
			j.f = nil
		}
	})
	return err
}
