package gateway

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
)

// unburdened lets nobody in whose request could not be recorded.
func unburdened(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	err := g.o.Audit.Admit(ctx)
	x.recorded = x.recorded || err != nil // such refusals would only add to what is behind
	return false, err
}

// Answered is how the front is about to answer an exchange.
type Answered struct {
	// Status is that of HTTP, Bytes the size of the answer.
	Status, Bytes int
	// Err is the error that is answered; nil where x.Out is, or nothing.
	Err error
}

// Record puts an exchange on record, once. It returns when that is done: nothing may be answered before, nor when it fails. An
// exchange that was not admitted can be recorded too.
func (g *Gateway) Record(x *Exchange, a Answered) error {
	if x.recorded || !g.o.Audit.On() {
		return nil
	}
	x.recorded = true
	x.notes.Mark("record")
	r := audit.Record{Time: x.started, BytesIn: len(x.In.Body), BytesOut: a.Bytes, Status: a.Status}
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	r.Took = time.Since(r.Time)
	x.recordCaller(&r)
	x.recordAsked(&r)
	x.recordAnswer(&r, a.Err)
	x.recordShown(&r)
	return g.o.Audit.Write(&r)
}

// unrecorded puts an exchange on record that ended without an answer.
func (g *Gateway) unrecorded(x *Exchange, err error) {
	if x.handed || x.Carrier || x.In.Kind != mcp.KindRequest && x.Operation == "" {
		return
	}
	_ = g.Record(x, Answered{Err: err}) // nobody waits for the answer
}

func (x *Exchange) recordCaller(r *audit.Record) {
	r.Address, r.Endpoint, r.Session, r.HTTPMethod = x.Request.Remote, x.Request.Path, x.Within, x.HTTPMethod
	if p := x.Principal; p != nil {
		r.Subject, r.Tenant, r.Groups, r.Issuer, r.OAuthClient, r.Method = p.Subject, p.Tenant, p.Groups, p.Issuer, p.Client, string(p.Method)
	}
	if info := x.clientInfo(); len(info) > 0 && info[0] == '{' {
		r.Client, r.ClientVer = textAt(info, "name"), textAt(info, "version")
	}
	r.Trace = x.TraceID().String()
}

// clientInfo is what the client says of itself, raw.
func (x *Exchange) clientInfo() []byte {
	if x.In.Kind == mcp.KindRequest {
		if own := x.In.GetMeta(mcp.MetaClientInfo).Of(x.In.Body); own != nil {
			return own
		} else if x.In.Method == mcp.MethodInitialize {
			return x.In.Get(mcp.KeyClientInfo).Of(x.In.Body)
		}
	}
	return x.Client.Info
}

// recordAsked tells what was asked for.
func (x *Exchange) recordAsked(r *audit.Record) {
	r.Operation = x.Operation
	x.recordDecision(r)
	if x.In.Kind != mcp.KindRequest && x.In.Kind != mcp.KindNotification {
		return
	}
	if r.Operation = x.In.Method.String(); r.Operation == "" {
		name, _ := mcp.Text(x.In.Body, x.In.MethodText, nil)
		r.Operation = string(name)
	}
	r.Era = "legacy"
	if x.Client.Modern {
		r.Era = "modern"
	}
	if x.member != nil {
		r.Server = x.member.Name
	}
	if x.diverted != "" {
		r.Facts = append(r.Facts, audit.Fact{Name: "in_place_of", JSON: string(mcp.AppendString(nil, x.diverted))})
	}
	if x.at != nil {
		r.Toolset = x.at.toolset
	}
	r.Target, r.Shown = x.subject()
	r.TargetName = r.Shown
	if len(x.name) > 0 {
		r.TargetName = string(x.name)
		if x.member != nil && (r.Target == audit.Tool || r.Target == audit.Prompt) { // a toolset, or the server's own endpoint, may call it otherwise
			r.Shown = x.member.Prefix + r.TargetName
		}
	}
	switch r.Target {
	case audit.Task:
		r.TargetName, r.Shown = audit.Short(r.Shown), "" // who has a task's id may ask for it
	case audit.Tool, audit.Prompt:
		r.Arguments = x.In.Get(mcp.KeyArguments).Of(x.In.Body)
	}
}

// recordDecision tells whether the policies permit it, and why.
func (x *Exchange) recordDecision(r *audit.Record) {
	d := &x.decision
	if r.Rule = d.Rule; d.Allowed {
		r.Decision = audit.Allowed
	} else if r.Rule != "" {
		r.Decision = audit.Denied
	}
}

