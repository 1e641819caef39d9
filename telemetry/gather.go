package telemetry

import (
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	gatherTime = 50 * time.Millisecond
	gatherMost = 64 << 10    // bytes that wait; whoever logs more waits for room
	gatherWait = time.Second // how long anybody waits for lines to be taken
)

// gatherer writes lines together that come right after each other: a write each would cost more than the call that is logged.
// The first after a while is written at once. Lines of calls are made then, too: one after the other they take a quarter of the time.
// Where nobody takes what is written, lines are dropped and nobody hangs:
//
//	add ─► lines, calls ─► write, a goroutine ─► w
//	          └─ full for gatherWait: dropped, which is told once lines are taken again
type gatherer struct {
	w    io.Writer
	lost func(lines int) []byte              // the line that tells how many were dropped
	line func(dst []byte, call *Call) []byte // appends that of a call

	mu      sync.Mutex
	waiting pile
	spare   pile          // what was written last, to be used again
	added   int64         // lines, ever
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

// pile is lines that are written together.
type pile struct {
	lines []byte
	calls []Call // whose lines follow those
	size  int    // of all lines; of those that are not made yet it is a guess
	count int
}

// callSize is that of the line of a call without its longer texts.
const callSize = 400

func (c *Call) size() int {
	return callSize + len(c.Tool) + len(c.Prompt) + len(c.Principal) + (len(c.Arguments)+len(c.Result))*5/4
}

// make makes the lines of the calls.
func (b *pile) make(line func([]byte, *Call) []byte) {
	for i := range b.calls {
		b.lines = line(b.lines, &b.calls[i])
	}
	clear(b.calls)
	b.calls, b.size = b.calls[:0], len(b.lines)
}

// add adds a line behind all others.
func (b *pile) add(text []byte, line func([]byte, *Call) []byte) {
	b.make(line)
	b.lines = append(b.lines, text...)
	b.size = len(b.lines)
	b.count++
}

// Write implements io.Writer. The line waits until flush.
func (g *gatherer) Write(line []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.room() {
		g.waiting.add(line, g.line)
	}
	return len(line), nil
}

// gather takes a call whose line is written within gatherTime.
func (g *gatherer) gather(level slog.Level, c *Call) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.room() {
		b := &g.waiting
		b.calls = append(b.calls, *c)
		b.calls[len(b.calls)-1].level = level
		b.size += c.size()
		b.count++
	}
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
	case g.turn != nil || g.waiting.count == 0:
	case g.waiting.size >= gatherMost/2 || !g.armed && time.Since(g.last) >= gatherTime:
		g.begin()
	case !g.armed:
		g.arm()
	}
}

// room tells whether one more line may wait, and counts it, or that it is dropped. The caller holds mu, which is let go of while there
// is no room.
func (g *gatherer) room() bool {
	if g.waiting.size >= gatherMost && !g.await(func() bool { return g.waiting.size < gatherMost }) {
		g.dropped++
		return false
	}
	g.added++
	return true
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
		now := g.waiting
		g.waiting, g.spare, g.urgent = g.spare, pile{}, false
		g.mu.Unlock()
		if now.make(g.line); len(now.lines) > 0 {
			_, _ = g.w.Write(now.lines) // there is nowhere to say that there is nowhere to say anything
		}
		g.mu.Lock()
		g.written, g.last, g.stuck = g.written+int64(now.count), time.Now(), false
		if cap(now.lines) <= 2*gatherMost {
			g.spare = pile{lines: now.lines[:0], calls: now.calls}
		}
		if g.dropped > 0 {
			g.waiting.add(g.lost(g.dropped), g.line)
			g.added, g.dropped, g.urgent = g.added+1, 0, true
		}
		close(g.turn)
		if again = g.urgent && g.waiting.count > 0; again {
			g.turn = make(chan struct{})
		}
	}
	g.turn = nil
	if g.waiting.count > 0 && !g.armed {
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
