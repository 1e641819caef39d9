package telemetry

import (
	"io"
	"sync"
	"time"
)

const (
	gatherTime = 50 * time.Millisecond
	gatherMost = 64 << 10 // bytes that wait; whoever logs more waits for them to be written
)

// gatherer writes lines together that come right after each other: a write each would cost more than the call that is logged.
// The first after a while is written at once.
type gatherer struct {
	w io.Writer

	writing sync.Mutex // held while lines are written, taken before mu

	mu     sync.Mutex
	lines  []byte
	spare  []byte // what was written last, to be used again
	last   time.Time
	timer  *time.Timer // nil before the first line that waits
	armed  bool
	closed bool
}

// Write implements io.Writer. Lines wait until flush or, at the latest, the time that soon sets.
func (g *gatherer) Write(line []byte) (int, error) {
	g.mu.Lock()
	g.lines = append(g.lines, line...)
	full := len(g.lines) >= gatherMost
	g.mu.Unlock()
	if full {
		g.flush()
	}
	return len(line), nil
}

// soon has what waits written within gatherTime.
func (g *gatherer) soon() {
	g.mu.Lock()
	wait := gatherTime - time.Since(g.last)
	now := g.closed || !g.armed && wait <= 0
	if !now && !g.armed {
		g.armed = true
		if g.timer == nil {
			g.timer = time.AfterFunc(wait, g.flush)
		} else {
			g.timer.Reset(wait)
		}
	}
	g.mu.Unlock()
	if now {
		g.flush()
	}
}

// flush writes what waits.
func (g *gatherer) flush() {
	g.writing.Lock()
	defer g.writing.Unlock()
	g.mu.Lock()
	lines := g.lines
	g.lines, g.spare, g.last, g.armed = g.spare[:0], nil, time.Now(), false
	g.mu.Unlock()
	if len(lines) > 0 {
		_, _ = g.w.Write(lines) // there is nowhere to say that there is nowhere to say anything
	}
	if cap(lines) <= 2*gatherMost {
		g.spare = lines
	}
}

// close writes what waits; later lines do not wait any more.
func (g *gatherer) close() {
	g.mu.Lock()
	g.closed = true
	if g.timer != nil {
		g.timer.Stop()
	}
	g.mu.Unlock()
	g.flush()
}
