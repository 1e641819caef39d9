package upstream

import (
	"context"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream/balance"
)

// overloadPause is what callers are told to wait at a server that has too many calls.
const overloadPause = time.Second

// bound is how many calls a server has at once; nil for any number.
type bound struct {
	limiter  *balance.Limiter
	adaptive bool
}

// ConcurrencyStatus is the present bound of the calls that a server has at once.
type ConcurrencyStatus struct {
	Limit    int `json:"limit"`
	InFlight int `json:"inFlight"`
}

func newBound(spec *v1.AdaptiveConcurrency) *bound {
	switch {
	case spec == nil:
		return nil
	case spec.Adaptive:
		return &bound{balance.NewLimiter(spec.Least(), spec.Max), true}
	}
	return &bound{balance.NewLimiter(spec.Max, spec.Max), false}
}

func (b *bound) status() *ConcurrencyStatus {
	if b == nil {
		return nil
	}
	return &ConcurrencyStatus{Limit: b.limiter.Limit(), InFlight: b.limiter.InFlight()}
}

// bounded is attempt within the bound.
func (l *httpLink) bounded(ctx context.Context, c *Call, out *mcp.Raw) error {
	kind := c.Name
	if c.In.Method != mcp.MethodToolsCall {
		kind = []byte{0, byte(c.In.Method)} // which no tool is called
	}
	c.tooMuch = false
	pass, ok := l.bound.limiter.Enter(kind)
	if !ok {
		l.s.refused("concurrency")
		e := l.s.errorf(errs.Overloaded, "has %d calls under way, which is as many as it is given now (concurrency); try again later", l.bound.limiter.Limit())
		return e.Later("concurrency", overloadPause)
	}
	began := clock()
	err := l.attempt(ctx, c, out)
	l.bound.limiter.Leave(pass, clock()-began, l.bound.result(ctx, c, err))
	return err
}

// result is what the end of a call says of how loaded the server is.
func (b *bound) result(ctx context.Context, c *Call, err error) balance.Result {
	switch {
	case !b.adaptive || c.Parked != 0:
		return balance.Ignored
	case err == nil:
		return balance.Took
	case errs.Of(err).Kind == errs.Timeout || ctx.Err() == nil && c.tooMuch:
		return balance.Overload
	}
	return balance.Ignored
}
