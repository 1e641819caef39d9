package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/upstream"
)

// A task id that leaves the gateway is a sealed token, bound to principal and endpoint. It names the server and the server's
// own id, so that any replica can go on with the task.

const (
	taskKind   = "task"
	taskIDMost = 4 << 10 // bytes of a server's own id
	// taskLeast is how long an id is good at least: a server may keep a task longer than it said at first.
	taskLeast = 24 * time.Hour
	// taskUnlimited is how long the id of a task is good that its server keeps for ever.
	taskUnlimited = 30 * 24 * time.Hour
)

// taskRef is what a task id holds.
type taskRef struct {
	server string
	tool   string // that made it, by the server's own name
	id     string // the server's own
	modern bool   // the dialect of the server when it made the task
	// can is what the client could be asked when the task was made: at a legacy server it is part of the session.
	can upstream.Abilities
	// replica made the task in a session or child of its own, which others do not have; empty where it makes no difference.
	replica string
}

func (r *taskRef) payload() []byte {
	era := byte('l')
	if r.modern {
		era = 'm'
	}
	b := binary.AppendUvarint([]byte{era, byte(r.can)}, uint64(len(r.server)))
	b = binary.AppendUvarint(append(b, r.server...), uint64(len(r.tool)))
	b = binary.AppendUvarint(append(b, r.tool...), uint64(len(r.replica)))
	return append(append(b, r.replica...), r.id...)
}

// readTask undoes payload; only tokens of our own reach it.
func readTask(b []byte) (r taskRef, ok bool) {
	if len(b) < 2 {
		return r, false
	}
	r.modern, r.can = b[0] == 'm', upstream.Abilities(b[1])
	b = b[2:]
	if r.server, b, ok = cutText(b); !ok {
		return r, false
	}
	if r.tool, b, ok = cutText(b); !ok {
		return r, false
	}
	r.replica, b, ok = cutText(b)
	r.id = string(b)
	return r, ok
}

// task is a task at its server, on behalf of the caller of one exchange.
type task struct {
	taskRef
	m         *member
	session   string // of the server that knows the task
	principal string
	client    upstream.Client
	whose     caller // on whose behalf the server is asked
	token     []byte // the id as the client knows it, raw JSON; nil when it knows none
	grant     grant  // of whose tool it is
}

// made is a task that the exchange's server has just made.
func (g *Gateway) made(x *Exchange, modern bool, id string) *task {
	r := taskRef{server: x.member.Name, tool: string(x.name), id: id, modern: modern, can: x.abilities()}
	if !modern || !x.member.server.HTTP() {
		r.replica = g.o.Node.ID()
	}
	return x.taskOf(r)
}

// taskOf is a task of the exchange's server.
func (x *Exchange) taskOf(r taskRef) *task {
	return &task{
		taskRef: r, m: x.member, principal: x.Principal.Key(), session: x.caller(), whose: x.who(), client: x.asker(r.can), grant: x.grantOf(&r),
	}
}

// atHome has the replica serve the exchange that made the task, if that is another one. Where it is gone, this one may find
// the task too.
func (g *Gateway) atHome(ctx context.Context, x *Exchange, r *taskRef) (done bool, err error) {
	if r.replica == "" || r.replica == g.o.Node.ID() || g.o.Node.Alone() {
		return false, nil
	}
	if err := g.elsewhere(ctx, x, r.replica); err == nil || !errors.Is(err, cluster.ErrGone) {
		return true, err
	}
	return false, nil
}

// asker is the client as it is shown to a server in requests that the gateway makes for it.
func (x *Exchange) asker(can upstream.Abilities) upstream.Client {
	return upstream.Client{Info: x.Client.Info, Capabilities: can.Capabilities()}
}

