package system_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// patience is a script of tools that try it: mute never answers, chatty tells its progress for a while before it does, tail
// begins at once and ends late; rounds works, asks and works again, forgets does so without a requestState, asks only asks.
func patience() testenv.Script {
	return testenv.Script{
		Tools: []string{
			testenv.Tool("mute"), testenv.Tool("chatty"), testenv.Tool("tail"), testenv.Tool("good"),
			testenv.Tool("rounds"), testenv.Tool("forgets"), testenv.Tool("asks"),
		},
		On: map[string]func(*testenv.Call){
			"tools/call mute": (*testenv.Call).Hang,
			"tools/call chatty": func(c *testenv.Call) {
				for i := range 12 {
					c.Progress(i + 1)
					c.In(400 * time.Millisecond)
				}
				c.Text("done")
			},
			"tools/call tail": func(c *testenv.Call) {
				c.Progress(1)
				c.In(6 * time.Second)
				c.Text("done")
			},
			"tools/call rounds": func(c *testenv.Call) {
				if c.Server.Era() == testenv.Modern {
					c.In(900 * time.Millisecond)
				}
				c.Converse(rounds(5, func() {
					if c.Server.Era() == testenv.Legacy {
						c.In(900 * time.Millisecond)
					}
				}))
			},
			"tools/call forgets": func(c *testenv.Call) {
				if c.Param("requestState") != "" {
					c.Error(-32602, "there is no requestState here")
					return
				}
				c.In(900 * time.Millisecond)
				c.Result(`{"resultType":"input_required","inputRequests":{"k":{"method":"elicitation/create","params":{"message":"again?"}}}}`)
			},
			"tools/call asks": func(c *testenv.Call) { c.Converse(rounds(1, func() {})) },
		},
	}
}

// rounds asks so often, and works before each question.
func rounds(n int, work func()) testenv.Steps {
	return func(_ *testenv.Call, known testenv.Answers) ([]testenv.Question, string) {
		work()
		if len(known) == n {
			return nil, "done"
		}
		return []testenv.Question{testenv.Elicit("q"+strconv.Itoa(len(known)), "more?")}, ""
	}
}

// limits are keys of timeouts.
func limits(pairs ...string) map[string]any {
	all := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return all
}

