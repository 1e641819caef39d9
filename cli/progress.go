package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// progress shows the notifications of a running call: on a terminal as one
// line that is rewritten, else a line each.
type progress struct {
	w        io.Writer
	terminal bool
	open     bool // a line stands that is not ended yet
}

func newProgress(w io.Writer) *progress {
	return &progress{w: w, terminal: isTerminal(w)}
}

// notification is what is shown of notifications/progress and
// notifications/message. Numbers stay text: they are only shown.
type notification struct {
	Method string `json:"method"`
	Params struct {
		Progress json.Number     `json:"progress"`
		Total    json.Number     `json:"total"`
		Message  string          `json:"message"`
		Level    string          `json:"level"`
		Data     json.RawMessage `json:"data"`
	} `json:"params"`
}

// notify shows one notification.
func (p *progress) notify(message []byte) {
	var n notification
	if json.Unmarshal(message, &n) != nil {
		return // a courtesy that cannot be read is no reason to fail the call
	}
	switch n.Method {
	case "notifications/progress":
		p.show(n.progress())
	case "notifications/message":
		p.done()
		p.line(printable(n.Params.Level + ": " + plain(n.Params.Data)))
	}
}

// tiny is the progress below which a number says nothing: a gateway counts in such steps while a call waits.
const tiny = 0.001

// progress is "2/5 message", with what is known of it.
func (n *notification) progress() string {
	done := n.Params.Progress.String()
	if total := n.Params.Total.String(); total != "" {
		done += "/" + total
	} else if v, err := n.Params.Progress.Float64(); err == nil && v >= 0 && v < tiny && n.Params.Message != "" {
		done = ""
	}
	return strings.ReplaceAll(printable(strings.TrimSpace(done+" "+n.Params.Message)), "\n", " ")
}

// plain is the text of a JSON string, or any other JSON value as it is.
func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// show writes a line over the last one. Automatic wrapping is off meanwhile:
// a line longer than the terminal is cut, since a wrapped one could not be
// rewritten.
func (p *progress) show(line string) {
	if !p.terminal {
		p.line(line)
		return
	}
	_, _ = fmt.Fprintf(p.w, "\r\x1b[?7l%s\x1b[K\x1b[?7h", line)
	p.open = true
}

func (p *progress) line(line string) { _, _ = fmt.Fprintln(p.w, line) }

// done takes a standing line away.
func (p *progress) done() {
	if p.open {
		_, _ = io.WriteString(p.w, "\r\x1b[K")
		p.open = false
	}
}
