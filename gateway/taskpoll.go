package gateway

import (
	"context"
	"strconv"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

const (
	pollDefault = time.Second
	pollLeast   = 100 * time.Millisecond
	pollMost    = 30 * time.Second
	pollFaults  = 5               // polls in a row that may fail
	cancelTime  = 5 * time.Second // for a server to take that a task is cancelled
)

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// interval is how long a server wants to be left alone between polls, within bounds.
func interval(object []byte, was time.Duration) time.Duration {
	for _, name := range [...]string{"pollIntervalMs", "pollInterval"} {
		raw := at(object, name)
		if ms, ok := mcp.Integer(raw, mcp.Span{End: int32(len(raw))}); ok {
			return min(max(time.Duration(min(ms, pollMost.Milliseconds()))*time.Millisecond, pollLeast), pollMost)
		}
	}
	return was
}

// await polls until the task is over or asks something, and answers the exchange with what came of it. It polls at once when
// wait is zero.
func (g *Gateway) await(ctx context.Context, x *Exchange, t *task, wait time.Duration) error {
	every := max(wait, pollDefault)
	for faults := 0; ; {
		if wait > 0 {
			if err := pause(ctx, wait); err != nil {
				return err
			}
		}
		out, err := t.ask(ctx, mcp.MethodTasksGet, nil)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				out.Free()
			}
			return context.Cause(ctx)
		case err != nil:
			if faults++; faults >= pollFaults {
				return err
			}
			wait = every
			continue
		}
		faults = 0
		object := out.Payload.Of(out.Body)
		every = interval(object, every)
		wait = every
		done, err := g.poll(ctx, x, t, out.Kind, object)
		out.Free()
		if done || err != nil {
			return err
		}
	}
}

// poll judges the answer to one tasks/get; done tells that the exchange has its answer.
func (g *Gateway) poll(ctx context.Context, x *Exchange, t *task, kind mcp.Kind, object []byte) (done bool, err error) {
	if kind == mcp.KindError {
		if t.token != nil {
			return true, x.answerError(object)
		}
		return true, errs.E(`server "`+t.server+`"`, errs.Lost, "does not know the task any more that it made of the call: %.200s", textAt(object, "message"))
	}
	switch status := textAt(object, "status"); {
	case status == taskCancelled:
		return true, errs.E(`server "`+t.server+`"`, errs.Lost, "cancelled the task: %.200s", textAt(object, "statusMessage"))
	case !t.modern && status != taskWorking:
		return true, g.collect(ctx, x, t)
	case status == taskCompleted:
		result := at(object, "result")
		if result == nil || result[0] != '{' {
			return true, errs.E(`server "`+t.server+`"`, errs.Protocol, "completed a task without a result")
		}
		if kind := textAt(result, "resultType"); kind != "" && kind != "complete" {
			return true, errs.E(`server "`+t.server+`"`, errs.Protocol, "completed a task with a result of type %.40q", kind)
		}
		return true, x.answerInstead(complete(result))
	case status == taskFailed:
		failure := at(object, "error")
		if failure == nil || failure[0] != '{' {
			return true, errs.E(`server "`+t.server+`"`, errs.Protocol, "failed a task without an error: %.200s", textAt(object, "statusMessage")).Quoting()
		}
		return true, x.answerError(failure)
	case status == taskAsks:
		if open := x.unanswered(at(object, "inputRequests")); open != nil {
			return true, x.answerInstead(append(append([]byte(`{"resultType":"input_required","inputRequests":`), open...), '}'))
		}
	case status != taskWorking:
		return true, errs.E(`server "`+t.server+`"`, errs.Protocol, "says that a task is %.40q", status)
	}
	x.report(at(object, "statusMessage"))
	return false, nil
}

// unanswered takes from a task's questions those that were just answered, which a server may go on listing for a while; nil
// when none is left.
func (x *Exchange) unanswered(requests []byte) []byte {
	if len(requests) == 0 || requests[0] != '{' {
		return nil
	}
	var e mcp.Edits
	left := 0
	mcp.Members(requests, mcp.Span{End: int32(len(requests))}, func(f mcp.Field) bool {
		name := f.Name(requests)
		key, _ := mcp.Text(name, mcp.Span{End: int32(len(name))}, nil)
		for _, a := range x.answers {
			if a.Key == string(key) {
				e.Remove(requests, f)
				return true
			}
		}
		left++
		return true
	})
	if left == 0 {
		return nil
	}
	return e.Append(nil, requests)
}

// collect takes the result of a legacy server's task, or what the task asks first, as the exchange's own call.
func (g *Gateway) collect(ctx context.Context, x *Exchange, t *task) error {
	in, err := t.request(mcp.MethodTasksResult, nil)
	if err != nil {
		return err
	}
	in.Body = append(append(append([]byte(`{"jsonrpc":"2.0","id":`), x.In.ID.Of(x.In.Body)...), `,"method":"tasks/result","params":`...),
		in.Payload.Of(in.Body)...)
	in.Body = append(in.Body, '}')
	if e := in.Scan(wide(in.Body)); e != nil {
		return errs.E("gateway", errs.Internal, "%w", e)
	}
	client := t.client
	client.Modern, client.LogLevel = x.Client.Modern, x.Client.LogLevel
	was := x.call
	x.call = *t.call(in)
	x.call.Client, x.call.Notify, x.call.Timing, x.call.Limits, x.call.Spent = &client, x.Notify, was.Timing, was.Limits, was.Spent
	x.Out.Free()
	if err := x.member.server.Do(ctx, &x.call, &x.Out); err != nil {
		return err
	}
	x.member.seen(t.id, mcp.MethodTasksResult, &x.Out)
	return nil
}

// report tells a client that wants to hear of progress that the task goes on. What it was told before is always exceeded.
func (x *Exchange) report(message []byte) {
	token := x.In.GetMeta(mcp.MetaProgressToken)
	if x.Notify == nil || !token.Present() {
		return
	}
	x.progress++
	b := append([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`), token.Of(x.In.Body)...)
	b = strconv.AppendFloat(append(b, `,"progress":`...), x.progress, 'f', -1, 64)
	if len(message) > 0 && message[0] == '"' {
		b = append(append(b, `,"message":`...), message...)
	}
	n := mcp.Raw{Body: append(b, "}}"...)}
	if e := n.Scan(wide(n.Body)); e == nil {
		x.Notify(&n)
	}
}

// watched hands a notification on and keeps in mind the progress that the client was told of.
func (x *Exchange) watched(n *mcp.Raw) {
	if n.Method == mcp.MethodProgress {
		if v, err := strconv.ParseFloat(string(n.Get(mcp.KeyProgress).Of(n.Body)), 64); err == nil && v > x.progress {
			x.progress = v
		}
	}
	x.Notify(n)
}