// sealTask makes the id that the client gets for a task; ttl is what the server said, nil or null for ever.
func (g *Gateway) sealTask(x *Exchange, r *taskRef, ttl []byte) []byte {
	life := taskUnlimited
	if ms, ok := mcp.Integer(ttl, mcp.Span{End: int32(len(ttl))}); ok {
		life = max(min(time.Duration(min(max(ms, 0), taskUnlimited.Milliseconds()))*time.Millisecond, taskUnlimited), taskLeast)
	}
	return mcp.AppendString(nil, g.o.Ring().Seal(taskKind, x.binding(), r.payload(), life))
}

// openTaskID opens an id that this caller was given at this endpoint.
func (g *Gateway) openTaskID(x *Exchange, raw []byte) (r taskRef, ok bool) {
	text, ok := mcp.Text(raw, mcp.Span{End: int32(len(raw))}, nil)
	if !ok {
		return r, false
	}
	payload, err := g.o.Ring().Open(taskKind, x.binding(), string(text), time.Now())
	if err != nil {
		return r, false
	}
	return readTask(payload)
}

// unknownTask is the answer to an id that is forged, expired, of another caller or endpoint, or whose server is gone.
func (g *Gateway) unknownTask(x *Exchange) error {
	g.o.Metrics.TokenRejected(taskKind)
	g.o.Log.Info("task id rejected", "principal", x.Who(), "endpoint", x.Endpoint, "method", x.In.Method.String())
	return errs.E("gateway", errs.NotFound, "unknown task")
}

// openTask finds the task that a request is about.
func (g *Gateway) openTask(x *Exchange) (*task, error) {
	span := x.In.Get(mcp.KeyTaskID)
	if !span.Present() {
		return nil, errs.E("gateway", errs.Invalid, "params.taskId is missing; %s needs it", x.In.Method)
	}
	r, ok := g.openTaskID(x, span.Of(x.In.Body))
	m := x.at.member(r.server)
	if !ok || m == nil {
		return nil, g.unknownTask(x)
	}
	if err := g.mayUse(x, m, &r); err != nil {
		return nil, err
	}
	return &task{
		taskRef: r, m: m, grant: x.grantOf(&r), principal: x.Principal.Key(), session: x.caller(), whose: x.who(),
		client: x.asker(r.can), token: span.Of(x.In.Body),
	}, nil
}

// mayUse decides about a task as about the tool that made it.
func (g *Gateway) mayUse(x *Exchange, m *member, r *taskRef) error {
	x.member = m
	if !x.at.holds(m, mcp.MethodToolsList, r.tool) {
		return g.unknownTask(x)
	}
	if x.view == nil {
		return nil
	}
	x.facts = policy.Facts{Now: x.started}
	x.surroundings(&x.facts)
	x.decision = may(x.view, x.at.known(m, x.who(), policy.KindTool, r.tool), &x.facts)
	switch {
	case x.decision.Allowed:
		return nil
	case len(x.decision.Scopes) > 0:
		return identity.Lacking(x.decision.Scopes...)
	}
	return g.unknownTask(x)
}

// grantOf is what the caller of a task was permitted.
func (x *Exchange) grantOf(r *taskRef) grant {
	gr := grant{who: x.who(), endpoint: x.Endpoint, server: r.server, name: r.tool, kind: policy.KindTool}
	if x.view != nil {
		x.surroundings(&gr.facts)
	}
	return gr
}

// reach finds the instance that has the task; done tells that another replica served the exchange.
func (g *Gateway) reach(ctx context.Context, x *Exchange, t *task) (done bool, err error) {
	if done, err := g.atHome(ctx, x, &t.taskRef); done || err != nil {
		return done, err
	}
	x.member = t.m
	if done, err := instance(ctx, g, x); done || err != nil {
		return done, err
	}
	t.m = x.member
	p, err := t.m.server.Peer(ctx)
	if err == nil && p.Modern != t.modern {
		err = g.unknownTask(x) // the server was replaced by one of another era
	}
	return false, err
}

