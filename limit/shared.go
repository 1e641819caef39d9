package limit

import (
	"context"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
)

// Where replicas share their limits, a cell holds a part of the amount that was drawn from the cluster, so that most requests wait
// for nobody. What is not used is given back; what a replica had that was killed is lost to rates and quotas, and free again for
// concurrency as soon as its time is over. While the cluster's backend is away, each replica goes by its share: what it knows to be
// left of the limit, or all of it where it knows nothing, divided by the number of replicas that there were.

const (
	// drawTime is how long a request waits for the backend, and awayTime how long none does after one that waited in vain.
	drawTime = 250 * time.Millisecond
	awayTime = time.Second

	settleEvery   = 50 * time.Millisecond
	giveBack      = int64(time.Second) // a part that nobody needed for so long is given back
	settlesMost   = 1000               // in one go
	settlesAtOnce = 16
	lastTime      = 2 * time.Second // for all in the end
	presentEvery  = 2 * time.Second
	presentTime   = 6 * time.Second
	holdTime      = 6 * time.Second
	renewAfter    = int64(2 * time.Second)

	// batchTime is what comes back of a rate in this time is drawn at once.
	batchTime = 10 * time.Millisecond
	// rateParts and quotaParts are the parts of which each replica draws one at once where there is much left: what is lost with a
	// replica of the latter does not come back before the day or month is over.
	rateParts, quotaParts = 8, 50
	// holdAgain is how soon the backend is asked again for a place after there was none.
	holdAgain = int64(20 * time.Millisecond)

	keptAfter = time.Hour // the end of a window
)

// unknown is how many places a replica has of which the others may have taken some meanwhile.
const unknown = -1

// lease is what a cell has of an amount that is shared.
type lease struct {
	name    string
	local   bool    // it goes by this replica's share
	left    float64 // of all, when it was last drawn
	spent   float64 // of a quota, while it was local
	part    float64 // what was left of this replica's part when it went by that last
	untold  bool    // the others were not told since
	lacks   float64 // there was not so much
	until   int64   // before which it is not asked for again
	ready   int64   // when there will be, if nothing is given back
	touched int64
	renewed int64
	held    float64       // places, those in use and others
	drawing chan struct{} // closed when who is drawing has done so; nil when nobody is
	waiting float64       // what those who wait for that need
}

// share is what limits share with other replicas.
type share struct {
	counter   cluster.Counter
	replica   string
	connected func() bool
	base      time.Time

	replicas atomic.Int64
	counted  func(int64)  // is told by run when there are more or fewer; nil for nobody
	fewer    time.Time    // since when there are not so many; only run uses it
	down     atomic.Int64 // when it may be asked whether it answers again, in nanoseconds of moments; 0 while it answers

	mu     sync.Mutex
	active map[*cell]*meter // with something to be settled
}

func newShare(node *cluster.Node, base time.Time) *share {
	if node == nil || node.Counter() == nil {
		return nil
	}
	s := &share{
		counter: node.Counter(), replica: node.ID(), base: base, active: map[*cell]*meter{},
		connected: func() bool { return node.Status().Connected },
	}
	s.replicas.Store(1)
	return s
}

// away tells whether the backend cannot be asked now. Once it did not answer, nothing is asked of it until run has heard of it.
func (s *share) away() bool { return s.down.Load() != 0 || !s.connected() }

// failed remembers that the backend did not answer.
func (s *share) failed() { s.down.Store(int64(time.Since(s.base) + awayTime)) }

// of is this replica's part of an amount.
func (s *share) of(n float64) float64 { return n / float64(s.replicas.Load()) }

func (s *share) activate(m *meter, c *cell) {
	s.mu.Lock()
	s.active[c] = m
	s.mu.Unlock()
}

