package upstream_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/upstream"
)

// TestUndeclared: of kinds and modes that the client did not declare it hears nothing; the server gets an error that says what
// is missing.
func TestUndeclared(t *testing.T) {
	t.Parallel()
	const form, url = `{"message":"m","requestedSchema":{}}`, `{"mode":"url","message":"m","url":"https://x","elicitationId":"1"}`
	for _, tt := range []struct {
		can, method, params string
		code                int // 0: it is asked
		text                string
	}{
		{`{}`, elicit, form, -32601, "does not support elicitation"},
		{`{"elicitation":{}}`, elicit, form, 0, ""},
		{`{"elicitation":{"form":{}}}`, elicit, `{"mode":"form","message":"m","requestedSchema":{}}`, 0, ""},
		{`{"elicitation":{}}`, elicit, url, -32602, "mode url"},
		{`{"elicitation":{"url":{}}}`, elicit, url, 0, ""},
		{`{"elicitation":{"url":{}}}`, elicit, form, -32602, "mode form"},
		{everything, elicit, `{"mode":"voice"}`, -32602, "mode voice"},
		{everything, elicit, `{"mode":"url","Mode":"form"}`, -32602, "mode"},
		{`{"elicitation":{}}`, "sampling/createMessage", `{}`, -32601, "does not support sampling"},
		{`{"sampling":{}}`, "sampling/createMessage", `{"messages":[]}`, 0, ""},
		{`{"sampling":{}}`, "sampling/createMessage", `{"tools":[]}`, -32602, "tools"},
		{`{"sampling":{}}`, "sampling/createMessage", `{"toolChoice":{}}`, -32602, "tools"},
		{`{"sampling":{"tools":{}}}`, "sampling/createMessage", `{"tools":[],"toolChoice":{}}`, 0, ""},
		{`{"sampling":{"tools":{}}}`, "sampling/createMessage", `{"includeContext":"thisServer"}`, -32602, "context"},
		{`{"sampling":{"context":{}}}`, "sampling/createMessage", `{"includeContext":"thisServer"}`, 0, ""},
		{`{"sampling":{}}`, "sampling/createMessage", `{"includeContext":"none"}`, 0, ""},
		{`{"sampling":{}}`, "roots/list", `{}`, -32601, "does not support roots"},
		{`{"roots":{}}`, "roots/list", `{}`, 0, ""},
		{everything, "tools/call", `{}`, -32601, "no such method"},
		{everything, "made/up", `{}`, -32601, "no such method"},
	} {
		t.Run(tt.can+tt.method+tt.params, func(t *testing.T) {
			t.Parallel()
			a := newAsker()
			s := testenv.HTTPServer(t, a.script(func(c *testenv.Call) { c.Text(a.ask(c, tt.method, tt.params)) }))
			me := newCaller(t, open(t, s))
			me.can = tt.can
			r := me.tool(`{}`)
			if tt.code == 0 {
				wants(t, r, "q1")
				me.srv.Abandon(r.parked)
				return
			}
			var e struct {
				Code    int
				Message string
			}
			if err := json.Unmarshal([]byte(r.text()), &e); err != nil || r.parked != 0 {
				t.Fatalf("%+v: %v", r, err)
			}
			if e.Code != tt.code || !strings.Contains(e.Message, tt.text) || !strings.HasPrefix(e.Message, tt.method) {
				t.Errorf("%+v, want %d …%s…", e, tt.code, tt.text)
			}
		})
	}
}

// TestDeclinedAndGaveUp: a call that fails after its question was declined says what was declined and why.
func TestDeclinedAndGaveUp(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		s := start(t, a.script(func(c *testenv.Call) {
			a.ask(c, "roots/list", `{}`)
			c.Error(-32603, "no roots, no fun")
		}))
		me := newCaller(t, open(t, s))
		me.can = `{}`
		r := me.tool(`{}`)
		e := errs.Of(r.err)
		if e == nil || e.Kind != errs.Unsupported || !strings.Contains(e.Msg, "roots/list declined") || !strings.Contains(e.Msg, "no fun") {
			t.Errorf("%+v", r)
		}
	})
}

