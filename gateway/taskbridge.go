package gateway

import (
	"context"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// The states of a task, in both eras.
const (
	taskWorking   = "working"
	taskAsks      = "input_required"
	taskCompleted = "completed"
	taskFailed    = "failed"
	taskCancelled = "cancelled"
)

func terminal(status string) bool {
	return status == taskCompleted || status == taskFailed || status == taskCancelled
}

var acknowledged = []byte(`{"resultType":"complete"}`)

// modernTask serves a modern client's request about a task of a legacy server.
func (g *Gateway) modernTask(ctx context.Context, x *Exchange, t *task) error {
	switch x.In.Method {
	case mcp.MethodTasksUpdate:
		return g.updateLegacy(ctx, x, t)
	case mcp.MethodTasksCancel:
		return g.cancelLegacy(ctx, x, t)
	}
	return g.getLegacy(ctx, x, t)
}

// getLegacy makes what tasks/get, and tasks/result once it is over, say of a task what tasks/get of the extension says.
func (g *Gateway) getLegacy(ctx context.Context, x *Exchange, t *task) error {
	out, err := t.ask(ctx, mcp.MethodTasksGet, nil)
	if err != nil {
		return err
	}
	defer out.Free()
	if out.Kind == mcp.KindError {
		return x.answerError(out.Payload.Of(out.Body))
	}
	object := out.Payload.Of(out.Body)
	status, add, value := textAt(object, "status"), "", []byte(nil)
	switch status {
	case taskCompleted, taskFailed:
		if status, add, value, err = t.end(ctx); err != nil {
			return err
		}
	case taskAsks:
		add = "inputRequests"
		if value, err = g.taskQuestions(ctx, x, t); err != nil {
			return err
		}
		if value == nil {
			status, add = taskWorking, "" // what it asks is not there yet
		}
	}
	object = reshape(object, t.token, status, toExtension, beside...)
	if add != "" {
		object = with(object, add, value)
	}
	return x.answerInstead(complete(object))
}

// complete gives a raw result that has members the resultType that every result of 2026-07-28 has.
func complete(object []byte) []byte { return tagged("complete", object) }

func tagged(resultType string, object []byte) []byte {
	if at(object, "resultType") != nil {
		return object
	}
	var e mcp.Edits
	e.Insert(object, mcp.Span{End: int32(len(object))}, []byte(`"resultType":"`+resultType+`"`))
	return e.Append(make([]byte, 0, len(object)+32), object)
}

// end fetches how a task of a legacy server ended: only a JSON-RPC error is a failure to the extension.
func (t *task) end(ctx context.Context) (status, member string, value []byte, err error) {
	out, err := t.ask(ctx, mcp.MethodTasksResult, nil)
	if err != nil {
		return "", "", nil, err
	}
	defer out.Free()
	body := append([]byte(nil), out.Payload.Of(out.Body)...)
	if out.Kind == mcp.KindError {
		return taskFailed, "error", body, nil
	}
	return taskCompleted, "result", complete(relate(body, nil)), nil
}

// cancelLegacy: the extension's cancel is a wish, which a task that is over leaves unfulfilled without an error.
func (g *Gateway) cancelLegacy(ctx context.Context, x *Exchange, t *task) error {
	out, err := t.ask(ctx, mcp.MethodTasksCancel, nil)
	if err != nil {
		return err
	}
	defer out.Free()
	if out.Kind == mcp.KindError {
		there, err := t.ask(ctx, mcp.MethodTasksGet, nil)
		if err != nil {
			return err
		}
		defer there.Free()
		if there.Kind == mcp.KindError || !terminal(textAt(there.Payload.Of(there.Body), "status")) {
			return x.answerError(out.Payload.Of(out.Body))
		}
	}
	return x.answerInstead(acknowledged)
}

// legacyTask serves a legacy client's request about a task of a modern server.
func (g *Gateway) legacyTask(ctx context.Context, x *Exchange, t *task) error {
	switch x.In.Method {
	case mcp.MethodTasksResult:
		return g.resultOfModern(ctx, x, t)
	case mcp.MethodTasksCancel:
		return g.cancelModern(ctx, x, t)
	}
	out, err := t.ask(ctx, mcp.MethodTasksGet, nil)
	if err != nil {
		return err
	}
	defer out.Free()
	return x.answerCore(out, t.token)
}

// answerCore answers with a task of the extension as core tasks have it.
func (x *Exchange) answerCore(out *mcp.Raw, id []byte) error {
	if out.Kind == mcp.KindError {
		return x.answerError(out.Payload.Of(out.Body))
	}
	return x.answerInstead(core(out.Payload.Of(out.Body), id))
}

// core writes a task of the extension as core tasks have it, where a tool's own error is a failure.
func core(object, id []byte) []byte {
	status := ""
	if textAt(object, "status") == taskCompleted && string(at(at(object, "result"), "isError")) == "true" {
		status = taskFailed
	}
	return reshape(object, id, status, toCore, beside...)
}

// cancelModern cancels, and tells how the task stands then: a server of the extension need not have stopped it.
func (g *Gateway) cancelModern(ctx context.Context, x *Exchange, t *task) error {
	out, err := t.ask(ctx, mcp.MethodTasksGet, nil)
	if err != nil {
		return err
	}
	over := out.Kind == mcp.KindResult && terminal(textAt(out.Payload.Of(out.Body), "status"))
	out.Free()
	if over {
		return errs.E("gateway", errs.Invalid, "the task is over and cannot be cancelled any more")
	}
	if out, err = t.ask(ctx, mcp.MethodTasksCancel, nil); err != nil {
		return err
	}
	if out.Kind == mcp.KindError {
		defer out.Free()
		return x.answerError(out.Payload.Of(out.Body))
	}
	for try := 0; ; try++ {
		out.Free()
		if out, err = t.ask(ctx, mcp.MethodTasksGet, nil); err != nil {
			return err
		}
		if try == cancelTries || out.Kind == mcp.KindError || terminal(textAt(out.Payload.Of(out.Body), "status")) {
			defer out.Free()
			return x.answerCore(out, t.token)
		}
		if err := pause(ctx, pollLeast); err != nil {
			return err
		}
	}
}

// cancelTries is how often a server is asked whether it has cancelled.
const cancelTries = 5

// resultOfModern waits for the end of a task and answers what the call itself would have been answered. What the task asks
// is asked of the client meanwhile, whose front comes back with the answers.
func (g *Gateway) resultOfModern(ctx context.Context, x *Exchange, t *task) error {
	if add := x.responses(); len(add) > 0 {
		if err := t.update(ctx, add); err != nil {
			return err
		}
	}
	if err := g.await(ctx, x, t, 0); err != nil {
		return err
	}
	if x.asksBack() {
		return g.mayAsk(x)
	}
	if x.Out.Kind == mcp.KindResult {
		return x.answerInstead(relate(x.Out.Payload.Of(x.Out.Body), t.token))
	}
	return nil
}

// update hands the server the answers to what a task asked: a raw member inputResponses.
func (t *task) update(ctx context.Context, responses []byte) error {
	out, err := t.ask(ctx, mcp.MethodTasksUpdate, append([]byte{','}, responses...))
	if err != nil {
		return err
	}
	defer out.Free()
	if out.Kind == mcp.KindError {
		return errs.E(`server "`+t.server+`"`, errs.Invalid, "does not take the answers: %.200s", textAt(out.Payload.Of(out.Body), "message"))
	}
	return nil
}
