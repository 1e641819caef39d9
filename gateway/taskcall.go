package gateway

import (
	"bytes"
	"context"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// asTask tells whether a tools/call is to be carried out as a task, as far as that is not said in its body: a legacy client
// asks for it, and a legacy server's tool may be callable in no other way.
func (x *Exchange) asTask(p *upstream.Peer, facts *toolFacts) bool {
	if p.Modern {
		return !x.Client.Modern && x.In.Get(mcp.KeyTask).Present()
	}
	wanted := facts != nil && facts.task || !x.Client.Modern && x.In.Get(mcp.KeyTask).Present()
	return wanted && p.HasTasks()
}

// beTask has the call made as a task.
func (x *Exchange) beTask() {
	x.call.Tasks = true
	if x.Notify != nil {
		x.call.Notify = x.watched
	}
}

// refusedAsCall tells an error that means: only as a task.
func (x *Exchange) refusedAsCall() bool {
	if x.Out.Kind != mcp.KindError || x.call.Tasks || x.call.Resume != 0 {
		return false
	}
	switch x.Out.ErrorCode {
	case mcp.CodeMissingCapability:
		data := x.Out.Get(mcp.KeyData).Of(x.Out.Body)
		return upstream.DeclaresTasks(at(data, "requiredCapabilities")) && !x.speaksTasks()
	case mcp.CodeMethodNotFound, mcp.CodeInvalidRequest:
		return true // by 2025-11-25, where the tool says so
	}
	return false
}

// insist makes a call again as a task, which its server refused to carry out otherwise. Nothing was executed.
func (g *Gateway) insist(ctx context.Context, x *Exchange) error {
	m := x.member
	if x.Out.ErrorCode != mcp.CodeMissingCapability {
		p, err := m.server.Peer(ctx)
		if err != nil || p.Modern || !p.HasTasks() {
			return err
		}
		lister := m.lister()
		if lister.catalog.facts.Load() == nil {
			if _, err := g.lists(x.noting(ctx), lister, mcp.MethodToolsList); err != nil {
				return err
			}
		}
		if facts := lister.catalog.tool(x.name); facts == nil || !facts.task {
			return nil
		}
	}
	x.beTask()
	x.Out.Free()
	return m.server.Do(ctx, &x.call, &x.Out)
}

// madeTask tells that the server answered with a task instead of a result, and gives it as a raw object.
func (x *Exchange) madeTask() []byte {
	out := &x.Out
	if out.Kind != mcp.KindResult {
		return nil
	}
	if t := out.Get(mcp.KeyTask); t.Present() && x.call.Tasks {
		return t.Of(out.Body)
	}
	if string(out.Get(mcp.KeyResultType).Of(out.Body)) == `"task"` {
		return out.Payload.Of(out.Body)
	}
	return nil
}

// settleCall looks at the answer to a tools/call: a task goes to a client that can take one with a sealed id; for another it
// is waited for.
func (g *Gateway) settleCall(ctx context.Context, x *Exchange) error {
	if x.refusedAsCall() {
		if err := g.insist(ctx, x); err != nil {
			return err
		}
	}
	object := x.madeTask()
	if object == nil {
		if x.call.Resume != 0 { // it may be the parked end of a task that was waited for
			x.relateAnswer(nil)
		}
		return nil
	}
	id := textAt(object, "taskId")
	if id == "" || len(id) > taskIDMost {
		return errs.E(`server "`+x.member.Name+`"`, errs.Protocol, "makes a task with an id of %d bytes; 1 to %d are carried", len(id), taskIDMost)
	}
	t := g.made(x, !x.Out.Get(mcp.KeyTask).Present(), id)
	x.member.pin(id, textAt(object, "status"))
	if !x.speaksTasks() {
		return g.onBehalf(ctx, x, t, interval(object, pollDefault))
	}
	return g.handOut(x, t, object)
}

// handOut answers with the task in the dialect of the client.
func (g *Gateway) handOut(x *Exchange, t *task, object []byte) error {
	ttl := at(object, "ttlMs")
	if !t.modern {
		ttl = at(object, "ttl")
	}
	token := g.sealTask(x, &t.taskRef, ttl)
	meta := relate(append([]byte(`{"_meta":`), append(orObject(x.Out.Get(mcp.KeyMeta).Of(x.Out.Body)), '}')...), nil)
	switch {
	case t.modern && x.Client.Modern:
		x.Out.Edits.Replace(x.Out.Get(mcp.KeyTaskID), token)
		return nil
	case x.Client.Modern:
		flat := reshape(object, token, "", toExtension, append(beside, "_meta")...)
		return x.answerInstead(tagged("task", with(flat, "_meta", at(meta, "_meta"))))
	case t.modern:
		object = reshape(object, token, "", toCore, append(beside, "_meta")...)
	default:
		object = reshape(object, token, "", nil)
	}
	b := append(append([]byte(`{"task":`), object...), '}')
	return x.answerInstead(with(b, "_meta", at(meta, "_meta")))
}

func orObject(raw []byte) []byte {
	if len(raw) == 0 || raw[0] != '{' {
		return []byte("{}")
	}
	return bytes.Clone(raw)
}

// onBehalf waits for the end of a task for a client that knows no tasks. It is cancelled when the client gives up, or the call took
// as long as it may as a whole.
func (g *Gateway) onBehalf(ctx context.Context, x *Exchange, t *task, wait time.Duration) error {
	x.about = t
	err := x.member.server.Within(ctx, &x.call, func(ctx context.Context) error {
		err := g.await(ctx, x, t, wait)
		if err != nil && ctx.Err() != nil {
			g.cancelTask(ctx, t)
		}
		return err
	})
	if err == nil {
		x.relateAnswer(nil)
	}
	return err
}

// goOn gives a task that is waited for the answers to what it asked, and waits on.
func (g *Gateway) goOn(ctx context.Context, x *Exchange, s *state) error {
	r, ok := readTask(s.inner)
	if !ok {
		return errs.E("gateway", errs.Internal, "requestState has no task")
	}
	if done, err := g.atHome(ctx, x, &r); done || err != nil {
		return err
	}
	t := x.taskOf(r)
	x.tool = g.metric(x.member, x.member.lister().catalog.tool(x.name))
	x.call.Limits = x.limits()
	if add := x.responses(); len(add) > 0 {
		if err := t.update(ctx, add); err != nil {
			if ctx.Err() != nil || !x.Client.Modern { // a modern client may bring better ones
				g.cancelTask(ctx, t)
			}
			return err
		}
	}
	if err := g.onBehalf(ctx, x, t, pollLeast); err != nil {
		return err
	}
	return g.conclude(x)
}

// responses is the member inputResponses of the request, made of the answers that a legacy client gave; nil when there is none.
func (x *Exchange) responses() []byte {
	if x.Client.Modern {
		if span := x.In.Get(mcp.KeyInputResponses); span.Present() {
			return append([]byte(`"inputResponses":`), span.Of(x.In.Body)...)
		}
		return nil
	}
	if len(x.call.Add) > 0 || len(x.answers) == 0 {
		return x.call.Add
	}
	add := []byte(`"inputResponses":{`)
	for i, a := range x.answers {
		result := a.Result
		if result == nil {
			result = []byte(`{"action":"cancel"}`) // any other refusal ended the call where it came in
		}
		if i > 0 {
			add = append(add, ',')
		}
		add = append(append(mcp.AppendString(add, a.Key), ':'), result...)
	}
	return append(add, '}')
}

// canceller cancels a task in the background, also after the exchange.
func (g *Gateway) canceller(t *task) func() {
	kept := *t
	kept.client.Info = bytes.Clone(t.client.Info) // the exchange's buffers are used again
	return func() {
		select {
		case <-g.closing:
			return
		default:
		}
		g.retired.Go(func() { g.cancelTask(context.Background(), &kept) })
	}
}

// cancelTask tells the server that nobody waits for a task any more.
func (g *Gateway) cancelTask(ctx context.Context, t *task) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelTime)
	defer stop()
	out, err := t.ask(ctx, mcp.MethodTasksCancel, nil)
	if err != nil {
		g.o.Log.Debug("task not cancelled", "server", t.server, "error", err)
		return
	}
	out.Free()
}

