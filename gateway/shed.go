package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// priority is how long a request is still served while there is more and more to do.
type priority uint8

const (
	ending priority = iota // it ends what others wait for, or may do so, as long as its body is not read
	interactive
	lists
	bulk
)

// whole is a bound that is reached, in the unit of shares.
const whole = 1000

// shares are how much of a bound may be in use when a request of a priority is still served. There is room over the bound, so
// that cancellations and answers to servers come through.
var shares = [...]int64{ending: 1250, interactive: whole, lists: 900, bulk: 800}

var priorityNames = [...]string{ending: "ending", interactive: "interactive", lists: "list", bulk: "bulk"}

// load is how much this replica has to do, and what it can take.
type load struct {
	under  atomic.Int64 // requests under way
	most   atomic.Int64 // of them; 0 for no bound
	memory atomic.Int64 // in use, of what may be, in thousandths
}

// Bear sets how many requests may be under way, 0 for any number, and tells how much memory is in use, in thousandths of what
// may be.
func (g *Gateway) Bear(requests, memory int64) {
	g.load.most.Store(requests)
	g.load.memory.Store(memory)
}

// UnderWay tells how many requests are.
func (g *Gateway) UnderWay() int64 { return g.load.under.Load() }

// spare refuses what there is no room for at its priority. The request itself is counted already.
func (g *Gateway) spare(p priority) error {
	l := &g.load
	share := shares[p]
	if most := l.most.Load(); most > 0 && (l.under.Load()-1)*whole >= most*share {
		return g.shed(p, "concurrency", fmt.Sprintf("this replica has as many requests under way as it serves (overload.concurrency: %d)", most))
	}
	if l.memory.Load() >= share {
		return g.shed(p, "memory", "this replica has too little memory left (overload.memory)")
	}
	return nil
}

// shed makes the refusal. Those who are refused together are not asked to come back together.
func (g *Gateway) shed(p priority, bound, why string) error {
	g.o.Metrics.Shed(bound, priorityNames[p])
	after := time.Second + rand.N(2*time.Second) //nolint:gosec // chance, not a secret
	seconds := int(after / time.Second)
	e := errs.E("gateway", errs.Overloaded, "%s and refuses requests of priority %s; try again in %ds, or at another replica", why, priorityNames[p], seconds+1)
	e.RetryAfter = after
	e.Data = fmt.Appendf(nil, `{"reason":"overload","bound":"overload.%s","priority":"%s","retryAfter":%d}`, bound, priorityNames[p], seconds+1)
	return e
}

// atDoor refuses by what the header tells, before anything is spent on a request.
func atDoor(_ context.Context, g *Gateway, x *Exchange) (bool, error) {
	x.counted = true
	g.load.under.Add(1)
	x.bulk = unhurried(x.Header)
	return false, g.spare(x.priority())
}

// ranked refuses by who the caller is.
func ranked(_ context.Context, g *Gateway, x *Exchange) (bool, error) {
	b := &x.world.plan.Config.Overload.Bulk
	if x.bulk || len(b.Tenants) == 0 && len(b.Groups) == 0 {
		return false, nil
	}
	x.bulk = slices.Contains(b.Tenants, x.Principal.Tenant) ||
		slices.ContainsFunc(x.Principal.Groups, func(group string) bool { return slices.Contains(b.Groups, group) })
	if !x.bulk {
		return false, nil
	}
	return false, g.spare(x.priority())
}

// rankedTool refuses by the tool that is called, which its caller may know. What the request took of limits so far is given back.
func rankedTool(_ context.Context, g *Gateway, x *Exchange) (bool, error) {
	tools := x.world.plan.Config.Overload.Bulk.Tools
	if len(tools) == 0 || x.bulk || !x.counted || x.In.Method != mcp.MethodToolsCall || x.member == nil {
		return false, nil
	}
	name := x.member.Prefix + string(x.name)
	x.bulk = slices.ContainsFunc(tools, func(pattern string) bool { return v1.Like(pattern, name) })
	if !x.bulk {
		return false, nil
	}
	err := g.spare(x.priority())
	if err != nil {
		x.ticket.Return()
	}
	return false, err
}

// weighed refuses by what the body asks for, which the header of a legacy request does not tell. What another replica hands over
// was weighed there.
func weighed(_ context.Context, g *Gateway, x *Exchange) (bool, error) {
	if !x.counted {
		return false, nil
	}
	return false, g.spare(x.priority())
}

// priority is that of a request as far as it is known by now: a header that says something else than the body is refused later.
func (x *Exchange) priority() priority {
	p := x.sort()
	if x.bulk && p != ending {
		return bulk
	}
	return p
}

func (x *Exchange) sort() priority {
	switch x.In.Kind {
	case mcp.KindRequest:
		return sortOf(x.In.Method)
	case mcp.KindInvalid:
	default:
		return ending
	}
	if h := x.Header["Mcp-Method"]; len(h) == 1 {
		return sortOf(mcp.MethodOf(h[0]))
	}
	switch {
	case x.HTTPMethod == http.MethodGet:
		return lists // a stream of changes
	case x.HTTPMethod == http.MethodDelete, x.Header["Mcp-Session-Id"] != nil:
		return ending
	}
	return interactive
}

func sortOf(m mcp.Method) priority {
	if m == mcp.MethodDiscover || m == mcp.MethodListen || m.Facts().List {
		return lists
	}
	return interactive
}

// unhurried tells whether a client says itself that its request can wait: an urgency beyond the usual 3 (RFC 9218).
func unhurried(h http.Header) bool {
	for _, line := range h["Priority"] {
		for item := range strings.SplitSeq(line, ",") {
			if u, ok := strings.CutPrefix(strings.TrimSpace(item), "u="); ok && len(u) == 1 && u[0] >= '4' && u[0] <= '7' {
				return true
			}
		}
	}
	return false
}
