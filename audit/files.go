package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// logFile is one file of a log.
type logFile struct {
	path  string
	first uint64 // by its name; 0 for the present file
	f     *os.File
}

// open opens the file, unless it is open.
func (l *logFile) open() (*os.File, error) {
	if l.f != nil {
		return l.f, nil
	}
	return os.Open(l.path)
}

// filesOf are the files of the log at path that there are, in their order, the present one last.
func filesOf(path string) ([]logFile, error) {
	ext := filepath.Ext(path)
	base := strings.TrimSuffix(filepath.Base(path), ext)
	names, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var all []logFile
	for _, n := range names {
		rest, ok := strings.CutPrefix(n.Name(), base+".")
		number, ended := strings.CutSuffix(rest, ext)
		if !ok || !ended || len(number) != 20 {
			continue
		}
		if first, err := strconv.ParseUint(number, 10, 64); err == nil {
			all = append(all, logFile{path: filepath.Join(filepath.Dir(path), n.Name()), first: first})
		}
	}
	slices.SortFunc(all, func(a, b logFile) int { return cmp.Compare(a.first, b.first) })
	if _, err := os.Stat(path); err == nil {
		all = append(all, logFile{path: path})
	}
	return all, nil
}

// held are the files of the log at path with the present one open, so that it is read although it is put aside meanwhile.
func held(path string) (all []logFile, release func(), err error) {
	for range 10 { // files may be put aside while they are looked at
		f, err := os.Open(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, err
		}
		release = func() { _ = f.Close() } // nothing is open where there is none
		all, err = filesOf(path)
		there := len(all) > 0 && all[len(all)-1].path == path
		switch {
		case err != nil:
			release()
			return nil, nil, err
		case f == nil && !there:
			return all, release, nil
		case f != nil && there && isAt(f, path):
			all[len(all)-1].f = f
			return all, release, nil
		}
		release()
	}
	return nil, nil, fmt.Errorf("files of %s are put aside faster than they can be read", path)
}

// isAt tells whether an open file is still the one at path.
func isAt(f *os.File, path string) bool {
	was, err := f.Stat()
	if err != nil {
		return false
	}
	is, err := os.Stat(path)
	return err == nil && os.SameFile(was, is)
}

// slotsMost bounds how many logs of one name there are: processes that share a state directory each have their own.
const slotsMost = 64

// slot is the path of the nth process's log: audit.jsonl, audit-2.jsonl.
func slot(path string, n int) string {
	if n == 0 {
		return path
	}
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "-" + strconv.Itoa(n+1) + ext
}

// claim takes the first log of that name that nobody else writes, or only the one that is given.
func claim(path, only string) (own string, lock *os.File, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", nil, err
	}
	for n := range slotsMost {
		if own = slot(path, n); only != "" && own != only {
			continue
		}
		lock, err = os.OpenFile(own+".lock", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return "", nil, err
		}
		if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return own, lock, nil
		}
		_ = lock.Close()
	}
	return "", nil, fmt.Errorf("%s and %d others of its name are in use by other processes: %w", path, slotsMost-1, err)
}

// tail is where a log ends.
type tail struct {
	seq   uint64
	sum   hash
	first uint64 // of the present file
	size  int64  // of its sound part
	body  []byte // of the last line
	torn  int64  // bytes behind the sound part
}

// readTail finds the last sound line of a file and what is behind it: a line that was cut off when the machine or the disk failed.
func readTail(f *os.File) (t tail, err error) {
	head, err := readHeadLine(f)
	if err != nil {
		return t, err
	}
	t.first = head.seq
	info, err := f.Stat()
	if err != nil {
		return t, err
	}
	end := info.Size()
	for at := end; at > 0; {
		begin, line, err := lineBefore(f, at)
		if err != nil {
			return t, err
		}
		if c, e := readChain(line); e == nil && c.sound() {
			t.seq, t.sum, t.size, t.body = c.seq, c.sum, at, bytes.Clone(c.body)
			break
		}
		at = begin
	}
	t.torn = end - t.size
	return t, nil
}

// setAside moves what is behind the sound part of a file into one of its own, which it names; a file without any is moved as it is.
func setAside(path string, t *tail) (aside string, err error) {
	if t.size == 0 {
		aside = tornName(path, t)
		return aside, os.Rename(path, aside)
	}
	from, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer from.Close()
	return moveTorn(path, from, t)
}

// tornName is a free name for what is behind the sound part of a file.
func tornName(path string, t *tail) string {
	name := fmt.Sprintf("%s.torn-%d", path, t.seq+1)
	for n := 2; ; n++ {
		if _, err := os.Lstat(name); err != nil {
			return name
		}
		name = fmt.Sprintf("%s.torn-%d-%d", path, t.seq+1, n)
	}
}

// moveTorn moves what is behind the sound part of an open file into one of its own, which it names.
func moveTorn(path string, from *os.File, t *tail) (aside string, err error) {
	aside = tornName(path, t)
	to, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, io.NewSectionReader(from, t.size, t.torn))
	if err = errors.Join(err, to.Sync(), to.Close()); err != nil {
		return "", err
	}
	return aside, from.Truncate(t.size)
}

// readHeadLine reads the first line of a file that is one of a log; somebody else may have written before it.
func readHeadLine(f *os.File) (c chained, err error) {
	r := bufio.NewReader(io.NewSectionReader(f, 0, 2*lineMost))
	for {
		line, err := r.ReadBytes('\n')
		c, e := readChain(apart(bytes.TrimSuffix(line, []byte{'\n'})))
		switch {
		case errors.Is(err, io.EOF), err == nil && e == nil:
			return c, nil
		case err != nil:
			return c, err
		}
	}
}

// lineBefore finds the line that ends at an offset: its newline is the byte before, or else it has none and is not whole.
func lineBefore(f *os.File, end int64) (begin int64, line []byte, err error) {
	var all []byte
	for at := end; ; {
		size := min(at, 32<<10)
		more := make([]byte, size+int64(len(all)))
		copy(more[size:], all)
		if _, err := f.ReadAt(more[:size], at-size); err != nil {
			return 0, nil, err
		}
		all = more
		at -= size
		if i := bytes.LastIndexByte(all[:len(all)-1], '\n'); i >= 0 {
			begin, line = at+int64(i)+1, all[i+1:]
			break
		} else if at == 0 || len(all) > lineMost {
			begin, line = at, all
			break
		}
	}
	line, whole := bytes.CutSuffix(line, []byte{'\n'})
	if !whole {
		return begin, nil, nil
	}
	return begin, line, nil
}