// settleTask puts the client's own id for a task where the server's stands.
func (x *Exchange) settleTask() {
	if x.Out.Kind != mcp.KindResult {
		return
	}
	x.Out.Edits.Replace(x.Out.Get(mcp.KeyTaskID), x.about.token)
	x.relateAnswer(x.about.token)
}

// relateAnswer has the answer, or what it asks, name the task by that id; by none when it is nil.
func (x *Exchange) relateAnswer(id []byte) {
	if x.Out.Kind != mcp.KindResult {
		return
	}
	if f := x.Out.Meta[mcp.MetaRelatedTask]; f.Present() {
		if id == nil {
			x.Out.Edits.Remove(x.Out.Body, f)
		} else {
			x.Out.Edits.Replace(f.Span, append(append([]byte(`{"taskId":`), id...), '}'))
		}
	}
	span := x.Out.Get(mcp.KeyInputRequests)
	asked := span.Of(x.Out.Body)
	if asked == nil || !bytes.Contains(asked, []byte(mcp.MetaRelatedTask.String())) {
		return
	}
	x.Out.Edits.Replace(span, relateQuestions(asked, id))
	whole := x.Out.Append(nil) // others look for the questions in the body
	x.Out.Free()
	x.Out.Body = whole
	_ = x.Out.Scan(wide(whole)) // what was valid stays so
}
