package audit

import (
	"context"
	"errors"
	"fmt"
	"os"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// duplicate is a second file of the log, with the same lines, in files of its own.
type duplicate struct {
	path         string
	rotate       int64
	keep         int
	lock         *os.File
	f            *os.File
	size         int64
	first, after uint64 // of the file; the last line
}

func newCopy(spec *v1.AuditSink, stateDir string) (Follower, error) {
	path, lock, err := claim(pathOf(spec.File, stateDir), "")
	if err != nil {
		return nil, err
	}
	d := &duplicate{path: path, rotate: int64(spec.Rotate), keep: spec.Keep, lock: lock}
	if err := d.open(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return d, nil
}

// open goes on behind the last whole line. What a crash left of another comes again.
func (d *duplicate) open() error {
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	t, err := readTail(f)
	if err == nil && t.torn > 0 {
		err = f.Truncate(t.size)
	}
	if err != nil {
		_ = f.Close()
		return err
	}
	d.f, d.size, d.first, d.after = f, t.size, t.first, max(t.seq, d.after)
	return nil
}

// Send implements Follower.
func (d *duplicate) Send(_ context.Context, lines []Line) error {
	if d.f == nil {
		if err := d.open(); err != nil {
			return err
		}
	}
	var all []byte
	after, first := d.after, d.first
	for _, l := range lines {
		if l.Sequence <= after {
			continue // it has come before
		}
		if d.size == 0 && len(all) == 0 {
			first = l.Sequence
		}
		all, after = append(append(all, l.Raw...), '\n'), l.Sequence
	}
	if _, err := d.f.Write(all); err != nil {
		err = errors.Join(err, d.f.Truncate(d.size), d.f.Close())
		d.f = nil
		return err
	}
	d.size += int64(len(all))
	d.after, d.first = after, first
	if d.size >= d.rotate {
		return d.begin()
	}
	return nil
}

// begin puts the file aside.
func (d *duplicate) begin() error {
	aside := asideName(d.path, d.first)
	if _, err := os.Lstat(aside); err == nil {
		return fmt.Errorf("%s is there already", aside)
	}
	err := errors.Join(d.f.Sync(), d.f.Close())
	d.f = nil
	if err = errors.Join(err, os.Rename(d.path, aside)); err != nil {
		return err
	}
	if err := d.open(); err != nil {
		return err
	}
	files, err := filesOf(d.path)
	if err != nil || d.keep == 0 {
		return err
	}
	for _, f := range files[:max(0, len(files)-1-d.keep)] {
		err = errors.Join(err, os.Remove(f.path))
	}
	return err
}

// Close implements Follower.
func (d *duplicate) Close() error {
	var err error
	if d.f != nil {
		err = errors.Join(d.f.Sync(), d.f.Close())
	}
	return errors.Join(err, d.lock.Close())
}
