package main

import (
	"bytes"
	"fmt"
)

const (
	listenMethod = "subscriptions/listen"
	watchedName  = "watched" // in the path of a server that tells of changes
)

// asked is a call of the upstream that waits for its client's answer.
type asked struct {
	e  *exchange
	id []byte // of the call
}

const streamHead = "HTTP/1.1 200 Answer\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

// appendChunk appends one event of a chunked body.
func appendChunk(dst, message []byte) []byte {
	dst = fmt.Appendf(dst, "%x\r\ndata: ", len("data: ")+len(message)+len("\n\n"))
	return append(append(dst, message...), "\n\n\r\n"...)
}

// ask asks the client a question. The answer to the call follows when that is
// answered, written by whoever brings it: until then this connection reads on,
// and so notices when the client leaves.
func (e *exchange) ask() error {
	e.u.mu.Lock()
	e.u.lastID++
	n := e.u.lastID
	e.u.asked[n] = &asked{e: e, id: bytes.Clone(e.msg.id)}
	e.u.mu.Unlock()
	e.body = fmt.Appendf(e.body[:0], `{"jsonrpc":"2.0","id":%d,"method":"elicitation/create","params":{"message":"Go on?",`+
		`"requestedSchema":{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"]}}}`, n)
	e.out = appendChunk(append(e.out[:0], streamHead...), e.body)
	_, err := e.wire.conn.Write(e.out)
	return err
}

// isAnswer tells whether a message without a method answers a question.
func (u *upstream) isAnswer(m *message) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return m.result != nil && u.asked[int64(decimal(m.id))] != nil
}

// answered ends the call that an answer is for.
func (u *upstream) answered(m *message) {
	n := int64(decimal(m.id))
	u.mu.Lock()
	a := u.asked[n]
	delete(u.asked, n)
	u.mu.Unlock()
	if a == nil {
		return
	}
	text := "refused"
	if bytes.Contains(m.result, []byte(`"ok":true`)) {
		text = "agreed"
	}
	b := fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"result":{"content":[{"type":"text","text":%q}],"isError":false}}`, a.id, text)
	_, _ = a.e.wire.conn.Write(append(appendChunk(nil, b), "0\r\n\r\n"...)) // a client that left needs no answer
}

// listen acknowledges a stream and keeps it; it is told of changes by
// tellChange, and this connection reads on until the client leaves.
func (e *exchange) listen() error {
	meta := `"_meta":{"io.modelcontextprotocol/subscriptionId":` + string(e.msg.id) + `}`
	e.body = append(e.body[:0], `{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true},`+meta+`}}`...)
	e.out = appendChunk(append(e.out[:0], streamHead...), e.body)
	e.u.mu.Lock()
	defer e.u.mu.Unlock()
	e.u.streams[e] = appendChunk(nil, []byte(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{`+meta+`}}`))
	_, err := e.wire.conn.Write(e.out)
	return err
}

func (u *upstream) tellChange() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for e, change := range u.streams {
		_, _ = e.wire.conn.Write(change) // its reader notices when it is gone
	}
}

// hangUp forgets what a connection waited for.
func (u *upstream) hangUp(e *exchange) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.streams, e)
	for n, a := range u.asked {
		if a.e == e {
			delete(u.asked, n)
		}
	}
}