// recordShown tells of what was answered without a decision of its own that policies have decided about all that is in it.
func (x *Exchange) recordShown(r *audit.Record) {
	if x.view == nil || r.Decision != audit.Undecided || r.Outcome != "ok" {
		return
	}
	switch x.In.Method {
	case mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodResourcesList, mcp.MethodResourcesTemplatesList, mcp.MethodDiscover, mcp.MethodInitialize,
		mcp.MethodListen, mcp.MethodResourcesSubscribe, mcp.MethodTasksList:
		r.Decision, r.Rule = audit.Allowed, "what policies permit of it"
	}
}

// RecordEnd puts on record that a stream was ended from here because its caller may not have it any more; err says why, nil for
// another reason. Whoever holds the stream open calls it, when nothing more is told.
func (g *Gateway) RecordEnd(p *identity.Principal, remote netip.AddrPort, path string, err error) {
	if err == nil || p == nil || !g.o.Audit.On() {
		return
	}
	e := errs.Of(err)
	decision := audit.Denied
	if errors.Is(err, errChanged) { // it may have gained rights, and comes back with those
		decision = audit.Undecided
	}
	_ = g.o.Audit.Write(&audit.Record{ // nobody waits for an answer
		Time: time.Now(), Operation: audit.StreamEnd, Address: remote, Endpoint: path,
		Subject: p.Subject, Tenant: p.Tenant, Groups: p.Groups, Issuer: p.Issuer, OAuthClient: p.Client, Method: string(p.Method),
		Decision: decision, Rule: "looked at again while the stream was open", Outcome: e.Kind.Outcome(), Detail: e.Error(),
	})
}

// subject is what the request names.
func (x *Exchange) subject() (audit.Target, string) {
	target, key := audit.NoTarget, mcp.KeyName
	switch x.In.Method {
	case mcp.MethodToolsCall:
		target = audit.Tool
	case mcp.MethodPromptsGet:
		target = audit.Prompt
	case mcp.MethodResourcesRead, mcp.MethodResourcesSubscribe, mcp.MethodResourcesUnsubscribe:
		target, key = audit.Resource, mcp.KeyURI
	case mcp.MethodTasksGet, mcp.MethodTasksUpdate, mcp.MethodTasksCancel, mcp.MethodTasksResult:
		target, key = audit.Task, mcp.KeyTaskID
	case mcp.MethodComplete:
		span, kind, err := x.reference()
		if err != nil {
			return target, ""
		}
		target = audit.Prompt
		if kind == "uri" {
			target = audit.Resource
		}
		name, _ := mcp.Text(x.In.Body, span, nil)
		return target, string(name)
	default:
		return target, ""
	}
	name, _ := mcp.Text(x.In.Body, x.In.Get(key), nil)
	return target, string(name)
}

// recordAnswer tells how it was answered, and where the time went.
func (x *Exchange) recordAnswer(r *audit.Record, err error) {
	t := &x.call.Timing
	r.Queue, r.Start, r.AtServer, r.Cache = t.Queue, t.Start, t.Server, x.recalled.String()
	if t.Server > 0 {
		r.Transport = max(0, r.Took-t.Queue-t.Start-t.Server)
	}
	switch {
	case err != nil:
		e := errs.Of(err)
		r.Outcome, r.Code, r.Detail = e.Kind.Outcome(), e.Kind.Code(), told(e)
		if e.Kind == errs.Unauthenticated && x.Principal == nil { // else its credential went while it was served
			r.Kind = audit.Logon
		}
	case x.Out.Kind == mcp.KindError:
		r.Outcome, r.Code = "error", x.Out.ErrorCode
	case string(x.Out.Get(mcp.KeyIsError).Of(x.Out.Body)) == "true":
		r.Outcome = "tool_error"
	case string(x.Out.Get(mcp.KeyResultType).Of(x.Out.Body)) == `"input_required"`:
		r.Outcome = "input_required"
	default:
		r.Outcome = "ok"
	}
}

// told is what an error tells, where that holds nothing of what the caller sent as arguments, nor of what a server said.
func told(e *errs.Error) string {
	switch e.Kind {
	case errs.Unauthenticated, errs.Forbidden, errs.InsufficientScope, errs.NoEndpoint, errs.SessionNotFound, errs.TooLarge, errs.Overloaded,
		errs.Draining, errs.UnsupportedVersion, errs.MediaType, errs.NotAcceptable:
		return e.Error()
	}
	return ""
}
