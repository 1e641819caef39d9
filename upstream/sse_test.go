package upstream_test

import (
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestStreamsOfCallers: what a server asks on a stream is for the one call under way there, whatever others have under way on
// theirs; beside a second call it is declined, since the stream does not tell whose question it is.
func TestStreamsOfCallers(t *testing.T) {
	t.Parallel()
	let := make(chan struct{})
	s := testenv.StreamServer(t, testenv.Script{Tools: []string{testenv.Tool("ask"), testenv.Tool("hold")}, On: map[string]func(*testenv.Call){
		"tools/call hold": func(c *testenv.Call) {
			select {
			case <-let:
				c.Text("held")
			case <-c.Done:
			}
		},
		"tools/call ask": func(c *testenv.Call) { c.Converse(oneQuestion) },
	}})
	srv := open(t, s)
	me, other := newCaller(t, srv), newCaller(t, srv)
	other.name = "other"
	held := make(chan reply, 1)
	go func() { held <- other.do(t.Context(), `1`, "tools/call", `{"name":"hold"}`) }()
	s.Await("tools/call", 1)
	r := me.do(t.Context(), `1`, "tools/call", `{"name":"ask"}`)
	if r.err != nil || r.parked == 0 {
		t.Fatalf("beside another caller's: %s %v", r.body, r.err)
	}
	if r = me.resume(r.parked, "q1", `{"action":"accept","content":{"answer":"yes"}}`); r.text() != "yes" {
		t.Errorf("answered: %s %v", r.body, r.err)
	}
	r = other.do(t.Context(), `2`, "tools/call", `{"name":"ask"}`)
	if r.parked != 0 || !strings.Contains(r.body+errorText(r.err), "HTTP+SSE does not tell which one asks") {
		t.Errorf("beside one's own: %s %v", r.body, r.err)
	}
	close(let)
	if r := <-held; r.text() != "held" {
		t.Errorf("the other call: %s %v", r.body, r.err)
	}
	if n := len(s.Lines()); n != 3 {
		t.Errorf("%d streams for the gateway and two callers", n)
	}
}

// oneQuestion asks once and ends with the answer.
func oneQuestion(_ *testenv.Call, known testenv.Answers) ([]testenv.Question, string) {
	if known["q"] == nil {
		return []testenv.Question{testenv.Elicit("q", "really?")}, ""
	}
	return nil, known.Text("q")
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
