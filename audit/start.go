package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// found is what a start found of the log before.
type found struct {
	tail
	head  *mark
	sent  uint64 // the last line that a sink has
	aside string // what was set aside of a torn end
	fresh bool   // there is none
	clean bool   // it was closed
}

// open begins or continues the log at path, or, where another process has that, at one beside it.
func (l *Log) open(path string, rotate int64, s *rules) error {
	own, lock, err := claim(path, l.only)
	if err != nil {
		return err
	}
	w, err := survey(own)
	if err == nil {
		err = l.resume(own, w)
	}
	if err == nil && w.head == nil { // from now on a log without one has lost it
		err = l.writeHead(l.j.seq, l.j.sum.String())
	}
	if err != nil {
		if l.j != nil {
			_ = l.j.close()
			l.j = nil
		}
		_ = lock.Close()
		return err
	}
	l.j.rotate.Store(rotate)
	l.lock, l.fresh = lock, w.fresh
	l.made.Store(s)
	l.note("start", w.detail(), l.facts(w)...)
	if d := w.detail(); d != "" {
		l.o.Log.Warn("audit log: "+d, "file", own)
	}
	return nil
}

// survey looks at what there is of a log.
func survey(path string) (w *found, err error) {
	w = &found{}
	if w.head, err = readMark(headName(path)); err != nil {
		return nil, err
	}
	if w.head != nil {
		w.sent = sent(path, w.head.Log)
	}
	files, err := filesOf(path)
	if err != nil {
		return nil, err
	}
	for _, file := range slices.Backward(files) {
		t, err := tailOf(file.path)
		if err != nil {
			return nil, err
		}
		if t.torn > 0 && w.aside == "" {
			if w.aside, err = setAside(file.path, &t); err != nil {
				return nil, err
			}
			w.torn = t.torn
		}
		if t.size > 0 {
			torn := w.torn
			w.tail = t
			w.torn = torn
			if file.first != 0 { // the present file is still to be begun
				w.first, w.size = 0, 0
			}
			break
		}
	}
	w.fresh = w.seq == 0 && w.head == nil
	m := &struct {
		Closed bool `json:"closed"`
	}{}
	unmappedOf(w.body, m)
	w.clean = m.Closed && w.aside == ""
	return w, nil
}

func tailOf(path string) (tail, error) {
	f, err := os.Open(path)
	if err != nil {
		return tail{}, err
	}
	defer f.Close()
	return readTail(f)
}

// unmappedOf reads the unmapped object of a line's body.
func unmappedOf(body []byte, into any) {
	at := strings.LastIndex(string(body), unmappedHead)
	if at < 0 {
		return
	}
	object := append([]byte(nil), body[at+len(unmappedHead)-1:]...)
	object = append(object, `"":0}`...)
	_ = json.Unmarshal(object, into) // what is not there is not told
}

const unmappedHead = `,"unmapped":{`

// missing is how many lines are gone that the head knows of, or a sink has.
func (w *found) missing() uint64 {
	if w.head == nil {
		return 0
	}
	return max(w.head.Sequence, w.sent, w.seq) - w.seq
}

// detail says what is wrong with what was found; empty for nothing.
func (w *found) detail() string {
	var all []string
	if n := w.missing(); n > 0 {
		all = append(all, fmt.Sprintf("%d lines are missing behind line %d", n, w.seq))
	}
	if w.aside != "" {
		all = append(all, fmt.Sprintf("%d bytes behind line %d are no whole line and were put into %s", w.torn, w.seq, filepath.Base(w.aside)))
	}
	if w.head == nil && !w.fresh {
		all = append(all, "the head file is missing, so that lines may be, too")
	}
	return strings.Join(all, "; ")
}

func (l *Log) facts(w *found) []Fact {
	facts := []Fact{fact("log", l.id)}
	if !w.fresh {
		facts = append(facts, Fact{"closed_before", fmt.Sprint(w.clean)})
	}
	if n := w.missing(); n > 0 {
		facts = append(facts, number("missing_lines", n))
	}
	if w.aside != "" {
		facts = append(facts, number("torn_bytes", uint64(w.torn)), fact("torn_file", filepath.Base(w.aside)))
	}
	if w.head == nil && !w.fresh {
		facts = append(facts, Fact{"head_missing", "true"})
	}
	return facts
}

