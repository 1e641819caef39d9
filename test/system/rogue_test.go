package system_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// rogue is a real process that misbehaves, what a call of it says ("" for a right answer), and how it stands afterwards.
type rogue struct {
	as         string
	entry      map[string]any
	say        string
	state, why string // any: it comes and goes
}

// impatient waits a short time where waiting is what is tested.
var impatient = map[string]any{"timeouts": map[string]any{"start": "1s", "call": "1s"}}

var rogues = map[string]rogue{
	"missing":  {entry: map[string]any{"command": "no-such-command-here"}, say: "not found", state: "failed", why: `command "no-such-command-here" not found: install it`},
	"exits":    {as: "exits", say: "exit status 3", state: "failed", why: "out of cheese"},
	"mute":     {as: "mute", entry: impatient, say: "within 1s", state: "failed", why: "timeouts.start"},
	"deaf":     {as: "deaf", state: "ready"},
	"closes":   {as: "closes", say: "closed its output", state: "any"},
	"half":     {as: "half", entry: impatient, say: "1s", state: "ready"},
	"prompts":  {as: "prompts", state: "ready"},
	"stranger": {as: "stranger", state: "ready"},
	"twice":    {as: "twice", state: "ready"},
	"chatty":   {as: "chatty", state: "ready"},
	"stderr":   {as: "stderr", state: "ready"},
	"stdout":   {as: "stdout", state: "ready"},
}

// standing is how a server stands in /health/ready.
type standing struct{ State, Reason, Era string }

func standings(t *testing.T, g *testenv.Gateway) map[string]standing {
	t.Helper()
	_, body := g.Get("/health/ready", nil)
	var r struct{ Servers map[string]standing }
	if err := json.Unmarshal([]byte(body), &r); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return r.Servers
}

// steady calls servers without a pause until it is told to stop, and tells of each call that failed or took long, and when there
// were few of them for the time in which the machine did not stand still.
func steady(ctx context.Context, t *testing.T, client *testenv.Client, names ...string) (stop func()) {
	t.Helper()
	const long, few = 5 * time.Second, 250 * time.Millisecond // beside others on a busy machine
	var calls atomic.Int64
	var ended atomic.Bool
	done := make(chan struct{})
	watch := testenv.StartWatch(t)
	go func() {
		defer close(done)
		each(len(names), func(i int) {
			for !ended.Load() {
				from := watch.Took()
				r, err := client.Try(ctx, testenv.Request{Method: "tools/call", Members: `"name":"` + names[i] + `","arguments":{}`})
				if err != nil || r.Texts() != "done" {
					t.Errorf("a caller of another server: %v %v", err, r)
					return
				}
				if took := watch.Took() - from; took > long {
					t.Errorf("a caller of another server waited %s", took)
				}
				calls.Add(1)
			}
		})
	}()
	return func() {
		t.Helper()
		took, n := watch.Took(), calls.Load()
		ended.Store(true)
		<-done
		if n < int64(took/few) {
			t.Errorf("other servers answered %d calls only in %s", n, took)
		}
	}
}

// TestRogues: real processes that misbehave in every way known hurt none but their own callers, who are told what is wrong, as is
// who looks at the state; and all of them are gone when the gateway stops.
func TestRogues(t *testing.T) {
	t.Parallel()
	needsProc(t)
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			good := testenv.LoneServer(t, era.String(), "")
			web := testenv.HTTPServer(t, testenv.Script{Era: era, Tools: []string{testenv.Tool("echo")}})
			entries := map[string]any{"good": good.Entry()}
			all := []*testenv.Lone{good}
			for name, r := range rogues {
				l := testenv.LoneServer(t, era.String(), r.as)
				all = append(all, l)
				entries[name] = l.Entry(r.entry)
			}
			g := testenv.Serve(t, testenv.Config{
				Servers: map[string]*testenv.Server{"web": web}, Entries: entries,
				More: map[string]any{"log": map[string]any{"level": "error"}},
			})
			stop := steady(testenv.Within(t, 3*testenv.Patience), t, g.Client(era, "/mcp"), "good__echo", "good__echo", "web__echo")
			each(len(rogues), func(i int) {
				name := sortedNames(rogues)[i]
				callRogue(t, g.Client(1-era, "/mcp"), name, rogues[name])
			})
			for name, r := range rogues {
				checkStanding(t, g, name, r)
			}
			stop()
			watch := testenv.StartWatch(t)
			g.Stop()
			if took := watch.Took(); took > 10*time.Second {
				t.Errorf("stopping took %s", took)
			}
			for _, l := range all {
				if left := l.Processes(); len(left) > 0 {
					t.Errorf("%v: processes %v are left", l.Args, left)
				}
			}
		})
	}
}

func sortedNames[T any](m map[string]T) []string {
	return slices.Sorted(maps.Keys(m))
}

// callRogue calls a server that misbehaves, some calls one after the other and some at once.
func callRogue(t *testing.T, client *testenv.Client, name string, want rogue) {
	t.Helper()
	each(4, func(int) {
		for range 3 {
			r := client.Tool(name+"__echo", `{"a":1.0}`)
			code, text := r.Error()
			switch {
			case want.say == "" && (r.Texts() != "done" || r.Member("structuredContent") != `{"a":1.0}`):
				t.Errorf("%s: %v", name, r)
			case want.say != "" && (code != -32603 || !strings.Contains(text, want.say) || !strings.Contains(text, `server "`+name+`"`)):
				t.Errorf("%s: %v, want %q", name, r, want.say)
			}
		}
	})
}

func checkStanding(t *testing.T, g *testenv.Gateway, name string, want rogue) {
	t.Helper()
	var got standing
	stood := testenv.Happens(func() bool {
		got = standings(t, g)[name]
		return (got.State == want.state || want.state == "any") && strings.Contains(got.Reason, want.why)
	})
	if !stood {
		t.Errorf("%s stands as %+v, want %s for %q", name, got, want.state, want.why)
	}
}

// TestGlued: half an answer costs the call that it was for, at once, and not the one whose answer stands on the same line.
func TestGlued(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			l := testenv.LoneServer(t, era.String(), "glued")
			g := testenv.Serve(t, testenv.Config{Entries: map[string]any{"one": l.Entry()}})
			client := g.Client(era, "/mcp")
			half := make(chan string, 1)
			go func() {
				_, text := client.Tool("one__who", "{}").Error()
				half <- text
			}()
			testenv.Eventually(t, "the half answer and a whole one", func() bool {
				if r := client.Tool("one__echo", "{}"); r.Texts() != "done" {
					t.Errorf("a whole answer: %v", r)
				}
				return len(half) > 0
			})
			if text := <-half; !strings.Contains(text, "not valid JSON") {
				t.Errorf("half an answer: %q", text)
			}
		})
	}
}
