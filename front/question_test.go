package front_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

func rawMessages(all ...string) []json.RawMessage {
	out := make([]json.RawMessage, len(all))
	for i, m := range all {
		out[i] = json.RawMessage(m)
	}
	return out
}

// TestAnsweredElsewhere: the answers to all rounds of questions may come to any replica.
func TestAnsweredElsewhere(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String()+" server", func(t *testing.T) {
			t.Parallel()
			f, _ := serve(t, 3, testenv.Asker(era))
			c := f.client(0)
			others := []*testenv.Client{c, f.at(1, c), f.at(2, c)}
			for tool, want := range testenv.AskerAnswers {
				r, _, err := c.Talk(testenv.Within(t, testenv.Patience), testenv.Talk{
					Request: testenv.Request{Method: "tools/call", Members: `"name":"one__` + tool + `"`}, Answer: testenv.Agree,
					Via: func(n int) *testenv.Client { return others[n%3] },
				})
				if err != nil || r.Texts() != want {
					t.Errorf("%s: %v %v, want %s", tool, err, r, want)
				}
			}
			if n := f.rejected("question"); n > 0 {
				t.Errorf("%d good answers were rejected", n)
			}
		})
	}
}

// TestWrongAnswers get one and the same refusal, are counted, and change nothing.
func TestWrongAnswers(t *testing.T) {
	t.Parallel()
	f, server := serve(t, 2, testenv.Asker(testenv.Modern))
	c := f.client(0)
	s := open(t, c, "trip")
	id := idOf(t, next(t, s))
	answer := `"action":"accept","content":{"answer":"Ulm"}`
	flipped := []byte(id)
	flipped[len(flipped)/2] ^= 1
	said := map[string]bool{}
	refused := func(what string, via *testenv.Client, body []byte) {
		t.Helper()
		r := via.Post(body)
		code, text := r.Error()
		if r.Status != 400 || code != -32600 || r.ID() != "null" {
			t.Errorf("%s: %v", what, r)
		}
		said[text] = true
	}
	other := f.client(0)
	refused("made up", c, result(`"x"`, answer))
	refused("a number", c, result(`1`, answer))
	refused("changed", c, result(string(flipped), answer))
	refused("cut", c, result(id[:len(id)-2]+`"`, answer))
	refused("of a session id", c, result(`"`+c.Session+`"`, answer))
	refused("of another session", other, result(id, answer))
	refused("of another session elsewhere", f.at(1, other), result(id, answer))
	refused("an error of nothing", c, []byte(`{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}`))
	if r := f.at(1, c).Post(result(id, answer)); r.Status != 202 || len(r.Messages) > 0 {
		t.Errorf("the right answer: %v", r)
	}
	second := idOf(t, next(t, s))
	refused("twice", c, result(id, answer))
	refused("twice, elsewhere", f.at(1, c), result(id, answer))
	if r := c.Post(result(second, answer)); r.Status != 202 {
		t.Errorf("the second answer: %v", r)
	}
	if m := next(t, s); !strings.Contains(m, `"text":"Ulm, Ulm"`) {
		t.Error(m)
	}
	refused("late", c, result(second, answer))
	if len(said) != 1 {
		t.Errorf("the refusals tell apart: %v", said)
	}
	if n := f.rejected("question"); n != 11 {
		t.Errorf("%d rejected answers were counted, not 11", n)
	}
	if n := len(server.Received("tools/call")); n != 3 {
		t.Errorf("the server was called %d times", n)
	}
}

// TestMisshapenAnswer is refused, and its question stays open.
func TestMisshapenAnswer(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 2, testenv.Asker(testenv.Legacy))
	for _, bad := range []string{
		`"result":{}`, `"result":{"action":1}`, `"result":{"action":"a","action":"b"}`, `"result":{"Action":"accept"}`,
		`"result":[]`, `"result":null`, `"result":"accept"`, `"error":{}`, `"error":{"code":"x","message":"y"}`, `"neither":1`,
	} {
		c := f.client(0)
		s := open(t, c, "trip")
		id := idOf(t, next(t, s))
		for i := range 2 {
			if r := f.at(i, c).Post([]byte(`{"jsonrpc":"2.0","id":` + id + `,` + bad + `}`)); r.Status != 400 {
				t.Errorf("%s: %v", bad, r)
			}
		}
		if r := c.Post(result(id, `"action":"accept","content":{"answer":"Ulm"}`)); r.Status != 202 {
			t.Fatalf("after %s: %v", bad, r)
		}
		if r := c.Post(result(idOf(t, next(t, s)), `"action":"accept","content":{"answer":"Ulm"}`)); r.Status != 202 {
			t.Fatal(r)
		}
		if m := next(t, s); !strings.Contains(m, "Ulm, Ulm") {
			t.Error(m)
		}
	}
}