// draw takes of a cell what a request costs, if there is what it needs; else it tells when there will be. The caller holds the
// lock of the cell, which is let go of meanwhile.
func (s *share) draw(ctx context.Context, m *meter, c *cell, key []byte, need, cost float64, t moment) (left float64, wait time.Duration, ok bool) {
	if c.lease == nil {
		c.lease = &lease{name: cluster.CounterName(m.rule.name + "\x00" + kindNames[m.kind] + "\x00" + string(key)), left: m.most}
		c.left = 0
	}
	for {
		s.update(m, c, t)
		c.lease.touched = t.mono
		if have := s.have(m, c); have >= s.needed(m, c, need) || cost == 0 && m.kind != kindBytes {
			s.spend(m, c, cost)
			return s.shown(m, c), 0, true
		}
		if wait, refused := s.lacking(m, c, need, t); refused {
			return max(0, c.lease.left), wait, false
		}
		if ctx.Err() != nil {
			return 0, slotWait, false
		}
		s.fetch(ctx, m, c, need, max(cost, need), t)
		t = moment{int64(time.Since(s.base)), time.Now().UTC()}
	}
}

// have is what a cell has at hand.
func (s *share) have(m *meter, c *cell) float64 {
	switch {
	case m.kind != kindConcurrency:
		return c.left
	case c.lease.local:
		return math.Max(1, math.Floor(s.of(m.most))) - c.used
	}
	return c.lease.held - c.used
}

// needed is how much must be at hand: while a replica goes by its part, all of that for what costs more. What it lacks is paid off.
func (s *share) needed(m *meter, c *cell, need float64) float64 {
	if c.lease.local {
		return min(need, s.of(m.most))
	}
	return need
}

// even tells whether a cell has nothing that others are to be told or given, and nothing used of its part; and, unless room is
// needed, whether nothing is known without which its part would be larger.
func (s *share) even(m *meter, c *cell, t moment, crowded bool) bool {
	switch l := c.lease; {
	case m.kind == kindConcurrency, m.kind == kindQuota && m.window(t) != c.window:
		return true
	case !l.local:
		return c.left == 0 && (crowded || m.remaining(c, t) >= m.most)
	case m.kind == kindQuota:
		return l.spent == 0 && l.left >= m.most
	}
	return c.left+s.of(float64(t.mono-c.at)*m.nano) >= s.of(m.most)
}

// shown is what clients are told to be left.
func (s *share) shown(m *meter, c *cell) float64 {
	if c.lease.local || m.kind == kindConcurrency {
		return max(0, s.have(m, c))
	}
	return max(0, c.lease.left+c.left)
}

func (s *share) spend(m *meter, c *cell, cost float64) {
	if m.kind == kindConcurrency {
		c.used = max(0, c.used+cost)
		return
	}
	c.left -= cost
	if c.lease.local && m.kind == kindQuota {
		c.lease.spent += cost
	}
}

// update brings a cell up to date: by the clock, and by whether the backend can be asked.
func (s *share) update(m *meter, c *cell, t moment) {
	l, away := c.lease, s.away()
	if m.kind == kindQuota {
		if w := m.window(t); w != c.window {
			c.window, c.left, l.until, l.left, l.spent, l.part = w, 0, 0, m.most, 0, s.of(m.most)
			if l.local {
				c.left = s.of(m.most)
			}
		}
	}
	switch {
	case away && !l.local:
		s.depart(m, c, t)
	case !away && l.local:
		l.local, l.until, l.untold, l.part = false, 0, true, c.left
		c.left = -l.spent // to be told the others
		l.spent = 0
		if m.kind == kindConcurrency {
			l.held = unknown
		}
		s.activate(m, c)
	}
	if l.local && (m.kind == kindRate || m.kind == kindBytes) && t.mono > c.at {
		c.left = min(c.left+s.of(float64(t.mono-c.at)*m.nano), s.of(m.most))
		c.at = t.mono
	}
}

// depart has a cell go by this replica's part from now on: by what was left of it, if nobody was told since what was used.
func (s *share) depart(m *meter, c *cell, t moment) {
	l := c.lease
	l.local, l.spent = true, 0
	if m.kind == kindQuota {
		l.spent = -c.left // of what is at hand the others know
		s.activate(m, c)  // to tell them the rest, also if nobody asks again
	}
	if l.untold {
		c.left = l.part
		return
	}
	c.left = min(s.of(m.most), max(0, c.left)+s.of(max(0, l.left)))
	c.at = t.mono
}

