package upstream

import (
	"bytes"
	"strconv"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// The reserved _meta keys of 2026-07-28 (basic/index "_meta").
const (
	metaVersion      = `"io.modelcontextprotocol/protocolVersion":"` + mcp.VersionModern + `"`
	metaCapabilities = `"io.modelcontextprotocol/clientCapabilities":`
	metaInfo         = `"io.modelcontextprotocol/clientInfo":`
	metaLogLevel     = `"io.modelcontextprotocol/logLevel":`
	metaServerInfo   = `"io.modelcontextprotocol/serverInfo":`
)

var (
	versionModernJSON = []byte(`"` + mcp.VersionModern + `"`)
	emptyObject       = []byte(`{}`)
	resultComplete    = []byte(`"resultType":"complete"`)
	uncached          = []byte(`"resultType":"complete","ttlMs":0,"cacheScope":"private"`)
)

// draft is the scratch space in which one request is written; it is pooled.
type draft struct {
	edits   mcp.Edits
	segs    [][]byte
	id      []byte // our id, which is also our progress token
	scratch []byte // _meta members to insert
	parent  []byte // traceparent
}

func (d *draft) reset(id int64) {
	d.edits.Reset()
	d.segs = d.segs[:0]
	d.id = strconv.AppendInt(d.id[:0], id, 10)
	d.scratch = d.scratch[:0]
}

// common makes the edits that every dialect needs.
func (d *draft) common(c *Call) {
	d.edits.Replace(c.In.ID, d.id)
	if c.Rename.Present() {
		d.edits.Replace(c.Rename, c.RenameTo)
	}
	if t := c.In.GetMeta(mcp.MetaProgressToken); t.Present() {
		d.edits.Replace(t, d.id)
	}
	if c.State.Present() && len(c.StateTo) > 0 {
		d.edits.Replace(c.State, c.StateTo)
	}
	if len(c.Add) > 0 {
		d.edits.Insert(c.In.Body, c.In.Payload, c.Add)
	}
}

// modern writes the request for a server of 2026-07-28: what the reserved _meta keys lack is added.
func (d *draft) modern(c *Call, info []byte) {
	d.common(c)
	in := c.In
	if in.Fields[mcp.KeyTask].Present() && !c.Client.Modern {
		d.untask(c)
	}
	if c.State.Present() && len(c.StateTo) == 0 {
		d.edits.Remove(in.Body, in.Fields[mcp.KeyRequestState])
	}
	add := d.scratch
	if v := in.GetMeta(mcp.MetaProtocolVersion); v.Present() {
		d.edits.Replace(v, versionModernJSON)
	} else {
		add = append(add, metaVersion...)
		add = append(add, ',')
	}
	if v := in.GetMeta(mcp.MetaClientCapabilities); v.Present() {
		if c.Tasks {
			declareTasks(&d.edits, in.Body, v)
		}
	} else {
		can := c.Client.Capabilities
		if len(can) == 0 {
			can = emptyObject
		}
		if c.Tasks {
			can = DeclareTasks(can)
		}
		add = append(append(append(add, metaCapabilities...), can...), ',')
	}
	if !in.GetMeta(mcp.MetaClientInfo).Present() {
		if c.Client.Info != nil {
			info = c.Client.Info
		}
		add = append(append(append(add, metaInfo...), info...), ',')
	}
	if c.Client.LogLevel != "" && !in.GetMeta(mcp.MetaLogLevel).Present() {
		add = append(mcp.AppendString(append(add, metaLogLevel...), c.Client.LogLevel), ',')
	}
	add = d.trace(d.identify(add, c), c)
	d.scratch = add
	if len(add) > 0 {
		d.insertMeta(in, add[:len(add)-1])
	}
	d.segs = d.edits.Segments(d.segs[:0], in.Body)
}

// insertMeta puts members into params._meta, which is made when it is not there.
func (d *draft) insertMeta(in *mcp.Raw, members []byte) {
	switch meta := in.Get(mcp.KeyMeta); {
	case meta.Present():
		d.edits.Insert(in.Body, meta, members)
	case in.Payload.Present():
		d.edits.Insert(in.Body, in.Payload, wrap(`"_meta":{`, members, `}`))
	default:
		d.edits.Insert(in.Body, whole(in.Body), wrap(`"params":{"_meta":{`, members, `}}`))
	}
}

// legacy writes the request for a server of 2025-11-25 or before: the reserved _meta keys are taken off, and what a retry
// carries, since here answers go to the call that asked.
func (d *draft) legacy(c *Call) {
	d.common(c)
	in := c.In
	var strip [6]mcp.Field
	n := 0
	for _, k := range [...]mcp.MetaKey{mcp.MetaProtocolVersion, mcp.MetaClientInfo, mcp.MetaClientCapabilities, mcp.MetaLogLevel} {
		if f := in.Meta[k]; f.Present() {
			strip[n] = f
			n++
		}
	}
	for _, k := range [...]mcp.Key{mcp.KeyInputResponses, mcp.KeyRequestState} {
		if f := in.Fields[k]; f.Present() {
			strip[n] = f
			n++
		}
	}
	if n > 0 {
		d.edits.Remove(in.Body, strip[:n]...)
	}
	if d.scratch = d.trace(d.identify(d.scratch, c), c); len(d.scratch) > 0 {
		d.insertMeta(in, d.scratch[:len(d.scratch)-1])
	}
	switch asked := in.Fields[mcp.KeyTask].Present(); {
	case c.Tasks && !asked && in.Method == mcp.MethodToolsCall:
		d.edits.Insert(in.Body, in.Payload, plainTask)
	case asked && !c.Tasks:
		d.untask(c)
	}
	d.segs = d.edits.Segments(d.segs[:0], in.Body)
}

// finish turns a server's answer into the answer of the exchange: the client's id, and what its era demands.
// declined is the question that was declined meanwhile, if any, and why.
func (s *Server) finish(c *Call, out *mcp.Raw, modernServer bool, declined string) error {
	id := c.In.ID.Of(c.In.Body)
	if out.ID.Present() {
		out.Edits.Replace(out.ID, id)
	} else if null, _ := mcp.Lookup(out.Body, whole(out.Body), "id"); null.Present() {
		out.Edits.Replace(null.Span, id)
	} else {
		out.Edits.Insert(out.Body, whole(out.Body), wrap(`"id":`, id, ``))
	}
	if out.Kind == mcp.KindError {
		return s.unanswered(out, declined)
	}
	if modernServer {
		return s.checkResultType(c.In.Method, out)
	}
	if c.Client.Modern {
		s.modernise(c.In.Method, out)
	}
	return nil
}

// unanswered says why a call failed in which the server asked something: its own error would blame the client.
func (s *Server) unanswered(out *mcp.Raw, declined string) error {
	if declined == "" {
		return nil
	}
	text, _ := mcp.Text(out.Body, out.Get(mcp.KeyMessage), nil)
	return s.errorf(errs.Unsupported, "asked the client a question and gave up: %.200s; %.200s", declined, text).Quoting()
}

// checkResultType refuses results that the client could not make sense of (basic/index: an unknown resultType is invalid).
func (s *Server) checkResultType(m mcp.Method, out *mcp.Raw) error {
	rt := out.Get(mcp.KeyResultType)
	if !rt.Present() {
		return nil
	}
	switch string(rt.Of(out.Body)) {
	case `"complete"`, `"input_required"`:
		return nil
	case `"task"`:
		if m == mcp.MethodToolsCall { // the gateway waits for it where the client does not know tasks
			return nil
		}
	}
	return s.errorf(errs.Protocol, "answers resultType %.40s, which the client did not ask for and this gateway does not carry", rt.Of(out.Body))
}

// modernise adds to a legacy result what 2026-07-28 requires of it.
func (s *Server) modernise(m mcp.Method, out *mcp.Raw) {
	if out.Get(mcp.KeyResultType).Present() {
		return
	}
	add := resultComplete
	if m.Facts().Cacheable && !out.Get(mcp.KeyTTLMs).Present() && !out.Get(mcp.KeyCacheScope).Present() {
		add = uncached
	}
	out.Edits.Insert(out.Body, out.Payload, add)
}

// relay hands a notification of the call to the client, if it is one that the client may get.
func (s *Server) relay(c *Call, id []byte, n *mcp.Raw) {
	switch n.Method {
	case mcp.MethodProgress:
		token := n.Get(mcp.KeyProgressToken)
		theirs := c.In.GetMeta(mcp.MetaProgressToken)
		if c.Notify == nil || !theirs.Present() || !bytes.Equal(token.Of(n.Body), id) || !c.grows(n) {
			return
		}
		n.Edits.Replace(token, theirs.Of(c.In.Body))
		c.Notify(n)
	case mcp.MethodLogMessage:
		if c.Notify != nil && wantsLog(c.Client, n) {
			c.Notify(n)
		}
	case mcp.MethodElicitComplete:
		if c.Notify != nil && !c.Client.Modern { // 2026-07-28 has none
			c.Notify(n)
		}
	default:
		s.noted(n)
	}
}

// noted is told of notifications that belong to no call.
func (s *Server) noted(n *mcp.Raw) {
	switch n.Method {
	case mcp.MethodToolsChanged, mcp.MethodPromptsChanged, mcp.MethodResourcesChanged:
		if s.opts.Changed != nil {
			s.opts.Changed(n.Method)
		}
	case mcp.MethodResourceUpdated, mcp.MethodTaskChanged, mcp.MethodTaskStatus:
		if s.opts.Noticed != nil {
			s.opts.Noticed(n)
		}
	}
}

// severities of RFC 5424 as MCP names them, least first.
var severities = map[string]int{"debug": 1, "info": 2, "notice": 3, "warning": 4, "error": 5, "critical": 6, "alert": 7, "emergency": 8}

// KnownLogLevel tells whether level is one of the protocol's.
func KnownLogLevel(level string) bool { return severities[level] > 0 }

// wantsLog: a modern client gets messages only of the level it asked for in the request; a legacy client that set no level
// leaves the choice to the server.
func wantsLog(c *Client, n *mcp.Raw) bool {
	if c.LogLevel == "" {
		return !c.Modern
	}
	level, ok := mcp.Text(n.Body, n.Get(mcp.KeyLevel), nil)
	return ok && severities[string(level)] >= severities[c.LogLevel]
}

// whole is the span of the top-level object of a scanned body.
func whole(body []byte) mcp.Span {
	return mcp.Span{Start: int32(bytes.IndexByte(body, '{')), End: int32(len(body))}
}

func wrap(before string, b []byte, after string) []byte {
	out := make([]byte, 0, len(before)+len(b)+len(after))
	return append(append(append(out, before...), b...), after...)
}
