package front

import (
	"context"
	"net/http"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/mcp"
)

// hear serves GET within a session: the stream on which its client is told of changes (2025-11-25 transports "Listening for
// Messages"). A session has one; a newer one ends it.
func (v *visit) hear(r *http.Request) error {
	v.x.Operation = "session/listen"
	s, err := v.openSession(r)
	if err != nil {
		return err
	}
	if err := acceptsEvents(r.Header); err != nil {
		return err
	}
	v.x.Client.Info = s.info
	c := v.x.Plan().Config
	if err := v.h.open.enter(s.principal, c.Streams); err != nil {
		return err
	}
	w, err := v.h.o.Gateway.WatchSession(r.Context(), &v.x, v.h.sessions.subscribed(s.id)...)
	if err != nil {
		v.h.open.leave(s.principal)
		return err
	}
	if err := v.record(http.StatusOK, 0, nil); err != nil {
		v.h.open.leave(s.principal)
		w.Close()
		return err
	}
	h, ctx := v.h, r.Context()
	v.after = func(out *sink) {
		defer h.open.leave(s.principal)
		defer w.Close()
		out.raw(comment)
		h.attend(ctx, s, w, out)
		w.RecordEnd()
	}
	return nil
}

// attend tells the client of a session what it is to be told, on a stream of its, until the client leaves, the session or the
// watch ends, a newer stream of the session is opened, or the gateway drains.
func (h *Handler) attend(ctx context.Context, s *session, w *gateway.Watch, out *sink) {
	changed, over := make(chan struct{}, 1), make(chan struct{}, 1)
	changed <- struct{}{} // what was subscribed to meanwhile
	leave := h.follow(ctx, s, func() { poke(changed) }, func(error) { poke(over) })
	defer leave()
	expiry := time.NewTimer(time.Until(s.expires))
	defer expiry.Stop()
	for {
		select {
		case <-w.Ready():
			out.tellChanges(w, nil)
		case <-changed:
			w.Follow(ctx, h.sessions.subscribed(s.id))
		case <-w.Retry():
			w.Follow(ctx, h.sessions.subscribed(s.id))
		case <-w.Ended():
			out.tellChanges(w, nil)
			return
		case <-over:
			return
		case <-expiry.C:
			return
		case <-h.draining:
			return
		case <-ctx.Done():
			return
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// subscribe serves resources/subscribe: it is granted when the resource can be watched, and from then on the session's stream
// tells of it, at whichever replica that is open.
func (v *visit) subscribe(ctx context.Context, s *session) error {
	uri, err := v.uri()
	if err != nil {
		return err
	}
	if err := v.h.o.Gateway.Watchable(ctx, &v.x, uri); err != nil {
		return err
	}
	if err := v.h.subscribe(ctx, s, uri, v.x.Plan().Config.Streams.Subscriptions); err != nil {
		return err
	}
	return v.local(emptyObject)
}

// unsubscribe takes it back.
func (v *visit) unsubscribe(ctx context.Context, s *session) error {
	uri, err := v.uri()
	if err != nil {
		return err
	}
	if err := v.h.unsubscribe(ctx, s, uri); err != nil {
		return err
	}
	return v.local(emptyObject)
}

func (v *visit) uri() (string, error) {
	in := &v.x.In
	span := in.Get(mcp.KeyURI)
	text, ok := mcp.Text(in.Body, span, nil)
	if !ok {
		return "", errs.E("front", errs.Invalid, "params.uri is %.40s; %s needs the URI of a resource", span.Of(in.Body), in.Method)
	}
	return string(text), nil
}
