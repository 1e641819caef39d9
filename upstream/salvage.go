package upstream

import (
	"bytes"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// salvageMost bounds the places at which a message is looked for in one line.
const salvageMost = 16

// beginnings are how messages of servers begin; within a string their quotes would be escaped.
var beginnings = [...][]byte{[]byte(`{"jsonrpc"`), []byte(`{"result"`), []byte(`{"error"`), []byte(`{"id"`), []byte(`{"method"`)}

// salvage takes what is left of a line that is no message: text that was printed without a newline, or half a message, may stand
// before one that is whole. The call whose answer was begun and not ended fails; it will get no other.
func (in *instance) salvage(line []byte) {
	from := 1
	for range salvageMost {
		at := begins(line, from)
		if at < 0 {
			break
		}
		if in.isMessage(line[at:]) {
			rest := mcp.GetBuffer(len(line) - at)
			rest.B = append(rest.B[:0], line[at:]...)
			in.message(rest)
			line = line[:at]
			break
		}
		from = at + 1
	}
	in.lost(line)
}

func (in *instance) isMessage(b []byte) bool {
	var m mcp.Message
	return mcp.Scan(b, &m, in.s.limits()) == nil
}

// begins is where the next message may begin; -1 when there is none.
func begins(line []byte, from int) int {
	first := -1
	for _, b := range beginnings {
		if i := bytes.Index(line[min(from, len(line)):], b); i >= 0 && (first < 0 || from+i < first) {
			first = from + i
		}
	}
	return first
}

// lost fails the call that a broken line began to answer, where the line shows which one that is.
func (in *instance) lost(line []byte) {
	id, kind := oversizedID(line[:min(len(line), 4<<10)], line[max(0, len(line)-4<<10):])
	if kind != oversizedAnswer || !bytes.Contains(line[:min(len(line), 200)], []byte(`"jsonrpc"`)) {
		return // many a log line has an id too
	}
	in.mu.Lock()
	w := in.pending[id]
	if w != nil {
		in.remove(id)
	}
	in.mu.Unlock()
	if w != nil {
		w.err = in.s.errorf(errs.Protocol, "answers with a %s that is not valid JSON", in.p.words().message)
		close(w.answer)
	}
}
