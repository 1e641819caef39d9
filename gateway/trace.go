package gateway

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/cache"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/telemetry"
)

// Trace is what is noted of the request for a trace; nil where nothing is.
func (x *Exchange) Trace() *trace.Record { return x.trace }

// TraceID is the id of the trace that the request belongs to: its client's, else the gateway's own where it makes traces, whether this
// one is kept or not; the zero id for none.
func (x *Exchange) TraceID() trace.ID {
	if x.trace != nil {
		x.readTrace()
		return x.trace.Trace
	}
	if parent, _ := x.traceContext(); len(parent) > 0 {
		if c, ok := trace.Parse(parent); ok {
			return c.Trace
		}
	}
	if h := x.Header["Traceparent"]; len(h) == 1 {
		c, _ := trace.Parse(h[0])
		return c.Trace
	}
	return trace.ID{}
}

// traceContext is the trace context that the message has in it (W3C Trace Context); nil for none.
func (x *Exchange) traceContext() (parent, state []byte) {
	if x.In.Kind != mcp.KindRequest {
		return nil, nil
	}
	if p := x.In.GetMeta(mcp.MetaTraceparent); p.Present() {
		parent, _ = mcp.Text(x.In.Body, p, nil)
		state, _ = mcp.Text(x.In.Body, x.In.GetMeta(mcp.MetaTracestate), nil)
	}
	return parent, state
}

// readTrace has what is noted go by the message, once it is there.
func (x *Exchange) readTrace() {
	if x.trace.Read || x.In.Kind != mcp.KindRequest {
		return
	}
	parent, state := x.traceContext()
	x.tracer.Read(x.trace, parent, state)
}

// endTrace sends the trace of a request that is over, if it is one that is kept.
func (x *Exchange) endTrace(err error, took time.Duration) {
	r := x.trace
	if r == nil {
		return
	}
	if x.In.Kind == mcp.KindRequest && !x.Carrier {
		x.readTrace()
		failed := errorType(x, err)
		if x.In.Method == mcp.MethodListen {
			took = 0 // it is no use to be over soon
		}
		if why := x.tracer.Keeps(r, failed != "" && !refused(err), took); why != telemetry.NotKept {
			s := x.span(failed, err)
			s.Why = why
			x.tracer.Tell(r, &s)
		}
	}
	x.trace, x.notes = nil, nil // it is another request's from now on
	x.tracer.Drop(r)
}

// refused tells an error of which anybody can cause as many as they like, by a mistake or because they are too many: those are no reason
// to keep a trace.
func refused(err error) bool {
	if err == nil {
		return false
	}
	switch errs.Of(err).Kind {
	case errs.Unauthenticated, errs.Forbidden, errs.InsufficientScope, errs.Limited, errs.Overloaded, errs.Draining,
		errs.Parse, errs.BadRequest, errs.Invalid, errs.NotFound, errs.MethodNotFound, errs.HeaderMismatch, errs.MissingCapability,
		errs.UnsupportedVersion, errs.SessionNotFound, errs.NotAcceptable, errs.MediaType, errs.TooLarge, errs.NoEndpoint:
		return true
	}
	return false
}

// unknownName stands for names of tools that no server lists: clients must not make up names of spans.
const unknownName = "_OTHER"

// span is what is told of the request. What it was asked with is not, nor what a server said of an error: that may repeat it.
func (x *Exchange) span(failed string, err error) telemetry.Span {
	t := &x.call.Timing
	s := telemetry.Span{
		Start: x.started, End: time.Now(), Method: x.In.Method.String(), ID: x.id(), Version: x.Protocol, Session: x.Within,
		Client: x.Request.Remote, Failed: failed, Round: int(x.rounds), Waited: t.Queue, Started: t.Start, AtServer: t.Server,
	}
	if s.Method == "" {
		s.Method = unknownName
	}
	if x.Client.Modern {
		s.Version = mcp.VersionModern
	}
	if x.recalled != cache.NotSought {
		s.Cache = x.recalled.String()
	}
	if x.member != nil {
		s.Server = x.member.Name
	}
	if x.at != nil {
		s.Toolset = x.at.toolset
	}
	if x.Principal != nil {
		s.Tenant = x.Principal.Tenant
	}
	switch {
	case err != nil:
		e := errs.Of(err)
		s.Status, s.Message = strconv.FormatInt(e.Kind.Code(), 10), told(e)
	case x.Out.Kind == mcp.KindError:
		s.Status = failed
	}
	x.nameTarget(&s)
	return s
}

// id is that of the message, as text: a string without its quotes.
func (x *Exchange) id() string {
	if text, ok := mcp.Text(x.In.Body, x.In.ID, nil); ok {
		return string(text)
	}
	return string(x.In.ID.Of(x.In.Body))
}

// nameTarget tells what the request is about.
func (x *Exchange) nameTarget(s *telemetry.Span) {
	_, shown := x.subject()
	switch x.In.Method {
	case mcp.MethodToolsCall:
		s.Tool, s.OwnTool = unknownName, unknownName
		if x.tool != nil && (x.member == nil || x.tool != x.member.other) {
			s.Tool, s.OwnTool = shown, string(x.name)
		}
	case mcp.MethodPromptsGet:
		s.Prompt, s.OwnPrompt = unknownName, unknownName
		if x.Out.Kind == mcp.KindResult {
			s.Prompt, s.OwnPrompt = shown, string(x.name)
		}
	case mcp.MethodResourcesRead, mcp.MethodResourcesSubscribe, mcp.MethodResourcesUnsubscribe:
		s.URI = withoutSecrets(shown)
	}
}

// withoutSecrets is a URI without the parts in which there may be credentials: the user, the query and the fragment.
func withoutSecrets(uri string) string {
	if i := strings.IndexAny(uri, "?#"); i >= 0 {
		uri = uri[:i]
	}
	if _, rest, ok := strings.Cut(uri, "://"); ok {
		authority, _, _ := strings.Cut(rest, "/")
		start := len(uri) - len(rest)
		uri = uri[:start] + uri[start+strings.LastIndexByte(authority, '@')+1:]
	}
	return uri
}

// handedOver notes how it ended that another replica was given the request.
func (x *Exchange) handedOver(a *trace.Attempt, err error) {
	a.Ended(errorType(x, err))
	a.Answered = err == nil && x.Out.Kind == mcp.KindError
}

// noting has what is asked of servers with ctx be noted of the request.
func (x *Exchange) noting(ctx context.Context) context.Context { return trace.Into(ctx, x.notes) }

// continueTrace has the request go on in the trace in which another replica handed it over.
func (x *Exchange) continueTrace(by *telemetry.Tracer, l *letter) {
	if c, ok := trace.Parse(l.Trace); ok {
		c.State = l.TraceState
		x.tracer, x.trace = by, by.Continue(c, l.Baggage, x.started)
		x.notes = x.trace
	}
}
