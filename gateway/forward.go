package gateway

import (
	"context"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

var codeInvalidParams = []byte("-32602")

// forward sends the request to its server and takes the answer.
func forward(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	c := &x.call
	c.In, c.Client, c.Notify, c.Session = &x.In, &x.Client, x.Notify, x.caller()
	c.Trace = x.notes
	c.Who, c.From = x.member.statement(x.who()), x.Header
	if x.In.Method != mcp.MethodComplete {
		c.Name = x.name
	}
	if x.In.Method == mcp.MethodToolsCall {
		c.Limits = x.limits()
	}
	if c.Resume != 0 {
		return g.resume(ctx, x)
	}
	if x.In.Method == mcp.MethodToolsCall {
		if err := g.parameters(ctx, x); err != nil {
			return false, err
		}
	}
	err := x.member.server.Do(ctx, c, &x.Out)
	if err == nil && mirrorsRefused(x) {
		x.member.lister().catalog.expire(mcp.MethodToolsList)
		if !x.Client.Modern { // a modern client asks for the list itself and makes the headers anew
			err = g.again(ctx, x)
		}
	}
	if err != nil {
		return false, err
	}
	return true, g.settle(ctx, x)
}

// limits are the time limits of the tool that is called, by the present plan: a caller's own instance may be older.
func (x *Exchange) limits() upstream.Limits {
	m := x.member
	if m.kin != nil {
		if now := x.world.members[m.Name]; now != nil {
			m = now
		}
	}
	return m.Patience.Of(x.name)
}

// settle makes what the server answered the answer of the exchange.
func (g *Gateway) settle(ctx context.Context, x *Exchange) error {
	switch {
	case x.In.Method == mcp.MethodToolsCall:
		if err := g.settleCall(ctx, x); err != nil {
			return err
		}
	case x.about != nil:
		x.member.seen(x.about.id, x.In.Method, &x.Out)
		x.settleTask()
	}
	return g.conclude(x)
}

// conclude looks last at the answer, whoever made it.
func (g *Gateway) conclude(x *Exchange) error {
	x.keepPrivate()
	if err := g.question(x); err != nil {
		if x.behalf() {
			g.canceller(x.about)()
		}
		return err
	}
	return g.settleError(x)
}

// resume goes on with a parked call at the server that holds it, which a new plan may have taken out of the world.
func (g *Gateway) resume(ctx context.Context, x *Exchange) (bool, error) {
	if x.In.Method == mcp.MethodToolsCall {
		x.tool = g.metric(x.member, x.member.lister().catalog.tool(x.name))
	}
	if err := x.holder.Do(ctx, &x.call, &x.Out); err != nil {
		if ctx.Err() != nil && x.behalf() {
			g.cancelTask(ctx, x.about)
		}
		return false, err
	}
	return true, g.settle(ctx, x)
}

var private = []byte(`"private"`)

// keepPrivate: where callers need a key, what one of them was given is not for everyone.
func (x *Exchange) keepPrivate() {
	if scope := x.Out.Get(mcp.KeyCacheScope); scope.Present() && x.Out.Kind == mcp.KindResult && !x.world.open() {
		x.Out.Edits.Replace(scope, private)
	}
}

// parameters sees to the headers that mirror arguments (streamable-http "Mcp-Param"): what the client sent is checked
// against the body, and what a legacy client could not send is made from it.
func (g *Gateway) parameters(ctx context.Context, x *Exchange) error {
	m, lister := x.member, x.member.lister()
	facts := lister.catalog.tool(x.name)
	x.tool = g.metric(m, facts)
	p, err := x.peer(ctx)
	if err != nil {
		return err
	}
	speaksHeaders := p.Modern && m.server.HTTP()
	if lister.catalog.facts.Load() == nil && (speaksHeaders != x.Client.Modern || x.at.joined() && lister.catalog.last(mcp.MethodToolsList) == nil) {
		// Only here does the call depend on the tool's definition: nobody else would check or make the headers, or know that
		// the tool is not offered here. A server that has failed to give its list is not waited for again for the latter.
		if _, err := g.lists(x.noting(ctx), lister, mcp.MethodToolsList); err != nil {
			return err
		}
		facts = lister.catalog.tool(x.name)
	}
	x.tool = g.metric(m, facts)
	x.call.Repeatable = facts != nil && facts.repeats
	if facts != nil && facts.app && x.at.joined() {
		return x.forApp()
	}
	if x.asTask(p, facts) {
		x.beTask()
	}
	if facts == nil {
		if speaksHeaders && x.Client.Modern {
			x.call.Header = x.Header
		}
		return nil
	}
	if x.Client.Modern {
		return x.mirror(facts.params, speaksHeaders)
	}
	if speaksHeaders {
		x.call.Params = facts.params
	}
	return nil
}

// forApp is the answer to a call of a tool that is for its server's own app, where several servers look like one.
func (x *Exchange) forApp() error {
	if x.at.set != nil {
		return x.unknown()
	}
	return errs.E("gateway", errs.NotFound, "unknown tool %.128q: it is for the server's own app, at /servers/%s/mcp",
		x.at.member(x.member.Name).Prefix+string(x.name), x.member.Name)
}

// mirror checks the headers of a modern client against the arguments that they mirror, and passes them on to a server that takes
// them. Those of arguments that the client does not set are made from them.
func (x *Exchange) mirror(params []mcp.Param, pass bool) error {
	shown := params
	if x.tailor.Shapes() {
		var err error
		if shown, err = tailorHeaders(x, params); err != nil {
			return err
		}
	}
	if e := mcp.CheckParams(shown, x.Header, &x.In); e != nil {
		return errs.E("gateway", errs.HeaderMismatch, "%w", e)
	}
	if pass {
		x.call.Header = x.Header
		if x.tailor.Shapes() {
			x.call.Params = params
		}
	}
	return nil
}

// peer waits for the server of the exchange to be there, which is part of its start.
func (x *Exchange) peer(ctx context.Context) (*upstream.Peer, error) {
	s := x.member.server
	if s.Status().State == upstream.StateReady {
		return s.Peer(ctx) // at once
	}
	began := time.Now()
	p, err := s.Reach(ctx, &x.call)
	x.call.Timing.Start += time.Since(began)
	return p, err
}

// mirrorsRefused: the server's idea of the tool's headers is newer than the one that the headers were made by.
func mirrorsRefused(x *Exchange) bool {
	return x.Out.Kind == mcp.KindError && x.Out.ErrorCode == mcp.CodeHeaderMismatch && x.In.Method == mcp.MethodToolsCall
}

// again asks for the tool's definition anew and repeats a call that was refused for its headers, once.
func (g *Gateway) again(ctx context.Context, x *Exchange) error {
	lister := x.member.lister()
	if _, err := g.lists(x.noting(ctx), lister, mcp.MethodToolsList); err != nil {
		return err
	}
	x.call.Params = nil
	if facts := lister.catalog.tool(x.name); facts != nil {
		x.call.Params = facts.params
	}
	x.Out.Free()
	return x.member.server.Do(ctx, &x.call, &x.Out)
}

// settleError gives a legacy server's error the code that 2026-07-28 has for it.
func (g *Gateway) settleError(x *Exchange) error {
	if x.Out.Kind != mcp.KindError || !x.Client.Modern {
		return nil
	}
	switch x.Out.ErrorCode {
	case mcp.CodeResourceNotFound:
		x.Out.Edits.Replace(x.Out.Get(mcp.KeyCode), codeInvalidParams)
		x.Out.ErrorCode = mcp.CodeInvalidParams
	case mcp.CodeURLElicitation:
		return g.visitFirst(x)
	}
	return nil
}
