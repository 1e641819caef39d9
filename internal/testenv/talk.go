package testenv

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// AllCapabilities declares all that a server may ask a client for.
const AllCapabilities = `{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{},"context":{}},"roots":{}}`

// Question is what a server asks in the middle of a call.
type Question struct {
	// Key is that of inputRequests; for a legacy client the raw id of the request.
	Key string
	// Method and Params are those of the request; Params are raw.
	Method string
	Params json.RawMessage
}

// Message is the message of an elicitation.
func (q Question) Message() string {
	var p struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(q.Params, &p) // others have none
	return p.Message
}

// Answer is a raw result for a question.
type Answer func(Question) string

// Talk is a call with the questions that a server asks within it.
type Talk struct {
	Request
	// Answer gives the raw result that each question is answered with.
	Answer Answer
	// Via sends the nth message after the first one, counted from 1, in place of the client.
	Via func(n int) *Client
}

// Talk calls and answers questions until there is a result. It tells how many messages with answers it took.
func (c *Client) Talk(ctx context.Context, t Talk) (*Reply, int, error) {
	if t.Via == nil {
		t.Via = func(int) *Client { return c }
	}
	if c.Era == Modern {
		return c.talkModern(ctx, t)
	}
	return c.talkLegacy(ctx, t)
}

// talkModern retries the call with answers.
func (c *Client) talkModern(ctx context.Context, t Talk) (*Reply, int, error) {
	members := t.Members
	for n := 0; ; n++ {
		via := c
		if n > 0 {
			via = t.Via(n)
		}
		q := t.Request
		q.Members = members
		r, err := via.Try(ctx, q)
		if err != nil || r.Member("resultType") != `"input_required"` {
			return r, n, err
		}
		members = t.Members
		if state := r.Member("requestState"); state != "" {
			members += `,"requestState":` + state
		}
		asked, err := questions(r.Member("inputRequests"))
		if err != nil {
			return r, n, err
		}
		answers := make([]string, len(asked))
		for i, q := range asked {
			answers[i] = quote(q.Key) + ":" + t.Answer(q)
		}
		members += `,"inputResponses":{` + strings.Join(answers, ",") + "}"
	}
}

// questions reads inputRequests, in the order of their keys.
func questions(raw string) ([]Question, error) {
	if raw == "" {
		return nil, nil
	}
	var all map[string]struct {
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal([]byte(raw), &all); err != nil {
		return nil, fmt.Errorf("inputRequests: %w", err)
	}
	var out []Question
	for _, key := range slices.Sorted(maps.Keys(all)) {
		out = append(out, Question{key, all[key].Method, all[key].Params})
	}
	return out, nil
}

// talkLegacy answers each request on the call's stream with a message of its own.
func (c *Client) talkLegacy(ctx context.Context, t Talk) (*Reply, int, error) {
	s, err := c.Open(ctx, t.Request)
	if err != nil {
		return nil, 0, err
	}
	defer s.Close()
	r := &Reply{Status: s.Status, Header: s.Header}
	for n := 0; ; {
		m, err := s.Next()
		if errors.Is(err, io.EOF) {
			return r, n, nil
		}
		if err != nil {
			return r, n, err
		}
		q, asked := AsQuestion(m)
		if !asked {
			r.Messages = append(r.Messages, m)
			continue
		}
		n++
		body := `{"jsonrpc":"2.0","id":` + q.Key + `,"result":` + t.Answer(q) + `}`
		a, err := t.Via(n).Try(ctx, Request{Body: []byte(body)})
		if err != nil {
			return r, n, err
		}
		if a.Status != http.StatusAccepted {
			return r, n, fmt.Errorf("an answer was not taken: %v", a)
		}
	}
}

// AsQuestion reads a request that a legacy client got on its stream; ok is false for what is none.
func AsQuestion(message []byte) (Question, bool) {
	var m struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
		Params json.RawMessage `json:"params"`
	}
	if json.Unmarshal(message, &m) != nil || m.Method == "" || len(m.ID) == 0 {
		return Question{}, false
	}
	return Question{string(m.ID), m.Method, m.Params}, true
}

// Agree answers every question: an elicitation with what it was asked, in capitals, a sampling with its tool's use first, then
// with a text, and roots.
func Agree(q Question) string {
	switch q.Method {
	case "elicitation/create":
		return `{"action":"accept","content":{"answer":` + quote(strings.ToUpper(q.Message())) + `}}`
	case "sampling/createMessage":
		if bytes.Contains(q.Params, []byte(`"tool_result"`)) || !bytes.Contains(q.Params, []byte(`"tools"`)) {
			return `{"role":"assistant","model":"m","stopReason":"endTurn","content":{"type":"text","text":"it rains"}}`
		}
		return `{"role":"assistant","model":"m","stopReason":"toolUse","content":[{"type":"tool_use","id":"u1","name":"weather","input":{"city":"Ulm"}}]}`
	case "roots/list":
		return `{"roots":[{"uri":"file:///work","name":"work"}]}`
	}
	return `{}`
}