// TestTimeLimits: idle, firstByte and total of a server and of a tool take effect, and progress resets idle alone. The limits are
// longer than a busy machine keeps still.
func TestTimeLimits(t *testing.T) {
	t.Parallel()
	const silent, late, long = "was silent for 3s; raise timeouts.idle if", "did not begin to answer within 3s; raise timeouts.firstByte if",
		"took longer than 3.5s as a whole; raise timeouts.total if"
	of := func(key, want string) string { return strings.Replace(want, "raise ", "raise tools."+key+".", 1) }
	limited := func(t *testing.T, era testenv.Era, k kind) {
		t.Helper()
		s := k.server(t, patience())
		entry := func(timeouts map[string]any, more ...map[string]any) map[string]any {
			base := map[string]any{"start": "15s"}
			maps.Copy(base, timeouts)
			return s.Entry(append(more, map[string]any{"timeouts": base})...)
		}
		tools := func(timeouts map[string]any) map[string]any {
			return map[string]any{"tools": map[string]any{
				"mute": map[string]any{"timeouts": timeouts},
				"ch*":  map[string]any{"timeouts": timeouts}, "tail": map[string]any{"timeouts": timeouts},
			}}
		}
		g := testenv.Serve(t, testenv.Config{
			Entries: map[string]any{
				"idle":      entry(limits("idle", "3s")),
				"call":      entry(limits("call", "3s")),
				"first":     entry(limits("firstByte", "3s", "idle", "60s")),
				"total":     entry(limits("total", "3500ms"), map[string]any{"tools": map[string]any{"asks": map[string]any{"timeouts": limits("total", "6s")}}}),
				"ample":     entry(limits("total", "8s")),
				"toolidle":  entry(limits("idle", "60s"), tools(limits("idle", "3s"))),
				"toolfirst": entry(limits("firstByte", "60s"), tools(limits("firstByte", "3s"))),
				"tooltotal": entry(limits("total", "60s"), tools(limits("total", "3500ms"))),
			},
			More: map[string]any{"log": map[string]any{"level": "error"}},
		})
		client, ctx := g.Client(era, "/mcp"), testenv.Within(t, 2*testenv.Patience)
		var all sync.WaitGroup
		defer all.Wait()
		asked := g.Modern("/mcp")
		asked.Era, asked.Capabilities = era, testenv.AllCapabilities
		if era == testenv.Legacy {
			asked.Initialize(testenv.LegacyVersion)
		}
		all.Go(func() { wholeOfRounds(ctx, t, asked, k.era) })
		for call, want := range map[string]string{
			"idle__mute": silent, "idle__chatty": "", "idle__tail": silent,
			"call__mute":  silent,
			"first__mute": late, "first__tail": "",
			"total__mute": long, "total__chatty": long, "ample__good": "",
			"toolidle__mute": of("mute", silent), "toolidle__chatty": "", "toolidle__tail": of("tail", silent), "toolidle__good": "",
			"toolfirst__mute": of("mute", late), "toolfirst__tail": "",
			"tooltotal__mute": of("mute", long), "tooltotal__chatty": of("ch*", long), "tooltotal__good": "",
		} {
			all.Go(func() {
				r, err := client.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"` + call + `"`, Meta: `"progressToken":"p ` + call + `"`})
				if err != nil {
					t.Errorf("%s: %v", call, err)
					return
				}
				server, _, _ := strings.Cut(call, "__")
				switch _, text := r.Error(); {
				case want == "" && r.Texts() != "done":
					t.Errorf("%s: %v", call, r)
				case want != "" && (!strings.Contains(text, want) || !strings.Contains(text, `server "`+server+`"`)):
					t.Errorf("%s: %v, want %q", call, r, want)
				}
			})
		}
	}
	eachKind(t, func(t *testing.T, k kind) { limited(t, testenv.Modern, k) })
	for _, k := range []kind{kinds[1], kinds[4], kinds[5]} { // the limits are the servers'
		t.Run("legacy client of "+k.name, func(t *testing.T) {
			t.Parallel()
			limited(t, testenv.Legacy, k)
		})
	}
}

// wholeOfRounds: total is for all rounds of a call together, without the time that the client takes to answer.
func wholeOfRounds(ctx context.Context, t *testing.T, client *testenv.Client, server testenv.Era) {
	t.Helper()
	slowly := func(q testenv.Question) string {
		<-time.After(6500 * time.Millisecond)
		return testenv.Agree(q)
	}
	var all sync.WaitGroup
	defer all.Wait()
	for _, row := range []struct {
		tool   string
		answer testenv.Answer
		want   string
	}{
		{"asks", slowly, "done"},
		{"rounds", testenv.Agree, "took longer than 3.5s as a whole"},
		{"forgets", testenv.Agree, "took longer than 3.5s as a whole"},
	} {
		if row.tool == "forgets" && server == testenv.Legacy {
			continue // its questions belong to the call
		}
		all.Go(func() {
			r, _, err := client.Talk(ctx, testenv.Talk{
				Request: testenv.Request{Method: "tools/call", Members: `"name":"total__` + row.tool + `","arguments":{}`}, Answer: row.answer,
			})
			if err != nil {
				t.Errorf("%s: %v", row.tool, err)
				return
			}
			if _, text := r.Error(); r.Texts() != row.want && !strings.Contains(text, row.want) {
				t.Errorf("%s: %v, want %s", row.tool, r, row.want)
			}
		})
	}
}

// moody is a script whose lists do as they are told: they come, hang or fail.
type moody struct{ mood atomic.Int32 }

const (
	calm = iota
	hanging
	failing
)

func (m *moody) script() testenv.Script {
	return testenv.Script{Tools: []string{testenv.Tool("good")}, On: map[string]func(*testenv.Call){"tools/list": func(c *testenv.Call) {
		switch m.mood.Load() {
		case hanging:
			c.Hang()
		case failing:
			c.Error(-32603, "out of order")
		default:
			members := `"tools":[` + testenv.Tool("good") + `]`
			if c.Server.Era() == testenv.Modern {
				members += `,"ttlMs":0,"cacheScope":"public"`
			}
			c.Complete(members)
		}
	}}}
}

// staleAge is what a list says of the age of a server's part, in ms; negative where it says nothing.
func staleAge(r *testenv.Reply, server string) int {
	var meta struct {
		Stale map[string]struct {
			AgeMs *int `json:"ageMs"`
		} `json:"io.toolcrib/stale"`
	}
	_ = json.Unmarshal([]byte(r.Member("_meta")), &meta) // nothing said
	if age := meta.Stale[server].AgeMs; age != nil {
		return *age
	}
	return -1
}

// TestListsStandIn: the last list of a server stays listed, with its age, while the server gives none, for fallback.lists.
func TestListsStandIn(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		var m moody
		s := k.server(t, m.script())
		entry := func(fallback map[string]any) map[string]any {
			return s.Entry(map[string]any{"listTTL": "0s", "fallback": fallback, "timeouts": map[string]any{"start": "15s", "list": "60s"}})
		}
		g := testenv.Serve(t, testenv.Config{
			Entries: map[string]any{
				"kept": entry(map[string]any{"after": "100ms"}),
				"gone": entry(map[string]any{"after": "100ms", "lists": "0s"}),
			},
			More: map[string]any{"log": map[string]any{"level": "error"}},
		})
		all, one := g.Client(era, "/mcp"), g.Client(era, "/servers/kept/mcp")
		testenv.Eventually(t, "the lists of both, of now", func() bool {
			r := all.Call("tools/list", "")
			return len(r.Names("tools")) == 2 && staleAge(r, "kept") < 0
		})
		one.Call("tools/list", "")
		m.mood.Store(failing)
		testenv.Eventually(t, "a list without the server that does not keep its last one", func() bool {
			r := all.Call("tools/list", "")
			return slices.Equal(r.Names("tools"), []string{"kept__good"}) && staleAge(r, "kept") >= 0 && staleAge(r, "gone") < 0
		})
		if r := one.Call("tools/list", ""); len(r.Names("tools")) != 1 || staleAge(r, "kept") < 0 {
			t.Errorf("at its own endpoint: %v", r)
		}
		if r := all.Tool("kept__good", "{}"); r.Texts() != "done" {
			t.Errorf("%v", r)
		}
		if _, body := g.Get("/metrics", nil); !strings.Contains(body, `mcp_server_fallbacks_total{kind="lists",server="kept"}`) {
			t.Error("not counted")
		}
		m.mood.Store(hanging)
		testenv.Eventually(t, "a list of a server that hangs", func() bool { return staleAge(one.Call("tools/list", ""), "kept") >= 0 && s.Open() > 0 })
		m.mood.Store(calm)
	})
}

// TestListsAfterRestart: the tools of a server stay listed while it is started again, and are of now when it is back.
func TestListsAfterRestart(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			var m moody
			s := testenv.HTTPServer(t, m.script())
			g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": s.Entry(map[string]any{"listTTL": "0s"})}})
			client := g.Client(era, "/mcp")
			client.Call("tools/list", "")
			s.Stop()
			for range 5 {
				if r := client.Call("tools/list", ""); len(r.Names("tools")) != 1 {
					t.Fatalf("%v", r)
				}
			}
			testenv.Eventually(t, "the age of the list", func() bool { return staleAge(client.Call("tools/list", ""), "one") >= 0 })
			s.Start()
			testenv.Eventually(t, "a list of now", func() bool {
				r := client.Call("tools/list", "")
				return len(r.Names("tools")) == 1 && staleAge(r, "one") < 0
			})
		})
	}
}

// TestOneSlowOfTwenty: with one of 20 servers that takes 20 s, the joined list comes at once with the last good part of that one,
// and calls of the others go on.
func TestOneSlowOfTwenty(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			c := testenv.Config{Entries: map[string]any{}, Servers: map[string]*testenv.Server{}}
			var m moody
			for i := range 19 {
				var other moody
				c.Entries[fmt.Sprintf("s%02d", i)] = testenv.HTTPServer(t, other.script()).Entry()
			}
			slow := testenv.HTTPServer(t, m.script())
			c.Entries["slow"] = slow.Entry(map[string]any{"timeouts": map[string]any{"list": "20s", "idle": "20s"}})
			var never moody
			never.mood.Store(hanging)
			c.Entries["never"] = testenv.HTTPServer(t, never.script()).Entry(map[string]any{"timeouts": map[string]any{"list": "2s"}})
			g := testenv.Serve(t, c)
			client := g.Client(era, "/mcp")
			if r := client.Call("tools/list", ""); len(r.Names("tools")) != 20 {
				t.Fatalf("%v", r)
			}
			m.mood.Store(hanging)
			slow.Await("tools/list", 1)
			watch := testenv.StartWatch(t)
			for range 10 {
				began := watch.Took()
				r := client.Call("tools/list", "")
				if took := watch.Took() - began; len(r.Names("tools")) != 20 || took > 5*time.Second {
					t.Errorf("after %s: %v", took, r)
				}
				for i := range 19 {
					if r := client.Tool(fmt.Sprintf("s%02d__good", i), "{}"); r.Texts() != "done" {
						t.Errorf("%v", r)
					}
				}
			}
			testenv.Eventually(t, "the age of the slow one alone", func() bool { // others are late, too, when the machine stands still
				r := client.Call("tools/list", "")
				return staleAge(r, "slow") >= 0 && staleAge(r, "s00") < 0
			})
			m.mood.Store(calm)
			never.mood.Store(calm)
		})
	}
}

// weak is a script of tools that break as often as they are told before they answer: plain says nothing of itself, reads and twice
// may be called again.
func weak(failures int, breaks func(*testenv.Call)) testenv.Script {
	script := testenv.Script{On: map[string]func(*testenv.Call){}}
	for name, hint := range map[string]string{"plain": "destructiveHint", "reads": "readOnlyHint", "twice": "idempotentHint"} {
		var n atomic.Int32
		script.Tools = append(script.Tools, `{"name":"`+name+`","inputSchema":{"type":"object"},"annotations":{"`+hint+`":true}}`)
		script.On["tools/call "+name] = func(c *testenv.Call) {
			if int(n.Add(1)) <= failures {
				breaks(c)
				return
			}
			c.Text("done")
		}
	}
	var prompts atomic.Int32
	script.On["prompts/get"] = func(c *testenv.Call) {
		if int(prompts.Add(1)) <= failures {
			breaks(c)
			return
		}
		c.Complete(`"messages":[]`)
	}
	return script
}

// breakDown ends what carries the call.
func breakDown(c *testenv.Call) {
	switch {
	case c.HTTP != nil:
		raw("")(c)
	case c.Line != nil:
		c.Line.Cut()
	default:
		c.Child.Exit(1)
	}
}

// TestRetries: what may be carried out twice is sent again when the server breaks down, and a tool without hints never is.
func TestRetries(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s, never := k.server(t, weak(1, breakDown)), k.server(t, weak(1, breakDown))
		g := testenv.Serve(t, testenv.Config{
			Servers: map[string]*testenv.Server{"one": s},
			Entries: map[string]any{"never": never.Entry(map[string]any{"retries": map[string]any{"attempts": 0}})},
			More:    map[string]any{"log": map[string]any{"level": "error"}},
		})
		client := g.Client(era, "/mcp")
		client.Call("tools/list", "")
		for _, tool := range []string{"reads", "twice"} {
			if r := client.Tool("one__"+tool, "{}"); r.Texts() != "done" {
				t.Errorf("%s: %v", tool, r)
			}
			if r := client.Tool("never__"+tool, "{}"); r.Texts() != "" {
				t.Errorf("%s without retries: %v", tool, r)
			}
		}
		if r := client.Call("prompts/get", `"name":"one__p"`); r.Result() == nil {
			t.Errorf("%v", r)
		}
		if r := client.Tool("one__plain", "{}"); r.Texts() != "" {
			t.Errorf("%v", r)
		}
		count := map[string]int{}
		for _, r := range s.Received("tools/call") {
			count[r.Param("name")]++
		}
		if want := map[string]int{`"reads"`: 2, `"twice"`: 2, `"plain"`: 1}; !maps.Equal(count, want) {
			t.Errorf("calls that came: %v, want %v", count, want)
		}
		if n := len(never.Received("tools/call")); n != 2 {
			t.Errorf("%d calls came that are not to be sent again, want 2", n)
		}
	})
}

// TestRetryBudget: a server that fails whatever it is sent is not sent much more than without retries.
func TestRetryBudget(t *testing.T) {
	t.Parallel()
	for percent, most := range map[int]int{0: 210, 10: 232, 100: 600} {
		t.Run(strconv.Itoa(percent), func(t *testing.T) {
			t.Parallel()
			s := testenv.HTTPServer(t, weak(1_000_000, status(503, "", "")))
			g := testenv.Serve(t, testenv.Config{
				Entries: map[string]any{"one": s.Entry(map[string]any{"retries": map[string]any{"budget": percent, "backoff": "1ms"}})},
				More:    map[string]any{"log": map[string]any{"level": "error"}},
			})
			client := g.Modern("/mcp")
			client.Call("tools/list", "")
			each(10, func(int) {
				for range 20 {
					client.Tool("one__reads", "{}")
				}
			})
			n := len(s.Received("tools/call"))
			if n < 210 || n > most {
				t.Errorf("%d calls came of 200, want 210 to %d", n, most)
			}
			if percent == 100 && n < 350 {
				t.Errorf("%d calls came of 200, with a budget for all", n)
			}
		})
	}
}

// TestRetryPause: retries.backoff is the pause before a request is sent again, and attempts how often it is.
func TestRetryPause(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, weak(3, status(502, "", "")))
	g := testenv.Serve(t, testenv.Config{Entries: map[string]any{
		"one": s.Entry(map[string]any{"retries": map[string]any{"attempts": 3, "backoff": "200ms"}}),
	}})
	client := g.Modern("/mcp")
	client.Call("tools/list", "")
	began := time.Now()
	if r := client.Tool("one__reads", "{}"); r.Texts() != "done" {
		t.Errorf("%v", r)
	}
	if took := time.Since(began); took < 700*time.Millisecond {
		t.Errorf("after %s, which is too soon", took)
	}
	if n := len(s.Received("tools/call")); n != 4 {
		t.Errorf("%d calls, want 4", n)
	}
}

// TestRetryUnsent: a call that cannot be sent since nobody listens is sent when somebody does, whatever the tool, and once.
func TestRetryUnsent(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			s := testenv.HTTPServer(t, weak(0, nil))
			g := testenv.Serve(t, testenv.Config{
				Entries: map[string]any{"one": s.Entry(map[string]any{"retries": map[string]any{"attempts": 8, "backoff": "50ms"}})},
			})
			client := g.Client(era, "/mcp")
			client.Call("tools/list", "")
			s.Stop()
			answer := make(chan *testenv.Reply, 1)
			go func() { answer <- client.Tool("one__plain", "{}") }()
			testenv.Eventually(t, "a repetition", func() bool {
				_, body := g.Get("/metrics", nil)
				return strings.Contains(body, `mcp_server_retries_total{outcome="again",server="one"}`)
			})
			s.Start()
			if r := <-answer; r.Texts() != "done" || len(s.Received("tools/call")) != 1 {
				t.Errorf("%v, came %d times", r, len(s.Received("tools/call")))
			}
		})
	}
}

// TestRetryLate: a call whose answer does not begin in time is sent again where that is safe.
func TestRetryLate(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := k.server(t, weak(1, (*testenv.Call).Hang))
		g := testenv.Serve(t, testenv.Config{Entries: map[string]any{
			"one": s.Entry(map[string]any{
				"timeouts": map[string]any{"start": "15s", "firstByte": "500ms", "idle": "60s"}, "retries": map[string]any{"attempts": 5},
			}),
		}})
		client := g.Modern("/mcp")
		client.Call("tools/list", "")
		if r := client.Tool("one__reads", "{}"); r.Texts() != "done" {
			t.Errorf("%v", r)
		}
		if r := client.Tool("one__plain", "{}"); r.Texts() != "" {
			t.Errorf("%v", r)
		}
	})
}

// TestHedge: a list that is late is asked for again beside the first request, and the first answer counts.
func TestHedge(t *testing.T) {
	t.Parallel()
	collector := testenv.TakeSpans(t)
	eachKind(t, func(t *testing.T, k kind) {
		firstHangs := func() func(*testenv.Call) {
			var n atomic.Int32
			return func(c *testenv.Call) {
				if n.Add(1) == 1 {
					c.Hang()
					return
				}
				c.Default()
			}
		}
		s := k.server(t, testenv.Script{Tools: testenv.Tools(1), Prompts: []string{`{"name":"p"}`}, On: map[string]func(*testenv.Call){
			"tools/list": firstHangs(), "prompts/list": firstHangs(),
		}})
		g := testenv.Serve(t, testenv.Config{More: tracedTo(collector, nil), Entries: map[string]any{
			"one": s.Entry(map[string]any{"hedge": "200ms", "timeouts": map[string]any{"start": "15s", "list": "60s"}}),
		}})
		client := g.Modern("/mcp")
		if r := client.Call("tools/list", ""); len(r.Names("tools")) != 1 {
			t.Errorf("%v", r)
		}
		if text := scrape(t, g); value(text, `mcp_server_retries_total{outcome="hedge_won",server="one"}`) < 1 {
			t.Error("not counted", lines(text, "mcp_server_retries_total"))
		}
		id := newTraceID()
		client.Do(testenv.Request{Method: "prompts/list", Meta: `"traceparent":"` + child(id, "01") + `"`})
		hedgesOf(t, collector.Await(t, id, 3))
		testenv.Eventually(t, "the first request is given up", func() bool { return s.Open() == 0 })
	})
}

// hedgesOf checks the spans of a list that was asked for twice: each request has its own, and that of the one that was not needed says so.
func hedgesOf(t *testing.T, all []testenv.Span) {
	t.Helper()
	in, failed := spanOf(t, all, "server"), map[string]string{}
	for _, s := range all {
		if s.Kind != "client" {
			continue
		}
		failed[s.Attributes["toolcrib.attempt"]] = s.Attributes["error.type"]
		if s.Name != "prompts/list" || s.Parent != in.ID || s.Attributes["toolcrib.server"] != "one" || s.Attributes["mcp.method.name"] != "prompts/list" {
			t.Errorf("%+v", s)
		}
	}
	if want := map[string]string{"": "canceled", "2": ""}; !maps.Equal(failed, want) {
		t.Errorf("attempts failed as %v, not %v", failed, want)
	}
}

// TestComeAgain: a server that is overloaded and says when to come again is not asked before that, and callers are told.
func TestComeAgain(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			script := testenv.Script{Era: era, Prompts: []string{`{"name":"p"}`}, On: map[string]func(*testenv.Call){
				"prompts/get": raw("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n"),
			}}
			s := testenv.HTTPServer(t, script)
			g := testenv.Serve(t, testenv.One(s))
			r := g.Modern("/servers/one/mcp").Call("prompts/get", `"name":"p"`)
			if n := len(s.Received("prompts/get")); n != 1 || r.Header.Get("Retry-After") != "7" {
				t.Errorf("it was asked %d times; %v %v", n, r.Header, r)
			}
		})
	}
}