// speaksTasks tells whether the client of a tools/call can be given a task: it declared the extension, or asked for a task.
func (x *Exchange) speaksTasks() bool {
	if x.Client.Modern {
		return upstream.DeclaresTasks(x.In.GetMeta(mcp.MetaClientCapabilities).Of(x.In.Body))
	}
	return x.In.Get(mcp.KeyTask).Present()
}

// behalf tells that a task is waited for in the place of a client that knows no tasks.
func (x *Exchange) behalf() bool { return x.about != nil && x.about.token == nil }

// mayTask demands that a modern client declares the extension with each request that is about tasks.
func (x *Exchange) mayTask() error {
	if !x.Client.Modern || x.speaksTasks() {
		return nil
	}
	e := errs.E("gateway", errs.MissingCapability, "%s about tasks needs the extension %s among the client's capabilities", x.In.Method, upstream.TasksExtension)
	e.Data = []byte(`{"requiredCapabilities":{"extensions":{"` + upstream.TasksExtension + `":{}}}}`)
	return e
}

// tasks serves requests about tasks. What client and server say in the same dialect is forwarded with the server's own id.
func tasks(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	if !x.In.Method.Facts().Tasks {
		return false, nil
	}
	if err := x.mayTask(); err != nil {
		return false, err
	}
	t, err := g.openTask(x)
	if err != nil {
		return false, err
	}
	if err := x.aim(ctx, t.m); err != nil {
		return false, err
	}
	if done, err := g.reach(ctx, x, t); done || err != nil {
		return done, err
	}
	x.name, x.about = []byte(t.id), t
	if t.modern == x.Client.Modern {
		x.rename = mcp.AppendString(x.rename[:0], t.id)
		x.call.Rename, x.call.RenameTo = x.In.Get(mcp.KeyTaskID), x.rename
		if !t.modern {
			x.Client.Capabilities = t.client.Capabilities // of the session that knows the task
		}
		return false, nil
	}
	if x.Client.Modern {
		return true, g.modernTask(ctx, x, t)
	}
	return true, g.legacyTask(ctx, x, t)
}

// ask sends a request of the gateway about the task; more are members of params besides taskId, with a comma before them.
// The caller frees the answer, which may be an error.
func (t *task) ask(ctx context.Context, m mcp.Method, more []byte) (*mcp.Raw, error) {
	in, err := t.request(m, more)
	if err != nil {
		return nil, err
	}
	out := new(mcp.Raw)
	if err := t.m.server.Do(ctx, t.call(in), out); err != nil {
		return nil, err
	}
	t.m.seen(t.id, m, out)
	return out, nil
}

func (t *task) request(m mcp.Method, more []byte) (*mcp.Raw, error) {
	b := mcp.AppendString([]byte(`{"jsonrpc":"2.0","id":1,"method":"`+m.String()+`","params":{"taskId":`), t.id)
	in := &mcp.Raw{Body: append(append(b, more...), "}}"...)}
	if e := in.Scan(wide(in.Body)); e != nil {
		return nil, errs.E("gateway", errs.Invalid, "%w", e)
	}
	return in, nil
}

func (t *task) call(in *mcp.Raw) *upstream.Call {
	return &upstream.Call{
		In: in, Name: []byte(t.id), Session: t.session, Client: &t.client, Tasks: t.modern, Who: t.m.statement(t.whose),
	}
}

// answerError makes a raw error object the answer of the exchange.
func (x *Exchange) answerError(object []byte) error {
	b := append([]byte(`{"jsonrpc":"2.0","id":`), x.In.ID.Of(x.In.Body)...)
	b = append(append(append(b, `,"error":`...), object...), '}')
	x.Out.Free()
	x.Out.Body = b
	if e := x.Out.Scan(wide(b)); e != nil {
		return errs.E("gateway", errs.Internal, "answer is not valid: %w", e)
	}
	return nil
}

// answerInstead is Answer where Out holds another answer already.
func (x *Exchange) answerInstead(result []byte) error {
	x.Out.Free()
	return x.Answer(result)
}
