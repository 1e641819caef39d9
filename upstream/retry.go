package upstream

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// try sends a call, and again where that is safe: nothing of it was sent, or to carry it out twice is as good as once. A budget keeps
// repetitions from adding to what a server suffers from.
func (s *Server) try(ctx context.Context, c *Call, out *mcp.Raw) error {
	c.tried = true
	s.budget.earn(s.present.Load().Retries.Budget)
	return s.repeat(ctx, c, func() error { return s.link.do(ctx, c, out) })
}

// Reach is Peer for a call that is sent afterwards, and is repeated as that is.
func (s *Server) Reach(ctx context.Context, c *Call) (p *Peer, err error) {
	err = s.Within(ctx, c, func(ctx context.Context) error {
		return s.repeat(ctx, c, func() error {
			if l, ok := s.link.(*httpLink); ok {
				p, err = l.reach(ctx)
			} else {
				p, err = s.link.ready(ctx)
			}
			return err
		})
	})
	return p, err
}

func (s *Server) repeat(ctx context.Context, c *Call, f func() error) error {
	r := &s.present.Load().Retries
	for n := 0; ; n++ {
		c.vain, c.late = false, false
		err := f()
		if err == nil || n >= r.Attempts || !c.again(err) || ctx.Err() != nil {
			return err
		}
		if !s.budget.spendFor(err) {
			s.retried("budget")
			return err
		}
		if !s.pause(ctx, time.Duration(r.Backoff)<<n) {
			return err
		}
		c.told = max(c.told, c.seen) // the client has heard of it
		s.retried("again")
		s.log.Debug("request sent again", "method", c.In.Method.String(), "error", err)
	}
}

// again tells whether a call that failed may be sent once more, and it is not in vain.
func (c *Call) again(err error) bool {
	e := errs.Of(err)
	if c.vain || e.RetryAfter > 0 {
		return false
	}
	if e.Kind == errs.Unavailable {
		return unsent(err) || c.repeats()
	}
	return e.Kind == errs.Timeout && c.late && c.repeats()
}

// Elsewhere tells whether a call that failed may be sent to another server: nothing of it was sent, or it may be carried out twice.
func (c *Call) Elsewhere(err error) bool {
	return c.In == nil || !c.tried || unsent(err) || errors.Is(err, errGone) || c.repeats()
}

// Away notes that the call was given to somebody else, who may have carried it out.
func (c *Call) Away() { c.tried = true }

// Redirected is the call for another server: the client has heard of its progress, which goes on from there.
func (c *Call) Redirected() Call {
	return Call{Rename: c.Rename, RenameTo: c.RenameTo, Timing: c.Timing, told: max(c.told, c.seen)}
}

// repeats tells whether a call may be carried out twice.
func (c *Call) repeats() bool {
	switch c.In.Method {
	case mcp.MethodToolsCall:
		return c.Repeatable
	case mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodResourcesList, mcp.MethodResourcesTemplatesList,
		mcp.MethodResourcesRead, mcp.MethodPromptsGet, mcp.MethodComplete, mcp.MethodTasksGet:
		return true
	}
	return false
}

// pause waits for about d, so that not all come again at the same time; false when the call is over meanwhile.
func (s *Server) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d/2 + rand.N(d)) //nolint:gosec // it only spreads them
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
	return false
}

func (s *Server) retried(outcome string) {
	if s.opts.Retried != nil {
		s.opts.Retried(outcome)
	}
}

// budget is how often requests may be sent again: each first one earns a share of a repetition, up to a reserve, which is there from
// the beginning.
type budget struct{ spent atomic.Int64 } // of the reserve, in thousandths of a repetition

const (
	repetition = 1000
	reserve    = 10 * repetition
)

// earn counts a request that may earn so many hundredths of a repetition.
func (b *budget) earn(percent int) {
	if spent := b.spent.Load(); spent > 0 { // most often nothing was, and nothing is written
		b.spent.Add(-min(spent, int64(percent)*repetition/100))
	}
}

// spend takes a repetition, if there is one left.
func (b *budget) spend() bool {
	if b.spent.Add(repetition) <= reserve {
		return true
	}
	b.spent.Add(-repetition)
	return false
}
