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
	busy   bool        // lines are being written
	timer  *time.Timer // nil before the first line that waits
	armed  bool
	closed bool
}

// Write implements io.Writer. The line waits until flush.
func (g *gatherer) Write(line []byte) (int, error) {
	if g.add(line, false) {
		g.flush()
	}
	return len(line), nil
}

// gather takes a line that is written within gatherTime. Without a line, it is for what waits already.
func (g *gatherer) gather(line []byte) {
	if g.add(line, true) {
		g.flush()
	}
}

// add adds a line to those that wait, and says whether they are to be written now.
func (g *gatherer) add(line []byte, soon bool) (now bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lines = append(g.lines, line...)
	switch {
	case len(g.lines) >= gatherMost:
		return true
	case !soon:
		return false
	case g.closed:
		return true
	case g.armed || g.busy:
		return false
	case time.Since(g.last) >= gatherTime:
		return true
	}
	g.arm()
	return false
}

// arm has what waits written soon. The caller holds mu.
func (g *gatherer) arm() {
	g.armed = true
	if g.timer == nil {
		g.timer = time.AfterFunc(gatherTime, g.flush)
	} else {
		g.timer.Reset(gatherTime)
	}
}

// flush writes what waits.
func (g *gatherer) flush() {
	g.writing.Lock()
	defer g.writing.Unlock()
	g.mu.Lock()
	lines := g.lines
	g.lines, g.spare, g.busy, g.armed = g.spare[:0], nil, true, false
	g.mu.Unlock()
	if len(lines) > 0 {
		_, _ = g.w.Write(lines) // there is nowhere to say that there is nowhere to say anything
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last, g.busy = time.Now(), false
	if cap(lines) <= 2*gatherMost {
		g.spare = lines
	}
	if len(g.lines) > 0 && !g.armed && !g.closed {
		g.arm()
	}
}

// close writes what waits; later lines do not wait any more.
func (g *gatherer) close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.flush()
}
