package telemetry

import (
	"io"
	"sync"
	"time"
)

const (
	gatherTime = 50 * time.Millisecond
	gatherMost = 64 << 10    // bytes that wait; whoever logs more waits for room
	gatherWait = time.Second // how long anybody waits for lines to be taken
)

// gatherer writes lines together that come right after each other: a write each would cost more than the call that is logged.
// The first after a while is written at once. Where nobody takes what is written, lines are dropped and nobody hangs:
//
//	add ─► lines ─► write, a goroutine ─► w
//	         └─ full for gatherWait: dropped, which is told once lines are taken again
type gatherer struct {
	w    io.Writer
	lost func(lines int) []byte // the line that tells how many were dropped

	mu      sync.Mutex
	lines   []byte
	spare   []byte        // what was written last, to be used again
	added   int64         // bytes, ever
	written int64         // of those
	turn    chan struct{} // closed when the present write is over; nil while nothing is written
	urgent  bool          // what waits is not to wait any more
	stuck   bool          // the present write takes too long: nobody waits for it
	dropped int           // lines
	last    time.Time     // when something was written
	timer   *time.Timer   // nil before the first line that waits
	armed   bool
	closed  bool
}

// Write implements io.Writer. The line waits until flush.
func (g *gatherer) Write(line []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(line)
	return len(line), nil
}

// gather takes a line that is written within gatherTime.
func (g *gatherer) gather(line []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.add(line)
	g.due()
}

// soon has what waits written within gatherTime.
func (g *gatherer) soon() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.due()
}

// due does that. The caller holds mu.
func (g *gatherer) due() {
	switch {
	case g.closed:
		g.settle()
	case g.turn != nil || len(g.lines) == 0:
	case len(g.lines) >= gatherMost/2 || !g.armed && time.Since(g.last) >= gatherTime:
		g.begin()
	case !g.armed:
		g.arm()
	}
}

// add adds a line to those that wait. The caller holds mu, which is let go of while there is no room.
func (g *gatherer) add(line []byte) {
	if len(g.lines) >= gatherMost && !g.await(func() bool { return len(g.lines) < gatherMost }) {
		g.dropped++
		return
	}
	g.lines = append(g.lines, line...)
	g.added += int64(len(line))
}

// await has what waits written until something is so, for gatherWait at most, and tells whether it is. The caller holds mu, which is
// let go of meanwhile.
func (g *gatherer) await(so func() bool) bool {
	var late <-chan time.Time
	for !so() {
		if g.stuck {
			return false
		}
		if late == nil {
			t := time.NewTimer(gatherWait)
			defer t.Stop()
			late = t.C
		}
		g.urgent = true
		g.begin()
		turn := g.turn
		g.mu.Unlock()
		select {
		case <-turn:
			g.mu.Lock()
		case <-late:
			g.mu.Lock()
			g.stuck = g.turn == turn
			return so()
		}
	}
	return true
}

// settle waits until what waits is written. The caller holds mu.
func (g *gatherer) settle() {
	all := g.added
	g.await(func() bool { return g.written >= all })
}

// arm has what waits written in gatherTime. The caller holds mu.
func (g *gatherer) arm() {
	g.armed = true
	if g.timer == nil {
		g.timer = time.AfterFunc(gatherTime, func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.armed = false
			g.begin()
		})
	} else {
		g.timer.Reset(gatherTime)
	}
}

// begin has what waits written now, unless something is. The caller holds mu.
func (g *gatherer) begin() {
	if g.turn == nil {
		g.turn = make(chan struct{})
		go g.write()
	}
}

// write writes what waits, and what is urgent then.
func (g *gatherer) write() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for again := true; again; {
		lines := g.lines
		g.lines, g.spare, g.urgent = g.spare[:0], nil, false
		g.mu.Unlock()
		if len(lines) > 0 {
			_, _ = g.w.Write(lines) // there is nowhere to say that there is nowhere to say anything
		}
		g.mu.Lock()
		g.written, g.last, g.stuck = g.written+int64(len(lines)), time.Now(), false
		if cap(lines) <= 2*gatherMost {
			g.spare = lines
		}
		if g.dropped > 0 {
			line := g.lost(g.dropped)
			g.lines, g.added, g.dropped, g.urgent = append(g.lines, line...), g.added+int64(len(line)), 0, true
		}
		close(g.turn)
		if again = g.urgent && len(g.lines) > 0; again {
			g.turn = make(chan struct{})
		}
	}
	g.turn = nil
	if len(g.lines) > 0 && !g.armed {
		g.arm()
	}
}

// flush has what waits written before it returns.
func (g *gatherer) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle()
}

// close writes what waits; later lines do not wait any more.
func (g *gatherer) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.settle()
}
