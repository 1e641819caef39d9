package system_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// retuned is a server whose entry changes key by key: mute never answers, and its prompts are never listed.
type retuned struct {
	t      *testing.T
	s      *testenv.Server
	g      *testenv.Gateway
	client *testenv.Client
	entry  entry
	config testenv.Config
}

func retune(t *testing.T, k kind, more entry) *retuned {
	s := k.server(t, testenv.Script{
		Tools:   []string{`{"name":"mute","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}`, testenv.Tool("good")},
		Prompts: []string{`{"name":"p"}`},
		On:      map[string]func(*testenv.Call){"tools/call mute": (*testenv.Call).Hang, "prompts/list": (*testenv.Call).Hang},
	})
	rules := filepath.Join(t.TempDir(), "core.cedar")
	const core = `permit(principal, action, resource) when { resource.labels.tier == "core" };`
	if err := os.WriteFile(rules, []byte(core), 0o600); err != nil {
		t.Fatal(err)
	}
	u := &retuned{t: t, s: s, entry: s.Entry(entry{
		"labels": entry{"tier": "core"}, "tenants": []string{"acme"}, "listTTL": "1h", "retries": entry{"attempts": 0, "backoff": "1ms", "budget": 100},
		"timeouts": entry{"start": "15s", "idle": "15s"},
	}, more)}
	u.config = twoTenants(map[string]any{"one": u.entry}, map[string]any{
		"policies": entry{"cedar": []string{rules}, "bindings": []any{entry{"subject": "alice", "role": "auditor"}}}, "log": entry{"level": "warn"},
	})
	u.g = testenv.Serve(t, u.config)
	u.client = as(t, u.g, testenv.Legacy, aliceKey, "{}")
	return u
}

// set changes keys of the server.
func (u *retuned) set(keys entry) {
	u.t.Helper()
	maps.Copy(u.entry, keys)
	u.g.Configure(u.config)
}

// greeted is how often the server was asked what it is, which each connection, process and session begins with.
func (u *retuned) greeted() int {
	return len(u.s.Received("initialize")) + len(u.s.Received("server/discover"))
}

// pids are the processes of the server that run.
func (u *retuned) pids() (all []int) {
	if u.s.URL != "" {
		return nil
	}
	for _, c := range u.s.Children() {
		if testenv.Alive(c.PID) {
			all = append(all, c.PID)
		}
	}
	return all
}

// anew is "" where the server was not begun anew since it was asked so often what it is, by processes that run still.
func (u *retuned) anew(greeted int, pids []int) string {
	n, now := u.greeted(), u.pids()
	if n != greeted || !slices.Equal(now, pids) || u.s.URL == "" && len(pids) == 0 {
		return fmt.Sprintf("the server was asked what it is %d times, and %d before; its processes are %v, and were %v", n, greeted, now, pids)
	}
	return ""
}

// unfailed runs a test, and once more when something is wrong and a server failed: where the machine stands still for longer than
// its short time-outs, it is rightly begun anew.
func unfailed(t *testing.T, run func() (u *retuned, wrong string)) {
	t.Helper()
	u, wrong := run()
	if wrong != "" && strings.Contains(u.g.Log(), "server failed") {
		t.Log("once more:", wrong)
		_, wrong = run()
	}
	if wrong != "" {
		t.Error(wrong)
	}
}

// call is what came of a call, and how often the server was sent it.
func (u *retuned) call(tool string) (why string, times int) {
	before := len(u.s.Received("tools/call"))
	r := u.client.Tool("one__"+tool, "{}")
	_, why = r.Error()
	return why + r.Texts(), len(u.s.Received("tools/call")) - before
}

// says waits until a call of mute fails for a reason.
func (u *retuned) says(why string) {
	u.t.Helper()
	testenv.Eventually(u.t, why, func() bool {
		text, _ := u.call("mute")
		return strings.Contains(text, why)
	})
}

// answers waits until good is answered, or unknown.
func (u *retuned) answers(want string) {
	u.t.Helper()
	testenv.Eventually(u.t, want, func() bool {
		text, _ := u.call("good")
		return strings.Contains(text, want)
	})
}

