package testenv

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/mcp"
)

// Client is a raw client of one endpoint.
type Client struct {
	URL string
	// Era is how it speaks; Version and Session what a legacy client sends.
	Era              Era
	Version, Session string
	// Key is sent as a bearer token when it is not empty.
	Key string
	// Capabilities are the raw ClientCapabilities it declares; empty for none. A legacy client declares them in Initialize.
	Capabilities string
	// Again has it send again, until Patience, what a replica refuses since the cluster's backend is not reachable, as it is told to:
	// a machine that stood still looks like that, too. It is not for tests in which the backend is away.
	Again bool

	t    testing.TB
	http *http.Client
	ids  atomic.Int64
}

func newHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext:         (&net.Dialer{Timeout: Patience}).DialContext,
		MaxIdleConnsPerHost: 256, DisableCompression: true,
	}}
}

// NewClient makes a client of a URL; its connections end with the test.
func NewClient(t testing.TB, url string, era Era) *Client {
	c := &Client{URL: url, Era: era, t: t, http: newHTTPClient()}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// AlwaysOne has a client that asks one thing after the other keep to one connection at a time. Others may have a second one that they
// never used, which the gateway ends after a while, and be about to use it then.
func (c *Client) AlwaysOne() { c.http.Transport.(*http.Transport).MaxConnsPerHost = 1 }

// Modern is a modern client of an endpoint of the gateway, such as "/mcp".
func (g *Gateway) Modern(path string) *Client {
	return &Client{URL: g.URL + path, Era: Modern, t: g.t, http: g.client}
}

// Takes is a client of another replica, in the session that it has there, as it speaks to this one.
func (g *Gateway) Takes(c *Client, path string) *Client {
	return &Client{
		URL: g.URL + path, Era: c.Era, Version: c.Version, Session: c.Session, Key: c.Key, Capabilities: c.Capabilities, t: g.t, http: g.client,
	}
}

// Legacy is a client with a session, of the newest legacy version.
func (g *Gateway) Legacy(path string) *Client {
	g.t.Helper()
	return g.LegacyOf(path, LegacyVersion, "")
}

// LegacyOf is a client with a session of a legacy version, opened with a key.
func (g *Gateway) LegacyOf(path, version, key string) *Client {
	g.t.Helper()
	c := &Client{URL: g.URL + path, Era: Legacy, Key: key, t: g.t, http: g.client}
	c.Initialize(version)
	return c
}

// Client is a client of an era.
func (g *Gateway) Client(era Era, path string) *Client {
	g.t.Helper()
	if era == Modern {
		return g.Modern(path)
	}
	return g.Legacy(path)
}

// Initialize opens a session.
func (c *Client) Initialize(version string) *Reply {
	c.t.Helper()
	c.Session, c.Version = "", ""
	members := `"protocolVersion":"` + version + `","clientInfo":{"name":"raw","version":"1"},"capabilities":` + c.capabilities()
	r := c.Do(Request{Method: "initialize", Members: members})
	var result struct {
		ProtocolVersion string `json:"protocolVersion"`
	}
	if err := json.Unmarshal(r.Result(), &result); err != nil || r.Header.Get("Mcp-Session-Id") == "" {
		c.t.Fatalf("initialize: %v, header %v", r, r.Header)
	}
	c.Session, c.Version = r.Header.Get("Mcp-Session-Id"), result.ProtocolVersion
	if n := c.Post([]byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)); n.Status != http.StatusAccepted {
		c.t.Fatalf("notifications/initialized: %v", n)
	}
	return r
}

// Request is one JSON-RPC request.
type Request struct {
	// ID is raw; a number of the client's own when empty.
	ID     string
	Method string
	// Members are the raw members of params, Meta those of params._meta besides what the era demands.
	Members, Meta string
	// Body stands in place of all of the above.
	Body []byte
	// Header are headers to set besides those that the era demands, or to leave out (no values).
	Header http.Header
}

func (c *Client) capabilities() string {
	if c.Capabilities == "" {
		return "{}"
	}
	return c.Capabilities
}

