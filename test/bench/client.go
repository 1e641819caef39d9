package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// op is what a client asks for.
type op string

const (
	opEcho    op = "echo"    // tools/call with a short text, which comes back
	opPayload op = "payload" // tools/call that answers with size bytes of text
	opSleep   op = "sleep"   // tools/call that takes size milliseconds
	opList    op = "list"    // tools/list of size tools
	opAsk     op = "ask"     // tools/call that asks its modern client once
	opListen  op = "listen"  // subscriptions/listen on a new connection, closed at once
)

// endpoint is where a client sends what, and as whom.
type endpoint struct {
	Addr string `json:"addr"` // host:port
	Path string `json:"path"`
	Key  string `json:"key"` // bearer token, may be empty
	Era  era    `json:"era"`
	Op   op     `json:"op"`
	Tool string `json:"tool"` // name the tool has here
	Size int    `json:"size"` // see op
}

const (
	firstID = 100_000_000 // ids keep nine digits
	textLen = 64          // of the text echo returns
)

// request is one request, ready to be sent again and again: its number stands
// at fixed places.
type request struct {
	raw []byte
	at  []int
	n   int
}

const hole = "@@@@@@@@@" // stands for the number while a request is put together

func newRequest(method, name, params string, t endpoint, session string) *request {
	if t.Era == modern {
		can := "{}"
		if t.Op == opAsk {
			can = `{"elicitation":{}}`
		}
		params += `"_meta":{"io.modelcontextprotocol/protocolVersion":"` + modernVersion +
			`","io.modelcontextprotocol/clientInfo":{"name":"bench","version":"1.0.0"},"io.modelcontextprotocol/clientCapabilities":` + can + `}`
	}
	body := `{"jsonrpc":"2.0","id":` + hole + `,"method":"` + method + `","params":{` + strings.TrimSuffix(params, ",") + `}}`
	if strings.HasPrefix(method, "notifications/") {
		body = `{"jsonrpc":"2.0","method":"` + method + `"}`
	}
	r := &request{raw: append(t.head("POST", method, name, session, len(body)), body...)}
	for at := 0; ; {
		i := bytes.Index(r.raw[at:], []byte(hole))
		if i < 0 {
			return r
		}
		at += i
		r.at = append(r.at, at)
		at += len(hole)
	}
}

func (t endpoint) head(verb, method, name, session string, length int) []byte {
	h := fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench/1.0\r\n", verb, t.Path, t.Addr)
	if t.Key != "" {
		h = fmt.Appendf(h, "Authorization: Bearer %s\r\n", t.Key)
	}
	if verb == "POST" {
		h = fmt.Appendf(h, "Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: %d\r\n", length)
	}
	switch {
	case t.Era == modern:
		h = fmt.Appendf(h, "MCP-Protocol-Version: %s\r\nMcp-Method: %s\r\n", modernVersion, method)
		if name != "" {
			h = fmt.Appendf(h, "Mcp-Name: %s\r\n", name)
		}
	case method != "initialize":
		h = fmt.Appendf(h, "MCP-Protocol-Version: %s\r\n", legacyVersion)
		if session != "" {
			h = fmt.Appendf(h, "Mcp-Session-Id: %s\r\n", session)
		}
	}
	return append(h, crlf...)
}

// measured is the request a load sends.
func (t endpoint) measured(session string) *request {
	switch t.Op {
	case opList:
		return newRequest("tools/list", "", "", t, session)
	case opListen:
		return newRequest(listenMethod, "", `"notifications":{"toolsListChanged":true},`, t, session)
	}
	var arguments string
	switch t.Op {
	case opPayload:
		arguments = fmt.Sprintf(`"bytes":%d`, t.Size)
	case opAsk:
		arguments = `"text":"x"`
	case opSleep:
		arguments = fmt.Sprintf(`"ms":%d`, t.Size)
	default:
		arguments = `"text":"` + hole + strings.Repeat("-", textLen-len(hole)) + `"`
	}
	return newRequest("tools/call", t.Tool, `"name":"`+t.Tool+`","arguments":{`+arguments+`},`, t, session)
}

// stamp gives the request its next number.
func (r *request) stamp() {
	r.n = (r.n + 1) % (1_000_000_000 - firstID)
	for _, at := range r.at {
		n := r.n + firstID
		for i := at + len(hole) - 1; i >= at; i-- {
			r.raw[i] = byte('0' + n%10)
			n /= 10
		}
	}
}

// number is the number of the last stamp, in digits.
func (r *request) number() []byte { return r.raw[r.at[0] : r.at[0]+len(hole)] }

// client is one connection, and its session if the era has them.
type client struct {
	t       endpoint
	wire    *wire
	session string
	req     *request
	resp    response
	check   checker
}

// dialClient connects and opens the session. Everything it does ends by the deadline.
func dialClient(t endpoint, deadline time.Time) (*client, error) {
	conn, err := net.DialTimeout("tcp", t.Addr, time.Until(deadline))
	if err != nil {
		return nil, err
	}
	c := &client{t: t, wire: newWire(conn, 16<<10), check: checker{t: t}}
	err = conn.SetDeadline(deadline)
	if err == nil && t.Era == legacy {
		err = c.openSession()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	c.req = t.measured(c.session)
	return c, nil
}

func (c *client) openSession() error {
	c.session = ""
	if err := c.send(newRequest("initialize", "", `"protocolVersion":"`+legacyVersion+`","capabilities":{},"clientInfo":{"name":"bench","version":"1.0.0"},`, c.t, "")); err != nil {
		return err
	}
	if c.resp.status != 200 {
		return fmt.Errorf("initialize: status %d: %.200s", c.resp.status, c.resp.body)
	}
	c.session = c.resp.session
	if err := c.send(newRequest("notifications/initialized", "", "", c.t, c.session)); err != nil {
		return err
	}
	if c.resp.status != 202 {
		return fmt.Errorf("notifications/initialized: status %d: %.200s", c.resp.status, c.resp.body)
	}
	return nil
}

// endSession deletes the session.
func (c *client) endSession() error {
	if c.session == "" {
		return nil
	}
	if err := c.send(&request{raw: c.t.head("DELETE", "", "", c.session, 0)}); err != nil {
		return err
	}
	if c.resp.status/100 != 2 {
		return fmt.Errorf("DELETE: status %d: %.200s", c.resp.status, c.resp.body)
	}
	c.session = ""
	return nil
}

func (c *client) send(r *request) error {
	r.stamp()
	if _, err := c.wire.conn.Write(r.raw); err != nil {
		return err
	}
	return c.wire.response(&c.resp)
}

// do sends the measured request once more and checks its answer.
func (c *client) do() error {
	switch c.t.Op {
	case opAsk:
		state, err := c.ask()
		if err != nil {
			return err
		}
		return c.agree(state)
	case opListen:
		return c.listenOnce()
	}
	if err := c.send(c.req); err != nil {
		return err
	}
	return c.check.answer(&c.resp, c.req.number())
}

// close ends the session and the connection.
func (c *client) close() error {
	return errors.Join(c.endSession(), c.wire.conn.Close())
}

// drop closes the connection where nothing can be done about an error.
func (c *client) drop() { _ = c.wire.conn.Close() }

// get asks for a path and returns status and body.
func (c *client) get(path string) (int, []byte, error) {
	raw := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, c.t.Addr)
	if _, err := c.wire.conn.Write(raw); err != nil {
		return 0, nil, err
	}
	err := c.wire.response(&c.resp)
	return c.resp.status, c.resp.body, err
}
