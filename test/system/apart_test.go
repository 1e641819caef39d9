package system_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// person is a principal of these tests; every client of it declares the same capabilities, which nobody else declares.
type person struct{ name, tenant, key, token, capabilities string }

func people(n int) []person {
	all := make([]person, n)
	for i := range all {
		all[i] = person{
			name: fmt.Sprintf("person%d", i), tenant: fmt.Sprintf("tenant%d", i%2),
			key: fmt.Sprintf("key-of-person-%04d", i), token: fmt.Sprintf("token-of-%04d", i),
			capabilities: fmt.Sprintf(`{"experimental":{"person%d":{}}}`, i),
		}
	}
	return all
}

// keysOf is the configuration of the people's keys.
func keysOf(all []person) map[string]any {
	var keys []any
	for _, p := range all {
		keys = append(keys, map[string]any{"name": p.name, "tenant": p.tenant, "key": p.key, "credentials": map[string]any{"token": p.token}})
	}
	return map[string]any{"apiKeys": keys}
}

// client is a client of a person; a legacy one has a session of its own.
func (p person) client(g *testenv.Gateway, era testenv.Era) *testenv.Client {
	c := g.Modern("/mcp")
	c.Key, c.Capabilities = p.key, p.capabilities
	if era == testenv.Legacy {
		c.Era = era
		c.Initialize(testenv.LegacyVersion)
	}
	return c
}

// encounters are what the processes of a server told of themselves, the last of each.
type encounters struct {
	mu   sync.Mutex
	seen map[int]testenv.Seen
}

func (e *encounters) add(s testenv.Seen) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil {
		e.seen = map[int]testenv.Seen{}
	}
	if len(s.Callers) >= len(e.seen[s.PID].Callers) {
		e.seen[s.PID] = s
	}
}

// TestPrincipalsNeverMeet: of servers that are isolated by principal, tenant and session, each process is called by those only who
// share it, and has their credentials only, whatever the eras, with all calling at once. The processes themselves tell.
func TestPrincipalsNeverMeet(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			all := people(6)
			lone := map[string]*testenv.Lone{}
			for _, name := range []string{"mine", "team", "once"} {
				lone[name] = testenv.LoneServer(t, era.String(), "")
			}
			who := map[string]any{"SUBJECT": "${principal.subject}", "TENANT": "${principal.tenant}", "TOKEN": "${credential:token}"}
			g := testenv.Serve(t, testenv.Config{
				Entries: map[string]any{
					"mine": lone["mine"].Entry(map[string]any{"env": who}), // principal, since it refers to one
					"team": lone["team"].Entry(map[string]any{"env": map[string]any{"TENANT": "${principal.tenant}"}, "isolation": "tenant"}),
					"once": lone["once"].Entry(map[string]any{"env": who, "isolation": "session", "pool": map[string]any{"max": 30}}),
				},
				More: map[string]any{"auth": keysOf(all)},
			})
			var met [3]encounters
			each(len(all)*4, func(i int) {
				p := all[i/4]
				client := p.client(g, testenv.Eras[i%2])
				for round := range 6 {
					for n, server := range []string{"mine", "team", "once"} {
						caller := p.name + " " + p.tenant
						if server == "once" && client.Era == testenv.Legacy {
							caller += fmt.Sprint(" session ", i)
						}
						s, err := testenv.SeenBy(client.Tool(server+"__who", `{"as":"`+caller+`"}`))
						if err != nil {
							t.Errorf("%s, round %d: %v", server, round, err)
							return
						}
						met[n].add(s)
					}
				}
			})
			checkMine(t, met[0].seen, all)
			checkTeams(t, met[1].seen)
			checkOnce(t, met[2].seen, all)
			if t.Failed() {
				return
			}
			g.Stop()
			for name, l := range lone {
				if left := l.Processes(); len(left) > 0 {
					t.Errorf("%s: processes %v are left", name, left)
				}
			}
		})
	}
}

// checkMine wants one process for each person, which has met nobody else.
func checkMine(t *testing.T, seen map[int]testenv.Seen, all []person) {
	t.Helper()
	if len(seen) != len(all) {
		t.Errorf("%d processes for %d people", len(seen), len(all))
	}
	for _, s := range seen {
		checkOwner(t, s, all)
	}
}