// resume opens the file to go on in. Where the head knows of more than there is, or a sink has more, the log goes on from there, so that
// the gap stays to be seen, and no number stands for two lines.
func (l *Log) resume(path string, w *found) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	j := &journal{path: path, log: l.o.Log, f: f, size: w.size, seq: w.seq, sum: w.sum}
	l.id = newLogID()
	l.from.Store(1)
	if w.head != nil {
		l.id = w.head.Log
		l.from.Store(w.head.From)
	}
	if w.missing() > 0 {
		j.seq = w.seq + w.missing()
		if j.seq == w.head.Sequence && !unhex(&j.sum, []byte(w.head.Hash)) {
			_ = f.Close()
			return fmt.Errorf("%s is not the head of an audit log", headName(path))
		}
	}
	j.last.Store(j.seq)
	first := w.first
	if first == 0 || w.size == 0 {
		first = j.seq + 1
	}
	j.first.Store(first)
	j.began = position{Sequence: w.seq, First: first}
	j.wrote, j.ending, j.aside, j.regain, j.back = l.wrote, l.ending, l.aside, l.regain, l.returned
	l.j, l.path = j, path
	return nil
}

// settle has the followers be those of a configuration; what did not change goes on.
func (l *Log) settle(sinks []v1.AuditSink) error {
	was := *l.follow.Load()
	next, added := []*runner{}, []*runner{}
	for i := range sinks {
		if l.j == nil || l.own(&sinks[i]) || slices.ContainsFunc(next, func(r *runner) bool { return r.same(&sinks[i]) }) {
			continue
		}
		if at := slices.IndexFunc(was, func(r *runner) bool { return reflect.DeepEqual(r.spec, sinks[i]) }); at >= 0 {
			next = append(next, was[at])
			continue
		}
		r, err := l.runner(&sinks[i])
		if err != nil {
			for _, r := range added {
				_ = r.to.Close()
			}
			return fmt.Errorf("audit.sinks[%d]: %w", i, err)
		}
		next, added = append(next, r), append(added, r)
	}
	l.number(next)
	for _, r := range was {
		if !slices.Contains(next, r) {
			r.cancel()
			<-r.done
		}
	}
	return l.launch(next, added)
}

// own tells whether the sink is the log's own file.
func (l *Log) own(s *v1.AuditSink) bool {
	return s.File != "" && pathOf(s.File, l.stateDir) == l.asked
}

func (r *runner) same(s *v1.AuditSink) bool {
	return r.spec.Kind() == s.Kind() && r.spec.Address() == s.Address()
}

func (l *Log) runner(s *v1.AuditSink) (*runner, error) {
	maker := makers[s.Kind()]
	if maker == nil {
		return nil, fmt.Errorf("this program has no sink %q", s.Kind())
	}
	o := l.o
	o.id = l.id
	to, err := maker(s, &o, l.stateDir)
	if err != nil {
		return nil, err
	}
	return &runner{name: s.Kind(), spec: *s, lag: int64(s.Lag), to: to, log: l.o.Log, j: l.j, relief: l.relief.open, look: l.inspect, finish: l.finish}, nil
}

// number tells sinks of one kind apart.
func (l *Log) number(all []*runner) {
	counts := map[string]int{}
	for _, r := range all {
		kind := r.spec.Kind()
		if counts[kind]++; counts[kind] > 1 && r.done == nil {
			r.name = fmt.Sprintf("%s-%d", kind, counts[kind])
		}
	}
}

// launch has the added ones begin, and makes all of next those that are followed by.
func (l *Log) launch(next, added []*runner) error {
	var err error
	var late []string
	if l.j != nil {
		l.j.lead(func() {
			err = l.j.grown() // they begin at its end
			for _, r := range added {
				fresh, e := r.begin(l.id, l.fresh)
				err = errors.Join(err, e)
				if fresh && l.j.seq > 0 {
					late = append(late, r.name)
				}
			}
			if err == nil {
				l.follow.Store(&next)
			}
		})
	}
	if err != nil {
		for _, r := range added {
			_ = r.to.Close()
		}
		return err
	}
	for _, r := range added {
		r.start(l.life, &l.tasks)
	}
	for _, name := range late {
		l.note("follow", "sink "+name+" gets the records from here on")
	}
	return nil
}
