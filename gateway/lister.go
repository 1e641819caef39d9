package gateway

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/upstream"
)

// A new instance of a server lists what every new instance of it lists, so that the base of a family can give its lists, as long
// as instances do not differ by whom they are for and the caller's own has not said that its lists changed.

// ownLists tells whether some server of an endpoint has lists for this caller alone.
func (e *endpoint) ownLists(x *Exchange) bool {
	if !e.families {
		return false
	}
	c := x.who()
	for _, m := range e.members {
		if m.ownLists(c) && e.sees(x.view, m, policy.KindAny) {
			return true
		}
	}
	return false
}

// ownLists tells whether a server has lists for this caller alone.
func (m *member) ownLists(c caller) bool {
	if m.family == nil {
		return false
	}
	if m.family.personal() {
		return true
	}
	k, up := m.family.pool.Peek(m.family.keyOf(c))
	return up && k.apart.Load() || !up && m.family.apartAfar(c)
}

// listsFor returns a fresh list of a server as this caller sees it. Only ctx's end is an error.
func (g *Gateway) listsFor(ctx context.Context, c caller, m *member, method mcp.Method) (*listing, error) {
	if !m.ownLists(c) {
		return g.lists(ctx, m, method)
	}
	if _, up := m.family.pool.Peek(m.family.keyOf(c)); !up && !m.family.personal() {
		if l, err := g.listsApart(ctx, c, m, method); l != nil || err != nil {
			return l, err
		}
		return g.lists(ctx, m, method)
	}
	h, err := m.family.hold(ctx, c)
	if ctx.Err() != nil {
		h.release()
		return nil, context.Cause(ctx)
	}
	if at, there := errors.AsType[*remote](err); there {
		l, err := g.listsAt(ctx, c, m, method, at.replica)
		if err == nil || ctx.Err() != nil {
			return l, err
		}
		return failedList(err), nil
	}
	if err != nil {
		if errs.Of(err).Kind == errs.Forbidden {
			g.warnOnce("server left out of the lists of a caller", m.Name, c.principal.Key(), err.Error())
		}
		return failedList(err), nil
	}
	defer h.release()
	l, err := g.lists(ctx, &h.k.member, method)
	if err != nil {
		return nil, err
	}
	own := *l
	own.own, own.public = true, false
	return &own, nil
}

func failedList(err error) *listing {
	return &listing{own: true, err: err, expires: time.Now().Add(retryList)}
}

// askAt has the replica that runs the caller's instance answer a request without parameters.
func (g *Gateway) askAt(ctx context.Context, c caller, m *member, method mcp.Method, replica string) (*Exchange, error) {
	x := &Exchange{Endpoint: m.Name, Principal: c.principal, Within: c.within, Client: upstream.Client{Modern: true}, whole: true}
	x.In.Body = []byte(`{"jsonrpc":"2.0","id":1,"method":"` + method.String() + `","params":{}}`)
	if e := x.In.Scan(mcp.Limits{}); e != nil {
		return nil, e
	}
	x.notes = trace.From(ctx)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(m.Spec.Timeouts.Start+m.Spec.Timeouts.List))
	defer cancel()
	return x, g.send(ctx, x, replica, true)
}

// listsAt has the replica that runs the caller's instance say what it lists.
func (g *Gateway) listsAt(ctx context.Context, c caller, m *member, method mcp.Method, replica string) (*listing, error) {
	x, err := g.askAt(ctx, c, m, method, replica)
	if err != nil {
		return nil, err
	}
	defer x.Out.Free()
	page, err := m.keep(method, &x.Out)
	if err != nil {
		return nil, err
	}
	l := &listing{own: true, pages: 1, first: *page}
	l.take(g, m, method, &upstream.Peer{Modern: true}, page, map[string]bool{})
	l.expires = time.Now().Add(time.Duration(shorter(-1, page, 0)) * time.Millisecond)
	l.objects = newObjects(l)
	return l, nil
}

// catalogFor is where the lists of a server are, as this caller saw them last; nil where it saw none.
func (m *member) catalogFor(c caller) *catalog {
	if !m.ownLists(c) {
		return m.catalog
	}
	if k, up := m.family.pool.Peek(m.family.keyOf(c)); up {
		return k.catalog
	}
	if !m.family.personal() {
		return m.catalog // what it has of its own is known at its replica only
	}
	return nil
}

// lastFor is a list of a server as this caller saw it last; nil when it did not.
func (m *member) lastFor(c caller, method mcp.Method) *listing {
	if own := m.catalogFor(c); own != nil {
		return own.last(method)
	}
	return nil
}

// peerFor is what a server says of itself to this caller.
func (m *member) peerFor(ctx context.Context, c caller) (*upstream.Peer, error) {
	if m.family == nil || !m.family.personal() {
		return m.server.Peer(ctx)
	}
	h, err := m.family.hold(ctx, c)
	if at, there := errors.AsType[*remote](err); there {
		return m.family.g.peerAt(ctx, c, m, at.replica)
	}
	if err != nil {
		return nil, err
	}
	defer h.release()
	return h.k.server.Peer(ctx)
}

// peerAt has the replica that runs the caller's instance say what it is.
func (g *Gateway) peerAt(ctx context.Context, c caller, m *member, replica string) (*upstream.Peer, error) {
	x, err := g.askAt(ctx, c, m, mcp.MethodDiscover, replica)
	if err != nil {
		return nil, err
	}
	defer x.Out.Free()
	result := x.Out.Payload.Of(x.Out.Body)
	return &upstream.Peer{
		Modern: true, Capabilities: bytes.Clone(at(result, "capabilities")), Instructions: bytes.Clone(at(result, "instructions")),
		Info: bytes.Clone(at(at(result, "_meta"), mcp.MetaServerInfo.String())),
	}, nil
}
