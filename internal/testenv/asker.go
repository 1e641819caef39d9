package testenv

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/toolcrib/toolcrib/mcp"
)

// Asker is a server of any era whose tools ask the client before they answer:
//
//	trip    elicits where, and then when
//	rain    samples with a tool, and samples again with the tool's result
//	roots   asks for the roots
//	all     asks for all three at once
//	echo    asks nothing
//
// What they answer is in AskerAnswers, for a client that agrees.
func Asker(era Era) Script {
	script := Script{Era: era, On: map[string]func(*Call){}}
	for name, steps := range askerSteps {
		script.Tools = append(script.Tools, Tool(name))
		script.On["tools/call "+name] = func(c *Call) { c.Converse(steps) }
	}
	slices.Sort(script.Tools)
	return script
}

// AskerAnswers are the texts that the tools of an Asker end with, for clients that Agree.
var AskerAnswers = map[string]string{
	"trip":  "WHERE?, WHEN IN WHERE??",
	"rain":  "it rains",
	"roots": "file:///work",
	"all":   "REALLY?, it rains, file:///work",
	"echo":  "nothing to ask",
}

// Answers are the raw results, or errors, of the questions asked so far, by key.
type Answers map[string]json.RawMessage

// Steps says what is asked next, given what was answered; no question ends the call with a text.
type Steps func(c *Call, known Answers) (ask []Question, text string)

const elicitSchema = `"requestedSchema":{"type":"object","properties":{"answer":{"type":"string"}},"required":["answer"]}`

// Elicit asks for one text, named answer.
func Elicit(key, message string) Question {
	return Question{key, "elicitation/create", json.RawMessage(`{"message":` + quote(message) + `,` + elicitSchema + `}`)}
}

const (
	weatherTool = `"tools":[{"name":"weather","description":"tells the weather","inputSchema":{"type":"object"}}]`
	askWeather  = `{"role":"user","content":{"type":"text","text":"does it rain?"}}`
	weatherSays = `{"role":"user","content":[{"type":"tool_result","toolUseId":"u1","content":[{"type":"text","text":"rain"}]}]}`
)

func sample(key, members string) Question {
	return Question{key, "sampling/createMessage", json.RawMessage(`{"maxTokens":100,` + members + `}`)}
}

func askRoots(key string) Question { return Question{key, "roots/list", json.RawMessage(`{}`)} }

var askerSteps = map[string]Steps{
	"trip": func(_ *Call, known Answers) ([]Question, string) {
		where := known.Text("where")
		switch {
		case known["where"] == nil:
			return []Question{Elicit("where", "where?")}, ""
		case known["when"] == nil:
			return []Question{Elicit("when", "when in "+where+"?")}, ""
		}
		return nil, where + ", " + known.Text("when")
	},
	"rain": func(_ *Call, known Answers) ([]Question, string) {
		switch {
		case known["use"] == nil:
			return []Question{sample("use", `"messages":[`+askWeather+`],`+weatherTool)}, ""
		case known["say"] == nil:
			return []Question{sample("say", `"messages":[`+askWeather+`,`+known.assistant("use")+`,`+weatherSays+`],`+weatherTool)}, ""
		}
		return nil, known.Text("say")
	},
	"roots": func(_ *Call, known Answers) ([]Question, string) {
		if known["roots"] == nil {
			return []Question{askRoots("roots")}, ""
		}
		return nil, known.Text("roots")
	},
	"all": func(_ *Call, known Answers) ([]Question, string) {
		if known["a"] == nil || known["b"] == nil || known["c"] == nil {
			return []Question{Elicit("a", "really?"), sample("b", `"messages":[`+askWeather+`]`), askRoots("c")}, ""
		}
		return nil, known.Text("a") + ", " + known.Text("b") + ", " + known.Text("c")
	},
	"echo": func(*Call, Answers) ([]Question, string) { return nil, "nothing to ask" },
}

// Text is what was answered; the raw answer when it is none that was expected.
func (a Answers) Text(key string) string {
	var r struct {
		Content json.RawMessage `json:"content"`
		Roots   []struct {
			URI string `json:"uri"`
		} `json:"roots"`
	}
	var c struct {
		Answer string `json:"answer"`
		Text   string `json:"text"`
	}
	if json.Unmarshal(a[key], &r) == nil && len(r.Roots) > 0 {
		return r.Roots[0].URI
	}
	if json.Unmarshal(r.Content, &c) == nil && c.Answer+c.Text != "" {
		return c.Answer + c.Text
	}
	return string(a[key])
}

