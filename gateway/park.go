package gateway

import (
	"context"
	"sync"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/telemetry"
	"github.com/toolcrib/toolcrib/upstream"
)

// parking are the calls of this replica that wait at a server for a client's answers: bounded, and each for a time only.
type parking struct {
	metrics *telemetry.Metrics

	mu        sync.Mutex
	closed    bool
	calls     map[uint64]*parkedCall
	principal map[string]int
	server    map[string]int
}

type parkedCall struct {
	number    uint64
	server    *upstream.Server
	principal string
	grant     grant
	timer     *time.Timer
	gone      func() // called when it is given up; nil for nothing
}

// add takes in the call that the exchange left at its server. Where a bound is reached, the call ends.
func (p *parking) add(g *Gateway, x *Exchange) error {
	c := &parkedCall{number: x.call.Parked, server: x.member.server, principal: x.Principal.Key(), grant: x.grant()}
	if x.behalf() {
		c.gone = g.canceller(x.about)
	}
	return p.keep(g, c, &x.world.plan.Config.Questions)
}

func (p *parking) keep(g *Gateway, c *parkedCall, q *v1.Questions) error {
	p.mu.Lock()
	err := p.full(c, q.PerPrincipal, q.PerServer, q.Total)
	if err == nil {
		if p.calls == nil {
			p.calls, p.principal, p.server = map[uint64]*parkedCall{}, map[string]int{}, map[string]int{}
		}
		p.calls[c.number] = c
		p.principal[c.principal]++
		p.server[c.server.Name()]++
		c.timer = time.AfterFunc(time.Duration(q.Timeout), func() { p.expire(g, c) })
	}
	p.mu.Unlock()
	if err != nil {
		c.server.Abandon(c.number)
		return err
	}
	p.metrics.Parked(1)
	return nil
}

func (p *parking) full(c *parkedCall, perPrincipal, perServer, total int) error {
	const op, text = "gateway", "%d calls%s wait for answers already; %s sets the limit"
	switch {
	case p.closed:
		return errs.E(op, errs.Draining, "the gateway is stopping")
	case len(p.calls) >= total:
		return errs.E(op, errs.Overloaded, text, total, "", "questions.total")
	case p.principal[c.principal] >= perPrincipal:
		return errs.E(op, errs.Overloaded, text, perPrincipal, " of this caller", "questions.perPrincipal")
	case p.server[c.server.Name()] >= perServer:
		return errs.E(op, errs.Overloaded, text, perServer, " at server \""+c.server.Name()+`"`, "questions.perServer")
	}
	return nil
}

func (p *parking) expire(g *Gateway, c *parkedCall) {
	if p.take(c.number, c.principal) != nil {
		c.abandon()
		g.o.Log.Info("parked call given up: the client did not answer in time", "server", c.server.Name(),
			"principal", inLog(&g.Plan().Config.Log, c.principal, new(keyLabels)))
	}
}

// take hands out the parked call of that number to the one who resumes or ends it; nil when it is not there any more.
func (p *parking) take(number uint64, principal string) *parkedCall {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.calls[number]
	if c == nil || c.principal != principal {
		return nil
	}
	p.drop(c)
	return c
}

func (p *parking) drop(c *parkedCall) {
	c.timer.Stop()
	delete(p.calls, c.number)
	less(p.principal, c.principal)
	less(p.server, c.server.Name())
	p.metrics.Parked(-1)
}

func less(m map[string]int, key string) {
	if m[key]--; m[key] <= 0 {
		delete(m, key)
	}
}

// end cancels a parked call.
func (p *parking) end(number uint64) {
	p.mu.Lock()
	c := p.calls[number]
	if c != nil {
		p.drop(c)
	}
	p.mu.Unlock()
	if c != nil {
		c.abandon()
	}
}

func (c *parkedCall) abandon() {
	c.server.Abandon(c.number)
	if c.gone != nil {
		c.gone()
	}
}

// close ends all of them; none comes after.
func (p *parking) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.endAt(nil)
}

// endAt ends those at a server that is about to close; at all servers when it is nil.
func (p *parking) endAt(s *upstream.Server) {
	var ended []*parkedCall
	p.mu.Lock()
	for _, c := range p.calls {
		if s == nil || c.server == s {
			p.drop(c)
			ended = append(ended, c)
		}
	}
	p.mu.Unlock()
	for _, c := range ended {
		c.abandon()
	}
}

// unpark resumes a parked call with the answers of the exchange, at the replica that holds it.
func (g *Gateway) unpark(ctx context.Context, x *Exchange, s *state) (bool, error) {
	if s.replica != g.o.Node.ID() {
		return true, g.elsewhere(ctx, x, s.replica)
	}
	c := g.parking.take(s.number, x.Principal.Key())
	if c == nil {
		g.o.Metrics.TokenRejected(stateKind)
		return false, errs.E("gateway", errs.Lost, "the interaction with the server is over: it was answered already, not answered in time, or ended; "+
			"send the request again without requestState and inputResponses")
	}
	x.call.Resume, x.call.Answers = s.number, x.answers
	x.holder = c.server
	if r, ok := readTask(s.inner); ok {
		x.about = x.taskOf(r)
	}
	return false, nil
}
