package main

import (
	"bytes"
	"fmt"
)

// checker checks every answer. What would cost more than the call is done in
// full on the first answer and on every 64th; the others must be as long.
type checker struct {
	t      endpoint
	seen   int
	length int // of the last answer checked in full
}

const fullCheckEvery = 64

func (k *checker) answer(p *response, number []byte) error {
	if p.status != 200 {
		return fmt.Errorf("status %d: %.200s", p.status, p.body)
	}
	if !hasID(p.body, number) {
		return fmt.Errorf("not the answer to id %s: %.200s", number, p.body)
	}
	full := k.seen%fullCheckEvery == 0
	k.seen++
	switch k.t.Op {
	case opEcho:
		return checkEcho(p.body, number)
	case opPayload:
		return checkPayload(p.body, k.t.Size, full)
	case opList:
		if !full && len(p.body) == k.length {
			return nil
		}
		k.length = len(p.body)
		return checkList(p.body, k.t.Size)
	}
	if !bytes.Contains(p.body, []byte(`"content":[`)) {
		return fmt.Errorf("no content: %.200s", p.body)
	}
	return nil
}

var idKey = []byte(`"id":`)

// hasID looks for the id where it may stand: near either end of the message.
func hasID(body, number []byte) bool {
	const near = 256
	if len(body) <= 2*near {
		return idIn(body, number)
	}
	return idIn(body[:near], number) || idIn(body[len(body)-near:], number)
}

func idIn(b, number []byte) bool {
	for {
		i := bytes.Index(b, idKey)
		if i < 0 {
			return false
		}
		b = b[i+len(idKey):]
		if bytes.HasPrefix(b, number) {
			return true
		}
	}
}

func checkEcho(body, number []byte) error {
	i := bytes.Index(body, []byte(`"text":"`))
	if i < 0 || !bytes.HasPrefix(body[i+len(`"text":"`):], number) || len(body)-i < textLen {
		return fmt.Errorf("echo of %s is missing: %.200s", number, body)
	}
	return nil
}

func checkPayload(body []byte, size int, full bool) error {
	_, after, ok := bytes.Cut(body, []byte(`"text":"`))
	if !ok {
		return fmt.Errorf("no text: %.200s", body)
	}
	text := after
	if len(text) <= size || text[size] != '"' {
		return fmt.Errorf("the text is not %d bytes long", size)
	}
	want := filler(size)
	n := size
	if !full {
		n = min(size, 64)
	}
	if !bytes.Equal(text[:n], want[:n]) || !bytes.Equal(text[size-8:size], want[size-8:]) {
		return fmt.Errorf("the text of %d bytes was changed", size)
	}
	return nil
}

func checkList(body []byte, tools int) error {
	if n := bytes.Count(body, []byte(`"inputSchema":`)); n != tools {
		return fmt.Errorf("%d tools instead of %d: %.200s", n, tools, body)
	}
	return nil
}
