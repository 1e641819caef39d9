package gateway

import (
	"context"
	"strconv"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// edge is walked before the body of a request is read.
var edge = []stage{
	{"audit", unburdened},
	{"identify", identify},
}

// corridor is walked by every request once its message was scanned.
var corridor = []stage{
	{"method", known},
	{"discover", discover},
	{"list", list},
	{"tasks", tasks},
	{"route", route},
	{"authorize", authorize},
	{"instance", instance},
	{"confirm", confirm},
	{"interact", interact},
	{"forward", forward},
}

// Admit takes the exchange in: it is bound to the present plan, and its principal is found.
func (g *Gateway) Admit(ctx context.Context, x *Exchange) error {
	x.started = time.Now()
	x.bind(g.acquire())
	_, err := g.walk(ctx, edge, x)
	return err
}

// Serve walks an admitted exchange, whose message was scanned, to its answer in x.Out.
func (g *Gateway) Serve(ctx context.Context, x *Exchange) error {
	done, err := g.walk(ctx, corridor, x)
	if err == nil && !done {
		err = errs.E("gateway", errs.Internal, "no stage answered %s", x.In.Method)
	}
	return err
}

func (g *Gateway) walk(ctx context.Context, stages []stage, x *Exchange) (bool, error) {
	for i := range stages {
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
	if !x.Carrier {
		g.o.Metrics.Request(method, era, outcome, took)
		if x.Principal != nil {
			g.o.Metrics.Tenant(x.Principal.Tenant, outcome)
		}
	}
	x.measure(err, took)
	if err != nil {
		g.logRefusal(x, err, took)
	}
	g.tell(x, outcome, err, took)
	g.unrecorded(x, err)
	x.held.release()
	g.release(x.world)
}

// errorType is the error.type of the OpenTelemetry conventions for MCP: the JSON-RPC code, tool_error, or our own kind.
func errorType(x *Exchange, err error) string {
	switch {
	case err != nil:
		return errs.Of(err).Kind.Outcome()
	case x.Out.Kind == mcp.KindError:
		return strconv.FormatInt(x.Out.ErrorCode, 10)
	case string(x.Out.Get(mcp.KeyIsError).Of(x.Out.Body)) == "true":
		return "tool_error"
	}
	return ""
}

func (g *Gateway) logRefusal(x *Exchange, err error, took time.Duration) {
	e := errs.Of(err)
	level := g.o.Log.Debug
	switch e.Kind {
	case errs.Unavailable, errs.Timeout, errs.Protocol, errs.Internal, errs.Unsupported:
		level = g.o.Log.Warn
	}
	level("request failed", "method", x.In.Method.String(), "endpoint", x.Endpoint, "outcome", e.Kind.Outcome(), "error", e, "took", took)
}

func identify(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	p, err := x.world.callers.Identify(ctx, &x.Request)
	x.Principal = p
	if err != nil {
		return false, err
	}
	return false, g.arrive(ctx, x)
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
