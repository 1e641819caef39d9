package front

import (
	"net/http"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// modern serves a message of 2026-07-28: everything it needs is in itself.
func (v *visit) modern(r *http.Request) error {
	x := &v.x
	x.Client.Modern = true
	switch x.In.Kind {
	case mcp.KindNotification:
		// The core has no notification that a client sends over HTTP; closing the stream is how a call is cancelled.
		v.sink.status(http.StatusAccepted)
		return nil
	case mcp.KindRequest:
	case mcp.KindBatch:
		return errs.E("front", errs.BadRequest, "the body is an array; %s has no batches: send each message by itself", mcp.VersionModern)
	default:
		return errs.E("front", errs.BadRequest, "the body is a %s; %s takes one request or notification", x.In.Kind, mcp.VersionModern)
	}
	if err := checkMeta(&x.In); err != nil {
		return err
	}
	if e := mcp.CheckHeaders(r.Header, &x.In); e != nil {
		return scanError(e)
	}
	version, _ := mcp.Text(x.In.Body, x.In.GetMeta(mcp.MetaProtocolVersion), nil)
	if string(version) != mcp.VersionModern {
		return unsupportedVersion(string(version))
	}
	if !x.In.Method.Facts().Modern {
		name, _ := mcp.Text(x.In.Body, x.In.MethodText, nil)
		return errs.E("front", errs.MethodNotFound, "method %.80q does not exist in %s", name, mcp.VersionModern)
	}
	if level := x.In.GetMeta(mcp.MetaLogLevel); level.Present() {
		text, ok := mcp.Text(x.In.Body, level, nil)
		if !ok || !upstream.KnownLogLevel(string(text)) {
			return errs.E("front", errs.Invalid, "_meta logLevel is %.40s; it must be a level such as info or error", level.Of(x.In.Body))
		}
		x.Client.LogLevel = string(text)
	}
	if x.In.Method == mcp.MethodListen {
		return v.listen(r)
	}
	x.Notify = v.notify()
	return v.respond(r.Context())
}

// notify is made once per visit, since a method value costs an allocation.
func (v *visit) notify() func(*mcp.Raw) {
	if v.note == nil {
		v.note = v.sink.notify
	}
	return v.note
}

// checkMeta demands the _meta keys that every modern request has (basic/index "_meta").
func checkMeta(in *mcp.Raw) error {
	v := in.GetMeta(mcp.MetaProtocolVersion)
	if !v.Present() {
		return errs.E("front", errs.Invalid, `params._meta lacks "io.modelcontextprotocol/protocolVersion", which every request of %s carries`, mcp.VersionModern)
	}
	if _, ok := mcp.Text(in.Body, v, nil); !ok {
		return errs.E("front", errs.Invalid, "_meta protocolVersion is no string: %.40s", v.Of(in.Body))
	}
	caps := in.GetMeta(mcp.MetaClientCapabilities)
	if !caps.Present() {
		return errs.E("front", errs.Invalid, `params._meta lacks "io.modelcontextprotocol/clientCapabilities", `+
			`which every request of %s carries (it may be {})`, mcp.VersionModern)
	}
	if in.Body[caps.Start] != '{' {
		return errs.E("front", errs.Invalid, "_meta clientCapabilities is no object: %.40s", caps.Of(in.Body))
	}
	return nil
}
