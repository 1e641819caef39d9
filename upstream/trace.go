package upstream

import (
	"net/url"
	"strconv"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/mcp"
)

// attempted notes that a message of the call is sent, to u or, where that is nil, to a process.
func (c *Call) attempted(u *url.URL, version string, id int64) {
	if c.attempt = c.Trace.Attempt(); c.attempt == nil {
		return
	}
	c.attempt.Version, c.attempt.ID, c.attempt.To = version, id, u
}

// attempted notes that a message of a call is sent through the instance, and tells whom it is for, and of which trace.
func (in *instance) attempted(c *Call, id int64) Statement {
	var at *url.URL
	if st, ok := in.p.(*sseStream); ok {
		at = st.m.url
	}
	version := ""
	if in.peer != nil {
		version = in.peer.Version
	}
	if c.attempted(at, version, id); c.attempt.Told() && at != nil {
		return &traced{c.Who, c.attempt}
	}
	return c.Who
}

// traced adds the trace to what the head of a request tells.
type traced struct {
	Statement
	attempt *trace.Attempt
}

// AppendHeader implements Statement.
func (t *traced) AppendHeader(dst []byte) []byte {
	if t.Statement != nil {
		dst = t.Statement.AppendHeader(dst)
	}
	return t.attempt.AppendHeader(dst)
}

// concluded notes how that ended.
func (c *Call) concluded(out *mcp.Raw, err error) {
	a := c.attempt
	if a == nil {
		return
	}
	c.attempt = nil
	a.Ended("")
	switch {
	case err != nil:
		a.Failed = errs.Of(err).Kind.Outcome()
	case out.Kind == mcp.KindError:
		a.Failed, a.Answered = strconv.FormatInt(out.ErrorCode, 10), true
	case string(out.Get(mcp.KeyIsError).Of(out.Body)) == "true":
		a.Failed = "tool_error"
	}
}

// trace has a message tell of the trace in its _meta, in place of what the client told. add are members that are put into it.
func (d *draft) trace(add []byte, c *Call) []byte {
	a := c.attempt
	if !a.Told() {
		return add
	}
	in := c.In
	parent := append(a.AppendParent(append(d.parent[:0], '"')), '"')
	d.parent = parent
	if v := in.GetMeta(mcp.MetaTraceparent); v.Present() {
		d.edits.Replace(v, parent)
	} else {
		add = append(append(append(add, `"traceparent":`...), parent...), ',')
	}
	switch f := in.Meta[mcp.MetaTracestate]; {
	case a.State == "" && f.Present():
		d.edits.Remove(in.Body, f)
	case a.State == "":
	case f.Present():
		d.edits.Replace(f.Span, mcp.AppendString(nil, a.State))
	default:
		add = append(mcp.AppendString(append(add, `"tracestate":`...), a.State), ',')
	}
	if a.Baggage != "" && !in.GetMeta(mcp.MetaBaggage).Present() {
		add = append(mcp.AppendString(append(add, `"baggage":`...), a.Baggage), ',')
	}
	return add
}