// TestRetune: what each request goes by anew takes effect by a reload without a new connection, session or process, and ends no call.
func TestRetune(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, k kind, more entry) (u *retuned, wrong string) {
		t.Helper()
		all := entry{"timeouts": entry{"start": "15s", "idle": "70ms"}}
		maps.Copy(all, more)
		u = retune(t, k, all)
		u.says("silent for 70ms; raise timeouts.idle")
		u.answers("done")
		greeted, pids := u.greeted(), u.pids()
		u.set(entry{"timeouts": entry{"start": "15s", "idle": "90ms"}})
		u.says("silent for 90ms; raise timeouts.idle")
		u.set(entry{"timeouts": entry{"start": "15s", "idle": "15s", "total": "80ms"}})
		u.says("longer than 80ms as a whole; raise timeouts.total")
		u.set(entry{"tools": entry{"mu*": entry{"timeouts": entry{"total": "60ms"}}}})
		u.says("longer than 60ms as a whole; raise tools.mu*.timeouts.total")
		u.set(entry{"timeouts": entry{"start": "15s", "idle": "15s"}, "tools": entry{"mute": entry{"timeouts": entry{"firstByte": "100ms"}}}})
		u.says("within 100ms; raise tools.mute.timeouts.firstByte")
		testenv.Eventually(t, "no retries", func() bool { _, times := u.call("mute"); return times == 1 })
		u.set(entry{"retries": entry{"attempts": 2, "backoff": "1ms", "budget": 100}})
		testenv.Eventually(t, "two retries", func() bool { _, times := u.call("mute"); return times == 3 })
		u.set(entry{"labels": entry{"tier": "edge"}})
		u.answers("unknown")
		if names := u.client.Call("tools/list", "").Names("tools"); len(names) != 0 {
			t.Errorf("listed: %v", names)
		}
		u.set(entry{"labels": entry{"tier": "core", "owner": "acme"}})
		u.answers("done")
		u.set(entry{"tenants": []string{"globex"}})
		u.answers("unknown")
		u.set(entry{"tenants": []string{"globex", "acme"}})
		u.answers("done")
		return u, u.anew(greeted, pids)
	}
	test := func(t *testing.T, k kind, more entry) {
		t.Helper()
		unfailed(t, func() (*retuned, string) { return run(t, k, more) })
	}
	eachKind(t, func(t *testing.T, k kind) { test(t, k, nil) })
	t.Run("own instances", func(t *testing.T) {
		t.Parallel()
		s := kinds[3]
		test(t, s, entry{"isolation": "principal", "forwardToken": true, "headers": entry{"X-Who": "${principal.subject}"}})
	})
}

// TestRetuneLists: so does what lists go by: their time, hedging, and for how long they are fresh.
func TestRetuneLists(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, k kind) (u *retuned, wrong string) {
		t.Helper()
		u = retune(t, k, entry{"timeouts": entry{"start": "15s", "list": "300ms", "idle": "15s"}})
		warned := func(limit string) {
			t.Helper()
			late := regexp.MustCompile(`(for|within) ` + limit + `; raise timeouts.list`)
			testenv.Eventually(t, "a list that took longer than "+limit, func() bool {
				u.client.Call("prompts/list", "")
				return late.MatchString(u.g.Log())
			})
		}
		warned("300ms")
		u.answers("done")
		greeted, pids := u.greeted(), u.pids()
		u.set(entry{"timeouts": entry{"start": "15s", "list": "280ms", "idle": "15s"}})
		warned("280ms")
		hedged := func() bool {
			u.client.Call("prompts/list", "")
			return value(scrapeOf(t, http.DefaultClient, u.g.URL), `mcp_server_retries_total{outcome="hedge",server="one"}`) > 0
		}
		if hedged() {
			t.Error("a list was asked for twice")
		}
		u.set(entry{"hedge": "10ms"})
		testenv.Eventually(t, "a list that is asked for twice", hedged)
		asked := len(u.s.Received("tools/list"))
		u.set(entry{"listTTL": "0s"})
		testenv.Eventually(t, "a list that is never fresh", func() bool {
			u.client.Call("tools/list", "")
			return k.era == testenv.Modern || len(u.s.Received("tools/list")) > asked+3 // a modern one says itself how long
		})
		return u, u.anew(greeted, pids)
	}
	eachKind(t, func(t *testing.T, k kind) {
		unfailed(t, func() (*retuned, string) { return run(t, k) })
	})
}

// TestRetuneNot: a server of which anything else changes is begun anew.
func TestRetuneNot(t *testing.T) {
	t.Parallel()
	remote, local := []int{0, 3}, []int{2, 5}
	for key, row := range map[string]struct {
		kinds []int
		value any
	}{
		"headers":     {remote, entry{"X-Team": "core"}},
		"breaker":     {remote, entry{"failures": 7}},
		"health":      {remote, entry{"failures": 9}},
		"concurrency": {remote, entry{"max": 9}},
		"env":         {local, entry{"REGION": "eu"}},
		"cwd":         {local, os.TempDir()},
		"restarts":    {local, entry{"max": 3}},
		"liveness":    {local, entry{"every": "1h"}},
		"pool":        {local, entry{"concurrency": 3}},
	} {
		for _, k := range row.kinds {
			t.Run(key+" "+kinds[k].name, func(t *testing.T) {
				t.Parallel()
				u := retune(t, kinds[k], nil)
				u.answers("done")
				greeted := u.greeted()
				u.set(entry{key: row.value})
				testenv.Eventually(t, "a new beginning", func() bool { return u.greeted() > greeted })
				u.answers("done")
			})
		}
	}
}
