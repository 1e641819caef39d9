package bench

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"

	"github.com/toolcrib/toolcrib/mcp"
)

const (
	answerMost = 64 << 20 // bytes of an answer
	drainMost  = 64 << 10 // bytes that are read of what is not looked at
	pagesMost  = 10_000   // of a list

	headerSession = "Mcp-Session-Id"
)

// client is one caller: its own connections and, in the legacy era, its session. It does one request at a time.
type client struct {
	o       *Options
	modern  bool
	version string // spoken
	http    *http.Client
	session string
	open    bool // it has initialized
	lastID  int64
	spent   *client // of the last request, to be closed
}

func newClient(o *Options, modern bool) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 2 // a stream and a request
	if o.dial != nil {
		transport.DialContext = o.dial
	}
	if Loopback(o.URL) {
		transport.Proxy = nil
	}
	c := &client{o: o, modern: modern, version: mcp.LatestLegacy}
	if modern {
		c.version = mcp.VersionModern
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c
}

// era is how it speaks.
func (c *client) era() Era {
	if c.modern {
		return EraModern
	}
	return EraLegacy
}

// ready opens the session of a legacy client that has none.
func (c *client) ready(ctx context.Context) *fault {
	if c.modern || c.open {
		return nil
	}
	c.session, c.version = "", mcp.LatestLegacy
	params := `"protocolVersion":"` + mcp.LatestLegacy + `","capabilities":{},"clientInfo":` + c.info()
	result, fault := c.ask(ctx, &request{method: "initialize", params: params})
	if fault != nil {
		return fault
	}
	var chosen struct {
		ProtocolVersion string `json:"protocolVersion"`
	}
	if json.Unmarshal(result, &chosen) == nil {
		c.version = cmp.Or(chosen.ProtocolVersion, c.version)
	}
	c.open = true
	return c.tell(ctx, "notifications/initialized")
}

// close ends the session and the connections.
func (c *client) close(ctx context.Context) {
	defer c.http.CloseIdleConnections()
	if c.session == "" {
		return
	}
	req, err := c.request(ctx, http.MethodDelete, nil)
	if err != nil {
		return
	}
	if resp, err := c.http.Do(req); err == nil { // a session that is not ended runs out
		finish(resp)
	}
	c.session, c.open = "", false
}

// finish reads what little is left of an answer, so that its connection can be used again.
func finish(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, drainMost)
	_ = resp.Body.Close()
}

// request is what is asked of a server.
type request struct {
	op      Op
	method  string
	name    string // of the tool
	params  string // members, without those that all requests have
	headers []header
}

type header struct{ name, value string }

func (c *client) info() string {
	return string(append(mcp.AppendString([]byte(`{"name":"toolcrib-bench","version":`), cmp.Or(c.o.Version, "0")), '}'))
}

// body is the message with an id of its own.
func (c *client) body(r *request) []byte {
	c.lastID++
	b := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":%q,"params":{%s`, c.lastID, r.method, r.params)
	if c.modern {
		if r.params != "" {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `"_meta":{"io.modelcontextprotocol/protocolVersion":%q,"io.modelcontextprotocol/clientInfo":%s,`+
			`"io.modelcontextprotocol/clientCapabilities":{}}`, c.version, c.info())
	}
	return append(b, "}}"...)
}

// request builds an HTTP request with the headers of the era.
func (c *client) request(ctx context.Context, verb string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, verb, c.o.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if verb == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	req.Header.Set("User-Agent", "toolcrib-bench/"+cmp.Or(c.o.Version, "0"))
	if c.o.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.o.Token)
	}
	if c.modern || c.open {
		req.Header.Set(mcp.HeaderVersion, c.version)
	}
	if c.session != "" {
		req.Header.Set(headerSession, c.session)
	}
	return req, nil
}