// lacking tells whether it is known that there is not enough, and for how long.
func (s *share) lacking(m *meter, c *cell, need float64, t moment) (time.Duration, bool) {
	l := c.lease
	switch {
	case l.local && m.kind == kindConcurrency:
		return slotWait, true
	case l.local && m.kind == kindQuota:
		return m.wait(need, 0, t), true
	case l.local:
		return lasting((s.needed(m, c, need) - c.left) / s.of(m.nano)), true
	case t.mono < l.until && need >= l.lacks:
		if m.kind == kindConcurrency {
			return slotWait, true
		}
		return time.Duration(max(l.ready-t.mono, 1)), true
	}
	return 0, false
}

// fetch draws for a request, or waits until who is drawing has done so. The caller holds the lock of the cell.
func (s *share) fetch(ctx context.Context, m *meter, c *cell, need, cost float64, t moment) {
	l := c.lease
	if l.local {
		return
	}
	if drawing := l.drawing; drawing != nil {
		l.waiting += cost
		c.mu.Unlock()
		select {
		case <-drawing:
		case <-ctx.Done():
		}
		c.mu.Lock()
		return
	}
	done := make(chan struct{})
	l.drawing = done
	was := c.view()
	l.waiting = 0
	c.mu.Unlock()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), drawTime) // others wait for it too
	got, left, err := s.ask(limited, m, &was, need, cost, t)
	cancel()
	c.mu.Lock()
	close(done)
	l.drawing = nil
	if err != nil {
		s.failed()
		return
	}
	l.untold = false
	if c.window == was.window {
		l.left = left
		s.got(m, c, got, need, left, t)
	}
	s.activate(m, c)
}

// got takes in what was drawn.
func (s *share) got(m *meter, c *cell, got, need, left float64, t moment) {
	l := c.lease
	if m.kind == kindConcurrency {
		l.held, l.renewed = got, t.mono
		if got <= c.used {
			l.lacks, l.until = need, t.mono+holdAgain
		}
		return
	}
	s.spend(m, c, -got)
	if got == 0 {
		wait := int64(m.wait(need-c.left, left, t))
		l.lacks, l.until, l.ready = need, t.mono+min(wait, giveBack), t.mono+wait
	}
}

// view is what the backend is asked by.
type view struct {
	name                string
	left, used, waiting float64
	window              int64
}

func (c *cell) view() view { return view{c.lease.name, c.left, c.used, c.lease.waiting, c.window} }

// ask asks the backend.
func (s *share) ask(ctx context.Context, m *meter, v *view, need, cost float64, t moment) (got, left float64, err error) {
	n := float64(s.replicas.Load())
	if m.kind == kindConcurrency {
		want := v.used + 1 + v.waiting
		held, err := s.counter.Hold(ctx, v.name, s.replica, int(v.used), int(want), int(m.most), holdTime)
		return float64(held), m.most - float64(held), err
	}
	d := m.drawOf(v, t)
	d.Need, d.Want = need-v.left, cost-v.left
	d.Batch, d.Share = m.nano*float64(batchTime)+v.waiting, 1/(rateParts*n)
	if m.kind == kindQuota {
		d.Share = 1 / (quotaParts * n)
	}
	drawn, err := s.counter.Draw(ctx, d)
	return drawn.Got, drawn.Left, err
}

func (m *meter) drawOf(v *view, t moment) *cluster.Draw {
	const micros = float64(time.Microsecond)
	d := &cluster.Draw{Name: v.name, Most: m.most, Micro: m.nano * micros}
	if m.kind == kindQuota {
		d.Name += ":" + strconv.FormatInt(v.window, 10)
		d.TTL = m.rest(t) + keptAfter
		return d
	}
	d.TTL = min(time.Duration(min(m.most/m.nano, float64(30*24*time.Hour)))+time.Minute, 30*24*time.Hour)
	return d
}

// give gives back what a request took. The caller holds the lock of the cell.
func (s *share) give(m *meter, c *cell, n float64) {
	s.spend(m, c, -n)
	if m.kind == kindConcurrency || c.left < 0 {
		s.activate(m, c)
	}
}

