package gateway

import (
	"context"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// Retry serves the exchange again with the answers to what its last answer asked (resultType input_required). state is the
// raw requestState of that answer, nil when it had none. It is what a modern client does by itself (mrtr "Retry"); the front
// of a legacy client does it in its place.
func (g *Gateway) Retry(ctx context.Context, x *Exchange, state []byte, answers []upstream.Answer) error {
	err := g.renew(x)
	if err == nil {
		err = x.settleAnswers(answers)
	}
	if err != nil {
		g.Forsake(x)
		return err
	}
	x.Out.Free()
	x.call = upstream.Call{Add: x.call.Add, Timing: x.call.Timing}
	x.state, x.answers, x.parked = state, answers, 0
	return g.Serve(ctx, x)
}

// Forsake ends the call, or the task in its place, that the exchange left waiting at its server, when nobody will answer what
// it asked.
func (g *Gateway) Forsake(x *Exchange) {
	switch {
	case x.parked != 0:
		g.parking.end(x.parked)
		x.parked = 0
	case x.behalf():
		g.canceller(x.about)()
	}
}

// settleAnswers writes the answers of a legacy client as a modern server takes them: a refused elicitation is one that was
// cancelled; nothing can be said for any other refused question, so the call ends.
func (x *Exchange) settleAnswers(answers []upstream.Answer) error {
	if len(answers) == 0 {
		x.call.Add = nil // the server only asked to be called again (mrtr "Load Shedding")
		return nil
	}
	add := []byte(`"inputResponses":{`)
	for i, a := range answers {
		result := a.Result
		if result == nil {
			if x.asked(a.Key) != mcp.MethodElicit && x.parked == 0 {
				text, _ := mcp.Lookup(a.Error, mcp.Span{End: int32(len(a.Error))}, "message")
				message, _ := mcp.Text(a.Error, text.Span, nil)
				return errs.E("client", errs.Unsupported, "answered the server's question with an error, which %s has no form for: %.200s",
					mcp.VersionModern, message).Quoting()
			}
			result = []byte(`{"action":"cancel"}`)
		}
		if i > 0 {
			add = append(add, ',')
		}
		add = append(append(mcp.AppendString(add, a.Key), ':'), result...)
	}
	add = append(add, '}')
	x.call.Add = add
	return nil
}

// asked tells the method of a question of the present answer.
func (x *Exchange) asked(key string) mcp.Method {
	method := mcp.MethodUnknown
	eachQuestion(&x.Out, func(k string, m mcp.Method, _ mcp.Span) bool {
		if k == key {
			method = m
		}
		return k != key
	})
	return method
}

// eachQuestion calls f for each element of inputRequests: its key, method and params.
func eachQuestion(out *mcp.Raw, f func(key string, m mcp.Method, params mcp.Span) bool) {
	mcp.Members(out.Body, out.Get(mcp.KeyInputRequests), func(q mcp.Field) bool {
		name := q.Name(out.Body)
		key, _ := mcp.Text(name, mcp.Span{End: int32(len(name))}, nil)
		m, _ := mcp.Lookup(out.Body, q.Span, "method")
		p, _ := mcp.Lookup(out.Body, q.Span, "params")
		method, _ := mcp.Text(out.Body, m.Span, nil)
		return f(string(key), mcp.MethodOf(string(method)), p.Span)
	})
}

// readAnswers reads a modern client's inputResponses.
func (x *Exchange) readAnswers() error {
	span := x.In.Get(mcp.KeyInputResponses)
	if !x.Client.Modern || !span.Present() {
		return nil
	}
	body := x.In.Body
	if body[span.Start] != '{' {
		return errs.E("gateway", errs.Invalid, "params.inputResponses is %.40s; it must be an object of answers by key", span.Of(body))
	}
	var wrong error
	mcp.Members(body, span, func(f mcp.Field) bool {
		name := f.Name(body)
		key, ok := mcp.Text(name, mcp.Span{End: int32(len(name))}, nil)
		if !ok || body[f.Start] != '{' {
			wrong = errs.E("gateway", errs.Invalid, "params.inputResponses[%.60s] is %.40s; an answer is an object", name, f.Of(body))
			return false
		}
		x.answers = append(x.answers, upstream.Answer{Key: string(key), Result: f.Of(body)})
		return len(x.answers) < answersMost
	})
	return wrong
}

const answersMost = 1000 // in one request

// accepted: the client was sent to a URL that a legacy server wants opened before the call is made again.
func (x *Exchange) accepted() error {
	for _, a := range x.answers {
		action, _ := mcp.Lookup(a.Result, mcp.Span{End: int32(len(a.Result))}, "action")
		if string(action.Of(a.Result)) != `"accept"` {
			return errs.E("client", errs.Canceled, "the user did not agree to open the URL that the server asks for")
		}
	}
	return nil
}

// question looks at an answer that asks the client something: the server may ask only what the client declared, and the state
// that the client is to bring back is sealed.
func (g *Gateway) question(x *Exchange) error {
	if !x.asksBack() {
		return nil
	}
	if err := g.mayAsk(x); err != nil {
		if x.call.Parked != 0 {
			x.member.server.Abandon(x.call.Parked)
		}
		return err
	}
	s := &state{of: stateInner, server: x.member.Name, rounds: x.rounds + 1, spent: x.call.Spent, digest: x.digest()}
	own := x.Out.Get(mcp.KeyRequestState)
	if x.call.Parked != 0 {
		if err := g.parking.add(g, x); err != nil {
			return err
		}
		x.parked = x.call.Parked
		s.of, s.number, s.replica = stateParked, x.call.Parked, g.o.Node.ID()
		if x.behalf() {
			s.inner = x.about.payload()
		}
		x.Out.Edits.Insert(x.Out.Body, x.Out.Payload, append([]byte(`"requestState":`), g.sealState(x, s)...))
		return nil
	}
	if x.behalf() {
		s.of, s.inner = stateTask, x.about.payload()
		x.Out.Edits.Insert(x.Out.Body, x.Out.Payload, append([]byte(`"requestState":`), g.sealState(x, s)...))
		return nil
	}
	if !own.Present() && s.spent == 0 {
		return nil // it keeps no state, and there is nothing else to keep
	}
	if !own.Present() {
		s.of = stateClock
		x.Out.Edits.Insert(x.Out.Body, x.Out.Payload, append([]byte(`"requestState":`), g.sealState(x, s)...))
		return nil
	}
	s.inner = own.Of(x.Out.Body)
	if len(s.inner) > innerMost {
		return errs.E(`server "`+x.member.Name+`"`, errs.Protocol, "sends a requestState of %d bytes; at most %d are carried", len(s.inner), innerMost)
	}
	x.Out.Edits.Replace(own, g.sealState(x, s))
	return nil
}

func (x *Exchange) asksBack() bool {
	return x.Out.Kind == mcp.KindResult && string(x.Out.Get(mcp.KeyResultType).Of(x.Out.Body)) == `"input_required"`
}

// mayAsk refuses questions that the protocol, the bound or the client's declared capabilities do not allow.
func (g *Gateway) mayAsk(x *Exchange) error {
	hop := `server "` + x.member.Name + `"`
	if !asks(x.In.Method) {
		return errs.E(hop, errs.Protocol, "asks the client something in answer to %s, which may not be asked for", x.In.Method)
	}
	if most := x.world.plan.Config.Questions.Rounds; int(x.rounds) >= most {
		return errs.E(hop, errs.Protocol, "asked the client %d times in one call; questions.rounds sets the limit", most)
	}
	can := x.abilities()
	var wrong error
	eachQuestion(&x.Out, func(_ string, m mcp.Method, params mcp.Span) bool {
		if need := upstream.Needed(m, params.Of(x.Out.Body)); need == 0 || need&^can != 0 {
			wrong = errs.E(hop, errs.Protocol, "asks the client what it did not declare that it can be asked (%s)", m)
		}
		return wrong == nil
	})
	return wrong
}

// abilities are what the client of the exchange can be asked.
func (x *Exchange) abilities() upstream.Abilities {
	if caps := x.In.GetMeta(mcp.MetaClientCapabilities); caps.Present() && x.Client.Modern {
		return upstream.AbilitiesOf(caps.Of(x.In.Body))
	}
	return upstream.AbilitiesOf(x.Client.Capabilities)
}

// visitFirst turns a legacy server's demand that a URL be opened first (2025-11-25 error -32042) into the question it stands for.
func (g *Gateway) visitFirst(x *Exchange) error {
	hop := `server "` + x.member.Name + `"`
	if x.abilities()&upstream.ElicitURL == 0 {
		e := errs.E(hop, errs.MissingCapability, "wants the user to open a URL first, which this client did not declare that it can (elicitation.url)")
		e.Data = []byte(`{"requiredCapabilities":{"elicitation":{"url":{}}}}`)
		return e
	}
	list, err := mcp.Lookup(x.Out.Body, x.Out.Get(mcp.KeyData), "elicitations")
	if err != nil || !list.Present() || x.Out.Body[list.Start] != '[' {
		return errs.E(hop, errs.Protocol, "wants a URL opened (-32042) and does not say which")
	}
	b := []byte(`{"resultType":"input_required","inputRequests":{`)
	n, odd := 0, false
	mcp.Elements(x.Out.Body, list.Span, func(e mcp.Span) bool {
		if odd = upstream.Needed(mcp.MethodElicit, e.Of(x.Out.Body)) != upstream.ElicitURL; odd {
			return false
		}
		if n > 0 {
			b = append(b, ',')
		}
		n++
		b = append(b, `"url`...)
		b = append(b, byte('0'+n))
		b = append(append(append(b, `":{"method":"elicitation/create","params":`...), e.Of(x.Out.Body)...), '}')
		return n < 9 // the server names the others when it is called again
	})
	if odd || n == 0 {
		return errs.E(hop, errs.Protocol, "wants something else than a URL opened by -32042")
	}
	s := &state{of: stateAgain, server: x.member.Name, rounds: x.rounds + 1, spent: x.call.Spent, digest: x.digest()}
	b = append(append(append(b, `},"requestState":`...), g.sealState(x, s)...), '}')
	if err := x.answerInstead(b); err != nil {
		return err
	}
	return g.mayAsk(x)
}
