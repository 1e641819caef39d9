package balance

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tolerance is how many times longer than usual work may take before the limit falls; pad is what never matters.
	tolerance = 1.5
	pad       = 10 * time.Millisecond
	// A window of so much work, and at least so long, is judged together.
	windowWork = 16
	windowTime = 50 * time.Millisecond
	// kindsMost bounds the kinds that are told apart; further ones are one.
	kindsMost = 512
	// unknownTime is how long work of a kind is expected to take that was never seen to its end.
	unknownTime = 10 * time.Second
	// stallFactor is how many times longer than expected nothing may end before the limit falls.
	stallFactor = 4
)

// Result is what a piece of work says of how loaded the server is.
type Result uint8

// The results of work.
const (
	Took     Result = iota // as long as it took
	Overload               // the server was too slow, or said that it has too much to do
	Ignored                // nothing
)

// Limiter bounds the work that a server has at once by how long it takes: it compares each kind of work with itself as it was when
// there was little, so that a kind that is slow by nature does not count as slow. Its methods may be called at the same time.
type Limiter struct {
	least, most float64
	limit       atomic.Int64
	inFlight    atomic.Int64
	expected    atomic.Int64 // the time that the work under way is expected to take together
	last        atomic.Int64 // when work ended last, or the limit fell since none did; unix nanoseconds

	kinds sync.RWMutex
	known map[string]*kind
	other kind

	mu     sync.Mutex
	exact  float64
	began  time.Time // of the window
	count  int
	sum    float64 // of how many times longer than usual
	peak   int64   // of work at once
	shrunk time.Time
}

// kind is what is known of one kind of work.
type kind struct {
	usual atomic.Int64 // nanoseconds; 0 when it is not known
}

// NewLimiter returns a limiter between least and most, which begins with most.
func NewLimiter(least, most int) *Limiter {
	l := &Limiter{least: float64(max(least, 1)), most: float64(max(most, least, 1)), known: map[string]*kind{}}
	l.exact = l.most
	l.limit.Store(int64(l.most))
	return l
}

// Limit is the present limit.
func (l *Limiter) Limit() int { return int(l.limit.Load()) }

// InFlight is the work under way.
func (l *Limiter) InFlight() int { return int(l.inFlight.Load()) }

// Pass is what lets work begin.
type Pass struct {
	kind    *kind
	expects int64
}

// Enter lets work of a kind begin, which Leave must be told of after; false when there is too much already.
func (l *Limiter) Enter(name []byte) (p Pass, ok bool) {
	n := l.inFlight.Add(1)
	switch {
	case n == 1:
		l.last.Store(time.Now().UnixNano())
	case float64(n) > l.least:
		l.stalled(n)
	}
	if n > l.limit.Load() {
		l.inFlight.Add(-1)
		return p, false
	}
	p.kind, p.expects = l.kind(name), int64(unknownTime)
	if usual := p.kind.usual.Load(); usual != 0 {
		p.expects = usual
	}
	l.expected.Add(p.expects)
	return p, true
}

func (l *Limiter) kind(name []byte) *kind {
	l.kinds.RLock()
	k := l.known[string(name)]
	l.kinds.RUnlock()
	if k != nil {
		return k
	}
	l.kinds.Lock()
	defer l.kinds.Unlock()
	if k = l.known[string(name)]; k != nil {
		return k
	}
	if len(l.known) >= kindsMost {
		return &l.other
	}
	k = new(kind)
	l.known[string(name)] = k
	return k
}

// stalled lowers the limit when nothing has ended for much longer than expected: work that hangs tells nothing by its end.
func (l *Limiter) stalled(n int64) {
	now, last := time.Now(), l.last.Load()
	limit := max(stallFactor*l.expected.Load()/(n-1)+int64(pad), int64(100*time.Millisecond))
	if now.UnixNano()-last < limit || !l.last.CompareAndSwap(last, now.UnixNano()) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(l.exact / 2)
}

// Leave ends work that Enter let begin.
func (l *Limiter) Leave(p Pass, took time.Duration, r Result) {
	n := l.inFlight.Add(-1) + 1
	l.expected.Add(-p.expects)
	now := time.Now()
	l.last.Store(now.UnixNano())
	switch r {
	case Ignored:
		return
	case Overload:
		l.mu.Lock()
		defer l.mu.Unlock()
		if now.Sub(l.shrunk) >= windowTime {
			l.shrunk = now
			l.set(l.exact * 0.9)
		}
		return
	case Took:
	}
	ratio := p.kind.learn(took, float64(n) <= l.least)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sample(now, ratio, n)
}

// learn tells how many times longer than usual work took. What is usual falls with each quicker one, and rises only while there
// is so little work that its amount cannot be the reason.
func (k *kind) learn(took time.Duration, calm bool) float64 {
	usual := k.usual.Load()
	next := usual
	switch {
	case usual == 0:
		next = max(int64(took), 1)
	case int64(took) < usual:
		next += (int64(took) - usual) / 10
	case calm:
		next += (int64(took) - usual) / 20
	}
	if next != usual {
		k.usual.CompareAndSwap(usual, max(next, 1)) // what another found meanwhile is as good
	}
	if usual == 0 {
		return 1
	}
	return float64(took+pad) / float64(usual+int64(pad))
}

// sample adds to the window, and judges it when it is full. Called with mu held.
func (l *Limiter) sample(now time.Time, ratio float64, n int64) {
	if l.count == 0 {
		l.began = now
	}
	l.count++
	l.sum += ratio
	l.peak = max(l.peak, n)
	if l.count < windowWork || now.Sub(l.began) < windowTime {
		return
	}
	gradient := min(max(tolerance*float64(l.count)/l.sum, 0.5), 1)
	next := l.exact*gradient + math.Sqrt(l.exact)
	if gradient == 1 && float64(2*l.peak) < l.exact {
		next = l.exact // it is not used: nothing shows that more would do
	}
	l.set((l.exact + next) / 2)
	l.count, l.sum, l.peak = 0, 0, 0
}

// set is called with mu held.
func (l *Limiter) set(limit float64) {
	l.exact = min(max(limit, l.least), l.most)
	l.limit.Store(int64(l.exact))
}