// assistant is the message that a sampling was answered with.
func (a Answers) assistant(key string) string {
	var r struct {
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(a[key], &r) != nil || r.Content == nil {
		return askWeather
	}
	return `{"role":"assistant","content":` + string(r.Content) + `}`
}

// Converse asks and answers as the server's era does.
func (c *Call) Converse(steps Steps) {
	if c.Server.Era() == Modern {
		c.converseModern(steps)
		return
	}
	known := Answers{}
	for {
		ask, text := steps(c, known)
		if len(ask) == 0 {
			c.Text(text)
			return
		}
		got, ok := c.Ask(ask...)
		if !ok {
			return // nobody wants the answer any more
		}
		maps.Copy(known, got)
	}
}

// converseModern keeps what was answered in requestState, which nobody else may have written.
func (c *Call) converseModern(steps Steps) {
	known := Answers{}
	if raw := c.Param("requestState"); raw != "" {
		if !c.Server.unseal(raw, c.Param("name"), &known) {
			c.Error(-32602, "requestState is not one of this server")
			return
		}
	}
	var answers Answers
	_ = json.Unmarshal([]byte(c.Param("inputResponses")), &answers) // the first call has none
	ask, _ := steps(c, known)
	for _, q := range ask { // only what was asked counts
		if a, ok := answers[q.Key]; ok {
			known[q.Key] = a
		}
	}
	ask, text := steps(c, known)
	if len(ask) == 0 {
		c.Text(text)
		return
	}
	if c.lacks(ask) {
		return
	}
	all := make([]string, len(ask))
	for i, q := range ask {
		all[i] = quote(q.Key) + `:{"method":"` + q.Method + `","params":` + string(q.Params) + `}`
	}
	c.Result(`{"resultType":"input_required","inputRequests":{` + strings.Join(all, ",") + `},"requestState":` +
		quote(c.Server.seal(c.Param("name"), known)) + `}`)
}

// lacks refuses a call whose client did not declare what is asked.
func (c *Call) lacks(ask []Question) bool {
	var declared map[string]json.RawMessage
	_ = json.Unmarshal([]byte(c.Meta(metaPrefix+"clientCapabilities")), &declared) // the rules hold it to be an object
	for _, q := range ask {
		kind, _, _ := strings.Cut(q.Method, "/")
		if declared[kind] == nil {
			if c.HTTP != nil {
				c.HTTP.code = 400
			}
			c.Error(-32021, "client capability needed", `,"data":{"requiredCapabilities":{"`+kind+`":{}}}`)
			return true
		}
	}
	return false
}

func (s *Server) seal(name string, known Answers) string {
	b, err := json.Marshal(known)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(append(s.mac(name, b), b...))
}

func (s *Server) unseal(raw, name string, known *Answers) bool {
	var text string
	if json.Unmarshal([]byte(raw), &text) != nil {
		return false
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && len(b) > sha256.Size && hmac.Equal(b[:sha256.Size], s.mac(name, b[sha256.Size:])) &&
		json.Unmarshal(b[sha256.Size:], known) == nil
}

func (s *Server) mac(name string, b []byte) []byte {
	h := hmac.New(sha256.New, fmt.Appendf(nil, "%p", s))
	fmt.Fprintf(h, "%s\n%s", name, b)
	return h.Sum(nil)
}

// Ask has a legacy server ask its client within the call, all questions at once, and waits for the answers; ok is false when
// nobody wants the call's answer any more.
func (c *Call) Ask(ask ...Question) (got Answers, ok bool) {
	waiting := make([]chan *Record, len(ask))
	for i, q := range ask {
		id := fmt.Sprintf("%q", fmt.Sprintf("%s of %s", q.Key, c.ID))
		waiting[i] = c.Server.expect(c.session(), id)
		defer c.Server.unexpect(c.session(), id)
		c.Before(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + q.Method + `","params":` + string(q.Params) + `}`)
	}
	got = Answers{}
	for i, q := range ask {
		select {
		case r := <-waiting[i]:
			got[q.Key] = r.answer()
		case <-c.Done:
			return nil, false
		}
	}
	return got, true
}

// session is what ids are unique in.
func (c *Call) session() string {
	if c.Child != nil {
		return c.Child.key()
	}
	return c.Header.Get("Mcp-Session-Id")
}

// answer is the result, or the error, that a response brings.
func (r *Record) answer() json.RawMessage {
	var m struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	_ = json.Unmarshal(r.Body, &m) // what cannot be read brings neither
	if m.Result != nil {
		return m.Result
	}
	return m.Error
}

func (s *Server) expect(session, id string) chan *Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	ch := make(chan *Record, 1)
	s.asked[session+" "+id] = ch
	return ch
}

func (s *Server) unexpect(session, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, session+" "+id)
}

// answered hands an answer to the call that waits for it.
func (s *Server) answered(c *Call) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := c.session() + " " + c.ID
	ch := s.asked[key]
	delete(s.asked, key)
	if ch != nil {
		ch <- c.Record
	}
	return ch != nil
}

func quote(text string) string { return string(mcp.AppendString(nil, text)) }
