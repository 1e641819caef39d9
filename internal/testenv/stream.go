package testenv

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// StreamVersion is the version whose transport a StreamClient uses.
const StreamVersion = "2024-11-05"

// StreamClient is a raw client of HTTP+SSE (2024-11-05): all that it is told comes on one stream.
type StreamClient struct {
	// Endpoint is where it posts; Key is sent as a bearer token when it is not empty.
	Endpoint, Key string
	// Ended is closed when the stream has ended.
	Ended chan struct{}
	// Header is that of the answer to the GET.
	Header http.Header

	t      testing.TB
	http   *http.Client
	cancel context.CancelFunc
	ids    atomic.Int64
	asked  map[string]bool // ids of the questions that Talk answered

	mu       sync.Mutex
	messages []json.RawMessage
}

// OpenStream opens a stream at a path of the gateway, such as "/sse"; status is 200 when there is one.
func (g *Gateway) OpenStream(path, key string, header http.Header) (c *StreamClient, status int) {
	g.t.Helper()
	return openStream(g.t, g.client, g.URL+path, key, header)
}

// Stream opens a stream at replica i, without a session.
func (f *Fleet) Stream(i int, path string) *StreamClient {
	f.t.Helper()
	return StreamAt(f.t, f.Replicas[i].URL+path)
}

// StreamAt opens a stream at a URL, without a session.
func StreamAt(t testing.TB, at string) *StreamClient {
	t.Helper()
	c, status := openStream(t, newHTTPClient(), at, "", nil)
	if status != http.StatusOK {
		t.Fatalf("GET %s: HTTP %d", at, status)
	}
	return c
}

func openStream(t testing.TB, client *http.Client, at, key string, header http.Header) (c *StreamClient, status int) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	maps.Copy(r.Header, header)
	if host := header.Get("Host"); host != "" {
		r.Host = host
	}
	resp, err := client.Do(r)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	c = &StreamClient{Key: key, Ended: make(chan struct{}), asked: map[string]bool{}, Header: resp.Header, t: t, http: client, cancel: cancel}
	if resp.StatusCode != http.StatusOK {
		cancel()
		_ = resp.Body.Close()
		close(c.Ended)
		return c, resp.StatusCode
	}
	endpoints := make(chan string, 1)
	go c.read(resp.Body, endpoints)
	t.Cleanup(c.Close)
	to, ok := <-endpoints
	if !ok {
		t.Fatal("the stream ended before its endpoint")
	}
	ref, err := r.URL.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	c.Endpoint = ref.String()
	return c, resp.StatusCode
}

// Stream is a client of the oldest version with a session, at a path such as "/sse".
func (g *Gateway) Stream(path, key string) *StreamClient {
	g.t.Helper()
	c, status := g.OpenStream(path, key, nil)
	if status != http.StatusOK {
		g.t.Fatalf("GET %s: HTTP %d", path, status)
	}
	c.Initialize(StreamVersion, "{}")
	return c
}

// Initialize opens the session and tells the version that was agreed.
func (c *StreamClient) Initialize(version, capabilities string) string {
	c.t.Helper()
	r := c.Call("initialize", `"protocolVersion":"`+version+`","capabilities":`+capabilities+`,"clientInfo":{"name":"raw","version":"1"}`)
	agreed := strings.Trim(r.Member("protocolVersion"), `"`)
	if agreed == "" {
		c.t.Fatalf("initialize: %v", r)
	}
	if code := c.Post(`{"jsonrpc":"2.0","method":"notifications/initialized"}`); code != http.StatusAccepted {
		c.t.Fatalf("notifications/initialized: HTTP %d", code)
	}
	return agreed
}

// read takes the events off the stream; the first is the endpoint.
func (c *StreamClient) read(body io.ReadCloser, endpoints chan<- string) {
	defer close(c.Ended)
	defer close(endpoints)
	defer body.Close()
	lines := bufio.NewReader(body)
	var name string
	var data []byte
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if v, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
			name = string(v)
		}
		if v, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			data = append(data, v...)
		}
		if len(line) > 0 || data == nil {
			continue
		}
		if name == "endpoint" {
			endpoints <- string(data)
		} else {
			c.mu.Lock()
			c.messages = append(c.messages, data)
			c.mu.Unlock()
		}
		name, data = "", nil
	}
}

