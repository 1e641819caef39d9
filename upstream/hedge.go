package upstream

import (
	"context"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

// hedged sends a request for a list a second time, as one more request, when its answer comes later than after late, and takes the first
// that comes.
func (s *Server) hedged(ctx context.Context, c *Call, out *mcp.Raw, late time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		call   *Call
		out    *mcp.Raw
		err    error
		second bool
	}
	answers := make(chan answer, 2)
	send := func(second bool) {
		a := answer{call: new(Call), out: new(mcp.Raw), second: second}
		*a.call = *c
		go func() {
			a.err = s.try(ctx, a.call, a.out)
			answers <- a
		}()
	}
	send(false)
	timer := time.NewTimer(late)
	defer timer.Stop()
	var won answer
	for open := 1; open > 0; {
		select {
		case <-timer.C:
			if s.budget.spend() {
				open++
				s.retried("hedge")
				send(true)
			}
			continue
		case a := <-answers:
			open--
			switch {
			case won.call == nil || won.err != nil && a.err == nil:
				won = a
			default:
				a.out.Free()
				continue
			}
			if a.err == nil {
				cancel() // the other one is not needed any more, and waited for
			}
		}
	}
	if won.second && won.err == nil {
		s.retried("hedge_won")
	}
	c.Timing, c.seat = won.call.Timing, won.call.seat
	*out = *won.out
	return won.err
}
