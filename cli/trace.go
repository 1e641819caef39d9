package cli

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/mcp"
)

type traceCmd struct {
	Name    string        `arg:"" help:"Name of the tool, as \"toolcrib tools\" shows it."`
	Arg     []string      `short:"a" placeholder:"NAME=VALUE" sep:"none" help:"An argument: JSON is sent as it is, any other value as text. May be repeated."`
	Text    []string      `short:"t" placeholder:"NAME=VALUE" sep:"none" help:"An argument that is text even if it looks like JSON. May be repeated."`
	Args    string        `placeholder:"JSON" help:"The arguments as one JSON object, or @FILE to read it from a file, or - for standard input."`
	URL     string        `placeholder:"URL" help:"The gateway (default: TOOLCRIB_URL, else ${url})."`
	Timeout time.Duration `default:"5m" help:"Give up after this time."`
	Output  string        `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

func (*traceCmd) Help() string {
	return `Calls the tool once, through a gateway, and shows a line for each step of the call
with when it began and how long it took: connecting to the gateway, its stages,
waiting for an instance, starting one, each attempt at the server. The tool is
really called, and its result is not shown.

Where the gateway knows its callers it takes timings:read, with the credential of
"toolcrib login" or of TOOLCRIB_API_KEY. Times of the gateway are by its own clock;
the way there and back is taken to be equally long. The call has a trace id, by which
the log, the audit log and traces tell of it too.

Examples:

    toolcrib trace example__echo --arg message=hello
    toolcrib trace search__find --text zip=10115 --url https://tools.example.com
    toolcrib trace example__add --args '{"a": 1, "b": 2}' -o json

Exit codes: 0 shown, 1 the tool or the gateway reported an error, 2 the command line
is wrong, 3 the gateway cannot be reached.
`
}

// Run makes the call and shows where its time went.
func (c *traceCmd) Run(ctx context.Context, sys *system) error {
	object, err := readArguments(sys, c.Args)
	if err != nil {
		return err
	}
	args, err := arguments(object, c.Arg, c.Text)
	if err != nil {
		return err
	}
	t := target{APIKey: os.Getenv(keyVariable), Timeout: c.Timeout}
	if text := cmp.Or(c.URL, os.Getenv(urlVariable)); text != "" {
		if t.URL, err = endpointURL(text); err != nil {
			return err
		}
	}
	return t.with(ctx, sys, func(ctx context.Context, conn *app.Conn) error {
		seen, err := c.call(ctx, &t, conn, args)
		if err != nil {
			return err
		}
		seen.Tool = c.Name
		if c.Output == "json" {
			err = writeJSON(sys.stdout, seen)
		} else {
			err = traceText(sys.stdout, seen)
		}
		return errors.Join(err, seen.verdict())
	})
}

// call makes the call. Only where the gateway misses arguments in headers it is asked which go there: a list would start servers,
// which is what the call may be about.
func (c *traceCmd) call(ctx context.Context, t *target, conn *app.Conn, args []byte) (*tracedReply, error) {
	if conn.Era() != "modern" {
		return nil, failf("this is no gateway of Toolcrib, or an old one: it does not speak %s", mcp.VersionModern)
	}
	at, token := cmp.Or(t.URL, defaultURL), cmp.Or(t.APIKey, t.token)
	seen, err := c.ask(ctx, at, token, args, nil)
	if err != nil || seen.code != mcp.CodeHeaderMismatch {
		return seen, err
	}
	params, err := conn.Mirrored(ctx, []byte(c.Name))
	if err != nil {
		return nil, err
	}
	return c.ask(ctx, at, token, args, params)
}

func (c *traceCmd) ask(ctx context.Context, at, token string, args []byte, params []mcp.Param) (*tracedReply, error) {
	req, err := c.request(ctx, at, args, params)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return tracedCall(req)
}

// request is the call, with a trace of its own that is kept wherever traces are.
func (c *traceCmd) request(ctx context.Context, at string, args []byte, params []mcp.Param) (*http.Request, error) {
	body := append(mcp.AppendString([]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":`), c.Name), `,"arguments":`...)
	body = append(append(body, args...), `,"_meta":{"io.modelcontextprotocol/protocolVersion":"`+mcp.VersionModern+
		`","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"toolcrib-trace","version":`...)
	body = append(mcp.AppendString(body, version()), `}}}}`...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	in := mcp.Raw{Body: body}
	if e := in.Scan(mcp.Limits{}); e != nil {
		return nil, usagef("%w", e)
	}
	mirrors, e := mcp.AppendParamHeaders(nil, params, &in)
	if e != nil {
		return nil, usagef("%w", e)
	}
	of := trace.Context{Trace: trace.NewID(), Span: trace.NewSpanID(), Sampled: true}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "User-Agent": "toolcrib/" + version(),
		mcp.HeaderVersion: mcp.VersionModern, mcp.HeaderMethod: "tools/call", mcp.HeaderName: string(mcp.AppendHeader(nil, []byte(c.Name))),
		"Traceparent": string(of.AppendParent(nil)), trace.HeaderTiming: "1",
	} {
		req.Header.Set(name, value)
	}
	for line := range strings.SplitSeq(string(mirrors), "\r\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	return req, nil
}