// checkOwner wants a process to have met one person only, and to have that one's variables.
func checkOwner(t *testing.T, s testenv.Seen, all []person) {
	t.Helper()
	callers := slices.Collect(maps.Keys(s.Callers))
	if len(callers) != 1 {
		t.Errorf("process %d was called by %q", s.PID, callers)
		return
	}
	i := slices.IndexFunc(all, func(p person) bool { return strings.HasPrefix(callers[0], p.name+" ") })
	p := all[i]
	for _, v := range []string{"SUBJECT=" + p.name, "TENANT=" + p.tenant, "TOKEN=" + p.token} {
		if !slices.Contains(s.Env, v) {
			t.Errorf("process %d of %s has no %s: %q", s.PID, callers[0], v, s.Env)
		}
	}
	env := strings.Join(s.Env, "\n")
	if n := strings.Count(env, "token-of-"); n != 1 || strings.Contains(env, canary) {
		t.Errorf("process %d of %s: %q", s.PID, callers[0], s.Env)
	}
	for c := range s.Capabilities {
		if strings.Contains(c, "experimental") && c != p.capabilities {
			t.Errorf("process %d of %s was told of the capabilities %s", s.PID, callers[0], c)
		}
	}
}

func checkTeams(t *testing.T, seen map[int]testenv.Seen) {
	t.Helper()
	if len(seen) != 2 {
		t.Errorf("%d processes for 2 tenants", len(seen))
	}
	for _, s := range seen {
		for caller := range s.Callers {
			if _, tenant, _ := strings.Cut(caller, " "); !slices.Contains(s.Env, "TENANT="+tenant) {
				t.Errorf("process %d was called by %s: %q", s.PID, caller, s.Env)
			}
		}
		if len(s.Callers) != 3 {
			t.Errorf("process %d was called by %v, want three people", s.PID, s.Callers)
		}
	}
}

// checkOnce wants a process for each session, and one for all modern clients of a person.
func checkOnce(t *testing.T, seen map[int]testenv.Seen, all []person) {
	t.Helper()
	if want := len(all) * 3; len(seen) != want {
		t.Errorf("%d processes, want %d", len(seen), want)
	}
	for _, s := range seen {
		checkOwner(t, s, all)
	}
}

// holding is what this process holds besides its memory.
type holding struct{ descriptors, processes int }

func holds(l *testenv.Lone) holding {
	open, _ := os.ReadDir("/proc/self/fd")
	return holding{len(open), len(l.Processes())}
}

// TestNoInstanceStays of sessions that each had a process of their own: processes, descriptors, goroutines and memory are what
// they were before, and no process was ever an orphan. It measures the process, so nothing runs beside it.
func TestNoInstanceStays(t *testing.T) { //nolint:paralleltest // as it says
	needsProc(t)
	const atOnce = 8
	l := testenv.LoneServer(t, "legacy", "")
	g := testenv.Serve(t, testenv.Config{
		Entries: map[string]any{"one": l.Entry(map[string]any{"isolation": "session", "pool": map[string]any{"max": 4 * atOnce}})},
		More:    map[string]any{"log": map[string]any{"level": "error"}},
	})
	session := func(i int) {
		client := g.Legacy("/mcp")
		caller := fmt.Sprint("session ", i)
		s, err := testenv.SeenBy(client.Tool("one__who", `{"as":"`+caller+`"}`))
		if err != nil || len(s.Callers) != 1 || s.Callers[caller] != 1 {
			t.Errorf("%s: %v %v", caller, err, s.Callers)
		}
		if code := client.Delete(); code >= 300 {
			t.Errorf("DELETE: HTTP %d", code)
		}
	}
	inParallel(4*atOnce, atOnce, session)
	testenv.Eventually(t, "the warm-up ends", func() bool { return len(l.Processes()) <= 1 })
	g.CloseIdle()
	before, held := measure(), holds(l)
	done, watched := make(chan struct{}), make(chan error)
	go func() { watched <- watchOrphans(t, l, 4*atOnce+1, done) }()
	inParallel(lifecycles, atOnce, session)
	close(done)
	if err := <-watched; err != nil {
		t.Error(err)
	}
	returns(t, "sessions with processes", before, g.CloseIdle)
	var now holding
	if !testenv.Happens(func() bool {
		g.CloseIdle()
		now = holds(l)
		return now.descriptors <= held.descriptors && now.processes <= held.processes
	}) {
		t.Errorf("%+v before, %+v after", held, now)
	}
	t.Logf("%d lifecycles: %+v before, %+v after", lifecycles, held, now)
}

// watchOrphans looks at the processes of a server again and again, and tells of any that is not a child of this process, and of
// more than there may be.
func watchOrphans(t *testing.T, l *testenv.Lone, limit int, done <-chan struct{}) error {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	most := 0
	for samples := 1; ; samples++ {
		pids := l.Processes()
		if most = max(most, len(pids)); most > limit {
			return fmt.Errorf("sample %d: %d processes", samples, most)
		}
		for _, pid := range pids {
			if parent := testenv.Parent(pid); parent != os.Getpid() && testenv.Alive(pid) {
				return fmt.Errorf("sample %d: process %d is a child of %d", samples, pid, parent)
			}
		}
		select {
		case <-done:
			t.Logf("%d samples, at most %d processes", samples, most)
			return nil
		case <-tick.C:
		}
	}
}
