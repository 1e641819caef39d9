package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

// Era is a protocol era.
type Era int32

// The eras.
const (
	Modern Era = iota
	Legacy
)

// Eras are both.
var Eras = []Era{Modern, Legacy}

// String names the era.
func (e Era) String() string {
	if e == Modern {
		return "modern"
	}
	return "legacy"
}

// ModernVersion is the protocol version of the modern era, LegacyVersion the newest of the legacy era.
const (
	ModernVersion = "2026-07-28"
	LegacyVersion = "2025-11-25"
)

// Script is what a scripted server has and does. The zero Script is a modern server without anything.
type Script struct {
	Era Era
	// Tools, Prompts, Resources and Templates are raw definitions.
	Tools, Prompts, Resources, Templates []string
	// Page is how many elements a page of a list has; 0 puts all on one.
	Page int
	// Version is what a legacy server agrees to; LegacyVersion when empty.
	Version string
	// Capabilities, raw JSON, replace those that follow from what there is.
	Capabilities string
	// Streams has an HTTP server answer with an event stream even when nothing comes before the answer.
	Streams bool
	// Sessionless has a legacy HTTP server mint no session ids.
	Sessionless bool
	// Lenient has the server take whatever it gets, without holding it to the rules of its era.
	Lenient bool
	// Endpoint is what a StreamServer names as its endpoint, before the session; "/message?session=" when empty.
	Endpoint string
	// NoPost is what a StreamServer answers to a POST at its stream; 405 when zero.
	NoPost int
	stream bool
	// Forgets has the server keep no record of what it received.
	Forgets bool
	// On answers messages in place of the server: by method, or by method and name ("tools/call echo").
	On map[string]func(*Call)
}

// Tools makes n definitions of tools, tool0000 and so on.
func Tools(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = Tool(fmt.Sprintf("tool%04d", i))
	}
	return all
}

// Tool is the definition of a tool that takes anything.
func Tool(name string) string {
	return `{"name":"` + name + `","description":"says what it got","inputSchema":{"type":"object"}}`
}

// Record is one message that a server received.
type Record struct {
	Method string
	ID     string // raw
	Body   []byte // as it came; of a line without its end
	Header http.Header
	// Path is what was asked of an HTTP server, query included.
	Path   string
	params map[string]json.RawMessage
}

// Param is a member of params, raw; empty when it is not there.
func (r *Record) Param(name string) string { return string(r.params[name]) }

// Meta is a member of params._meta, raw; empty when it is not there.
func (r *Record) Meta(name string) string {
	var meta map[string]json.RawMessage
	_ = json.Unmarshal(r.params["_meta"], &meta) // no object has no members
	return string(meta[name])
}

// Server is a scripted MCP server.
type Server struct {
	// URL is where an HTTP server listens; empty for a stdio server.
	URL string

	t       testing.TB
	script  Script
	era     atomic.Int32
	changed atomic.Bool // it was of the other era before
	http    *httpServer
	stdio   *stdioServer
	ctx     context.Context //nolint:containedctx // ends with the test

	mu       sync.Mutex
	records  []*Record
	open     map[string]context.CancelFunc // by session and id
	sessions map[string]bool               // whether initialized came
	asked    map[string]chan *Record       // questions, by session and id
	minted   int
	lines    []*Line
}

func newServer(t testing.TB, script Script) *Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{t: t, script: script, ctx: ctx, open: map[string]context.CancelFunc{}, sessions: map[string]bool{}, asked: map[string]chan *Record{}}
	s.era.Store(int32(script.Era))
	t.Cleanup(func() {
		cancel()
		s.close()
	})
	return s
}

func (s *Server) close() {
	if s.http != nil {
		s.http.stop()
	} else {
		s.stdio.stop()
	}
}

// Era is the era that the server speaks now.
func (s *Server) Era() Era { return Era(s.era.Load()) }

// SetEra has the server speak another era from now on.
func (s *Server) SetEra(e Era) {
	s.changed.Store(true)
	s.era.Store(int32(e))
}

// Fail fails the server's test.
func (s *Server) Fail(why string) { s.t.Error(why) }

// Received are the messages received so far with that method; all for "".
func (s *Server) Received(method string) []*Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*Record
	for _, r := range s.records {
		if method == "" || r.Method == method {
			out = append(out, r)
		}
	}
	return out
}

// Forget drops what was received so far, for tests of very many messages.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = nil
}

