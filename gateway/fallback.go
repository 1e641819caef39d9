package gateway

import (
	"context"
	"strconv"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/upstream"
)

// metaFallback is the member of _meta, and of the data of an error, that names the server in whose place something was answered.
const metaFallback = "io.toolcrib/fallback"

// The kinds of what stands in for a server's answer, as the metric has them.
const (
	fallbackStale   = "stale"
	fallbackServer  = "server"
	fallbackMessage = "message"
)

// carry has the request carried out, and answers in place of a server that cannot.
func carry(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	done, err := g.walk(ctx, passage, x)
	if err == nil || x.member == nil {
		return done, err
	}
	return g.fallBack(ctx, x, err)
}

// fallBack answers in place of a server that failed, in the order that the configuration has: with what it answered last, with the
// answer of another server, with a text.
func (g *Gateway) fallBack(ctx context.Context, x *Exchange, why error) (bool, error) {
	m := x.world.members[x.member.Name]
	if m == nil || ctx.Err() != nil || !failed(why) || x.call.Resume != 0 || x.about != nil {
		return false, why
	}
	var kind string
	var err error
	switch f := &m.Spec.Fallback; {
	case f.Stale > 0 && !x.unsettled && g.lastGood(ctx, x): // what is not decided yet nobody is given
		kind = fallbackStale
	case f.Server != "" && g.divert(ctx, x, f.Server, why):
		kind = fallbackServer
	case f.Message != "":
		kind, err = fallbackMessage, x.message(m.Name, f, why)
	default:
		return false, why
	}
	g.o.Metrics.FellBack(m.Name, kind)
	g.o.Log.Debug("answered in place of a server that failed", "server", m.Name, "kind", kind, "error", why)
	return err == nil, err
}

// divert has another server carry out the request: what the caller may do there decides, as if it had been asked itself. It
// tells whether there is an answer; else the exchange is as it was.
func (g *Gateway) divert(ctx context.Context, x *Exchange, name string, why error) bool {
	other, at := x.world.members[name], x.world.endpoints[name]
	if other == nil || at == nil || !x.call.Elsewhere(why) || x.continues() { // what was said to one server is not for another
		return false
	}
	was := x.aimAt(other, at)
	_, err := g.walk(ctx, detour, x)
	if err == nil && x.Out.Kind == mcp.KindResult && !x.asksBack() {
		x.diverted = was.member.Name
		addMeta(&x.Out, fallbackMeta(x.diverted, name))
		return true
	}
	if err != nil {
		g.o.Log.Debug("the fallback does not answer either", "server", name, "error", err)
	}
	if x.parked != 0 || x.call.Parked != 0 {
		x.member.server.Abandon(x.call.Parked)
	}
	x.Out.Free()
	x.held.release()
	x.restore(was)
	return false
}

// aimed is what of an exchange goes by the server that it is for.
type aimed struct {
	member   *member
	at       *endpoint
	call     upstream.Call
	facts    policy.Facts
	decision policy.Decision
	misfit   error
}

// aimAt has the exchange go to another server, and returns what it had for the one before.
func (x *Exchange) aimAt(m *member, at *endpoint) aimed {
	was := aimed{x.member, x.at, x.call, x.facts, x.decision, x.misfit}
	x.held.release()
	x.Out.Free()
	x.member, x.at = m, at
	x.call = was.call.Redirected()
	x.decision, x.unsettled, x.aimed = policy.Decision{}, false, false
	return was
}

func (x *Exchange) restore(was aimed) {
	timing := x.call.Timing
	x.member, x.at, x.call, x.facts, x.decision, x.misfit = was.member, was.at, was.call, was.facts, was.decision, was.misfit
	x.call.Timing, x.unsettled, x.parked = timing, false, 0
}

// message makes a configured text the answer: a result of a tool that failed, or the error that is returned.
func (x *Exchange) message(server string, f *v1.Fallback, why error) error {
	if x.In.Method != mcp.MethodToolsCall {
		e := errs.E(`server "`+server+`"`, errs.Of(why).Kind, "%s", f.Message)
		e.Data = append(append([]byte{'{'}, fallbackMeta(server, "")...), '}')
		return e
	}
	b := append([]byte(`{"jsonrpc":"2.0","id":`), x.In.ID.Of(x.In.Body)...)
	b = append(b, `,"result":{`...)
	if x.Client.Modern {
		b = append(b, `"resultType":"complete",`...)
	}
	b = mcp.AppendString(append(b, `"content":[{"type":"text","text":`...), f.Message)
	b = append(append(append(b, `}],"isError":true,"_meta":{`...), fallbackMeta(server, "")...), "}}}"...)
	x.Out.Free()
	x.Out.Body = b
	if e := x.Out.Scan(wide(b)); e != nil {
		return errs.E("gateway", errs.Internal, "fallback.message of server "+strconv.Quote(server)+" makes no answer: %w", e)
	}
	return nil
}

// fallbackMeta is the member that tells of a fallback: for which server, and which other one answered, if one did.
func fallbackMeta(from, server string) []byte {
	b := mcp.AppendString([]byte(`"`+metaFallback+`":{"from":`), from)
	if server != "" {
		b = mcp.AppendString(append(b, `,"server":`...), server)
	}
	return append(b, '}')
}
