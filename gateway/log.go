package gateway

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cache"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/telemetry"
)

const nameShown = 128 // bytes of a name in the log

// tell has a request logged once it is over.
func (g *Gateway) tell(x *Exchange, outcome string, err error, took time.Duration) {
	if x.In.Kind != mcp.KindRequest || x.Carrier {
		return
	}
	level, show := slog.LevelDebug, x.shownBodies()
	if x.world.plan.Config.Log.Calls || show != nil {
		level = slog.LevelInfo
	}
	if g.o.Calls.Enabled(level) {
		g.logCall(x, level, show, outcome, err, took)
	}
}

// shownBodies is the rule by which the log shows what a tool was sent and answered; nil for none.
func (x *Exchange) shownBodies() *v1.LogBodies {
	b := x.world.plan.Bodies
	if b == nil || x.member == nil || x.In.Method != mcp.MethodToolsCall {
		return nil
	}
	return b.For(x.member.Name, x.member.Prefix+string(x.name))
}

// showBodies puts into the line of a request what a rule has it show.
func (x *Exchange) showBodies(c *telemetry.Call, rule *v1.LogBodies) {
	_, own, _ := strings.Cut(x.Header.Get("Authorization"), " ")
	show := func(wanted bool, in *mcp.Raw, at mcp.Span) string {
		if !wanted || !at.Present() {
			return ""
		}
		return x.world.plan.Bodies.Show(rule, x.member.Name, own, at.Of(in.Body))
	}
	c.Arguments, c.Result = show(rule.Arguments, &x.In, x.In.Get(mcp.KeyArguments)), show(rule.Results, &x.Out, x.Out.Payload)
}

// logCall writes a line of a request: who asked what of whom, how it ended and where its time went. What it was asked with,
// and the names of resources, are nobody's business unless a rule shows it.
func (g *Gateway) logCall(x *Exchange, level slog.Level, show *v1.LogBodies, outcome string, err error, took time.Duration) {
	if reason := errorType(x, err); reason != "" && err == nil {
		outcome = reason
	}
	at := x.started.Add(took)
	if took > time.Second { // meanwhile, the clock may have been set, and the machine have slept
		at = time.Now()
	}
	c := telemetry.Call{
		At: at, Method: x.In.Method.String(), Principal: x.Who(), Trace: x.TraceID(), Outcome: outcome,
		In: len(x.In.Body), Out: len(x.Out.Body), Took: took,
	}
	if x.member != nil {
		c.Server = x.member.Name
	}
	switch x.In.Method {
	case mcp.MethodToolsCall:
		c.Tool = clipped(x.name)
	case mcp.MethodPromptsGet:
		c.Prompt = clipped(x.name)
	}
	if x.Principal != nil {
		c.Tenant = x.Principal.Tenant
	}
	if x.recalled != cache.NotSought {
		c.Cache = x.recalled.String()
	}
	if t := &x.call.Timing; t.Server > 0 {
		c.Asked, c.Queue, c.Start, c.AtServer, c.Transport = true, t.Queue, t.Start, t.Server, t.Transport
	}
	if show != nil {
		x.showBodies(&c, show)
	}
	g.o.Calls.Tell(level, &c)
}

// logRefusal tells why a request failed: aloud where the gateway or a server is to blame.
func (g *Gateway) logRefusal(x *Exchange, err error, took time.Duration) {
	e := errs.Of(err)
	level := slog.LevelDebug
	switch e.Kind {
	case errs.Unavailable, errs.Timeout, errs.Protocol, errs.Internal, errs.Unsupported:
		level = slog.LevelWarn
	}
	if !g.o.Log.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", x.In.Method.String()), slog.String("endpoint", x.Endpoint), slog.String("outcome", e.Kind.Outcome()),
		slog.Duration("took", took),
	}
	if text := x.loggedError(e, level); text != "" {
		attrs = append(attrs, slog.String("error", text))
	}
	if id := x.TraceID().String(); id != "" {
		attrs = append(attrs, slog.String("trace", id))
	}
	g.o.Log.LogAttrs(context.Background(), level, "request failed", attrs...)
}

// loggedError is what an error says, but for what may quote the caller's own words: a URI, a cursor, an argument, and what a server
// made of them. Names of tools and
// prompts are in the log anyway.
func (x *Exchange) loggedError(e *errs.Error, level slog.Level) string {
	named := e.Kind == errs.NotFound && (x.In.Method == mcp.MethodToolsCall || x.In.Method == mcp.MethodPromptsGet)
	switch {
	case e.Quotes:
		return e.Op + ": what it says is told to the caller alone"
	case named || level == slog.LevelWarn:
		return e.Error()
	}
	return told(e)
}

// Who names the caller in the log, as log.principals has it; empty where it names nobody.
func (x *Exchange) Who() string {
	if x.Principal == nil {
		return ""
	}
	return inLog(&x.world.plan.Config.Log, x.Principal.Key(), &x.world.labels)
}

// keyLabels are those of principals that called last, each in the one place that it can have.
type keyLabels [1 << 8]atomic.Pointer[labelled]

type labelled struct{ key, label string }

// of is the label of a key.
func (l *keyLabels) of(key string) string {
	place := uint(0)
	for i := max(0, len(key)-8); i < len(key); i++ {
		place = 31*place + uint(key[i])
	}
	at := &l[place%uint(len(l))]
	if was := at.Load(); was != nil && was.key == key {
		return was.label
	}
	is := &labelled{key, keyLabel(key)}
	at.Store(is)
	return is.label
}

// inLog names a principal likewise, by its key.
func inLog(c *v1.Log, key string, known *keyLabels) string {
	switch c.Principals {
	case v1.PrincipalsNone:
		return ""
	case v1.PrincipalsName:
		return key
	}
	return known.of(key)
}

func clipped(name []byte) string {
	if len(name) > nameShown {
		return string(name[:nameShown]) + "…"
	}
	return string(name)
}
