package front

import (
	"bytes"
	"context"
	"net/http"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// filterKeys are the members of the filter of a listen that stand for lists.
var filterKeys = [...]struct {
	name string
	list upstream.Lists
}{{"toolsListChanged", upstream.ListTools}, {"promptsListChanged", upstream.ListPrompts}, {"resourcesListChanged", upstream.ListResources}}

// listen serves subscriptions/listen: first what is truly watched is acknowledged, then the client is told of it until it
// leaves. While it waits, the stream holds neither a plan nor the request.
func (v *visit) listen(r *http.Request) error {
	x := &v.x
	c := x.Plan().Config
	wish, err := wishOf(&x.In, c.Streams.Subscriptions)
	if err != nil {
		return err
	}
	principal := x.Principal.Key()
	if err := v.h.open.enter(principal, c.Streams); err != nil {
		return err
	}
	w, err := v.h.o.Gateway.Watch(r.Context(), x, wish)
	if err != nil {
		v.h.open.leave(principal)
		return err
	}
	if err := v.record(http.StatusOK, 0, nil); err != nil {
		v.h.open.leave(principal)
		w.Close()
		return err
	}
	id, got := bytes.Clone(x.In.ID.Of(x.In.Body)), w.Granted(wish)
	h, ctx := v.h, r.Context()
	v.after = func(out *sink) {
		defer h.open.leave(principal)
		defer w.Close()
		out.raw(acknowledgement(got, id))
		if !got.Empty() {
			h.tellUntil(ctx, out, w, id)
		}
		if ctx.Err() == nil {
			out.raw(completion(id))
		}
	}
	return nil
}

// tellUntil tells the client what is to be told, until it leaves, the watch ends, or the gateway drains.
func (h *Handler) tellUntil(ctx context.Context, out *sink, w *gateway.Watch, id []byte) {
	for {
		select {
		case <-w.Ready():
			out.tellChanges(w, id)
		case <-w.Ended():
			out.tellChanges(w, id)
			w.RecordEnd()
			return
		case <-h.draining:
			return
		case <-ctx.Done():
			return
		}
	}
}

// wishOf reads the filter of a listen.
func wishOf(in *mcp.Raw, most int) (wish gateway.Wish, err error) {
	filter := in.Get(mcp.KeyNotifications)
	if !filter.Present() || in.Body[filter.Start] != '{' {
		return wish, errs.E("front", errs.Invalid, "params.notifications is missing or no object; subscriptions/listen needs it")
	}
	for _, k := range filterKeys {
		f, e := mcp.Lookup(in.Body, filter, k.name)
		if e != nil {
			return wish, errs.E("front", errs.Invalid, "params.notifications: %w", e)
		}
		switch string(f.Of(in.Body)) {
		case "true":
			wish.Lists |= k.list
		case "", "false", "null":
		default:
			return wish, errs.E("front", errs.Invalid, "params.notifications.%s is %.40s; it must be true or false", k.name, f.Of(in.Body))
		}
	}
	if wish.URIs, err = namesOf(in.Body, filter, "resourceSubscriptions", most); err != nil {
		return wish, err
	}
	wish.Tasks, err = namesOf(in.Body, filter, "taskIds", most)
	return wish, err
}

// namesOf reads an array of strings, each of which counts once.
func namesOf(body []byte, object mcp.Span, name string, most int) (out []string, err error) {
	f, e := mcp.Lookup(body, object, name)
	if e != nil {
		return nil, errs.E("front", errs.Invalid, "params.notifications: %w", e)
	}
	if !f.Present() || string(f.Of(body)) == "null" {
		return nil, nil
	}
	if body[f.Start] != '[' {
		return nil, errs.E("front", errs.Invalid, "params.notifications.%s is %.40s; it must be an array of strings", name, f.Of(body))
	}
	seen := map[string]bool{}
	mcp.Elements(body, f.Span, func(s mcp.Span) bool {
		text, ok := mcp.Text(body, s, nil)
		switch {
		case !ok:
			err = errs.E("front", errs.Invalid, "params.notifications.%s has %.40s; it must be an array of strings", name, s.Of(body))
		case seen[string(text)]:
		case len(out) == most:
			err = errs.E("front", errs.Invalid, "params.notifications.%s has more than %d elements; streams.subscriptions sets the limit", name, most)
		default:
			seen[string(text)] = true
			out = append(out, string(text))
		}
		return err == nil
	})
	return out, err
}

// acknowledgement is the first message of a listen: the part of the filter that is honoured.
func acknowledgement(got gateway.Wish, id []byte) []byte {
	b := []byte(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{`)
	for _, k := range filterKeys {
		if got.Lists&k.list != 0 {
			b = append(append(append(b, '"'), k.name...), `":true,`...)
		}
	}
	b = appendNames(b, "resourceSubscriptions", got.URIs)
	b = appendNames(b, "taskIds", got.Tasks)
	if b[len(b)-1] == ',' {
		b = b[:len(b)-1]
	}
	b = append(append(append(b, `},"_meta":{"io.modelcontextprotocol/subscriptionId":`...), id...), "}}}"...)
	return mcp.AppendEvent(nil, b)
}

// appendNames appends a member with an array of strings, and a comma, unless there are none.
func appendNames(b []byte, name string, all []string) []byte {
	if len(all) == 0 {
		return b
	}
	b = append(append(append(b, '"'), name...), `":`...)
	for i, s := range all {
		b = mcp.AppendString(append(b, "[,"[min(i, 1)]), s)
	}
	return append(b, "],"...)
}

// completion is the last message of a listen that ends gracefully: its result.
func completion(id []byte) []byte {
	b := append([]byte(`{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":`), id...)
	return mcp.AppendEvent(nil, mcp.AppendResult(nil, id, append(b, "}}"...)))
}