// tracedReply is a call as the client saw it, with what the gateway tells of it. Times are in seconds, those named at from its
// beginning.
type tracedReply struct {
	Tool    string        `json:"tool"`
	Outcome string        `json:"outcome"` // ok, tool_error, input_required or error
	Error   string        `json:"error,omitempty"`
	Trace   string        `json:"trace,omitempty"`
	Total   float64       `json:"total"`
	Lookup  float64       `json:"lookup"`  // of the gateway's name
	Connect float64       `json:"connect"` // to it
	TLS     float64       `json:"tls"`
	Sent    float64       `json:"sentAt"`
	First   float64       `json:"answerAt"` // of its head
	Timing  *trace.Timing `json:"gateway"`

	code int64 // of the error
}

const tracedMost = 64 << 20 // bytes of an answer

// tracedCall sends the request over a connection of its own, and watches.
func tracedCall(req *http.Request) (*tracedReply, error) {
	w := &watch{began: time.Now()}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	transport.ForceAttemptHTTP2 = false
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req.WithContext(httptrace.WithClientTrace(req.Context(), w.hooks())))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, tracedMost))
	if err != nil {
		return nil, err
	}
	seen := w.reply()
	seen.judge(resp, body)
	told := cmp.Or(resp.Header.Get(trace.HeaderTiming), resp.Trailer.Get(trace.HeaderTiming))
	if told == "" {
		if seen.Error != "" {
			return nil, failf("%s", printable(seen.Error))
		}
		return nil, failf("the tool was called, but its timing is not told: this is no gateway of Toolcrib, or something between takes %s away", trace.HeaderTiming)
	}
	if err := json.Unmarshal([]byte(told), &seen.Timing); err != nil || seen.Timing == nil {
		return nil, failf("%s is not what a gateway tells: %.80s", trace.HeaderTiming, printable(told))
	}
	of, _ := trace.Parse(req.Header.Get("Traceparent"))
	seen.Trace = of.Trace.String()
	return seen, nil
}

// watch notes when what happens. Several things may at once: addresses are tried beside each other, and an answer may come while the
// request is being sent.
type watch struct {
	began time.Time

	mu                         sync.Mutex
	lookup, connect, handshake time.Time
	seen                       tracedReply
}

// hooks are called by net/http.
func (w *watch) hooks() *httptrace.ClientTrace {
	begin := func(at *time.Time) {
		w.mu.Lock()
		defer w.mu.Unlock()
		*at = time.Now()
	}
	end := func(took *float64, since *time.Time) {
		w.mu.Lock()
		defer w.mu.Unlock()
		*took = time.Since(*since).Seconds()
	}
	return &httptrace.ClientTrace{
		DNSStart:             func(httptrace.DNSStartInfo) { begin(&w.lookup) },
		DNSDone:              func(httptrace.DNSDoneInfo) { end(&w.seen.Lookup, &w.lookup) },
		ConnectStart:         func(string, string) { begin(&w.connect) },
		ConnectDone:          func(string, string, error) { end(&w.seen.Connect, &w.connect) },
		TLSHandshakeStart:    func() { begin(&w.handshake) },
		TLSHandshakeDone:     func(tls.ConnectionState, error) { end(&w.seen.TLS, &w.handshake) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { end(&w.seen.Sent, &w.began) },
		GotFirstResponseByte: func() { end(&w.seen.First, &w.began) },
	}
}

// reply is what was seen until now.
func (w *watch) reply() *tracedReply {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := w.seen
	seen.Total = time.Since(w.began).Seconds()
	return &seen
}

// judge tells how the call ended.
func (r *tracedReply) judge(resp *http.Response, body []byte) {
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		body = lastEvent(body)
	}
	var answer struct {
		Result *struct {
			IsError    bool   `json:"isError"`
			ResultType string `json:"resultType"`
		} `json:"result"`
		Error *struct {
			Code    int64  `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	err := json.Unmarshal(body, &answer)
	switch {
	case err == nil && answer.Error != nil:
		r.Outcome, r.Error, r.code = "error", answer.Error.Message, answer.Error.Code
	case err != nil || answer.Result == nil:
		r.Outcome, r.Error = "error", fmt.Sprintf("the answer (HTTP %d) is none of MCP", resp.StatusCode)
	case answer.Result.IsError:
		r.Outcome = "tool_error"
	case answer.Result.ResultType != "" && answer.Result.ResultType != "complete":
		r.Outcome = answer.Result.ResultType
	default:
		r.Outcome = "ok"
	}
}

// lastEvent is what the last event of a stream holds.
func lastEvent(stream []byte) []byte {
	var event []byte
	for block := range bytes.SplitSeq(stream, []byte("\n\n")) {
		var data []byte
		for line := range bytes.Lines(block) {
			if rest, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r\n"), []byte("data:")); ok {
				data = append(append(data, rest...), '\n')
			}
		}
		if data != nil {
			event = data
		}
	}
	return event
}

// verdict is the error of a call that failed.
func (r *tracedReply) verdict() error {
	switch r.Outcome {
	case "error":
		return failf("the gateway answered: %s", printable(r.Error))
	case "tool_error":
		return failf("the tool reported an error")
	}
	return nil
}