// TestQuestionsElsewhere: only tools/call, prompts/get and resources/read can end in input_required; what is asked within other
// requests, or within none, is declined.
func TestQuestionsElsewhere(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		script := a.script(nil)
		ask := func(c *testenv.Call) {
			c.Result(`{"said":` + a.ask(c, elicit, really) + `}`)
		}
		script.On = map[string]func(*testenv.Call){
			"": a.answered, "prompts/get": ask, "resources/read": ask, "completion/complete": ask, "tools/list": ask,
		}
		me := newCaller(t, open(t, start(t, script)))
		ctx := testenv.Within(t, testenv.Patience)
		for _, tt := range []struct {
			method, params string
			parks          bool
		}{
			{"prompts/get", `{"name":"p"}`, true},
			{"resources/read", `{"uri":"x://y"}`, true},
			{"completion/complete", `{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":""}}`, false},
			{"tools/list", `{}`, false},
		} {
			r := me.do(ctx, `1`, tt.method, tt.params)
			if tt.parks {
				wants(t, r, "q1")
				r = me.do(ctx, `2`, tt.method, tt.params, with(r.parked, "q1", accept))
				if r.err != nil || !strings.Contains(r.body, accept) {
					t.Errorf("%s: %+v", tt.method, r)
				}
			} else if r.err != nil || !strings.Contains(r.body, "-32600") || !strings.Contains(r.body, "only within tools/call") {
				t.Errorf("%s: %+v", tt.method, r)
			}
		}
	})
}

// TestSeveralCallsOverStdio: while a call is parked in the shared child, further ones have a child to themselves, as long as
// there are some. Then nothing tells whose question it is, so nobody gets it; once a parked call has ended, the next question
// is certain again.
func TestSeveralCallsOverStdio(t *testing.T) {
	t.Parallel()
	a := newAsker()
	s := testenv.StdioServer(t, a.script(func(c *testenv.Call) { c.Text(a.ask(c, elicit, really)) }))
	srv := open(t, s)
	me, you := newCaller(t, srv), newCaller(t, srv)
	you.name = "you"
	var mine []uint64
	for range 5 {
		r := me.tool(`{}`)
		wants(t, r, "q1")
		mine = append(mine, r.parked)
	}
	if n := len(s.Children()); n != 5 {
		t.Errorf("%d children", n)
	}
	if r := you.tool(`{}`); !strings.Contains(r.text(), "several calls are under way") || !strings.Contains(r.text(), "-32600") {
		t.Errorf("%+v", r)
	}
	for _, parked := range mine {
		if r := me.resume(parked, "q1", accept); r.text() != accept {
			t.Errorf("%+v", r)
		}
	}
	yours := you.tool(`{}`)
	wants(t, yours, "q1")
	if r := you.resume(yours.parked, "q1", decline); r.text() != decline {
		t.Errorf("%+v", r)
	}
	if n := len(s.Children()); n != 5 {
		t.Errorf("%d children in the end", n)
	}
}