// TestAnsweredWithError: a legacy server gets the client's error; for a modern one a refused elicitation is a cancelled one,
// and any other refusal ends the call.
func TestAnsweredWithError(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		for tool, want := range map[string]map[testenv.Era]string{
			"trip":  {testenv.Modern: `{\"action\":\"cancel\"}`, testenv.Legacy: `{\"code\":-1,\"message\":\"not now\"}`},
			"roots": {testenv.Modern: "not now", testenv.Legacy: `{\"code\":-1,\"message\":\"not now\"}`},
		} {
			t.Run(era.String()+" server "+tool, func(t *testing.T) {
				t.Parallel()
				f, _ := serve(t, 2, testenv.Asker(era))
				c := f.client(0)
				s := open(t, c, tool)
				for {
					m := next(t, s)
					if !strings.Contains(m, `"method"`) {
						if !strings.Contains(m, want[era]) {
							t.Errorf("%s, want %s", m, want[era])
						}
						return
					}
					if r := f.at(1, c).Post([]byte(`{"jsonrpc":"2.0","id":` + idOf(t, m) + `,"error":{"code":-1,"message":"not now"}}`)); r.Status != 202 {
						t.Fatal(r)
					}
				}
			})
		}
	}
}

// TestNotAnswered: the client is told that the question is void, the call fails with the reason, and the server's is cancelled.
func TestNotAnswered(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String()+" server", func(t *testing.T) {
			t.Parallel()
			f, server := serve(t, 1, testenv.Asker(era), "questions: {timeout: 1s}")
			c := f.client(0)
			s := open(t, c, "all")
			ids := map[string]bool{}
			for range 3 {
				ids[idOf(t, next(t, s))] = true
			}
			var answered string
			for id := range ids {
				answered = id
			}
			delete(ids, answered)
			if r := c.Post(result(answered, `"action":"accept","roots":[]`)); r.Status != 202 {
				t.Fatal(r)
			}
			for range 2 {
				var m struct {
					Method string
					Params struct {
						RequestID json.RawMessage
						Reason    string
					}
				}
				if err := json.Unmarshal([]byte(next(t, s)), &m); err != nil || m.Method != "notifications/cancelled" ||
					!ids[string(m.Params.RequestID)] || !strings.Contains(m.Params.Reason, "1s") {
					t.Errorf("%v %+v", err, m)
				}
				delete(ids, string(m.Params.RequestID))
			}
			if m := next(t, s); !strings.Contains(m, `"id":"call"`) || !strings.Contains(m, "did not answer") || !strings.Contains(m, "questions.timeout") {
				t.Error(m)
			}
			if era == testenv.Legacy {
				server.Await("notifications/cancelled", 1)
			}
		})
	}
}