// Await waits for the nth message with that method, counted from 1.
func (s *Server) Await(method string, n int) *Record {
	s.t.Helper()
	Eventually(s.t, fmt.Sprintf("%d times %s", n, method), func() bool { return len(s.Received(method)) >= n })
	return s.Received(method)[n-1]
}

// Sessions tells how many legacy sessions the server minted.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.minted
}

// ForgetSessions has an HTTP server lose its sessions.
func (s *Server) ForgetSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.sessions)
}

// Entry is the server's entry in a configuration, with further keys.
func (s *Server) Entry(more ...map[string]any) map[string]any {
	e := map[string]any{"timeouts": map[string]any{"start": "15s", "list": "10s", "call": "15s"}}
	if s.http != nil {
		e["url"] = s.URL
		if s.script.stream {
			e["type"] = "sse"
		}
	} else {
		e["command"], e["args"] = s.stdio.command()
		e["env"] = map[string]any{"GORACE": "atexit_sleep_ms=0"}
	}
	for _, m := range more {
		maps.Copy(e, m)
	}
	return e
}

// Call is a message at the server, which its handler answers.
type Call struct {
	*Record
	Server *Server
	// Done is closed when nobody wants the answer any more: the client cancelled or went away, or the test is over.
	Done <-chan struct{}
	// Child is the process that the call reached; nil for an HTTP server.
	Child *Child
	// HTTP is the response to write for what no other method can; nil for a stdio server.
	HTTP *Exchange
	// Line is the stream that the call belongs to, of a StreamServer.
	Line *Line
}

// Token is the call's progress token, raw.
func (c *Call) Token() string { return c.Meta("progressToken") }

// Args are the raw arguments.
func (c *Call) Args() string { return c.Param("arguments") }

// Send sends one message: the last one when it is the answer.
func (c *Call) Send(message string) {
	if c.HTTP != nil {
		c.HTTP.send(message, true)
		return
	}
	if c.Line != nil {
		c.Line.say(message)
		return
	}
	c.Child.Print(message + "\n")
}

// Before sends a message that comes before the answer.
func (c *Call) Before(message string) {
	if c.HTTP != nil {
		c.HTTP.send(message, false)
		return
	}
	if c.Line != nil {
		c.Line.say(message)
		return
	}
	c.Child.Print(message + "\n")
}

// Result answers with a raw result.
func (c *Call) Result(result string) {
	c.Send(`{"jsonrpc":"2.0","id":` + c.ID + `,"result":` + result + `}`)
}

// Complete answers with a result of these raw members, and resultType where the era has it.
func (c *Call) Complete(members string) {
	if c.Server.Era() == Modern {
		members = `"resultType":"complete",` + members
	}
	c.Result("{" + members + "}")
}

// Text answers with a text.
func (c *Call) Text(text string) {
	c.Complete(`"content":[{"type":"text","text":` + string(mcp.AppendString(nil, text)) + `}]`)
}

// Error answers with an error; more are members after the message, each with its comma.
func (c *Call) Error(code int, message string, more ...string) {
	c.Send(`{"jsonrpc":"2.0","id":` + c.ID + `,"error":{"code":` + strconv.Itoa(code) +
		`,"message":` + string(mcp.AppendString(nil, message)) + strings.Join(more, "") + "}}")
}

// Progress sends a progress notification.
func (c *Call) Progress(progress int) {
	c.Before(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, c.Token(), progress))
}

// Hang answers nothing until nobody wants an answer any more.
func (c *Call) Hang() { <-c.Done }

// parse reads a message just far enough to dispatch it.
func parse(body []byte, h http.Header) *Record {
	var m struct {
		ID     json.RawMessage            `json:"id"`
		Method string                     `json:"method"`
		Params map[string]json.RawMessage `json:"params"`
	}
	_ = json.Unmarshal(body, &m) // what cannot be read has no method
	return &Record{Method: m.Method, ID: string(m.ID), Body: bytes.Clone(body), Header: h, params: m.Params}
}

func (s *Server) record(r *Record) {
	if s.script.Forgets {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, r)
}

