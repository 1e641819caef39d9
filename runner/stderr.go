package runner

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	tailLines   = 20
	tailLine    = 4 << 10
	logRate     = 50 // stderr lines logged a second
	logInterval = time.Second

	// What nobody sees is read no faster than this: the pipe fills, and who floods it is slowed down
	// instead of the program.
	floodRate  = 2 << 20 // bytes a second
	floodPause = 25 * time.Millisecond
)

// tail reads the stderr of a child for as long as it lives: the last lines go to a ring, the first ones
// of each second to the log.
type tail struct {
	in      *inlet
	hurried chan struct{}
	hurry   func() // ends all pauses: the process is to end, or has
	log     *slog.Logger
	journal *Journal
	pid     int
	secrets *strings.Replacer

	line []byte // the line so far, cut at tailLine
	cut  bool

	since      time.Time // beginning of the current second of the log
	logged     int
	suppressed int

	mu   sync.Mutex
	ring [tailLines][]byte
	n    int // lines seen
}

func newTail(in *inlet, pid int, env []string, o Options, log *slog.Logger) *tail {
	hurried := make(chan struct{})
	return &tail{
		in: in, pid: pid, log: log, journal: o.Journal, secrets: secretsOf(env),
		hurried: hurried, hurry: sync.OnceFunc(func() { close(hurried) }),
	}
}

// run reads until the end of the process, or until it closes its stderr.
func (t *tail) run() {
	for {
		err := t.in.fill()
		now := time.Now()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.tick(now)
			continue
		}
		if err != nil {
			break
		}
		n := len(t.in.data)
		t.split(now)
		if t.suppressed > 0 || t.cut {
			t.pause(n)
		}
	}
	if len(t.line) > 0 {
		t.finish(time.Now())
	}
	t.report()
	t.in.close()
}

// pause waits for as long as n bytes may take to come.
func (t *tail) pause(n int) {
	timer := time.NewTimer(max(floodPause, time.Duration(n)*time.Second/floodRate))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.hurried:
	}
}

// split takes the lines out of the data at hand.
func (t *tail) split(now time.Time) {
	data := t.in.data
	for len(data) > 0 {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			t.add(data)
			break
		}
		t.add(data[:i])
		t.finish(now)
		data = data[i+1:]
	}
	t.in.consume(len(t.in.data))
}

func (t *tail) add(b []byte) {
	room := tailLine - len(t.line)
	t.cut = t.cut || len(b) > room
	t.line = append(t.line, b[:min(len(b), room)]...)
}

// finish ends the line: into the ring and, as the rate allows, into the journal and the log.
func (t *tail) finish(now time.Time) {
	line := bytes.TrimRight(t.line, " \t\r")
	if len(line) > 0 {
		t.mu.Lock()
		slot := &t.ring[t.n%tailLines]
		*slot = append((*slot)[:0], line...)
		t.n++
		t.mu.Unlock()
		if t.journal.admit() {
			t.journal.keep(Line{PID: t.pid, Text: t.clean(line)})
		}
		t.note(line, now)
	}
	t.line, t.cut = t.line[:0], false
}

func (t *tail) note(line []byte, now time.Time) {
	if now.Sub(t.since) >= logInterval {
		t.report()
		t.since, t.logged = now, 0
	}
	if t.logged == logRate {
		if t.suppressed == 0 {
			t.in.wake(t.since.Add(logInterval)) // to report in time, should the flood end
		}
		t.suppressed++
		return
	}
	t.logged++
	if t.cut {
		t.log.Info("stderr", "line", t.clean(line), "cut", true)
		return
	}
	t.log.Info("stderr", "line", t.clean(line))
}

// tick reports what a flood that has ended left unreported.
func (t *tail) tick(now time.Time) {
	t.report()
	t.since, t.logged = now, 0
}

func (t *tail) report() {
	if t.suppressed > 0 {
		t.log.Info("stderr lines suppressed", "count", t.suppressed, "limit", logRate)
		t.suppressed = 0
		t.in.wake(time.Time{})
	}
}

// last returns the lines in the ring, oldest first.
func (t *tail) last() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := make([]string, 0, min(t.n, tailLines))
	for i := max(0, t.n-tailLines); i < t.n; i++ {
		lines = append(lines, t.clean(t.ring[i%tailLines]))
	}
	return lines
}

// clean makes a line safe to show: valid UTF-8, no control characters, no configured secret.
func (t *tail) clean(line []byte) string {
	s := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return -1
		}
		return r
	}, string(line))
	return t.journal.blot(t.secrets.Replace(strings.ToValidUTF8(s, "\uFFFD")))
}
