package limit

import (
	"sync"
	"time"
)

// cell is what is left of one amount for one key.
type cell struct {
	mu     sync.Mutex
	dead   bool    // taken out of its table; another stands for the key
	left   float64 // of rate and bytes, when at was; negative when it is to be paid off
	at     int64
	used   float64 // of a quota in its window, or of concurrency; of bytes the requests whose bytes are still to be counted
	window int64
	lease  *lease // of what is shared with other replicas; nil for none
}

// moment is when a request is judged, by both clocks.
type moment struct {
	mono int64     // nanoseconds since the limiter was made
	wall time.Time // UTC
}

const daySeconds = int64(24 * time.Hour / time.Second)

// window is the number of the day or month that a moment is in.
func (m *meter) window(t moment) int64 {
	if !m.month {
		return t.wall.Unix() / daySeconds
	}
	y, month, _ := t.wall.Date()
	return int64(y)*12 + int64(month) - 1
}

// rest is how long a window lasts from a moment on.
func (m *meter) rest(t moment) time.Duration {
	if m.month {
		y, month, _ := t.wall.Date()
		return time.Date(y, month+1, 1, 0, 0, 0, 0, time.UTC).Sub(t.wall)
	}
	passed := t.wall.Unix() % daySeconds
	return time.Duration(daySeconds-passed)*time.Second - time.Duration(t.wall.Nanosecond())
}

// fill starts a cell, of which nothing is used.
func (m *meter) fill(c *cell, t moment) {
	c.left, c.at = m.most, t.mono
	if m.kind == kindQuota {
		c.window = m.window(t)
	}
}

// available brings a cell up to date and tells how much is left.
func (m *meter) available(c *cell, t moment) float64 {
	switch m.kind {
	case kindQuota:
		if w := m.window(t); w != c.window {
			if w > c.window { // a clock that is set back gives nothing anew
				c.used = 0
			}
			c.window = w
		}
		return m.most - c.used
	case kindConcurrency:
		return m.most - c.used
	}
	if passed := t.mono - c.at; passed > 0 {
		c.left += float64(passed) * m.nano
		c.at = t.mono
	}
	c.left = min(c.left, m.most)
	return c.left
}

// spend takes, or gives back what is negative.
func (m *meter) spend(c *cell, cost float64) {
	switch m.kind {
	case kindQuota, kindConcurrency:
		c.used = max(0, c.used+cost)
	default:
		c.left = min(c.left-cost, m.most)
	}
}

// untouched tells whether a cell can be forgotten, as nothing of it is used; crowded is where room is needed.
func (m *meter) untouched(c *cell, t moment, crowded bool) bool {
	if l := c.lease; l != nil {
		return l.drawing == nil && c.used == 0 && l.held == 0 && t.mono-l.touched > int64(sweepEvery) && m.limiter.share.even(m, c, t, crowded)
	}
	return (m.kind != kindBytes || c.used == 0) && m.available(c, t) >= m.most
}

// slotWait is when to come again where nobody knows when a request ends.
const slotWait = time.Second

// wait is how long it takes until a request that needs so much is let in, if no other is.
func (m *meter) wait(need, left float64, t moment) time.Duration {
	switch m.kind {
	case kindQuota:
		return max(m.rest(t), time.Second)
	case kindConcurrency:
		return slotWait
	}
	return lasting((need - left) / m.nano)
}

// lasting is a time of so many nanoseconds, which may be more than there can be.
func lasting(nanos float64) time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	return time.Duration(max(min(nanos, float64(most)), 1))
}

// reset is how long it takes until nothing is used any more.
func (m *meter) reset(left float64, t moment) time.Duration { return m.wait(m.most, left, t) }
