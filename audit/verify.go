package audit

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// VerifyOptions are what a log is held against.
type VerifyOptions struct {
	// Keys are the public keys that checkpoints may be signed with, by their ids.
	Keys map[string]ed25519.PublicKey
	// Expect are lines, by their sequence, with the hash that they had when somebody noted it.
	Expect map[uint64]string
	// Part says that the files are a part of a log: lines before and behind them, and the head, may be elsewhere.
	Part bool
}

// Fault is the first thing that is wrong with a log.
type Fault struct {
	// File and Line say where it is, Line counted from 1; 0 where it is about the file as a whole.
	File string `json:"file"`
	Line int    `json:"line,omitempty"`
	// Sequence is that of the first line that is not as it was written, or is missing.
	Sequence uint64 `json:"sequence"`
	// What is what happened to it, in a word, and Detail in a sentence.
	What   string `json:"what"`
	Detail string `json:"detail"`
}

func (f *Fault) Error() string {
	at := f.File
	if f.Line > 0 {
		at = fmt.Sprintf("%s:%d", at, f.Line)
	}
	return fmt.Sprintf("%s: sequence %d: %s: %s", at, f.Sequence, f.What, f.Detail)
}

// What can be wrong with a line.
const (
	faultChanged   = "changed"
	faultMissing   = "missing"
	faultOrder     = "out of order"
	faultTruncated = "truncated"
	faultSignature = "signature"
	faultHead      = "head"
)

// Report is what was found of a log.
type Report struct {
	Path  string `json:"path"`
	Files int    `json:"files"`
	Lines uint64 `json:"lines"`
	// First and Last are the sequences of the first and the last line, and Hash is the last one's.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	Hash  string `json:"hash"`
	// Checkpoints is how many good ones there are, Signed the sequence up to which they speak.
	Checkpoints int    `json:"checkpoints"`
	Signed      uint64 `json:"signed"`
	// Unsigned is how many lines no signature speaks for in a log that nobody writes any more.
	Unsigned uint64 `json:"unsigned,omitempty"`
	// Notes are what the gateway itself found when it started.
	Notes []string `json:"notes,omitempty"`
	Fault *Fault   `json:"fault,omitempty"`
}

// verifier walks through a log.
type verifier struct {
	o    *VerifyOptions
	r    *Report
	head *mark
	sum  hash
	log  string
	from uint64 // the first line that is kept, by the last checkpoint
	file string
	line int
}

// Verify checks a log: that each line is as it was written and follows the one before, that what is signed is, and that none is
// missing. What is wrong is in the report; an error is that it could not be read.
func Verify(ctx context.Context, path string, o VerifyOptions) (*Report, error) {
	v := &verifier{o: &o, r: &Report{Path: path}}
	head, err := readMark(headName(path))
	if err != nil {
		v.fault(faultHead, 0, "%s", err)
		return v.r, nil
	}
	if !o.Part {
		v.head = head // before the files: what is written meanwhile comes behind
	}
	writing := inUse(path)
	files, release, err := verifyFiles(path, o.Part, head != nil)
	if err != nil {
		return nil, err
	}
	defer release()
	for i := range files {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		v.r.Files++
		if err := v.read(&files[i], i == len(files)-1 && writing); err != nil {
			return nil, err
		}
		if v.r.Fault != nil {
			break
		}
	}
	if v.r.Fault == nil {
		v.line = 0
		v.close()
		if !o.Part && !writing && v.r.Fault == nil && v.r.Last > v.r.Signed {
			v.r.Unsigned = v.r.Last - v.r.Signed
		}
	}
	return v.r, nil
}

func verifyFiles(path string, part, headed bool) (files []logFile, release func(), err error) {
	if _, aside := asideOf(path); aside && part {
		return []logFile{{path: path}}, func() {}, nil
	}
	files, release, err = held(path)
	if err == nil && len(files) == 0 && !headed {
		err = fmt.Errorf("%s: there is no such audit log", path)
	}
	return files, release, err
}

