package front

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/seal"
	"github.com/toolcrib/toolcrib/telemetry"
)

// Options are what a Handler needs.
type Options struct {
	Gateway *gateway.Gateway
	// Node is this replica among the others.
	Node    *cluster.Node
	Log     *slog.Logger
	Metrics *telemetry.Metrics
	// Ring seals and opens session ids; SetRing replaces it.
	Ring *seal.Ring
	// Loopback says that the listener is reachable from this machine only.
	Loopback bool
	// Leaving is true once connections are to end with the next answer on them; nil for never.
	Leaving *atomic.Bool
	// Life ends when calls are cut off that outlived their client; its cause is told to the clients that are still there.
	Life context.Context //nolint:containedctx // the parent of calls that do not end with their connection
}

// Handler serves the MCP endpoints: /mcp, /servers/{name}/mcp and /toolsets/{name}/mcp, and for clients of 2024-11-05 /sse in place of /mcp.
type Handler struct {
	o        Options
	ring     atomic.Pointer[seal.Ring]
	sessions sessionTable
	opened   openedCache
	expiries expiries
	running  running
	asked    rounds
	streams  streamTable
	open     streamCount
	draining chan struct{}
	drain    sync.Once
	pool     sync.Pool
}

// New makes the handler.
func New(o Options) *Handler {
	if o.Life == nil {
		o.Life = context.Background()
	}
	h := &Handler{o: o, draining: make(chan struct{})}
	h.ring.Store(o.Ring)
	o.Node.Handle(relayKind, h.relayed)
	o.Node.Handle(answerKind, h.delivered)
	o.Node.OnBroadcast(factKind, h.hear)
	o.Node.OnReconnect(h.reconnected)
	h.pool.New = func() any { return &visit{} }
	return h
}

// Drain has the streams end that clients hold open, once what runs on them has finished.
func (h *Handler) Drain() { h.drain.Do(func() { close(h.draining) }) }

// SetRing replaces the keys of session ids; ids sealed with a key that the new ring still has stay valid.
func (h *Handler) SetRing(r *seal.Ring) { h.ring.Store(r) }

// contain is deferred by what serves a message on a goroutine of its own: its panic costs no others, as in net/http.
func (h *Handler) contain() {
	if p := recover(); p != nil {
		h.panicked(p)
	}
}

// survive is deferred by what serves a message: its panic becomes an error, which is answered and put on record as any other.
func (h *Handler) survive(err *error) {
	if p := recover(); p != nil {
		h.panicked(p)
		*err = errs.E("front", errs.Internal, "the gateway failed while it served the request; its log tells why")
	}
}

func (h *Handler) panicked(p any) {
	h.o.Log.Error("panic while a message was served", "panic", p, "stack", string(debug.Stack()))
}

// visit is one HTTP request with its exchange; visits are pooled.
type visit struct {
	x     gateway.Exchange
	sink  sink
	note  func(*mcp.Raw)  // sink.notify, or where a batch has its notifications
	outer *sink           // where a batch has its stream; nil when it is in sink
	life  context.Context //nolint:containedctx // the parent of its calls, where that is not the handler's Life
	door  door
	// after is what a stream does once its exchange is over: it must keep neither an old plan from ending, nor the visit.
	after func(*sink)
	h     *Handler
}

// door is the way into an endpoint: the last element of a path.
type door uint8

const (
	doorMCP     door = iota // Streamable HTTP
	doorStream              // the stream of HTTP+SSE (2024-11-05)
	doorMessage             // where the clients of such a stream post
	noDoor
)

var doors = map[string]door{"mcp": doorMCP, "sse": doorStream, "message": doorMessage}

// Doors are the last elements of the paths of endpoints.
func Doors() []string { return slices.Sorted(maps.Keys(doors)) }

// allowed are the methods at each door.
var allowed = [noDoor]string{doorMCP: "GET, POST, DELETE, OPTIONS", doorStream: "GET, OPTIONS", doorMessage: "POST, OPTIONS"}

