package runner

import (
	"context"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	journalRate = 1000 // lines kept of each second; a flood must not cost more than that
	journalStep = 64   // lines a follower takes at once
)

// Line is one line that a server printed where people read: on stderr, or on stdout where only
// messages belong.
type Line struct {
	Time time.Time
	PID  int
	Text string // valid UTF-8, no control characters, configured secrets blotted out
	// Fault: the line stood on stdout and is no message, which is the server's fault.
	Fault bool
	// Lost counts the lines before this one that are missing: the server printed too fast, or the
	// follower read too slowly.
	Lost int
}

// Journal keeps the last lines of one server, whichever of its processes printed them, for any number
// of followers. A nil Journal keeps nothing.
type Journal struct {
	lines, bytes int
	secrets      atomic.Pointer[strings.Replacer] // nil for none

	mu    sync.Mutex
	ring  []Line // oldest at first%len
	first int    // number of the oldest line
	next  int    // number of the next line
	size  int    // bytes of text in the ring
	added chan struct{}

	since  time.Time // beginning of the current second
	spent  int       // lines kept of it
	missed int       // lines left out of it
}

// NewJournal returns a journal of at most so many lines and bytes of text.
func NewJournal(lines, bytes int) *Journal {
	return &Journal{lines: max(1, lines), bytes: max(1, bytes), added: make(chan struct{})}
}

// Hide has the keys of secrets, if they are of some length, blotted out of whatever processes with this journal print from now on,
// in errors and the log too: each knows its own secrets, but can come by those of its server's other processes. The values are what
// is shown instead.
func (j *Journal) Hide(secrets map[string]string) {
	found := make([]secret, 0, len(secrets))
	for value, name := range secrets {
		if len(value) >= minSecret {
			found = append(found, secret{name, value})
		}
	}
	var r *strings.Replacer
	if len(found) > 0 {
		r = blotter(found)
	}
	j.secrets.Store(r)
}

// blot takes out what is to be hidden.
func (j *Journal) blot(text string) string {
	if j == nil {
		return text
	}
	if r := j.secrets.Load(); r != nil {
		return r.Replace(text)
	}
	return text
}

// Add adds a line that the process pid printed to stderr.
func (j *Journal) Add(pid int, line string) {
	if j.admit() {
		j.keep(Line{PID: pid, Text: line})
	}
}

// admit reports whether one more line of this second is kept.
func (j *Journal) admit() bool {
	if j == nil {
		return false
	}
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	if now.Sub(j.since) >= time.Second {
		j.since, j.spent = now, 0
	}
	if j.spent == journalRate {
		j.missed++
		return false
	}
	j.spent++
	return true
}

// keep appends a line that was admitted.
func (j *Journal) keep(l Line) {
	l.Time = time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	l.Lost, j.missed = j.missed, 0
	if len(l.Text) > j.bytes {
		l.Text = strings.ToValidUTF8(l.Text[:j.bytes], "")
	}
	for j.next > j.first && (j.next-j.first >= j.lines || j.size+len(l.Text) > j.bytes) {
		j.drop()
	}
	j.put(l)
	close(j.added)
	j.added = make(chan struct{})
}

// put appends a line; the ring grows with what is in it, so that a quiet server costs nothing.
func (j *Journal) put(l Line) {
	if n := j.next - j.first; n == len(j.ring) {
		larger := make([]Line, min(j.lines, max(16, 2*n)))
		for i := j.first; i < j.next; i++ {
			larger[i%len(larger)] = j.ring[i%len(j.ring)]
		}
		j.ring = larger
	}
	j.ring[j.next%len(j.ring)] = l
	j.size += len(l.Text)
	j.next++
}

func (j *Journal) drop() {
	slot := &j.ring[j.first%len(j.ring)]
	j.size -= len(slot.Text)
	*slot = Line{}
	j.first++
}

// Last returns the last n lines, oldest first.
func (j *Journal) Last(n int) []Line {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.from(max(j.first, j.next-max(0, n)), j.lines)
}

// from returns up to n lines from the one with this number on. Called with mu held.
func (j *Journal) from(at, n int) []Line {
	lines := make([]Line, 0, min(n, j.next-at))
	for ; at < j.next && len(lines) < n; at++ {
		lines = append(lines, j.ring[at%len(j.ring)])
	}
	return lines
}

// Follow yields the last lines and then each new one until ctx ends. A follower that is slower than
// the server misses lines, which [Line.Lost] tells; it holds nobody up.
func (j *Journal) Follow(ctx context.Context, last int) iter.Seq[Line] {
	return func(yield func(Line) bool) {
		if j == nil {
			<-ctx.Done()
			return
		}
		at := j.start(last)
		for ctx.Err() == nil {
			lines, next, added := j.after(at)
			for _, l := range lines {
				if ctx.Err() != nil || !yield(l) {
					return
				}
			}
			if at = next; len(lines) > 0 {
				continue
			}
			select {
			case <-added:
			case <-ctx.Done():
			}
		}
	}
}

// start is the number of the line with which the last n begin.
func (j *Journal) start(n int) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return max(j.first, j.next-max(0, n))
}

// after returns some lines from the one with the number at on, the number of the next, and what is
// closed when there is one more.
func (j *Journal) after(at int) (lines []Line, next int, added <-chan struct{}) {
	j.mu.Lock()
	defer j.mu.Unlock()
	lost := max(0, j.first-at)
	lines = j.from(at+lost, journalStep)
	if len(lines) > 0 {
		lines[0].Lost += lost
	}
	return lines, at + lost + len(lines), j.added
}