// TestAskedWhileEnding: what ends the call at any replica ends the question.
func TestAskedWhileEnding(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		for i := range 2 {
			for what, end := range map[string]func(*testenv.Client){
				"session was ended": func(c *testenv.Client) {
					if code := c.Delete(); code != 204 {
						t.Errorf("DELETE: HTTP %d", code)
					}
				},
				"request was cancelled": func(c *testenv.Client) {
					if r := c.Post([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"call"}}`)); r.Status != 202 {
						t.Errorf("cancelled: %v", r)
					}
				},
			} {
				t.Run(fmt.Sprintf("%s server, replica %d, %s", era, i, what), func(t *testing.T) {
					t.Parallel()
					f, server := serve(t, 2, testenv.Asker(era))
					c := f.client(0)
					s := open(t, c, "trip")
					next(t, s)
					end(f.at(i, c))
					if m := next(t, s); !strings.Contains(m, "notifications/cancelled") {
						t.Error(m)
					}
					if m := next(t, s); !strings.Contains(m, what) {
						t.Errorf("%s, want %q", m, what)
					}
					if era == testenv.Legacy {
						server.Await("notifications/cancelled", 1)
					}
				})
			}
		}
	}
}

// TestLeftWhileAsked: a client that only loses its connection may still answer; the question stays open.
func TestLeftWhileAsked(t *testing.T) {
	t.Parallel()
	f, server := serve(t, 2, testenv.Asker(testenv.Modern))
	c := f.client(0)
	s := open(t, c, "roots")
	id := idOf(t, next(t, s))
	s.Close()
	if r := f.at(1, c).Post(result(id, `"roots":[]`)); r.Status != 202 {
		t.Errorf("%v", r)
	}
	server.Await("tools/call", 2)
}

// TestAskedInBatch: the questions to all requests of a batch go out on its stream, and each has its answer.
func TestAskedInBatch(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 2, testenv.Asker(testenv.Legacy))
	c := f.clientOf(0, "2025-03-26", `{"roots":{},"sampling":{}}`)
	s, err := c.Open(testenv.Within(t, testenv.Patience), testenv.Request{Body: []byte(
		`[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"one__roots"}},{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"one__roots"}}]`)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	first, second := idOf(t, next(t, s)), idOf(t, next(t, s))
	batch := append(append(append([]byte{'['}, result(first, `"roots":[{"uri":"file:///1"}]`)...), ','), result(second, `"roots":[{"uri":"file:///2"}]`)...)
	if r := f.at(1, c).Post(append(batch, ']')); r.Status != 202 {
		t.Errorf("%v", r)
	}
	if m := next(t, s); strings.Count(m, "file:///1") != 1 || strings.Count(m, "file:///2") != 1 || m[0] != '[' {
		t.Error(m)
	}
}

// TestAnswersAreNotMixed up between clients whose calls have the same ids.
func TestAnswersAreNotMixed(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 2, testenv.Asker(testenv.Legacy))
	var all sync.WaitGroup
	for i := range 40 {
		c := f.client(i % 2)
		other := f.at((i+1)%2, c)
		all.Go(func() {
			r, _, err := c.Talk(testenv.Within(t, testenv.Patience), testenv.Talk{
				Request: testenv.Request{ID: "1", Method: "tools/call", Members: `"name":"one__trip"`},
				Via:     func(int) *testenv.Client { return other },
				Answer: func(testenv.Question) string {
					return fmt.Sprintf(`{"action":"accept","content":{"answer":"client %d"}}`, i)
				},
			})
			if want := fmt.Sprintf("client %d, client %d", i, i); err != nil || r.Texts() != want {
				t.Errorf("%v %v, want %s", err, r, want)
			}
		})
	}
	all.Wait()
}

// TestQuestionsAreBounded for each caller, also when the clients are gone.
func TestQuestionsAreBounded(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 1, testenv.Asker(testenv.Modern), "questions: {perPrincipal: 2}")
	var ids []string
	c := f.client(0)
	for i := range 2 {
		s, err := c.Open(testenv.Within(t, testenv.Patience), testenv.Request{ID: fmt.Sprint(100 + i), Method: "tools/call", Members: `"name":"one__roots"`})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, idOf(t, next(t, s)))
		s.Close()
	}
	if r := c.Tool("one__roots", "{}"); !strings.Contains(r.String(), "questions.perPrincipal") {
		t.Errorf("%v", r)
	}
	if r := c.Tool("one__echo", "{}"); r.Texts() != testenv.AskerAnswers["echo"] {
		t.Errorf("a call without questions: %v", r)
	}
	c.Post(result(ids[0], `"roots":[]`))
	m := next(t, open(t, c, "roots"))
	if !strings.Contains(m, `"method":"roots/list"`) {
		t.Error(m)
	}
}

// TestAskedWhileDraining: a replica that is alone does not wait for answers that nobody can bring any more.
func TestAskedWhileDraining(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{1: "the gateway stops", 2: "file:///x"} {
		f, _ := serve(t, n, testenv.Asker(testenv.Legacy))
		c := f.client(0)
		s := open(t, c, "roots")
		id := idOf(t, next(t, s))
		f.replicas[0].Drain()
		if n == 2 {
			f.at(1, c).Post(result(id, `"roots":[{"uri":"file:///x"}]`))
		} else {
			next(t, s) // notifications/cancelled
		}
		if m := next(t, s); !strings.Contains(m, want) {
			t.Errorf("%d replicas: %s, want %s", n, m, want)
		}
	}
}
