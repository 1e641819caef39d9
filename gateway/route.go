package gateway

import (
	"bytes"
	"context"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
)

// route finds the server that a request is for, and the server's own name for what is asked.
func route(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	if x.about != nil && x.about.token != nil {
		return false, nil // a task id says where it belongs
	}
	span, kind, err := x.target()
	if err != nil {
		return false, err
	}
	name, ok := mcp.Text(x.In.Body, span, x.scratch[:0])
	if !ok {
		return false, errs.E("gateway", errs.Invalid, "%s of %s is no proper string", kind, x.In.Method)
	}
	x.name = name
	if x.at.own != nil {
		x.member = x.at.own
		return false, nil
	}
	if kind == "uri" {
		if x.member, err = g.resource(x.noting(ctx), x.who(), x.at, x.rights(), string(name)); err != nil {
			x.judgeURI(string(name))
			if d := &x.decision; x.view != nil && !d.Allowed && d.Rule != "" {
				g.o.Metrics.Decided(labels[policy.KindResource], false, len(d.Scopes) > 0)
			}
		}
		return false, err
	}
	return false, x.find(span)
}

// find finds what has the name of the exchange, and has the server's own sent in its place.
func (x *Exchange) find(span mcp.Span) error {
	m, own, t := x.at.resolve(x.world.plan, x.In.Method, x.name)
	if m == nil {
		return unknown(x.In.Method, x.name)
	}
	x.member, x.tailor = m, t
	if t.Shapes() && x.In.Method == mcp.MethodToolsCall {
		x.misfit = x.tailorArguments(t)
		span = x.In.Get(mcp.KeyName) // all is elsewhere now
		x.name, _ = mcp.Text(x.In.Body, span, x.scratch[:0])
		_, own, _ = x.at.resolve(x.world.plan, x.In.Method, x.name)
	}
	x.rebase(span, own)
	return nil
}

// unknown is the answer to a name that leads nowhere.
func unknown(m mcp.Method, name []byte) error {
	return errs.E("gateway", errs.NotFound, "unknown %s %.128q: names are listed by %s", noun(m), name, listOf(m))
}

// target finds what the request is about: a name, or a uri.
func (x *Exchange) target() (mcp.Span, string, error) {
	kind, key := "name", mcp.KeyName
	switch x.In.Method {
	case mcp.MethodResourcesRead:
		kind, key = "uri", mcp.KeyURI
	case mcp.MethodComplete:
		return x.reference()
	}
	s := x.In.Get(key)
	if !s.Present() {
		return s, kind, errs.E("gateway", errs.Invalid, "params.%s is missing; %s needs it", kind, x.In.Method)
	}
	return s, kind, nil
}

// reference reads params.ref of completion/complete.
func (x *Exchange) reference() (mcp.Span, string, error) {
	body, ref := x.In.Body, x.In.Get(mcp.KeyRef)
	if !ref.Present() || body[ref.Start] != '{' {
		return ref, "", errs.E("gateway", errs.Invalid, "params.ref is missing or no object; completion/complete needs it")
	}
	t, e := mcp.Lookup(body, ref, "type")
	if e != nil {
		return ref, "", errs.E("gateway", errs.Invalid, "params.ref: %w", e)
	}
	kind := "name"
	switch string(t.Of(body)) {
	case `"ref/prompt"`:
	case `"ref/resource"`:
		kind = "uri"
	default:
		return ref, "", errs.E("gateway", errs.Invalid, "params.ref.type is %.40s; it must be ref/prompt or ref/resource", t.Of(body))
	}
	f, e := mcp.Lookup(body, ref, kind)
	if e != nil {
		return ref, "", errs.E("gateway", errs.Invalid, "params.ref: %w", e)
	}
	if !f.Present() {
		return ref, "", errs.E("gateway", errs.Invalid, "params.ref.%s is missing", kind)
	}
	return f.Span, kind, nil
}

// rebase has the server's own name sent instead of the shown one. A name without escapes only loses its prefix.
func (x *Exchange) rebase(span mcp.Span, own []byte) {
	cut := len(x.name) - len(own)
	if bytes.Equal(x.name, own) {
		return
	}
	if raw := span.Of(x.In.Body); bytes.HasSuffix(x.name, own) && bytes.IndexByte(raw, '\\') < 0 {
		x.call.Rename = mcp.Span{Start: span.Start + 1, End: span.Start + 1 + int32(cut)}
		x.call.RenameTo = nil
	} else {
		x.rename = mcp.AppendString(x.rename[:0], string(own))
		x.call.Rename, x.call.RenameTo = span, x.rename
	}
	x.name = own
}

func noun(m mcp.Method) string {
	if m == mcp.MethodToolsCall {
		return "tool"
	}
	return "prompt"
}

func listOf(m mcp.Method) mcp.Method {
	if m == mcp.MethodToolsCall {
		return mcp.MethodToolsList
	}
	return mcp.MethodPromptsList
}
