package upstream

import (
	"strings"

	"github.com/toolcrib/toolcrib/mcp"
)

// askable are the questions that a server may ask a client.
func askable(m mcp.Method) bool {
	return m == mcp.MethodElicit || m == mcp.MethodSample || m == mcp.MethodRootsList
}

// Why a question reaches nobody, where that is no fault.
const (
	whyLacks     = "the client does not support "
	whyNoCall    = "no call is under way that it could belong to"
	whyElsewhere = "clients can be asked only within tools/call, prompts/get and resources/read"
	whyApart     = "it belongs to no call; clients can be asked only within one"
)

// between stands before why a question was declined.
const between = " declined: "

// usual tells whether a question is declined in the normal course of things: clients need not support what servers may ask, and
// many servers ask for the roots as soon as they are up.
func usual(q *mcp.Raw, e *mcp.Error) bool {
	_, why, _ := strings.Cut(e.Message, between)
	switch why {
	case whyNoCall, whyElsewhere, whyApart:
		return q.Method == mcp.MethodRootsList
	}
	return e.Code == mcp.CodeMethodNotFound && strings.HasPrefix(why, whyLacks)
}

// declined is the answer to a question that does not reach a client. It names the question, since it is told to callers too.
func declined(code int64, q *mcp.Raw, why string) *mcp.Error {
	name, _ := mcp.Text(q.Body, q.MethodText, nil)
	return &mcp.Error{Code: code, Message: clip(name) + between + why}
}

func unknownQuestion(q *mcp.Raw) *mcp.Error {
	return declined(mcp.CodeMethodNotFound, q, "clients know no such method")
}

// judge tells why a client of these abilities cannot be asked a question; nil when it can. A kind that the client does not have
// is an unknown method to it, a mode of the kind an invalid parameter.
func (a Abilities) judge(q *mcp.Raw) *mcp.Error {
	params := q.Payload.Of(q.Body)
	kinds := [...]struct {
		method mcp.Method
		any    Abilities
		name   string
	}{{mcp.MethodElicit, ElicitForm | ElicitURL, "elicitation"}, {mcp.MethodSample, Sample, "sampling"}, {mcp.MethodRootsList, Roots, "roots"}}
	for _, k := range kinds {
		if q.Method == k.method && a&k.any == 0 {
			return declined(mcp.CodeMethodNotFound, q, whyLacks+k.name)
		}
	}
	lacks := Needed(q.Method, params) &^ a
	if mode := text(params, "mode"); q.Method == mcp.MethodElicit && (lacks != 0 || mode != "" && mode != "form" && mode != "url") {
		switch mode {
		case "":
			mode = "form"
		case ambiguous:
			mode = "(given twice)"
		}
		return declined(mcp.CodeInvalidParams, q, whyLacks+"mode "+clip([]byte(mode)))
	}
	if lacks&SampleTools != 0 {
		return declined(mcp.CodeInvalidParams, q, whyLacks+"tools in sampling (tools, toolChoice)")
	}
	if lacks != 0 {
		return declined(mcp.CodeInvalidParams, q, whyLacks+"context in sampling (includeContext)")
	}
	return nil
}

// abilities are what a call's client can be asked. The gateway's own calls are made as if all could be, so that a server shows
// all it has.
func (c *Call) abilities() Abilities {
	if c.Session == "" {
		return AllAbilities
	}
	if own := c.In.GetMeta(mcp.MetaClientCapabilities); own.Present() {
		return AbilitiesOf(own.Of(c.In.Body))
	}
	return AbilitiesOf(c.Client.Capabilities)
}

// decline answers a request of a server that no client will see: a ping, or what is declined with an error.
func (s *Server) decline(q *mcp.Raw, e *mcp.Error) []byte {
	id := q.ID.Of(q.Body)
	if q.Method == mcp.MethodPing {
		return mcp.AppendResult(nil, id, emptyObject)
	}
	const text = "question of the server declined"
	if usual(q, e) {
		s.log.Debug(text, "error", e.Message)
	} else {
		s.warnings.warn(s.log, text, "error", e.Message)
	}
	return mcp.AppendError(nil, id, e)
}

// moot declines the questions that nobody has answered when their call has ended: whoever asked may still wait.
func (s *Server) moot(a *asking) (replies [][]byte) {
	for i := range a.list {
		q := mcp.Raw{Body: a.list[i].body}
		if e := q.Scan(s.limits()); e != nil {
			continue // it was scanned before
		}
		replies = append(replies, s.decline(&q, declined(mcp.CodeInvalidRequest, &q, "no call is under way any more that it could belong to")))
	}
	return replies
}