// post sends a request and returns what begins to come back.
func (c *client) post(ctx context.Context, r *request) (*http.Response, *fault) {
	req, err := c.request(ctx, http.MethodPost, c.body(r))
	if err != nil {
		return nil, failed(FailedConnection, "%v", err)
	}
	if c.modern {
		req.Header.Set(mcp.HeaderMethod, r.method)
		if r.name != "" {
			req.Header.Set(mcp.HeaderName, string(mcp.AppendHeader(nil, []byte(r.name))))
		}
		for _, h := range r.headers {
			req.Header.Set(h.name, h.value)
		}
	}
	return c.send(ctx, req)
}

// send wants status 200 or 202.
func (c *client) send(ctx context.Context, req *http.Request) (*http.Response, *fault) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, connectionFault(ctx, err)
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusAccepted {
		return resp, nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, drainMost)) // what is there says why
	finish(resp)
	if resp.StatusCode == http.StatusNotFound && c.session != "" {
		c.open = false // the session is gone
	}
	return nil, statusFault(resp, body)
}

// tell sends a notification.
func (c *client) tell(ctx context.Context, method string) *fault {
	req, err := c.request(ctx, http.MethodPost, fmt.Appendf(nil, `{"jsonrpc":"2.0","method":%q}`, method))
	if err != nil {
		return failed(FailedConnection, "%v", err)
	}
	resp, fault := c.send(ctx, req)
	if fault == nil {
		finish(resp)
	}
	return fault
}

// ask sends a request and returns its result.
func (c *client) ask(ctx context.Context, r *request) ([]byte, *fault) {
	resp, fault := c.post(ctx, r)
	if fault != nil {
		return nil, fault
	}
	defer finish(resp)
	if r.method == "initialize" {
		c.session = resp.Header.Get(headerSession)
	}
	if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind == "text/event-stream" {
		return c.fromStream(ctx, resp.Body)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerMost))
	if err != nil {
		return nil, connectionFault(ctx, err)
	}
	result, done, fault := c.answer(body)
	if !done {
		return nil, failed(FailedAnswer, "the answer is of another request: %s", body)
	}
	return result, fault
}

// fromStream waits for the answer among the events of a stream.
func (c *client) fromStream(ctx context.Context, r io.Reader) ([]byte, *fault) {
	for events := mcp.NewEventReader(r, answerMost); ; {
		e, err := events.Next()
		if errors.Is(err, mcp.ErrEventTooLarge) {
			return nil, failed(FailedAnswer, "an event of more than %d bytes", answerMost)
		} else if err != nil {
			return nil, connectionFault(ctx, err)
		}
		if len(e.Data) == 0 {
			continue
		}
		if result, done, fault := c.answer(e.Data); done {
			return result, fault
		}
	}
}

// answer reads a message; done tells whether it answers the last request.
func (c *client) answer(body []byte) (result []byte, done bool, fault *fault) {
	var m mcp.Message
	if e := mcp.Scan(body, &m, mcp.Limits{Bytes: answerMost}); e != nil {
		return nil, true, failed(FailedAnswer, "%s", e.Message)
	}
	ours := string(m.ID.Of(body)) == strconv.FormatInt(c.lastID, 10)
	switch {
	case m.Kind == mcp.KindError && (ours || !m.ID.Present()):
		return nil, true, errorFault(body, &m)
	case m.Kind == mcp.KindResult && ours:
		return m.Payload.Of(body), true, nil
	}
	return nil, false, nil
}

// do does one request of any kind.
func (c *client) do(ctx context.Context, r *request) *fault {
	if r.op == Connect {
		return c.connect(ctx)
	}
	if fault := c.ready(ctx); fault != nil {
		return fault
	}
	switch r.op {
	case List:
		_, fault := c.list(ctx)
		return fault
	case Stream:
		return c.beside().stream(ctx)
	}
	result, fault := c.ask(ctx, r)
	if fault != nil {
		return fault
	}
	return verdict(result)
}