// body renders a request for the client's era.
func (c *Client) body(q Request) []byte {
	meta := q.Meta
	if c.Era == Modern {
		if meta != "" {
			meta += ","
		}
		meta += `"io.modelcontextprotocol/protocolVersion":"` + ModernVersion + `","io.modelcontextprotocol/clientCapabilities":` + c.capabilities()
	}
	members := q.Members
	if meta != "" {
		if members != "" {
			members += ","
		}
		members += `"_meta":{` + meta + "}"
	}
	return []byte(`{"jsonrpc":"2.0","id":` + q.ID + `,"method":"` + q.Method + `","params":{` + members + "}}")
}

func (c *Client) headers(rec *Record) http.Header {
	h := http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	if c.Key != "" {
		h.Set("Authorization", "Bearer "+c.Key)
	}
	if c.Era == Legacy {
		if c.Session != "" {
			h.Set("Mcp-Session-Id", c.Session)
		}
		if c.Version >= "2025-06-18" {
			h.Set("Mcp-Protocol-Version", c.Version)
		}
		return h
	}
	h.Set("Mcp-Protocol-Version", ModernVersion)
	h.Set("Mcp-Method", rec.Method)
	for _, key := range []string{"name", "uri", "taskId"} {
		var name string
		if json.Unmarshal([]byte(rec.Param(key)), &name) == nil && name != "" {
			h.Set("Mcp-Name", string(mcp.AppendHeader(nil, []byte(name))))
		}
	}
	return h
}

// Open sends a request and returns when the answer begins.
func (c *Client) Open(ctx context.Context, q Request) (*Stream, error) {
	if q.ID == "" {
		q.ID = strconv.FormatInt(c.ids.Add(1), 10)
	}
	if q.Body == nil {
		q.Body = c.body(q)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(q.Body))
	if err != nil {
		return nil, err
	}
	r.Header = c.headers(parse(q.Body, nil))
	maps.Copy(r.Header, q.Header)
	for name, values := range q.Header {
		if name == "Host" && len(values) == 1 {
			r.Host = values[0]
		}
	}
	resp, err := c.http.Do(r) //nolint:bodyclose // Stream.Close does
	if err != nil {
		return nil, err
	}
	return &Stream{
		Status: resp.StatusCode, Header: resp.Header, Closed: resp.Close, body: resp.Body, lines: bufio.NewReader(resp.Body),
	}, nil
}

// Try sends a request and reads the whole answer.
func (c *Client) Try(ctx context.Context, q Request) (*Reply, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(Patience); ; <-tick.C {
		r, err := c.once(ctx, q)
		if err != nil || !c.Again || !bytes.Contains(r.Last(), []byte(cluster.ErrDown.Error())) || time.Now().After(end) {
			return r, err
		}
	}
}

// once sends a request once.
func (c *Client) once(ctx context.Context, q Request) (*Reply, error) {
	s, err := c.Open(ctx, q)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	r := &Reply{Status: s.Status, Header: s.Header, Closed: s.Closed}
	for {
		m, err := s.Next()
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return r, err
		}
		r.Messages = append(r.Messages, m)
	}
}

// Do sends a request and reads the whole answer; a failure of the transport fails the test.
func (c *Client) Do(q Request) *Reply {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*Patience)
	defer cancel()
	r, err := c.Try(ctx, q)
	if err != nil {
		c.t.Fatalf("%s: %v", q.Method, err)
	}
	return r
}

// Call sends a request of a method with raw members of params.
func (c *Client) Call(method, members string) *Reply {
	c.t.Helper()
	return c.Do(Request{Method: method, Members: members})
}

// Tool calls a tool with raw arguments.
func (c *Client) Tool(name, arguments string) *Reply {
	c.t.Helper()
	return c.Call("tools/call", `"name":"`+name+`","arguments":`+arguments)
}

// Post sends a raw body.
func (c *Client) Post(body []byte) *Reply {
	c.t.Helper()
	return c.Do(Request{Body: body})
}