// Open tells how many requests the server has not answered yet.
func (s *Server) Open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// take answers a message that is on record.
func (s *Server) take(ctx context.Context, r *Record, c *Call) {
	session := r.Header.Get("Mcp-Session-Id")
	if c.Child != nil {
		session = strconv.Itoa(c.Child.PID)
	}
	switch r.Method {
	case "notifications/cancelled":
		s.mu.Lock()
		if cancel := s.open[session+" "+r.Param("requestId")]; cancel != nil {
			cancel()
		}
		s.mu.Unlock()
	case "notifications/initialized":
		s.mu.Lock()
		if _, known := s.sessions[session]; known || c.Child != nil {
			s.sessions[session] = true
		}
		s.mu.Unlock()
	}
	if !s.script.Lenient && !s.obeys(r, c) {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	if r.ID != "" {
		key := session + " " + r.ID
		s.mu.Lock()
		s.open[key] = cancel
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			delete(s.open, key)
			s.mu.Unlock()
		}()
	}
	c.Record, c.Server, c.Done = r, s, ctx.Done()
	s.answer(c)
}

func (s *Server) answer(c *Call) {
	if c.Method == "" && c.ID != "" && s.answered(c) {
		if c.HTTP != nil {
			c.HTTP.Status(http.StatusAccepted, "", "")
		}
		return
	}
	var name string
	_ = json.Unmarshal([]byte(c.Param("name")), &name) // only some methods have one
	for _, key := range []string{c.Method + " " + name, c.Method} {
		if f := s.script.On[key]; f != nil {
			f(c)
			return
		}
	}
	c.Default()
}

// Default answers as the server does without a handler.
func (c *Call) Default() {
	s := c.Server
	if c.ID == "" {
		if c.HTTP != nil {
			c.HTTP.Status(http.StatusAccepted, "", "")
		}
		return
	}
	switch {
	case c.Method == "server/discover" && s.Era() == Modern:
		c.Result(`{"resultType":"complete","ttlMs":60000,"cacheScope":"public","supportedVersions":["` + ModernVersion + `"],"capabilities":` +
			s.capabilities() + `,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"scripted","version":"1"}}}`)
	case c.Method == "initialize" && s.Era() == Legacy:
		s.initialize(c)
	case c.Method == "ping" && s.Era() == Legacy, c.Method == "logging/setLevel" && s.Era() == Legacy:
		c.Result("{}")
	case c.Method == "tools/call":
		c.Text("done")
	case listOf[c.Method] != "":
		c.list()
	default:
		c.unknown()
	}
}

func (c *Call) unknown() {
	if c.HTTP != nil && c.Server.Era() == Modern {
		c.HTTP.code = http.StatusNotFound
	}
	c.Error(-32601, "no such method")
}

func (s *Server) initialize(c *Call) {
	version := s.script.Version
	if version == "" {
		version = LegacyVersion
	}
	if c.HTTP != nil && !s.script.Sessionless {
		s.mu.Lock()
		s.minted++
		id := fmt.Sprintf("session-%d", s.minted)
		s.sessions[id] = false
		s.mu.Unlock()
		c.HTTP.w.Header().Set("Mcp-Session-Id", id)
	}
	c.Result(`{"protocolVersion":"` + version + `","capabilities":` + s.capabilities() + `,"serverInfo":{"name":"scripted","version":"1"}}`)
}

func (s *Server) capabilities() string {
	if s.script.Capabilities != "" {
		return s.script.Capabilities
	}
	return `{"tools":{},"prompts":{},"resources":{},"completions":{},"logging":{}}`
}

var listOf = map[string]string{
	"tools/list": "tools", "prompts/list": "prompts", "resources/list": "resources", "resources/templates/list": "resourceTemplates",
}

// list answers one page of a list; the cursor is the index of its first element.
func (c *Call) list() {
	s := c.Server.script
	all := map[string][]string{"tools": s.Tools, "prompts": s.Prompts, "resources": s.Resources, "resourceTemplates": s.Templates}[listOf[c.Method]]
	from := c.From()
	to := len(all)
	if s.Page > 0 {
		to = min(from+s.Page, len(all))
	}
	members := ""
	if c.Server.Era() == Modern {
		members = `"ttlMs":60000,"cacheScope":"public",`
	}
	if to < len(all) {
		members += `"nextCursor":"` + strconv.Itoa(to) + `",`
	}
	b := []byte(members + `"` + listOf[c.Method] + `":[`)
	for i, e := range all[from:to] {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	c.Complete(string(append(b, ']')))
}

// From is the index of the first element that a list request asks for.
func (c *Call) From() int {
	var cursor string
	_ = json.Unmarshal([]byte(c.Param("cursor")), &cursor) // the first page has none
	from, _ := strconv.Atoi(cursor)
	return from
}

// In waits, as a slow server does.
func (c *Call) In(d time.Duration) {
	select {
	case <-time.After(d):
	case <-c.Done:
	}
}
