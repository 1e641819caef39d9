package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// ask calls a tool that asks, and returns the state to come back with.
func (c *client) ask() (state string, err error) {
	if err := c.send(c.req); err != nil {
		return "", err
	}
	var result []byte
	members(c.resp.body, func(k, v []byte) {
		if string(k) == "result" {
			result = v
		}
	})
	members(result, func(k, v []byte) {
		if string(k) == "requestState" {
			state = string(v)
		}
	})
	if c.resp.status != 200 || state == "" || !bytes.Contains(result, []byte(`"q1":{`)) {
		return "", fmt.Errorf("no question: status %d: %.300s", c.resp.status, c.resp.body)
	}
	return state, nil
}

// agree calls the tool again with the answer to what it asked.
func (c *client) agree(state string) error {
	again := newRequest("tools/call", c.t.Tool, `"name":"`+c.t.Tool+`","arguments":{"text":"x"},"requestState":`+state+
		`,"inputResponses":{"q1":{"action":"accept","content":{"ok":true}}},`, c.t, c.session)
	again.n = c.req.n
	if err := c.send(again); err != nil {
		return err
	}
	c.req.n = again.n
	if c.resp.status != 200 || !hasID(c.resp.body, again.number()) || !bytes.Contains(c.resp.body, []byte(`"text":"agreed"`)) {
		return fmt.Errorf("call that asked: status %d: %.300s", c.resp.status, c.resp.body)
	}
	return nil
}

// openListen opens a stream on a connection of its own, and returns once it is
// acknowledged.
func (c *client) openListen(number int) (*client, error) {
	conn, err := net.DialTimeout("tcp", c.t.Addr, patience)
	if err != nil {
		return nil, err
	}
	l := &client{t: c.t, wire: newWire(conn, 1<<10)}
	l.req = l.t.measured("")
	l.req.n = number
	l.req.stamp()
	if err = conn.SetDeadline(time.Now().Add(patience)); err == nil {
		_, err = conn.Write(l.req.raw)
	}
	if err == nil {
		err = l.begin()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return l, nil
}

const patience = 20 * time.Second // of a client with a stream

// begin reads the head of a stream and its first event.
func (c *client) begin() error {
	head, err := c.wire.until(blankLine)
	if err != nil {
		return cutOff(err)
	}
	if err := c.resp.parse(head); err != nil {
		return err
	}
	if c.resp.status != 200 || !c.resp.chunked {
		return fmt.Errorf("no stream: %.300s", head)
	}
	return c.hear(acknowledged)
}

// listenOnce opens a stream on a connection of its own and closes it.
func (c *client) listenOnce() error {
	l, err := c.openListen(c.req.n)
	if err != nil {
		return err
	}
	c.req.n++
	return l.wire.conn.Close()
}

var (
	acknowledged = []byte("notifications/subscriptions/acknowledged")
	listChanged  = []byte("notifications/tools/list_changed")
)

// hear reads events until one of a method.
func (c *client) hear(method []byte) error {
	for {
		part, err := c.wire.chunk()
		switch {
		case err != nil:
			return err
		case len(part) == 0:
			return fmt.Errorf("the stream ended before %s", method)
		case bytes.Contains(part, method):
			if !bytes.Contains(part, c.req.number()) {
				return fmt.Errorf("not for stream %s: %.300s", c.req.number(), part)
			}
			return nil
		}
	}
}

// metric reads one figure off the gateway's own.
func metric(page []byte, name string) (float64, error) {
	for line := range bytes.Lines(page) {
		if value, ok := bytes.CutPrefix(line, []byte(name+" ")); ok {
			return strconv.ParseFloat(string(bytes.TrimSpace(value)), 64)
		}
	}
	return 0, fmt.Errorf("/metrics has no %s", name)
}
