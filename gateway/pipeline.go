package gateway

import (
	"context"
	"strconv"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/telemetry"
)

// edge is walked before the body of a request is read.
var edge = []stage{
	{"shed", atDoor},
	{"audit", unburdened},
	{"limits", limitAddress},
	{"identify", identify},
	{"rank", ranked},
}

// corridor is walked by every request once its message was scanned.
var corridor = []stage{
	{"weigh", weighed},
	{"limits", limitCaller},
	{"method", known},
	{"discover", discover},
	{"list", list},
	{"tasks", tasks},
	{"route", route},
	{"authorize", authorize},
	{"rank", rankedTool},
	{"quota", limitTarget},
	{"carry", carry},
}

// passage is the part of the corridor that leads to the server, behind which something else may answer in its place.
var passage = []stage{
	{"instance", instance},
	{"confirm", confirm},
	{"interact", interact},
	{"forward", recall},
}

// detour is how a request goes to another server than it was for.
var detour = []stage{
	{"authorize", authorize},
	{"quota", limitTarget},
	{"instance", instance},
	{"confirm", confirm},
	{"interact", interact},
	{"forward", forward},
}

// Admit takes the exchange in: it is bound to the present plan, and its principal is found.
func (g *Gateway) Admit(ctx context.Context, x *Exchange) error {
	x.started = time.Now()
	x.bind(g.acquire())
	x.tracer, x.trace = g.o.Traces, g.o.Traces.Begin(x.Header, x.started)
	x.note()
	_, err := g.walk(ctx, edge, x)
	if err == nil {
		err = x.mayTime()
	}
	x.notes.Mark("read")
	return err
}

// Serve walks an admitted exchange, whose message was scanned, to its answer in x.Out.
func (g *Gateway) Serve(ctx context.Context, x *Exchange) error {
	if x.trace != nil {
		x.readTrace()
	}
	done, err := g.walk(ctx, corridor, x)
	if err == nil && !done {
		err = errs.E("gateway", errs.Internal, "no stage answered %s", x.In.Method)
	}
	return err
}

func (g *Gateway) walk(ctx context.Context, stages []stage, x *Exchange) (bool, error) {
	for i := range stages {
		x.notes.Mark(stages[i].name)
		if done, err := stages[i].run(ctx, g, x); done || err != nil {
			return done, err
		}
	}
	return false, nil
}

// Finish records the exchange, however it ended, and lets go of its plan. It is called once for each Admit.
func (g *Gateway) Finish(x *Exchange, err error) {
	took := time.Since(x.started)
	outcome := "ok"
	switch {
	case err != nil:
		outcome = errs.Of(err).Kind.Outcome()
	case x.Out.Kind == mcp.KindError:
		outcome = "error"
	}
	era := "legacy"
	if x.Client.Modern {
		era = "modern"
	}
	method := x.In.Method.String()
	if method == "" {
		method = otherLabel // clients must not make up labels
	}
	failure := errorType(x, err)
	if !x.Carrier {
		g.o.Metrics.Request(telemetry.Request{
			Method: method, Era: era, Protocol: x.protocol(), Outcome: outcome, ErrorType: failure, Partial: x.partial,
		}, took)
		g.o.Metrics.Client(x.clientInfo())
		if x.Principal != nil {
			g.o.Metrics.Tenant(x.Principal.Tenant, outcome)
		}
	}
	x.measure(failure, took)
	if err != nil {
		g.logRefusal(x, err, took)
	}
	g.tell(x, outcome, err, took)
	g.unrecorded(x, err)
	x.endTrace(err, took)
	x.held.release()
	if x.counted {
		g.load.under.Add(-1)
	}
	x.used()
	g.release(x.world)
}

// errorType is the error.type of the OpenTelemetry conventions for MCP: the JSON-RPC code, tool_error, or our own kind.
func errorType(x *Exchange, err error) string {
	switch {
	case err != nil && x.denied(err):
		return "denied"
	case err != nil:
		return errs.Of(err).Kind.Outcome()
	case x.Out.Kind == mcp.KindError:
		return codeText(x.Out.ErrorCode)
	case string(x.Out.Get(mcp.KeyIsError).Of(x.Out.Body)) == "true":
		return "tool_error"
	}
	return ""
}

// codes are the texts of codes that are common, made once.
var codes = func() map[int64]string {
	all := map[int64]string{}
	for code := int64(mcp.CodeParse); code <= -32000; code++ {
		all[code] = strconv.FormatInt(code, 10)
	}
	return all
}()

func codeText(code int64) string {
	if text, ok := codes[code]; ok {
		return text
	}
	return strconv.FormatInt(code, 10)
}

// protocol is the version of MCP that the client speaks; empty where it is not known.
func (x *Exchange) protocol() string {
	if x.Client.Modern {
		return mcp.VersionModern
	}
	return x.Protocol
}

func identify(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	p, err := x.world.callers.Identify(ctx, &x.Request)
	x.Principal = p
	g.o.Metrics.Authenticated(authentication(x, p, err))
	if err != nil {
		return false, err
	}
	return false, g.arrive(ctx, x)
}

// authentication tells how a caller was identified, and what came of it.
func authentication(x *Exchange, p *identity.Principal, err error) (method, outcome string) {
	switch {
	case err == nil && p != nil:
		return string(p.Method), "ok"
	case err == nil:
		return "none", "ok"
	case x.Header["Authorization"] == nil && errs.Of(err).Kind == errs.Unauthenticated:
		return "none", "missing"
	}
	return "none", errs.Of(err).Kind.Outcome()
}

// known refuses what this gateway cannot carry, and says so.
func known(_ context.Context, _ *Gateway, x *Exchange) (bool, error) {
	switch m := x.In.Method; m {
	case mcp.MethodDiscover, mcp.MethodToolsList, mcp.MethodPromptsList, mcp.MethodResourcesList, mcp.MethodResourcesTemplatesList,
		mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead, mcp.MethodComplete,
		mcp.MethodTasksGet, mcp.MethodTasksUpdate, mcp.MethodTasksCancel, mcp.MethodTasksResult:
		return false, nil
	case mcp.MethodTasksList:
		return false, errs.E("gateway", errs.MethodNotFound, "%s is not supported by this gateway: nobody keeps all tasks of a caller", m)
	}
	name, _ := mcp.Text(x.In.Body, x.In.MethodText, nil)
	return false, errs.E("gateway", errs.MethodNotFound, "method %.80q does not exist", name)
}
