package limit

import (
	"context"
	"strconv"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// Ticket is what one request has taken of limits. It is used by one goroutine, and may be used again after Finish or Cancel.
type Ticket struct {
	taken []charge
	alone bool // no other replica shares the limits
	tight tight
	value [1]string // the header RateLimit
}

// charge is what was taken of one cell.
type charge struct {
	m    *meter
	c    *cell
	cost float64
	kind kind // of the meter
}

// tight is what the amount has left that is nearest to being used up.
type tight struct {
	m    *meter
	left float64
	at   moment        // when so much was left
	wait time.Duration // until a request can come again that was refused; else 0
}

// take takes of all rules that are for a subject, or nothing and says why.
func (t *Ticket) take(ctx context.Context, r *Rules, rules []*rule, s *Subject, at time.Time, cost float64) error {
	now := r.limiter.moment(at)
	t.alone = r.limiter.share == nil
	var scratch [256]byte
	for _, rule := range rules {
		if !rule.concerns(s) {
			continue
		}
		key := rule.appendKey(scratch[:0], s)
		a := rule.find(key, now)
		for i := range rule.meters {
			m := &rule.meters[i]
			if err := t.draw(ctx, r, m, a, key, now, m.costOf(cost)); err != nil {
				return err
			}
		}
	}
	return nil
}

// costOf is as how much a request counts that costs so much.
func (m *meter) costOf(cost float64) float64 {
	switch m.kind {
	case kindConcurrency:
		return 1
	case kindBytes:
		return 0 // they are not known yet
	}
	return cost
}

// draw takes of the cell of a key, which is in its account.
func (t *Ticket) draw(ctx context.Context, r *Rules, m *meter, a *account, key []byte, now moment, cost float64) error {
	for ; ; a = m.rule.enter(key, now) {
		c := a.cells[m.kind].Load()
		if c == nil {
			continue
		}
		c.mu.Lock()
		if c.dead {
			c.mu.Unlock()
			continue
		}
		left, wait, ok := r.limiter.draw(ctx, m, c, key, m.need(cost), cost, now)
		if ok && m.kind == kindBytes {
			c.used++
		}
		c.mu.Unlock()
		if !ok {
			return t.refuse(r, m, left, wait)
		}
		t.taken = append(t.taken, charge{m, c, cost, m.kind})
		t.note(m, left, now)
		return nil
	}
}

// draw takes of a cell what a request costs, if there is what it needs; else it tells when there will be. The caller holds the
// lock of the cell.
func (l *Limiter) draw(ctx context.Context, m *meter, c *cell, key []byte, need, cost float64, now moment) (left float64, wait time.Duration, ok bool) {
	if l.share != nil {
		return l.share.draw(ctx, m, c, key, need, cost, now)
	}
	left = m.available(c, now)
	if left >= need || cost == 0 && m.kind != kindBytes {
		m.spend(c, cost)
		return left - cost, 0, true
	}
	return left, m.wait(need, left, now), false
}

// reweigh takes what a request costs beyond the one that it was counted as.
func (t *Ticket) reweigh(ctx context.Context, r *Rules, cost float64, at time.Time) error {
	now := r.limiter.moment(at)
	for i := range t.taken {
		ch := &t.taken[i]
		m := ch.m
		if m.rule.phase != callerPhase || m.costOf(cost) != cost {
			continue
		}
		ch.c.mu.Lock()
		left, wait, ok := 0.0, time.Duration(0), true
		if cost < ch.cost {
			r.limiter.give(m, ch.c, ch.cost-cost)
		} else {
			left, wait, ok = r.limiter.draw(ctx, m, ch.c, nil, m.need(cost)-ch.cost, cost-ch.cost, now)
		}
		ch.c.mu.Unlock()
		if !ok {
			return t.refuse(r, m, left, wait)
		}
		if cost > ch.cost {
			t.note(m, left, now)
		}
		ch.cost = cost
	}
	return nil
}

// give gives back to a cell, whose lock the caller holds.
func (l *Limiter) give(m *meter, c *cell, n float64) {
	if l.share != nil {
		l.share.give(m, c, n)
		return
	}
	m.spend(c, -n)
}

// note remembers the amount that is nearest to being used up.
func (t *Ticket) note(m *meter, left float64, now moment) {
	if !m.told || t.tight.m != nil && t.tight.m != m && t.tight.left/t.tight.m.most <= left/m.most {
		return
	}
	t.tight = tight{m: m, left: left, at: now}
}

// refuse gives back what the request has taken and says why it is refused.
func (t *Ticket) refuse(r *Rules, m *meter, left float64, wait time.Duration) error {
	t.giveBack(m.rule.phase)
	t.tight = tight{m: m, left: left, wait: wait}
	name, what := m.rule.name, kindNames[m.kind]
	if f := r.limiter.o.Refused; f != nil {
		f(name, what)
	}
	seconds := int64((wait + time.Second - 1) / time.Second)
	e := errs.E("limit", errs.Limited, "%s: come again in %d s", m.says(), seconds)
	e.RetryAfter = wait
	e.Data = strconv.AppendInt([]byte(`{"reason":"limit","retryAfter":`), seconds, 10)
	e.Data = mcp.AppendString(append(e.Data, `,"limit":`...), name)
	e.Data = append(append(append(e.Data, `,"kind":"`...), what...), `","reset":`...)
	e.Data = append(strconv.AppendInt(e.Data, seconds, 10), '}')
	return e
}

// says tells what is used up.
func (m *meter) says() string {
	name := "the limit " + strconv.Quote(m.rule.name)
	switch m.kind {
	case kindBytes:
		return name + " of " + m.text + " bytes is used up"
	case kindConcurrency:
		return name + " of " + strconv.Itoa(int(m.most)) + " requests at once is reached"
	}
	return name + " of " + m.text + " is used up"
}

// giveBack gives back what was taken for a request that is refused in a phase. What its address has used up stays so in later
// ones: the request has come that far.
func (t *Ticket) giveBack(in phase) {
	kept := t.taken[:0]
	for _, ch := range t.taken {
		if in > edgePhase && ch.m.rule.phase == edgePhase {
			kept = append(kept, ch)
			continue
		}
		ch.give(ch.cost)
	}
	clear(t.taken[len(kept):])
	t.taken = kept
}

// Return gives back what was taken for a request that is refused for another reason before it came to what it asks for, as
// [Ticket.refuse] does.
func (t *Ticket) Return() {
	t.giveBack(callerPhase)
	t.tight = tight{}
}

// Cancel gives back all that was taken, as if the request had not been made.
func (t *Ticket) Cancel() {
	for i := range t.taken {
		t.taken[i].give(t.taken[i].cost)
	}
	t.reset()
}

// Finish ends what the request took for as long as it was under way, and counts its bytes.
func (t *Ticket) Finish(bytes int) {
	for i := range t.taken {
		switch ch := &t.taken[i]; {
		case ch.kind == kindConcurrency && t.alone: // it is gone through for each request, and what it need not look at it does not
			ch.c.mu.Lock()
			ch.c.used = max(0, ch.c.used-ch.cost)
			ch.c.mu.Unlock()
		case ch.kind == kindBytes && t.alone:
			ch.c.mu.Lock()
			ch.c.used--
			ch.c.left -= float64(bytes)
			ch.c.mu.Unlock()
		case ch.kind == kindConcurrency:
			ch.give(ch.cost)
		case ch.kind == kindBytes:
			ch.give(float64(-bytes))
		}
	}
	t.reset()
}

func (t *Ticket) reset() {
	clear(t.taken)
	t.taken, t.tight, t.value = t.taken[:0], tight{}, [1]string{}
}

// give gives back to a cell, once the request has ended.
func (ch *charge) give(n float64) {
	if n == 0 && ch.m.kind != kindBytes {
		return
	}
	ch.c.mu.Lock()
	if ch.m.kind == kindBytes {
		ch.c.used--
	}
	ch.m.limiter.give(ch.m, ch.c, n)
	ch.c.mu.Unlock()
}