// Close breaks the stream and waits for its end.
func (c *StreamClient) Close() {
	c.cancel()
	<-c.Ended
}

// Messages are those that came so far.
func (c *StreamClient) Messages() []json.RawMessage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]json.RawMessage(nil), c.messages...)
}

// Await waits for a message that holds a text.
func (c *StreamClient) Await(text string) json.RawMessage {
	c.t.Helper()
	var found json.RawMessage
	Eventually(c.t, "message with "+text, func() bool {
		for _, m := range c.Messages() {
			if bytes.Contains(m, []byte(text)) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// Post sends a raw body and tells the status.
func (c *StreamClient) Post(body string) int {
	c.t.Helper()
	code, _ := c.PostTo(c.Endpoint, c.Key, body)
	return code
}

// PostTo sends a raw body to any URL with any key.
func (c *StreamClient) PostTo(to, key, body string) (status int, answer string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(Within(c.t, 2*Patience), http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Token is what names the stream in Endpoint.
func (c *StreamClient) Token() string {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		c.t.Fatal(err)
	}
	return u.Query().Get("s")
}

// Send posts a request and tells its raw id.
func (c *StreamClient) Send(method, members string) string {
	c.t.Helper()
	id := strconv.FormatInt(c.ids.Add(1), 10)
	if code := c.Post(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":{` + members + `}}`); code != http.StatusAccepted {
		c.t.Fatalf("%s: HTTP %d", method, code)
	}
	return id
}

// Answer waits for the answer to a request.
func (c *StreamClient) Answer(id string) *Reply {
	c.t.Helper()
	r := &Reply{Status: http.StatusOK}
	Eventually(c.t, "answer to "+id, func() bool {
		for _, m := range c.Messages() {
			var a struct {
				ID     json.RawMessage `json:"id"`
				Method string          `json:"method"`
			}
			if json.Unmarshal(m, &a) == nil && string(a.ID) == id && a.Method == "" {
				r.Messages = []json.RawMessage{m}
				return true
			}
		}
		return false
	})
	return r
}

// Call sends a request with raw members of params and waits for its answer.
func (c *StreamClient) Call(method, members string) *Reply {
	c.t.Helper()
	return c.Answer(c.Send(method, members))
}

// Tool calls a tool with raw arguments.
func (c *StreamClient) Tool(name, arguments string) *Reply {
	c.t.Helper()
	return c.Call("tools/call", `"name":"`+name+`","arguments":`+arguments)
}

// Talk calls and answers questions until there is an answer. via sends the nth message after the first one, counted from 1, to
// the endpoint of another replica; nil sends all to Endpoint. It tells how many questions it answered.
func (c *StreamClient) Talk(method, members string, answer Answer, via func(n int) string) (*Reply, int) {
	c.t.Helper()
	id := c.Send(method, members)
	n := 0
	var last *Reply
	Eventually(c.t, "answer to "+id, func() bool {
		for _, m := range c.Messages() {
			q, asked := AsQuestion(m)
			if !asked {
				if r := (&Reply{Status: http.StatusOK, Messages: []json.RawMessage{m}}); r.ID() == id {
					last = r
				}
				continue
			}
			if c.asked[q.Key] {
				continue
			}
			c.asked[q.Key] = true
			n++
			to := c.Endpoint
			if via != nil {
				to = via(n)
			}
			if status, body := c.PostTo(to, c.Key, `{"jsonrpc":"2.0","id":`+q.Key+`,"result":`+answer(q)+`}`); status != http.StatusAccepted {
				c.t.Fatalf("an answer was not taken: HTTP %d %s", status, body)
			}
		}
		return last != nil
	})
	return last, n
}