// TestQuestionDuringOwnRequests: while requests of the gateway itself are under way a child's question waits, and then goes to
// the one call of a client.
func TestQuestionDuringOwnRequests(t *testing.T) {
	t.Parallel()
	for _, ends := range []bool{false, true} {
		t.Run(fmt.Sprint("call ends first ", ends), func(t *testing.T) {
			t.Parallel()
			a := newAsker()
			listing, list := make(chan struct{}), make(chan struct{})
			asked, said := make(chan struct{}), make(chan string, 1)
			script := a.script(func(c *testenv.Call) {
				answer := a.send(c, `1`, elicit, really)
				close(asked)
				if ends {
					c.Text("gone")
				}
				said <- answer()
				if !ends {
					c.Text("asked")
				}
			})
			script.On["tools/list"] = func(c *testenv.Call) {
				close(listing)
				<-list
				c.Default()
			}
			srv := open(t, testenv.StdioServer(t, script))
			gateway, me := newCaller(t, srv), newCaller(t, srv)
			gateway.name = ""
			done, replies := make(chan reply, 1), make(chan reply, 1)
			go func() { done <- gateway.do(testenv.Within(t, testenv.Patience), `1`, "tools/list", `{}`) }()
			<-listing
			go func() { replies <- me.tool(`{}`) }()
			<-asked
			if ends {
				if r := <-replies; r.text() != "gone" {
					t.Fatalf("%+v", r)
				}
			}
			close(list)
			if r := <-done; r.err != nil {
				t.Error(r.err)
			}
			if ends {
				<-said // whatever it is: the script would hang without an answer
				return
			}
			r := <-replies
			wants(t, r, "q1")
			if r = me.resume(r.parked, "q1", accept); r.text() != "asked" || <-said != accept {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestQuestionBeforeList: a child that answers a list only after the call that asks is over keeps neither waiting for long, and a
// client that cannot be asked not at all.
func TestQuestionBeforeList(t *testing.T) {
	t.Parallel()
	for _, able := range []bool{true, false} {
		t.Run(fmt.Sprint("able ", able), func(t *testing.T) {
			t.Parallel()
			a := newAsker()
			listing, over := make(chan struct{}), make(chan struct{})
			script := a.script(func(c *testenv.Call) {
				<-listing
				c.Text(a.ask(c, elicit, really))
				close(over)
			})
			script.On["tools/list"] = func(c *testenv.Call) {
				close(listing)
				<-over
				c.Default()
			}
			srv := open(t, testenv.StdioServer(t, script))
			gateway, me := newCaller(t, srv), newCaller(t, srv)
			gateway.name = ""
			if !able {
				me.can = `{}`
			}
			done := make(chan reply, 1)
			go func() { done <- gateway.do(testenv.Within(t, testenv.Patience), `1`, "tools/list", `{}`) }()
			r := me.tool(`{}`)
			if able {
				wants(t, r, "q1")
				r = me.resume(r.parked, "q1", accept)
			}
			if want := map[bool]string{true: accept, false: "does not support elicitation"}[able]; r.err != nil || !strings.Contains(r.text(), want) {
				t.Errorf("%+v", r)
			}
			if r := <-done; r.err != nil {
				t.Error(r.err)
			}
		})
	}
}

// TestDeclinedInTheLog: that a client lacks what a server asks for is nothing to warn of, nor is a server that asks for roots at once.
func TestDeclinedInTheLog(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		for _, tt := range []struct{ can, within, method, params, level string }{
			{`{}`, "tools/call", "roots/list", `{}`, "DEBUG"},
			{`{}`, "tools/call", elicit, really, "DEBUG"},
			{everything, "tools/list", "roots/list", `{}`, "DEBUG"},
			{everything, "tools/list", elicit, really, "WARN"},
			{everything, "tools/call", elicit, `{"mode":"voice"}`, "WARN"},
			{`{}`, "tools/call", "made/up", `{}`, "WARN"},
		} {
			a := newAsker()
			script := a.script(nil)
			ask := func(c *testenv.Call) { c.Result(`{"said":` + a.ask(c, tt.method, tt.params) + `}`) }
			script.On = map[string]func(*testenv.Call){"": a.answered, tt.within: ask}
			lines := make(chan string, 100)
			log := slog.New(slog.NewTextHandler(eachLine(lines), &slog.HandlerOptions{Level: slog.LevelDebug}))
			me := newCaller(t, openWith(t, start(t, script), upstream.Options{Name: "one", Log: log}))
			me.can = tt.can
			if r := me.do(testenv.Within(t, testenv.Patience), `1`, tt.within, `{"name":"ask"}`); r.err != nil || r.parked != 0 {
				t.Errorf("%+v: %+v", tt, r)
			}
			var got string
			for got == "" {
				if line := await(t, lines); strings.Contains(line, "declined") {
					got = line
				}
			}
			if !strings.Contains(got, "level="+tt.level+" ") || !strings.Contains(got, tt.method) {
				t.Errorf("%+v: %s", tt, got)
			}
		}
	})
}

// eachLine passes on what is written line by line.
type eachLine chan string

func (c eachLine) Write(b []byte) (int, error) {
	select {
	case c <- string(b):
	default: // nobody reads so many
	}
	return len(b), nil
}

// TestPing is answered by the gateway, also while a call is parked over stdio.
func TestPing(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		a := newAsker()
		me := newCaller(t, open(t, start(t, a.script(func(c *testenv.Call) {
			c.Text(a.ask(c, "ping", `{}`) + a.ask(c, elicit, really) + a.ask(c, "ping", `{}`))
		}))))
		r := me.tool(`{}`)
		wants(t, r, "q1")
		if r = me.resume(r.parked, "q1", accept); r.text() != `{}`+accept+`{}` {
			t.Errorf("%+v", r)
		}
	})
}

// TestDeclared: a session declares exactly what its callers can be asked, one session for each such set; the gateway's own
// session and a child declare everything.
func TestDeclared(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
	me := newCaller(t, open(t, s))
	for _, tt := range []struct{ can, want string }{
		{`{}`, `{}`},
		{`{"elicitation":{},"experimental":{"x":1}}`, `{"elicitation":{"form":{}}}`},
		{`{"elicitation":{"form":{}}}`, ``}, // the session there is
		{`{"sampling":{"tools":{}},"roots":{"listChanged":true}}`, `{"sampling":{"tools":{}},"roots":{}}`},
	} {
		for range 2 {
			n := len(s.Received("initialize"))
			me.can = tt.can
			if r := me.tool(`{}`); r.err != nil {
				t.Fatal(r.err)
			}
			opened := s.Received("initialize")[n:]
			switch {
			case tt.want == "" && len(opened) == 0:
			case tt.want == "" || len(opened) != 1 || opened[0].Param("capabilities") != tt.want:
				t.Errorf("%s opened %d sessions, want one with %s", tt.can, len(opened), tt.want)
			}
			tt.want = ""
		}
	}
	if got := s.Received("initialize")[0].Param("capabilities"); got != string(upstream.AllAbilities.Capabilities()) {
		t.Errorf("the gateway declares %s", got)
	}
	child := testenv.StdioServer(t, testenv.Script{Era: testenv.Legacy})
	open(t, child)
	if got := child.Received("initialize")[0].Param("capabilities"); got != string(upstream.AllAbilities.Capabilities()) {
		t.Errorf("to a child the gateway declares %s", got)
	}
}

// TestCapabilitiesToModernServers are those of the client, as it wrote them.
func TestCapabilitiesToModernServers(t *testing.T) {
	t.Parallel()
	const can = `{"elicitation":{"url":{}},"experimental":{"n":1.0}}`
	eachTransport(t, func(t *testing.T, start starter) {
		s := start(t, testenv.Script{Tools: testenv.Tools(1)})
		if s.Era() != testenv.Modern {
			t.Skip("there are no modern ones")
		}
		me := newCaller(t, open(t, s))
		me.modern, me.can = false, can
		if r := me.tool(`{}`); r.err != nil {
			t.Fatal(r.err)
		}
		if got := s.Received("tools/call")[0].Meta("io.modelcontextprotocol/clientCapabilities"); got != can {
			t.Errorf("%s", got)
		}
	})
}

// TestRetryMembers are not for legacy servers: a call that is made anew goes without them.
func TestRetryMembers(t *testing.T) {
	t.Parallel()
	eachTransport(t, func(t *testing.T, start starter) {
		s := start(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
		me := newCaller(t, open(t, s))
		r := me.do(t.Context(), `1`, "tools/call", `{"requestState":"s","name":"tool0000","inputResponses":{"k":{}},"arguments":{"requestState":1.0}}`)
		if r.err != nil {
			t.Fatal(r.err)
		}
		got := s.Received("tools/call")[0]
		if want := `"params":{"name":"tool0000","arguments":{"requestState":1.0}}`; !strings.Contains(string(got.Body), want) {
			t.Errorf("%s, want %s", got.Body, want)
		}
	})
}