// run settles until end is closed, and all that is left then.
func (s *share) run(end <-chan struct{}) {
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	var present time.Time
	for {
		now := time.Now()
		if s.connected() && now.Sub(present) >= presentEvery {
			present = now
			s.present(presentTime, awayTime)
		}
		if down := s.down.Load(); down != 0 && int64(now.Sub(s.base)) >= down && s.connected() {
			if s.present(presentTime, drawTime) {
				s.down.Store(0)
			} else {
				s.failed()
			}
		}
		select {
		case <-end:
			s.settle(true)
			s.present(0, awayTime)
			return
		case <-tick.C:
			s.settle(false)
		}
	}
}

// present says for how long this replica is there, learns how many are, and tells whether there was an answer. There are fewer only
// once that was so for as long as one is there that says nothing: a backend that was started anew learns of all bit by bit.
func (s *share) present(ttl, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	n, err := s.counter.Present(ctx, s.replica, ttl)
	switch now := time.Now(); {
	case err != nil:
		return false
	case int64(n) >= s.replicas.Load():
	case s.fewer.IsZero():
		s.fewer = now
		return true
	case now.Sub(s.fewer) < presentTime:
		return true
	}
	s.fewer = time.Time{}
	if now := max(1, int64(n)); s.replicas.Swap(now) != now && s.counted != nil && ttl > 0 {
		s.counted(now)
	}
	return true
}

// settle gives back what nobody needs, pays what was used beyond what was drawn, and renews places; last is for all.
func (s *share) settle(last bool) {
	t := moment{int64(time.Since(s.base)), time.Now().UTC()}
	if s.away() {
		return
	}
	var work sync.WaitGroup
	began, gate := time.Now(), make(chan struct{}, settlesAtOnce)
	for c, m := range s.unsettled(last) {
		gate <- struct{}{}
		if s.away() || last && time.Since(began) > lastTime {
			break
		}
		work.Go(func() {
			s.settleCell(m, c, t, last)
			<-gate
		})
	}
	work.Wait()
}

// unsettled are cells with something to be settled: many, or all of them.
func (s *share) unsettled(all bool) map[*cell]*meter {
	s.mu.Lock()
	defer s.mu.Unlock()
	some := make(map[*cell]*meter, min(len(s.active), settlesMost))
	for c, m := range s.active {
		if len(some) == settlesMost && !all {
			break
		}
		some[c] = m
	}
	return some
}

// settleCell is settle for a cell.
func (s *share) settleCell(m *meter, c *cell, t moment, last bool) {
	c.mu.Lock()
	l := c.lease
	if l.drawing != nil {
		c.mu.Unlock()
		return
	}
	s.update(m, c, t)
	back, due := s.due(m, c, t, last)
	if !due {
		if c.left == 0 && c.used == 0 && l.held == 0 {
			s.mu.Lock()
			delete(s.active, c)
			s.mu.Unlock()
		}
		c.mu.Unlock()
		return
	}
	done := make(chan struct{})
	l.drawing = done
	was := c.view()
	draw := m.drawOf(&was, t)
	c.left -= back
	if m.kind == kindConcurrency {
		l.held = c.used // what is given back is not used meanwhile
	}
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), drawTime)
	defer cancel()
	var err error
	var held int
	var drawn cluster.Drawn
	if m.kind == kindConcurrency {
		held, err = s.counter.Hold(ctx, was.name, s.replica, int(was.used), int(was.used), int(m.most), holdTime)
	} else {
		draw.Want, draw.All = -back, true
		drawn, err = s.counter.Draw(ctx, draw)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	close(done)
	l.drawing = nil
	switch {
	case err != nil:
		if l.local {
			l.spent -= back // c.left is that of the part meanwhile
		} else {
			c.left += back
		}
		s.failed()
		return
	case m.kind == kindConcurrency:
		l.held, l.renewed = float64(held), t.mono
	case c.window == was.window:
		l.left = drawn.Left
	}
	l.untold = false
}

// due is what a cell gives back, or pays where it is negative, and whether there is something to be said at all.
func (s *share) due(m *meter, c *cell, t moment, last bool) (back float64, due bool) {
	l := c.lease
	switch {
	case m.kind == kindConcurrency:
		return 0, l.held != c.used || l.held > 0 && t.mono-l.renewed >= renewAfter
	case c.left < 0, c.left > 0 && (last || t.mono-l.touched >= giveBack):
		return c.left, true
	}
	return 0, false
}