// Delete ends the client's session.
func (c *Client) Delete() int {
	c.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodDelete, c.URL, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header = c.headers(&Record{})
	resp, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// Get fetches a path of the gateway.
func (g *Gateway) Get(path string, header http.Header) (int, string) {
	g.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, g.URL+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	if host := header.Get("Host"); host != "" {
		r.Host = host
	}
	resp, err := g.client.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Stream is an answer that is being read.
type Stream struct {
	Status int
	Header http.Header
	// Closed says that the connection is not to be used again.
	Closed bool
	body   io.ReadCloser
	lines  *bufio.Reader
}

// Close lets go of the answer; before its end that breaks the connection.
func (s *Stream) Close() { _ = s.body.Close() }

// Next is the next message, io.EOF at the end.
func (s *Stream) Next() (json.RawMessage, error) {
	if !strings.HasPrefix(s.Header.Get("Content-Type"), "text/event-stream") {
		b, err := io.ReadAll(s.lines)
		if err == nil && len(b) == 0 {
			err = io.EOF
		}
		return b, err
	}
	var data []byte
	for {
		line, err := s.lines.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if d, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, d...)
		}
		if len(line) == 0 && data != nil {
			return data, nil
		}
	}
}

// Reply is a whole answer.
type Reply struct {
	Status   int
	Header   http.Header
	Closed   bool // the connection is not to be used again
	Messages []json.RawMessage
}

// String shows the reply in failures.
func (r *Reply) String() string {
	return fmt.Sprintf("HTTP %d %.3000s", r.Status, bytes.Join(rawBytes(r.Messages), []byte("\n")))
}

func rawBytes(all []json.RawMessage) [][]byte {
	out := make([][]byte, len(all))
	for i, m := range all {
		out[i] = m
	}
	return out
}

// Last is the last message: the answer.
func (r *Reply) Last() json.RawMessage {
	if len(r.Messages) == 0 {
		return nil
	}
	return r.Messages[len(r.Messages)-1]
}

type answer struct {
	ID     json.RawMessage `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int64           `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	} `json:"error"`
}

func (r *Reply) answer() answer {
	var a answer
	_ = json.Unmarshal(r.Last(), &a) // what is no answer has none of it
	return a
}

// ID is the raw id of the answer.
func (r *Reply) ID() string { return string(r.answer().ID) }

// Result is the raw result; nil when there is none.
func (r *Reply) Result() json.RawMessage { return r.answer().Result }

// Error is the error's code and message; 0 when there is none.
func (r *Reply) Error() (code int64, message string) {
	if e := r.answer().Error; e != nil {
		return e.Code, e.Message
	}
	return 0, ""
}

// Data is the raw data of the error.
func (r *Reply) Data() string {
	if e := r.answer().Error; e != nil {
		return string(e.Data)
	}
	return ""
}

// Member is a raw member of the result.
func (r *Reply) Member(name string) string {
	var m map[string]json.RawMessage
	_ = json.Unmarshal(r.Result(), &m) // as above
	return string(m[name])
}

// Names are the names, or else the URIs, of a list's elements.
func (r *Reply) Names(list string) []string {
	var all []struct {
		Name     string `json:"name"`
		URI      string `json:"uri"`
		Template string `json:"uriTemplate"`
	}
	_ = json.Unmarshal([]byte(r.Member(list)), &all) // as above
	names := make([]string, len(all))
	for i, e := range all {
		names[i] = e.Name
		if e.URI+e.Template != "" {
			names[i] = e.URI + e.Template
		}
	}
	return names
}

// Titles are the titles of a list's elements.
func (r *Reply) Titles(list string) []string {
	var all []struct {
		Title string `json:"title"`
	}
	_ = json.Unmarshal([]byte(r.Member(list)), &all) // as above
	titles := make([]string, len(all))
	for i, e := range all {
		titles[i] = e.Title
	}
	return titles
}

// Texts are the texts of a tool's result, joined.
func (r *Reply) Texts() string {
	var all []struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal([]byte(r.Member("content")), &all) // as above
	var b strings.Builder
	for _, c := range all {
		b.WriteString(c.Text)
	}
	return b.String()
}

// Within is a context that ends after d or with the test.
func Within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}
