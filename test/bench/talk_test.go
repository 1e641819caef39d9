package main

import (
	"bytes"
	"testing"
)

// What a call asked is answered over another connection, and the call ends on its own.
func TestAskAndListen(t *testing.T) {
	_, addr := serveUpstream(t)
	dial := func(e endpoint) *client {
		e.Addr = addr
		c, err := dialClient(e, soon())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.drop)
		return c
	}
	asks := dial(endpoint{Path: "/legacy/3/mcp", Era: legacy, Op: opAsk, Tool: string(opAsk)})
	asks.req.stamp()
	if _, err := asks.wire.conn.Write(asks.req.raw); err != nil {
		t.Fatal(err)
	}
	if head, err := asks.wire.until(blankLine); err != nil || !bytes.Contains(head, []byte("text/event-stream")) {
		t.Fatalf("%q, %v", head, err)
	}
	if b, err := asks.wire.chunk(); err != nil || !bytes.Contains(b, []byte(`"id":1,"method":"elicitation/create"`)) {
		t.Fatalf("%q, %v", b, err)
	}
	answers := dial(endpoint{Path: "/legacy/3/mcp", Era: legacy, Op: opEcho, Tool: "echo"})
	for _, want := range []int{202, 400} { // it was asked once
		body := `{"jsonrpc":"2.0","id":1,"result":{"action":"accept","content":{"ok":true}}}`
		raw := append(answers.t.head("POST", "", "", answers.session, len(body)), body...)
		if err := answers.send(&request{raw: raw}); err != nil || answers.resp.status != want {
			t.Fatalf("answer: status %d, %v, want %d", answers.resp.status, err, want)
		}
	}
	if b, err := asks.wire.chunked(); err != nil || !bytes.Contains(b, []byte("agreed")) || !hasID(b, asks.req.number()) {
		t.Errorf("%q, %v", b, err)
	}

	listens := dial(endpoint{Path: "/modern/3/" + watchedName + "/mcp", Era: modern, Op: opListen})
	l, err := listens.openListen(7)
	if err != nil {
		t.Fatal(err)
	}
	defer l.drop()
	if status, _, err := listens.get(changePath); err != nil || status != 200 {
		t.Fatal(status, err)
	}
	if err := l.hear(listChanged); err != nil {
		t.Error(err)
	}
}
