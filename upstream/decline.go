package upstream

import (
	"github.com/toolcrib/toolcrib/mcp"
)

// askable are the questions that a server may ask a client.
func askable(m mcp.Method) bool {
	return m == mcp.MethodElicit || m == mcp.MethodSample || m == mcp.MethodRootsList
}

// declined is the answer to a question that does not reach a client. It names the question, since it is told to callers too.
func declined(code int64, q *mcp.Raw, why string) *mcp.Error {
	name, _ := mcp.Text(q.Body, q.MethodText, nil)
	return &mcp.Error{Code: code, Message: clip(name) + " declined: " + why}
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
			return declined(mcp.CodeMethodNotFound, q, "the client does not support "+k.name)
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
		return declined(mcp.CodeInvalidParams, q, "the client does not support mode "+clip([]byte(mode)))
	}
	if lacks&SampleTools != 0 {
		return declined(mcp.CodeInvalidParams, q, "the client does not support tools in sampling (tools, toolChoice)")
	}
	if lacks != 0 {
		return declined(mcp.CodeInvalidParams, q, "the client does not support context in sampling (includeContext)")
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
	s.warnings.warn(s.log, "question of the server declined", "error", e.Message)
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
