package gateway

import (
	"context"
	"net/http"
	"time"

	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/limit"
	"github.com/toolcrib/toolcrib/mcp"
)

// A request counts once, at the replica that it came to, however often it is served again for answers of its client.

// limitAddress counts a request against the limits of where it comes from, before its caller is identified and its body read.
func limitAddress(ctx context.Context, _ *Gateway, x *Exchange) (bool, error) {
	if !x.world.limits.Any() {
		return false, nil
	}
	x.judged.Address = x.world.callers.Address(&x.Request)
	return false, x.world.limits.Edge(ctx, &x.ticket, &x.judged, x.started)
}

// limitCaller counts a request against the limits of its caller; a list also against those of the one server whose it is.
func limitCaller(ctx context.Context, _ *Gateway, x *Exchange) (bool, error) {
	if err := x.meter(ctx); err != nil || x.at == nil || x.at.own == nil {
		return false, err
	}
	if facts := x.In.Method.Facts(); facts.List || x.In.Method == mcp.MethodDiscover {
		return false, x.aim(ctx, x.at.own)
	}
	return false, nil
}

// limitTarget counts a request against the limits of what it asks for, which its caller may have.
func limitTarget(ctx context.Context, _ *Gateway, x *Exchange) (bool, error) {
	if x.member == nil {
		return false, nil
	}
	return false, x.aim(ctx, x.member)
}

// arrived tells whether the request counted where it came in.
func (x *Exchange) arrived() bool { return x.handed || x.stays }

// meter counts the request against the limits of its caller, once.
func (x *Exchange) meter(ctx context.Context) error {
	if x.metered || x.arrived() || !x.world.limits.Any() {
		return nil
	}
	x.metered = true
	x.askedBy()
	return x.world.limits.Caller(ctx, &x.ticket, &x.judged, time.Now()) // its body may have taken until the next day
}

// aim counts the request against the limits of a server and of what it asks of it, once.
func (x *Exchange) aim(ctx context.Context, m *member) error {
	if x.aimed || x.arrived() || !x.world.limits.Aims(m.Name) {
		return nil
	}
	x.aimed = true
	s := &x.judged
	s.Server, s.Prefix, s.Tool = m.Name, m.Prefix, nil
	if x.In.Method == mcp.MethodToolsCall {
		s.Tool = x.name
	}
	return x.world.limits.Target(ctx, &x.ticket, s, time.Now())
}

// askedBy notes who asks, and how.
func (x *Exchange) askedBy() {
	s := &x.judged
	s.Method = x.In.Method.String()
	p := x.Principal
	if p == nil {
		return
	}
	s.Tenant, s.Principal, s.Groups = p.Tenant, p.Key(), p.Groups
	if x.world.limits.Keyed() {
		x.bearer = p.AppendCredential(x.bearer[:0])
		s.Key = x.bearer
	}
}

// Meter counts a request that the front answers against the limits of its caller.
func (g *Gateway) Meter(ctx context.Context, x *Exchange) error { return x.meter(ctx) }

// Split gives back what the exchange took of limits: its message goes on as exchanges of their own, which count in its place.
func (x *Exchange) Split() { x.ticket.Cancel() }

// Knock counts a request that is none of MCP, but may show a credential, against the limits of its address. Where it is let in,
// leave ends it.
func (g *Gateway) Knock(ctx context.Context, r *identity.Request) (leave func(), err error) {
	w := g.acquire()
	defer g.release(w)
	if !w.limits.Any() {
		return func() {}, nil
	}
	t := new(limit.Ticket)
	if err := w.limits.Edge(ctx, t, &limit.Subject{Address: w.callers.Address(r)}, time.Now()); err != nil {
		return nil, err
	}
	return func() { t.Finish(0) }, nil
}

// used ends what the request took of limits. What went on as an exchange of its own counts there.
func (x *Exchange) used() {
	if x.Carrier {
		x.ticket.Cancel()
		return
	}
	x.ticket.Finish(len(x.In.Body) + x.Out.Len())
}

// LimitHeaders tells the client what is left of the limit that it will meet first.
func (x *Exchange) LimitHeaders(h http.Header) { x.ticket.Headers(h) }