// verdict is what the result of a tool says of itself.
func verdict(result []byte) *fault {
	all := mcp.Span{End: int32(len(result))}
	if is, _ := mcp.Lookup(result, all, "isError"); string(is.Of(result)) == "true" {
		return failed(FailedTool, "%s", result)
	}
	if kind, _ := mcp.Lookup(result, all, "resultType"); string(kind.Of(result)) == `"input_required"` {
		return failed(FailedInput, "the tool asks a question before it goes on")
	}
	return nil
}

// connect begins as a new client does: on a new connection, in the legacy era with a session, which is ended aside.
func (c *client) connect(ctx context.Context) *fault {
	fresh := newClient(c.o, c.modern)
	defer fresh.http.CloseIdleConnections()
	if c.modern {
		_, fault := fresh.ask(ctx, &request{method: "server/discover"})
		return fault
	}
	fault := fresh.ready(ctx)
	c.spent = fresh
	return fault
}

// tidy does what the caller of the last request does not wait for.
func (c *client) tidy(ctx context.Context) {
	if c.spent != nil {
		c.spent.close(ctx)
		c.spent = nil
	}
}

// beside is the same caller with connections of their own: ending a stream ends its connection.
func (c *client) beside() *client {
	b := newClient(c.o, c.modern)
	b.version, b.session, b.open, b.lastID = c.version, c.session, c.open, c.lastID
	return b
}

// list follows all pages of the tools.
func (c *client) list(ctx context.Context) (tools []json.RawMessage, fault *fault) {
	params := ""
	for range pagesMost {
		result, fault := c.ask(ctx, &request{method: "tools/list", params: params})
		if fault != nil {
			return nil, fault
		}
		all := mcp.Span{End: int32(len(result))}
		list, _ := mcp.Lookup(result, all, "tools")
		if !list.Present() {
			return nil, failed(FailedAnswer, `tools/list is answered without "tools"`)
		}
		mcp.Elements(result, list.Span, func(s mcp.Span) bool {
			tools = append(tools, s.Of(result))
			return true
		})
		next, _ := mcp.Lookup(result, all, "nextCursor")
		if !next.Present() || string(next.Of(result)) == "null" {
			return tools, nil
		}
		params = `"cursor":` + string(next.Of(result))
	}
	return nil, failed(FailedAnswer, "tools/list has more than %d pages", pagesMost)
}

// stream opens a stream and closes it when it stands: in the modern era its first message says so, before that its status.
func (c *client) stream(ctx context.Context) *fault {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.http.CloseIdleConnections()
	var resp *http.Response
	var fault *fault
	if c.modern {
		resp, fault = c.post(ctx, &request{method: "subscriptions/listen", params: `"notifications":{"toolsListChanged":true}`})
	} else if req, err := c.request(ctx, http.MethodGet, nil); err == nil {
		req.Header.Set("Accept", "text/event-stream")
		resp, fault = c.send(ctx, req)
	} else {
		fault = failed(FailedConnection, "%v", err)
	}
	if fault != nil {
		return fault
	}
	defer resp.Body.Close()
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if kind != "text/event-stream" {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, drainMost))
		if _, done, fault := c.answer(body); done && fault != nil {
			return fault
		}
		return failed(FailedAnswer, "no stream but %q", kind)
	}
	if c.modern {
		return c.acknowledged(ctx, resp.Body)
	}
	return nil
}

// acknowledged waits for the first message of a stream.
func (c *client) acknowledged(ctx context.Context, r io.Reader) *fault {
	for events := mcp.NewEventReader(r, answerMost); ; {
		e, err := events.Next()
		if err != nil {
			return connectionFault(ctx, err)
		}
		if len(e.Data) == 0 {
			continue
		}
		if _, done, fault := c.answer(e.Data); done {
			if fault == nil {
				fault = failed(FailedAnswer, "the stream ended at once")
			}
			return fault
		}
		return nil
	}
}
