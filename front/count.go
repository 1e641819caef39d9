package front

import (
	"sync"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
)

// streamCount counts the streams that clients hold open at this replica.
type streamCount struct {
	mu    sync.Mutex
	total int
	each  map[string]int // by principal
}

// enter counts a stream in, within the bounds; every enter that succeeded has one leave.
func (c *streamCount) enter(principal string, most v1.Streams) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.each[principal] >= most.PerPrincipal:
		return errs.E("front", errs.Overloaded, "%d streams of this caller are open here, which is the most; close one, or raise streams.perPrincipal",
			most.PerPrincipal)
	case c.total >= most.Total:
		return errs.E("front", errs.Overloaded, "%d streams are open here, which is the most; try another replica or later, or raise streams.total", most.Total)
	}
	if c.each == nil {
		c.each = map[string]int{}
	}
	c.each[principal]++
	c.total++
	return nil
}

func (c *streamCount) leave(principal string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.each[principal]--; c.each[principal] == 0 {
		delete(c.each, principal)
	}
}