// inUse tells whether a gateway writes the log.
func inUse(path string) bool {
	f, err := os.Open(path + ".lock")
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

func (v *verifier) fault(what string, seq uint64, format string, args ...any) {
	if v.r.Fault == nil {
		file := v.file
		if file == "" {
			file = v.r.Path
		}
		v.r.Fault = &Fault{File: file, Line: v.line, Sequence: seq, What: what, Detail: fmt.Sprintf(format, args...)}
	}
}

func (v *verifier) read(file *logFile, growing bool) error {
	f, err := file.open()
	if err != nil {
		return err
	}
	defer f.Close()
	v.file, v.line = file.path, 0
	return eachLine(f, func(line []byte, whole bool) bool {
		v.line++
		switch {
		case whole:
			v.check(line)
		case !growing:
			v.fault(faultTruncated, v.r.Last+1, "the last line has no end")
		}
		return v.r.Fault == nil
	})
}

// eachLine reads lines until there are none, or f has enough. Those that are longer than any line of a log are cut.
func eachLine(from io.Reader, f func(line []byte, whole bool) bool) error {
	r := bufio.NewReaderSize(from, 256<<10)
	var long []byte
	for {
		part, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) && len(long) < lineMost {
			long = append(long, part...)
			continue
		}
		line := part
		if len(long) > 0 {
			long = append(long, part...)
			line, long = long, long[:0]
		}
		line, whole := bytes.CutSuffix(line, []byte{'\n'})
		if len(line) > 0 || whole {
			if !f(line, whole || errors.Is(err, bufio.ErrBufferFull)) {
				return nil
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

// check looks at one line.
func (v *verifier) check(line []byte) {
	next := v.r.Last + 1
	c, err := readChain(line)
	switch {
	case err != nil && v.r.Lines == 0:
		v.fault(faultChanged, v.begins(), "the first line %s", err)
		return
	case err != nil:
		v.fault(faultChanged, next, "the line %s", err)
		return
	case !c.sound():
		v.fault(faultChanged, v.expected(&c), "what the line says has not the hash that it had when it was written")
		return
	}
	if v.r.Lines == 0 {
		v.begin(&c)
	} else {
		v.follows(&c, next)
	}
	if v.r.Fault != nil {
		return
	}
	v.r.Lines++
	v.r.Last, v.sum = c.seq, c.sum
	if v.head != nil && c.seq == v.head.Sequence && c.sum.String() != v.head.Hash {
		v.fault(faultChanged, v.signedNext(), "the hash is not that which is signed in the head: the lines from here to sequence %d were written anew", c.seq)
	}
	if want, ok := v.o.Expect[c.seq]; ok && c.sum.String() != want {
		v.fault(faultChanged, c.seq, "the hash is %s, and %s was expected: the log was written anew", c.sum, want)
	}
	if bytes.Contains(c.body, lifecycleMark) {
		v.told(&c)
	}
}

// expected is the sequence that a line should have.
func (v *verifier) expected(c *chained) uint64 {
	if v.r.Lines == 0 {
		return c.seq
	}
	return v.r.Last + 1
}

// begins is the sequence that the first line should have.
func (v *verifier) begins() uint64 {
	if v.head != nil {
		return v.head.From
	}
	return 1
}

var lifecycleMark = []byte(`"class_uid":6002,`)

// signedNext is the first line that no checkpoint has spoken for.
func (v *verifier) signedNext() uint64 { return max(v.r.Signed+1, v.r.First) }

func (v *verifier) begin(c *chained) {
	v.r.First = c.seq
	if h := v.head; h != nil && c.seq > h.From {
		if now, err := readMark(headName(v.r.Path)); err == nil && now != nil { // files may just have been removed
			h = now
		}
		if c.seq > h.From && h.good(v.o.Keys) {
			v.fault(faultMissing, h.From, "lines %d to %d are missing at the beginning", h.From, c.seq-1)
		}
	}
	if c.seq == 1 && c.prev != (hash{}) {
		v.fault(faultChanged, 1, "the first line says that there is one before it")
	}
}

func (v *verifier) follows(c *chained, next uint64) {
	switch {
	case c.seq > next:
		v.fault(faultMissing, next, "lines %d to %d are missing, or stand elsewhere", next, c.seq-1)
	case c.seq < next:
		v.fault(faultOrder, c.seq, "line %d comes again, or late, behind line %d", c.seq, v.r.Last)
	case c.prev != v.sum:
		v.line--
		v.fault(faultChanged, v.r.Last, "the line, and perhaps others before it, was written anew: line %d does not follow it", c.seq)
	}
}

// lifecycleLine is what the log tells of itself.
type lifecycleLine struct {
	Class    int    `json:"class_uid"`
	Detail   string `json:"status_detail"`
	Unmapped struct {
		Operation  string `json:"operation"`
		Log        string `json:"log"`
		Checkpoint *mark  `json:"checkpoint"`
	} `json:"unmapped"`
}

// told looks at what the log tells of itself.
func (v *verifier) told(c *chained) {
	var l lifecycleLine
	body, _ := bytes.CutPrefix(c.body, []byte(","))
	text := append(append([]byte(`{"metadata":{`), body...), `"":0}}`...)
	if err := json.Unmarshal(text, &l); err != nil || l.Class != 6002 {
		return
	}
	if l.Unmapped.Operation == "start" {
		v.identify(l.Unmapped.Log, c.seq)
		if l.Detail != "" {
			v.r.Notes = append(v.r.Notes, fmt.Sprintf("sequence %d: the gateway found on start: %s", c.seq, l.Detail))
		}
	}
	if m := l.Unmapped.Checkpoint; m != nil {
		v.checkpoint(m, c)
	}
}

func (v *verifier) identify(log string, seq uint64) {
	if v.log != "" && v.log != log {
		v.fault(faultHead, seq, "the log goes by another name from here on: its head was missing when the gateway started")
	}
	v.log = log
}

func (v *verifier) checkpoint(m *mark, c *chained) {
	if v.log == "" {
		v.log = m.Log
	}
	switch {
	case m.What != markCheckpoint || m.Log != v.log || m.Sequence != c.seq-1 || m.Hash != c.prev.String():
		v.fault(faultSignature, v.signedNext(), "the checkpoint at line %d speaks of another line or log: lines between were written anew", c.seq)
	case v.o.Keys[m.Key] == nil:
		v.fault(faultSignature, c.seq, "the checkpoint is signed with the key %s, which was not given", m.Key)
	case !m.good(v.o.Keys):
		v.fault(faultSignature, v.signedNext(), "the signature of the checkpoint at line %d is not good: lines before it may have been written anew", c.seq)
	default:
		v.r.Checkpoints++
		v.r.Signed, v.from = m.Sequence, m.From
	}
}

// close holds the whole against the head.
func (v *verifier) close() {
	v.r.Hash = v.sum.String()
	for seq := range v.o.Expect {
		if seq > v.r.Last {
			v.fault(faultTruncated, v.r.Last+1, "the log ends at line %d; line %d was expected", v.r.Last, seq)
		}
	}
	if v.o.Part {
		return
	}
	h := v.head
	switch {
	case h == nil:
		v.fault(faultHead, v.r.Last, "%s is missing: lines may be missing behind the last", filepath.Base(headName(v.r.Path)))
		return
	case v.o.Keys[h.Key] == nil:
		v.fault(faultSignature, h.Sequence, "the head is signed with the key %s, which was not given", h.Key)
	case !h.good(v.o.Keys) || v.log != "" && h.Log != v.log:
		v.fault(faultSignature, h.Sequence, "the signature of the head is not good, or it is that of another log")
	case h.Sequence > v.r.Last:
		v.fault(faultTruncated, v.r.Last+1, "lines %d to %d are missing at the end", v.r.Last+1, h.Sequence)
	}
	v.from = max(v.from, 1)
	if v.r.First > max(v.from, h.From) {
		v.file = v.r.Path
		v.fault(faultMissing, max(v.from, h.From), "lines %d to %d are missing at the beginning", max(v.from, h.From), v.r.First-1)
	}
	v.r.Signed = max(v.r.Signed, h.Sequence)
}

// asideOf tells whether a path is that of a file that was put aside, and of which log.
func asideOf(path string) (log string, aside bool) {
	ext := filepath.Ext(path)
	base := strings.TrimSuffix(path, ext)
	at := strings.LastIndexByte(base, '.')
	if at < 0 || len(base)-at-1 != 20 || strings.Trim(base[at+1:], "0123456789") != "" {
		return path, false
	}
	return base[:at] + ext, true
}

// LogsAt are the logs at a path: a directory's, or the one that is named, with those beside it that processes have which share the
// state directory.
func LogsAt(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return siblings(path)
	}
	names, err := filepath.Glob(filepath.Join(path, "*.jsonl"))
	if err != nil {
		return nil, err
	}
	var all []string
	for _, n := range names {
		if log, _ := asideOf(n); !slices.Contains(all, log) {
			all = append(all, log)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds no audit log (*.jsonl)", path)
	}
	return all, nil
}

func siblings(path string) ([]string, error) {
	if _, aside := asideOf(path); aside {
		return []string{path}, nil
	}
	all := []string{path}
	for n := 1; n < slotsMost; n++ {
		if files, err := filesOf(slot(path, n)); err == nil && len(files) > 0 {
			all = append(all, slot(path, n))
		}
	}
	return all, nil
}