// endpointOf reads the endpoint off a path: empty for /mcp, a server's name for /servers/{name}/mcp, and one behind
// [gateway.ToolsetsAt] for /toolsets/{name}/mcp; and so for the other doors.
func endpointOf(u *url.URL) (endpoint string, d door) {
	if u.Path == "/mcp" || u.Path == "/mcp/" {
		return "", doorMCP
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	at := strings.LastIndexByte(path, '/')
	if at < 0 {
		return "", noDoor
	}
	d, ok := doors[path[at+1:]]
	if !ok {
		return "", noDoor
	}
	if at == 0 {
		return "", d
	}
	name, found := strings.CutPrefix(path[:at], "/servers/")
	if !found {
		if name, found = strings.CutPrefix(path[:at], "/"+gateway.ToolsetsAt); found {
			endpoint = gateway.ToolsetsAt
		}
	}
	if !found || name == "" || strings.Contains(name, "/") {
		return "", noDoor
	}
	name, err := url.PathUnescape(name)
	if err != nil || strings.Contains(name, "/") {
		return "", noDoor
	}
	return endpoint + name, d
}

// resourceOf is the path of an endpoint as its clients know it: those who post to a stream know the stream.
func resourceOf(u *url.URL, d door) string {
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	if stream, ok := strings.CutSuffix(path, "message"); ok && d == doorMessage {
		return stream + "sse"
	}
	return path
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := h.pool.Get().(*visit)
	v.h, v.sink.leaving, v.sink.every = h, h.o.Leaving, h.keepAlive()
	v.sink.open(w)
	h.serve(v, w, r)
	after, streaming := v.after, v.sink.streaming
	v.after = nil
	v.x.Reset()
	if v.sink.close() {
		h.pool.Put(v)
	}
	if after != nil {
		out := &sink{every: h.keepAlive()}
		out.open(w)
		out.streaming = streaming
		defer out.close() // also where it panics: its timer must not write to a connection that is gone
		after(out)
	}
}

func (h *Handler) keepAlive() time.Duration {
	return time.Duration(h.o.Gateway.Plan().Config.KeepAlive)
}

func (h *Handler) serve(v *visit, w http.ResponseWriter, r *http.Request) {
	v.x.HTTPMethod = r.Method
	if err := CheckOrigin(r, h.o.Gateway.Plan().Config, h.o.Loopback); err != nil {
		v.turnAway(r, err)
		return
	}
	callers := h.o.Gateway.Callers()
	if path, ok := callers.IsMetadata(r.URL.EscapedPath()); ok {
		callers.ServeMetadata(w, r, path)
		return
	}
	endpoint, d := endpointOf(r.URL)
	if d == noDoor {
		v.turnAway(r, errs.E("front", errs.NoEndpoint, "no endpoint has the path %.100q; the endpoints are /mcp, /servers/{name}/mcp and /toolsets/{name}/mcp, "+
			"and /sse in place of /mcp for clients of 2024-11-05", r.URL.Path))
		return
	}
	allowBrowser(w, r)
	v.x.Header, v.x.Endpoint, v.door = r.Header, endpoint, d
	v.x.Request = identity.RequestOf(r, resourceOf(r.URL, d))
	switch {
	case r.Method == http.MethodOptions:
		w.Header().Set("Allow", allowed[d])
		v.sink.status(http.StatusNoContent)
	case takes(d, r):
		v.admitted(r)
	default:
		w.Header().Set("Allow", allowed[d])
		v.sink.status(http.StatusMethodNotAllowed)
	}
}

// takes tells whether a door is for a method. At doorMCP only a session has a stream that a GET can open.
func takes(d door, r *http.Request) bool {
	switch r.Method {
	case http.MethodPost:
		return d != doorStream
	case http.MethodDelete:
		return d == doorMCP
	case http.MethodGet:
		return d == doorStream || d == doorMCP && r.Header["Mcp-Session-Id"] != nil
	}
	return false
}

// admitted walks the corridor and answers whatever comes of it.
func (v *visit) admitted(r *http.Request) {
	st, err := v.walk(r)
	if err != nil {
		v.refuse(err)
	}
	v.h.o.Gateway.Finish(&v.x, err)
	if st != nil {
		st.serve() // without the exchange: a stream must not keep an old plan from ending
	}
}

// walk serves a request by its door and method; the stream is that which it opened.
func (v *visit) walk(r *http.Request) (st *stream, err error) {
	defer v.h.survive(&err)
	if err := v.h.o.Gateway.Admit(r.Context(), &v.x); err != nil {
		return nil, err
	}
	switch {
	case v.door == doorStream:
		return v.openStream(r)
	case v.door == doorMessage:
		return nil, v.posted(r)
	case r.Method == http.MethodDelete:
		return nil, v.endSession(r)
	case r.Method == http.MethodGet:
		return nil, v.hear(r)
	}
	return nil, v.post(r)
}

// turnAway refuses a request that no endpoint takes.
func (v *visit) turnAway(r *http.Request, err error) {
	v.x.Request = identity.Request{Remote: identity.RequestOf(r, "").Remote, Path: r.URL.Path}
	v.refuse(err)
}

// refuse answers with an error. Legacy clients do not read the body of another status than 200, so for them only what
// concerns the transport has one.
func (v *visit) refuse(err error) {
	e := errs.Of(err)
	status := e.Kind.HTTP()
	if !v.x.Client.Modern && v.x.In.Kind == mcp.KindRequest {
		switch e.Kind {
		case errs.Invalid, errs.NotFound, errs.MethodNotFound, errs.MissingCapability, errs.Canceled:
			status = http.StatusOK
		}
	}
	kind, id := v.x.In.Kind, v.x.In.ID.Of(v.x.In.Body)
	if kind == mcp.KindResult || kind == mcp.KindError {
		id = nil // it is that of another's request
	}
	if (v.door == doorMessage || kind != mcp.KindRequest && kind != mcp.KindBatch) && status < http.StatusBadRequest {
		status = http.StatusServiceUnavailable // nobody reads the body, and what was sent was not taken
	}
	if unrecorded := v.record(status, 0, err); unrecorded != nil {
		e = errs.Of(unrecorded)
		status = e.Kind.HTTP()
	}
	v.sink.limits(&v.x)
	v.sink.timing(&v.x)
	v.sink.fail(id, e, status, v.challenge(err))
}

// record puts the exchange on record, before it is answered.
func (v *visit) record(status, size int, err error) error {
	return v.h.o.Gateway.Record(&v.x, gateway.Answered{Status: status, Bytes: size, Err: err})
}

// reply answers with what came of the exchange, once that is on record.
func (v *visit) reply(status int) error {
	if err := v.record(status, v.x.Out.Len(), nil); err != nil {
		return err
	}
	v.sink.limits(&v.x)
	v.sink.timing(&v.x)
	v.sink.answer(&v.x.Out, status)
	return nil
}

// challenge are the values of WWW-Authenticate of an answer with an error.
func (v *visit) challenge(err error) []string {
	if v.x.Request.Header == nil {
		return nil // it was refused before anybody was asked for
	}
	return v.h.o.Gateway.Callers().Challenge(err, &v.x.Request)
}

// post reads the message of a POST and serves it in the dialect of its client.
func (v *visit) post(r *http.Request) error {
	if err := checkMedia(r.Header); err != nil {
		return err
	}
	if err := v.read(r); err != nil {
		return err
	}
	c := v.x.Plan().Config
	in := &v.x.In
	if e := in.Scan(mcp.Limits{Bytes: int(c.Messages.MaxBytes), Depth: c.Messages.MaxDepth}); e != nil {
		return scanError(e)
	}
	version := r.Header["Mcp-Protocol-Version"]
	switch {
	case len(version) == 1 && mcp.IsModern(version[0]):
		return v.modern(r)
	case in.Method == mcp.MethodInitialize:
		return v.initialize(r)
	case r.Header["Mcp-Session-Id"] != nil:
		return v.session(r)
	case in.GetMeta(mcp.MetaProtocolVersion).Present():
		return v.modern(r)
	}
	return noEra(version)
}

// noEra explains what a request lacks that shows neither era.
func noEra(version []string) error {
	if len(version) == 0 {
		return errs.E("front", errs.HeaderMismatch, "header MCP-Protocol-Version is missing: send %s with the request's _meta, "+
			"or open a session with initialize and send its Mcp-Session-Id", mcp.VersionModern)
	}
	if mcp.Known(version[0]) {
		return errs.E("front", errs.BadRequest, "header Mcp-Session-Id is missing: %s has sessions; open one with initialize", version[0])
	}
	return unsupportedVersion(version[0])
}

func unsupportedVersion(requested string) error {
	e := errs.E("front", errs.UnsupportedVersion, "protocol version %.40q is not supported", requested)
	b := []byte(`{"supported":[`)
	for i, v := range mcp.AllVersions() {
		if i > 0 {
			b = append(b, ',')
		}
		b = mcp.AppendString(b, v)
	}
	e.Data = append(mcp.AppendString(append(b, `],"requested":`...), requested), '}')
	return e
}

func scanError(e *mcp.Error) error {
	kind := errs.BadRequest
	switch e.Code {
	case mcp.CodeHeaderMismatch:
		kind = errs.HeaderMismatch
	case mcp.CodeParse:
		kind = errs.Parse
	case mcp.CodeInvalidParams:
		kind = errs.Invalid
	}
	return errs.E("front", kind, "%s", e.Message)
}

// checkMedia demands JSON in, and a client that takes either form of answer (streamable-http "Sending Messages").
func checkMedia(h http.Header) error {
	if err := checkJSON(h); err != nil {
		return err
	}
	accept := h["Accept"]
	if len(accept) == 0 || (len(accept) == 1 && (accept[0] == "application/json, text/event-stream" || accept[0] == "*/*")) {
		return nil
	}
	all := strings.ToLower(strings.Join(accept, ","))
	anything := strings.Contains(all, "*/*")
	if !anything && !strings.Contains(all, "application/json") && !strings.Contains(all, "application/*") {
		return errs.E("front", errs.NotAcceptable, "Accept %.120q lacks application/json; list application/json and text/event-stream", all)
	}
	if !anything && !strings.Contains(all, "text/event-stream") && !strings.Contains(all, "text/*") {
		return errs.E("front", errs.NotAcceptable, "Accept %.120q lacks text/event-stream; list application/json and text/event-stream", all)
	}
	return nil
}

// checkJSON demands JSON in, as it is.
func checkJSON(h http.Header) error {
	if ct := h["Content-Type"]; len(ct) != 1 || !isJSON(ct[0]) {
		return errs.E("front", errs.MediaType, "Content-Type is %.80q; it must be application/json", strings.Join(ct, ", "))
	}
	if ce := h["Content-Encoding"]; ce != nil && (len(ce) != 1 || !strings.EqualFold(ce[0], "identity")) {
		return errs.E("front", errs.MediaType, "Content-Encoding is %.80q; send the body as it is", strings.Join(ce, ", "))
	}
	return nil
}

func isJSON(ct string) bool {
	if ct == "application/json" {
		return true
	}
	kind, _, _ := strings.Cut(ct, ";")
	return strings.EqualFold(strings.TrimSpace(kind), "application/json")
}

const (
	bodyTime  = 30 * time.Second // for a body to arrive, and a second more for each bodyRate bytes
	bodyRate  = 64 << 10
	bodyFirst = 256 << 10 // what is made room for before anything arrived
)

// read takes the body into a pooled buffer, within its bound and in time.
func (v *visit) read(r *http.Request) error {
	most := int64(v.x.Plan().Config.Messages.MaxBytes)
	if r.ContentLength > most {
		return tooLarge(most)
	}
	want := r.ContentLength
	if want < 0 {
		want = most
	}
	limit := bodyTime + time.Duration(want/bodyRate)*time.Second
	v.sink.arriving(limit)
	defer v.sink.arrived()
	buf := mcp.GetBuffer(int(min(want, bodyFirst)))
	n, err := 0, error(nil)
	for err == nil {
		if n == cap(buf.B) && int64(n) < want {
			bigger := mcp.GetBuffer(2 * n)
			bigger.B = append(bigger.B[:0], buf.B[:n]...)
			buf.Free()
			buf = bigger
		}
		if int64(n) == want {
			break
		}
		var got int
		got, err = r.Body.Read(buf.B[n:min(int64(cap(buf.B)), want)])
		n += got
	}
	buf.B = buf.B[:n]
	v.x.In.Own(buf)
	switch {
	case r.ContentLength < 0 && int64(n) == most && err == nil:
		if more, _ := r.Body.Read(make([]byte, 1)); more > 0 {
			return tooLarge(most)
		}
	case err != nil && !errors.Is(err, io.EOF):
		return errs.E("front", errs.BadRequest, "body did not arrive whole within %s: %w", limit, err)
	case int64(n) < r.ContentLength:
		return errs.E("front", errs.BadRequest, "body ends after %d bytes, Content-Length says %d", n, r.ContentLength)
	}
	return nil
}

func tooLarge(most int64) error {
	return errs.E("front", errs.TooLarge, "message is larger than %d bytes; messages.maxBytes sets the limit", most)
}

// respond serves a modern exchange and writes its answer.
func (v *visit) respond(ctx context.Context) error {
	x := &v.x
	v.sink.promise(&x.In)
	if err := v.h.o.Gateway.Serve(ctx, x); err != nil {
		return err
	}
	status := http.StatusOK
	if x.Out.Kind == mcp.KindError {
		status = mcp.HTTPStatus(x.Out.ErrorCode)
	}
	return v.reply(status)
}
